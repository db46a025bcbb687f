"""When the company talks of its own accord: by the clock (`talks`), and about big losses; a phase of the heartbeat.

When each talk comes round next stands in the database, so that it holds across workers and restarts. What came round
while nobody looked is held once, not as often as it was missed. Whether a conversation may be held is the one door's
affair, who takes part `formats`'.
"""

import math
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F

from agents import relationships
from agents.models import Agent
from missions import caps, drafts, policies, proposals
from missions.models import Outcome, Proposal, TriggerState
from missions.policy_keys import Policy, Talk
from missions.vocabulary import CapKey, ConversationFormat, ProposalSource, StepKind
from roundtable.formats import COORDINATOR, FORMATS
from tradeco.common import crashpoints, db, events
from tradeco.common.errors import NotFound
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind

CURSOR = "talk:cursor"
EVENTS_PER_BEAT = 100  # more than that waits for the next beat; the cursor remembers
NEWS = timedelta(hours=1)  # an older loss is history: the day's own post-mortem speaks of it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def run(*, now: datetime, limit: int) -> dict[str, Any]:
    """Propose what is due, at most `limit` conversations; which."""
    _, policy = policies.current()
    if not policy.flag_talks:
        return {"held": []}
    held = _talk_of_losses(policy, now=now, limit=limit)
    return {"held": held + _talk_by_the_clock(policy, now=now, limit=limit - len(held))}


# --- by the clock ---------------------------------------------------------------------------------


def _talk_by_the_clock(policy: Policy, *, now: datetime, limit: int) -> list[str]:
    held: list[str] = []
    for talk in policy.talks:
        if len(held) >= limit:
            break
        with db.transaction():
            if _hold_if_due(talk, policy, now=now):
                held.append(talk.format.value)
    return held


def _hold_if_due(talk: Talk, policy: Policy, *, now: datetime) -> bool:
    key = f"talk:{talk.format.value}"
    every, at = (timedelta(minutes=minutes * policy.trigger_pace) for minutes in (talk.every_minutes, talk.at_minutes))
    turn = math.floor((now - _EPOCH - at) / every)  # which one is the last whose time has come
    state = _state(key, next_at=_EPOCH + at + every * (turn + 1))
    if state.next_at > now:
        return False
    TriggerState.objects.filter(pk=key).update(
        next_at=_EPOCH + at + every * (turn + 1), last_fired_at=now, fired=F("fired") + 1
    )
    rolled = random.Random(f"{key}:{turn}").random()
    if rolled >= talk.probability or caps.ahead_of_pace(cap=CapKey.CONVERSATIONS, policy=policy, now=now):
        return False
    topic = _topic(talk.format, turn, policy, now=now)
    return topic is not None and _propose(talk.format, topic, key=key, cause=f"{key}:{turn}", now=now)


def _topic(format: ConversationFormat, turn: int, policy: Policy, *, now: datetime) -> str | None:
    """The format's topics in turn; None where there is nothing to talk about: a debate needs two who stand apart, a
    post-mortem a loss.
    """
    topics = FORMATS[format].topics
    topic = topics[turn % len(topics)] if topics else ""
    if format == ConversationFormat.POST_MORTEM and not _has_lost(policy, now=now):
        return None
    if format != ConversationFormat.DEBATE:
        return topic
    try:
        a, b, affinity = relationships.farthest()
    except NotFound:
        return None
    return f"{topic}: {a.capitalize()} against {b.capitalize()}" if affinity < policy.debate_below else None


def _has_lost(policy: Policy, *, now: datetime) -> bool:
    since = now - timedelta(hours=policy.learning_window_hours)
    agents = Agent.objects.values("pk")  # by agent, as the index is
    return Outcome.objects.filter(agent__in=agents, at__gte=since, pnl_usd__lt=0).exists()


# --- about events ---------------------------------------------------------------------------------


def _talk_of_losses(policy: Policy, *, now: datetime, limit: int) -> list[str]:
    events.number_new()
    with db.transaction():
        state = _state(CURSOR, next_at=_EPOCH)
        # the newest first: what is numbered between the two looks must stay before the cursor
        newest = events.newest_number()
        crashpoints.reach("schedule.newest_known")
        found = events.read_after(state.cursor, limit=EVENTS_PER_BEAT, kinds=[EventKind.POSITION_LOSS])
        held: list[str] = []
        seen: list[Event] = []
        for event in found:
            if len(held) >= limit:
                break
            seen.append(event)
            if _hold_post_mortem(event, policy, now=now):
                held.append(f"{ConversationFormat.POST_MORTEM.value} about {event.subject}")
        cursor = _seen_up_to(seen, newest, all_seen=len(seen) == len(found) < EVENTS_PER_BEAT, before=state.cursor)
        TriggerState.objects.filter(pk=CURSOR).update(cursor=cursor)
    return held


def _seen_up_to(seen: Sequence[Event], newest: int, *, all_seen: bool, before: int) -> int:
    """Behind the last event looked at, or behind all that stood there where none of ours is left."""
    last = seen[-1].number or before if seen else before
    return max(last, newest) if all_seen else last


def _hold_post_mortem(event: Event, policy: Policy, *, now: datetime) -> bool:
    loss = -Decimal(event.data["realized_pct"]) / 100
    if loss < policy.big_loss or event.at < now - NEWS:
        return False
    if caps.ahead_of_pace(cap=CapKey.CONVERSATIONS, policy=policy, now=now):
        return False
    key = f"talk:{ConversationFormat.POST_MORTEM.value}"
    topic = f"The loss of {loss:.1%} on {event.data['market']}"
    return _propose(
        ConversationFormat.POST_MORTEM, topic, key=key, cause=f"{key}:{event.subject}", now=now, about=event.subject
    )


# --- both -----------------------------------------------------------------------------------------


def _state(key: str, *, next_at: datetime) -> TriggerState:
    """A talk's row, locked until the transaction ends: two beats can't hold it both. A new one waits for its time."""
    TriggerState.objects.get_or_create(key=key, defaults={"next_at": next_at})
    return TriggerState.objects.select_for_update().get(key=key)


def _propose(format: ConversationFormat, topic: str, *, key: str, cause: str, now: datetime, about: str = "") -> bool:
    """Whether the conversation will be held."""
    active = list(Agent.objects.filter(active=True).order_by("place").values_list("key", flat=True))
    if not active or Proposal.objects.filter(cause=cause).exists():
        return False
    draft = drafts.read(
        {
            "agent": COORDINATOR if COORDINATOR in active else active[0],
            "title": f"{format.label}: {topic}"[:200],
            "rationale": f"Called for by {about}." if about else "It is time for it.",
            "steps": [
                {
                    "kind": StepKind.HOLD_ROUNDTABLE.value,
                    "params": {"format": format.value, "topic": topic, "about": about},
                }
            ],
            "confidence": "0.9",
        }
    )
    proposal = proposals.submit_within(draft=draft, source=ProposalSource.TRIGGER, cause=cause, now=now)
    events.emit(
        kind=EventKind.TRIGGER_FIRED,
        subject=f"trigger:{key}",
        agent=draft.agent,
        now=now,
        data={"proposal": proposal.pk, "status": proposal.status},
    )
    return True
