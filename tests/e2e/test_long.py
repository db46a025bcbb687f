"""What takes minutes: a company left to itself, deaths of its database and its forked workers, replays of files to
their end, and homes that are used again.
"""

import csv
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import psutil
import pytest

from tests.e2e import acts, books
from tests.e2e.company_run import ROOT, STOP_SECONDS, CompanyRun, company, until
from trading.pricepath import SeededPath

REAL = ROOT.parent / "shared" / "data" / "SOLUSDT-15m-2026-04-to-05.csv"

needs_real_prices = pytest.mark.skipif(
    not REAL.exists(), reason="the recorded candles are not beside this clone (../shared/data)"
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.enable_socket,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("a whole company"),
]


@contextmanager
def watched(run: CompanyRun) -> Iterator[books.Watch]:
    """Its books are read all the time; in the end it comes to rest, and stops in time."""
    watch = books.Watch(run)
    watch.start()
    yield watch
    acts.come_to_rest(run)
    watch.end()
    assert watch.wrong == []
    assert watch.reads > 50, "the books were hardly looked at"
    assert run.stop() <= STOP_SECONDS


# --- left to itself ---------------------------------------------------------------------------------


def test_a_company_that_nobody_touches_trades_in_a_minute_and_closes_a_position_in_five() -> None:
    with company() as run:
        run.start()
        with watched(run):
            until(lambda: run.results("orders/?status=filled"), seconds=60, what=run.console)
            until(lambda: run.results("positions/?status=closed"), seconds=300, what=run.console)
            (closed, *_) = run.results("positions/?status=closed")
            assert Decimal(closed["realized_pnl_usd"]) != 0


# --- deaths -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def busy() -> Iterator[CompanyRun]:
    """A company that holds positions for seconds only, so that there is always work to be killed in."""
    with company() as run:
        run.start()
        run.policy(max_hold_bars_min=0, max_hold_minutes=0.1, trigger_pace=0.004, pace_burst=500)
        with watched(run):
            until(lambda: run.results("orders/?status=filled"), seconds=120, what=run.console)
            yield run


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGQUIT], ids=["killed", "restarted_at_once"])
def test_a_database_that_dies_in_the_middle_of_work_loses_and_doubles_nothing(
    busy: CompanyRun, number: signal.Signals
) -> None:
    before = busy.asked("SELECT id, amount FROM trading_ledgerentry ORDER BY id")
    busy.kill("postgres", number)
    until(busy.ready, seconds=90, what=busy.console)
    assert busy.asked("SELECT id, amount FROM trading_ledgerentry ORDER BY id")[: len(before)] == before
    acts.trades(busy)
    assert books.wrong(busy) == []
    until(lambda: books.stuck(busy) == [], seconds=120, what=lambda: books.stuck(busy))


def test_five_deaths_of_a_database_in_a_row_lose_and_double_nothing(busy: CompanyRun) -> None:
    for _ in range(5):
        orders = busy.one("SELECT count(*) FROM trading_order")
        busy.kill("postgres")
        until(busy.ready, seconds=90, what=busy.console)
        until(lambda before=orders: busy.one("SELECT count(*) FROM trading_order") > before or _buy(busy), seconds=60)
    acts.trades(busy)
    assert books.wrong(busy) == []
    until(lambda: books.stuck(busy) == [], seconds=120, what=lambda: books.stuck(busy))


def _buy(run: CompanyRun) -> bool:
    acts.trades(run)
    return True


def test_a_killed_forked_worker_doesn_t_stop_the_company(busy: CompanyRun) -> None:
    """django-q2 may wedge as a whole when an idle one dies; then the watchdog replaces the group."""
    os.kill(busy.workers()[0], signal.SIGKILL)
    acts.trades(busy)
    for pid in busy.workers():
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)
    until(lambda: _traded(busy), seconds=300, what=busy.console)
    assert books.wrong(busy) == []
    until(lambda: books.stuck(busy) == [], seconds=120, what=lambda: books.stuck(busy))


