"""An act that is sent twice happens once: key, fingerprint and answer are written in the act's own transaction.

The key's row goes in first. A twin waits on it (as long as the session's lock_timeout lets it), then replays the
stored answer. An act that was refused leaves no row behind, so it may be sent again.
"""

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, connection
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.permissions import person
from dashboard.models import IdempotencyKey
from tradeco.common import db
from tradeco.common.errors import DomainError

REMEMBERED = timedelta(days=7)  # a client that repeats a request after this has lost its way
_ACCEPTABLE = re.compile(r"[\x20-\x7e]{1,255}")


class KeyMissing(DomainError):
    code = "idempotency_key_missing"
    status = 428
    title = "This needs an Idempotency-Key header"


class KeyMalformed(DomainError):
    code = "idempotency_key_malformed"
    status = 400
    title = "An Idempotency-Key has 1 to 255 printable ASCII characters"


class KeyInFlight(DomainError):
    code = "idempotency_key_in_flight"
    title = "A request with this Idempotency-Key is under way; send it again in a moment"


class KeyReused(DomainError):
    code = "idempotency_key_reused"
    status = 422
    title = "This Idempotency-Key was used for another request"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an act answers. `stored`, where given, is what a replay answers instead: never a secret."""

    body: dict[str, Any]
    status: int = 200
    stored: dict[str, Any] | None = None


def key_of(request: Request) -> str:
    """The request's key.

    Raises:
        KeyMissing, KeyMalformed
    """
    key: str | None = request.headers.get("Idempotency-Key")
    if key is None:
        raise KeyMissing("Send a fresh Idempotency-Key (a UUID, say) with each act, the same when you repeat it.")
    if not _ACCEPTABLE.fullmatch(key):
        raise KeyMalformed
    return key


def once(request: Request, act: Callable[[datetime], Answer]) -> Response:
    """Run `act` in a transaction together with its key, or replay what it answered before.

    `act` gets the moment and runs again as a whole when it lost to contention.

    Raises:
        KeyMissing, KeyMalformed, KeyInFlight, KeyReused, and whatever `act` raises.
    """
    key, fingerprint = key_of(request), _fingerprint(request)
    answer: Response = db.patiently(_act_once, person(request).pk, key, fingerprint, act)
    return answer


def _act_once(user_id: int, key: str, fingerprint: str, act: Callable[[datetime], Answer]) -> Response:
    with db.transaction():
        now = db.now()
        if not _take(user_id, key, fingerprint, now=now):
            return _replay(user_id, key, fingerprint)
        answer = act(now)
        IdempotencyKey.objects.filter(user_id=user_id, key=key).update(**_stored(answer))
    return Response(answer.body, status=answer.status)


def replay(request: Request) -> Response | None:
    """What a request that was carried out before answered then; None for a new one.

    For an act that must ask somebody outside before its transaction: a repeated request needs no asking.
    """
    key, fingerprint, user_id = key_of(request), _fingerprint(request), person(request).pk
    known = IdempotencyKey.objects.filter(user_id=user_id, key=key).exists()
    return _replay(user_id, key, fingerprint) if known else None


def once_remembered(request: Request, act: Callable[[], Answer]) -> Response:
    """For an act of many transactions of its own: the answer is stored after it.

    Killed in between, the act is not remembered, and a repeated request runs it again; so this is only for acts
    that may run twice (a heartbeat, which its lease keeps apart).
    """
    key, fingerprint = key_of(request), _fingerprint(request)
    user_id = person(request).pk
    if IdempotencyKey.objects.filter(user_id=user_id, key=key).exists():
        return _replay(user_id, key, fingerprint)
    answer = act()
    with db.transaction():
        if _take(user_id, key, fingerprint, now=db.now()):
            IdempotencyKey.objects.filter(user_id=user_id, key=key).update(**_stored(answer))
    return Response(answer.body, status=answer.status)


def prune(*, now: datetime, limit: int, retention: timedelta) -> int:
    """Forget answers so old that nobody repeats their request any more."""
    doomed = IdempotencyKey.objects.filter(created_at__lt=now - min(retention, REMEMBERED)).order_by("created_at")
    deleted, _ = IdempotencyKey.objects.filter(pk__in=list(doomed.values_list("pk", flat=True)[:limit])).delete()
    return deleted


def _take(user_id: int, key: str, fingerprint: str, *, now: datetime) -> bool:
    """Insert the key's row; False where it stands. Waits for a twin that has inserted it and not committed."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO dashboard_idempotencykey (user_id, key, fingerprint, status, body, created_at)"
                " VALUES (%s, %s, %s, 0, '{}', %s) ON CONFLICT (user_id, key) DO NOTHING",
                [user_id, key, fingerprint, now],
            )
            return bool(cursor.rowcount)
    except OperationalError as exc:
        if db.is_contention(exc):
            raise KeyInFlight from exc
        raise


def _replay(user_id: int, key: str, fingerprint: str) -> Response:
    row = IdempotencyKey.objects.filter(user_id=user_id, key=key).first()
    if row is None:
        raise KeyInFlight  # it was pruned between our two looks
    if row.fingerprint != fingerprint:
        raise KeyReused("Use a fresh key, or send the first request unchanged.")
    return Response(row.body, status=row.status, headers={"Idempotency-Replayed": "true"})


def _stored(answer: Answer) -> dict[str, Any]:
    return {"status": answer.status, "body": answer.body if answer.stored is None else answer.stored}


def _fingerprint(request: Request) -> str:
    """Method, path and body; the order of keys and white space don't make another request."""
    body = json.dumps(request.data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{request.method} {request.path}\n{body}".encode()).hexdigest()
