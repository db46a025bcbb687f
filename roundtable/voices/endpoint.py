"""An OpenAI-compatible endpoint over HTTP: time-outs, bounds, the breaker, and which words never reach a log.

Asking changes nothing over there, so it is tried again after a lost connection or 5xx, within the same time. The
address and the key may be secrets: errors are built from words of ours, outside of any `except` block.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http.cookiejar import DefaultCookiePolicy
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import urlsplit

import requests
from requests import exceptions as failures
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, stop_before_delay, wait_random_exponential
from urllib3 import exceptions as transport

from missions import policies
from tradeco.common import breakers
from tradeco.common.errors import DomainError
from tradeco.common.outside import VenueUnavailable, host_of

BODY_MOST_BYTES = 65_536
TRIES = 2
CONNECT_SECONDS = 3.0
WAIT_SECONDS = 0.5  # between two tries, at most
CONTENT_MOST = 8_000  # characters of an answer that are kept
TOO_MANY = 429


Exchanged = tuple[int, Mapping[str, str], str]
"""Status, headers and body of an answer."""


class VoiceRefused(DomainError):
    """A definite answer that isn't words: `why` is stable and lower-case: http_401, redirected, too_large."""

    code: ClassVar[str] = "voice_refused"
    status: ClassVar[int] = 502
    title: ClassVar[str] = "The language model's endpoint refused the request"

    def __init__(self, why: str) -> None:
        super().__init__(f"{self.title}: {why}.")
        self.why = why


class VoiceUnavailable(VenueUnavailable):
    """No usable answer came in time; `sent` says whether the endpoint may have worked for it."""

    def __init__(self, why: str, *, sent: bool, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"The language model gave no answer ({why}).", retry_after_seconds=retry_after_seconds)
        self.why, self.sent = why, sent


class _Again(Exception):
    """A try that may be made once more."""

    def __init__(self, why: str, *, sent: bool) -> None:
        super().__init__(why)
        self.why, self.sent = why, sent


@dataclass(frozen=True, slots=True)
class Came:
    """The content of an answer ("" where there is none) and its tokens, None where it doesn't say."""

    content: str
    prompt_tokens: int | None
    answer_tokens: int | None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint: `url` up to and without /chat/completions, https or plain http on this machine.

    Raises:
        ValueError: the address isn't one that may be used.
    """

    url: str
    key: str
    timeout_seconds: float

    def __post_init__(self) -> None:
        host_of(self.url)
        if urlsplit(self.url).query:
            raise ValueError("TRADECO_VOICE_URL has no query")
        self.key.encode("latin-1")  # as headers are

    def __repr__(self) -> str:
        return f"<Endpoint {self.name}>"

    @property
    def name(self) -> str:
        return host_of(self.url)

    def ask(self, body: Mapping[str, Any]) -> Came:
        """Ask for a completion; all tries together take no longer than the time-out.

        Raises:
            BreakerOpen: nothing was asked.
            VoiceUnavailable: no usable answer came.
            VoiceRefused: a definite refusal.
        """
        with breakers.guard(f"voice {self.name}", limits):
            return self._scrubbed(self._patiently(json.dumps(body, allow_nan=False).encode()))

    def _patiently(self, body: bytes) -> Came:
        deadline = time.monotonic() + self.timeout_seconds
        tries = Retrying(
            retry=retry_if_exception_type(_Again),
            stop=stop_after_attempt(TRIES) | stop_before_delay(self.timeout_seconds),
            wait=wait_random_exponential(multiplier=WAIT_SECONDS / 4, max=WAIT_SECONDS),
            reraise=True,
        )
        try:
            return tries(self._once, body, deadline)
        except _Again as again:
            why, sent = again.why, again.sent
        raise VoiceUnavailable(why, sent=sent)

    def _once(self, body: bytes, deadline: float) -> Came:
        status, headers, text = self._exchange(body, deadline)
        if status >= 500:
            raise _Again(f"http_{status}", sent=False)
        if status == TOO_MANY:
            raise VoiceUnavailable("http_429", sent=False, retry_after_seconds=_wait(headers.get("Retry-After", "")))
        if 300 <= status < 400:
            raise VoiceRefused("redirected")
        if status != 200:
            raise VoiceRefused(f"http_{status}")
        return _came(text)

    def _exchange(self, body: bytes, deadline: float) -> Exchanged:
        """One request, one whole answer within bounds; given up at the deadline, however slowly it drips."""
        return _by(deadline, partial(self._post, body, deadline))

    def _post(self, body: bytes, deadline: float) -> Exchanged:
        left = max(0.05, deadline - time.monotonic())
        fault: Exception
        try:
            with self._session().post(
                f"{self.url.rstrip('/')}/chat/completions",
                data=body,
                timeout=(min(CONNECT_SECONDS, left), left),
                allow_redirects=False,
                stream=True,
            ) as response:
                return response.status_code, response.headers, _whole(response, deadline)
        except (failures.RequestException, transport.HTTPError, OSError) as exc:
            fault = exc
        raise _as_ours(fault)

    def _session(self) -> requests.Session:
        """A new one: questions are rare, and a kept connection would be dead or another process's."""
        session = requests.Session()
        session.trust_env = False  # a forgotten HTTP_PROXY or .netrc would see, or add, what isn't theirs
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        headers = {"Accept": "application/json", "Content-Type": "application/json", "User-Agent": "tradeco"}
        session.headers.clear()
        session.headers.update(headers | ({"Authorization": f"Bearer {self.key}"} if self.key else {}))
        return session

    def _scrubbed(self, came: Came) -> Came:
        """An endpoint that says our key back to us doesn't get it stored."""
        if not self.key:
            return came
        return Came(came.content.replace(self.key, "…"), came.prompt_tokens, came.answer_tokens)


