"""How the world is asked over HTTP: time-outs, bounds, who may ask again, and which words never reach a log.

What a request means is its client's affair (`rpc`, `jupiter`, `prices`, `tokens`). There are two ways to ask:

    read    changes nothing over there, whatever its method. Asked again after a reset, a time-out, 429, 5xx, or an
            answer that was cut off
    send    moves money. Goes out exactly once; without a definite answer nobody knows whether it arrived

An address or a header may hold a key. Therefore errors are built from words of ours, outside of any `except` block: the
text of an exception of `requests` holds the whole address, and a chained one would carry it into a traceback.
"""

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, ClassVar

import requests
import structlog
from requests import exceptions as failures
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    stop_after_attempt,
    stop_before_delay,
    wait_random_exponential,
)
from urllib3 import exceptions as transport

from tradeco.common.errors import DomainError
from tradeco.common.outside import BreakerOpen, VenueUnavailable, host_of
from trading.venues.http_answers import Answer, Fault, asked_to_wait, error_in, tree_of, whole

__all__ = ["Answer", "BreakerOpen", "Guard", "HttpClient", "Patience", "VenueRefused", "VenueUnavailable"]

log = structlog.get_logger(__name__)

Guard = Callable[[], AbstractContextManager[None]]

TEXT_MOST = 200  # characters of a stranger's words that we repeat
TOO_MANY, SERVICE_UNAVAILABLE = 429, 503
WAIT_JITTER_SECONDS = 0.25  # those who were told the same moment don't come back at the same moment


