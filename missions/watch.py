"""Whether the workers work: for readiness, and for the supervisor, who replaces a wedged group.

django-q2 can wedge as a whole when one of its processes dies; only what the database shows is believed.
"""

from datetime import datetime, timedelta

from missions import heartbeat, policies
from missions.models import Company, Step
from missions.policies import NoPolicy
from tradeco.common import db, pulses

OLDEST_STEP_SECONDS = 60.0  # a runnable step that waited this long has no worker
WORKER_SILENT_SECONDS = 90.0  # the doorbell rings at least each minute


def worker_must_be_replaced() -> str | None:
    """Why the worker group must be replaced, or None. Called by the supervisor each few seconds."""
    now = db.now()
    waited = oldest_step_seconds(now=now)
    if waited > OLDEST_STEP_SECONDS:
        return f"a runnable step has waited {waited:.0f} s"
    late = _beat_late_seconds(now=now)
    if late > 0:
        return f"the heartbeat is {late:.0f} s late"
    return None


def oldest_step_seconds(*, now: datetime) -> float:
    """How long the oldest runnable step has waited beyond its time, 0 when none waits."""
    since = waiting_since(now=now)
    return (now - since).total_seconds() if since else 0.0


def waiting_since(*, now: datetime) -> datetime | None:
    """When the step that has waited longest could have begun, None when none waits.

    Asks the head of each priority, as the queue's index has them: few looks, however long the backlog.
    """
    queue = Step.objects.runnable().order_by("priority", "run_after", "id").values_list("priority", "run_after")
    oldest, head = now, queue.first()
    while head is not None:
        oldest = min(oldest, head[1])
        head = queue.filter(priority__gt=head[0]).first()
    return oldest if oldest < now else None


def worker_readiness() -> tuple[bool, str]:
    """Whether a worker gave a sign of life lately."""
    newest = pulses.newest("worker")
    if newest is None:
        return False, "no worker has shown up yet"
    silent = (db.now() - newest).total_seconds()
    return silent <= WORKER_SILENT_SECONDS, f"last sign of life {silent:.0f} s ago"


def beat_readiness() -> tuple[bool, str]:
    """Whether the heart beats in its cadence."""
    now = db.now()
    newest = heartbeat.newest_start()
    if newest is None:
        return False, "no beat yet"
    return _beat_late_seconds(now=now) <= 0, f"last beat {(now - newest).total_seconds():.0f} s ago"


def _beat_late_seconds(*, now: datetime) -> float:
    """Seconds beyond twice the cadence (at least a minute) since the last beat, or since the opening."""
    try:
        _, policy = policies.current()
    except NoPolicy:
        return 0.0
    since = heartbeat.newest_start() or Company.objects.values_list("opened_at", flat=True).first() or now
    patience = timedelta(seconds=max(60.0, 2 * policy.beat_every_seconds))
    return (now - since - patience).total_seconds()
