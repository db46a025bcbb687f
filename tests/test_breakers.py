"""A place outside that fails is left alone by all processes, and tried again by one."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
import structlog
from django.conf import settings
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from tests import canned_server
from tests.canned_server import Reply
from tests.race import stage
from tradeco.common import breakers, db
from tradeco.common.breakers import Limits
from tradeco.common.errors import DomainError, NotFound
from tradeco.common.models import Breaker
from tradeco.common.outside import BreakerOpen, VenueUnavailable
from trading.venues.http import HttpClient, Patience

NEVER = 3600.0  # s until a probe that no test waits for


@pytest.fixture(autouse=True)
def _a_process_that_knows_nothing() -> Iterator[None]:
    breakers.forget()
    yield
    breakers.forget()


def guard(name: str = "rpc", *, probe_after_seconds: float = NEVER) -> AbstractContextManager[None]:
    return breakers.guard(name, lambda: Limits(3, 300, probe_after_seconds))


def call(outcome: BaseException | None = None, **more: Any) -> str:
    """A call outside that ends so."""
    with guard(**more):
        if outcome is not None:
            raise outcome
    return "done"


def fail(times: int = 3, **more: Any) -> None:
    for _ in range(times):
        with pytest.raises(VenueUnavailable, match="it is away"):
            call(VenueUnavailable("it is away"), **more)


def probe_is_due(name: str = "rpc") -> None:
    Breaker.objects.filter(name=name).update(probe_at=db.now() - timedelta(seconds=1))
    breakers.forget()


# --- opening --------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_third_failure_opens_it_and_the_call_is_not_made() -> None:
    fail(2)
    assert call() == "done"
    fail(1)
    made = []
    with pytest.raises(BreakerOpen, match="rpc failed too often") as refused, guard():
        made.append("a call")
    assert made == []
    assert NEVER - 60 < (refused.value.retry_after_seconds or 0) <= NEVER
    assert (refused.value.status, isinstance(refused.value, VenueUnavailable)) == (503, True)


@pytest.mark.django_db
def test_failures_longer_ago_than_the_window_do_not_count() -> None:
    fail(2)
    row = Breaker.objects.get()
    row.failures = [at - timedelta(seconds=301) for at in row.failures]
    row.save()
    fail(2)
    assert call() == "done"
    assert len(Breaker.objects.get().failures) == 2


@pytest.mark.django_db
@pytest.mark.parametrize("outcome", [NotFound("no"), DomainError("no"), ValueError("ours"), KeyboardInterrupt()])
def test_only_a_venue_that_gives_no_answer_is_a_failure(outcome: BaseException) -> None:
    for _ in range(5):
        with pytest.raises(type(outcome)):
            call(outcome)
    assert not Breaker.objects.exists()


@pytest.mark.django_db
def test_another_breaker_that_is_open_is_no_failure_of_this_one() -> None:
    for _ in range(5):
        with pytest.raises(BreakerOpen):
            call(BreakerOpen("the other one"))
    assert not Breaker.objects.exists()


@pytest.mark.django_db
def test_each_place_has_its_own() -> None:
    fail(3, name="rpc")
    assert call(name="jupiter") == "done"
    fail(1, name="jupiter")
    assert [(row.name, row.opened_at is not None, row.last_error) for row in breakers.states()] == [
        ("jupiter", False, "it is away"),
        ("rpc", True, "it is away"),
    ]
    assert [str(row) for row in breakers.states()] == ["jupiter closed", "rpc open"]


@pytest.mark.django_db
def test_a_call_that_had_begun_before_it_opened_does_not_put_the_probe_off() -> None:
    def late() -> None:
        with guard():
            fail(3)
            rows.append(Breaker.objects.get())
            raise VenueUnavailable("late")

    rows: list[Breaker] = []
    with pytest.raises(VenueUnavailable, match="late"):
        late()
    after = Breaker.objects.get()
    assert (after.probe_at, after.last_error) == (rows[0].probe_at, "it is away")


# --- half open ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_probe_that_succeeds_closes_it() -> None:
    fail(3)
    probe_is_due()
    assert call() == "done"
    assert call() == "done"
    row = Breaker.objects.get()
    assert (row.opened_at, row.probe_at, row.failures) == (None, None, [])
    fail(2)
    assert call() == "done", "it counts from the beginning again"


@pytest.mark.django_db
def test_a_probe_that_is_refused_closes_it_too() -> None:
    """Who refuses is there."""
    fail(3)
    probe_is_due()
    with pytest.raises(NotFound):
        call(NotFound("no"))
    assert call() == "done"


@pytest.mark.django_db
def test_a_probe_that_fails_opens_it_anew() -> None:
    fail(3)
    opened_at = Breaker.objects.get().opened_at
    probe_is_due()
    fail(1)
    with pytest.raises(BreakerOpen):
        call()
    row = Breaker.objects.get()
    assert opened_at is not None
    assert row.opened_at is not None
    assert row.opened_at > opened_at
    assert row.probe_at is not None
    assert row.probe_at > db.now() + timedelta(seconds=NEVER - 60)


@pytest.mark.django_db
@pytest.mark.parametrize("died_of", [SystemExit(), ValueError("ours")])
def test_a_probe_that_dies_proves_nothing_and_another_follows(died_of: BaseException) -> None:
    fail(3)
    probe_is_due()
    with pytest.raises(type(died_of)):
        call(died_of)
    with pytest.raises(BreakerOpen):
        call()
    probe_is_due()
    assert call() == "done"


def probes_of(threads: int) -> int:
    """How many of so many callers, all from one moment on, get through; the row knows who was first."""
    fail(3)
    probe_is_due()
    inside = []

    def come(place: int) -> None:
        with guard():
            inside.append(place)
            stage.until(lambda: len(inside) + len(turned_away) == threads)

    turned_away: list[int] = []

    def count(place: int) -> None:
        try:
            come(place)
        except BreakerOpen:
            turned_away.append(place)

    assert stage.together(threads, count) == [None] * threads
    return len(inside)


@pytest.mark.race
@pytest.mark.django_db(transaction=True)
def test_of_eight_who_come_when_the_probe_is_due_one_gets_through() -> None:
    assert probes_of(8) == 1
    assert Breaker.objects.get().opened_at is None


@pytest.mark.race
@pytest.mark.django_db(transaction=True)
def test_control_without_the_compare_and_set_several_get_through(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = threading.Barrier(8, timeout=stage.DEADLINE_SECONDS)

    def look_then_take(name: str, probe_after_seconds: float) -> bool:
        due = Breaker.objects.filter(name=name, probe_at__lte=db.now()).exists()
        looked.wait()
        if due:
            Breaker.objects.filter(name=name).update(probe_at=db.now() + timedelta(seconds=probe_after_seconds))
        return due

    monkeypatch.setattr(breakers, "_take_probe", look_then_take)
    assert probes_of(8) == 8


@pytest.mark.race
@pytest.mark.django_db(transaction=True)
def test_failures_of_many_at_once_are_all_counted() -> None:
    def failing(place: int) -> None:
        with breakers.guard("rpc", lambda: Limits(8, 300, NEVER)):
            raise VenueUnavailable(f"{place}")

    ends = stage.together(7, failing)
    assert [type(end) for end in ends] == [VenueUnavailable] * 7
    assert len(Breaker.objects.get().failures) == 7
    assert [type(end) for end in stage.together(1, failing)] == [VenueUnavailable]
    assert Breaker.objects.get().opened_at is not None


# --- other processes ------------------------------------------------------------------------------

CHILD = """
import sys, django
from django.conf import settings
django.setup()
settings.DATABASES["default"]["NAME"] = sys.argv[1]
from tradeco.common import breakers
try:
    with breakers.guard("rpc", lambda: breakers.Limits(3, 300, 3600)):
        print("done")
