"""FIFO lots: which purchase each sale gave away, beside the average cost that positions go by."""

from decimal import Decimal

import pytest
from django.db import transaction
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from missions import policies
from tests import cast
from tests.chain_company import ChainCompany
from tradeco.common import db
from trading import lots, positions
from trading.models import Attempt, Fill, Lot, LotSale, Order, Position
from trading.positions import Costs
from trading.venues.base import Executed

COMPANY = pytest.mark.usefixtures("company")


def filled(position: Position | None, side: str, amount_in: int, amount_out: int, network_fee: int) -> Fill:
    """A fill as booking leaves it, its position and lots brought up to date; what led to it is borrowed."""
    template = Order.objects.select_related("wallet", "market__base", "market__quote").order_by("pk").first()
    assert template is not None
    _, policy = policies.current()
    now = db.now()
    order = Order.objects.get(pk=template.pk)
    order.side, order.position = side, position
    executed = Executed(amount_in=amount_in, amount_out=amount_out, fee_quote=0, price=Decimal(1))
    costs = Costs(executed, network_quote=network_fee)
    attempt = Attempt.objects.create(
        order=order, n=order.attempts.count() + 1, reference=f"{order.attempts.count()}", status="finalized",
        quote={}, created_at=now, ended_at=now,
    )  # fmt: skip
    realized = None
    with transaction.atomic():
        if side == "buy":
            order.position = positions.buy(order, costs, policy=policy, now=now, market_at=now)
        else:
            order.position, _, realized = positions.sell(order, costs, now=now, market_at=now)
        fill = Fill.objects.create(
            order=order, attempt=attempt, amount_in=amount_in, amount_out=amount_out, fee_quote=0, price=1,
            network_fee_quote=network_fee, realized_quote=realized, at=now, market_at=now,
        )  # fmt: skip
        lots.book(fill)
    return fill


def empty_books() -> None:
    LotSale.objects.all().delete()
    Lot.objects.all().delete()
    Fill.objects.all().delete()
    Attempt.objects.all().delete()
    Position.objects.all().delete()


@COMPANY
@given(
    buys=st.lists(
        st.tuples(st.integers(1, 10**15), st.integers(1, 10**12), st.integers(0, 10**6)), min_size=1, max_size=5
    ),
    shares=st.lists(st.tuples(st.integers(1, 999), st.integers(0, 10**12)), max_size=4),
    last=st.integers(0, 10**12),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lots_hold_what_the_position_holds_and_both_methods_agree_once_all_is_sold(
    buys: list[tuple[int, int, int]], shares: list[tuple[int, int]], last: int
) -> None:
    if not Order.objects.exists():
        cast.submit(cast.buy("SOL/USDC"))
    empty_books()
    position = None
    realized = 0
    for quantity, paid, fee in buys:
        filled(position, "buy", paid, quantity, fee)
        position = Position.objects.get(status="open")
        assert held() == position.quantity
    for share, proceeds in shares:
        part = position.quantity * share // 1000
        if 0 < part < position.quantity:
            realized += filled(position, "sell", part, proceeds, 7).realized_quote or 0
            position.refresh_from_db()
            assert held() == position.quantity
    realized += filled(position, "sell", position.quantity, last, 7).realized_quote or 0
    fifo = LotSale.objects.aggregate(gain=Sum("proceeds") - Sum("cost"))["gain"]
    assert fifo == realized
    assert not Lot.objects.exclude(remaining=0, cost_remaining=0).exists()
    assert not LotSale.objects.filter(lot=None).exists()


def held() -> int:
    return Lot.objects.aggregate(held=Sum("remaining"))["held"] or 0


@COMPANY
def test_the_oldest_purchase_is_sold_first_while_the_position_goes_by_average_cost() -> None:
    cast.set_price("SOL/USDC", "100")
    position = cast.bought("SOL/USDC", "100.00")
    cast.set_price("SOL/USDC", "120")
    position = cast.bought("SOL/USDC", "120.00")
    first, _ = Lot.objects.order_by("fill")
    assert first.cost == 100_000_000
    scale = {"position": position.pk, "direction": "down", "size_usd": "60.00"}
    cast.submit(cast.draft(steps=[{"kind": "scale_position", "params": scale}]))
    cast.work()
    sale = LotSale.objects.get()
    assert sale.lot == first
    assert sale.cost == 100_000_000 * sale.quantity // first.quantity
    assert sale.fill.cost_quote > sale.cost, "the average holds the dearer purchase too"
    assert sale.fill.realized_quote < sale.proceeds - sale.cost
    first.refresh_from_db()
    assert (first.remaining, first.cost_remaining) == (first.quantity - sale.quantity, first.cost - sale.cost)
    assert held() == Position.objects.get().quantity


@COMPANY
def test_fills_from_before_there_were_lots_are_caught_up() -> None:
    position = cast.bought("SOL/USDC", "100.00")
    Lot.objects.all().delete()
    assert lots.catch_up() == 1
    assert held() == position.quantity
    assert lots.catch_up() == 0


@COMPANY
def test_a_sale_of_what_was_bought_before_there_were_lots_finds_them() -> None:
    position = cast.bought("SOL/USDC", "100.00")
    Lot.objects.all().delete()
    cast.submit(cast.close(position.pk))
    cast.work()
    assert LotSale.objects.get().lot is not None
    assert held() == 0


@COMPANY
def test_what_no_purchase_brought_is_sold_at_a_cost_unknown() -> None:
    position = cast.bought("SOL/USDC", "100.00")
    cast.submit(cast.close(position.pk))
    Fill.objects.update(amount_out=position.quantity - 1_000)
    Lot.objects.update(quantity=position.quantity - 1_000, remaining=position.quantity - 1_000)
    cast.work()
    known, unknown = LotSale.objects.order_by("pk")
    assert (unknown.lot, unknown.quantity, unknown.cost) == (None, 1_000, 0)
    assert known.quantity == position.quantity - 1_000


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_a_fill_that_vanishes_from_the_chain_leaves_the_lots_as_if_it_had_not_been(
    chain: ChainCompany, side: str
) -> None:
    cast.submit(cast.buy("JUP/USDC", "100.00"))
    chain.work()
    if side == "sell":
        chain.slots(40)
        chain.reconcile()
        cast.submit(cast.close(Position.objects.get().pk))
        chain.work()
        assert held() == 0
    vanish(chain)
    assert chain.reconcile()["vanished"] == 1
    assert Fill.objects.filter(reversed_at=None).count() == (1 if side == "sell" else 0)
    standing = Position.objects.filter(status="open").aggregate(held=Sum("quantity"))["held"] or 0
    assert held() == standing
    assert not LotSale.objects.exists()


def vanish(chain: ChainCompany) -> None:
    """The chain forgets the newest transaction, and time enough passes to prove that it has."""
    newest = Attempt.objects.order_by("-pk").values_list("reference", flat=True)[0]
    chain.sandbox.chain.reorganise(newest)
    chain.slots(200)
