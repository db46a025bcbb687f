"""What agents do of themselves (proactive) and about events (reactive). Rules are policy; when each may fire again
stands in the database, so cooldowns hold across workers and restarts. What an agent proposes about an event is
`settings.REACTIVE_TRIGGERS`' affair; whether it may, the one door's.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import F

from agents.models import Agent
from missions import caps, drafts, influence, policies, proposals
from missions.models import Proposal, TriggerState
from missions.policy_keys import Policy, Proactive, Reactive
from missions.vocabulary import CAP_OF_KIND, CapKey, ProposalSource, StepKind
from tradeco.common import crashpoints, db, events
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind
from tradeco.common.wiring import load

CURSOR = "reactive:cursor"
EVENTS_PER_BEAT = 200  # more than that waits for the next beat; the cursor remembers
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
JITTER = 0.1  # routines come up to this share earlier or later, so that they don't move in step


def run(*, now: datetime, limit: int) -> dict[str, Any]:
    """Fire what is due; a phase of the heartbeat. `limit` bounds how many proposals it makes."""
    _, policy = policies.current()
    fired = _run_proactive(policy, now=now, limit=limit)
    if policy.flag_reactive_triggers:
        fired += _run_reactive(policy, now=now, limit=max(0, limit - len(fired)))
    return {"fired": fired}


# --- routines -------------------------------------------------------------------------------------


def _run_proactive(policy: Policy, *, now: datetime, limit: int) -> list[str]:
    fired: list[str] = []
    for rule in policy.proactive:
        if len(fired) >= limit:
            break
        with db.transaction():
            if _fire_proactive(rule, policy, now=now):
                fired.append(f"{rule.agent}:{rule.topic}")
    return fired


def _fire_proactive(rule: Proactive, policy: Policy, *, now: datetime) -> bool:
    key = f"proactive:{rule.agent}:{rule.topic}"
    state = due(key, now=now)
    if state is None or not is_active(rule.agent):
        return False
    dice = random.Random(f"{key}:{state.fired}")
    every = timedelta(minutes=rule.every_minutes * policy.trigger_pace)
    cool_down(state, until=now + every * dice.uniform(1 - JITTER, 1 + JITTER), now=now)
    cap = CAP_OF_KIND[StepKind(rule.step)]
    # the very first look is never skipped: a new company begins at once
    if (state.fired > 0 and dice.random() < policy.trigger_skip) or caps.ahead_of_pace(cap=cap, policy=policy, now=now):
        return False
    draft = drafts.read(
        {
            "agent": rule.agent,
            "title": f"{rule.agent.capitalize()}: {rule.topic.replace('_', ' ')}",
            "rationale": f"Routine, every {every.total_seconds():.0f} s.",
            "steps": [{"kind": rule.step, "params": _routine_params(rule)}],
            "confidence": "0.9",
        }
    )
    propose_within(draft, key=key, cause=f"{key}:{state.fired}", now=now)
    return True


def _routine_params(rule: Proactive) -> dict[str, Any]:
    return {"topic": rule.topic} if rule.step == StepKind.REFLECT.value else {}


# --- reactions to events --------------------------------------------------------------------------


def _run_reactive(policy: Policy, *, now: datetime, limit: int) -> list[str]:
    kinds = sorted({rule.event for rule in policy.reactive})
    events.number_new()
    with db.transaction():
        state = locked_state(CURSOR)
        # the newest first: what is numbered between the two looks must stay before the cursor
        newest = events.newest_number()
        crashpoints.reach("triggers.newest_known")
        found = events.read_after(state.cursor, limit=EVENTS_PER_BEAT, kinds=kinds)
        fired: list[str] = []
        for rule in policy.reactive:
            of_kind = [event for event in found if event.kind == rule.event]
            if of_kind and len(fired) >= limit:
                return fired  # the next beat reads the same events; whoever fired knows which it has answered
            if of_kind and _react(rule, of_kind, policy, now=now):
                fired.append(f"{rule.event}:{rule.agent}")
        cursor = seen_up_to(found, newest, before=state.cursor, more=len(found) == EVENTS_PER_BEAT)
        TriggerState.objects.filter(pk=CURSOR).update(cursor=cursor)
    return fired


def _react(rule: Reactive, found: Sequence[Event], policy: Policy, *, now: datetime) -> bool:
    """Cooldown first, then the pace of the day's trades, then the idea."""
    key = f"reactive:{rule.event}:{rule.agent}"
    state = due(key, now=now)
    if state is None or not is_active(rule.agent):
        return False
    fresh = [event for event in found if (event.number or 0) > state.cursor]
    if not fresh or caps.ahead_of_pace(cap=CapKey.TRADES, policy=policy, now=now):
        return False
    idea = load(settings.REACTIVE_TRIGGERS)(rule.agent, fresh, policy=policy, now=now)
    if idea is None:
        return False
    cooldown = timedelta(minutes=rule.cooldown_minutes * policy.trigger_pace)
    cool_down(state, until=now + cooldown, now=now)
    TriggerState.objects.filter(pk=state.pk).update(cursor=fresh[-1].number)
    cause = f"{key}:{state.fired}"
    draft = drafts.read({name: value for name, value in idea.items() if name != "event"})
    considered = influence.consider(draft, seed=cause, policy=policy, now=now)
    propose_within(
        considered.draft, key=key, cause=cause, now=now, memories=considered.memories, woken_by=idea["event"]
    )
    return True


# --- state, for all whose cooldowns and cursors stand in the database -----------------------------


def locked_state(key: str, *, next_at: datetime = EPOCH) -> TriggerState:
    """A trigger's row, locked until the transaction ends: two beats can't fire it both. `next_at` is a new one's."""
    TriggerState.objects.get_or_create(key=key, defaults={"next_at": next_at})
    return TriggerState.objects.select_for_update().get(key=key)


def due(key: str, *, now: datetime) -> TriggerState | None:
    """A trigger's row, locked, where its cooldown is over."""
    state = locked_state(key)
    return state if state.next_at <= now else None


def is_active(agent: str) -> bool:
    """An inactive agent proposes nothing; its rules wait, and hold nobody else's up."""
    return Agent.objects.filter(key=agent, active=True).exists()


def cool_down(state: TriggerState, *, until: datetime, now: datetime) -> None:
    """Count a firing, and let the next not come before `until`."""
    TriggerState.objects.filter(pk=state.pk).update(next_at=until, last_fired_at=now, fired=F("fired") + 1)


def seen_up_to(seen: Sequence[Event], newest: int, *, before: int, more: bool) -> int:
    """Where a cursor moves: behind the last event seen, and behind all that stood there unless `more` are to be seen.

    Args:
        newest: the number of the newest event, asked for before those seen were read.
        before: where the cursor stood.
    """
    last = seen[-1].number or before if seen else before
    return last if more else max(last, newest)


def propose_within(
    draft: drafts.Draft,
    *,
    key: str,
    cause: str,
    now: datetime,
    memories: Sequence[tuple[int, Decimal]] = (),
    woken_by: int | None = None,
) -> Proposal:
    """Hand in what a rule proposes and tell that it fired, in the caller's transaction.

    Args:
        key: the rule's.
        woken_by: the number of the event that it is about; None of a routine.
    """
    proposal = proposals.submit_within(
        draft=draft, source=ProposalSource.TRIGGER, cause=cause, now=now, memories=memories
    )
    events.emit(
        kind=EventKind.TRIGGER_FIRED,
        subject=f"trigger:{key}",
        agent=draft.agent,
        now=now,
        data={"proposal": proposal.pk, "status": proposal.status, "event": woken_by},
    )
    return proposal
