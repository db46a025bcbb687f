"""The socket of live events over a real daphne: who may open it, and that nothing is lost on the way."""

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import AbstractUser
from django.test import Client
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from dashboard.consumers import EventsConsumer, origin_is_ours
from dashboard.hub import Hub
from dashboard.models import ApiToken
from tests.test_hub import emit, emit_numbered, in_thread
from tests.web_server import WebServer, web_server
from tradeco.common import db, events

pytestmark = pytest.mark.usefixtures("committed_company")

SECONDS = 20.0


@pytest.fixture
def server(committed_company: None) -> Iterator[WebServer]:
    with web_server() as running:
        yield running


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
    for origin in ("https://evil.example", "null", f"http://127.0.0.1:{server.port}.evil.example"):
        with pytest.raises(InvalidStatus) as refused:
            await connect(server.events_url, additional_headers=bearer(tokens["viewer"]), origin=origin)
        assert refused.value.response.status_code == 403


async def test_other_addresses_are_refused(server: WebServer, tokens: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus):
        await connect(server.events_url + "more/", additional_headers=bearer(tokens["viewer"]))


@pytest.mark.parametrize("after", ["-1", "abc", "9" * 30, "999999999", "", "%00", "1&after=x"])
async def test_a_bad_cursor_is_closed_with_4400_and_a_reason(
    server: WebServer, tokens: dict[str, str], after: str
) -> None:
    code, reason = await close_code(server, f"?after={after}", additional_headers=bearer(tokens["viewer"]))
    assert code == 4400
    assert "after" in reason


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
async def test_a_client_that_doesnt_read_is_closed_with_4408_and_gets_the_rest_when_it_resumes(
    server: WebServer, tokens: dict[str, str]
) -> None:
    newest = await in_thread(events.newest_number)
    await in_thread(_emit_heavy, 4_000)
    headers = bearer(tokens["viewer"])
    options: dict[str, Any] = {"additional_headers": headers, "max_size": None, "compression": None}
    async with connect(f"{server.events_url}?after={newest}", max_queue=1, **options) as socket:
        await asyncio.sleep(12)  # what is tested is time itself: longer than the server's patience
        seen = await read_to_the_end(socket)
    assert socket.close_code == 4408
    assert len(seen) < 4_000
    async with connect(f"{server.events_url}?after={seen[-1]}", **options) as socket:
        async with asyncio.timeout(SECONDS):
            while len(seen) < 4_000:
                seen += [event["id"] for event in json.loads(await socket.recv())["events"]]
    assert seen == list(range(newest + 1, newest + 4_001))


def _emit_heavy(count: int) -> None:
    with db.transaction():
        for n in range(count):
            events.emit(kind="alarm", subject=f"test:{n}", now=db.now(), data={"filler": "x" * 4_000})
    while events.number_new():
        pass


async def test_a_token_revoked_while_its_client_listens_is_out_at_the_next_check(tokens: dict[str, str]) -> None:
    class Impatient(EventsConsumer):
        hub = Hub()
        recheck_seconds = 0.1

    headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {tokens['viewer']}".encode())]
    client = WebsocketCommunicator(Impatient.as_asgi(), "/ws/events/", headers=headers)
    connected, _ = await client.connect()
    assert connected
    await client.receive_from(timeout=SECONDS)
    await in_thread(lambda: ApiToken.objects.filter(name="viewer").update(revoked_at=db.now()))
    told = await client.receive_output(timeout=SECONDS)
    assert (told["type"], told["code"]) == ("websocket.close", 4401)
    await client.disconnect()
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
