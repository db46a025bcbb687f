"""Positions: what a fill does to one, and what it is worth at its mark.

Average cost, fees inside: cost grows by all that left the wallet, realised P&L is what came in less the share of
cost that was sold.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from missions.policy_keys import Policy
from trading import money
from trading.models import Feed, Order, Position
from trading.venues.base import Executed
from trading.vocabulary import PositionStatus, Side


@dataclass(frozen=True, slots=True)
class PositionView:
    """A position for people: whole tokens and USD; None where the market has no price."""

    quantity: Decimal
    cost_usd: Decimal
    entry_price: Decimal | None
    mark_price: Decimal | None
    value_usd: Decimal | None
    unrealized_pnl_usd: Decimal | None
    unrealized_pct: Decimal | None
    realized_pnl_usd: Decimal
    fees_usd: Decimal


@dataclass(frozen=True, slots=True)
class Costs:
    """What a fill moved, with the network's fee in raw quote beside it."""

    executed: Executed
    network_quote: int = 0

    @property
    def paid(self) -> int:
        """Raw quote that a buy cost, fees inside."""
        return self.executed.amount_in + self.network_quote

    @property
    def received(self) -> int:
        """Raw quote that a sale brought, fees deducted."""
        return self.executed.amount_out - self.network_quote

    @property
    def fees(self) -> int:
        return self.executed.fee_quote + self.network_quote

    def quote_moved(self, side: str) -> int:
        """Raw quote that left or entered the wallet."""
        return self.executed.amount_in if side == Side.BUY else self.executed.amount_out


def view(position: Position) -> PositionView:
    """What a position holds, cost and is worth now. Select `market__base` and `market__quote` with it."""
    worth = value(position)
    unrealized = None if worth is None else worth - position.cost
    return PositionView(
        quantity=position.units(position.quantity),
        cost_usd=money.usd(position.cost),
        entry_price=entry_price(position),
        mark_price=position.market.price,
        value_usd=None if worth is None else money.usd(worth),
        unrealized_pnl_usd=None if unrealized is None else money.usd(unrealized),
        unrealized_pct=gain(position) * 100 if position.cost and worth is not None else None,
        realized_pnl_usd=money.usd(position.realized),
        fees_usd=money.usd(position.fees),
    )


def value(position: Position) -> int | None:
    """Raw quote value at the mark; None where the market has no price, which is not zero."""
    market = position.market
    if market.price is None:
        return None
    return money.value(
        position.quantity,
        price=market.price,
        base_decimals=market.base.decimals,
        quote_decimals=market.quote.decimals,
    )


def gain(position: Position) -> Decimal:
    """Unrealised gain as a share of cost; 0 where nothing can be said."""
    worth = value(position)
    if worth is None or not position.cost:
        return Decimal(0)
    return Decimal(worth - position.cost) / Decimal(position.cost)


def entry_price(position: Position) -> Decimal | None:
    """Average cost in USD per whole token, fees inside."""
    if not position.quantity:
        return None
    return money.usd(position.cost) / position.units(position.quantity)


def buy(order: Order, costs: Costs, *, policy: Policy, now: datetime, market_at: datetime) -> Position:
    """Open the market's position, or enlarge the one that is open."""
    position = (
        Position.objects.select_for_update(of=("self",))
        .select_related("market__base", "market__quote")
        .filter(wallet=order.wallet, market=order.market, status=PositionStatus.OPEN)
        .first()
    )
    if position is None:
        position = _new(order, policy=policy, now=now, market_at=market_at)
    position.quantity += costs.executed.amount_out
    position.cost += costs.paid
    position.bought += costs.paid
    position.fees += costs.fees
    place_exits(position)
    position.save()
    return position


def sell(order: Order, costs: Costs, *, now: datetime, market_at: datetime) -> tuple[Position, int, int]:
    """Take a sale out of its position; the position, the cost of what was sold, and the realised P&L in raw quote."""
    assert order.position_id is not None, "a sale names its position"
    position = (
        Position.objects.select_for_update(of=("self",))
        .select_related("market__base", "market__quote")
        .get(pk=order.position_id)
    )
    sold = costs.executed.amount_in
    assert 0 < sold <= position.quantity, "an order reserves no more than its position holds"
    # rounded so that the cost of all parts together is the whole cost
    sold_cost = position.cost if sold == position.quantity else position.cost * sold // position.quantity
    realized = costs.received - sold_cost
    position.quantity -= sold
    position.cost -= sold_cost
    position.realized += realized
    position.fees += costs.fees
    if position.quantity == 0:
        position.status, position.closed_at, position.closed_market_at = PositionStatus.CLOSED, now, market_at
    position.save()
    return position, sold_cost, realized


def _new(order: Order, *, policy: Policy, now: datetime, market_at: datetime) -> Position:
    return Position(
        wallet=order.wallet,
        market=order.market,
        agent_id=order.agent_id,
        quantity=0,
        cost=0,
        bought=0,
        stop_loss=order.stop_loss or policy.stop_loss,
        take_profit=order.take_profit or policy.take_profit,
        hold_until=_hold_until(policy, market_at),
        opened_at=now,
        opened_market_at=market_at,
    )


def longest_holding(policy: Policy) -> timedelta | None:
    """Of market time, with coarse candles at least so many of them; None where holding has no limit."""
    if policy.max_hold_minutes is None:
        return None
    bar = Feed.objects.values_list("bar_seconds", flat=True).first() or 0
    return timedelta(seconds=max(policy.max_hold_minutes * 60, policy.max_hold_bars_min * bar))


def _hold_until(policy: Policy, market_at: datetime) -> datetime | None:
    longest = longest_holding(policy)
    return None if longest is None else market_at + longest


def place_exits(position: Position) -> None:
    """Put stop and take-profit where the average cost asks for them."""
    entry = entry_price(position)
    assert entry is not None
    position.stop_price = entry * (1 - position.stop_loss)
    position.take_profit_price = entry * (1 + position.take_profit)
