"""Live events: order, no gap, no double, bounds, and what happens when parts of the world go away."""

import asyncio
import itertools
import json
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import psycopg
import pytest
from django.db import connection, connections

from dashboard import hub as hub_module
from dashboard.hub import BadCursor, Batch, Hub, Listener, TooMany, TooSlow
from tradeco.common import db, events
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 20.0  # nothing here takes a tenth of it


async def in_thread(act: Callable[..., Any], *args: Any) -> Any:
    """Database work from an async test, with a connection that doesn't outlive it."""

    def work() -> Any:
        try:
            return act(*args)
        finally:
            connections.close_all()

    return await asyncio.to_thread(work)


def emit(*subjects: str) -> None:
    with db.transaction():
        for subject in subjects:
            events.emit(kind=EventKind.ALARM, subject=subject, now=db.now())


def emit_numbered(count: int) -> None:
    emit(*(f"test:{n}" for n in range(count)))
    while events.number_new():
        pass


class Heard:
    """What one listener was told."""

    def __init__(self, frames: AsyncGenerator[str, None]) -> None:
        self._frames = frames
        self.frames: list[dict[str, Any]] = []

    @property
    def ids(self) -> list[int]:
        return [event["id"] for frame in self.frames for event in frame["events"]]

    @property
    def subjects(self) -> list[str]:
        return [event["subject"] for frame in self.frames for event in frame["events"]]

    async def until(self, enough: Callable[["Heard"], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not enough(self):
                self.frames.append(json.loads(await anext(self._frames)))


@asynccontextmanager
async def listening(hub: Hub, after: str | None = None) -> AsyncIterator[Heard]:
    async with aclosing(hub.listen(after=after)) as frames:
        yield Heard(frames)


async def test_a_new_listener_starts_at_the_newest_event() -> None:
    await in_thread(emit_numbered, 3)
    async with listening(Hub()) as heard:
        await heard.until(lambda h: bool(h.frames))
        assert heard.frames == [{"events": [], "last": await in_thread(events.newest_number)}]
        await in_thread(emit, "test:new")
        await heard.until(lambda h: "test:new" in h.subjects)
        assert heard.subjects == ["test:new"]


async def test_a_listener_that_returns_gets_what_it_missed_and_then_the_live_events() -> None:
    await in_thread(emit_numbered, 10)
    newest = await in_thread(events.newest_number)
    async with listening(Hub(), after=str(newest - 4)) as heard:
        await heard.until(lambda h: len(h.ids) >= 4)
        await in_thread(emit, "test:live")
        await heard.until(lambda h: "test:live" in h.subjects)
        assert heard.ids == list(range(newest - 3, newest + 2))
        assert heard.frames[-1]["last"] == newest + 1


@pytest.mark.race
async def test_with_many_writers_and_a_replay_underway_nothing_is_missing_and_nothing_comes_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "PAGE_EVENTS", 7)  # many pages, so that replay and tail overlap for long
    monkeypatch.setattr(hub_module, "FRAMES_APART_SECONDS", 0.01)
    await in_thread(emit_numbered, 60)
    start = await in_thread(events.newest_number) - 60

    def write(writer: int) -> None:
        for n in range(40):
            emit(f"writer{writer}:{n}")

    hub = Hub()
    async with listening(hub) as live, listening(hub, after=str(start)) as returning:
        await live.until(lambda h: bool(h.frames))
        writing = asyncio.gather(*(in_thread(write, writer) for writer in range(4)))
        await asyncio.gather(live.until(lambda h: len(h.ids) >= 160), returning.until(lambda h: len(h.ids) >= 220))
        await writing
        assert returning.ids == list(range(start + 1, start + 221))
        assert live.ids == list(range(start + 61, start + 221))
        assert len(set(returning.subjects)) == 220


@pytest.mark.race
async def test_a_writer_that_commits_late_is_seen_once_by_listeners_that_have_passed_it() -> None:
    may_commit, has_written = threading.Event(), threading.Event()

    def write_and_wait() -> int:
        with db.transaction():
            late = events.emit(kind=EventKind.ALARM, subject="test:late", now=db.now())
            has_written.set()
            assert may_commit.wait(SECONDS)
        return late.key

    async with listening(Hub()) as heard:
        await heard.until(lambda h: bool(h.frames))
        late = asyncio.create_task(in_thread(write_and_wait))
        await asyncio.to_thread(has_written.wait, SECONDS)
        await in_thread(emit, "test:early")
        await heard.until(lambda h: "test:early" in h.subjects)
        may_commit.set()
        late_key = await late
        await heard.until(lambda h: "test:late" in h.subjects)
        await in_thread(emit, "test:end")
        await heard.until(lambda h: "test:end" in h.subjects)
        assert heard.subjects == ["test:early", "test:late", "test:end"]
    early_key = await in_thread(lambda: Event.objects.get(subject="test:early").key)
    # the control: a reader that asks for keys beyond the last one it has seen would never see the late one
    assert late_key < early_key


async def test_two_processes_tell_their_listeners_the_same() -> None:
    async with listening(Hub()) as one, listening(Hub()) as other:
        await asyncio.gather(*(heard.until(lambda h: bool(h.frames)) for heard in (one, other)))
        for n in range(5):
            await in_thread(emit, f"test:{n}")
        await asyncio.gather(*(heard.until(lambda h: len(h.ids) >= 5) for heard in (one, other)))
        assert one.ids == other.ids


async def test_frames_keep_their_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "FRAMES_APART_SECONDS", 0.4)
    loop = asyncio.get_running_loop()
    moments = []
    async with listening(Hub()) as heard:
        await heard.until(lambda h: bool(h.frames))
        for n in range(4):
            await in_thread(emit, f"test:{n}")
            await heard.until(lambda h, n=n: f"test:{n}" in h.subjects)
            moments.append(loop.time())
    assert min(later - earlier for earlier, later in itertools.pairwise(moments)) > 0.3


