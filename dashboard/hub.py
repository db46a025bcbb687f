"""One tail of the event log per web process, and everybody who listens to it.

The hub decides who gets which events when: on connecting a listener replays from the database in bounded pages
until it joins the live tail, in order, none missing, none twice. Who may listen is visitors' affair, the socket
is the consumer's. The tail runs only while somebody listens; with several web processes each tails for itself,
so nothing is broadcast and nothing can be lost between them.

Everything here runs in one event loop: between two awaits nobody else moves the cursor.
"""

import asyncio
import json
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import django.db
import structlog
from channels.db import database_sync_to_async

from tradeco.common import events
from tradeco.common.models import Event

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.1  # how often an idle tail looks; a look costs 0.14 ms
FRAMES_APART_SECONDS = 0.1  # live to the eye; the page draws less often than that
QUIET_SECONDS = 10.0  # after this an empty frame says that we are still here
PAGE_EVENTS = 1_000  # bounds a look and a page of a replay
FRAME_CHARACTERS = 256 * 1024  # daphne refuses to send a message of 1 MiB
QUEUE_BATCHES = 100  # with ten a second: a client that is 10 s behind is slow
QUEUE_CHARACTERS = 8 * FRAME_CHARACTERS  # what may wait for one listener, also in a burst
LISTENERS_MAX = 500  # of one process; more want another web process
BACK_OFF_SECONDS = (0.5, 5.0)  # first and longest pause while the database is away


class Refused(Exception):
    """Why a listener is sent away, with the code its socket is closed with."""

    code = 4400


class BadCursor(Refused):
    code = 4400


class TooSlow(Refused):
    code = 4408


class TooMany(Refused):
    code = 4429


@dataclass(frozen=True, slots=True)
class Batch:
    """Events that travel together, encoded once for all listeners."""

    numbers: list[int]
    bodies: list[str]
    last: int
    text: str
    status: str = ""

    @classmethod
    def of(cls, found: list[Event]) -> "Batch":
        """Encode as many of these events as one frame may hold; at least one."""
        numbers: list[int] = []
        bodies: list[str] = []
        room = FRAME_CHARACTERS
        for event in found:
            body = json.dumps(events.as_json(event), separators=(",", ":"))
            room -= len(body)
            if room < 0 and bodies:
                break
            numbers.append(event.number or 0)
            bodies.append(body)
        return cls(numbers, bodies, numbers[-1], frame(bodies, last=numbers[-1]))

    @classmethod
    def empty(cls, *, last: int, status: str = "") -> "Batch":
        """No events, but a word about where we are."""
        return cls([], [], last, frame([], last=last, status=status), status)


def frame(bodies: list[str], *, last: int, status: str = "") -> str:
    """The text of one websocket message."""
    tail = f',"status":{json.dumps(status)}' if status else ""
    return f'{{"events":[{",".join(bodies)}],"last":{last}{tail}}}'


class Listener:
    """One client's bounded queue, and how far it has seen."""

    def __init__(self, cursor: int) -> None:
        self.cursor = cursor
        self._batches: deque[Batch] = deque()
        self._waiting = 0  # characters
        self._ready = asyncio.Event()
        self._ended: Refused | None = None

    def offer(self, batch: Batch) -> None:
        self._waiting += len(batch.text)
        if len(self._batches) >= QUEUE_BATCHES or self._waiting > QUEUE_CHARACTERS:
            self.end(TooSlow("You fell behind; come back with ?after=<last id you have seen>."))
        elif self._ended is None:
            self._batches.append(batch)
        self._ready.set()

    def end(self, why: Refused) -> None:
        self._ended = self._ended or why
        self._batches.clear()
        self._ready.set()

    async def take(self) -> str:
        """Wait for what is new and give as much of it as one frame may hold.

        Raises:
            Refused: this listener is sent away.
        """
        while True:
            await self._ready.wait()
            if self._ended is not None:
                raise self._ended
            text = self._merge(self._next())
            if not self._batches:
                self._ready.clear()
            if text:
                return text

    def _next(self) -> list[Batch]:
        """The first batches of the queue, as many as fit into a frame; at least one."""
        taken = [self._batches.popleft()]
        size = len(taken[0].text)
        while self._batches and size + len(self._batches[0].text) <= FRAME_CHARACTERS:
            taken.append(self._batches.popleft())
            size += len(taken[-1].text)
        self._waiting -= size
        return taken

    def _merge(self, batches: list[Batch]) -> str:
        """One frame of several batches, without what the replay has shown already."""
        if len(batches) == 1 and batches[0].last >= self.cursor:
            (only,) = batches
            if not only.numbers or only.numbers[0] > self.cursor:
                self.cursor = only.last
                return only.text  # the usual case: encoded once for everybody
        bodies = [
            body
            for batch in batches
            for number, body in zip(batch.numbers, batch.bodies, strict=True)
            if number > self.cursor
        ]
        told = any(not batch.numbers for batch in batches)
        if not bodies and not told:
            return ""
        self.cursor = max(self.cursor, *(batch.last for batch in batches))
        status = next((batch.status for batch in reversed(batches) if batch.status), "")
        return frame(bodies, last=self.cursor, status=status)


