"""An HTTP server on loopback that answers as told and remembers what it was asked."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    body: bytes
    connection: int  # which of the client's connections it came by

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Reply:
    """One answer. `body` is text, or what becomes JSON."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    reset: bool = False  # the connection is reset instead of an answer
    hang: bool = False  # no answer until the server ends
    cut_to: int | None = None  # bytes of the body that are sent before the connection ends
    drip: bool = False  # a byte of the body now and then
    drip_head: bool = False  # a byte of a header line now and then, before all else

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


Answering = Callable[[Asked], Reply]


def rpc(result: Any = None, *, error: Any = None, **more: Any) -> Answering:
    """An answer of JSON-RPC, with the number of the request."""

    def reply(asked: Asked) -> Reply:
        said = {"error": error} if error is not None else {"result": result}
        return Reply({"jsonrpc": "2.0", "id": asked.json()["id"], **said}, **more)

    return reply


class CannedServer:
    """Gives the replies one after another, the last one again and again."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.ending = threading.Event()
        self._replies: list[Reply | Answering] = [Reply({})]
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"canned": self})
        self._server = _Server(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def answers(self, *replies: Reply | Answering) -> None:
        self._replies = list(replies)

    def next_reply(self, asked: Asked) -> Reply:
        with self._lock:
            self.asked.append(asked)
            reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        return reply if isinstance(reply, Reply) else reply(asked)

    def end(self) -> None:
        self.ending.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def running() -> Iterator[CannedServer]:
    server = CannedServer()
    try:
        yield server
    finally:
        server.end()


def closed_port() -> int:
    """A port at which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a client's idle connection must not hold the end up

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    canned: CannedServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        asked = Asked(
            method=self.command,
            path=parts.path,
            query={name: values[0] for name, values in parse_qs(parts.query).items()},
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(int(self.headers.get("Content-Length", 0))),
            connection=self.client_address[1],
        )
        self._give(self.canned.next_reply(asked))

    do_GET = do_POST = _answer

    def _give(self, reply: Reply) -> None:
        if reply.hang:
            self.canned.ending.wait(30)
        if reply.reset or reply.hang:
            self._reset()
            return
        body = reply.encoded()
        self.send_response(reply.status)
        if reply.drip_head:
            self.flush_headers()
            self._drip(b"X-Slow: " + b"x" * 150 + b"\r\n")
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if reply.drip:
            self._drip(body)
            self.close_connection = True
        elif reply.cut_to is not None:
            self.wfile.write(body[: reply.cut_to])
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _drip(self, data: bytes) -> None:
        for place in range(len(data)):
            if self.canned.ending.wait(0.02):
                break
            self.wfile.write(data[place : place + 1])

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Requests are remembered, not printed."""
