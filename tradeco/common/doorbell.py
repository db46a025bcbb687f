"""Waking the workers. Steps in the database are the queue; a ring only says "look".

django-q2 may deliver a ring late, twice or never: that costs latency, not a trade, since every heartbeat rings
too. Rings that nobody has answered yet are enough for everything committed before them, so they are not piled up.
"""

from django.conf import settings
from django.utils import timezone
from django_q.models import OrmQ, Schedule
from django_q.tasks import async_task

from tradeco.common import db


def ring() -> None:
    """Ask the workers to look for steps, once the caller's transaction is committed."""
    db.run_after_commit(_ring_steps)


def ring_for_a_beat() -> None:
    """Ask a worker for a heartbeat. Which of many rings becomes the beat, its lease decides."""
    async_task(settings.BEAT_TASK)


def is_rung() -> bool:
    """Whether a task waits that no worker has taken yet."""
    return _unanswered() > 0


def _unanswered() -> int:
    return int(OrmQ.objects.filter(lock__lte=timezone.now()).count())


def _ring_steps() -> None:
    if _unanswered() < settings.Q_CLUSTER["workers"]:
        async_task(settings.DOORBELL_TASK)


def schedule() -> None:
    """Let django-q's own scheduler ring each minute too: the net under the market loop's metronome."""
    for name, task in (("beat", settings.BEAT_TASK), ("drain", settings.DOORBELL_TASK)):
        Schedule.objects.update_or_create(
            name=name, defaults={"func": task, "schedule_type": Schedule.MINUTES, "minutes": 1, "repeats": -1}
        )
