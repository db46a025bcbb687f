"""Booking a fill: fill, ledger, position, order and attempt in the transaction that ends the step."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from missions.policy_keys import Policy
from tradeco.common import crashpoints, db, events, states
from tradeco.common.vocabulary import EventKind
from trading import ledger, lots, money, positions
from trading.ledger import Line
from trading.models import Attempt, Fill, Market, Order, Position
from trading.money import NATIVE, USDC
from trading.portfolio import market_time
from trading.positions import Costs
from trading.venues.base import Executed
from trading.vocabulary import AccountKind, AttemptStatus, LedgerKind, OrderStatus, PositionStatus, Side


def fill(order: Order, attempt: Attempt, executed: Executed, *, policy: Policy, now: datetime) -> None:
    """Book what the venue did. The caller holds the step; accounts are locked first, then the position."""
    db.requires_transaction()
    market = order.market
    ledger.lock(order.wallet, [market.base_id, market.quote_id, NATIVE])
    network_quote = in_quote(executed.network_fee)
    market_at = market_time(now=now)
    ledger.free(wallet=order.wallet, asset=order.asset_in, amount=order.amount_in)
    ledger.book(
        reference=f"fill:{attempt.reference}",
        kind=LedgerKind.FILL,
        wallet=order.wallet,
        lines=lines(order, executed, network_quote),
        now=now,
        market_at=market_at,
        memo=f"{order.side} {market.name}, order #{order.pk}",
    )
    crashpoints.reach("booking.entries_written")
    costs = Costs(executed, network_quote=network_quote)
    position, sold_cost, realized = _position(order, costs, policy=policy, now=now, market_at=market_at)
    booked = Fill.objects.create(
        order=order,
        attempt=attempt,
        amount_in=executed.amount_in,
        amount_out=executed.amount_out,
        fee_quote=executed.fee_quote,
        price=executed.price,
        network_fee=executed.network_fee,
        rent=executed.rent,
        network_fee_quote=network_quote,
        cost_quote=sold_cost,
        realized_quote=realized,
        at=now,
        market_at=market_at,
    )
    lots.book(booked)
    final = AttemptStatus.FINALIZED if executed.final else AttemptStatus.CONFIRMED
    states.move(attempt, to=final, ended_at=now, slot=executed.slot)
    states.move(order, to=OrderStatus.FILLED, ended_at=now, position_id=position.pk)
    _tell(order, position, costs, realized, policy=policy, now=now)


def network_fee(order: Order, attempt: Attempt, *, lamports: int, now: datetime) -> None:
    """Book what a transaction cost that did nothing else; once."""
    db.requires_transaction()
    if not lamports:
        return
    market = order.market
    ledger.lock(order.wallet, [market.base_id, market.quote_id, NATIVE])
    ledger.book(
        reference=f"fee:{attempt.reference}",
        kind=LedgerKind.FEE,
        wallet=order.wallet,
        lines=_network_lines(lamports, 0, in_quote(lamports)),
        now=now,
        market_at=market_time(now=now),
        memo=f"failed {order.side} {market.name}, order #{order.pk}",
    )


def let_go(order: Order, *, to: OrderStatus, code: str, reason: str, now: datetime) -> None:
    """End an order that provably exchanged nothing: its reservation is free again."""
    db.requires_transaction()
    ledger.lock(order.wallet, [order.asset_in_id])
    ledger.free(wallet=order.wallet, asset=order.asset_in, amount=order.amount_in)
    states.move(order, to=to, ended_at=now, code=code, reason=reason[:500])
    events.emit(
        kind=_ENDED[to],
        subject=order.subject,
        agent=order.agent_id,
        now=now,
        data={"market": order.market_id, "side": order.side, "code": code, "reason": reason[:500]},
    )


_ENDED = {
    OrderStatus.FAILED: EventKind.ORDER_FAILED,
    OrderStatus.CANCELLED: EventKind.ORDER_CANCELLED,
    OrderStatus.EXPIRED: EventKind.ORDER_EXPIRED,
}


def lines(order: Order, executed: Executed, network_quote: int) -> list[Line]:
    """What a fill books, the network's fee in raw quote beside it."""
    return [*_exchange(order, executed), *_network_lines(executed.network_fee, executed.rent, network_quote)]


