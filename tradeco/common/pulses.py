"""Signs of life of the company's processes, so that readiness can say which one is missing."""

import os
import socket
from datetime import datetime, timedelta

from tradeco.common.models import Pulse

SILENT_FOR_GOOD = timedelta(days=1)


def beat(service: str, *, now: datetime) -> None:
    """Leave a sign of life of this process."""
    Pulse.objects.bulk_create(
        [Pulse(service=service, instance=f"{socket.gethostname()}:{os.getpid()}", at=now)],
        update_conflicts=True,
        unique_fields=["service", "instance"],
        update_fields=["at"],
    )


def newest(service: str) -> datetime | None:
    """When any process of a service last gave a sign of life."""
    return Pulse.objects.filter(service=service).order_by("-at").values_list("at", flat=True).first()


def prune(*, now: datetime, limit: int, retention: timedelta) -> int:
    """Forget processes that have been silent for a day: workers are replaced often, and each has its own row."""
    doomed = Pulse.objects.filter(at__lt=now - min(retention, SILENT_FOR_GOOD)).order_by("at")[:limit]
    deleted, _ = Pulse.objects.filter(pk__in=list(doomed.values_list("pk", flat=True))).delete()
    return deleted
