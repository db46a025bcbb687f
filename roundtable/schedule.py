"""When the company talks of its own accord: by the clock (`talks`), and about big losses; a phase of the heartbeat.

When each talk comes round next stands in the database, so that it holds across workers and restarts. What came round
while nobody looked is held once, not as often as it was missed. Whether a conversation may be held is the one door's
affair, who takes part `formats`'.
"""

import math
import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from agents import relationships
from agents.models import Agent
from missions import caps, policies, triggers
from missions.models import Outcome, Proposal, TriggerState
from missions.policy_keys import Policy, Talk
from missions.vocabulary import CapKey, ConversationFormat
from roundtable import asking
from roundtable.formats import FORMATS
from tradeco.common import crashpoints, db, events
from tradeco.common.errors import NotFound
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind

CURSOR = "talk:cursor"
EVENTS_PER_BEAT = 100  # more than that waits for the next beat; the cursor remembers
NEWS = timedelta(hours=1)  # an older loss is history: the day's own post-mortem speaks of it


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
    turn = math.floor((now - triggers.EPOCH - at) / every)  # which one is the last whose time has come
    next_at = triggers.EPOCH + at + every * (turn + 1)
    state = triggers.locked_state(key, next_at=next_at)
    if state.next_at > now:
        return False
    triggers.cool_down(state, until=next_at, now=now)
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
        state = triggers.locked_state(CURSOR)
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
        more = len(seen) < len(found) or len(found) == EVENTS_PER_BEAT
        cursor = triggers.seen_up_to(seen, newest, before=state.cursor, more=more)
        TriggerState.objects.filter(pk=CURSOR).update(cursor=cursor)
    return held


def _hold_post_mortem(event: Event, policy: Policy, *, now: datetime) -> bool:
    loss = -Decimal(event.data["realized_pct"]) / 100
    if loss < policy.big_loss or event.at < now - NEWS:
        return False
    if caps.ahead_of_pace(cap=CapKey.CONVERSATIONS, policy=policy, now=now):
        return False
    key = f"talk:{ConversationFormat.POST_MORTEM.value}"
    topic = f"The loss of {loss:.1%} on {event.data['market']}"
    return _propose(
        ConversationFormat.POST_MORTEM, topic, key=key, cause=f"{key}:{event.subject}", now=now, about=event
    )


# --- both -----------------------------------------------------------------------------------------


def _propose(
    format: ConversationFormat, topic: str, *, key: str, cause: str, now: datetime, about: Event | None = None
) -> bool:
    """Whether the conversation is asked for: once a cause, and only where somebody is there to open it."""
    if Proposal.objects.filter(cause=cause).exists():
        return False
    draft = asking.draft(
        format,
        topic,
        about=about.subject if about else "",
        title=f"{format.label}: {topic}",
        rationale=f"Called for by {about.subject}." if about else "It is time for it.",
    )
    if draft is None:
        return False
    triggers.propose_within(draft, key=key, cause=cause, now=now, woken_by=about.number if about else None)
    return True
