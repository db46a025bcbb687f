"""HTTP in front of it all: routes, keys, faults on the way, and threads. What is answered is the others' affair."""

from __future__ import annotations

import json
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from trading.sandbox.catalogue import Catalogue
from trading.sandbox.control import Control
from trading.sandbox.faults import Fault, Faults
from trading.sandbox.jupiter import HttpError, Jupiter, refuse
from trading.sandbox.rpc import PARSE_ERROR, Rpc

BODY_BYTES_MAX = 1024 * 1024
BATCH_MAX = 100
IDLE_SECONDS = 60  # a connection that says nothing for so long is closed
BACKLOG = 256
RPC_PATHS = ("/", "/rpc")
KEYED = ("/swap/", "/price/", "/tokens/")


class Routes:
    """Which path does what. `answer` returns a status and a JSON value."""

    def __init__(
        self, *, rpc: Rpc, jupiter: Jupiter, catalogue: Catalogue, control: Control, api_key: str | None, open_: bool
    ) -> None:
        self._rpc = rpc
        self._api_key = api_key
        self._controllable = open_
        self._get: dict[str, Callable[[dict[str, str]], Any]] = {
            "/swap/v1/quote": jupiter.quote,
            "/swap/v2/order": jupiter.order,
            "/price/v3": catalogue.prices,
            "/tokens/v2/search": catalogue.tokens,
            "/candles": catalogue.candles,
            "/sandbox/ledger": control.ledger,
            "/sandbox/state": lambda query: control.state(),
        }
        self._post: dict[str, Callable[[dict[str, Any]], Any]] = {
            "/swap/v1/swap": jupiter.swap,
            "/swap/v2/execute": jupiter.execute,
        }
        self._control: dict[tuple[str, str], Callable[[dict[str, Any]], Any]] = {
            ("POST", "/sandbox/faults"): control.add_fault,
            ("DELETE", "/sandbox/faults"): control.clear_faults,
            ("POST", "/sandbox/advance"): control.advance,
            ("POST", "/sandbox/reorg"): control.reorg,
            ("POST", "/sandbox/price"): control.price,
            ("POST", "/sandbox/fund"): control.fund,
            ("POST", "/sandbox/transfer"): control.transfer,
        }

    def answer(self, method: str, path: str, query: dict[str, str], body: Any, key: str | None) -> tuple[int, Any]:
        try:
            if self._api_key is not None and path.startswith(KEYED) and key != self._api_key:
                raise HttpError(401, {"code": 401, "message": "Unauthorized"})
            return 200, self._answer(method, path, query, body)
        except HttpError as error:
            return error.status, error.body

    def _answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        if method == "POST" and path in RPC_PATHS:
            return self._rpc_answer(body)
        if method == "GET" and path in self._get:
            return self._get[path](query)
        if (method, path) in self._control:
            if not self._controllable:
                raise refuse("This sandbox wasn't started with control.", status=403)
            return self._control[method, path](query if method == "DELETE" else _object(body))
        if method == "POST" and path in self._post:
            return self._post[path](_object(body))
        raise refuse("Not found", status=404)

    def _rpc_answer(self, body: Any) -> Any:
        if not isinstance(body, list):
            return self._rpc.answer(body)
        if not 1 <= len(body) <= BATCH_MAX:
            raise refuse(f"A batch has 1 to {BATCH_MAX} requests", status=413)
        return [self._rpc.answer(request) for request in body]


