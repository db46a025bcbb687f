"""Words for transactions that say what is meant, and the database's clock.

The outermost operation opens a transaction; what must run inside one says so. What leaves the process waits
for the commit.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import Any, cast

from django.db import OperationalError, connection
from django.db import transaction as django_transaction
from psycopg import Cursor
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

# deadlock, lock time-out, serialisation failure: the same work may well succeed a moment later
_CONTENTION = {"40P01", "55P03", "40001"}


@contextmanager
def transaction() -> Iterator[None]:
    """Open the outermost transaction of an operation; a programming error inside another one."""
    with django_transaction.atomic(durable=True):
        yield


@contextmanager
def savepoint() -> Iterator[None]:
    """A part of a transaction that may be undone alone."""
    requires_transaction()
    with django_transaction.atomic():
        yield


@contextmanager
def one_snapshot() -> Iterator[None]:
    """Let all reads inside see one moment of the database (REPEATABLE READ).

    Inside a transaction nothing changes: what must be consistent there is locked by it.
    """
    if connection.in_atomic_block:
        yield
        return
    with django_transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield


def requires_transaction() -> None:
    """Assert that the caller has opened a transaction."""
    assert connection.in_atomic_block, "this must run inside a transaction"


def advisory_lock(number: int) -> None:
    """Wait for a lock that ends with the caller's transaction: for what is counted, where no row can be locked.

    Under READ COMMITTED each statement behind it sees what its last holder committed.
    """
    requires_transaction()
    _ask("SELECT pg_advisory_xact_lock(%s)", number)


def try_advisory_lock(number: int) -> bool:
    """The same lock without waiting: False where somebody holds it."""
    requires_transaction()
    return bool(_ask("SELECT pg_try_advisory_xact_lock(%s)", number))


def _ask(statement: str, number: int) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, [number])
        return cursor.fetchone()[0]


def run_after_commit(act: Callable[[], Any]) -> None:
    """Run `act` once the transaction is committed; a failure of it is logged, never raised to the caller."""
    django_transaction.on_commit(act, robust=True)


def now() -> datetime:
    """The database's clock, the one that leases, cooldowns and days are measured by.

    Only tasks, views, commands and loops call this; everything below takes `now`.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment


class _PreparedCursor(Cursor[Any]):
    """Binds and prepares at the server. Django's own cursor merges parameters into the text and never prepares."""

    def execute(self, query: Any, params: Any = None, **options: Any) -> "_PreparedCursor":
        return super().execute(query, params, prepare=True)


def rows_of_prepared(statement: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a hot statement whose planning costs more than its work; Django's hooks and errors stay."""
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    wrapped = cast(Any, connection)._prepare_cursor  # the one way to a cursor of another kind that keeps the hooks
    with connection.wrap_database_errors, wrapped(_PreparedCursor(connection.connection)) as cursor:
        cursor.execute(statement, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def is_contention(error: BaseException) -> bool:
    """Whether the database gave up on this work only because others were in its way."""
    return isinstance(error, OperationalError) and getattr(error.__cause__, "sqlstate", None) in _CONTENTION


def patiently(operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a whole durable operation, again when it lost to a deadlock or a lock time-out (three tries)."""
    tries = retry(
        retry=retry_if_exception(is_contention),
        wait=wait_random_exponential(multiplier=0.05, max=1.0),
        stop=stop_after_attempt(3),
        reraise=True,
    )
    return tries(partial(operation, *args, **kwargs))()
