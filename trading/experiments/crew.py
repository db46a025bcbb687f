"""Programs run beside each other, so many at once; what each said last, and none left behind."""

import os
import signal
import subprocess  # our own modules with fixed arguments  # nosec B404
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import IO, Generic, TypeVar

Subject = TypeVar("Subject")
LOOK_SECONDS = 0.05
WORDS_LINES = 3
WORDS_MOST = 600  # characters
TOLD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Job(Generic[Subject]):
    """A program to run; `about` is whatever its result belongs to."""

    about: Subject
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path


@dataclass(frozen=True, slots=True)
class Ended(Generic[Subject]):
    """How a program ended: its standard output, and its last words where it failed."""

    about: Subject
    code: int
    said: str
    words: str

    @property
    def failed(self) -> bool:
        return self.code != 0


def run(
    jobs: Sequence[Job[Subject]],
    *,
    at_once: int,
    begin: Callable[[Subject], None] = lambda _: None,
    end: Callable[[Ended[Subject]], None],
) -> None:
    """Run them all, `at_once` beside each other; whatever still runs when this is left is killed.

    Args:
        begin: is called before each starts.
        end: is called as each has ended, in the order in which they end.
    """
    waiting, under_way = deque(jobs), list[_Running[Subject]]()
    try:
        while waiting or under_way:
            while waiting and len(under_way) < at_once:
                begin(waiting[0].about)
                under_way.append(_Running(waiting.popleft()))
            for each in [each for each in under_way if each.process.poll() is not None]:
                under_way.remove(each)
                end(each.ended())
            time.sleep(LOOK_SECONDS)
    finally:
        for each in under_way:
            each.kill()


@contextmanager
def leaving_when_told() -> Iterator[None]:
    """SIGTERM and SIGHUP leave the block as Ctrl-C does, so that what must be cleaned up is; also where a shell has
    started us deaf to Ctrl-C.

    Raises:
        KeyboardInterrupt: with the signal's number.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, leave) for number in TOLD}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class _Running(Generic[Subject]):
    job: Job[Subject]
    out: IO[bytes] = field(default_factory=tempfile.TemporaryFile)
    err: IO[bytes] = field(default_factory=tempfile.TemporaryFile)

    def __post_init__(self) -> None:
        self.process = subprocess.Popen(  # nosec B603
            list(self.job.argv),
            cwd=self.job.cwd,
            env=dict(self.job.env),
            stdin=subprocess.DEVNULL,
            stdout=self.out,
            stderr=self.err,
            start_new_session=True,  # a terminal's Ctrl-C is ours to answer
        )

    def ended(self) -> Ended[Subject]:
        with self.out, self.err:
            code = self.process.wait()
            return Ended(self.job.about, code, _all_of(self.out), _words(code, _all_of(self.err)) if code else "")

    def kill(self) -> None:
        with self.out, self.err:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _all_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _words(code: int, said: str) -> str:
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"{how}: {' / '.join(lines[-WORDS_LINES:]) or 'it said nothing'}"[:WORDS_MOST]
