"""Taking back what a dead or hung worker held. A step is stale when its lease has run out.

claimed → queued. Executing: visited again where an effect may be under way, else back to the queue one attempt
poorer, else failed. Every worker's idle loop, the market loop and the heartbeat sweep.
"""

from datetime import datetime

import structlog
from django.db import InterfaceError, OperationalError
from django.db.models.functions import Now

from missions import handlers, outcomes
from missions.models import Step
from missions.vocabulary import StepStatus
from tradeco.common import db, doorbell, events, states
from tradeco.common.vocabulary import EventKind

log = structlog.get_logger(__name__)


def run(*, now: datetime, limit: int) -> dict[str, int]:
    """Take back up to `limit` stale steps, each in a transaction of its own; how many, and how many couldn't be."""
    stale = Step.objects.filter(token__isnull=False, lease_expires_at__lt=Now()).order_by("lease_expires_at")
    recovered = failed = 0
    for key in list(stale.values_list("pk", flat=True)[:limit]):
        try:
            recovered += db.patiently(_recover, key, now=now)
        except (OperationalError, InterfaceError):
            raise  # the database is away or busy: the next sweep goes on
        except Exception:  # one step that can't be taken back must not keep all behind it lost
            log.exception("A stale step can't be taken back.", action="rescue_failed", step_id=key)
            failed += 1
    return {"recovered": recovered, "failed": failed}


def _recover(key: int, *, now: datetime) -> bool:
    """Take one step back, unless its worker or another sweep was first."""
    with db.transaction():
        step = (
            Step.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("mission")
            .filter(pk=key, token__isnull=False, lease_expires_at__lt=Now())
            .first()
        )
        if step is None:
            return False
        _take_back(step, now=now)
        doorbell.ring()
    return True


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
