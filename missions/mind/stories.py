"""What became of a trade, told from outcomes, proposals and events: who bought what on which signal, what it earned,
how it ended.

Positions and orders are trading's; their events carry what is needed here. What is learnt from a story, `learning`
decides. Where an event was pruned, the story says less.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import QuerySet

from missions.models import Outcome, Proposal, Step
from missions.vocabulary import ProposalSource
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind

PURCHASES_MOST = 20  # of one position that are looked at
_SIGNAL = re.compile(r" on ([a-z]{3,16}(?: [a-z]{3,16})?)\Z")  # how entries on signals are titled
_ENDINGS = {
    EventKind.STOP_HIT: "closed at its stop",
    EventKind.TAKE_PROFIT_HIT: "closed at its take-profit",
    EventKind.HOLD_ENDED: "closed after the longest holding",
}


@dataclass(frozen=True, slots=True)
class Story:
    """One sale and the position that it came from; of the whole position where the sale closed it.

    Args:
        agent: whose purchase opened the position; the seller's where that isn't known any more.
        market, signal: empty where unknown.
        pnl_usd, share: what was earned, and as a share of what was paid (None for a part).
        held_seconds: market time; None for a part.
        ended: how, as the end of a sentence.
        purchases: the proposals that bought, as far as events still tell.
        closed: whether the sale closed the position, so that its purchases are settled.
    """

    agent: str
    market: str
    signal: str
    pnl_usd: Decimal
    share: Decimal | None
    held_seconds: int | None
    ended: str
    purchases: tuple[Proposal, ...]
    closed: bool


def of_sale(outcome: Outcome) -> Story:
    """The story of an outcome that earned or lost something. Select `mission__proposal` with it."""
    assert outcome.pnl_usd is not None, "only sales have a story"
    sale = outcome.mission.proposal
    filled = _newest(f"order:{outcome.details.get('order')}", EventKind.ORDER_FILLED)
    position = f"position:{filled.data['position']}" if filled else ""
    bought = list(_purchases(position)) if position else []
    closed = _of_moment(position, EventKind.POSITION_CLOSED, filled.at) if filled else None
    return Story(
        agent=closed.agent if closed else outcome.agent_id,
        market=_market_of(outcome),
        signal=next((found for one in bought if one.author_id is None and (found := signal_of(one.title))), ""),
        pnl_usd=Decimal(closed.data["realized_pnl_usd"]) if closed else outcome.pnl_usd,
        share=Decimal(closed.data["realized_pct"]) / 100 if closed else None,
        held_seconds=closed.data.get("held_seconds") if closed else None,
        ended=_ended(position, sale) if closed else "a part of it sold" if filled else "sold",
        purchases=tuple(bought),
        closed=closed is not None,
    )


def market_of_trade(outcome: Outcome) -> str:
    """The market that a mission was to trade in, also where it didn't get to it; empty where unknown."""
    for step in outcome.mission.proposal.steps:
        params = step.get("params", {})
        if "market" in params:
            return str(params["market"])
        if "position" in params:
            opened = _newest(f"position:{params['position']}", EventKind.POSITION_OPENED)
            return str(opened.data["market"]) if opened else ""
    return ""


def signal_of(title: str) -> str:
    """The signal that an entry's title names, such as "mean reversion"; empty where it names none."""
    found = _SIGNAL.search(title)
    return found[1] if found else ""


def _market_of(outcome: Outcome) -> str:
    return str(outcome.details.get("market") or "") or market_of_trade(outcome)


def _purchases(position: str) -> Iterator[Proposal]:
    """The proposals whose orders bought into a position, oldest first.

    An order's events and its position's are written with one another, so they bear the same moment.
    """
    grown = (EventKind.POSITION_OPENED, EventKind.POSITION_CHANGED)
    bought = Event.objects.filter(subject=position, kind__in=grown, data__side="buy").order_by("key")
    for event in bought[:PURCHASES_MOST]:
        same = {"at": event.at, "kind": EventKind.ORDER_FILLED, "data__position": event.data["position"]}
        filled = Event.objects.filter(**same).order_by("-key").first()
        reserved = _newest(filled.subject, EventKind.ORDER_RESERVED) if filled else None
        step = reserved and _steps().filter(pk=reserved.data["step"]).first()
        if step:
            yield step.mission.proposal


def _steps() -> QuerySet[Step]:
    return Step.objects.select_related("mission__proposal")


def _ended(position: str, sale: Proposal) -> str:
    asked = Event.objects.filter(subject=position, kind__in=_ENDINGS, data__proposal=sale.pk).order_by("-key").first()
    if asked is not None:
        return _ENDINGS[EventKind(asked.kind)]
    if sale.protective:
        return "closed for its protection"
    return "closed by a person" if sale.source == ProposalSource.PERSON else f"closed by {sale.agent_id}"


def _newest(subject: str, kind: EventKind) -> Event | None:
    return Event.objects.filter(subject=subject, kind=kind).order_by("-key").first()


def _of_moment(subject: str, kind: EventKind, at: datetime) -> Event | None:
    return Event.objects.filter(subject=subject, kind=kind, at=at).first()