class Server:
    def __init__(
        self,
        *,
        rpc: Rpc,
        jupiter: Jupiter,
        catalogue: Catalogue,
        control: Control,
        faults: Faults,
        api_key: str | None,
        controllable: bool,
    ) -> None:
        self.faults = faults
        self.routes = Routes(
            rpc=rpc, jupiter=jupiter, catalogue=catalogue, control=control, api_key=api_key, open_=controllable
        )
        self._http: _Http | None = None
        self._thread: threading.Thread | None = None

    def start(self, host: str, port: int) -> str:
        """Raises OSError: the port is taken."""
        self._http = _Http((host, port), self)
        self._thread = threading.Thread(
            target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, name="sandbox-http", daemon=True
        )
        self._thread.start()
        address, taken = self._http.server_address[:2]
        return f"http://{address!s}:{taken}"

    def stop(self) -> None:
        if self._http is not None and self._thread is not None:
            self._http.shutdown()
            self._thread.join()
            self._http.hang_up()
            self._http.server_close()
            self._http = None


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = True
    request_queue_size = BACKLOG
    allow_reuse_address = True

    def __init__(self, address: tuple[str, int], server: Server) -> None:
        self.sandbox = server
        self._open: set[socket.socket] = set()
        self._guard = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without asking the network for the host's name, as HTTPServer would."""
        socketserver.TCPServer.server_bind(self)

    def note(self, connection: socket.socket, *, is_open: bool) -> None:
        with self._guard:
            (self._open.add if is_open else self._open.discard)(connection)

    def hang_up(self) -> None:
        """Wake the threads that wait for a next request."""
        with self._guard:
            for connection in self._open:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass  # the other side was first

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is nobody's error."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body leave in one packet
    timeout = IDLE_SECONDS
    server: _Http

    def setup(self) -> None:
        super().setup()
        self.server.note(self.connection, is_open=True)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.server.note(self.connection, is_open=False)

    def log_message(self, format: str, *args: Any) -> None:
        """Requests aren't logged: they hold keys and transactions, and are many."""

    def do_GET(self) -> None:
        self._serve(None)

    def do_DELETE(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY_BYTES_MAX:
            self.close_connection = True
            self._send(413 if length.isdigit() else 411, {"error": "A body has a length of at most 1 MB"})
            return
        try:
            body = json.loads(self.rfile.read(int(length)) or b"null")
        except ValueError:
            error = {"jsonrpc": "2.0", "error": {"code": PARSE_ERROR, "message": "Parse error"}, "id": None}
            self._send(200 if urlsplit(self.path).path in RPC_PATHS else 400, error)
            return
        self._serve(body)

    def _serve(self, body: Any) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        route = _route(parts.path, body)
        befallen = [] if parts.path.startswith("/sandbox/") else self.server.sandbox.faults.transport(route)
        for fault in befallen:
            if fault.kind == "delay":
                time.sleep(fault.seconds)
        kinds = {fault.kind: fault for fault in befallen}
        if "drop" in kinds:
            self.close_connection = True
            return
        if "status_429" in kinds:
            self._send_429(kinds["status_429"])
            return
        broken = kinds.get("status_5xx")
        if broken is None or broken.performed:
            status, value = self.server.sandbox.routes.answer(
                self.command, parts.path, query, body, self.headers.get("x-api-key")
            )
        if broken is not None:
            status, value = broken.status, {"error": "Service unavailable"}
        if "lost_reply" in kinds:
            self.close_connection = True
            return
        self._send(status, value, truncated="truncated" in kinds)

    def _send_429(self, fault: Fault) -> None:
        seconds = max(0, round(fault.seconds))
        headers = {"Retry-After": str(seconds), "x-ratelimit-reset": str(int(time.time()) + seconds)}
        self._send(429, {"code": 429, "message": "Too many requests"}, headers=headers)

    def _send(self, status: int, value: Any, *, headers: dict[str, str] | None = None, truncated: bool = False) -> None:
        data = json.dumps(value, separators=(",", ":")).encode()
        if truncated:
            data = data[: max(1, len(data) // 2)]
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(data)
        self.wfile.flush()


def _route(path: str, body: Any) -> str:
    """What faults know a request by: its JSON-RPC method (of a batch the first), else its path."""
    if path not in RPC_PATHS:
        return path
    first = body[0] if isinstance(body, list) and body else body
    method = first.get("method") if isinstance(first, dict) else None
    return method if isinstance(method, str) else path


def _object(body: Any) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise refuse("Failed to deserialize the JSON body into the target type: expected an object")
    return body
