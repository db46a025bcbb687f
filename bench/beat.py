"""The heartbeat beside a million finished steps and a million events: each look, the whole idle beat, and the crowd.

Times are those of the database as the beat sees it: from handing a statement over to having its answer, commits
included. The limit of a look is a bare `SELECT 1` on the same connection.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Barrier
from typing import Any, cast

from django.db import connection

from bench import rows
from bench.crew import Crew, Member, crew
from bench.figures import Figure, itself, middle
from bench.stage import Address, Stage
from missions import claims, execution, heartbeat, policies, proposals, rescue
from missions.models import Beat
from tradeco.common import db, events
from trading import stops

NAME = "beat"
PROCESSES, THREADS = 4, 25
CROWD = PROCESSES * THREADS
BEATS_APART = timedelta(seconds=3)  # beyond heartbeat.APART_SECONDS, and all within the triggers' rest
_LOCK = 0x6265_6E63


@dataclass(frozen=True, slots=True)
class Came:
    """One of the crowd: whether it won, and after how many ms it was gone."""

    won: bool
    milliseconds: float


def measure(stage: Stage) -> list[Figure]:
    size = stage.count(1_000_000, 1_000)
    with stage.company() as address:
        stage.tell(f"beat: loading {size:,} steps and {size:,} events")
        rows.finished_steps(address, size)
        rows.numbered_events(address, size)
        with crew(size=1, env=stage.env(address)) as alone:
            figures = _looks(stage, alone, size) + _idle(stage, alone, size)
        return figures + _crowd(stage, address)


def _looks(stage: Stage, alone: Crew, size: int) -> list[Figure]:
    stage.tell("beat: each look")
    (found,) = alone.run(look, times=stage.count(100, 3))
    bare = found.pop("bare")
    return [
        Figure(NAME, f"look: {name}, {size:,} steps and events", ours, "ms", bare, "SELECT 1", itself(most=1))
        for name, ours in found.items()
    ]


def _idle(stage: Stage, alone: Crew, size: int) -> list[Figure]:
    stage.tell("beat: idle beats")
    ((database_ms, wall_ms),) = alone.run(beat_idly, times=stage.count(7, 2))
    return [
        Figure(NAME, f"a whole idle beat, {size:,} steps and events, in the database", database_ms, "ms",
               goal=itself(most=100)),
        Figure(NAME, "the same by the clock", wall_ms, "ms"),
    ]  # fmt: skip


def _crowd(stage: Stage, address: Address) -> list[Figure]:
    stage.tell(f"beat: {CROWD} at once")
    ours, limit = [], []
    with crew(size=PROCESSES, env=stage.env(address)) as contenders:
        for _ in range(stage.rounds):
            ours.append(_flat(contenders.run(come_at_once)))
            limit.append(_flat(contenders.run(try_a_lock)))
    return [
        Figure(NAME, f"winners of {CROWD} at once", max(_winners(crowd) for crowd in ours), "winners",
               goal=itself(least=1, most=1)),
        Figure(NAME, f"{CROWD - 1} losers gone", middle([_last_loser(crowd) for crowd in ours]), "ms",
               middle([_last_loser(crowd) for crowd in limit]), "pg_try_advisory_lock", itself(most=300)),
    ]  # fmt: skip


def _flat(found: list[list[Came]]) -> list[Came]:
    return [came for member in found for came in member]


def _winners(crowd: list[Came]) -> int:
    return sum(came.won for came in crowd)


def _last_loser(crowd: list[Came]) -> float:
    return max(came.milliseconds for came in crowd if not came.won)


# --- in the crew's processes ------------------------------------------------------------------------


class _Meter:
    """Adds up the time this connection waits for the database."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, execute: Callable[..., Any], *given: Any) -> Any:
        begun = time.perf_counter()
        try:
            return execute(*given)
        finally:
            self.seconds += time.perf_counter() - begun