except breakers.BreakerOpen as exc:
    print("open", round(exc.retry_after_seconds) > 3500)
"""


@pytest.mark.django_db(transaction=True)
def test_another_process_finds_it_open_and_closed() -> None:
    def child() -> str:
        name = connection.settings_dict["NAME"]
        ran = subprocess.run(
            [sys.executable, "-c", CHILD, name], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
        )
        return ran.stdout.splitlines()[-1]

    fail(2)
    assert child() == "done"
    fail(1)
    assert child() == "open True"


@pytest.mark.django_db
def test_what_another_process_opened_is_seen_a_second_later() -> None:
    assert call() == "done"
    Breaker.objects.create(name="rpc", opened_at=db.now(), probe_at=db.now() + timedelta(hours=1))
    assert call() == "done", "what this process knows is fresh enough"
    _a_second_passes()
    with pytest.raises(BreakerOpen):
        call()


@pytest.mark.django_db
def test_what_another_process_closed_is_seen_a_second_later() -> None:
    fail(3)
    Breaker.objects.update(opened_at=None, probe_at=None)
    with pytest.raises(BreakerOpen):
        call()
    _a_second_passes()
    assert call() == "done"


def _a_second_passes() -> None:
    for name, seen in list(breakers._seen.items()):
        breakers._seen[name] = breakers._Seen(at=seen.at - breakers.LOOK_SECONDS, probe_at=seen.probe_at)


# --- what it costs, and what it must not break ----------------------------------------------------


@pytest.mark.django_db
def test_a_hundred_successes_read_one_row_and_write_none() -> None:
    with CaptureQueriesContext(connection) as asked:
        for _ in range(100):
            call()
    assert len(asked) <= 2
    assert [query["sql"] for query in asked if not query["sql"].startswith("SELECT")] == []


@pytest.mark.django_db
def test_while_it_is_open_callers_ask_the_database_once_a_second() -> None:
    fail(3)
    with CaptureQueriesContext(connection) as asked:
        for _ in range(100):
            with pytest.raises(BreakerOpen):
                call()
    assert len(asked) <= 2


@pytest.mark.django_db(transaction=True)
def test_a_call_inside_a_transaction_is_our_mistake() -> None:
    with pytest.raises(AssertionError, match="inside a transaction"), db.transaction():
        call()
    assert call() == "done"


@pytest.mark.django_db
def test_the_transaction_around_a_test_is_none_but_one_inside_it_is() -> None:
    assert call() == "done"
    with pytest.raises(AssertionError, match="inside a transaction"), db.transaction():
        call()


def away(*args: object, **kwargs: object) -> Any:
    raise OperationalError("the server closed the connection")


@pytest.mark.django_db
@pytest.mark.parametrize("broken", ["_look", "_take_probe", "_close"])
def test_a_database_that_is_away_fails_no_call(
    monkeypatch: pytest.MonkeyPatch, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    fail(3)
    probe_is_due()
    if broken == "_close":
        monkeypatch.setattr(Breaker.objects, "filter", away)
    else:
        monkeypatch.setattr(breakers, broken, away)
    with structlog.testing.capture_logs() as events:
        assert call() == "done"
    assert "breaker_blind" in {event["action"] for event in events}


@pytest.mark.django_db
@pytest.mark.parametrize("probing", [False, True])
def test_a_failure_that_cannot_be_written_down_stays_the_same_failure(
    monkeypatch: pytest.MonkeyPatch, probing: bool
) -> None:
    if probing:
        fail(3)
        probe_is_due()
    monkeypatch.setattr(Breaker.objects, "select_for_update", away)
    fail(1)


@pytest.mark.django_db(transaction=True)
def test_a_connection_that_was_cut_fails_no_call(raw_connection: Any) -> None:
    """A real one: the server ends our session between two calls."""
    raw_connection.autocommit = True  # within one transaction pg_stat_activity never changes
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        pid = cursor.fetchone()[0]
    ours = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
    try:
        raw_connection.execute("SELECT pg_terminate_backend(%s)", [pid])
        stage.until(lambda: raw_connection.execute(ours, [pid]).rowcount == 0)
        assert call() == "done"
    finally:
        connection.close()
    assert call() == "done"


# --- with a client --------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("way", ["read", "send"])
def test_a_client_behind_it_leaves_a_dead_server_alone(way: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with canned_server.running() as server:
        server.answers(Reply(reset=True))
        client = HttpClient(server.url, guard=partial(guard, "jupiter"), patience=Patience(tries=1))
        ask: Callable[[], Any] = partial(getattr(client, way), "POST", "/x", body={})
        for _ in range(3):
            with pytest.raises(VenueUnavailable, match="connection_lost"):
                ask()
        with pytest.raises(BreakerOpen):
            ask()
        assert len(server.asked) == 3
        server.answers(Reply({}))
        probe_is_due("jupiter")
        for _ in range(2):
            ask()
        assert len(server.asked) == 5