def _by(deadline: float, exchange: Callable[[], Exchanged]) -> Exchanged:
    """What an exchange gives by the deadline. Sockets bound each read and not all of them: header lines may come a
    letter at a time. Whoever is late is left to a thread of its own, and the breaker keeps their number small.
    """
    box: list[Exchanged | Exception] = []

    def run() -> None:
        try:
            box.append(exchange())
        except Exception as exc:  # noqa: BLE001  raised again by whoever waits
            box.append(exc)

    thread = Thread(target=run, name="voice", daemon=True)
    thread.start()
    thread.join(max(0.05, deadline - time.monotonic()))
    if not box:
        raise VoiceUnavailable("timed_out", sent=True)
    if isinstance(box[0], Exception):
        raise box[0]
    return box[0]


def limits() -> breakers.Limits:
    """The breaker's limits by the policy in force."""
    _, policy = policies.current()
    return breakers.Limits(
        failures=policy.breaker_failures,
        window_seconds=policy.breaker_window_seconds,
        probe_after_seconds=policy.breaker_probe_after_seconds,
    )


def _whole(response: requests.Response, deadline: float) -> str:
    body = bytearray()
    while chunk := response.raw.read1(16_384, decode_content=True):
        body += chunk
        if len(body) > BODY_MOST_BYTES:
            raise VoiceRefused("too_large")
        if time.monotonic() > deadline:  # a drop of a byte each second would never time out
            raise VoiceUnavailable("timed_out", sent=True)
    return body.decode("utf-8", "replace")


def _as_ours(fault: Exception) -> Exception:
    match fault:
        case failures.SSLError() | failures.InvalidURL() | failures.InvalidHeader() | transport.SSLError():
            return VoiceRefused("not_trusted")
        case failures.ConnectTimeout():
            return _Again("unreachable", sent=False)
        case failures.Timeout() | transport.TimeoutError() | TimeoutError():
            return VoiceUnavailable("timed_out", sent=True)
    return _Again("connection_lost", sent=isinstance(fault, transport.HTTPError))


def _came(text: str) -> Came:
    """The first choice's content and the usage of a completion; what has another shape has no content."""
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        return Came("", None, None)
    usage = _at(tree, "usage")
    content = _at(_at(_first(_at(tree, "choices")), "message"), "content")
    kept = storable(content)[:CONTENT_MOST] if isinstance(content, str) else ""
    return Came(kept, _count(_at(usage, "prompt_tokens")), _count(_at(usage, "completion_tokens")))


def storable(text: str) -> str:
    """Without what the database can't hold: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def _at(tree: Any, name: str) -> Any:
    return tree.get(name) if isinstance(tree, dict) else None


def _first(tree: Any) -> Any:
    return tree[0] if isinstance(tree, list) and tree else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1_000_000 else None


def _wait(after: str) -> float | None:
    return float(after) if after.isascii() and after.isdigit() and len(after) < 7 else None
