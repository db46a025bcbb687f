"""Asking, now and then, whether a process group must be replaced although it runs.

A question may hang (it asks the database), so each has a thread of its own, and whoever acts only reads the
last answer. Not knowing is never a reason to replace anything. Acting on it is the supervisor's affair.
"""

import threading
import time
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

EVERY_SECONDS = 5.0
OVERDUE_SECONDS = 20.0  # longer than the database's own limit for a statement


class Watchdog(threading.Thread):
    """Asks `question` over and over; `verdict` gives each reason once."""

    def __init__(
        self,
        name: str,
        question: Callable[[], str | None],
        *,
        every_seconds: float = EVERY_SECONDS,
        overdue_seconds: float = OVERDUE_SECONDS,
    ) -> None:
        super().__init__(name=f"{name}-watchdog", daemon=True)
        self.guarded = name
        self._question = question
        self._every_seconds = every_seconds
        self._overdue_seconds = overdue_seconds
        self._done = threading.Event()
        self._asked: float | None = None
        self._answer: str | None = None

    def run(self) -> None:
        while not self._done.wait(self._every_seconds):
            self._asked = time.monotonic()
            # A reason that nobody has read yet isn't overwritten by the next answer.
            self._answer = self._ask() or self._answer
            self._asked = None

    def verdict(self) -> str | None:
        """Why the group must be replaced, by the last reason that wasn't given out yet."""
        self._complain_when_overdue()
        answer, self._answer = self._answer, None
        return answer

    def end(self) -> None:
        self._done.set()

    def _ask(self) -> str | None:
        try:
            return self._question()
        except Exception:  # this thread's outermost loop: a broken question must not end the watch
            log.exception("A watchdog's question failed", action="watchdog_failed", guards=self.guarded)
            return None

    def _complain_when_overdue(self) -> None:
        asked = self._asked
        if asked is not None and time.monotonic() - asked > self._overdue_seconds:
            log.warning("A watchdog has no answer yet", action="watchdog_overdue", guards=self.guarded)
            self._asked = time.monotonic()  # say it again only after as long a wait
