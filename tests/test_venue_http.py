"""What is asked outside: who may ask again, what is bounded, and which words never leave us."""

import gzip
import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest
import structlog

from tests import canned_server
from tests.canned_server import CannedServer, Reply
from tradeco.common.outside import BreakerOpen
from trading.venues.http import HttpClient, Patience, VenueRefused, VenueUnavailable
from trading.venues.http_answers import BODY_MOST_BYTES, asked_to_wait, read_json

KEY = "k3y-CANARY-0123456789"
SHORT = (0.3, 0.3)
SLOW_ENOUGH = 5.0  # s that nothing here may take


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with canned_server.running() as running:
        yield running


class Waits(list[float]):
    """Collects the waits instead of waiting."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def client(server: CannedServer, *, waits: Waits | None = None, **more: Any) -> HttpClient:
    return HttpClient(server.url, timeout_seconds=SHORT, sleep=Waits() if waits is None else waits, **more)


GOOD = Reply({"fine": True})
FAILING = {
    "reset": Reply(reset=True),
    "time-out": Reply(hang=True),
    "429": Reply(status=429),
    "500": Reply({"error": "oops"}, status=500),
    "503": Reply(status=503),
    "cut off": Reply({"fine": True}, cut_to=5),
    "cut off in its JSON": Reply('{"fine": tr'),
    "no JSON": Reply("<html>busy</html>"),
    "no UTF-8": Reply(b'{"fine": "\xff"}'),
    "broken gzip": Reply(b"not gzip", headers={"Content-Encoding": "gzip"}),
}


# --- reads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", FAILING.values(), ids=FAILING)
def test_a_read_is_asked_again_until_it_is_answered(server: CannedServer, failing: Reply) -> None:
    server.answers(failing, failing, GOOD)
    assert client(server).read("GET", "/x") == {"fine": True}
    assert len(server.asked) == 3


@pytest.mark.parametrize("failing", FAILING.values(), ids=FAILING)
def test_a_read_gives_up_after_four_tries(server: CannedServer, failing: Reply) -> None:
    server.answers(failing)
    with pytest.raises(VenueUnavailable):
        client(server).read("GET", "/x")
    assert len(server.asked) == 4


def test_a_server_that_is_not_there_is_unavailable() -> None:
    away = HttpClient(f"http://127.0.0.1:{canned_server.closed_port()}", timeout_seconds=SHORT, sleep=Waits())
    with pytest.raises(VenueUnavailable, match="connection_lost"):
        away.read("GET")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
def test_a_definite_refusal_is_not_asked_again(server: CannedServer, status: int) -> None:
    server.answers(Reply({"error": "no such thing"}, status=status))
    with pytest.raises(VenueRefused, match="no such thing") as refused:
        client(server).read("GET", "/x")
    assert refused.value.why == f"http_{status}"
    assert len(server.asked) == 1


def test_a_refusal_that_we_know_has_our_word_for_it(server: CannedServer) -> None:
    server.answers(Reply({"error": "Could not find any route", "errorCode": "COULD_NOT_FIND_ANY_ROUTE"}, status=400))
    with pytest.raises(VenueRefused) as refused:
        client(server, refusals={"COULD_NOT_FIND_ANY_ROUTE": "no_route"}).read("GET", "/x")
    assert refused.value.why == "no_route"


def test_a_redirect_is_not_followed(server: CannedServer) -> None:
    server.answers(Reply(status=307, headers={"Location": f"{server.url}/elsewhere"}), GOOD)
    with pytest.raises(VenueRefused) as refused:
        client(server).read("GET", "/x")
    assert refused.value.why == "redirected"
    assert [asked.path for asked in server.asked] == ["/x"]


def test_a_huge_answer_is_dropped_and_not_asked_again(server: CannedServer) -> None:
    server.answers(Reply(json.dumps("x" * BODY_MOST_BYTES)))
    with pytest.raises(VenueRefused, match="beyond all bounds"):
        client(server).read("GET", "/x")
    assert len(server.asked) == 1


def test_a_huge_answer_in_a_small_package_is_dropped_too(server: CannedServer) -> None:
    packed = gzip.compress(json.dumps("x" * BODY_MOST_BYTES).encode())
    assert len(packed) < 10_000
    server.answers(Reply(packed, headers={"Content-Encoding": "gzip"}))
    with pytest.raises(VenueRefused, match="beyond all bounds"):
        client(server).read("GET", "/x")


def test_an_answer_just_within_bounds_is_read(server: CannedServer) -> None:
    text = "x" * (BODY_MOST_BYTES - 2)
    server.answers(Reply(json.dumps(text)))
    assert client(server).read("GET", "/x") == text


def test_an_answer_that_drips_is_given_up(server: CannedServer) -> None:
    """Each byte comes within the time-out; all of them together never would."""
    server.answers(Reply("1" * 1000, drip=True))
    dripping = client(server, patience=Patience(tries=2, seconds=0.5))
    begun = time.monotonic()
    with pytest.raises(VenueUnavailable, match="timed_out"):
        dripping.read("GET", "/x")
    assert time.monotonic() - begun < SLOW_ENOUGH


def test_all_tries_together_take_no_longer_than_the_patience(server: CannedServer) -> None:
    server.answers(Reply(hang=True))
    patience = Patience(tries=100, seconds=0.6, wait_first_seconds=0.01, wait_most_seconds=0.01)
    hanging = HttpClient(server.url, timeout_seconds=(2, 8), patience=patience)
    begun = time.monotonic()
    with pytest.raises(VenueUnavailable):
        hanging.read("GET", "/x")
    assert time.monotonic() - begun < SLOW_ENOUGH


def test_the_waits_are_jittered_and_bounded(server: CannedServer) -> None:
    server.answers(Reply(status=500))
    waits = Waits()
    for _ in range(5):
        with pytest.raises(VenueUnavailable):
            client(server, waits=waits).read("GET", "/x")
    assert len(waits) == 15
    assert len(set(waits)) > 5
    assert all(0 <= wait <= 2 for wait in waits)


def test_fractions_are_exact(server: CannedServer) -> None:
    server.answers(Reply('{"price": 0.1000000000000000055511151231257827, "whole": 18446744073709551615}'))
    assert client(server).read("GET") == {
        "price": Decimal("0.1000000000000000055511151231257827"),
        "whole": 18446744073709551615,
    }


def test_what_is_no_number_is_left_to_who_reads_it() -> None:
    assert not read_json('{"price": NaN}')["price"].is_finite()


@pytest.mark.parametrize("text", ["", "{", "[1e999999999999]", "[" * 100_000, "9" * 10_000, '{"a": 1e-4000}'])
def test_what_would_choke_us_is_no_json(text: str) -> None:
    with pytest.raises(ValueError, match="isn't JSON") as refused:
        read_json(text)
    assert refused.value.__context__ is None


# --- when to come back ----------------------------------------------------------------------------


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "3"},
        {"Retry-After": "3", "x-ratelimit-reset": "9"},
        {"x-ratelimit-reset": "3"},
        {"x-ratelimit-reset": str(1_900_000_003), "Date": "Sun, 17 Mar 2030 17:46:40 GMT"},
        {"x-ratelimit-reset": str(1_900_000_003_000), "Date": "Sun, 17 Mar 2030 17:46:40 GMT"},
        {"Retry-After": "Sun, 17 Mar 2030 17:46:43 GMT", "Date": "Sun, 17 Mar 2030 17:46:40 GMT"},
        {"Retry-After": "nonsense", "x-ratelimit-reset": "3"},
    ],
)
def test_who_says_when_to_come_back_is_believed(headers: dict[str, str]) -> None:
    assert asked_to_wait(headers) == 3.0


def test_without_a_date_a_moment_is_measured_by_our_clock() -> None:
    wait = asked_to_wait({"Retry-After": format_datetime(in_seconds(30), usegmt=True)})
    assert wait is not None
    assert 25 < wait <= 30
    assert asked_to_wait({"x-ratelimit-reset": str(int(in_seconds(-30).timestamp()))}) == 0.0


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "-5"}, {"x-ratelimit-reset": "soon"}, {"Retry-After": "٣"}])
def test_who_says_nothing_sensible_is_asked_again_in_our_own_time(headers: dict[str, str]) -> None:
    assert asked_to_wait(headers) is None


@pytest.mark.parametrize("headers", [{"Retry-After": "2"}, {"x-ratelimit-reset": "2"}])
def test_a_429_waits_as_long_as_it_says(server: CannedServer, headers: dict[str, str]) -> None:
    server.answers(Reply(status=429, headers=headers), GOOD)
    waits = Waits()
    assert client(server, waits=waits).read("GET", "/x") == {"fine": True}
    (wait,) = waits
    assert 2.0 <= wait <= 2.25


def test_a_429_that_asks_for_more_than_our_patience_is_not_waited_for(server: CannedServer) -> None:
    server.answers(Reply(status=429, headers={"Retry-After": "42"}))
    waits = Waits()
    with pytest.raises(VenueUnavailable) as unavailable:
        client(server, waits=waits).read("GET", "/x")
    assert unavailable.value.retry_after_seconds == 42.0
    assert waits == []
    assert len(server.asked) == 1


# --- sends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", [FAILING[name] for name in ("reset", "time-out", "429", "500", "503", "cut off")])
def test_a_send_goes_out_once_whatever_happens(server: CannedServer, failing: Reply) -> None:
    server.answers(failing, GOOD)
    with pytest.raises(VenueUnavailable):
        client(server).send("POST", "/send", body={})
    assert len(server.asked) == 1


def test_a_send_by_a_connection_that_died_in_between_still_goes_out_once(server: CannedServer) -> None:
    """urllib3 would open another connection for a request that can't have arrived; never send it twice."""
    server.answers(GOOD, Reply(reset=True), GOOD)
    sender = client(server)
    sender.send("POST", "/send", body=1)
    with pytest.raises(VenueUnavailable):
        sender.send("POST", "/send", body=2)
    assert [asked.body for asked in server.asked] == [b"1", b"2"]
    assert len({asked.connection for asked in server.asked}) == 1