def _traded(run: CompanyRun) -> bool:
    acts.trades(run)
    return True


def test_a_paused_market_process_is_replaced_by_its_stand_by_and_writes_nothing_when_it_wakes(
    busy: CompanyRun,
) -> None:
    holder = "SELECT holder FROM common_lease WHERE name = 'market' AND expires_at > clock_timestamp()"
    first = busy.pid("market")
    until(lambda: _held_by(busy, holder, first), seconds=60)
    with _stand_by(busy) as second:
        os.kill(first, signal.SIGSTOP)
        try:
            until(lambda: _held_by(busy, holder, second), seconds=60)
            epoch = busy.one("SELECT epoch FROM common_lease WHERE name = 'market'")
        finally:
            os.kill(first, signal.SIGCONT)
        lost = "Another market process took over"
        until(lambda: lost in busy.logs(), seconds=30, what=busy.console)
        assert _held_by(busy, holder, second)
        assert busy.one("SELECT epoch FROM common_lease WHERE name = 'market'") == epoch
        since = busy.now()
        until(lambda: busy.one("SELECT count(*) FROM trading_candle WHERE received_at > %s", since), seconds=30)
    until(lambda: _held_by(busy, holder, first), seconds=60, what=busy.console)


def _held_by(run: CompanyRun, query: str, pid: int) -> bool:
    return any(name.endswith(f":{pid}") for (name,) in run.asked(query))


@contextmanager
def _stand_by(run: CompanyRun) -> Iterator[int]:
    """Another market process of the same company, as a second host would run it."""
    env = {"TRADECO_HOME": str(run.home), "TRADECO_PROCESS": "market", "PATH": os.defpath}
    with (run.home / "stand-by.txt").open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "market"], cwd=ROOT, env=env, stdout=said, stderr=subprocess.STDOUT
        )
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait(timeout=20)


# --- homes that are used again ----------------------------------------------------------------------


def test_a_second_run_in_the_same_folder_is_refused_and_a_later_one_goes_on_with_the_same_company() -> None:
    with company() as run:
        run.start()
        until(lambda: run.results("orders/?status=filled"), seconds=120, what=run.console)
        code, said = run.refused()
        assert code == 3
        assert "already runs in" in said
        assert run.stop() <= STOP_SECONDS
        run.start()
        _is_the_same_company(run)
        orders = run.one("SELECT max(id) FROM trading_order")
        acts.trades(run)
        assert run.one("SELECT max(id) FROM trading_order") > orders
        assert books.wrong(run) == []
        assert run.stop() <= STOP_SECONDS


def _is_the_same_company(run: CompanyRun) -> None:
    assert run.results("orders/?status=filled&limit=200")[-1]["id"] == 1
    assert len(run.results("agents/")) == 6
    assert run.one("SELECT count(*) FROM trading_ledgertransaction WHERE kind = 'opening'") == 1
    assert run.one("SELECT count(*) FROM common_event WHERE kind = 'company.opened'") == 1
    assert run.one("SELECT count(*) FROM dashboard_apitoken") == 1
    assert run.one("SELECT count(*) FROM auth_user") == 1
    assert run.one("SELECT max(version) FROM missions_policyversion") == 1


def test_other_prices_in_a_company_s_home_are_refused_and_its_own_are_taken_again(tmp_path: Path) -> None:
    with company(TRADECO_SEED="11") as run:
        run.start()
        run.stop()
        for other in ({"TRADECO_SEED": "12"}, {"TRADECO_MARKET_CSV": str(_generated(tmp_path, bars=300))}):
            code, said = run.refused(**other)
            assert code == 1
            assert "This company trades on seeded:11" in said
            assert "TRADECO_HOME" in said, "it says what to do"
        run.start()
        assert run.stop() <= STOP_SECONDS


