"""What an event carries, that it can't be changed, and how the old ones go. Interleavings are in race/test_events."""

from datetime import timedelta
from typing import Any

import pytest
import structlog
from django.db import connection, transaction
from django.db.utils import InternalError, ProgrammingError

from tradeco.common import db, events
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind

pytestmark = pytest.mark.django_db


def emit(subject: str = "proposal:1", **kwargs: Any) -> Event:
    kwargs.setdefault("kind", EventKind.ALARM)
    kwargs.setdefault("now", db.now())
    return events.emit(subject=subject, **kwargs)


def test_an_event_is_shown_with_its_public_number_and_knows_its_request() -> None:
    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        emit(agent="sage", data={"size_usd": "20.00"})
    assert events.number_new() == 1
    (event,) = events.read_after(0, limit=10)
    shown = events.as_json(event)
    assert shown == {
        "id": 1, "kind": "alarm", "at": event.at.isoformat().replace("+00:00", "Z"), "subject": "proposal:1",
        "agent": "sage", "data": {"size_usd": "20.00"},
    }  # fmt: skip
    assert event.request_id == "r-1"


def test_a_reader_may_ask_for_kinds_and_for_a_bounded_number() -> None:
    for n in range(6):
        emit(f"x:{n}", kind=EventKind.STOP_HIT if n % 2 else EventKind.ALARM)
    events.number_new()
    assert [e.subject for e in events.read_after(0, limit=2)] == ["x:0", "x:1"]
    assert [e.subject for e in events.read_after(2, limit=9, kinds=["stop.hit"])] == ["x:3", "x:5"]
    assert events.newest_number() == 6


def test_an_unnumbered_event_is_no_reader_s_yet() -> None:
    emit()
    assert events.read_after(0, limit=10) == []
    assert events.newest_number() == 0


@pytest.mark.django_db(transaction=True)
def test_an_event_outside_of_a_transaction_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="inside a transaction"):
        emit()


@pytest.mark.parametrize(
    "change",
    ["kind = 'stop.hit'", "subject = 'other:1'", "agent = 'atlas'", "data = '{}'", "at = now()", "request_id = 'x'"],
)
def test_nothing_of_an_event_can_be_changed_not_even_before_it_is_numbered(change: str) -> None:
    emit(data={"a": 1}, now=db.now() - timedelta(days=1))
    with pytest.raises((InternalError, ProgrammingError), match="append-only"), transaction.atomic():
        _run(f"UPDATE common_event SET {change}")


def test_a_number_once_given_stays() -> None:
    emit()
    _run("UPDATE common_event SET subject = subject")  # nothing changes: the trigger has nothing to say
    events.number_new()
    for change in ("number = 7", "number = NULL", "subject = subject"):
        with pytest.raises((InternalError, ProgrammingError), match="append-only"), transaction.atomic():
            _run(f"UPDATE common_event SET {change}")


def test_the_oldest_are_forgotten_and_numbers_count_on() -> None:
    old = db.now() - timedelta(days=40)
    for n in range(5):
        emit(f"old:{n}", now=old + timedelta(minutes=n))
    events.number_new()
    assert events.prune(now=db.now(), limit=3, retention=timedelta(days=30)) == 3
    assert [e.subject for e in events.read_after(0, limit=10)] == ["old:3", "old:4"]
    assert events.prune(now=db.now(), limit=10, retention=timedelta(days=30)) == 1, "the newest stays"
    emit("new:1", now=db.now())
    events.number_new()
    assert [e.number for e in events.read_after(0, limit=10)] == [5, 6]


def _run(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)