def test_control_a_read_in_the_same_place_goes_out_again(server: CannedServer) -> None:
    server.answers(GOOD, Reply(reset=True), GOOD)
    reader = client(server)
    for _ in range(2):
        reader.read("POST", "/read", body=1)
    assert len(server.asked) == 3


@pytest.mark.parametrize("reply", [GOOD, Reply({"error": 1}, status=400), Reply(status=302, headers={"Location": "/"})])
def test_an_answer_to_a_send_is_given_as_it_came(server: CannedServer, reply: Reply) -> None:
    server.answers(reply)
    assert client(server).send("POST", "/send", body={}).status == reply.status
    assert len(server.asked) == 1


# --- the guard ------------------------------------------------------------------------------------


class Counting:
    """A guard that notes what it saw."""

    def __init__(self) -> None:
        self.entered = 0
        self.saw: list[type[BaseException]] = []

    @contextmanager
    def __call__(self) -> Iterator[None]:
        self.entered += 1
        try:
            yield
        except Exception as exc:
            self.saw.append(type(exc))
            raise


@pytest.mark.parametrize(
    ("reply", "saw"),
    [(GOOD, []), (Reply(status=503), [VenueUnavailable]), (Reply(status=404), [VenueRefused])],
)
def test_a_call_with_all_its_tries_is_one_thing_to_the_guard(
    server: CannedServer, reply: Reply, saw: list[type[BaseException]]
) -> None:
    server.answers(reply)
    guard = Counting()
    try:
        client(server, guard=guard).read("GET", "/x")
    except (VenueRefused, VenueUnavailable):
        pass
    assert (guard.entered, guard.saw) == (1, saw)


