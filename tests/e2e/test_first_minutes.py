"""The first minutes of a company: it trades, its books hold, and it survives the death of its processes.

One `up` serves all tests here; only how long a position is held is shortened, as its operator may.
"""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.e2e import acts, books
from tests.e2e.company_run import STOP_SECONDS, CompanyRun, company, until

pytestmark = [pytest.mark.enable_socket, pytest.mark.timeout(420), pytest.mark.xdist_group("a whole company")]


LEARNT = "SELECT count(*) FROM agents_memory WHERE cause LIKE 'outcome:%%'"
REMEMBERED = """
SELECT count(*) FROM missions_influence influence
  JOIN agents_memory memory ON memory.id = influence.memory_id
  JOIN missions_proposal proposal ON proposal.id = influence.proposal_id
  WHERE proposal.created_at > memory.created_at AND proposal.rationale LIKE '%%Remembers%%#' || memory.id || ':%%'
"""


class Day:
    """A running company, and when things first happened in it, in seconds after its first page answered."""

    def __init__(self, run: CompanyRun, watch: books.Watch) -> None:
        self.run, self.watch = run, watch
        self.began = time.monotonic()
        self.ready_after = self._once(run.ready, within=60)
        self.filled_after = self._once(lambda: run.results("orders/?status=filled"), within=120)
        self.closed_after = self._once(lambda: run.results("positions/?status=closed"), within=300)
        self.talked_after = self._once(lambda: run.results("conversations/?status=completed"), within=300)
        self.learnt_after = self._once(lambda: run.one(LEARNT), within=300)
        self.remembered_after = self._once(lambda: run.one(REMEMBERED), within=300)

    def _once(self, true: Any, *, within: float) -> float:
        until(true, seconds=within, what=self.run.console)
        return time.monotonic() - self.began


@pytest.fixture(scope="module")
def day() -> Iterator[Day]:
    with company() as run:
        run.start()
        run.policy(max_hold_bars_min=0, max_hold_minutes=0.2)
        watch = books.Watch(run)
        watch.start()
        yield Day(run, watch)
        acts.come_to_rest(run)
        watch.end()
        assert watch.wrong == []
        assert watch.reads > 50, "the books were hardly looked at"
        assert run.stop() <= STOP_SECONDS


def test_within_a_minute_of_the_first_page_a_trade_is_filled(day: Day) -> None:
    assert day.filled_after <= 60
    (order,) = [order for order in day.run.results("orders/?limit=200") if order["id"] == 1]
    assert order["status"] == "filled"
    assert Decimal(order["fills"][0]["fee_usd"]) > 0


def test_a_position_closes_with_the_result_that_its_fills_made(day: Day) -> None:
    position = day.run.results("positions/?status=closed&limit=200")[-1]
    fills = day.run.asked(
        "SELECT o.side, f.amount_in, f.amount_out, f.network_fee_quote FROM trading_fill f"
        " JOIN trading_order o ON o.id = f.order_id WHERE o.position_id = %s",
        position["id"],
    )
    earned = sum((got if side == "sell" else -given) - network_fee for side, given, got, network_fee in fills)
    assert Decimal(position["realized_pnl_usd"]) == Decimal(earned).scaleb(-6) != 0
    outcomes = day.run.one("SELECT count(*) FROM missions_outcome WHERE pnl_usd IS NOT NULL")
    assert outcomes >= 1, "agents can learn from it"


def test_within_five_minutes_agents_talk_drift_learn_and_decide_by_what_they_remember(day: Day) -> None:
    assert max(day.talked_after, day.learnt_after, day.remembered_after) <= 300
    talks = day.run.results("conversations/?status=completed&limit=50")
    turns = [turn for talk in talks for turn in talk["turns"]]
    assert len(turns) >= 3
    assert all(0 < len(turn["text"]) <= 120 for turn in turns)
    assert day.run.one("SELECT count(*) FROM agents_shift") > 0
    assert day.run.one("SELECT max(abs(delta)) FROM agents_shift") <= Decimal("0.03")


def test_the_portfolio_says_what_the_ledger_says(day: Day) -> None:
    """Asked until nothing traded between the two looks."""

    def both() -> bool:
        before = day.run.one("SELECT coalesce(max(id), 0) FROM trading_fill")
        portfolio = day.run.get("portfolio/")
        cash = day.run.one(
            "SELECT sum(amount) FROM trading_ledgerentry e JOIN trading_account a ON a.id = e.account_id"
            " JOIN trading_asset s ON s.mint = a.asset_id WHERE a.kind = 'wallet' AND s.symbol = 'USDC'"
        )
        if before != day.run.one("SELECT coalesce(max(id), 0) FROM trading_fill"):
            return False
        assert Decimal(portfolio["cash_usd"]) == Decimal(cash).scaleb(-6)
        worth = Decimal(portfolio["cash_usd"]) + Decimal(portfolio["positions_usd"])
        assert Decimal(portfolio["equity_usd"]) == worth
        return True

    until(both, seconds=60)


def test_all_five_signs_of_life_are_in_its_events(day: Day) -> None:
    """A beat, a proposal routed by policy, a trade by a worker, agents' words, an outcome to learn from."""
    wanted = {
        "beat.finished", "trigger.fired", "proposal.created", "proposal.approved", "vote.cast", "step.claimed",
        "order.filled", "position.closed", "mission.succeeded", "equity.snapshot", "market.prices",
    }  # fmt: skip
    seen: set[str] = set()
    path: str | None = "events/?limit=200"
    numbers: list[int] = []
    while path:
        page = day.run.get(path)
        seen |= {event["kind"] for event in page["results"]}
        numbers += [event["id"] for event in page["results"]]
        path = page["next"] and page["next"].split("/api/v1/")[1]
    assert wanted - seen == set()
    assert numbers == list(range(1, len(numbers) + 1)), "none missing, none twice"


@pytest.mark.parametrize("name", ["web", "worker", "market"])
def test_a_killed_process_comes_back_and_the_company_trades_on(day: Day, name: str) -> None:
    pid = day.run.kill(name)
    until(day.run.answers, seconds=60, what=day.run.console)
    until(day.run.ready, seconds=60, what=day.run.console)
    acts.works_after(day.run, name, pid)
    assert books.wrong(day.run) == []


def test_no_secret_is_in_a_log_or_in_the_database(day: Day) -> None:
    password = day.run.console_path.read_text().split("admin / ")[1].split()[0]
    token = day.run.token()
    assert len(password) >= 12
    assert len(token) > 30
    for place, text in {"logs": day.run.logs(), "database": day.run.dump()}.items():
        assert password not in text, f"the password is in the {place}"
        assert token not in text, f"the token is in the {place}"
        assert (day.run.home / "secrets" / "secret-key").read_text() not in text
    assert token[:12] in day.run.dump(), "the control: the dump does hold what tells the token by"
