"""A company that trades through a market on the simulated clock, by its own code and without waiting.

Three things move time: a new candle, a heartbeat (at the first candle after its cadence), and a step whose moment has
come. In between nothing happens, so the clock goes from one to the next. What the market process, the heartbeat's ring
and the workers do in a company that runs, this does one after the other, in one process.
"""

import random
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.db import connection

from agents.models import Agent
from missions import claims, execution, heartbeat, policies
from missions.models import TriggerState
from missions.policy_keys import Policy
from tradeco.common import leases
from trading import market, stops
from trading.experiments import figures
from trading.experiments.arms import Arm
from trading.experiments.clock import Clock
from trading.experiments.figures import Figures
from trading.experiments.markets import Course
from trading.models import Feed as FeedRow

FOR_EVER_SECONDS = 3_000_000_000.0  # of the market's lease: nobody else is there
POSITIONS_MOST = 100
DICE_APART = 1_000  # between the counters of two seeds: more than a trigger fires in a run
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEXT = """
SELECT min(run_after) FROM missions_step
WHERE (status = 'executing' AND token IS NULL) OR (status = 'queued' AND blocked_by_id IS NULL)
"""  # what `claims.CLAIM` takes once it is due


@dataclass(frozen=True, slots=True)
class Setting:
    """What is the same for all arms: market days, and the cadence of the heartbeat in minutes of market time."""

    seed: int
    days: float
    beat_minutes: float
    pace: Mapping[str, Any]
    """Policies of the market's pace: the same in all arms."""


def run(arm: Arm, setting: Setting, course: Course, clock: Clock, *, look: Callable[[], None]) -> Figures:
    """Trade the market in this process's database, where a company has just been opened, and say what came of it.

    Args:
        look: is called at each candle, and may raise.
    """
    throw_by(setting.seed)
    _put_in_force({**setting.pace, **arm.policies}, now=clock.now)
    FeedRow.objects.update(source=course.feed.source)
    held = leases.acquire(market.LEASE, holder="experiment", seconds=FOR_EVER_SECONDS)
    assert held is not None, "nobody else trades here"
    loop = market.Loop(course.feed, held)
    loop.store(now=clock.now)
    beats = _Cadence(timedelta(minutes=setting.beat_minutes))
    beats.is_due(clock.now)
    _beat(clock)
    for moment in course.moments(days=setting.days):
        look()
        work(clock, until=moment)
        clock.set(moment)
        if loop.store(now=moment):
            stops.run(now=moment, limit=POSITIONS_MOST)
        if beats.is_due(moment):
            _beat(clock)
    return figures.read(now=clock.now)


class _Cadence:
    """The next is due once its distance has passed since the last; candles come when they come."""

    def __init__(self, apart: timedelta) -> None:
        self._apart = apart
        self._next = _EPOCH

    def is_due(self, moment: datetime) -> bool:
        if moment < self._next:
            return False
        self._next = moment + self._apart
        return True


def work(clock: Clock, *, until: datetime) -> None:
    """Run every step whose moment comes before `until`, each at its moment."""
    _, policy = policies.current()
    while (due := _next_step()) is not None and max(due, clock.now) < until:
        clock.set(max(due, clock.now))
        claimed = claims.claim_next(worker="experiment", lease_seconds=policy.step_lease_seconds)
        assert claimed, "nobody else works here"
        execution.run(claimed[0], clock=lambda: clock.now)


def _next_step() -> datetime | None:
    with connection.cursor() as cursor:
        cursor.execute(_NEXT)
        found: datetime | None = cursor.fetchone()[0]
    return found


def _beat(clock: Clock) -> None:
    beat = heartbeat.run(asked_by="experiment", now=clock.now)
    assert beat is not None, "beats are further apart than the least"


# --- before it begins -----------------------------------------------------------------------------


def throw_by(seed: int) -> None:
    """Let this process's dice follow from a seed.

    Routines, reactions to events and initiatives roll by how often they fired: in each seed their counters begin
    elsewhere. Conversations and proposals take a seed by chance and store it: here by this chance, so that a run can be
    repeated. Random bits that anything hung on would be guessable now, which a company of paper in a process of its own
    can bear.
    """
    setattr(secrets, "randbits", random.Random(f"experiment:{seed}").getrandbits)  # noqa: B010  mypy takes no plain one
    _, policy = policies.current()
    TriggerState.objects.bulk_create(
        TriggerState(key=key, next_at=_EPOCH, fired=seed * DICE_APART) for key in _counted(policy)
    )


def _counted(policy: Policy) -> list[str]:
    """Keys of the triggers whose dice are their counters."""
    routines = [f"proactive:{rule.agent}:{rule.topic}" for rule in policy.proactive]
    reactive = [f"reactive:{rule.event}:{rule.agent}" for rule in policy.reactive]
    initiatives = [f"initiative:{key}" for key in Agent.objects.order_by("place").values_list("key", flat=True)]
    return routines + reactive + initiatives


def _put_in_force(values: Mapping[str, Any], *, now: datetime) -> None:
    admin = get_user_model().objects.get(username="admin")
    for key, value in values.items():
        changed = policies.change(key=key, value=value, author=admin, reason="experiment", now=now)
        assert changed.missing == 0, "in the demo one person may change policies"
