"""Average cost, realised P&L and marks: what any history of fills must leave true."""

from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from missions import policies
from tests import cast
from tradeco.common import db
from trading import money, portfolio, positions, stops
from trading.models import Account, EquitySnapshot, Order, Position
from trading.venues.base import Executed

pytestmark = pytest.mark.usefixtures("company")


@given(
    fills=st.lists(
        st.tuples(st.integers(1, 10**13), st.integers(1, 10**10), st.integers(0, 10**6)), min_size=1, max_size=8
    ),
    share=st.integers(1, 999),
    proceeds=st.integers(0, 10**13),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_bought_and_sold_the_parts_add_up(
    fills: list[tuple[int, int, int]], share: int, proceeds: int
) -> None:
    """Cost of the parts is the whole cost; realised is what came in less what went out, to the smallest unit."""
    Position.objects.all().delete()
    _, policy = policies.current()
    now = db.now()
    order = _order()
    for quantity, paid, fee in fills:
        fill = Executed(amount_in=paid, amount_out=quantity, fee_quote=fee, price=Decimal(1))
        position = positions.buy(order, positions.Costs(fill), policy=policy, now=now, market_at=now)
    paid_in_all = sum(paid for _, paid, _ in fills)
    assert (position.cost, position.bought) == (paid_in_all, paid_in_all)
    order.position = position
    total = position.quantity
    first = max(1, total * share // 1000)
    received = 0
    for part in (first, total - first):
        if part:
            fill = Executed(amount_in=part, amount_out=proceeds, fee_quote=0, price=Decimal(1))
            position, _, _ = positions.sell(order, positions.Costs(fill), now=now, market_at=now)
            received += proceeds
    assert (position.quantity, position.cost, position.status) == (0, 0, "closed")
    assert position.realized == received - paid_in_all


def _order() -> Order:
    """An unsaved order: what positions read of one."""
    from trading.models import Market, Wallet

    return Order(
        wallet=Wallet.objects.get(),
        market=Market.objects.select_related("base", "quote").get(name="SOL/USDC"),
        agent_id="scout",
        side="buy",
    )


def test_a_purchase_pays_fee_and_slippage() -> None:
    cast.set_price("SOL/USDC", "100")
    position = cast.bought("SOL/USDC", "100.00")
    # 10 bps fee of 100 USD, and 5 bps of slippage on the price
    assert position.fees == 100_000
    assert position.quantity == money.raw(Decimal("99.9") / Decimal("100.05"), 9)
    seen = positions.view(position)
    assert seen.cost_usd == Decimal(100)
    assert seen.unrealized_pnl_usd is not None
    assert Decimal("-0.16") < seen.unrealized_pnl_usd < Decimal("-0.14")


def test_an_unpriced_position_is_unpriced_not_worthless() -> None:
    position = cast.bought()
    position.market.price = None
    position.market.save()
    seen = positions.view(position)
    assert (seen.value_usd, seen.unrealized_pnl_usd) == (None, None)
    assert portfolio.summary(now=db.now()).unpriced == ["SOL/USDC"]


def test_equity_is_cash_plus_marks_and_knows_its_peak() -> None:
    cast.bought("SOL/USDC", "200")
    price = Position.objects.get().market.price
    cast.set_price("SOL/USDC", price * 2)
    portfolio.snapshot(now=db.now(), limit=1)
    high = EquitySnapshot.objects.latest("id")
    cast.set_price("SOL/USDC", price / 2)
    portfolio.snapshot(now=db.now(), limit=1)
    low = EquitySnapshot.objects.latest("id")
    assert high.equity == high.cash + high.positions == high.peak
    assert low.peak == high.equity > low.equity
    assert portfolio.summary(now=db.now()).drawdown > 0


@pytest.mark.parametrize(("factor", "kind"), [("0.97", "stop.hit"), ("1.04", "take_profit.hit"), ("1", None)])
def test_exits_are_asked_for_at_their_prices_only(factor: str, kind: str | None) -> None:
    from tradeco.common.models import Event

    position = cast.bought()
    cast.set_price("SOL/USDC", position.market.price * Decimal(factor))
    asked = stops.run(now=db.now(), limit=10)["exits"]
    assert asked == ([position.pk] if kind else [])
    assert Event.objects.filter(kind__in=["stop.hit", "take_profit.hit"]).count() == (1 if kind else 0)
    # looking again asks for nothing more: the exit is under way
    assert stops.run(now=db.now(), limit=10)["exits"] == []


def test_the_longest_holding_counts_market_time() -> None:
    position = cast.bought()
    cast.set_price("SOL/USDC", position.market.price, at=cast.later(minutes=11))
    assert stops.run(now=db.now(), limit=10)["exits"] == [position.pk]


def test_a_protective_exit_needs_no_vote_no_cap_and_passes_reducing() -> None:
    from missions import company
    from missions.models import CapCharge, Proposal
    from missions.vocabulary import CompanyStatus

    position = cast.bought()
    cast.set_policy(trades_per_day=1)
    company.switch(to=CompanyStatus.REDUCING, by=None, reason="test", now=db.now())
    charges = CapCharge.objects.count()
    cast.set_price("SOL/USDC", position.stop_price / 2)
    stops.run(now=db.now(), limit=10)
    exit_ = Proposal.objects.get(protective=True)
    assert (exit_.status, exit_.votes.count(), CapCharge.objects.count()) == ("approved", 0, charges)
    cast.work()
    position.refresh_from_db()
    assert position.status == "closed"
    # the control: an entry is refused by both
    assert cast.submit(cast.buy("WIF/USDC")).code == "reducing"


def test_halted_stops_even_protective_exits_with_an_alarm_and_they_are_asked_for_again() -> None:
    from missions import company
    from missions.models import Proposal
    from missions.vocabulary import CompanyStatus
    from tradeco.common.models import Event

    position = cast.bought()
    company.switch(to=CompanyStatus.HALTED, by=None, reason="test", now=db.now())
    cast.set_price("SOL/USDC", position.stop_price / 2)
    stops.run(now=db.now(), limit=10)
    assert Proposal.objects.get(protective=True).code == "halted"
    assert Event.objects.filter(kind="alarm").count() == 1
    company.switch(to=CompanyStatus.ACTIVE, by=None, reason="test", now=db.now())
    assert stops.run(now=db.now(), limit=10)["exits"] == []
    Proposal.objects.update(created_at=cast.later(seconds=-16))
    assert stops.run(now=db.now(), limit=10)["exits"] == [position.pk]
    cast.work()
    position.refresh_from_db()
    assert position.status == "closed"


def test_nothing_is_sold_twice_when_two_want_to_close() -> None:
    position = cast.bought()
    assert cast.submit(cast.close(position.pk)).status == "approved"
    second = cast.submit(cast.close(position.pk))
    assert (second.status, second.code) == ("rejected", "nothing_to_sell")
    cast.work()
    assert Account.objects.get(kind="wallet", asset__symbol="SOL").balance == 0


def test_a_position_is_sold_once_however_much_of_its_asset_the_wallet_holds_for_fees() -> None:
    position = cast.bought("SOL/USDC")
    cast.give_sol(10**9)
    assert cast.submit(cast.close(position.pk)).status == "approved"
    again = cast.submit(cast.close(position.pk))
    assert (again.status, again.code) == ("rejected", "nothing_to_sell")
    cast.work()
    assert (Order.objects.get(side="sell").status, Position.objects.get().status) == ("filled", "closed")
