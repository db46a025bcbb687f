"""How a step ends, and what that means for its mission. Always fenced: the first act is to lock the step as its
holder; who lost the claim writes nothing. What an ending books is written in the same transaction.
"""

import random
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from missions import caps, claims, handlers
from missions.claims import Claim
from missions.handlers import Ending, Failed, InDoubt, Park, Retry, Succeeded
from missions.models import Mission, Outcome, Step
from missions.vocabulary import MissionStatus, StepStatus
from tradeco.common import crashpoints, db, doorbell, events, states
from tradeco.common.errors import DomainError, NotFound
from tradeco.common.vocabulary import EventKind

BACKOFF_FIRST_SECONDS, BACKOFF_MOST_SECONDS = 1.0, 60.0  # between tries: 1, 2, 4 … s, each ± half


class StepUnderWay(DomainError):
    code = "step_under_way"
    title = "A step of this mission is under way and can't be called back"


class MissionEnded(DomainError):
    code = "mission_ended"
    title = "This mission has ended"


def record(claim: Claim, ending: Ending, *, now: datetime) -> None:
    """Write a step's ending and its consequences in one transaction.

    Raises:
        LostClaim: another worker has the step; nothing was written.
    """
    with db.transaction():
        # a fresh row: the claim's own must not change, since contention may undo all this and run it again
        step = claims.fence(claim)
        step.attempts = claim.step.attempts  # what the visit counted
        match ending:
            case Succeeded():
                _succeed(step, ending, now=now)
            case Failed():
                _fail(step, ending, now=now)
            case Retry():
                retry(step, code=ending.code, reason=ending.reason, now=now)
            case Park():
                _let_go(step, run_after=now + ending.delay, attempts=step.attempts, sent=_has_sent(step))
                if ending.book:
                    ending.book()
            case InDoubt():
                _doubt(step, ending, now=now)
        crashpoints.reach("outcomes.before_commit")


def begin_mission(step: Step, *, now: datetime) -> None:
    """The first step that begins sets its mission running."""
    started = Mission.objects.filter(pk=step.mission_id, status=MissionStatus.APPROVED).update(
        status=MissionStatus.RUNNING, started_at=now
    )
    if started:
        _mission_event(EventKind.MISSION_RUNNING, step.mission, now=now)


def retry(step: Step, *, code: str, reason: str, now: datetime) -> None:
    """Back to the queue after a back-off, or failed where no attempt is left. The caller holds the step's row."""
    attempts = step.attempts + 1
    if attempts >= step.attempts_max:
        step.attempts = attempts
        _fail(step, Failed(code="attempts_used_up", reason=f"{code}: {reason}"), now=now)
        return
    _let_go(
        step,
        to=StepStatus.QUEUED,
        run_after=now + backoff(attempts, seed=f"{step.pk}:{attempts}"),
        attempts=attempts,
        code=code,
        reason=reason[:500],
    )
    _step_event(EventKind.STEP_RETRIED, step, now=now, code=code, reason=reason, attempts=attempts)
    doorbell.ring()


def backoff(attempts: int, *, seed: str) -> timedelta:
    """Exponential with jitter: min(cap, first × 2^(attempts−1)) × uniform(0.5, 1.5), seeded."""
    base = min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** (attempts - 1))
    return timedelta(seconds=base * random.Random(seed).uniform(0.5, 1.5))


def park(step: Step, *, run_after: datetime, attempts: int) -> None:
    """Free a step under way for its next visit. The caller holds the step's row."""
    _let_go(step, run_after=run_after, attempts=attempts)


def fail(step: Step, *, code: str, reason: str, now: datetime) -> None:
    """Fail a step that provably sent nothing. The caller holds the step's row."""
    _fail(step, Failed(code=code, reason=reason), now=now)


def doubt(step: Step, *, code: str, reason: str, evidence: dict[str, Any], now: datetime) -> None:
    """Put a step whose effect is unknown before a person. The caller holds the step's row."""
    _doubt(step, InDoubt(code=code, reason=reason, evidence=evidence), now=now)