class Hub:
    """The tail and its listeners. One per process; a test may make its own."""

    def __init__(self, *, listeners_max: int = LISTENERS_MAX) -> None:
        self.listeners_max = listeners_max
        self.cursor = 0
        self.seats = 0
        self._listeners: set[Listener] = set()
        self._tail: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._told_at = 0.0
        # The tail has a thread of its own: no replay and no request can make it wait.
        self._tail_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="event-tail")
        self._replay_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="event-replay")

    async def listen(self, *, after: str | None = None) -> AsyncGenerator[str, None]:
        """Frames for one client, for as long as it takes them, at most five a second.

        Args:
            after: the id of the last event it has seen, as it came in the address; None starts at the newest.

        Raises:
            BadCursor, TooMany, TooSlow: it is sent away; each has its close code.
            django.db.Error: the database is away, and where to begin can't be known.
        """
        with self._seat():
            cursor = await self._begin(after)
            pace = _Pace()
            while self.cursor - cursor > PAGE_EVENTS:  # far behind: page by page, not yet live
                page = await self._read(cursor)
                cursor = page.last if page.numbers else self.cursor
                yield await pace.keep(page.text)
            listener, end = Listener(cursor), self.cursor
            self._listeners.add(listener)  # no await since the comparison: from here on live frames queue up
            try:
                yield await pace.keep(Batch.empty(last=cursor).text)
                while listener.cursor < end:
                    page = await self._read(listener.cursor)
                    listener.cursor = max(page.last, end if not page.numbers else 0)
                    yield await pace.keep(page.text)
                while True:
                    yield await pace.keep(await listener.take())
            finally:
                self._listeners.discard(listener)

    @contextmanager
    def _seat(self) -> Iterator[None]:
        if self.seats >= self.listeners_max:
            raise TooMany(f"This process serves {self.listeners_max} listeners already; try again later.")
        self.seats += 1
        try:
            yield
        finally:
            self.seats -= 1
            if self.seats == 0 and self._tail is not None:
                self._tail.cancel()
                self._tail = None

    async def _begin(self, after: str | None) -> int:
        """Start the tail where nobody has yet, and find where this listener begins."""
        if after is not None and not (after.isascii() and after.isdigit() and len(after) <= 18):
            raise BadCursor("after must be the id of an event, a whole number from 0 on.")
        async with self._starting:
            if self._tail is None:
                self.cursor = await self._in(self._replay_threads, self._newest)
                self._tail = asyncio.create_task(self._run(), name="event-tail")
                self._tail.add_done_callback(self._tail_ended)
        if after is None:
            return self.cursor
        newest = await self._in(self._replay_threads, self._newest)
        if int(after) > newest:
            raise BadCursor(f"after lies beyond the newest event, {newest}.")
        return int(after)

    @staticmethod
    def _newest() -> int:
        """The newest event's number, once everything that is committed by now has one."""
        events.number_new()
        return events.newest_number()

    async def _read(self, after: int) -> Batch:
        def page() -> Batch:
            found = events.read_after(after, limit=PAGE_EVENTS)
            return Batch.of(found) if found else Batch.empty(last=after)

        batch: Batch = await self._in(self._replay_threads, page)
        return batch

    # --- the tail ---------------------------------------------------------------------------------

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                batch = await self._in(self._tail_thread, self._look, self.cursor)
            except django.db.Error as exc:
                failures += 1
                await self._wait_for_database(failures, exc)
                continue
            if failures:
                failures = 0
                log.info("The event tail reads again.", action="tail_returned", last=self.cursor)
                self._tell(status="live")
            if batch is not None:
                self._broadcast(batch)
            elif time.monotonic() - self._told_at > QUIET_SECONDS:
                self._tell()
            await asyncio.sleep(FRAMES_APART_SECONDS if batch else LOOK_SECONDS)

    @staticmethod
    def _look(cursor: int) -> Batch | None:
        events.number_new()
        found = events.read_after(cursor, limit=PAGE_EVENTS)
        return Batch.of(found) if found else None

    async def _wait_for_database(self, failures: int, error: Exception) -> None:
        if failures == 1:
            log.warning("The event tail lost the database.", action="tail_away", error=type(error).__name__)
            self._tell(status="database away")
        first, longest = BACK_OFF_SECONDS
        pause = min(longest, first * 2 ** min(failures - 1, 10))
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # nosec B311

    def _broadcast(self, batch: Batch) -> None:
        self.cursor = batch.last
        self._give(batch)

    def _tell(self, *, status: str = "") -> None:
        self._give(Batch.empty(last=self.cursor, status=status))

    def _give(self, batch: Batch) -> None:
        self._told_at = time.monotonic()
        for listener in self._listeners:
            listener.offer(batch)

    def _tail_ended(self, tail: asyncio.Task[None]) -> None:
        """A tail ends by being cancelled; any other end is our mistake, and nobody may wait for it in silence."""
        if tail.cancelled():
            return
        log.error("The event tail broke.", action="tail_broke", exc_info=tail.exception())
        if self._tail is tail:
            self._tail = None
        for listener in self._listeners:
            listener.end(TooSlow("The event tail broke; come back with ?after=<last id you have seen>."))

    @staticmethod
    async def _in(threads: ThreadPoolExecutor, act: Callable[..., Any], *args: Any) -> Any:
        return await database_sync_to_async(act, thread_sensitive=False, executor=threads)(*args)


class _Pace:
    """Keeps a listener's frames apart."""

    def __init__(self) -> None:
        self._next = 0.0

    async def keep(self, text: str) -> str:
        """The same text, once its time has come."""
        await asyncio.sleep(max(0.0, self._next - time.monotonic()))
        self._next = time.monotonic() + FRAMES_APART_SECONDS
        return text


hub = Hub()
"""This process's hub."""
