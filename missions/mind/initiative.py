"""What agents propose of their own accord, from what they remember. How much they must know, how often and how far
apart is policy; when each did so stands in the database. What it proposes is `settings.INITIATIVES`' affair; whether it
may, the one door's.
"""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.db.models import Count

from agents import memory
from agents.memory import Recalled
from agents.models import Agent
from missions import caps, drafts, policies, proposals, triggers
from missions.models import Influence, Proposal, TriggerState
from missions.policy_keys import Policy
from missions.vocabulary import ProposalSource
from tradeco.common import db
from tradeco.common.wiring import load

log = structlog.get_logger(__name__)

CHANCE = Decimal("0.25")  # that an agent which may does so in this beat, so that six don't move in step
BEFORE = 10  # initiatives of its own that an agent looks back on, lest it has the same idea again and again


def run(*, now: datetime, limit: int) -> dict[str, Any]:
    """Ask the agents who may, those first who took the initiative least; a phase of the heartbeat."""
    _, policy = policies.current()
    took: list[str] = []
    failed = 0
    for agent in _who_may(policy, now=now) if policy.initiative_on else ():
        if len(took) >= limit:
            break
        try:
            if db.patiently(_take, agent, policy, now=now):
                took.append(agent)
        except (OperationalError, InterfaceError):
            raise  # the database is away or busy: the next beat goes on
        except Exception:  # one agent's mistake must not silence the others
            log.exception("An agent's initiative failed.", action="initiative_failed", agent=agent)
            failed += 1
    return {"took": took, "failed": failed}


def _key(agent: str) -> str:
    return f"initiative:{agent}"


def _who_may(policy: Policy, *, now: datetime) -> list[str]:
    """Active agents whose distance is over and who know enough, those first who took it least. A look, no promise."""
    states = {state.key: state for state in TriggerState.objects.filter(key__startswith=_key(""))}
    resting = {key for key, state in states.items() if state.next_at > now}
    active = Agent.objects.filter(active=True).order_by("place").values_list("key", flat=True)
    rested = [agent for agent in active if _key(agent) not in resting]
    counted = memory.live().filter(agent__in=rested).values_list("agent").annotate(live=Count("pk"))
    knows = dict(counted) if rested else {}
    able = [agent for agent in rested if knows.get(agent, 0) >= policy.initiative_memories_min]
    return sorted(able, key=lambda agent: states[_key(agent)].fired if _key(agent) in states else 0)


def _take(agent: str, policy: Policy, *, now: datetime) -> bool:
    """Distance and day first, then the roll, then the idea."""
    with db.transaction():
        state = triggers.due(_key(agent), now=now)
        if state is None or _day_is_used_up(agent, state.fired, policy, now=now):
            return False
        cause = f"{_key(agent)}:{state.fired}"
        # both parts of the seed stay with the proposal: its cause, and when it was made
        if random.Random(f"{cause}:{now.isoformat()}").random() >= CHANCE:
            return False
        if not _propose(agent, cause, _least_used_first(agent, state.fired, policy, now=now), policy, now=now):
            return False
        triggers.cool_down(state, until=now + timedelta(hours=policy.initiatives_apart_hours), now=now)
    return True


def _day_is_used_up(agent: str, taken: int, policy: Policy, *, now: datetime) -> bool:
    """They are numbered: where the one so many before the next is of today, the day has had its number."""
    most = policy.initiatives_per_day
    if taken < most:
        return False
    if most == 0:
        return True
    first = Proposal.objects.filter(cause=f"{_key(agent)}:{taken - most}").values_list("created_at", flat=True).first()
    return first is not None and caps.utc_day(first) == caps.utc_day(now)


def _least_used_first(agent: str, taken: int, policy: Policy, *, now: datetime) -> list[Recalled]:
    """What the agent remembers: what led to its last initiatives comes last, else the strongest first."""
    recalled = memory.recall(agent=agent, now=now, limit=policy.memories_live_max)
    before = [f"{_key(agent)}:{number}" for number in range(max(0, taken - BEFORE), taken)]
    used = Counter(Influence.objects.filter(proposal__cause__in=before).values_list("memory_id", flat=True))
    return sorted(recalled, key=lambda each: used[each.memory.pk])


def _propose(agent: str, cause: str, recalled: Sequence[Recalled], policy: Policy, *, now: datetime) -> bool:
    """Hand the agent's idea in with the memories that it came from; False where it has none, or the day's pace no room.

    Beside a draft's data an idea holds `memories`: the id of each, with what it added to the confidence.
    """
    idea = load(settings.INITIATIVES)(agent, recalled, policy=policy, now=now)
    if idea is None:
        return False
    draft = drafts.read({name: value for name, value in idea.items() if name != "memories"})
    if any(caps.ahead_of_pace(cap=cap, policy=policy, now=now) for cap in caps.needed(draft.kinds)):
        return False
    proposals.submit_within(
        draft=draft, source=ProposalSource.INITIATIVE, cause=cause, now=now, memories=idea["memories"]
    )
    return True
