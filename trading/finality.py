"""A confirmed fill becomes final, with what the block that stands says of it; in one transaction, once.

Between two forks a transaction may have landed in another block than the one that was booked, at another price. The
difference is booked then: what was booked stays in the ledger, and the fill says what is true.
"""

from collections import Counter
from datetime import datetime

import structlog
from django.db import IntegrityError
from django.db.models import F

from tradeco.common import db, events, states
from tradeco.common.errors import StaleRow
from tradeco.common.vocabulary import EventKind
from trading import booking, ledger, lots, positions
from trading.models import Attempt, Fill, LedgerEntry, Order, Position
from trading.money import NATIVE
from trading.portfolio import market_time
from trading.positions import Costs
from trading.venues.base import Executed
from trading.vocabulary import AccountKind, AttemptStatus, LedgerKind, PositionStatus, Side

log = structlog.get_logger(__name__)


def make_final(attempt: Attempt, executed: Executed, *, now: datetime) -> bool:
    """False where another pass was first, or where what is missing was sold since: then balances differ, and a person
    is asked.
    """
    order = attempt.order
    try:
        with db.transaction():
            ledger.lock(order.wallet, [order.market.base_id, order.market.quote_id, NATIVE])
            states.move(attempt, to=AttemptStatus.FINALIZED, slot=executed.slot)
            fill = Fill.objects.select_for_update().get(attempt=attempt)
            corrected = not _is(fill, executed)
            if corrected:
                _correct(order, fill, executed, now=now)
            events.emit(
                kind=EventKind.ORDER_FINAL,
                subject=order.subject,
                agent=order.agent_id,
                now=now,
                data={"market": order.market_id, "reference": attempt.reference, "corrected": corrected},
            )
    except StaleRow:
        return False
    except IntegrityError:
        log.warning("What became final can't be booked.", action="correction_waits", order=order.pk)
        return False
    return True


def _is(fill: Fill, executed: Executed) -> bool:
    names = ("amount_in", "amount_out", "network_fee", "rent")
    return all(getattr(fill, name) == getattr(executed, name) for name in names)


def _correct(order: Order, fill: Fill, executed: Executed, *, now: datetime) -> None:
    """Ledger, position, fill and lots, as if the fill had been booked as it is."""
    assert fill.amount_in == executed.amount_in, "an exchange gives what its order said"
    same_fee = executed.network_fee == fill.network_fee
    network_quote = fill.network_fee_quote if same_fee else booking.in_quote(executed.network_fee)
    reference = f"fill:{fill.attempt.reference}"
    right: Counter[tuple[AccountKind, str]] = Counter()
    for kind, mint, amount in booking.lines(order, executed, network_quote):
        right[kind, mint] += amount
    for entry in LedgerEntry.objects.filter(transaction__reference=reference).select_related("account"):
        right[AccountKind(entry.account.kind), entry.asset_id] -= entry.amount
    ledger.book(
        reference=f"correction:{fill.attempt.reference}",
        kind=LedgerKind.CORRECTION,
        wallet=order.wallet,
        lines=[(kind, mint, amount) for (kind, mint), amount in sorted(right.items())],
        now=now,
        market_at=market_time(now=now),
        memo=f"order #{order.pk} landed in another block",
    )
    realized = _correct_position(order, fill, Costs(executed, network_quote=network_quote))
    for name in ("amount_out", "fee_quote", "price", "network_fee", "rent"):
        setattr(fill, name, getattr(executed, name))
    fill.network_fee_quote = network_quote
    fill.realized_quote = None if fill.realized_quote is None else fill.realized_quote + realized
    fill.save()
    lots.retell(fill)


def _correct_position(order: Order, fill: Fill, costs: Costs) -> int:
    """By how much realised P&L changes. What a purchase brought more stays in a position, also where it was sold."""
    fees = costs.fees - fill.fee_quote - fill.network_fee_quote
    mine = Position.objects.select_for_update(of=("self",)).select_related("market__base", "market__quote")
    if order.side == Side.SELL:
        more: int = costs.received - (fill.amount_out - fill.network_fee_quote)
        mine.filter(pk=order.position_id or 0).update(realized=F("realized") + more, fees=F("fees") + fees)
        return more
    here = mine.filter(wallet=order.wallet_id, market=order.market_id, status=PositionStatus.OPEN).first()
    position = here or mine.get(pk=order.position_id or 0)
    position.quantity += costs.executed.amount_out - fill.amount_out
    position.cost += costs.paid - (fill.amount_in + fill.network_fee_quote)
    position.bought += costs.paid - (fill.amount_in + fill.network_fee_quote)
    position.fees += fees
    if position.quantity:  # below zero the database refuses: more was sold than came
        position.status, position.closed_at, position.closed_market_at = PositionStatus.OPEN, None, None
        positions.place_exits(position)
    position.save()
    return 0
