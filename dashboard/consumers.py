"""The socket of live events: who may open it, how it is fed, when it is closed.

Close codes: 4400 a bad `after`, 4401 not logged in or no longer, 4403 no right to watch, 4408 too slow (who
doesn't take even that is cut off a second later), 4429 too many listeners, 4503 the database is away, 4500 a
mistake of ours. What is sent, and in which order, is the hub's affair.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django.db
import structlog
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from django.conf import settings
from django.http import parse_cookie
from django.http.request import split_domain_port, validate_host

from dashboard import visitors, wire
from dashboard.hub import Hub, Refused, TooSlow, hub
from dashboard.visitors import Answer, Visitor
from tradeco.common import db

log = structlog.get_logger(__name__)

RECHECK_SECONDS = 20.0  # a revoked token or a locked user is out within 30
DRAIN_SECONDS = 10.0  # a client that takes nothing for so long is slow
DRAIN_LOOK_SECONDS = 0.05
_CLOSE_CODE = {
    Answer.UNKNOWN: (4401, "Log in, or show a token that works."),
    Answer.NO_RIGHT: (4403, "You have no right to watch; an operator can give it."),
}


class EventsConsumer(AsyncWebsocketConsumer):
    hub: Hub = hub
    recheck_seconds = RECHECK_SECONDS
    drain_seconds = DRAIN_SECONDS

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.running: set[asyncio.Task[None]] = set()
        try:
            await super().__call__(scope, receive, send)
        finally:  # left, cut off, or this process stops
            for task in self.running:
                task.cancel()
            await asyncio.gather(*self.running, return_exceptions=True)

    async def connect(self) -> None:
        headers = {name.decode("latin1"): value.decode("latin1") for name, value in self.scope["headers"]}
        if not origin_is_ours(origin=headers.get("origin"), host=headers.get("host", "")):
            await self.close()  # before accepting: HTTP 403
            return
        await self.accept()
        cookies = parse_cookie(headers.get("cookie", ""))
        self.visitor = Visitor.showing(
            authorization=headers.get("authorization", ""),
            session_key=cookies.get(settings.SESSION_COOKIE_NAME, ""),
        )
        query = parse_qs(self.scope["query_string"].decode("latin1"), keep_blank_values=True)
        self._run(self._serve(query.get("after", [None])[-1]))

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Listeners have nothing to say."""

    def _run(self, part: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(part)
        self.running.add(task)
        task.add_done_callback(self._part_ended)

    def _part_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("A listener's socket broke.", action="listener_broke", exc_info=task.exception())
            wire.close(self.base_send, code=4500, reason="Our mistake; come back with ?after=.")

    async def _serve(self, after: str | None) -> None:
        try:
            if not await self._still_welcome():
                return
            self._run(self._recheck())
            async with aclosing(self.hub.listen(after=after)) as frames:
                async for text in frames:
                    await self._send(text)
        except Refused as why:
            await self._end(why.code, str(why))
        except django.db.Error:
            await self._end(4503, "The database is away; try again later.")

    async def _send(self, text: str) -> None:
        """Send, and wait until it has left: a queue that nobody sees can't grow."""
        try:
            async with asyncio.timeout(self.drain_seconds):
                await self.send(text_data=text)
                while wire.unsent_bytes(self.base_send):
                    await asyncio.sleep(DRAIN_LOOK_SECONDS)
        except TimeoutError as exc:
            raise TooSlow("You don't read; come back with ?after=<last id you have seen>.") from exc

    async def _recheck(self) -> None:
        welcome = True
        while welcome:
            await asyncio.sleep(self.recheck_seconds)
            try:
                welcome = await self._still_welcome()
            except django.db.Error:
                log.info("Can't ask who listens while the database is away.", action="recheck_postponed")

    async def _still_welcome(self) -> bool:
        ask = database_sync_to_async(_ask, thread_sensitive=False)
        answer: Answer = await ask(self.visitor)
        if answer is not Answer.WELCOME:
            await self._end(*_CLOSE_CODE[answer])
        return answer is Answer.WELCOME

    async def _end(self, code: int, reason: str) -> None:
        log.info("A listener was sent away.", action="listener_sent_away", code=code, reason=reason)
        if not wire.close(self.base_send, code=code, reason=reason):
            await self.close(code=code, reason=reason)


class NoSuchSocket(AsyncWebsocketConsumer):
    """Any other address: refused at the handshake."""

    async def connect(self) -> None:
        await self.close()


def origin_is_ours(*, origin: str | None, host: str) -> bool:
    """Whether this handshake may come from where it comes from.

    Browsers always name the page's origin: it must be the very host they talk to, or one of those that the
    settings trust. Programs name none, and then nothing is sent on anybody's behalf.
    """
    domain, _ = split_domain_port(host)
    if not domain or not validate_host(domain, settings.ALLOWED_HOSTS):
        return False
    if origin is None:
        return True
    trusted = {*settings.CSRF_TRUSTED_ORIGINS, *settings.CORS_ALLOWED_ORIGINS}
    return origin in trusted or urlsplit(origin).netloc.lower() == host.lower()


def _ask(visitor: Visitor) -> Answer:
    return visitors.ask(visitor, now=db.now())
