"""Taking back what a dead or hung worker held. A step is stale when its lease has run out.

claimed → queued. Executing: visited again where an effect may be under way, else back to the queue one attempt
poorer, else failed. Every worker's idle loop, the market loop and the heartbeat sweep.
"""

from datetime import datetime

from django.db.models.functions import Now

from missions import handlers, outcomes
from missions.models import Step
from missions.vocabulary import StepStatus
from tradeco.common import db, doorbell, events, states
from tradeco.common.vocabulary import EventKind


def run(*, now: datetime, limit: int) -> dict[str, int]:
    """Take back up to `limit` stale steps; how many."""
    with db.transaction():
        stale = list(
            Step.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("mission")
            .filter(token__isnull=False, lease_expires_at__lt=Now())
            .order_by("lease_expires_at")[:limit]
        )
        for step in stale:
            _take_back(step, now=now)
        if stale:
            doorbell.ring()
    return {"recovered": len(stale)}


def _take_back(step: Step, *, now: datetime) -> None:
    events.emit(
        kind=EventKind.STEP_RECOVERED,
        subject=step.subject,
        agent=step.mission.agent_id,
        now=now,
        data={"kind": step.kind, "mission": step.mission_id, "worker": step.worker, "was": step.status},
    )
    if step.status == StepStatus.CLAIMED:
        states.move(step, to=StepStatus.QUEUED, token=None, lease_expires_at=None)
        return
    handler = handlers.of(step.kind)
    if handler is not None and handler.may_have_sent(step):
        outcomes.park(step, run_after=now, attempts=step.attempts + 1)
    else:
        outcomes.retry(step, code="lease_lost", reason=f"{step.worker} went silent", now=now)
