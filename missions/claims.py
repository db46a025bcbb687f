"""Who may run which step. Running it is execution's affair, ending it outcomes'.

A claim is a lease with a token. Candidates come in a total order (priority, run_after, id) with SKIP LOCKED, so
that no two workers get the same step and none waits for another. Every later write names the token: whoever lost
the claim changes nothing. Lease times are the database's `clock_timestamp()`.
"""

import uuid
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import JSONField

from missions.models import Step
from missions.vocabulary import PRIORITY_PROTECTIVE, StepStatus
from tradeco.common import db
from tradeco.common.errors import DomainError

FENCED = True
"""Whether later writes name the token. Off only in the tests that show what the fence is for."""


class LostClaim(DomainError):
    code = "lost_claim"
    title = "Another worker has this step now"


@dataclass(frozen=True, slots=True)
class Claim:
    """A step in hand. `resumed` says that it was under way and is only visited again."""

    step: Step
    token: uuid.UUID
    worker: str
    lease_seconds: float
    resumed: bool


_FIELDS = Step._meta.concrete_fields
_ATTRIBUTES = [field.attname for field in _FIELDS]

# One statement takes from both queues: what is under way and waits for a visit, then what is fresh. What is due is
# asked by statement_timestamp(), which an index can serve; clock_timestamp() would be looked up anew for every row.
# Talk gives way to a protective exit: a turn may take as long as a language model does.
# = ANY (ARRAY()) keeps a planner who knows neither the limit nor today's counts from joining with the whole table.
CLAIM = f"""
WITH parked AS MATERIALIZED (
  SELECT id FROM missions_step WHERE status = 'executing' AND token IS NULL AND run_after <= statement_timestamp()
    AND (kind <> 'hold_roundtable' OR NOT EXISTS (
      SELECT 1 FROM missions_step exit WHERE exit.status = 'queued' AND exit.blocked_by_id IS NULL
        AND exit.priority <= %(protective)s AND exit.run_after <= statement_timestamp()))
  ORDER BY run_after, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), queued AS MATERIALIZED (
  SELECT id FROM missions_step
  WHERE status = 'queued' AND blocked_by_id IS NULL AND run_after <= statement_timestamp()
  ORDER BY priority, run_after, id LIMIT %(limit)s - (SELECT count(*) FROM parked) FOR UPDATE SKIP LOCKED
)
UPDATE missions_step AS step
SET status = CASE step.status WHEN 'queued' THEN 'claimed' ELSE step.status END,
    token = gen_random_uuid(), worker = %(worker)s,
    lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s),
    started_at = coalesce(step.started_at, clock_timestamp())
WHERE step.id = ANY (ARRAY(SELECT id FROM parked UNION ALL SELECT id FROM queued))
RETURNING {", ".join(f"step.{field.column}" for field in _FIELDS)}
"""  # columns' names of ours  # nosec B608


def claim_next(*, worker: str, lease_seconds: float, limit: int = 1) -> list[Claim]:
    """Claim up to `limit` steps whose time has come; first those that are under way and wait for a visit.

    One statement, atomic by itself; call it outside a transaction, so that a claim is committed at once.
    """
    params = {"worker": worker, "lease": lease_seconds, "limit": limit, "protective": PRIORITY_PROTECTIVE}
    steps = sorted(map(_step_of, db.rows_of_prepared(CLAIM, params)), key=_turn)
    return [
        Claim(step, _token_of(step), worker, lease_seconds, resumed=step.status == StepStatus.EXECUTING)
        for step in steps
    ]


def seconds_to_next_visit(*, within: float) -> float | None:
    """How long until a step that is under way wants its next visit; None where none does within so many seconds."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM run_after - clock_timestamp()) FROM missions_step WHERE status = 'executing'"
            " AND token IS NULL AND run_after < statement_timestamp() + make_interval(secs => %s)"
            " ORDER BY run_after, id LIMIT 1",
            [within],
        )
        found = cursor.fetchone()
    return None if found is None else max(0.0, float(found[0]))


def begin(claim: Claim) -> None:
    """Move a fresh claim from claimed to executing.

    Raises:
        LostClaim: the lease ran out and the step was taken back.
    """
    if not claim.resumed:
        _fenced(claim, "status = 'executing'", "status = 'claimed'")
        claim.step.status = StepStatus.EXECUTING


def renew(claim: Claim) -> None:
    """Hold a claim for another lease from now; call it during long work.

    Raises:
        LostClaim: another worker has the step, or it was taken back.
    """
    _fenced(
        claim,
        "lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s)",
        "status IN ('claimed', 'executing')",
        lease=claim.lease_seconds,
    )


def fence(claim: Claim) -> Step:
    """Lock the step as its holder, until the caller's transaction ends; the step as it stands.

    Raises:
        LostClaim: the caller must write nothing.
    """
    mine = Step.objects.select_for_update(of=("self",)).select_related("mission").filter(pk=claim.step.pk)
    if FENCED:
        mine = mine.filter(token=claim.token, status=StepStatus.EXECUTING)
    step = mine.first()
    if step is None:
        raise LostClaim(f"Step #{claim.step.pk} is no longer {claim.worker}'s.")
    return step


def _turn(step: Step) -> tuple[Any, ...]:
    """UPDATE returns rows in any order."""
    return step.status != StepStatus.EXECUTING, step.priority, step.run_after, step.pk


def _step_of(row: tuple[Any, ...]) -> Step:
    values = [
        field.from_db_value(value, field.cached_col, connection) if isinstance(field, JSONField) else value
        for field, value in zip(_FIELDS, row, strict=True)
    ]
    return Step.from_db(connection.alias, _ATTRIBUTES, values)


def _token_of(step: Step) -> uuid.UUID:
    assert step.token is not None, "the claim has just set it"
    return step.token


def _fenced(claim: Claim, change: str, expected: str, **params: float) -> None:
    fence = "AND token = %(token)s" if FENCED else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE missions_step SET {change} WHERE id = %(id)s AND {expected} {fence}",  # texts of ours  # nosec B608
            {"id": claim.step.pk, "token": claim.token, **params},
        )
        if cursor.rowcount != 1:
            raise LostClaim(f"Step #{claim.step.pk} is no longer {claim.worker}'s.")
