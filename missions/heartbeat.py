"""The company's pulse: ordered phases, each with a budget, isolated, and recorded.

One beat runs at a time, under a lease: of a hundred that come at once one runs and the rest leave. A beat whose
holder died is taken over when its lease has run out, and recorded as such. What the phases do is theirs;
`settings.HEARTBEAT` lists them.
"""

import time
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from missions import policies
from missions.execution import worker_name
from missions.models import Beat, BeatPhase
from missions.policy_keys import Policy
from missions.vocabulary import PhaseStatus
from tradeco.common import db, doorbell, events, leases
from tradeco.common.leases import Held, LeaseLost
from tradeco.common.vocabulary import EventKind
from tradeco.common.wiring import load

log = structlog.get_logger(__name__)

LEASE = "heartbeat"
LEASE_SECONDS = 30.0  # renewed before each phase, and many times its budget: a beat that takes longer hangs
APART_SECONDS = 2.0  # a beat asked for sooner than this after another would find nothing new


def run(*, asked_by: str, now: datetime, only_if_due: bool = False) -> Beat | None:
    """One heartbeat, unless another runs or has just run.

    Args:
        asked_by: "clock", or who asked.
        only_if_due: leave too when the cadence doesn't ask for one yet.

    Returns:
        The beat with its recorded phases, or None where there was nothing to do.
    """
    held = leases.acquire(LEASE, holder=worker_name(), seconds=LEASE_SECONDS)
    if held is None:
        return None
    try:
        _, policy = policies.current()
        if not is_due(policy=policy, now=now, slack=1.0 if only_if_due else 0.0):
            return None
        beat = _begin(held, asked_by=asked_by, now=now)
        _run_phases(beat, held, now=now)
        _finish(beat, held, now=db.now())
        return beat
    except LeaseLost:
        log.error("This beat hung past its lease and was taken over.", action="beat_lost")
        return None
    finally:
        leases.release(held)


def is_due(*, policy: Policy, now: datetime, slack: float = 1.0) -> bool:
    """Whether the newest beat began long enough ago. `slack` 0 asks only for the least distance."""
    newest = newest_start()
    apart = max(APART_SECONDS, slack * policy.beat_every_seconds - 1.0)
    return newest is None or now - newest >= timedelta(seconds=apart)


def newest_start() -> datetime | None:
    return Beat.objects.order_by("-started_at").values_list("started_at", flat=True).first()


def prune(*, now: datetime, limit: int, retention: timedelta) -> int:
    """Delete the oldest beats beyond their retention."""
    doomed = Beat.objects.filter(started_at__lt=now - retention).order_by("started_at")[:limit]
    deleted, _ = Beat.objects.filter(pk__in=list(doomed.values_list("pk", flat=True))).delete()
    return deleted


def _begin(held: Held, *, asked_by: str, now: datetime) -> Beat:
    with db.transaction():
        leases.fence(held)
        # an unfinished beat before ours: its holder died or hung, since we hold the lease
        Beat.objects.filter(finished_at__isnull=True).update(finished_at=now, taken_over=True)
        return Beat.objects.create(started_at=now, holder=held.holder, epoch=held.epoch, asked_by=asked_by[:160])


def _run_phases(beat: Beat, held: Held, *, now: datetime) -> None:
    for place, (name, path, budget, limit) in enumerate(settings.HEARTBEAT, start=1):
        leases.renew(held)
        begun = time.perf_counter()
        status, did, error = _run_phase(path, budget=budget, limit=limit, now=now)
        BeatPhase.objects.create(
            beat=beat,
            name=name,
            place=place,
            status=status,
            milliseconds=(time.perf_counter() - begun) * 1000,
            budget_milliseconds=budget,
            did=did,
            error=error[:500],
        )


def _run_phase(path: str, *, budget: int, limit: int, now: datetime) -> tuple[PhaseStatus, dict[str, Any], str]:
    """Run one phase under its budget: no statement of it may take longer than the whole budget."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, false)", [str(budget)])
        did = load(path)(now=now, limit=limit)
    except LeaseLost:
        raise
    except Exception as exc:
        log.exception("A phase of the heartbeat failed.", action="phase_failed", phase=path)
        if isinstance(exc, DatabaseError):
            connection.close_if_unusable_or_obsolete()
        return PhaseStatus.FAILURE, {}, f"{type(exc).__name__}: see the log"
    finally:
        _restore_statement_timeout()
    return PhaseStatus.PARTIAL_FAILURE if did.get("failed") else PhaseStatus.SUCCESS, did, ""


def _restore_statement_timeout() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")
    except DatabaseError:
        connection.close()  # the next statement opens a sound one


def _finish(beat: Beat, held: Held, *, now: datetime) -> None:
    phases = list(beat.phases.all())
    with db.transaction():
        leases.fence(held)  # who was taken over in its last phase announces nothing
        Beat.objects.filter(pk=beat.pk, finished_at__isnull=True).update(finished_at=now)
        beat.finished_at = now
        events.emit(
            kind=EventKind.BEAT_FINISHED,
            subject=f"beat:{beat.pk}",
            now=now,
            data={
                "milliseconds": round((now - beat.started_at).total_seconds() * 1000),
                "phases": {phase.name: phase.status for phase in phases},
                "over_budget": [phase.name for phase in phases if phase.over_budget],
            },
        )
        doorbell.ring()  # a lost ring heals here