def test_a_price_file_without_a_candle_is_refused_with_the_reason(tmp_path: Path) -> None:
    file = tmp_path / "prices.csv"
    file.write_text("name,age\nscout,3\n")
    with company(TRADECO_MARKET_CSV=str(file)) as run:
        code, said = run.refused()
        assert code == 1
        assert "No candles were found" in said
        assert run.left("no mark") == []
        code, said = run.refused(TRADECO_MARKET_CSV=str(tmp_path / "none.csv"))
        assert code == 1
        assert "No such file" in said


# --- replays ----------------------------------------------------------------------------------------


BARS, SPEED = 700, 4  # of a replay: two and a half minutes

QUICK = {"beat_every_seconds": 2.0, "trigger_pace": 0.0015, "pace_burst": 5_000}
"""A replay runs ahead of the wall, and so must the agents' routines: a scan each ten candles, as in the demo market."""


def test_a_replayed_file_trades_closes_everything_at_its_end_and_takes_no_entry_any_more(tmp_path: Path) -> None:
    _replay(_generated(tmp_path, bars=BARS), **QUICK)


@needs_real_prices
def test_a_week_of_real_prices_trades_to_its_end(tmp_path: Path) -> None:
    _replay(_beginning(tmp_path), **QUICK)


@needs_real_prices
def test_a_company_on_real_prices_trades_in_a_minute_and_closes_a_position_in_five() -> None:
    """As a newcomer runs it: nothing set but the file."""
    with company(TRADECO_MARKET_CSV=str(REAL)) as run:
        run.start()
        with watched(run):
            until(lambda: run.results("orders/?status=filled"), seconds=60, what=run.console)
            until(lambda: run.results("positions/?status=closed"), seconds=300, what=run.console)


def _beginning(folder: Path) -> Path:
    file = folder / "candles.csv"
    file.write_text("\n".join(REAL.read_text().splitlines()[: BARS + 1]) + "\n")
    return file


def _generated(folder: Path, *, bars: int) -> Path:
    """Candles of the demo market, written as an exchange writes them."""
    path = SeededPath(5, bar_seconds=900)
    history = path.history(until=datetime(2026, 6, 1, tzinfo=UTC), bars=bars)["SOL/USDC"]
    file = folder / "candles.csv"
    with file.open("w", newline="") as out:
        rows = csv.writer(out)
        rows.writerow(["timestamp", "open", "high", "low", "close", "volume"])
        rows.writerows([int(b.start.timestamp() * 1000), b.open, b.high, b.low, b.close, b.volume] for b in history)
    return file


def _replay(file: Path, **policy: float) -> None:
    with company(TRADECO_MARKET_CSV=str(file), TRADECO_MARKET_SPEED=str(SPEED)) as run:
        run.start()
        run.policy(**policy)
        with watched(run):
            until(lambda: run.results("positions/?status=closed"), seconds=BARS / SPEED + 60, what=run.console)
            until(lambda: _ended(run), seconds=BARS / SPEED + 60, what=run.console)
            until(lambda: not run.results("positions/?status=open"), seconds=120, what=run.console)
            refused = run.propose("execute_trade", side="buy", market="SOL/USDC", size_usd="20.00")
            assert (refused["status"], refused["code"]) == ("rejected", "market_closed")
            assert [price["open"] for price in run.results("prices/")] == [False]
            portfolio = run.get("portfolio/")
            assert portfolio["equity_usd"] == portfolio["cash_usd"], "all of it is cash again"
            # the network is paid in SOL from the owner's reserve, and yet it is inside the P&L
            earned = Decimal(portfolio["realized_pnl_usd"]) + Decimal(portfolio["network_fees_usd"])
            assert earned == Decimal(portfolio["cash_usd"]) - 10_000


def _ended(run: CompanyRun) -> bool:
    return bool(run.one("SELECT count(*) FROM common_event WHERE kind = 'market.ended'"))