def _exchange(order: Order, executed: Executed) -> list[Line]:
    base, quote, fee = order.market.base_id, order.market.quote_id, executed.fee_quote
    if order.side == Side.BUY:
        return [
            (AccountKind.WALLET, quote, -executed.amount_in),
            (AccountKind.VENUE, quote, executed.amount_in - fee),
            (AccountKind.FEES, quote, fee),
            (AccountKind.WALLET, base, executed.amount_out),
            (AccountKind.VENUE, base, -executed.amount_out),
        ]
    return [
        (AccountKind.WALLET, base, -executed.amount_in),
        (AccountKind.VENUE, base, executed.amount_in),
        (AccountKind.WALLET, quote, executed.amount_out),
        (AccountKind.FEES, quote, fee),
        (AccountKind.VENUE, quote, -(executed.amount_out + fee)),
    ]


def _network_lines(fee: int, rent: int, in_quote: int) -> list[Line]:
    """Lamports that a transaction cost on top, paid out of the fee reserve.

    The reserve is no part of equity, so its owner pays the fee for the trading side: in USD of the moment it counts as
    capital paid in and spent on fees, which keeps fees inside realised P&L.
    """
    return [
        (AccountKind.WALLET, NATIVE, -(fee + rent)),
        (AccountKind.NETWORK, NATIVE, fee),
        (AccountKind.RENT, NATIVE, rent),
        (AccountKind.CAPITAL, USDC, -in_quote),
        (AccountKind.FEES, USDC, in_quote),
    ]


def in_quote(lamports: int) -> int:
    """Lamports in raw USDC at SOL's newest price, rounded up; 0 where SOL has no price here."""
    market = Market.objects.select_related("base", "quote").filter(base=NATIVE, price__isnull=False).first()
    if not lamports or market is None or market.price is None:
        return 0
    decimals = {"base_decimals": market.base.decimals, "quote_decimals": market.quote.decimals}
    return money.value(lamports, price=market.price, **decimals) + 1


def _position(
    order: Order, costs: Costs, *, policy: Policy, now: datetime, market_at: datetime
) -> tuple[Position, int | None, int | None]:
    if order.side == Side.BUY:
        return positions.buy(order, costs, policy=policy, now=now, market_at=market_at), None, None
    return positions.sell(order, costs, now=now, market_at=market_at)


def _tell(
    order: Order,
    position: Position,
    costs: Costs,
    realized: int | None,
    *,
    policy: Policy,
    now: datetime,
) -> None:
    """The events of a fill, the thresholds that wake agents among them."""
    data: dict[str, Any] = {
        "market": order.market_id,
        "side": order.side,
        "price": f"{costs.executed.price:f}",
        "value_usd": f"{money.usd(costs.quote_moved(order.side)):.2f}",
        "fee_usd": f"{money.usd(costs.fees):.6f}",
        "position": position.pk,
    }
    if realized is not None:
        data["realized_pnl_usd"] = f"{money.usd(realized):.6f}"
    events.emit(kind=EventKind.ORDER_FILLED, subject=order.subject, agent=order.agent_id, now=now, data=data)
    if position.status == PositionStatus.CLOSED:
        _tell_closed(position, policy=policy, now=now)
        return
    opened = position.opened_at == now
    kind = EventKind.POSITION_OPENED if opened else EventKind.POSITION_CHANGED
    events.emit(kind=kind, subject=position.subject, agent=position.agent_id, now=now, data=data)
    open_now = Position.objects.filter(status=PositionStatus.OPEN).count()
    if opened and open_now >= policy.positions_many:
        events.emit(kind=EventKind.POSITIONS_MANY, subject="portfolio", now=now, data={"open": open_now})


def _tell_closed(position: Position, *, policy: Policy, now: datetime) -> None:
    share = Decimal(position.realized) / Decimal(position.bought)
    data = {
        "market": position.market_id,
        "realized_pnl_usd": f"{money.usd(position.realized):.6f}",
        "realized_pct": f"{share * 100:.3f}",
        "held_seconds": round((position.closed_market_at - position.opened_market_at).total_seconds())
        if position.closed_market_at
        else None,
    }
    kinds = [EventKind.POSITION_CLOSED]
    if share >= policy.win_trigger:
        kinds.append(EventKind.POSITION_WIN)
    if share <= -policy.loss_trigger:
        kinds.append(EventKind.POSITION_LOSS)
    for kind in kinds:
        events.emit(kind=kind, subject=position.subject, agent=position.agent_id, now=now, data=data)
