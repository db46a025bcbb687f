"""Peak and day's loss: what the owner moves is no loss and hides none, and a wrong price is taken back by people."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
from django.contrib.auth.models import AbstractUser
from django.core.management import CommandError, call_command

from missions import heartbeat
from missions.models import Proposal
from tests import admin_rows, cast
from tradeco.common import db, leases
from tradeco.common.models import Event
from trading import baselines, facts, ledger, money, portfolio
from trading.models import EquitySnapshot, LedgerTransaction, Market
from trading.portfolio import BeatRuns
from trading.vocabulary import AccountKind

pytestmark = pytest.mark.usefixtures("company")


def moved(usd: int) -> None:
    """The owner pays in, or takes out."""
    usdc = usd * 1_000_000
    lines = [(AccountKind.WALLET, money.USDC, usdc), (AccountKind.CAPITAL, money.USDC, -usdc)]
    with db.transaction():
        name = f"movement:{LedgerTransaction.objects.count()}"
        ledger.book(
            reference=name, kind="movement", wallet=portfolio.wallet(), lines=lines, now=db.now(), market_at=None
        )


def lost(usd: int) -> None:
    """Trading lost as much; here it just goes."""
    lines = [(AccountKind.WALLET, money.USDC, -usd * 1_000_000), (AccountKind.FEES, money.USDC, usd * 1_000_000)]
    with db.transaction():
        name = f"fee:{LedgerTransaction.objects.count()}"
        ledger.book(reference=name, kind="fee", wallet=portfolio.wallet(), lines=lines, now=db.now(), market_at=None)


def measure() -> None:
    portfolio.snapshot(now=db.now(), limit=1)


def losses() -> tuple[Decimal, Decimal]:
    """Of the day, and from the peak."""
    found = portfolio.summary(now=db.now())
    return (found.day_start_usd - found.equity_usd) / found.day_start_usd, found.drawdown


@pytest.mark.parametrize("usd", [-5_000, -8_900, 5_000, 1_000_000])
def test_what_the_owner_moves_is_no_loss_and_hides_none(usd: int) -> None:
    measure()
    lost(1_000)
    measure()
    assert losses() == (Decimal("0.1"), Decimal("0.1"))
    moved(usd)
    for _ in range(3):
        assert [round(each, 6) for each in losses()] == [Decimal("0.1"), Decimal("0.1")]
        measure()
    lost(50)
    day, peak = losses()
    assert day == peak > Decimal("0.1")


def test_control_without_carrying_a_withdrawal_is_a_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    measure()
    moved(-5_000)
    assert cast.submit(cast.buy()).status == "approved"
    monkeypatch.setattr(baselines, "_carried", lambda base, **_: base)
    assert cast.submit(cast.buy()).code == "daily_loss"


def test_several_movements_in_a_day_are_each_carried() -> None:
    measure()
    lost(1_000)
    moved(-4_500)
    measure()
    moved(4_500)
    measure()
    moved(1_000)
    day, peak = losses()
    assert (round(day, 4), round(peak, 4)) == (Decimal("0.1"), Decimal("0.1"))


def test_whoever_takes_all_out_and_pays_in_again_begins_anew() -> None:
    measure()
    moved(-10_000)
    measure()
    assert portfolio.summary(now=db.now()).drawdown == 0
    moved(500)
    measure()
    assert losses() == (0, 0)


def test_the_day_begins_with_the_last_look_before_it() -> None:
    measure()
    EquitySnapshot.objects.update(at=db.now() - timedelta(days=1))
    lost(500)
    assert losses() == (Decimal("0.05"), Decimal("0.05"))
    moved(-5_000)
    assert [round(each, 6) for each in losses()] == [Decimal("0.05"), Decimal("0.05")]


@pytest.fixture
def wrong_price() -> Callable[[], Proposal]:
    """One price of a hundred times as much was measured yesterday; gives an entry that is asked for now."""
    cast.bought("SOL/USDC", "390.00")
    right = Market.objects.get(name="SOL/USDC").price
    assert right is not None
    measure()
    cast.set_price("SOL/USDC", right * 100)
    measure()
    cast.set_price("SOL/USDC", right)
    measure()
    for row in EquitySnapshot.objects.all():
        EquitySnapshot.objects.filter(pk=row.pk).update(at=row.at - timedelta(days=1))
    return lambda: cast.submit(cast.buy("JUP/USDC", "20.00"))


def test_a_peak_that_a_wrong_price_made_is_taken_back_by_a_person(wrong_price: Callable[[], Proposal]) -> None:
    assert wrong_price().code == "drawdown"
    call_command("reset_peak", reason="The feed had said 100 times as much.")
    assert wrong_price().status == "approved"
    measure()
    assert wrong_price().status == "approved"
    said = Event.objects.get(kind="equity.peak_reset").data
    assert (said["by"], said["reason"]) == ("admin", "The feed had said 100 times as much.")


def test_where_two_are_asked_for_two_take_it_back(wrong_price: Callable[[], Proposal]) -> None:
    admin_rows.person("olga", "operator")
    cast.force_policy(quorum=2)
    with pytest.raises(CommandError, match="1 more person") as waits:
        call_command("reset_peak", reason="wrong price")
    assert (waits.value.returncode, wrong_price().code) == (3, "drawdown")
    call_command("reset_peak", reason="wrong price", user="olga")
    assert wrong_price().status == "approved"


def test_no_beat_measures_meanwhile(admin_user: AbstractUser) -> None:
    held = leases.acquire(heartbeat.LEASE, holder="a beat", seconds=30)
    assert held is not None
    with pytest.raises(BeatRuns):
        portfolio.reset_peak(by=admin_user, reason="x")
    leases.release(held)
    assert portfolio.reset_peak(by=admin_user, reason="x") == 0
    assert heartbeat.run(asked_by="test", now=db.now()) is not None


def test_gates_are_told_the_loss_net_of_what_the_owner_moved() -> None:
    from missions.gates import Case, Known

    measure()
    lost(1_000)
    moved(-4_500)
    told = facts.portfolio(Known(Case(cast.buy()), now=db.now()))
    assert (told["day_loss"], told["drawdown"]) == ("0.100000", "0.100000")
