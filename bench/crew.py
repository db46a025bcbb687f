"""Several processes that begin the same work at the same moment, kept from round to round.

Each is started afresh (never forked: connections must not be shared) with Django set up on one database. What
the work is, its module says; a piece of work is a function of a module here that takes the member first.
"""

import importlib
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from threading import Barrier, BrokenBarrierError
from typing import Any, TypeVar

Result = TypeVar("Result")
PATIENCE_SECONDS = 120.0  # a member that isn't ready by then has failed


@dataclass(frozen=True, slots=True)
class Span:
    """What one member did, and when, on the machine's monotonic clock."""

    begun: float
    ended: float
    done: int


def rate(spans: Iterable[Span]) -> float:
    """How much all did a second, from the first's beginning to the last's end."""
    all_of_them = list(spans)
    elapsed = max(span.ended for span in all_of_them) - min(span.begun for span in all_of_them)
    return sum(span.done for span in all_of_them) / elapsed


@dataclass(frozen=True, slots=True)
class Member:
    """One process of the crew."""

    number: int
    size: int
    _barrier: Any

    def start(self) -> None:
        """Wait until every member is ready."""
        self._barrier.wait(PATIENCE_SECONDS)

    def in_threads(self, count: int, act: Callable[[int, Barrier], Result]) -> list[Result]:
        """Run `act` in so many threads; each waits at the barrier when it is ready, and all members go together."""
        barrier = Barrier(count, action=self.start)

        def one(place: int) -> Result:
            try:
                return act(place, barrier)
            except BaseException:
                barrier.abort()  # the others must not wait for this one
                self._barrier.abort()
                raise

        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(one, self.number * count + place) for place in range(count)]
        failures = [error for future in futures if (error := future.exception())]
        if failures:
            raise next((error for error in failures if not isinstance(error, BrokenBarrierError)), failures[0])
        return [future.result() for future in futures]


class Crew:
    """A number of members; make it with `crew`."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def run(self, work: Callable[..., Result], **given: Any) -> list[Result]:
        """Let every member do `work(member, **given)`, and collect what they return.

        Raises:
            RuntimeError: a member failed; with its trace.
        """
        for pipe in self._pipes:
            pipe.send((work.__module__, work.__qualname__, given))
        answers = [pipe.recv() for pipe in self._pipes]
        failures = [answer for failed, answer in answers if failed]
        if failures:  # the others only waited in vain for the one that failed
            raise RuntimeError(next((trace for trace in failures if "BrokenBarrier" not in trace), failures[0]))
        return [answer for _, answer in answers]


@contextmanager
def crew(*, size: int, env: dict[str, str]) -> Iterator[Crew]:
    """Start `size` members in this environment; end them afterwards."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(size)
    ends = [spawn.Pipe() for _ in range(size)]
    members = [
        spawn.Process(target=_serve, args=(theirs, barrier, number, size, env), daemon=True)
        for number, (_, theirs) in enumerate(ends)
    ]
    for member in members:
        member.start()
    try:
        yield Crew([ours for ours, _ in ends])
    finally:
        for ours, theirs in ends:
            ours.close()
            theirs.close()
        for member in members:
            member.join(5)
            member.kill()
            member.join()


def _serve(pipe: Connection, barrier: Any, number: int, size: int, env: dict[str, str]) -> None:
    for name in set(os.environ) - set(env):
        del os.environ[name]
    os.environ.update(env)
    import django

    django.setup()
    member = Member(number, size, barrier)
    while True:
        try:
            module, name, given = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((False, getattr(importlib.import_module(module), name)(member, **given)))
        except Exception:  # noqa: BLE001  the member's outermost loop: its parent raises it
            barrier.abort()
            pipe.send((True, traceback.format_exc()))
