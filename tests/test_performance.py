"""Daily returns and what they say, against figures worked out by hand."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from dashboard.api.trading import PortfolioShape
from tests import cast
from tests.chain_company import ChainCompany
from tradeco.common import db
from trading import money, performance
from trading.models import EquitySnapshot, Fill, LedgerEntry
from trading.performance import Close

TODAY = datetime(2026, 3, 20, 12, tzinfo=UTC)
pytestmark = pytest.mark.django_db


def snapshot(at: datetime, equity: int, *, paid_in: int = 0, peak: int | None = None) -> None:
    EquitySnapshot.objects.create(
        at=at, market_at=at, cash=equity, positions=0, equity=equity, peak=peak or equity,
        realized=equity - paid_in, unrealized=0,
    )  # fmt: skip


def days(*equities: int) -> None:
    """A close each day up to yesterday."""
    for ago, equity in enumerate(reversed(equities), 1):
        snapshot(TODAY - timedelta(days=ago), equity)


def test_a_days_close_is_its_last_snapshot_by_utc() -> None:
    snapshot(datetime(2026, 3, 18, 23, 59, 59, tzinfo=UTC), 100)
    snapshot(datetime(2026, 3, 19, 0, 0, 0, tzinfo=UTC), 101)
    snapshot(datetime(2026, 3, 19, 23, 59, 59, tzinfo=UTC), 102)
    snapshot(datetime(2026, 3, 20, 1, tzinfo=UTC), 500)
    assert [(each.day.day, each.equity) for each in performance.closes(now=TODAY)] == [(18, 100), (19, 102)]


def test_ratios_are_those_of_the_textbook() -> None:
    returns = [0.01, -0.02, 0.03, 0.0, 0.01, -0.01, 0.02, 0.01, -0.005, 0.005]
    mean = sum(returns) / 10
    deviation = math.sqrt(sum((each - mean) ** 2 for each in returns) / 9)
    downside = math.sqrt((0.02**2 + 0.01**2 + 0.005**2) / 10)
    assert performance.sharpe(returns) == pytest.approx(mean / deviation * math.sqrt(365))
    assert performance.sortino(returns) == pytest.approx(mean / downside * math.sqrt(365))


def test_returns_come_from_the_snapshots() -> None:
    days(1000, 1010, 1000, 1020, 1030, 1000, 1010, 1020, 1030, 1020, 1040)
    found = performance.summary(now=TODAY)
    assert found.days == 10
    assert found.sharpe is not None
    assert found.sortino is not None
    assert found.sortino > found.sharpe > 0


@pytest.mark.parametrize("count", [0, 1, 10])
def test_few_days_say_nothing(count: int) -> None:
    days(*(1000 + n * (-1) ** n for n in range(count)))
    found = performance.summary(now=TODAY)
    assert (found.sharpe, found.sortino) == (None, None)
    assert found.days == max(0, count - 1)


def test_what_never_varies_and_never_loses_has_no_ratio() -> None:
    days(*([1000] * 12))
    assert performance.summary(now=TODAY).sharpe is None
    assert performance.sortino([0.01] * 12) is None


def test_money_paid_in_is_no_gain() -> None:
    day = timedelta(days=1)
    found = [
        Close(TODAY.date() - 2 * day, equity=1000, peak=1000, profit=0),
        Close(TODAY.date() - day, equity=2010, peak=2010, profit=10),
    ]
    assert performance.daily_returns(found) == [0.01]


def test_no_return_is_formed_across_a_day_without_a_close() -> None:
    day = timedelta(days=1)
    found = [Close(TODAY.date() - n * day, equity=1000, peak=1000, profit=0) for n in (4, 3, 1)]
    assert len(performance.daily_returns(found)) == 1


def test_the_drawdown_is_from_the_peak_of_its_time() -> None:
    for ago, equity, peak in ((3, 1000, 1000), (2, 900, 1200), (1, 1500, 1500)):
        snapshot(TODAY - timedelta(days=ago), equity, peak=peak)
    assert performance.summary(now=TODAY).max_drawdown == pytest.approx(0.25)


def test_it_looks_once_a_day_however_many_snapshots_there_are() -> None:
    now = db.now()
    EquitySnapshot.objects.bulk_create(
        EquitySnapshot(
            at=now - timedelta(minutes=n),
            market_at=now,
            cash=1,
            positions=0,
            equity=1,
            peak=1,
            realized=0,
            unrealized=0,
        )
        for n in range(5000)
    )
    assert len(performance.closes(now=now)) in (3, 4)


def test_the_portfolio_tells_what_the_network_took_and_what_is_left_for_it(chain: ChainCompany) -> None:
    cast.submit(cast.buy("JUP/USDC", "100.00"))
    chain.work()
    chain.sandbox.faults.add("fail_transaction", route="sendTransaction", times=1)
    cast.submit(cast.buy("WIF/USDC", "100.00"))
    chain.work()
    fill = Fill.objects.get()
    failed = LedgerEntry.objects.get(transaction__kind="fee", account__kind="fees")
    told = PortfolioShape.at(db.now()).as_json()
    assert Decimal(told["network_fees_usd"]) == Decimal(fill.network_fee_quote + failed.amount).scaleb(-6)
    assert Decimal(told["network_fees_usd"]) <= Decimal(told["fees_usd"])
    assert Decimal(told["fee_reserve_sol"]) == Decimal(chain.held()[money.NATIVE]).scaleb(-9)
    assert (told["sharpe"], told["return_days"]) == (None, 0)


@pytest.mark.usefixtures("company")
def test_the_portfolio_tells_how_it_did() -> None:
    now = db.now()
    for ago, equity in enumerate((1040, 1020, 1030, 1020, 1010, 1000, 1030, 1020, 1000, 1010, 1000), 1):
        snapshot(now - timedelta(days=ago), equity * 10**6)
    told = PortfolioShape.at(now).as_json()
    assert told["return_days"] == 10
    assert 0 < Decimal(told["sharpe"]) < Decimal(told["sortino"])
    assert Decimal(told["max_drawdown"]) == 0