@contextmanager
def _metered() -> Iterator[_Meter]:
    """Statements come by Django's own hook; commits have none."""
    meter, wrapper = _Meter(), cast(Any, connection)
    commit = wrapper._commit
    wrapper._commit = lambda: meter(commit)
    try:
        with connection.execute_wrapper(meter):
            yield meter
    finally:
        wrapper._commit = commit


def _milliseconds(act: Callable[[], object]) -> float:
    with _metered() as meter:
        act()
    return meter.seconds * 1000


def look(member: Member, *, times: int) -> dict[str, float]:
    """The median ms of each look that finds nothing."""
    _, policy = policies.current()
    kinds = [rule.event for rule in policy.reactive]
    newest, now = events.newest_number(), db.now()
    looks: dict[str, Callable[[], object]] = {
        "bare": _select_one,
        "lost steps (rescue)": lambda: rescue.run(now=now, limit=100),
        "lapsed proposals (expire)": lambda: proposals.expire(now=now, limit=200),
        "unnumbered events": events.number_new,
        "new events (triggers)": lambda: events.read_after(newest, limit=200, kinds=kinds),
        "new events (live tail)": lambda: events.read_after(newest, limit=1_000),
        "positions at their stops": lambda: stops.run(now=now, limit=100),
        "a runnable step (worker)": lambda: claims.claim_next(worker="bench", lease_seconds=60),
    }
    for act in looks.values():
        act()
    measured: dict[str, list[float]] = {name: [] for name in looks}
    for _ in range(times):
        for name, act in looks.items():
            measured[name].append(_milliseconds(act))
    return {name: middle(found) for name, found in measured.items()}


def _select_one() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def beat_idly(member: Member, *, times: int) -> tuple[float, float]:
    """Median ms of beats that find nothing to do: in the database, and by the clock."""
    _settle()
    now, found = db.now(), []
    for number in range(1, times + 1):
        begun = time.perf_counter()
        with _metered() as meter:
            beat = heartbeat.run(asked_by="bench", now=now + number * BEATS_APART)
        found.append((meter.seconds * 1000, (time.perf_counter() - begun) * 1000))
        assert beat is not None, "nobody else beats here"
        assert beat.phases.get(name="triggers").did == {"fired": []}, "this beat wasn't idle"
    return middle([database for database, _ in found]), middle([clock for _, clock in found])


def _settle() -> None:
    """Let the opening's triggers fire and their work be done, then let all rest for a day."""
    heartbeat.run(asked_by="bench", now=db.now() - timedelta(minutes=1))
    execution.drain(budget_seconds=15)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE missions_triggerstate SET next_at = clock_timestamp() + interval '1 day'")
        cursor.execute("INSERT INTO missions_triggerstate (key, next_at, fired, cursor)"
                       " SELECT 'reactive:' || (rule ->> 'event') || ':' || (rule ->> 'agent'),"
                       " clock_timestamp() + interval '1 day', 0, 0"
                       " FROM missions_policyversion, jsonb_array_elements(value) AS rule WHERE key = 'reactive'"
                       " ON CONFLICT DO NOTHING")  # fmt: skip


def come_at_once(member: Member) -> list[Came]:
    """A part of a crowd that asks for a beat when one is due again."""
    newest = Beat.objects.order_by("-started_at").values_list("started_at", flat=True)[0]
    now = max(newest, db.now()) + BEATS_APART

    def ask() -> bool:
        return heartbeat.run(asked_by="bench", now=now) is not None

    return member.in_threads(THREADS, lambda _, barrier: _come(barrier, ask))


def try_a_lock(member: Member) -> list[Came]:
    """The least that a leader guard can be: a lock that is tried, and held by the winner for a moment."""
    return member.in_threads(THREADS, lambda _, barrier: _come(barrier, _hold_the_lock))


def _hold_the_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        won = bool(cursor.fetchone()[0])
        if won:
            time.sleep(0.2)  # all others come while it is held
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])
    return won


def _come(barrier: Barrier, act: Callable[[], bool]) -> Came:
    try:
        connection.ensure_connection()
        barrier.wait()
        begun = time.perf_counter()
        won = act()
        return Came(won, (time.perf_counter() - begun) * 1000)
    finally:
        connection.close()
