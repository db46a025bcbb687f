"""Running steps: claim, begin, visit the handler, record the ending; until none is left or the time is up.

How one kind of work is done is its handler's affair, what an ending means outcomes'.
"""

import os
import socket
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

import structlog
from django.db import InterfaceError, OperationalError

from missions import claims, handlers, outcomes, policies
from missions.claims import Claim, LostClaim
from missions.handlers import Ending, Failed, Handler, InDoubt, Park, Retry
from tradeco.common import crashpoints, db, events
from tradeco.common.errors import DomainError
from tradeco.common.vocabulary import EventKind

log = structlog.get_logger(__name__)

WAIT_SECONDS = 5.0  # a step that wants its next visit so soon is waited for: a ring would come later
LOOK_SECONDS = 0.5  # while waiting, for what became runnable meanwhile
WAIT_GRAIN_SECONDS = 0.02


def worker_name() -> str:
    """This process, as claims name it."""
    return f"{socket.gethostname()}:{os.getpid()}"


def never() -> bool:
    """Nobody waits for this worker."""
    return False


def drain(
    *, budget_seconds: float, clock: Callable[[], datetime] = db.now, is_wanted: Callable[[], bool] = never
) -> Counter[str]:
    """Run steps one after another until none is runnable, now or in a moment, or the budget is used; how each ended.

    Args:
        budget_seconds: no new step is begun after it.
        clock: reads the time for each step.
        is_wanted: whether other work waits for this worker; then it doesn't wait for a next visit.
    """
    done: Counter[str] = Counter()
    until = time.monotonic() + budget_seconds
    _, policy = policies.current()
    while time.monotonic() < until:
        claimed = claims.claim_next(worker=worker_name(), lease_seconds=policy.step_lease_seconds)
        if not claimed:
            pause = claims.seconds_to_next_visit(within=WAIT_SECONDS)
            if pause is None or is_wanted():
                break
            time.sleep(min(pause, LOOK_SECONDS) + WAIT_GRAIN_SECONDS)
            continue
        done[run(claimed[0], clock=clock)] += 1
    return done


def run(claim: Claim, *, clock: Callable[[], datetime] = db.now) -> str:
    """Run one claimed step to its next ending; the ending's name in lower case, or `lost`."""
    step = claim.step
    with structlog.contextvars.bound_contextvars(
        step_id=step.pk, mission_id=step.mission_id, kind=step.kind, agent=step.mission.agent_id
    ):
        try:
            crashpoints.reach("step.claimed")
            _begin(claim, now=clock())
            crashpoints.reach("step.begun")
            ending = _visit(claim, now=clock())
            crashpoints.reach("step.visited")
            ending = _record(claim, ending, clock=clock)
            crashpoints.reach("step.recorded")
        except LostClaim:
            log.warning("Another worker has this step now; nothing was written.", action="claim_lost")
            return "lost"
        name = type(ending).__name__.lower()
        log.info("A step was visited.", action=f"step_{name}", ending=name, attempts=step.attempts)
    return name


def _begin(claim: Claim, *, now: datetime) -> None:
    with db.transaction():
        claims.begin(claim)
        if not claim.resumed:
            outcomes.begin_mission(claim.step, now=now)
            events.emit(
                kind=EventKind.STEP_CLAIMED,
                subject=claim.step.subject,
                agent=claim.step.mission.agent_id,
                now=now,
                data={
                    "kind": claim.step.kind,
                    "mission": claim.step.mission_id,
                    "worker": claim.worker,
                    "attempt": claim.step.attempts + 1,
                },
            )


def _visit(claim: Claim, *, now: datetime) -> Ending:
    """Ask the handler; what it raises becomes an ending that can't lose or double anything."""
    handler = handlers.of(claim.step.kind)
    if handler is None:
        return Failed(code="kind_not_available", reason=f"Nobody here can do {claim.step.kind}.")
    try:
        return handler.visit(claim, now=now)
    except LostClaim:
        raise
    except DomainError as refused:
        if handler.may_have_sent(claim.step):
            return _look_again(claim, refused.code, refused.detail)
        return Failed(code=refused.code, reason=refused.detail)
    except (OperationalError, InterfaceError):
        raise  # the database is away: the lease runs out, and the step is taken up by whoever is alive
    except Exception as exc:
        log.exception("A handler failed.", action="handler_failed")
        return _after_a_bug(handler, claim, f"{type(exc).__name__} in the handler; the log has the details.")


def _record(claim: Claim, ending: Ending, *, clock: Callable[[], datetime]) -> Ending:
    """Write the ending; one that can't be booked, by a bug of ours, must not come round for ever: what was written."""
    try:
        db.patiently(outcomes.record, claim, ending, now=clock())
    except (LostClaim, OperationalError, InterfaceError):
        raise
    except Exception as exc:
        handler = handlers.of(claim.step.kind)
        if handler is None:
            raise
        log.exception("An ending can't be written.", action="ending_failed")
        ending = _after_a_bug(handler, claim, f"{type(exc).__name__} while its ending was written; see the log.")
        db.patiently(outcomes.record, claim, ending, now=clock())
    return ending


def _after_a_bug(handler: Handler, claim: Claim, reason: str) -> Ending:
    if handler.may_have_sent(claim.step):
        return _look_again(claim, "handler_error", reason)
    return Retry(code="handler_error", reason=reason)


def _look_again(claim: Claim, code: str, reason: str) -> Ending:
    """Something may have been sent: visit again to find out, and ask a person when that keeps failing."""
    claim.step.attempts += 1
    if claim.step.attempts >= claim.step.attempts_max:
        return InDoubt(code=code, reason=reason, evidence={"attempts": claim.step.attempts})
    delay = outcomes.backoff(claim.step.attempts, seed=f"{claim.step.pk}:{claim.step.attempts}")
    return Park(delay=delay, reason=reason)
