"""What came back over HTTP: the whole of it within bounds, its JSON, its error, and when it says to come back."""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any

import requests

BODY_MOST_BYTES = 5_000_000  # a thousand candles are 0.2 MB; what is larger would only fill our memory
EXPONENT_MOST = 400  # a number such as 1e999999999 would take gigabytes to be written out
REQUEST_IDS = ("x-api-gateway-request-id", "x-request-id")


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whole. `request_id` is theirs, for their support; empty when they gave none."""

    status: int
    headers: Mapping[str, str]
    text: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Fault:
    """No answer: why, and whether asking again could help."""

    why: str
    again: bool


def whole(response: requests.Response, deadline: float) -> Answer | Fault:
    body = bytearray()
    while chunk := response.raw.read1(65_536, decode_content=True):
        body += chunk
        if len(body) > BODY_MOST_BYTES:
            return Fault("too_large", again=False)
        if time.monotonic() > deadline:  # a drop of a byte each second would never time out
            return Fault("timed_out", again=True)
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return Fault("cut_off", again=True)
    request_id = next((response.headers[name] for name in REQUEST_IDS if name in response.headers), "")
    return Answer(response.status_code, response.headers, text, re.sub(r"[^\w:.-]", "", request_id)[:80])


def read_json(text: str) -> Any:
    """JSON with Decimals for every number that isn't whole.

    NaN and Infinity, which JSON doesn't have but servers write, become Decimals too: each reader refuses them where
    they stand, so that one bad number isn't a bad page.

    Raises:
        ValueError: it is none, or only a part of it.
    """
    try:
        return json.loads(text, parse_float=_decimal, parse_constant=Decimal)
    except (ValueError, ArithmeticError, RecursionError):
        pass  # the exception holds the whole text
    raise ValueError("this isn't JSON")


@dataclass(frozen=True, slots=True)
class Tree:
    value: Any


def tree_of(answer: Answer) -> Tree | None:
    try:
        return Tree(read_json(answer.text))
    except ValueError:
        return None


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if abs(number.adjusted()) > EXPONENT_MOST:
        raise ValueError("a number beyond all sense")
    return number


def error_in(tree: dict[str, Any]) -> tuple[str, str]:
    """Code and words of an error, in the shapes that Jupiter, gateways and JSON-RPC give them."""
    inner = tree["error"] if isinstance(tree.get("error"), dict) else tree
    codes = [inner.get(name) for name in ("errorCode", "code")]
    words = [inner.get(name) for name in ("message", "errorMessage", "error")]
    code = next((str(value) for value in codes if isinstance(value, str | int)), "")
    return code, next((value for value in words if isinstance(value, str)), "")


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until we may come back: Retry-After (seconds or a date), else x-ratelimit-reset (epoch seconds).

    Moments are measured by the answer's own Date where it has one, so that our clock needn't agree with theirs.
    """
    here = _date(headers.get("Date", "")) or time.time()
    if after := headers.get("Retry-After", "").strip():
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", after):
            return float(after)
        if (moment := _date(after)) is not None:
            return max(0.0, moment - here)
    reset = headers.get("x-ratelimit-reset", "").strip()
    if not re.fullmatch(r"[0-9]{1,13}(\.[0-9]{1,9})?", reset):
        return None
    moment = float(reset)
    if moment > 1e11:  # some gateways count milliseconds
        moment /= 1000
    return max(0.0, moment - here) if moment > 1e8 else moment  # and some the seconds that are left


def _date(text: str) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