@pytest.mark.parametrize("after", ["-1", "", "abc", "1.5", "1e3", " 1", "٣", "9" * 40, "1;2", "0x10"])
async def test_a_cursor_that_is_no_event_id_is_refused(after: str) -> None:
    async with listening(Hub(), after=after) as heard:
        with pytest.raises(BadCursor):
            await heard.until(lambda h: bool(h.frames))


async def test_a_cursor_beyond_the_newest_event_is_refused() -> None:
    newest = await in_thread(events.newest_number)
    async with listening(Hub(), after=str(newest + 1)) as heard:
        with pytest.raises(BadCursor, match="beyond the newest"):
            await heard.until(lambda h: bool(h.frames))


async def test_one_more_listener_than_the_limit_is_turned_away_and_a_free_seat_is_given_again() -> None:
    hub = Hub(listeners_max=1)
    async with listening(hub) as first:
        await first.until(lambda h: bool(h.frames))
        async with listening(hub) as second:
            with pytest.raises(TooMany):
                await second.until(lambda h: bool(h.frames))
    async with listening(hub) as third:
        await third.until(lambda h: bool(h.frames))


async def test_the_tail_runs_only_while_somebody_listens() -> None:
    hub = Hub()
    async with listening(hub) as heard:
        await heard.until(lambda h: bool(h.frames))
        tail = hub._tail
        assert tail is not None
    with pytest.raises(asyncio.CancelledError):
        await tail
    assert hub._tail is None
    assert hub.seats == 0


async def test_a_listener_that_takes_nothing_is_sent_away_and_its_queue_is_bounded() -> None:
    listener = Listener(cursor=0)
    for number in range(1, 1_000):
        listener.offer(Batch([number], ["{}"], number, "{}"))
    assert len(listener._batches) <= hub_module.QUEUE_BATCHES
    with pytest.raises(TooSlow):
        await listener.take()


async def test_a_listener_that_was_late_gets_what_queued_up_as_one_frame() -> None:
    listener = Listener(cursor=2)
    for number in range(1, 6):
        listener.offer(Batch([number], [f'{{"id":{number}}}'], number, "unused"))
    frame = json.loads(await listener.take())
    assert frame == {"events": [{"id": 3}, {"id": 4}, {"id": 5}], "last": 5}


async def test_a_tail_that_breaks_sends_its_listeners_away_rather_than_letting_them_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hub = Hub()
    async with listening(hub) as heard:
        await heard.until(lambda h: bool(h.frames))

        def broken(cursor: int) -> Batch | None:
            raise ZeroDivisionError

        monkeypatch.setattr(hub, "_look", broken)
        with pytest.raises(TooSlow, match="broke"):
            await heard.until(lambda h: False)


async def test_while_the_database_is_away_listeners_stay_are_told_and_miss_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hub_module, "BACK_OFF_SECONDS", (0.05, 0.1))
    async with listening(Hub()) as heard:
        await heard.until(lambda h: bool(h.frames))
        await in_thread(_allow_connections, False)
        try:
            await heard.until(lambda h: h.frames[-1].get("status") == "database away")
        finally:
            await in_thread(_allow_connections, True)
        await heard.until(lambda h: h.frames[-1].get("status") == "live")
        await in_thread(emit, "test:after")
        await heard.until(lambda h: "test:after" in h.subjects)
        assert heard.subjects == ["test:after"]


def _allow_connections(allowed: bool) -> None:
    """Let nobody connect to the test database any more, or let them again."""
    settings = connection.settings_dict
    with psycopg.connect(
        dbname="postgres", user=settings["USER"], host=settings["HOST"], port=settings["PORT"], autocommit=True
    ) as elsewhere:
        elsewhere.execute(f'ALTER DATABASE "{settings["NAME"]}" ALLOW_CONNECTIONS {str(allowed).lower()}')
