"""The socket of live events over a real daphne: who may open it, and that nothing is lost on the way."""

import asyncio
import contextlib
import json
import time
import urllib.request
from datetime import timedelta
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.test import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dashboard.consumers import EventsConsumer, origin_is_ours
from dashboard.hub import Hub
from dashboard.models import ApiToken
from tests.test_hub import emit, emit_numbered, in_thread
from tests.web_server import WebServer
from tradeco.common import db, events
from tradeco.common.models import Event

SECONDS = 20.0
HEAVY = 2_000  # events of 8 kB: 16 MB


def bearer(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


async def heard_until(socket: ClientConnection, subject: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(SECONDS):
        while subject not in {event["subject"] for event in found}:
            found += json.loads(await socket.recv())["events"]
    return found


async def read_to_the_end(socket: ClientConnection) -> list[int]:
    """The ids of all events until the server closes."""
    seen: list[int] = []
    with contextlib.suppress(ConnectionClosed):
        async with asyncio.timeout(SECONDS):
            async for text in socket:
                seen += [event["id"] for event in json.loads(text)["events"]]
    return seen


async def close_code(server: WebServer, query: str = "", **options: Any) -> tuple[int, str]:
    async with connect(server.events_url + query, **options) as socket:
        await read_to_the_end(socket)
    return socket.close_code or 0, socket.close_reason or ""


async def test_a_token_that_reads_hears_events_live(server: WebServer, tokens: dict[str, str]) -> None:
    async with connect(server.events_url, additional_headers=bearer(tokens["viewer"])) as socket:
        first = json.loads(await socket.recv())
        assert first["events"] == []
        await in_thread(emit, "test:live")
        (event,) = await heard_until(socket, "test:live")
        assert event["id"] == first["last"] + 1
        assert set(event) >= {"id", "kind", "at", "subject", "data"}


async def test_staff_hear_by_their_session_from_the_page_itself(server: WebServer, alice: AbstractUser) -> None:
    client = Client()
    await in_thread(client.force_login, alice)
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    async with connect(server.events_url, additional_headers={"Cookie": cookie}, origin=server.url) as socket:
        assert json.loads(await socket.recv())["events"] == []


async def test_strangers_and_dead_tokens_are_closed_with_4401(server: WebServer, tokens: dict[str, str]) -> None:
    def kill_tokens() -> None:
        ApiToken.objects.filter(name="viewer").update(revoked_at=db.now())
        ApiToken.objects.filter(name="reviewer").update(expires_at=db.now() - timedelta(seconds=1))

    await in_thread(kill_tokens)
    shown = [{}, bearer("tco_wrong"), bearer(tokens["viewer"]), bearer(tokens["reviewer"])]
    codes = [await close_code(server, additional_headers=headers) for headers in shown]
    assert {code for code, _ in codes} == {4401}
    assert codes[0][1].startswith("Log in")


async def test_staff_without_the_right_are_closed_with_4403(server: WebServer, charlie: AbstractUser) -> None:
    client = Client()
    await in_thread(client.force_login, charlie)
    cookie = f"{settings.SESSION_COOKIE_NAME}={client.cookies[settings.SESSION_COOKIE_NAME].value}"
    code, _ = await close_code(server, additional_headers={"Cookie": cookie})
    assert code == 4403


async def test_a_foreign_page_is_refused_at_the_handshake(server: WebServer, tokens: dict[str, str]) -> None:
    for origin in ("https://evil.example", "null", f"http://127.0.0.1.evil.example:{server.port}"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(server.events_url, additional_headers=bearer(tokens["viewer"]), origin=origin)
        assert refused.value.response.status_code == 403


async def test_other_addresses_are_refused(server: WebServer, tokens: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus):
        await connect(server.events_url + "more/", additional_headers=bearer(tokens["viewer"]))


async def test_a_bad_cursor_is_closed_with_4400_and_a_reason(server: WebServer, tokens: dict[str, str]) -> None:
    for after in ("-1", "abc", "9" * 30, "999999999", "", "%00", "1&after=x"):
        code, reason = await close_code(server, f"?after={after}", additional_headers=bearer(tokens["viewer"]))
        assert (code, "after" in reason) == (4400, True), after


@pytest.mark.race
async def test_a_client_that_resumes_after_the_web_process_was_killed_misses_nothing(
    server: WebServer, tokens: dict[str, str]
) -> None:
    headers = bearer(tokens["viewer"])
    async with connect(server.events_url, additional_headers=headers) as socket:
        first = json.loads(await socket.recv())["last"]
        await in_thread(emit, "test:before")
        seen = await heard_until(socket, "test:before")
        await asyncio.to_thread(server.stop, kill=True)
        await in_thread(emit_numbered, 5)
    await asyncio.to_thread(server.start)
    async with connect(f"{server.events_url}?after={seen[-1]['id']}", additional_headers=headers) as socket:
        await in_thread(emit, "test:end")
        seen += await heard_until(socket, "test:end")
    assert [event["id"] for event in seen] == list(range(first + 1, first + 8))


async def test_the_web_process_stops_cleanly_while_clients_listen(server: WebServer, tokens: dict[str, str]) -> None:
    async with connect(server.events_url, additional_headers=bearer(tokens["viewer"])) as socket:
        await socket.recv()
        assert await asyncio.to_thread(server.stop) == 0


@pytest.mark.race
async def test_a_client_that_doesnt_read_is_sent_away_and_gets_the_rest_when_it_resumes(
    server: WebServer, tokens: dict[str, str]
) -> None:
    newest = await in_thread(_emit_heavy)
    headers = bearer(tokens["viewer"])
    options: dict[str, Any] = {"additional_headers": headers, "max_size": None, "compression": None}
    async with connect(f"{server.events_url}?after={newest}", max_queue=1, **options) as socket:
        await asyncio.to_thread(_wait_until_nobody_listens, server)
        seen = await read_to_the_end(socket)
    assert socket.close_code in (4408, 1006)  # who doesn't even take the farewell is cut off a second later
    assert len(seen) < HEAVY
    async with connect(f"{server.events_url}?after={seen[-1]}", **options) as socket, asyncio.timeout(SECONDS):
        while len(seen) < HEAVY:
            seen += [event["id"] for event in json.loads(await socket.recv())["events"]]
    assert seen == list(range(newest + 1, newest + HEAVY + 1))


def _emit_heavy() -> int:
    """More than the sockets between server and client can hold; the id of the event before."""
    while events.number_new():
        pass
    newest = events.newest_number()
    Event.objects.bulk_create(
        Event(kind="alarm", subject=f"test:{n}", at=db.now(), data={"filler": "x" * 8_000}) for n in range(HEAVY)
    )
    return newest


def _wait_until_nobody_listens(server: WebServer) -> None:
    deadline = time.monotonic() + 3 * SECONDS
    while time.monotonic() < deadline:
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=SECONDS) as answer:
            if b"tradeco_event_listeners 0.0" in answer.read():
                return
        time.sleep(0.5)
    raise AssertionError("the slow client still has its seat")


async def test_a_token_revoked_while_its_client_listens_is_out_at_the_next_check(
    committed_company: None, tokens: dict[str, str]
) -> None:
    class Impatient(EventsConsumer):
        hub = Hub()
        recheck_seconds = 0.1

    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {tokens['viewer']}".encode())]
    scope = {"type": "websocket", "path": "/ws/events/", "query_string": b"", "headers": headers}
    # channels' own communicator keeps connections to the database open
    client = ApplicationCommunicator(Impatient.as_asgi(), scope)
    await client.send_input({"type": "websocket.connect"})
    assert (await client.receive_output(SECONDS))["type"] == "websocket.accept"
    assert (await client.receive_output(SECONDS))["type"] == "websocket.send"
    await in_thread(lambda: ApiToken.objects.filter(name="viewer").update(revoked_at=db.now()))
    while (told := await client.receive_output(SECONDS))["type"] == "websocket.send":
        pass  # events from before
    assert (told["type"], told["code"]) == ("websocket.close", 4401)
    await client.send_input({"type": "websocket.disconnect", "code": 4401})
    await client.wait(SECONDS)
    assert Impatient.hub.seats == 0


@pytest.mark.parametrize(
    ("origin", "host", "ours"),
    [
        (None, "localhost:8000", True),
        ("http://localhost:8000", "localhost:8000", True),
        ("http://localhost:8000", "localhost:9000", False),
        ("http://evil.example", "localhost", False),
        ("http://evil.example", "evil.example", False),  # a name that was bound to our address
        (None, "evil.example", False),
        ("null", "localhost", False),
        ("http://localhost@evil.example", "localhost", False),
    ],
)
def test_only_our_own_pages_may_open_the_socket(origin: str | None, host: str, ours: bool) -> None:
    assert origin_is_ours(origin=origin, host=host) is ours


def test_with_every_host_allowed_a_foreign_page_is_still_foreign(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    assert not origin_is_ours(origin="http://evil.example", host="tradeco.example")
    assert origin_is_ours(origin="https://tradeco.example", host="tradeco.example")
