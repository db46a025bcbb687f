"""One child process with all that it starts: begun, watched, stopped to the last descendant.

Each child leads a session and process group of its own, so the terminal's Ctrl-C reaches `up` alone, and a
group is ended as a whole. Every descendant inherits a mark, which finds also those that left the group, and
those that a killed `up` left. When to start or stop one is the supervisor's affair.
"""

import json
import os
import secrets
import signal
import subprocess  # nosec B404
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import structlog

from tradeco.common import log_lines, processes

log = structlog.get_logger(__name__)

MARK = "TRADECO_UP"  # environment variable: which run of `up` a process descends from
STOP_SECONDS = 8.0
STOP_SECONDS_MAX = 8.0  # with survivors and the database's own stop after it, the whole stays below 15 s
TERM_SECONDS = 1.0  # what a survivor has between SIGTERM and SIGKILL
KILL_SECONDS = 0.5  # a killed process is gone as soon as the system gets to it
CLOCK_TOLERANCE_SECONDS = 2.0  # a process's start moves when the system's clock is set


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run. `stop_seconds` is how long it may take to end before its group is killed."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = STOP_SECONDS


class Register:
    """The children of this run, on disk, so that the next run finds them if this one is killed."""

    def __init__(self, path: Path, *, term_seconds: float = TERM_SECONDS) -> None:
        self.path = path
        self.term_seconds = term_seconds
        self.mark = secrets.token_hex(8)
        self._entries: dict[int, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def add(self, *, name: str, pid: int) -> None:
        try:
            created = psutil.Process(pid).create_time()
        except psutil.NoSuchProcess:
            return  # it ended at once, which its watcher will see
        with self._lock:
            self._entries[pid] = {"name": name, "pid": pid, "create_time": created, "pgid": pid}
            self._write()

    def remove(self, pid: int) -> None:
        with self._lock:
            if self._entries.pop(pid, None):
                self._write()

    def _write(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_suffix(".new")
        draft.write_text(json.dumps({"mark": self.mark, "children": list(self._entries.values())}))
        draft.replace(self.path)

    def sweep(self) -> list[int]:
        """End what a killed run in the same home left; returns the process ids that were ended."""
        try:
            left = json.loads(self.path.read_text())
            mark, entries = str(left["mark"]), list(left["children"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []  # no run before this one, or a file cut short: nothing can be told from it
        return self._end_all(lambda process: _marked(process, mark) or any(_is(process, e) for e in entries))

    def end_survivors(self) -> list[int]:
        """End whatever of this run is still alive, wherever it hid."""
        return self._end_all(lambda process: _marked(process, self.mark))

    def _end_all(self, chosen: Callable[[psutil.Process], bool]) -> list[int]:
        """SIGTERM, then SIGKILL; looks again, since what is being ended may have started more."""
        ended: list[int] = []
        for number, seconds in (
            (signal.SIGTERM, self.term_seconds),
            (signal.SIGKILL, KILL_SECONDS),
            (signal.SIGKILL, KILL_SECONDS),
        ):
            found = [process for process in psutil.process_iter() if _is_other(process) and chosen(process)]
            if not found:
                break
            ended += [process.pid for process in found if process.pid not in ended]
            processes.send(found, number)
            processes.still_alive_after(found, seconds=seconds)
        return ended


def _is_other(process: psutil.Process) -> bool:
    return process.pid != os.getpid() and processes.alive(process)


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False  # gone, or another user's: not ours


def _is(process: psutil.Process, entry: Mapping[str, Any]) -> bool:
    if process.pid != entry["pid"]:
        return False
    try:
        return abs(process.create_time() - float(entry["create_time"])) < CLOCK_TOLERANCE_SECONDS
    except psutil.Error:
        return False


class Child:
    """A running child. Its output goes line by line to `take(name, line)`."""

    def __init__(
        self, spec: Spec, *, register: Register, take: Callable[[str, str], None], cwd: Path | None = None
    ) -> None:
        self.spec = spec
        self.register = register
        self.started = time.monotonic()
        self.process = subprocess.Popen(  # nosec B603
            list(spec.argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            cwd=cwd,
            env=_environment(spec, register.mark),
        )
        register.add(name=spec.name, pid=self.process.pid)
        self._reader = threading.Thread(target=self._read, args=[take], name=f"{spec.name}-log", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait(self, seconds: float) -> int | None:
        """The exit code once it has ended, None while it runs."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, *, seconds: float | None = None, hurry: Callable[[], bool] = lambda: False) -> None:
        """Ask the main process to end; when it hasn't in time, or in a hurry, kill the group."""
        allowed = min(self.spec.stop_seconds if seconds is None else seconds, STOP_SECONDS_MAX)
        deadline = time.monotonic() + allowed
        self.process.terminate()
        while (code := self.wait(0.05)) is None and time.monotonic() < deadline and not hurry():
            pass
        if code is None:
            log.warning(f"{self.spec.name} didn't stop in time", action="child_killed", pid=self.pid)
        self.kill_group()

    def replace(self, *, seconds: float) -> None:
        """End the whole group: all of it may be wedged, so all of it is told."""
        self._signal_group(signal.SIGTERM)
        self.wait(seconds)
        self.kill_group()

    def kill_group(self) -> None:
        """Leave nothing of the group, also when its main process is gone already."""
        self._signal_group(signal.SIGKILL)
        self.process.wait()
        self._reader.join(timeout=1)  # a process that left the group may hold the pipe open
        self.register.remove(self.pid)

    def _signal_group(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass  # nobody is left in it (macOS says PermissionError where only a zombie is)

    def _read(self, take: Callable[[str, str], None]) -> None:
        output = self.process.stdout
        assert output is not None, "children are started with a pipe"
        with output:
            for line in log_lines.lines_of(output.fileno()):
                take(self.spec.name, line)


def _environment(spec: Spec, mark: str) -> dict[str, str]:
    own = {"TRADECO_PROCESS": spec.name, "PYTHONUNBUFFERED": "1", MARK: mark}
    return {**os.environ, **own, **spec.env}
