"""Keeping the company's processes alive, and ending them all.

It decides in which order things begin and end, and restarts the database server. It knows no settings and
asks no database: what to run, whom to ask and what to announce are given by the command `up`. Keeping one
child alive is keeper's affair, running and ending it children's, and whether to run here at all premises'.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Protocol

import structlog

from tradeco.common import premises
from tradeco.common.children import Child, Register, Spec
from tradeco.common.errors import DomainError
from tradeco.common.keeper import TICK_SECONDS, Backoff, Keeper, Limits
from tradeco.common.log_lines import LogSink
from tradeco.common.postgres_place import PostgresUnavailable
from tradeco.common.watchdog import Watchdog

log = structlog.get_logger(__name__)

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SetupFailed(DomainError):
    code: ClassVar[str] = "setup_failed"
    status: ClassVar[int] = 503
    title: ClassVar[str] = "A preparing step failed"


class Server(Protocol):
    """What the supervisor needs of a database server; postgres.EmbeddedServer is one."""

    def start(self, *, give_up: Callable[[], bool]) -> None: ...
    def stop(self) -> None: ...
    def running(self) -> bool: ...
    def exit_code(self) -> int | None: ...
    def last_words(self) -> str: ...
    def bound_log(self) -> None: ...


class Supervisor:
    """Runs a database server, preparing steps, and children, until a signal ends it.

    Args:
        home: TRADECO_HOME, where its lock, register and logs are.
        children: what is kept alive.
        sink: where all output goes.
        server: the embedded database, or None where somebody else runs one.
        steps: what must succeed, in order, once the server is ready and before the children start.
        questions: for a child's name, why its group must be replaced, or None.
        announce: asked until it gives a text, which is shown once.
        address: host and port that must be free, or None.
    """

    def __init__(
        self,
        *,
        home: Path,
        children: Sequence[Spec],
        sink: LogSink,
        server: Server | None = None,
        steps: Sequence[Spec] = (),
        questions: Mapping[str, Callable[[], str | None]] | None = None,
        announce: Callable[[], str | None] = lambda: "",
        address: tuple[str, int] | None = None,
        ports: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.home = home
        self.sink = sink
        self.server = server
        self.steps = steps
        self.announce = announce
        self.address = address
        self.ports = ports or {}
        self.cwd = cwd
        self.limits = limits or Limits()
        self.register = Register(home / "run" / "children.json", term_seconds=self.limits.survivors)
        self._ending, self._hurry = threading.Event(), threading.Event()
        self._signals: list[float] = []
        self._server_backoff = Backoff(self.limits)
        self._server_due = self._server_started = 0.0
        self.keepers = [
            Keeper(spec, start=self._start, limits=self.limits, ending=self._ending, hurry=self._hurry)
            for spec in children
        ]
        self.watchdogs = [
            Watchdog(
                name,
                question,
                every_seconds=self.limits.watchdog_every,
                overdue_seconds=self.limits.watchdog_overdue,
            )
            for name, question in (questions or {}).items()
        ]

    def run(self) -> None:
        """Run until a signal says stop; afterwards nothing of it is left.

        Raises:
            AlreadyRunning, AddressTaken: before anything was started.
            PostgresUnavailable, SetupFailed: after everything was stopped again.
        """
        with premises.held(self.home), self._heeding_signals():
            if swept := self.register.sweep():
                log.warning("Ended what a killed run left", action="leftovers_ended", pids=swept)
            premises.refuse_a_taken_address(self.address)
            for variable, name in self.ports.items():
                os.environ[variable] = str(premises.keep_port(self.home, name))
            try:
                self._begin()
                self._tend()
            finally:
                self._end()

    # --- beginning ---------------------------------------------------------------------------------

    def _begin(self) -> None:
        try:
            self._start_server()
        except PostgresUnavailable:
            if not self._told_to_stop():
                raise
        for step in self.steps:
            if not self._told_to_stop():
                self._do(step)
        if self._told_to_stop():
            return
        for thread in (*self.keepers, *self.watchdogs):
            thread.start()
        threading.Thread(target=self._announce_once, name="announcer", daemon=True).start()

    def _start(self, spec: Spec) -> Child:
        child = Child(spec, register=self.register, take=self.sink.take, cwd=self.cwd)
        log.info(f"{spec.name} started", action="child_started", pid=child.pid)
        return child

    def _do(self, step: Spec) -> None:
        """Run a preparing step to its end."""
        child = self._start(step)
        while (code := child.wait(TICK_SECONDS)) is None:
            if self._told_to_stop():
                child.stop(hurry=self._in_a_hurry)
                return
        child.kill_group()
        if code != 0:
            raise SetupFailed(f"{step.name} ended with code {code}; its last lines above say why.")

    def _announce_once(self) -> None:
        while (text := self.announce()) is None:
            if self._ending.wait(0.3):
                return
        self.sink.say(text)

    # --- tending -----------------------------------------------------------------------------------

    def _tend(self) -> None:
        keepers = {keeper.spec.name: keeper for keeper in self.keepers}
        while not self._told_to_stop():
            time.sleep(TICK_SECONDS)
            self._tend_server()
            for watchdog in self.watchdogs:
                if (reason := watchdog.verdict()) and watchdog.guarded in keepers:
                    keepers[watchdog.guarded].replace(reason)

    def _tend_server(self) -> None:
        if self.server is None or time.monotonic() < self._server_due:
            return
        if self.server.running():
            self.server.bound_log()
            self._server_due = time.monotonic() + 1
            return
        log.warning(
            "PostgreSQL ended by itself", action="postgres_died",
            code=self.server.exit_code(), last_words=self.server.last_words(),
        )  # fmt: skip
        self._restart_server()

    def _restart_server(self) -> None:
        """At once; only when that fails, after a while. The children reconnect by themselves."""
        try:
            self._start_server()
        except PostgresUnavailable as exc:
            delay = self._server_backoff.after(lived_seconds=time.monotonic() - self._server_started)
            self._server_due = time.monotonic() + delay
            log.error(
                "PostgreSQL can't be started", action="postgres_not_started",
                error=str(exc), after_seconds=round(delay, 1),
            )  # fmt: skip

    def _start_server(self) -> None:
        if self.server is not None:
            self.server.start(give_up=self._told_to_stop)
            self._server_started = time.monotonic()
            # One that dies as soon as it is ready is restarted once a second, not in a frenzy.
            self._server_due = self._server_started + 1

    # --- ending ------------------------------------------------------------------------------------

    def _end(self) -> None:
        log.info("Stopping everything", action="up_stops")
        self._ending.set()
        for watchdog in self.watchdogs:
            watchdog.end()
        for keeper in self.keepers:
            while keeper.is_alive():
                keeper.join(TICK_SECONDS)
                if self._in_a_hurry():
                    self._hurry.set()
        if survivors := self.register.end_survivors():
            log.warning("Ended processes that outlived their parent", action="survivors_ended", pids=survivors)
        if self.server is not None:
            self.server.stop()
        log.info("Everything has stopped", action="up_stopped")

    @contextmanager
    def _heeding_signals(self) -> Iterator[None]:
        before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
        for number, handler in before.items():
            # nohup asked to outlive the terminal. An ignored SIGINT only says that a script's `&` started us.
            if number is not signal.SIGHUP or handler is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        """Only a note: setting a threading.Event here could lock up with the wait that was interrupted."""
        self._signals.append(time.monotonic())

    def _told_to_stop(self) -> bool:
        return bool(self._signals)

    def _in_a_hurry(self) -> bool:
        """A second signal, and not the first one delivered twice."""
        return bool(self._signals) and self._signals[-1] - self._signals[0] > self.limits.same_signal