def test_a_send_that_came_to_nothing_is_a_failure_to_the_guard(server: CannedServer) -> None:
    server.answers(Reply(reset=True))
    guard = Counting()
    with pytest.raises(VenueUnavailable):
        client(server, guard=guard).send("POST", body={})
    assert guard.saw == [VenueUnavailable]


@pytest.mark.parametrize("way", ["read", "send"])
def test_where_the_guard_lets_nobody_through_nothing_is_asked(server: CannedServer, way: str) -> None:
    @contextmanager
    def shut() -> Iterator[None]:
        raise BreakerOpen("shut", retry_after_seconds=7)
        yield

    with pytest.raises(BreakerOpen):
        getattr(client(server, guard=shut), way)("POST", "/x", body={})
    assert server.asked == []


# --- addresses, connections, secrets --------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "http://10.0.0.1:8899",
        "ftp://example.org",
        "example.org",
        "https://user:pass@example.org",
        "https://",
        "http://127.0.0.1.example.org",
        "http://localhost.example.org",
    ],
)
def test_an_address_that_may_not_be_used_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        HttpClient(url)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"https://rpc.example.org/v2/{KEY}?api-key={KEY}", "rpc.example.org:443"),
        ("http://127.0.0.1:8899", "127.0.0.1:8899"),
        ("http://localhost", "localhost:80"),
        ("http://[::1]:8899/", "[::1]:8899"),
    ],
)
def test_a_client_is_known_by_its_host_and_port(url: str, name: str) -> None:
    assert HttpClient(url).name == name
    assert repr(HttpClient(url)) == f"<HttpClient {name}>"


