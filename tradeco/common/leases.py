"""Who may do a thing that only one may do. What is done under a lease is the holder's affair.

Times are the database's `clock_timestamp()`: `now()` is the start of the transaction and would stretch a lease.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection

from tradeco.common import db
from tradeco.common.errors import DomainError
from tradeco.common.models import Lease

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class LeaseLost(DomainError):
    code = "lease_lost"
    title = "Another process took this over"


@dataclass(frozen=True, slots=True)
class Held:
    """A lease in hand. `epoch` rises with each change of hands and fences the loser out."""

    name: str
    holder: str
    epoch: int
    seconds: float


def acquire(name: str, *, holder: str, seconds: float) -> Held | None:
    """Take a lease that is free or has run out; None, without waiting, when somebody has it."""
    if not Lease.objects.filter(name=name).exists():
        Lease.objects.bulk_create([Lease(name=name, expires_at=_LONG_AGO)], ignore_conflicts=True)
    with connection.cursor() as cursor:
        # SKIP LOCKED: of a hundred that come at once, the losers leave instead of queueing on the row
        cursor.execute(
            "UPDATE common_lease SET holder = %s, epoch = epoch + 1, acquired_at = clock_timestamp(),"
            " expires_at = clock_timestamp() + make_interval(secs => %s)"
            " WHERE name IN (SELECT name FROM common_lease WHERE name = %s"
            " AND expires_at <= clock_timestamp() FOR UPDATE SKIP LOCKED) RETURNING epoch",
            [holder, seconds, name],
        )
        row = cursor.fetchone()
    return Held(name=name, holder=holder, epoch=row[0], seconds=seconds) if row else None


def renew(held: Held) -> None:
    """Keep a lease for another term from now.

    Raises:
        LeaseLost: it ran out and was taken, or was taken back; stop at once.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE common_lease SET expires_at = clock_timestamp() + make_interval(secs => %s)"
            " WHERE name = %s AND epoch = %s AND expires_at > clock_timestamp()",
            [held.seconds, held.name, held.epoch],
        )
        if cursor.rowcount != 1:
            raise LeaseLost(f"{held.holder} no longer holds {held.name}")


def fence(held: Held) -> None:
    """Make sure, until the caller's transaction ends, that the lease is still ours.

    The shared row lock holds back whoever wants to take over until we have committed.

    Raises:
        LeaseLost: it isn't ours any more; the transaction must not commit.
    """
    db.requires_transaction()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1 FROM common_lease WHERE name = %s AND epoch = %s AND expires_at > clock_timestamp() FOR SHARE",
            [held.name, held.epoch],
        )
        if cursor.fetchone() is None:
            raise LeaseLost(f"{held.holder} no longer holds {held.name}")


def release(held: Held) -> None:
    """Give a lease back early; nothing happens when it was lost already."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE common_lease SET expires_at = clock_timestamp(), holder = '' WHERE name = %s AND epoch = %s",
            [held.name, held.epoch],
        )
