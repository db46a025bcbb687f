"""Handlers and phases of tests: each leaves a line in a file for each time that it really ran."""

import os
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Any

from missions.claims import Claim
from missions.handlers import Ending, Handler, Succeeded
from missions.models import Step
from tradeco.common import crashpoints

EFFECTS = "TRADECO_TEST_EFFECTS"


def leave_a_line(text: str) -> None:
    """Append to the file of effects; O_APPEND keeps lines of many processes whole. Nothing fences this."""
    descriptor = os.open(os.environ[EFFECTS], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


class Counts(Handler):
    """An effect outside of the database, which no rollback takes back."""

    def visit(self, claim: Claim, *, now: datetime) -> Ending:
        leave_a_line(str(claim.step.pk))
        return Succeeded()


class Scripted(Handler):
    """Does what the test says."""

    script: Callable[[Claim], Ending] = staticmethod(lambda claim: Succeeded())
    sent = False
    released: list[int] = []
    doubted: list[int] = []

    def visit(self, claim: Claim, *, now: datetime) -> Ending:
        return type(self).script(claim)

    def may_have_sent(self, step: Step) -> bool:
        return self.sent

    def release(self, step: Step, *, now: datetime) -> None:
        self.released.append(step.pk)

    def doubt(self, step: Step, *, now: datetime) -> None:
        self.doubted.append(step.pk)


# --- phases ---------------------------------------------------------------------------------------

hold, running, most = threading.Event(), 0, 0
_count = threading.Lock()


def waits(*, now: datetime, limit: int) -> dict[str, Any]:
    """Counts how many run at once, and ends when the test says so."""
    global running, most
    with _count:
        running += 1
        most = max(most, running)
    hold.wait(30)
    with _count:
        running -= 1
    return {"limit": limit}


def reaches(*, now: datetime, limit: int) -> dict[str, Any]:
    crashpoints.reach("phase.reached")
    return {}


def raises(*, now: datetime, limit: int) -> dict[str, Any]:
    raise RuntimeError("a bug in a phase")


def hangs_in_the_database(*, now: datetime, limit: int) -> dict[str, Any]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(20)")
    return {}


def breaks_its_connection(*, now: datetime, limit: int) -> dict[str, Any]:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    return {}


def has_some_failures(*, now: datetime, limit: int) -> dict[str, Any]:
    return {"failed": 2}


def works(*, now: datetime, limit: int) -> dict[str, Any]:
    return {"did": limit}
