"""Who answers whose doings. The matrix is policy; cooldowns and every roll of the dice stand in the database.

A phase of the heartbeat in two halves: new doings are rolled for, and answers that the dice called for are handed in by
the one door. A beat that dies between the halves, or in the midst of an answer, leaves it to the next. What is proposed
is `settings.REACTIVE_TRIGGERS`' affair.

Agents can't answer each other without end: what a reaction proposed calls for no other, and an answer moves no money.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError

from missions import caps, drafts, policies, proposals, triggers
from missions.drafts import Draft
from missions.models import Proposal, Reaction, Step, TriggerState
from missions.policy_keys import Policy
from missions.policy_keys import Reaction as Rule
from missions.vocabulary import TRADING_KINDS, ProposalSource, ReactionStatus
from tradeco.common import crashpoints, db, events
from tradeco.common.errors import DomainError, InvalidInput
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind
from tradeco.common.wiring import load

log = structlog.get_logger(__name__)

CURSOR = "reactions:cursor"
ANYBODY = "any"
ANSWERED_WITHIN = timedelta(hours=1)  # older doings are history, after a long stop or when reactions are switched on
KEY_MOST = 80  # characters of a trigger's key
WAITING = (ReactionStatus.QUEUED, ReactionStatus.PROCESSING)
_STEP = Decimal("0.000001")  # as rolls are stored

DOINGS: Mapping[str, tuple[EventKind, ...]] = {
    ANYBODY: (EventKind.POSITION_LOSS,),
    "intel": (EventKind.SIGNAL_FOUND,),
    "scout": (EventKind.POSITION_OPENED,),
    "sage": (EventKind.RISK_ASSESSED,),
    "growth": (EventKind.REFLECTED,),
    "observer": (EventKind.REFLECTED, EventKind.POSITIONS_REVIEWED),
    "atlas": (EventKind.POSITIONS_REVIEWED,),
}
"""By source, the events in which it did something that may be answered: one event a doing, so that one doing is one
roll. An analysis is one, however many of its signals are strong."""


def run(*, now: datetime, limit: int) -> dict[str, Any]:
    """Roll for what agents did, and hand in what is answered; a phase of the heartbeat.

    Args:
        limit: answers a beat, and how many may wait for the next.
    """
    _, policy = policies.current()
    if not policy.flag_reactions:
        return {"rolled": 0, "answered": 0, "processed": 0, "failed": 0}
    rolled, answered = _roll(policy, now=now, room=limit - Reaction.objects.filter(status__in=WAITING).count())
    crashpoints.reach("reactions.queued")
    processed, failed = _process(policy, now=now, limit=limit)
    return {"rolled": rolled, "answered": answered, "processed": processed, "failed": failed}


def prune(*, now: datetime, limit: int, retention: timedelta) -> int:
    """Delete the oldest reactions beyond their retention."""
    doomed = Reaction.objects.filter(at__lt=now - retention).order_by("at")[:limit]
    deleted, _ = Reaction.objects.filter(pk__in=list(doomed.values_list("pk", flat=True))).delete()
    return deleted


# --- rolling --------------------------------------------------------------------------------------


def _roll(policy: Policy, *, now: datetime, room: int) -> tuple[int, int]:
    """Roll for the doings behind the cursor; how many rolls, and how many call for an answer.

    Each rule is answered once a beat at most. Where no more may wait, doings stay before the cursor.
    """
    if room <= 0:
        return 0, 0
    events.number_new()
    with db.transaction():
        state = triggers.locked_state(CURSOR)
        # the newest first: what is numbered between the two looks must stay before the cursor
        newest = events.newest_number()
        crashpoints.reach("reactions.newest_known")
        found = _doings_after(state.cursor, policy, now=now)
        rolled = answered = 0
        called_for = _without_answers([event for event in found if _is_worth_one(event, policy)])
        for rule in policy.reactions:
            if answered >= room:
                return rolled, answered  # the cursor stays: who wasn't asked is asked about the same by the next beat
            rolls = _roll_for(rule, _of(rule, called_for), policy, now=now)
            rolled += len(rolls)
            answered += any(rolls)
        more = len(found) == triggers.EVENTS_PER_BEAT
        cursor = triggers.seen_up_to(found, newest, before=state.cursor, more=more)
        TriggerState.objects.filter(pk=CURSOR).update(cursor=cursor)
    return rolled, answered


def _doings_after(cursor: int, policy: Policy, *, now: datetime) -> list[Event]:
    kinds = {kind for rule in policy.reactions for kind in DOINGS.get(rule.source, ())}
    recent = Event.objects.filter(number__gt=cursor, kind__in=sorted(kinds), at__gte=now - ANSWERED_WITHIN)
    return list(recent.order_by("number")[: triggers.EVENTS_PER_BEAT])


def _is_worth_one(event: Event, policy: Policy) -> bool:
    match event.kind:
        case EventKind.POSITION_LOSS:
            return -Decimal(event.data["realized_pct"]) / 100 >= policy.big_loss
        case EventKind.SIGNAL_FOUND:
            return bool(event.data.get("strongest"))
    return True


def _without_answers(found: Sequence[Event]) -> list[Event]:
    """Those whose step no reaction proposed; a trade never comes of a reaction."""
    steps = {event.key: int(event.subject.removeprefix("step:")) for event in found if _is_about_a_step(event)}
    proposed = Step.objects.filter(pk__in=steps.values(), mission__proposal__source=ProposalSource.REACTION)
    answers = set(proposed.values_list("pk", flat=True))
    return [event for event in found if steps.get(event.key) not in answers]


def _is_about_a_step(event: Event) -> bool:
    return event.subject.startswith("step:")


def _of(rule: Rule, found: Iterable[Event]) -> list[Event]:
    kinds = DOINGS.get(rule.source, ())
    return [event for event in found if event.kind in kinds and rule.source in (ANYBODY, event.agent)]


def _roll_for(rule: Rule, doings: Sequence[Event], policy: Policy, *, now: datetime) -> list[bool]:
    """Cooldown first, then a roll for each doing up to the one that is answered."""
    rolls: list[bool] = []
    if not doings or not triggers.is_active(rule.target):
        return rolls
    state = triggers.due(f"reaction:{rule.source}:{rule.target}:{rule.does}"[:KEY_MOST], now=now)
    for event in doings if state else ():
        answered = _roll_once(rule, event, now=now)
        if answered is not None:
            rolls.append(answered)
        if answered:
            assert state is not None
            cooldown = timedelta(minutes=rule.cooldown_minutes * policy.trigger_pace)
            triggers.cool_down(state, until=now + cooldown, now=now)
            break
    return rolls


def _roll_once(rule: Rule, event: Event, *, now: datetime) -> bool | None:
    """Whether the dice call for an answer, written down; None where they were rolled for this event before."""
    seed = f"reaction:{event.key}:{rule.target}:{rule.does}"
    # rounded down, so that what is certain is answered and what is impossible isn't
    rolled = Decimal(random.Random(seed).random()).quantize(_STEP, rounding=ROUND_DOWN)
    probability = rule.probability.quantize(_STEP)
    answered = rolled < probability
    _, new = Reaction.objects.get_or_create(
        event=event,
        target_id=rule.target,
        does=rule.does,
        defaults={
            "source_id": event.agent or None,
            "status": ReactionStatus.QUEUED if answered else ReactionStatus.PROCESSED,
            "seed": seed,
            "rolled": rolled,
            "probability": probability,
            "answered": answered,
            "at": now,
            "finished_at": None if answered else now,
        },
    )
    return answered if new else None


# --- answering ------------------------------------------------------------------------------------


def _process(policy: Policy, *, now: datetime, limit: int) -> tuple[int, int]:
    """Answer what waits, what a dead beat left half done first; how many were answered, and how many couldn't be."""
    processed = failed = 0
    for key in _take(limit):
        crashpoints.reach("reactions.taken")
        try:
            processed += db.patiently(_answer, key, policy, now=now)
        except (OperationalError, InterfaceError):
            raise  # the database is away or busy: the next beat goes on
        except DomainError as refused:
            failed += _fail(key, refused.detail, now=now)
        except Exception as exc:  # one answer that can't be given must not hold up all behind it
            log.exception("A reaction can't be answered.", action="reaction_failed", reaction_id=key)
            failed += _fail(key, f"{type(exc).__name__}: see the log", now=now)
    return processed, failed


