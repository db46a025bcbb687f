"""What tests have a running company do, and how they know that it did."""

from functools import partial
from typing import Any

from tests.e2e import books
from tests.e2e.company_run import CompanyRun, until


def come_to_rest(run: CompanyRun) -> None:
    """Once trading is halted every execution is booked, and nothing is left under way."""
    run.post("company/halt/", {"reason": "the day is over"})
    under_way = "SELECT count(*) FROM missions_step WHERE status IN ('claimed', 'executing', 'queued')"
    until(lambda: run.one(under_way) == 0, seconds=90, what=lambda: books.stuck(run))
    filled = run.one("SELECT count(*) FROM trading_order WHERE status = 'filled'")
    assert filled == run.one("SELECT count(*) FROM trading_fill")
    assert books.wrong(run) == []
    assert books.beside_the_chain(run) == []
    assert books.stuck(run) == []


def works_after(run: CompanyRun, name: str, pid: int) -> None:
    """What only the new process can have done: a candle stored by it, a step run by its workers, a trade filled."""
    if name == "market":
        source = "SELECT data->>'holder' FROM common_event WHERE kind = 'market.opened' ORDER BY key DESC LIMIT 1"
        until(lambda: run.one(source).endswith(f":{pid}"), seconds=60, what=lambda: run.one(source))
    since = run.now()
    newer = "SELECT count(*) FROM trading_candle WHERE received_at > %s"
    until(lambda: run.one(newer, since), seconds=60, what=run.console)
    trades(run)
    if name == "worker":
        ran = run.asked("SELECT worker FROM missions_step WHERE started_at > %s", since)
        assert {int(name.split(":")[1]) for (name,) in ran} <= set(run.workers())


def trades(run: CompanyRun) -> None:
    """Have a person's small buy filled, on whatever market takes one now."""

    def bought() -> dict[str, Any] | None:
        taken = {position["market"] for position in run.results("positions/?status=open")}
        for market in ("SOL/USDC", "WIF/USDC", "JUP/USDC", "BONK/USDC"):
            if market not in taken:
                made = run.propose("execute_trade", side="buy", market=market, size_usd="20.00")
                proposal = until(partial(_decided, run, made["id"]), seconds=90)
                if proposal["status"] == "approved":
                    return proposal
        return None

    proposal = until(bought, seconds=180)
    step = proposal["mission"]["steps"][0]["id"]
    ended = "SELECT status FROM trading_order WHERE step_id = %s"
    until(lambda: run.one(ended, step) == "filled", seconds=90, what=lambda: (run.one(ended, step), run.console()))


def _decided(run: CompanyRun, number: int) -> dict[str, Any] | None:
    """A proposal, once the agents have talked it over."""
    found: dict[str, Any] = run.get(f"proposals/{number}/")
    return found if found["status"] != "pending" else None
