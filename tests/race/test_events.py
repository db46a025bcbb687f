"""A reader who keeps a cursor sees every committed event once, however commits interleave."""

import random
import threading
from typing import Any

import psycopg
import pytest
from django.db import connection

from tests.race import stage
from tradeco.common import db, events
from tradeco.common.models import Event

pytestmark = [pytest.mark.race, pytest.mark.django_db(transaction=True)]

INSERT = (
    "INSERT INTO common_event (kind, subject, agent, data, at, request_id) VALUES ('alarm', %s, '', '{}', now(), '')"
)


def emit(subject: str) -> None:
    with db.transaction():
        events.emit(kind="alarm", subject=subject, now=db.now())


def look(after: int) -> tuple[list[str], int]:
    """What a tailing reader does each time: number, read, move its cursor."""
    events.number_new()
    found = events.read_after(after, limit=1000)
    return [event.subject for event in found], (found[-1].number or after) if found else after


def test_control_a_reader_by_key_misses_a_late_committer(raw_connection: psycopg.Connection) -> None:
    raw_connection.execute(INSERT, ["begun first, committed last"])
    emit("begun last, committed first")
    seen = list(Event.objects.filter(key__gt=0).values_list("key", flat=True))
    raw_connection.commit()
    later = Event.objects.filter(key__gt=max(seen))
    assert (Event.objects.count(), later.count()) == (2, 0)


def test_a_reader_by_cursor_sees_a_late_committer_once(raw_connection: psycopg.Connection) -> None:
    raw_connection.execute(INSERT, ["begun first, committed last"])
    emit("begun last, committed first")
    first, cursor = look(0)
    assert first == ["begun last, committed first"]
    raw_connection.commit()
    second, cursor = look(cursor)
    assert second == ["begun first, committed last"]
    assert look(cursor)[0] == []
    assert Event.objects.get(number=2).key < Event.objects.get(number=1).key


def test_what_is_rolled_back_was_never_there(raw_connection: psycopg.Connection) -> None:
    raw_connection.execute(INSERT, ["never"])
    emit("really")
    raw_connection.rollback()
    assert look(0) == (["really"], 1)


def test_who_comes_while_another_numbers_leaves_at_once(raw_connection: psycopg.Connection) -> None:
    emit("something")
    raw_connection.execute("SELECT pg_advisory_xact_lock(%s)", [events._NUMBERING_LOCK])
    assert events.number_new() == 0
    raw_connection.rollback()
    assert events.number_new() == 1


def test_no_reader_misses_or_doubles_one_while_many_write_and_number() -> None:
    """Eight write, one in four rolls back; three number; two follow with a cursor, and count what they saw."""
    writers, numberers, readers, each = 8, 3, 2, 60
    writing = threading.Semaphore(0)
    written: list[str] = []
    done = threading.Event()

    def write(place: int) -> None:
        dice = random.Random(place)
        for n in range(each):
            subject = f"{place}:{n}"
            try:
                with db.transaction():
                    events.emit(kind="alarm", subject=subject, now=db.now())
                    if dice.random() < 0.5:
                        events.emit(kind="alarm", subject=f"{subject}:too", now=db.now())
                    if dice.random() < 0.25:
                        raise LookupError
            except LookupError:
                continue
            written.extend(
                Event.objects.filter(subject__in=(subject, f"{subject}:too")).values_list("subject", flat=True)
            )
        writing.release()

    def number(_: int) -> None:
        while not done.is_set():
            events.number_new()

    def read(_: int) -> list[str]:
        seen: list[str] = []
        cursor = 0
        while True:
            last = done.is_set()
            found = events.read_after(cursor, limit=7)
            seen += [event.subject for event in found]
            cursor = found[-1].number or 0 if found else cursor
            if last and not found:
                return seen

    def finish(_: int) -> None:
        for _writer in range(writers):
            writing.acquire(timeout=stage.DEADLINE_SECONDS)
        stage.until(lambda: events.number_new() == 0 and not Event.objects.filter(number=None).exists())
        done.set()

    acts = [write] * writers + [number] * numberers + [read] * readers + [finish]
    results: list[Any] = stage.together(len(acts), lambda place: acts[place](place))
    assert [result for result in results if isinstance(result, Exception)] == []
    for seen in results[writers + numberers : -1]:
        assert sorted(seen) == sorted(written)
        assert len(seen) == len(set(seen))
    numbers = list(Event.objects.order_by("number").values_list("number", flat=True))
    assert numbers == list(range(1, len(written) + 1))


def test_a_connection_lost_while_numbering_numbers_nothing_twice(raw_connection: psycopg.Connection) -> None:
    for n in range(5):
        emit(str(n))
    with raw_connection.transaction():
        raw_connection.execute("SELECT pg_advisory_xact_lock(%s)", [events._NUMBERING_LOCK])
        raw_connection.execute(events._NUMBER, [3])
        (victim,) = raw_connection.execute("SELECT pg_backend_pid()").fetchone() or (0,)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [victim])
        with pytest.raises(psycopg.OperationalError):
            raw_connection.execute("SELECT 1")
    stage.until(events.number_new)
    assert look(0) == (["0", "1", "2", "3", "4"], 5)
