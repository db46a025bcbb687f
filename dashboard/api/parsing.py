"""What counts as JSON here: strictly RFC 8259, of bounded size and depth, and storable as it is.

What PostgreSQL or Python would stumble over later (NUL, lone surrogates, NaN, endless integers, nesting) is
refused here with the place of the mistake. What the values mean is the schemas' affair.
"""

import json
from collections.abc import Iterator, Mapping
from math import isfinite
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser

from tradeco.common.errors import DomainError, InvalidInput

DEPTH_MAX = 32  # the deepest valid body has six levels
KEY_MAX = 200  # characters; no key of ours is a third as long
INTEGER_MAX = 2**63 - 1  # what the database holds as an id; amounts are decimal strings


class BodyTooLarge(DomainError):
    code = "body_too_large"
    status = 413
    title = "The body is too large"


class LengthRequired(DomainError):
    """Servers differ in what they make of a body in chunks; WSGI hands on none of it."""

    code = "length_required"
    status = 411
    title = "Send the body with its Content-Length, not in chunks"


class InvalidJSON(InvalidInput):
    code = "invalid_json"
    title = "The body is not valid JSON"


class StrictJSONParser(BaseParser):
    media_type = "application/json"

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        limit = settings.API_BODY_MAX_BYTES
        raw = stream.read(limit + 1)  # whatever Content-Length says
        if len(raw) > limit:
            raise BodyTooLarge(f"A body has at most {limit} bytes.")
        return parse(raw)


def parse(raw: bytes) -> Any:
    """JSON bytes as Python values.

    Raises:
        InvalidJSON: with the place and what to write instead.
    """
    try:
        data = json.loads(
            raw.decode("utf-8"),
            parse_constant=_refuse_constant,
            parse_int=_integer,
            parse_float=_float,
            object_pairs_hook=_object,
        )
    except UnicodeDecodeError as exc:
        raise InvalidJSON(f"The body is not UTF-8 at byte {exc.start}.") from exc
    except json.JSONDecodeError as exc:
        raise InvalidJSON(f"{exc.msg} at line {exc.lineno}, column {exc.colno}.") from exc
    except RecursionError as exc:
        raise InvalidJSON(f"The body nests deeper than {DEPTH_MAX} levels.") from exc
    for pointer, text in _texts(data):
        _require_storable(pointer, text)
    return data


def _refuse_constant(name: str) -> Any:
    raise InvalidJSON(f"{name} is not a JSON number; leave the value out or write null.")


def _integer(digits: str) -> int:
    if len(digits) > 20 or abs(int(digits)) > INTEGER_MAX:
        raise InvalidJSON(f"The integer {digits[:20]}… is too large; write amounts as decimal strings.")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise InvalidJSON(f"The number {digits[:20]} is too large; write amounts as decimal strings.")
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InvalidJSON(
            "A key stands twice in one object.", errors=[{"pointer": f"/{twice}", "message": "given twice"}]
        )
    return found


Path = tuple["Path", str | int] | None
"""Where a value stands: its container's path and its key. Joined only for an error, so that a long key under which
many values stand isn't copied for each of them."""


def _texts(data: Any) -> Iterator[tuple[Path, str]]:
    """Every string in the data, keys too, with its path; refuses what nests too deep and keys that are no names."""
    waiting: list[tuple[Path, Any, int]] = [(None, data, 1)]
    while waiting:
        path, value, depth = waiting.pop()
        if isinstance(value, str):
            yield path, value
        elif isinstance(value, dict | list):
            if depth > DEPTH_MAX:
                raise InvalidJSON(f"The body nests deeper than {DEPTH_MAX} levels.")
            for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(key, str):
                    if len(key) > KEY_MAX:
                        raise InvalidJSON(f"A key is longer than {KEY_MAX} characters.")
                    yield path, key
                if isinstance(inner, str | dict | list):
                    waiting.append(((path, key), inner, depth + 1))


def _pointer(path: Path) -> str:
    parts: list[str] = []
    while path is not None:
        path, key = path
        parts.append(str(key))
    return "".join(f"/{part}" for part in reversed(parts))


def _require_storable(path: Path, text: str) -> None:
    if "\0" in text:
        raise InvalidJSON(
            "Text can't contain the NUL character.",
            errors=[{"pointer": _shown(_pointer(path)), "message": "contains the NUL character"}],
        )
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InvalidJSON(
            "Text can't contain half of a surrogate pair.",
            errors=[{"pointer": _shown(_pointer(path)), "message": "contains a lone surrogate"}],
        ) from exc


def _shown(pointer: str) -> str:
    return pointer.encode("ascii", "backslashreplace").decode()[:200]
