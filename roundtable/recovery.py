"""Giving up conversations that stand still, a phase of the heartbeat: nobody spoke for `conversation_stale_minutes`.

A worker that is alive keeps its lease and its conversation moving; so this is the last net. Ending the step takes its
token away: whoever still speaks for it writes nothing any more.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from missions import outcomes, policies
from missions.models import Step
from missions.vocabulary import StepStatus
from roundtable import execution
from roundtable.models import OPEN, Conversation, ConversationStatus
from tradeco.common import db

CODE = "stale"


def run(*, now: datetime, limit: int) -> dict[str, Any]:
    """Give up to `limit` conversations up, each in a transaction of its own; how many."""
    _, policy = policies.current()
    before = now - timedelta(minutes=policy.conversation_stale_minutes)
    keys = list(_stale(before).order_by("pk").values_list("pk", "step_id")[:limit])
    return {"given_up": sum(db.patiently(_give_up, key, step_id, before=before, now=now) for key, step_id in keys)}


def _stale(before: datetime) -> QuerySet[Conversation]:
    """Open ones without a sign of life. One that waits counts from its first visit; one whose step waits for another
    step doesn't count at all.
    """
    moved = Coalesce("last_turn_at", "started_at", "step__started_at", "step__run_after")
    open_now = Conversation.objects.filter(status__in=OPEN, step__blocked_by__isnull=True)
    return open_now.annotate(moved_at=moved).filter(moved_at__lt=before)


def _give_up(key: int, step_id: int, *, before: datetime, now: datetime) -> bool:
    """Give one up, unless a worker is just writing, or was first. The step is locked first, as by every ending."""
    with db.transaction():
        step = (
            Step.objects.select_for_update(skip_locked=True, of=("self",))
            .select_related("mission")
            .filter(pk=step_id)
            .exclude(status=StepStatus.CLAIMED)  # just taken up, or the rescue's
            .first()
        )
        stale = _stale(before).filter(pk=key).first()
        if step is None or stale is None:
            return False
        held = Conversation.objects.select_for_update().get(pk=key)
        reason = f"Nobody spoke since {stale.moved_at:%Y-%m-%d %H:%M} UTC."  # type: ignore[attr-defined]
        execution.end_within(held, to=ConversationStatus.FAILED, code=CODE, reason=reason, now=now)
        _end_step(step, reason=reason, now=now)
    return True


def _end_step(step: Step, *, reason: str, now: datetime) -> None:
    if step.status == StepStatus.EXECUTING:
        outcomes.fail(step, code=CODE, reason=reason, now=now)
    elif step.status == StepStatus.QUEUED:  # its worker was lost, and none took it up
        outcomes.cancel_mission_within(mission_id=step.mission_id, by="policy", reason=reason, now=now)