def _take(limit: int) -> list[int]:
    """Say of up to `limit` reactions that they are being answered. Who answers holds the row, so two never do."""
    with db.transaction():
        waiting = Reaction.objects.select_for_update(skip_locked=True).filter(status__in=WAITING).order_by("pk")
        taken = [reaction.pk for reaction in waiting[:limit]]
        Reaction.objects.filter(pk__in=taken, status=ReactionStatus.QUEUED).update(status=ReactionStatus.PROCESSING)
    return taken


def _answer(key: int, policy: Policy, *, now: datetime) -> bool:
    """Answer one, unless another beat is at it or was first: its proposal, its end and its event in one transaction."""
    with db.transaction():
        reaction = (
            Reaction.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("event")
            .filter(pk=key, status=ReactionStatus.PROCESSING)
            .first()
        )
        if reaction is None:
            return False
        proposal, reason = _propose(reaction, policy, now=now)
        Reaction.objects.filter(pk=key).update(
            status=ReactionStatus.PROCESSED, proposal=proposal, reason=reason, finished_at=now
        )
        _tell(reaction, proposal, reason, now=now)
        crashpoints.reach("reactions.answered")
    return True


def _propose(reaction: Reaction, policy: Policy, *, now: datetime) -> tuple[Proposal | None, str]:
    """What the target proposes about it, or why it proposes nothing."""
    event = reaction.event
    if event.at < now - ANSWERED_WITHIN:
        return None, "It came too late to be answered."
    idea = load(settings.REACTIVE_TRIGGERS)(reaction.target_id, [event], policy=policy, now=now, does=reaction.does)
    if idea is None:
        return None, "There is nothing to add."
    draft = drafts.read(idea)
    _require_no_trade(draft)
    if any(caps.ahead_of_pace(cap=cap, policy=policy, now=now) for cap in caps.needed(draft.kinds)):
        return None, "The day's pace leaves no room for it."
    cause = f"reaction:{reaction.pk}"
    return proposals.submit_within(draft=draft, source=ProposalSource.REACTION, cause=cause, now=now), ""


def _require_no_trade(draft: Draft) -> None:
    if not TRADING_KINDS.isdisjoint(draft.kinds):
        raise InvalidInput("An answer looks, thinks or talks; it never moves money.")


def _tell(reaction: Reaction, proposal: Proposal | None, reason: str, *, now: datetime) -> None:
    events.emit(
        kind=EventKind.REACTION_PROCESSED,
        subject=f"reaction:{reaction.pk}",
        agent=reaction.target_id,
        now=now,
        data={
            "source": reaction.source_id or "",
            "does": reaction.does,
            "event": reaction.event.number,
            "proposal": proposal.pk if proposal else None,
            "status": proposal.status if proposal else "",
            "reason": reason,
        },
    )


def _fail(key: int, reason: str, *, now: datetime) -> int:
    with db.transaction():
        return Reaction.objects.filter(pk=key, status=ReactionStatus.PROCESSING).update(
            status=ReactionStatus.FAILED, reason=reason[:300], finished_at=now
        )
