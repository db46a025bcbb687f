"""Leaving a place outside alone after it failed several times, in all processes at once; one row a place.

    closed     calls go through; `failures` within `window_seconds` open it
    open       calls raise BreakerOpen at once, without touching the network
    half-open  after `probe_after_seconds` one caller alone goes through: success closes it, failure opens it anew

Only VenueUnavailable is a failure: a place that refuses is there. What is written is one row on a failure and on what
follows from it, nothing on a success; what is read is one row a second in each process. The row is written outside of
any transaction of the caller, of which there may be none: nobody waits for a network with locks in his hands.
Where the database can't be asked or told, calls go through as if closed: a hiccup here never fails a call.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import Error, connection

from tradeco.common import db
from tradeco.common.errors import DomainError
from tradeco.common.models import Breaker
from tradeco.common.outside import BreakerOpen, VenueUnavailable

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0  # how old a process's knowledge of a breaker may be
FAILURES_MOST = 100  # kept a row, however many are allowed


@dataclass(frozen=True, slots=True)
class _Seen:
    """A row as this process last saw it, in its own monotonic seconds."""

    at: float
    probe_at: float | None  # None: closed


_seen: dict[str, _Seen] = {}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Limits:
    """So many failures within the window open a breaker, for so long."""

    failures: int
    window_seconds: float
    probe_after_seconds: float


@contextmanager
def guard(name: str, limits: Callable[[], Limits]) -> Iterator[None]:
    """Run a call outside under the breaker of that name. `limits` is asked where something failed, and only there.

    Raises:
        BreakerOpen: it is open; the call was not made. It says when the next probe may be tried.
    """
    assert not _inside_a_transaction(), "a call outside must not be made inside a transaction"
    probing = _admit(name, limits)
    try:
        yield
    except BreakerOpen:
        raise  # another breaker's, inside of ours: nothing was asked
    except VenueUnavailable as exc:
        if probing:
            _opened_anew(name, limits, exc.detail)
        else:
            _failed(name, limits, exc.detail)
        raise
    except DomainError:
        if probing:
            _close(name)  # refused, but answered
        raise
    if probing:
        _close(name)


def states() -> list[Breaker]:
    """Every breaker that ever met a failure, for pages and metrics."""
    return list(Breaker.objects.order_by("name"))


def forget() -> None:
    """Forget what this process has seen; the rows stay."""
    with _lock:
        _seen.clear()


def _inside_a_transaction() -> bool:
    """Whether a transaction is open, other than the one that Django's TestCase wraps around a test."""
    return any(not getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def _admit(name: str, limits: Callable[[], Limits]) -> bool:
    """Whether this caller is the probe; False while closed."""
    try:
        seen = _look(name)
        if seen.probe_at is None:
            return False
        if seen.probe_at <= time.monotonic() and _take_probe(name, limits().probe_after_seconds):
            log.info("A breaker lets one call try.", action="breaker_probed", breaker=name)
            return True
        seen = _look(name, fresh=seen.probe_at <= time.monotonic())
    except Error as exc:
        _database_is_away(name, exc)
        return False
    if seen.probe_at is None:  # closed by somebody else's probe just now
        return False
    wait = max(0.0, seen.probe_at - time.monotonic())
    raise BreakerOpen(f"{name} failed too often; next try in {wait:.0f} s.", retry_after_seconds=wait)


def _look(name: str, *, fresh: bool = False) -> _Seen:
    """The row's state, at most LOOK_SECONDS old."""
    with _lock:
        seen = _seen.get(name)
    if seen is not None and not fresh and time.monotonic() - seen.at < LOOK_SECONDS:
        return seen
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXTRACT(EPOCH FROM probe_at - clock_timestamp())::float FROM common_breaker WHERE name = %s", [name]
        )
        row = cursor.fetchone()
    return _remember(name, row[0] if row else None)


def _remember(name: str, probe_in_seconds: float | None) -> _Seen:
    now = time.monotonic()
    seen = _Seen(at=now, probe_at=None if probe_in_seconds is None else now + probe_in_seconds)
    with _lock:
        _seen[name] = seen
    return seen


def _take_probe(name: str, probe_after_seconds: float) -> bool:
    """Compare and set: of many who come when the probe is due, the database lets one through.

    Should that one die, the next probe is due after another `probe_after_seconds`.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE common_breaker SET probe_at = clock_timestamp() + make_interval(secs => %s)"
            " WHERE name = %s AND probe_at <= clock_timestamp()",
            [probe_after_seconds, name],
        )
        return bool(cursor.rowcount == 1)


def _failed(name: str, limits: Callable[[], Limits], error: str) -> None:
    """Count a failure; the one that is too many opens the breaker."""
    try:
        bounds = limits()
        with db.transaction():
            Breaker.objects.bulk_create([Breaker(name=name)], ignore_conflicts=True)
            row = Breaker.objects.select_for_update().get(name=name)
            if row.opened_at is not None:  # a call that had begun before it opened
                return
            now = db.now()
            recent = [at for at in row.failures if at > now - timedelta(seconds=bounds.window_seconds)]
            row.failures, row.last_error = [*recent, now][-FAILURES_MOST:], error[:200]
            opens = len(recent) + 1 >= bounds.failures
            if opens:
                _open(row, now, bounds)
            row.save()
    except Error as exc:
        _database_is_away(name, exc)
        return
    if opens:
        _remember(name, bounds.probe_after_seconds)
        log.warning("A breaker opened.", action="breaker_opened", breaker=name, failures=bounds.failures, error=error)


def _opened_anew(name: str, limits: Callable[[], Limits], error: str) -> None:
    try:
        bounds = limits()
        with db.transaction():
            row = Breaker.objects.select_for_update().filter(name=name, opened_at__isnull=False).first()
            if row is None:  # another probe closed it meanwhile
                return
            _open(row, db.now(), bounds)
            row.last_error = error[:200]
            row.save()
    except Error as exc:
        _database_is_away(name, exc)
        return
    _remember(name, bounds.probe_after_seconds)
    log.info("A breaker's probe failed.", action="breaker_probe_failed", breaker=name, error=error)


def _open(row: Breaker, now: datetime, bounds: Limits) -> None:
    row.failures, row.opened_at, row.probe_at = [], now, now + timedelta(seconds=bounds.probe_after_seconds)


def _close(name: str) -> None:
    try:
        Breaker.objects.filter(name=name).update(failures=[], opened_at=None, probe_at=None)
    except Error as exc:
        _database_is_away(name, exc)
        return
    _remember(name, None)
    log.info("A breaker closed.", action="breaker_closed", breaker=name)


def _database_is_away(name: str, exc: Error) -> None:
    log.warning(
        "A breaker couldn't be read or written.", action="breaker_blind", breaker=name, error=type(exc).__name__
    )