def settle(*, step_id: int, ending: Ending, by: str, reason: str, now: datetime) -> bool:
    """End the doubt about a step: by evidence, or by a person. False where it isn't in doubt (any more).

    Succeeded and Failed end it; Park sends it back for another visit, which needs proof that nothing was done.
    """
    with db.transaction():
        return settle_within(step_id=step_id, ending=ending, by=by, reason=reason, now=now)


def settle_within(*, step_id: int, ending: Ending, by: str, reason: str, now: datetime) -> bool:
    """`settle` inside the caller's transaction."""
    db.requires_transaction()
    step = Step.objects.select_for_update(of=("self",)).select_related("mission").filter(pk=step_id).first()
    if step is None or step.status != StepStatus.NEEDS_RECONCILIATION:
        return False
    _step_event(EventKind.STEP_SETTLED, step, now=now, by=by, reason=reason, to=type(ending).__name__.lower())
    match ending:
        case Succeeded():
            _succeed(step, ending, now=now)
        case Failed():
            _fail(step, ending, now=now)
        case Park():
            again = {"run_after": now + ending.delay, "attempts": 0, "code": "", "reason": ""}
            _let_go(step, to=StepStatus.QUEUED, sent=_has_sent(step), **again)
            if ending.book:
                ending.book()
            doorbell.ring()
        case _:
            raise AssertionError(f"{type(ending).__name__} settles nothing")
    return True


def cancel_mission(*, mission_id: int, by: str, reason: str, now: datetime) -> Mission:
    """Cancel a mission none of whose steps is under way; what was held is let go, unspent caps go back.

    Raises:
        NotFound, MissionEnded, StepUnderWay
    """
    with db.transaction():
        return cancel_mission_within(mission_id=mission_id, by=by, reason=reason, now=now)


def cancel_mission_within(*, mission_id: int, by: str, reason: str, now: datetime) -> Mission:
    """`cancel_mission` inside the caller's transaction."""
    db.requires_transaction()
    # steps first, then the mission: the order in which endings lock them, so that the two can't deadlock
    steps = list(Step.objects.select_for_update().filter(mission=mission_id).order_by("place"))
    mission = Mission.objects.select_for_update().filter(pk=mission_id).first()
    if mission is None:
        raise NotFound(f"There is no mission #{mission_id}.")
    if mission.finished_at is not None:
        raise MissionEnded(f"It has {mission.status} already.")
    for step in steps:
        if step.finished_at is None and step.status != StepStatus.QUEUED:
            raise StepUnderWay(f"Step #{step.pk} is {step.status}.")
    _cancel_rest(mission, now=now, reason=f"{by}: {reason}")
    if not any(step.sent or step.status == StepStatus.SUCCEEDED for step in steps):
        caps.give_back(mission=mission, now=now)
    _end_mission(mission, to=MissionStatus.CANCELLED, code="cancelled", now=now)
    return mission


# --- inside ---------------------------------------------------------------------------------------


def _succeed(step: Step, ending: Succeeded, *, now: datetime) -> None:
    _finish(step, to=StepStatus.SUCCEEDED, result=dict(ending.result), now=now)
    if ending.book:
        ending.book()
    _step_event(EventKind.STEP_SUCCEEDED, step, now=now)
    if Step.objects.filter(blocked_by=step).update(blocked_by=None, run_after=now):
        doorbell.ring()
        return
    mission = Mission.objects.select_for_update().get(pk=step.mission_id)
    _end_mission(mission, to=MissionStatus.SUCCEEDED, code="", now=now, ending=ending)


