"""Who may run which step. Running it is execution's affair, ending it outcomes'.

A claim is a lease with a token. Candidates come in a total order (priority, run_after, id) with SKIP LOCKED, so
that no two workers get the same step and none waits for another. Every later write names the token: whoever lost
the claim changes nothing. Lease times are the database's `clock_timestamp()`.
"""

import uuid
from dataclasses import dataclass

from django.db import connection

from missions.models import Step
from missions.vocabulary import StepStatus
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


# One UPDATE takes the candidates and marks them. {candidates} is one of the two queues below. What is due is asked by
# statement_timestamp(), which an index can serve; clock_timestamp() would be looked up anew for every row.
_CLAIM = """
WITH candidate AS MATERIALIZED (
  {candidates} LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE missions_step AS step
SET status = {status}, token = gen_random_uuid(), worker = %(worker)s,
    lease_expires_at = clock_timestamp() + make_interval(secs => %(lease)s),
    started_at = coalesce(step.started_at, clock_timestamp())
FROM candidate WHERE step.id = candidate.id
RETURNING step.*
"""
_QUEUED = _CLAIM.format(
    status="'claimed'",
    candidates="SELECT id FROM missions_step WHERE status = 'queued' AND blocked_by_id IS NULL"
    " AND run_after <= statement_timestamp() ORDER BY priority, run_after, id",
)
_PARKED = _CLAIM.format(
    status="'executing'",
    candidates="SELECT id FROM missions_step WHERE status = 'executing' AND token IS NULL"
    " AND run_after <= statement_timestamp() ORDER BY run_after, id",
)


def claim_next(*, worker: str, lease_seconds: float, limit: int = 1) -> list[Claim]:
    """Claim up to `limit` steps whose time has come; first those that are under way and wait for a visit.

    One statement, atomic by itself; call it outside a transaction, so that a claim is committed at once.
    """
    found = _take(_PARKED, worker, lease_seconds, limit)
    if len(found) < limit:
        found += _take(_QUEUED, worker, lease_seconds, limit - len(found))
    return found


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


def _take(statement: str, worker: str, lease_seconds: float, limit: int) -> list[Claim]:
    steps = Step.objects.raw(statement, {"worker": worker, "lease": lease_seconds, "limit": limit})
    resumed = statement is _PARKED
    return [
        Claim(step=step, token=_token_of(step), worker=worker, lease_seconds=lease_seconds, resumed=resumed)
        for step in sorted(steps, key=lambda step: (step.priority, step.run_after, step.pk))
    ]


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
