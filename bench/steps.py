"""Steps: claim and complete, by two processes, beside pgbench's two statements on the same table and indexes.

Three distances from the limit: the claim with the least completion, batches of it, and the whole execution with
its events, its mission and its outcome around a handler that does nothing. All with asynchronous commit.
"""

import time
from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.db import connection

from bench import pgbench, rows
from bench.crew import Crew, Member, Span, crew, rate
from bench.figures import Figure, Goal, middle, ratio
from bench.stage import Address, Stage
from missions import claims, execution
from missions.claims import Claim
from missions.handlers import Ending, Handler, Succeeded
from tradeco.common import db

NAME = "steps"
PROCESSES = 2
LEASE_SECONDS = 60.0
BATCHES = ((10, 0.6), (50, 0.75))  # size, and the goal as a share of pgbench's own batch

_LIMIT = """
WITH candidate AS MATERIALIZED (
  SELECT id FROM missions_step WHERE status = 'queued' AND blocked_by_id IS NULL AND run_after <= clock_timestamp()
  ORDER BY priority, run_after, id LIMIT {batch} FOR UPDATE SKIP LOCKED
), claimed AS (
  UPDATE missions_step AS step SET status = 'claimed', token = gen_random_uuid(), worker = 'pgbench',
    lease_expires_at = clock_timestamp() + interval '60 s', started_at = clock_timestamp()
  FROM candidate WHERE step.id = candidate.id RETURNING step.id
)
SELECT array_agg(id) AS ids FROM claimed \\gset
UPDATE missions_step SET status = 'succeeded', token = NULL, lease_expires_at = NULL, finished_at = clock_timestamp()
  WHERE id = ANY((:ids)::bigint[]);
"""
_COMPLETE = """
UPDATE missions_step AS step
SET status = 'succeeded', token = NULL, lease_expires_at = NULL, finished_at = clock_timestamp()
FROM unnest(%(ids)s::bigint[], %(tokens)s::uuid[]) AS done (id, token)
WHERE step.id = done.id AND step.token = done.token AND step.status = 'claimed'
RETURNING step.id
"""


class Nothing(Handler):
    """A handler whose work takes no time."""

    def visit(self, claim: Claim, *, now: datetime) -> Ending:
        return Succeeded()


def measure(stage: Stage) -> list[Figure]:
    with stage.company() as address, crew(size=PROCESSES, env=stage.env(address)) as workers:
        rows.finished_steps(address, stage.count(10_000, 100))
        figures = [_single(stage, address, workers)]
        figures += [_batch(stage, address, workers, size, goal) for size, goal in BATCHES]
        figures.append(_whole(stage, address, workers))
    figures += [_growth(stage, count) for count in _histories(stage)]
    return figures


def _histories(stage: Stage) -> Sequence[int]:
    if stage.quick:
        return (2_000,)
    return (1_000_000, 10_000_000) if stage.full else (1_000_000,)


def _single(stage: Stage, address: Address, workers: Crew) -> Figure:
    stage.tell("steps: claim and complete, one at a time")
    return _against_pgbench(
        stage, address, workers, batch=1, each=stage.count(2_500, 20), what="claim + complete", goal=ratio(least=0.55)
    )


def _batch(stage: Stage, address: Address, workers: Crew, size: int, goal: float) -> Figure:
    stage.tell(f"steps: claim and complete, batches of {size}")
    each = stage.count(5_000, 100) // size * size
    what = f"claim + complete, batches of {size}"
    return _against_pgbench(stage, address, workers, batch=size, each=each, what=what, goal=ratio(least=goal))


def _against_pgbench(
    stage: Stage, address: Address, workers: Crew, *, batch: int, each: int, what: str, goal: Goal
) -> Figure:
    ours, limit = [], []
    for _ in range(stage.rounds):
        rows.queued_steps(address, PROCESSES * each)
        limit.append(_pgbench(address, batch=batch, each=each))
        rows.queued_steps(address, PROCESSES * each)
        ours.append(rate(workers.run(claim_and_complete, steps=each, batch=batch)))
    limit_is = f"pgbench, batches of {batch}" if batch > 1 else "pgbench, two statements"
    return Figure(NAME, what, middle(ours), "steps/s", middle(limit), limit_is, goal)


def _pgbench(address: Address, *, batch: int, each: int) -> float:
    script = _LIMIT.format(batch=batch)
    return batch * pgbench.transactions_per_second(address, script, clients=PROCESSES, each=each // batch)


def _whole(stage: Stage, address: Address, workers: Crew) -> Figure:
    stage.tell("steps: the whole execution")
    each = stage.count(250, 5)
    ours, limit = [], []
    for _ in range(stage.rounds):
        rows.queued_steps(address, PROCESSES * each)
        limit.append(_pgbench(address, batch=1, each=each))
        rows.queued_steps(address, PROCESSES * each, per_mission=1)
        ours.append(rate(workers.run(execute, steps=each)))
    what = "the whole execution: claim, events, mission, outcome"
    return Figure(NAME, what, middle(ours), "steps/s", middle(limit), "pgbench, two statements")


def _growth(stage: Stage, history: int) -> Figure:
    """The same work beside little and beside much history, in turn, in two databases of one server."""
    stage.tell(f"steps: {history:,} rows of history")
    each, little = stage.count(1_500, 20), stage.count(10_000, 100)
    small_rates: list[float] = []
    big_rates: list[float] = []
    with (
        stage.company() as small,
        stage.company() as big,
        crew(size=PROCESSES, env=stage.env(small)) as with_small,
        crew(size=PROCESSES, env=stage.env(big)) as with_big,
    ):
        rows.finished_steps(small, little)
        rows.finished_steps(big, history)
        for _ in range(stage.rounds):
            for address, workers, rates in ((small, with_small, small_rates), (big, with_big, big_rates)):
                rows.queued_steps(address, PROCESSES * each)
                rates.append(rate(workers.run(claim_and_complete, steps=each, batch=1)))
    what = f"claim + complete beside {history:,} rows of history"
    limit_is = f"ours beside {little:,} rows"
    return Figure(NAME, what, middle(big_rates), "steps/s", middle(small_rates), limit_is, ratio(least=0.9))


# --- in the crew's processes ------------------------------------------------------------------------


def claim_and_complete(member: Member, *, steps: int, batch: int) -> Span:
    """Claim and complete so many steps by the company's own claim and the least fenced completion."""
    _commit_asynchronously()
    member.start()
    begun, done = time.monotonic(), 0
    while done < steps:
        found = claims.claim_next(worker="bench", lease_seconds=LEASE_SECONDS, limit=min(batch, steps - done))
        done += _complete(found)
    return Span(begun, time.monotonic(), done)


def _complete(found: Sequence[Claim]) -> int:
    assert found, "the queue was filled for everybody"
    params = {"ids": [claim.step.pk for claim in found], "tokens": [claim.token for claim in found]}
    done = db.rows_of_prepared(_COMPLETE, params)
    assert len(done) == len(found), "nobody takes a step from its holder here"
    return len(found)


def execute(member: Member, *, steps: int) -> Span:
    """Run so many steps as a worker does, around a handler that does nothing."""
    settings.STEP_HANDLERS = {"analyze_signal": f"{__name__}.{Nothing.__name__}"}
    _commit_asynchronously()
    member.start()
    begun = time.monotonic()
    for _ in range(steps):
        (claim,) = claims.claim_next(worker="bench", lease_seconds=LEASE_SECONDS)
        ending = execution.run(claim)
        assert ending == "succeeded", ending
    return Span(begun, time.monotonic(), steps)


def _commit_asynchronously() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO off")