class VenueRefused(DomainError):
    """A definite answer that isn't the one asked for. `why` is stable and lower-case: no_route, http_404, bad_answer.

    It says something about this request only, never that an earlier send wasn't taken.
    """

    code: ClassVar[str] = "venue_refused"
    status: ClassVar[int] = 502
    title: ClassVar[str] = "The venue refused the request"

    def __init__(self, why: str, detail: str = "") -> None:
        super().__init__(detail or f"{self.title}: {why}.")
        self.why = why


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a read may go on being asked. `seconds` bounds tries and waits together."""

    tries: int = 4
    seconds: float = 10.0
    wait_first_seconds: float = 0.25
    wait_most_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    params: Mapping[str, str] | None
    body: bytes | None


class _Again(Exception):
    """A read that may be asked once more. `wait_seconds` is what the other side asked for."""

    def __init__(self, why: str, *, wait_seconds: float | None = None, request_id: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.wait_seconds = wait_seconds
        self.request_id = request_id


class HttpClient:
    """One place outside that is asked. Threads may share it, and so may processes that are forked later.

    Args:
        base_url: https, or plain http on loopback. May hold a key in its path or query; `name` doesn't.
        headers: sent with every request; their values are kept out of everything we say.
        timeout_seconds: to connect, and between two bytes of an answer. A whole answer takes no longer than both
            together, a read with all its tries no longer than its patience.
        guard: makes the context manager that each call runs in, such as a breaker's.
        refusals: the other side's own error codes and what we call them.
        sleep: waits between two tries.

    Raises:
        ValueError: the address isn't one that may be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: tuple[float, float] = (2, 8),
        guard: Guard | None = None,
        refusals: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = host_of(base_url)
        self._base = base_url.rstrip("/")
        self._headers = {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "tradeco"}
        self._headers |= headers or {}
        self._secrets = [value for value in (headers or {}).values() if value]
        self._connect_seconds, self._read_seconds = timeout_seconds
        self._guard = guard or nullcontext
        self._refusals = refusals or {}
        self._patience = patience or Patience()
        self._sleep = sleep
        self._here = threading.local()

    def __repr__(self) -> str:
        return f"<HttpClient {self.name}>"

    def read(
        self,
        method: str,
        path: str = "",
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        what: str = "",
    ) -> Any:
        """Ask something that changes nothing over there; its JSON, with Decimals for fractions.

        Args:
            what: how the log calls this; the path unless given.

        Raises:
            VenueUnavailable: no usable answer came in time, or the guard lets nobody through.
            VenueRefused: a definite 4xx, a redirect, or more than BODY_MOST_BYTES.
        """
        request = self._request(method, path, params, body)
        with self._guard():
            return self._patiently(request, what or path)

    def send(self, method: str, path: str = "", *, body: object, what: str = "") -> Answer:
        """Send once, whatever happens: any answer but 429, 5xx and one that came in part.

        Raises:
            BreakerOpen: nothing was sent.
            VenueUnavailable: nobody knows whether it arrived and was done.
        """
        request = self._request(method, path, None, body)
        with self._guard():
            came = self._once(request, deadline=time.monotonic() + self._connect_seconds + self._read_seconds)
            if isinstance(came, Fault):
                why, request_id = came.why, ""
            elif came.status == TOO_MANY or came.status >= 500:
                why, request_id = f"http_{came.status}", came.request_id
            else:
                return came
            log.warning(
                "A send got no definite answer.",
                action="venue_send_unsure",
                venue=self.name,
                what=what or path,
                why=why,
                request_id=request_id,
            )
            raise VenueUnavailable(f"{self.name} gave no definite answer ({why}).")

    # --- reads ------------------------------------------------------------------------------------

    def _patiently(self, request: _Request, what: str) -> Any:
        patience = self._patience
        backoff = wait_random_exponential(multiplier=patience.wait_first_seconds, max=patience.wait_most_seconds)

        def wait(state: RetryCallState) -> float:
            asked = _again_of(state).wait_seconds
            return backoff(state) if asked is None else asked + random.uniform(0, WAIT_JITTER_SECONDS)

        def tell(state: RetryCallState) -> None:
            again = _again_of(state)
            log.info(
                "A read is asked again.",
                action="venue_read_retried",
                venue=self.name,
                what=what,
                why=again.why,
                attempt=state.attempt_number,
                wait_seconds=round(state.upcoming_sleep, 3),
                request_id=again.request_id,
            )

        tries = Retrying(
            retry=retry_if_exception_type(_Again),
            stop=stop_after_attempt(patience.tries) | stop_before_delay(patience.seconds),
            wait=wait,
            before_sleep=tell,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return tries(self._read_once, request, time.monotonic() + patience.seconds)
        except _Again as again:
            silent = again
        log.warning(
            "A read got no usable answer.",
            action="venue_unavailable",
            venue=self.name,
            what=what,
            why=silent.why,
            request_id=silent.request_id,
        )
        raise VenueUnavailable(
            f"{self.name} gave no usable answer ({silent.why}).", retry_after_seconds=silent.wait_seconds
        )

    def _read_once(self, request: _Request, deadline: float) -> Any:
        came = self._once(request, deadline=deadline)
        if isinstance(came, Fault):
            if came.again:
                raise _Again(came.why)
            if came.why == "too_large":
                raise VenueRefused("bad_answer", f"{self.name} gave an answer beyond all bounds.")
            raise VenueUnavailable(f"{self.name} can't be reached safely ({came.why}).")
        if came.status == TOO_MANY or came.status >= 500:
            wait = asked_to_wait(came.headers) if came.status in (TOO_MANY, SERVICE_UNAVAILABLE) else None
            raise _Again(f"http_{came.status}", wait_seconds=wait, request_id=came.request_id)
        if not 200 <= came.status < 300:
            raise self.refusal(came)
        if (tree := tree_of(came)) is None:
            raise _Again("cut_off", request_id=came.request_id)
        return tree.value

    def refusal(self, answer: Answer) -> VenueRefused:
        """What an answer below 500 that isn't a success says, in our words where we know theirs."""
        tree = tree_of(answer)
        theirs, said = error_in(tree.value) if tree and isinstance(tree.value, dict) else ("", "")
        why = self._refusals.get(theirs) or f"http_{answer.status}"
        if 300 <= answer.status < 400:
            why = "redirected"
        log.info(
            "A request was refused.",
            action="venue_refused",
            venue=self.name,
            status=answer.status,
            why=why,
            request_id=answer.request_id,
        )
        words = self.clean(": ".join(part for part in (theirs, said) if part))
        return VenueRefused(why, f"{self.name} refused ({answer.status}). {words}".strip())

    def clean(self, words: str) -> str:
        """A stranger's words, short, on one line and without our keys."""
        for secret in self._secrets:
            words = words.replace(secret, "…")
        return " ".join(re.sub(r"[^\x20-\x7e]", " ", words).split())[:TEXT_MOST]

    # --- one exchange -----------------------------------------------------------------------------

    def _request(self, method: str, path: str, params: Mapping[str, str] | None, body: object) -> _Request:
        encoded = None if body is None else json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        return _Request(method, self._base + path, params, encoded)

    def _once(self, request: _Request, *, deadline: float) -> Answer | Fault:
        """One request, one answer; never raises for what the network does."""
        left = max(0.05, deadline - time.monotonic())
        try:
            with self._session().request(
                request.method,
                request.url,
                params=request.params,
                data=request.body,
                headers={"Content-Type": "application/json"} if request.body is not None else None,
                timeout=(min(self._connect_seconds, left), min(self._read_seconds, left)),
                allow_redirects=False,
                stream=True,
            ) as response:
                return whole(response, deadline)
        except (failures.RequestException, transport.HTTPError, OSError) as exc:
            return _fault(exc)

    def _session(self) -> requests.Session:
        """This thread's session, in this process: `requests` doesn't promise that threads may share one, and two
        processes with one socket would read each other's answers.
        """
        if getattr(self._here, "process", None) != os.getpid():
            session = requests.Session()
            session.trust_env = False  # a forgotten HTTP_PROXY or .netrc would see, or add, what isn't theirs
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
            session.headers.clear()
            session.headers.update(self._headers)
            self._here.session, self._here.process = session, os.getpid()
        session = self._here.session
        assert isinstance(session, requests.Session)
        return session


def _fault(exc: Exception) -> Fault:
    match exc:
        case failures.SSLError() | failures.InvalidURL() | failures.InvalidHeader() | transport.SSLError():
            return Fault("not_trusted", again=False)
        case failures.ConnectTimeout():
            return Fault("unreachable", again=True)
        case failures.Timeout() | transport.TimeoutError() | TimeoutError():
            return Fault("timed_out", again=True)
        case transport.IncompleteRead() | transport.DecodeError():
            return Fault("cut_off", again=True)
    return Fault("connection_lost", again=True)


def _again_of(state: RetryCallState) -> _Again:
    exc = state.outcome.exception() if state.outcome else None
    assert isinstance(exc, _Again)
    return exc
