"""What happened, in an order that no reader misses.

Writers append in their own transaction (`emit`). Identity values commit out of order, so a reader that asked
for `key > last` would skip a late committer; therefore rows get their public number after commit, from
whoever tails first (`number_new`), one numberer at a time. Readers ask for `number > after` (`read_after`).
Pushing events to browsers is the dashboard's affair.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import connection
from django.db.models import Max

from tradeco.common import db
from tradeco.common.models import Event

NUMBERED_AT_ONCE = 5_000  # bounds one statement; a longer backlog takes several looks
_NUMBERING_LOCK = 0x7472_6164  # "trad": the advisory lock that lets one session number at a time


def emit(*, kind: str, subject: str, now: datetime, agent: str = "", data: dict[str, Any] | None = None) -> Event:
    """Append an event in the caller's transaction.

    Args:
        kind: one of `EventKind`.
        subject: what it is about, such as `proposal:42`.
        now: when it happened.
        agent: key of the agent that acted, if one did.
        data: JSON values; money as decimal strings with their unit in the field's name.
    """
    db.requires_transaction()
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    return Event.objects.create(kind=kind, subject=subject, agent=agent, data=data or {}, at=now, request_id=request_id)


def number_new() -> int:
    """Number the committed events that have none yet; how many were numbered.

    Returns 0 at once when another session is numbering. The lock is taken in a statement of its own: under
    READ COMMITTED the numbering statement then sees everything that the previous numberer committed.
    """
    if not Event.objects.filter(number__isnull=True).exists():
        return 0
    with db.transaction(), connection.cursor() as cursor:
        if not db.try_advisory_lock(_NUMBERING_LOCK):
            return 0
        cursor.execute(_NUMBER, [NUMBERED_AT_ONCE])
        return int(cursor.rowcount)


_NUMBER = """
WITH fresh AS (
  SELECT key, row_number() OVER (ORDER BY key) AS place
  FROM (SELECT key FROM common_event WHERE number IS NULL ORDER BY key LIMIT %s) unnumbered
), newest AS (SELECT coalesce(max(number), 0) AS number FROM common_event)
UPDATE common_event SET number = newest.number + fresh.place
FROM fresh, newest WHERE common_event.key = fresh.key
"""


def read_after(after: int, *, limit: int, kinds: Sequence[str] | None = None) -> list[Event]:
    """The numbered events after a cursor, oldest first; each is seen once by whoever keeps the cursor."""
    found = Event.objects.filter(number__gt=after)
    if kinds is not None:
        found = found.filter(kind__in=kinds)
    return list(found.order_by("number")[:limit])


def newest_number() -> int:
    """The public id of the newest numbered event, 0 when there is none."""
    return Event.objects.aggregate(newest=Max("number"))["newest"] or 0


def as_json(event: Event) -> dict[str, Any]:
    """An event as the API, the websocket and the pages show it."""
    return {
        "id": event.number,
        "kind": event.kind,
        "at": event.at.isoformat().replace("+00:00", "Z"),
        "subject": event.subject,
        "agent": event.agent,
        "data": event.data,
    }


def prune(*, now: datetime, limit: int, retention: timedelta) -> int:
    """Delete the oldest events beyond their retention; the newest row stays, since numbers count on from it."""
    with db.transaction():
        newest = newest_number()
        doomed = Event.objects.filter(at__lt=now - retention, number__lt=newest).order_by("at").values("key")[:limit]
        deleted, _ = Event.objects.filter(key__in=list(doomed.values_list("key", flat=True))).delete()
    return deleted
