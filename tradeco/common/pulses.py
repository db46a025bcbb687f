"""Signs of life of the company's processes, so that readiness can say which one is missing."""

import os
import socket
from datetime import datetime

from tradeco.common.models import Pulse


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
