"""The signer's socket: who may ask, how much, how long, and one answer to each.

A connection carries one request and one answer, a line of JSON each. What a request means is service's affair.
"""

import os
import socket
import struct
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog
from pydantic import BaseModel, ValidationError

from trading.signer import place
from trading.signer.protocol import REQUEST, Failure, SignRequest, encode, read_line
from trading.signer.refusals import Refusal
from trading.signer.service import Service

log = structlog.get_logger(__name__)

WORKERS = 16  # clients at once; others wait in the backlog
BACKLOG = 128
LINE_SECONDS = 5.0  # for a whole request to arrive, and for its answer to be taken
LOOK_SECONDS = 0.2  # how soon a stop is noticed


class Server:
    """Listens at a path that is ours alone, until told to stop."""

    def __init__(self, service: Service, *, path: Path, line_seconds: float = LINE_SECONDS) -> None:
        self.service = service
        self.path = path
        self.line_seconds = line_seconds
        self._free = threading.BoundedSemaphore(WORKERS)

    def run(self, stopping: threading.Event) -> None:
        """Serve until `stopping`; requests that have begun are ended first.

        Raises:
            SocketPlaceTaken.
        """
        place.make_way(self.path)  # whoever runs this holds the key's lock, so no other signer listens there
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            place.listen(listener, self.path, backlog=BACKLOG)
            listener.settimeout(LOOK_SECONDS)
            confirming = threading.Thread(target=self.service.right_chain.confirm_at_last, args=[stopping], daemon=True)
            confirming.start()
            try:
                with ThreadPoolExecutor(WORKERS, thread_name_prefix="signer") as pool:
                    self._accept(listener, pool, stopping)
            finally:
                place.leave(self.path)

    def _accept(self, listener: socket.socket, pool: ThreadPoolExecutor, stopping: threading.Event) -> None:
        while not stopping.is_set():
            if not self._free.acquire(timeout=LOOK_SECONDS):
                continue
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                self._free.release()
                continue
            pool.submit(self._attend, connection)

    def _attend(self, connection: socket.socket) -> None:
        try:
            with connection:
                deadline = time.monotonic() + self.line_seconds
                line = read_line(connection, deadline)  # a stranger's too: closing on unread bytes loses the answer
                answer = self._refuse_strangers(connection) or self.answer(line)
                connection.settimeout(self.line_seconds)
                connection.sendall(encode(answer))
        except OSError as exc:
            log.info("A client went away", action="signer_client_gone", error=type(exc).__name__)
        finally:
            self._free.release()

    def answer(self, line: bytes) -> BaseModel:
        """The answer to one line, whatever it holds."""
        try:
            request = REQUEST.validate_json(line)
        except ValidationError as exc:
            return Failure(code="bad_request", reason=_explain(exc))
        try:
            if not isinstance(request, SignRequest):
                return self.service.status()
            signed = self.service.sign(request)
        except Refusal as refused:
            log.warning("Refused to sign", action="signer_refused", code=refused.code, reason=refused.reason)
            return Failure(code=refused.code, reason=refused.reason)
        except Exception as exc:  # noqa: BLE001  the outermost loop of this thread
            # as text of ours: a handler that shows local variables must not get hold of the traceback
            log.error(
                "The signer failed", action="signer_failed", error=type(exc).__name__, where=traceback.format_exc()
            )
            return Failure(code="internal_error", reason="The signer failed; its log says where. Nothing was signed.")
        log.info("Signed", action="signer_signed", signature=signed.signature, **request.intent.model_dump())
        return signed

    def _refuse_strangers(self, connection: socket.socket) -> Failure | None:
        peer = peer_uid(connection)
        if peer is None or may_ask(peer):
            return None
        log.error("Another user reached the signer's socket", action="signer_stranger", uid=peer)
        return Failure(code="forbidden", reason="Only the user who runs the signer may ask it.")


def may_ask(uid: int) -> bool:
    """Our own user, and root, whom nothing here could stop."""
    return uid in (os.geteuid(), 0)


def peer_uid(connection: socket.socket) -> int | None:
    """Who is at the other end, from the kernel. None where the system doesn't say: its folder's mode guards there."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = struct.Struct("3i")
    _, uid, _ = credentials.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return int(uid)


def _explain(exc: ValidationError) -> str:
    """Where and why, without what was sent."""
    errors = exc.errors(include_input=False, include_url=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, error['loc'])) or 'request'}: {error['msg']}" for error in errors)[:500]
