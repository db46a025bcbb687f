"""Keeping one child alive: starting it again with a growing delay, replacing it when it is wedged.

How a child is run and ended is children's affair; why it should be replaced is decided by its watchdog.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from tradeco.common.children import TERM_SECONDS, Child, Spec

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Limits:
    """Times in seconds; tests shorten them."""

    backoff_first: float = 0.5
    backoff_cap: float = 30.0
    healthy_after: float = 60.0  # a child that lived so long begins at the first back-off again
    grace: float = 60.0  # how long a fresh group is left alone by its watchdog
    replace: float = 5.0  # between SIGTERM and SIGKILL for a wedged group
    survivors: float = TERM_SECONDS  # between SIGTERM and SIGKILL for what outlived its parent
    watchdog_every: float = 5.0
    watchdog_overdue: float = 20.0
    same_signal: float = 0.5  # some terminals and wrappers deliver one Ctrl-C twice


class Backoff:
    """How long to wait before the next start: doubling up to a cap, forgotten after a healthy life."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._next = limits.backoff_first

    def after(self, *, lived_seconds: float) -> float:
        if lived_seconds >= self._limits.healthy_after:
            self._next = self._limits.backoff_first
        delay = min(self._next, self._limits.backoff_cap)
        self._next = delay * 2
        return delay


class Keeper(threading.Thread):
    """Keeps one child alive until `ending`, in a thread of its own: a slow stop delays nobody else."""

    def __init__(
        self,
        spec: Spec,
        *,
        start: Callable[[Spec], Child],
        limits: Limits,
        ending: threading.Event,
        hurry: threading.Event,
    ) -> None:
        super().__init__(name=f"{spec.name}-keeper", daemon=True)
        self.spec = spec
        self.child: Child | None = None
        self._start_child = start
        self._limits = limits
        self._ending = ending
        self._hurry = hurry
        self._reason: str | None = None

    def run(self) -> None:
        backoff = Backoff(self._limits)
        while not self._ending.is_set():
            began = time.monotonic()
            replaced = self._live_once()
            if replaced or self._ending.is_set():
                continue
            delay = backoff.after(lived_seconds=time.monotonic() - began)
            log.info(f"{self.spec.name} starts again", action="child_restarts", after_seconds=round(delay, 1))
            self._ending.wait(delay)

    def replace(self, reason: str) -> None:
        """Have the group replaced, unless it is too young to be judged."""
        child = self.child
        if child is not None and time.monotonic() - child.started >= self._limits.grace:
            self._reason = reason

    def _live_once(self) -> bool:
        """One life of the child, from start to end; whether it was replaced on purpose."""
        self._reason = None
        try:
            child = self.child = self._start_child(self.spec)
        except OSError as exc:
            log.error(f"{self.spec.name} can't be started", action="child_not_started", error=str(exc))
            return False
        while (code := child.wait(TICK_SECONDS)) is None:
            if self._ending.is_set():
                child.stop(hurry=self._hurry.is_set)
                return False
            if self._reason:
                return self._replace(child, self._reason)
        log.warning(f"{self.spec.name} ended by itself", action="child_died", pid=child.pid, code=code)
        child.kill_group()  # what it had started goes on without it otherwise
        return False

    def _replace(self, child: Child, reason: str) -> bool:
        log.warning(
            f"{self.spec.name} is replaced", action="child_replaced", pid=child.pid, reason=reason
        )  # fmt: skip
        child.replace(seconds=self._limits.replace)
        return True
