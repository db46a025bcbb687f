"""A confirmed fill that the chain forgot is reversed, in one transaction, once."""

from datetime import datetime
from typing import Any

import structlog
from django.db import IntegrityError

from tradeco.common import db, events, states
from tradeco.common.errors import StaleRow
from tradeco.common.vocabulary import EventKind
from trading import booking, findings, ledger, lots, positions
from trading.models import Attempt, Fill, LedgerEntry, Order, Position
from trading.portfolio import market_time
from trading.venues.base import NeverLanded, Refused
from trading.vocabulary import AccountKind, AttemptStatus, FindingKind, LedgerKind, OrderStatus, PositionStatus, Side

log = structlog.get_logger(__name__)


def reverse(attempt: Attempt, proof: NeverLanded | Refused, *, now: datetime) -> bool:
    """Book the fill's entries back, put its position right, and open a finding.

    It vanished, or landed again elsewhere and failed there, which costs the network's fee. False where another pass
    was first, or where its money is spent in the books by a later trade that must be reversed before.
    """
    order = attempt.order
    try:
        with db.transaction():
            fill = _reverse(attempt, proof, now=now)
            _tell_people(order, fill, proof, reference=attempt.reference or "", now=now)
    except StaleRow:
        return False
    except IntegrityError:
        log.warning("A reversal waits for that of a later trade.", action="reversal_waits", order=order.pk)
        return False
    return True


def _tell_people(order: Order, fill: Fill, proof: NeverLanded | Refused, *, reference: str, now: datetime) -> None:
    findings.found_within(
        wallet=order.wallet,
        kind=FindingKind.VANISHED,
        key=reference,
        what=f"The {order.side} of order #{order.pk} in {order.market_id} was confirmed, vanished, and is reversed.",
        evidence=_evidence(order, fill, proof),
        now=now,
    )


def _reverse(attempt: Attempt, proof: NeverLanded | Refused, *, now: datetime) -> Fill:
    order = attempt.order
    order.refresh_from_db(fields=["status"])
    attempt.refresh_from_db(fields=["status"])
    if attempt.status != AttemptStatus.CONFIRMED:
        raise StaleRow
    ledger.lock(order.wallet, sorted(_mints_of(attempt)))
    if isinstance(proof, NeverLanded):
        states.move(attempt, to=AttemptStatus.EXPIRED, code="vanished", evidence=proof.evidence)
    else:
        states.move(attempt, to=AttemptStatus.FAILED_ONCHAIN, code=proof.code, slot=proof.slot)
    fill = Fill.objects.select_for_update().get(attempt=attempt)
    _entries_back(attempt, order, now=now)
    if isinstance(proof, Refused):
        booking.network_fee(order, attempt, lamports=proof.network_fee, now=now)
    _position_back(order, fill, now=now)
    Fill.objects.filter(pk=fill.pk).update(reversed_at=now)
    lots.retell(fill)
    states.move(order, to=OrderStatus.FAILED, code="vanished", reason=proof.reason[:500])
    events.emit(
        kind=EventKind.ORDER_VANISHED,
        subject=order.subject,
        agent=order.agent_id,
        now=now,
        data={"market": order.market_id, "side": order.side, "reference": attempt.reference},
    )
    return fill


def _mints_of(attempt: Attempt) -> set[str]:
    entries = LedgerEntry.objects.filter(transaction__reference=f"fill:{attempt.reference}")
    return set(entries.values_list("asset_id", flat=True))


def _entries_back(attempt: Attempt, order: Order, *, now: datetime) -> None:
    booked = LedgerEntry.objects.filter(transaction__reference=f"fill:{attempt.reference}").select_related("account")
    ledger.book(
        reference=f"reversal:{attempt.reference}",
        kind=LedgerKind.REVERSAL,
        wallet=order.wallet,
        lines=[(AccountKind(entry.account.kind), entry.asset_id, -entry.amount) for entry in booked.order_by("pk")],
        now=now,
        market_at=market_time(now=now),
        memo=f"order #{order.pk} vanished from the chain",
    )


def _position_back(order: Order, fill: Fill, *, now: datetime) -> None:
    """As if the fill hadn't been: a buy's quantity and cost leave, a sale's come back.

    What vanished with a buy may have been sold since; that sale can't have landed either, and is reversed before or
    after. Meanwhile the position holds less than nothing of it: it is set to what is left, never below.
    """
    assert order.position_id is not None, "a filled order has its position"
    position = Position.objects.select_for_update().get(pk=order.position_id)
    home = _open_now(position)
    if order.side == Side.BUY:
        paid = fill.amount_in + fill.network_fee_quote
        position.quantity -= min(position.quantity, fill.amount_out)
        # its own cost leaves, not the average's: what was bought before costs what it did
        position.cost = max(0, position.cost - paid) if position.quantity else 0
        position.bought -= min(position.bought, paid)
        if position.quantity:
            positions.place_exits(position)
        elif position.status == PositionStatus.OPEN:
            position.status, position.closed_at, position.closed_market_at = PositionStatus.CLOSED, now, now
    else:
        home.quantity += fill.amount_in
        home.cost += fill.cost_quote or 0
        position.realized -= fill.realized_quote or 0
        if home.status == PositionStatus.CLOSED:
            home.status, home.closed_at, home.closed_market_at = PositionStatus.OPEN, None, None
    position.fees -= fill.fee_quote + fill.network_fee_quote
    position.save()
    if home is not position:
        positions.place_exits(home)
        home.save()


def _open_now(position: Position) -> Position:
    """Where a sale's quantity comes back to: its own position, or the market's open one if that is another by now."""
    others = Position.objects.select_for_update().exclude(pk=position.pk)
    successor = others.filter(wallet=position.wallet_id, market=position.market_id, status=PositionStatus.OPEN).first()
    return position if position.status == PositionStatus.OPEN else successor or position


def _evidence(order: Order, fill: Fill, proof: NeverLanded | Refused) -> dict[str, Any]:
    return {
        "order": order.pk,
        "amount_in": str(fill.amount_in),
        "amount_out": str(fill.amount_out),
        "proof": proof.reason,
        **getattr(proof, "evidence", {}),
    }