def _fail(step: Step, ending: Failed, *, now: datetime) -> None:
    _finish(
        step,
        to=StepStatus.FAILED,
        code=ending.code,
        reason=ending.reason[:500],
        attempts=step.attempts,
        now=now,
    )
    if ending.book:
        ending.book()
    elif handler := handlers.of(step.kind):
        handler.release(step, now=now)
    _step_event(EventKind.STEP_FAILED, step, now=now, code=ending.code, reason=ending.reason)
    mission = Mission.objects.select_for_update().get(pk=step.mission_id)
    _cancel_rest(mission, now=now, reason="a step before it failed")
    if ending.nothing_sent and not mission.steps.filter(Q(sent=True) | Q(status=StepStatus.SUCCEEDED)).exists():
        caps.give_back(mission=mission, now=now)
    _end_mission(mission, to=MissionStatus.FAILED, code=ending.code, now=now)


def _has_sent(step: Step) -> bool:
    """Whether anything ever left for outside in its name, whatever became of it; asked before an ending is booked."""
    handler = handlers.of(step.kind)
    return step.sent or (handler is not None and handler.may_have_sent(step))


def _doubt(step: Step, ending: InDoubt, *, now: datetime) -> None:
    _let_go(
        step,
        to=StepStatus.NEEDS_RECONCILIATION,
        code=ending.code,
        reason=ending.reason[:500],
        result={"evidence": dict(ending.evidence)},
        attempts=step.attempts,
    )
    if ending.book:
        ending.book()
    elif handler := handlers.of(step.kind):
        handler.doubt(step, now=now)
    _step_event(EventKind.STEP_IN_DOUBT, step, now=now, code=ending.code, reason=ending.reason)


def _finish(step: Step, *, to: StepStatus, now: datetime, **changes: Any) -> None:
    _let_go(step, to=to, finished_at=now, **changes)


def _let_go(step: Step, *, to: StepStatus | None = None, **changes: Any) -> None:
    """Move a held step on and give its token up; the caller holds the row."""
    if to is None:
        Step.objects.filter(pk=step.pk).update(token=None, lease_expires_at=None, **changes)
    else:
        states.move(step, to=to, token=None, lease_expires_at=None, **changes)


def _cancel_rest(mission: Mission, *, now: datetime, reason: str) -> None:
    for step in mission.steps.filter(status=StepStatus.QUEUED).order_by("place"):
        states.move(step, to=StepStatus.CANCELLED, finished_at=now, code="cancelled", reason=reason[:500])
        handler = handlers.of(step.kind)
        if handler is not None:
            handler.release(step, now=now)
        _step_event(EventKind.STEP_CANCELLED, step, now=now, reason=reason)


_MISSION_EVENT = {
    MissionStatus.SUCCEEDED: EventKind.MISSION_SUCCEEDED,
    MissionStatus.FAILED: EventKind.MISSION_FAILED,
    MissionStatus.CANCELLED: EventKind.MISSION_CANCELLED,
}


def _end_mission(
    mission: Mission, *, to: MissionStatus, code: str, now: datetime, ending: Succeeded | None = None
) -> None:
    if mission.status == MissionStatus.APPROVED and to == MissionStatus.SUCCEEDED:
        states.move(mission, to=MissionStatus.RUNNING, started_at=now)
    states.move(mission, to=to, finished_at=now)
    Outcome.objects.create(
        mission=mission,
        agent_id=mission.agent_id,
        kind=mission.kind,
        succeeded=to == MissionStatus.SUCCEEDED,
        code=code,
        pnl_usd=ending.pnl_usd() if ending and ending.pnl_usd else None,
        details=dict(ending.result) if ending else {},
        by_person=mission.proposal.author_id is not None,
        at=now,
    )
    _mission_event(_MISSION_EVENT[to], mission, now=now, code=code)


def _mission_event(kind: EventKind, mission: Mission, *, now: datetime, **data: Any) -> None:
    events.emit(
        kind=kind,
        subject=mission.subject,
        agent=mission.agent_id,
        now=now,
        data={"kind": mission.kind, "proposal": mission.proposal_id, **data},
    )


def _step_event(kind: EventKind, step: Step, *, now: datetime, **data: Any) -> None:
    events.emit(
        kind=kind,
        subject=step.subject,
        agent=step.mission.agent_id,
        now=now,
        data={"kind": step.kind, "mission": step.mission_id, **data},
    )
