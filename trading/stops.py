"""Protective exits: stop, take-profit, longest holding, end of prices. Each is a proposal through the one door, marked
protective, so that no vote, no entry cap and no REDUCING holds it back.

The market process looks at each new price, the heartbeat at each beat; that both look costs nothing, since a cause
has one proposal.
"""

from datetime import datetime, timedelta
from typing import Any

from missions import drafts, policies, proposals
from missions.models import Proposal
from missions.models.mission import ENDED
from missions.policy_keys import Policy
from missions.vocabulary import ProposalSource, ProposalStatus
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind
from trading import positions
from trading.models import Feed, Order, Position
from trading.models.order import LIVE_ORDER
from trading.vocabulary import PositionStatus, Side

AGAIN_AFTER = timedelta(seconds=15)  # a protective exit that was refused or failed is asked for again


def run(*, now: datetime, limit: int) -> dict[str, Any]:
    """Look at every open position at its newest price; which exits were asked for."""
    _, policy = policies.current()
    feed = Feed.objects.first()
    held = Position.objects.filter(status=PositionStatus.OPEN).select_related("market__base", "market__quote")
    asked = []
    for position in held.order_by("pk")[:limit]:
        _watch_loss(position, policy, now=now)
        why = reason_to_exit(position, feed)
        if why and _ask(position, *why, now=now):
            asked.append(position.pk)
    return {"exits": asked}


def reason_to_exit(position: Position, feed: Feed | None) -> tuple[EventKind, str] | None:
    """Why this position must be closed at the newest price, if it must."""
    price, market_at = position.market.price, position.market.price_at
    if price is None or market_at is None:
        return None
    if position.stop_price is not None and price <= position.stop_price:
        return EventKind.STOP_HIT, f"stop at {position.stop_price:.8g}"
    if position.take_profit_price is not None and price >= position.take_profit_price:
        return EventKind.TAKE_PROFIT_HIT, f"take-profit at {position.take_profit_price:.8g}"
    if position.hold_until is not None and market_at >= position.hold_until:
        return EventKind.HOLD_ENDED, "held as long as policy allows"
    if feed is not None and feed.ended_at is not None:
        return EventKind.MARKET_ENDED, "the price file has ended"
    return None


def _ask(position: Position, kind: EventKind, why: str, *, now: datetime) -> bool:
    """Propose the exit, unless one is under way or was asked for a moment ago."""
    selling = Order.objects.filter(position=position, side=Side.SELL, status__in=LIVE_ORDER)
    if selling.exists():
        return False
    last = Proposal.objects.filter(cause=_cause(position)).select_related("mission").first()
    if last is not None:
        if not _is_over(last) or now - last.created_at < AGAIN_AFTER:
            return False
        position.exits += 1
    with db.transaction():
        proposal = proposals.submit_within(
            draft=_draft(position, why),
            source=ProposalSource.PROTECTION,
            protective=True,
            cause=_cause(position),
            now=now,
        )
        # after the proposal: approving locks accounts, and fills lock account before position too
        Position.objects.filter(pk=position.pk).update(exits=position.exits)
        _tell(position, kind, why, proposal, now=now)
    return True


def _tell(position: Position, kind: EventKind, why: str, proposal: Proposal, *, now: datetime) -> None:
    data = {
        "market": position.market_id,
        "price": f"{position.market.price:f}",
        "gain": f"{positions.gain(position):.6f}",
        "why": why,
        "proposal": proposal.pk,
    }
    if kind != EventKind.MARKET_ENDED:
        events.emit(kind=kind, subject=position.subject, agent=position.agent_id, now=now, data=data)
    if proposal.status == ProposalStatus.REJECTED:
        events.emit(
            kind=EventKind.ALARM,
            subject=position.subject,
            now=now,
            data={**data, "alarm": "a protective exit was refused", "code": proposal.code},
        )


def _draft(position: Position, why: str) -> drafts.Draft:
    return drafts.read(
        {
            "agent": "scout",
            "title": f"Close {position.market_id}: {why}",
            "rationale": f"Protective exit at {positions.gain(position):+.2%}: {why}.",
            "steps": [{"kind": "close_position", "params": {"position": position.pk, "reason": why}}],
            "confidence": "1",
        }
    )


def _cause(position: Position) -> str:
    return f"position:{position.pk}:exit:{position.exits}"


def _is_over(proposal: Proposal) -> bool:
    """Whether nothing more will come of it."""
    if proposal.status != ProposalStatus.APPROVED:
        return proposal.status != ProposalStatus.PENDING
    return proposal.mission.status in ENDED


def _watch_loss(position: Position, policy: Policy, *, now: datetime) -> None:
    """Wake atlas once when an open position is deep in the red."""
    gain = positions.gain(position)
    if position.alarmed or gain > -policy.position_alarm:
        return
    with db.transaction():
        if Position.objects.filter(pk=position.pk, alarmed=False).update(alarmed=True):
            events.emit(
                kind=EventKind.POSITION_ALARM,
                subject=position.subject,
                agent=position.agent_id,
                now=now,
                data={"market": position.market_id, "gain": f"{gain:.6f}", "position": position.pk},
            )