def test_a_thread_keeps_its_connection_and_no_other_thread_uses_it(server: CannedServer) -> None:
    server.answers(GOOD)
    shared = client(server)

    def ask() -> None:
        for _ in range(3):
            shared.read("GET", f"/{threading.get_ident()}")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ask()
    by_connection: dict[int, set[str]] = {}
    for asked in server.asked:
        by_connection.setdefault(asked.connection, set()).add(asked.path)
    assert len(server.asked) == 15
    assert len(by_connection) == 5
    assert all(len(paths) == 1 for paths in by_connection.values())


def test_a_process_does_not_use_the_connection_it_was_forked_with(
    server: CannedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers(GOOD)
    shared = client(server)
    shared.read("GET")
    monkeypatch.setattr("trading.venues.http.os.getpid", lambda: 1)
    shared.read("GET")
    assert len({asked.connection for asked in server.asked}) == 2


def test_cookies_are_not_kept(server: CannedServer) -> None:
    server.answers(Reply({}, headers={"Set-Cookie": "who=we; Path=/"}))
    shared = client(server)
    for _ in range(2):
        shared.read("GET")
    assert "cookie" not in server.asked[-1].headers


def test_the_environment_changes_nothing(server: CannedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{canned_server.closed_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.answers(GOOD)
    assert client(server).read("GET") == {"fine": True}


Act = Callable[[HttpClient], object]


@pytest.mark.parametrize(
    "reply",
    [*FAILING.values(), Reply({"error": f"who is {KEY}?", "errorCode": KEY}, status=401), Reply(status=302)],
    ids=[*FAILING, "401 that repeats the key", "redirect"],
)
@pytest.mark.parametrize("act", [lambda c: c.read("POST", "/x", body={}), lambda c: c.send("POST", "/x", body={})])
def test_no_key_is_in_a_log_or_an_error(
    server: CannedServer, caplog: pytest.LogCaptureFixture, reply: Reply, act: Act
) -> None:
    """In the address, in a header and in the answer's words: with everything logged that anybody logs."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.ERROR, logger="urllib3")  # as `logs.configure` has it: its DEBUG says addresses
    server.answers(reply)
    keyed = HttpClient(
        f"{server.url}/{KEY}?api-key={KEY}", headers={"x-api-key": KEY}, timeout_seconds=SHORT, sleep=Waits()
    )
    said: list[object] = [repr(keyed)]
    with structlog.testing.capture_logs() as events:
        try:
            act(keyed)
        except (VenueRefused, VenueUnavailable) as exc:
            said += [str(exc), repr(exc), exc.detail, exc.__cause__, exc.__context__]
    assert server.asked[0].headers["x-api-key"] == KEY, "this looked for nothing"
    assert KEY not in repr(said) + repr(events) + caplog.text


@pytest.mark.parametrize("act", [lambda c: c.read("POST", "/x", body={}), lambda c: c.send("POST", "/x", body={})])
def test_an_address_that_nobody_answers_is_in_no_traceback(act: Act) -> None:
    """`requests` writes the whole address into this one's text."""
    url = f"http://127.0.0.1:{canned_server.closed_port()}/{KEY}?api-key={KEY}"
    with pytest.raises(VenueUnavailable) as unavailable:
        act(HttpClient(url, timeout_seconds=SHORT, sleep=Waits()))
    exc = unavailable.value
    assert KEY not in "".join(traceback.format_exception(exc))
    assert (exc.__cause__, exc.__context__) == (None, None)


def test_what_the_other_side_calls_a_request_is_logged(server: CannedServer) -> None:
    server.answers(Reply(status=429, headers={"x-api-gateway-request-id": "abc-123\tnot this", "Retry-After": "99"}))
    with structlog.testing.capture_logs() as events, pytest.raises(VenueUnavailable):
        client(server).read("GET", "/x")
    (event,) = events
    assert (event["action"], event["why"]) == ("venue_unavailable", "http_429")
    assert event["request_id"].startswith("abc-123")
