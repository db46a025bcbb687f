"""Whether this process lives, whether the company can work, and what Prometheus sees.

`/healthz` asks nothing of anybody. `/readyz` asks each part in a thread of its own and waits a bounded time: a
database that hangs is a part that is down, not a page that hangs. Strangers learn up or down per part; the
reasons are for staff and tokens. What is ready is the parts' own affair (`settings.READINESS`).
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

import django.db
import structlog
from django.conf import settings
from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from dashboard import hub, visitors
from dashboard.visitors import Answer, Visitor
from tradeco.common import db, events
from tradeco.common.errors import DomainError
from tradeco.common.models import Event
from tradeco.common.wiring import load

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 2.5  # an answer within 3 s, whatever hangs
FRESH_SECONDS = 1.0  # many who ask at once share one look
PART_MILLISECONDS = 2_000  # one statement of a look; the server ends it, so that nothing piles up there
EVENT_LAG_SECONDS = 30.0

Part = Callable[[], tuple[bool, str]]


@require_safe
def alive(request: HttpRequest) -> HttpResponse:
    """This process answers; nothing else is asked."""
    return HttpResponse("ok", content_type="text/plain")


@never_cache
@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Each part up or down; 503 names those that are down."""
    found = looker.look()
    failing = [name for name, (ok, _) in found.items() if not ok]
    told = found.get("database", (False, ""))[0] and _may_know(Visitor.of(request))
    parts = {
        name: {"status": "up" if ok else "down", **({"detail": detail} if told else {})}
        for name, (ok, detail) in found.items()
    }
    answer = {"status": "down" if failing else "up", "failing": failing, "parts": parts}
    return JsonResponse(answer, status=503 if failing else 200)


@never_cache
@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text, for tokens, staff, and this machine itself."""
    if not _comes_from_here(request) and not _may_know(Visitor.of(request)):
        answer = HttpResponse("Show a token with the scope read.\n", status=401, content_type="text/plain")
        answer["WWW-Authenticate"] = 'Bearer realm="tradeco"'
        return answer
    return HttpResponse(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


# --- the look -------------------------------------------------------------------------------------


@dataclass
class Looking:
    """One look at all parts: what is known of it so far."""

    found: dict[str, tuple[bool, str]] = field(default_factory=dict)
    done: "Future[None] | None" = None
    begun: float = field(default_factory=time.monotonic)


class Looker:
    """Looks at the parts, one look at a time: while one hangs, nobody begins another."""

    def __init__(self, *, parts: Callable[[], dict[str, Part]], patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._parts = parts
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="readiness")
        self._last: Looking | None = None

    def look(self) -> dict[str, tuple[bool, str]]:
        """Every part with its word. A part that hasn't answered in time is down."""
        looking = self._join()
        assert looking.done is not None
        finished, _ = wait([looking.done], timeout=self._patience)
        found = dict(looking.found)
        if finished:
            looking.done.result()  # our own mistakes are raised, not hidden
            return found
        for name in self._parts():
            found.setdefault(name, (False, f"no answer within {self._patience} s"))
        return found

    def _join(self) -> Looking:
        with self._lock:
            last = self._last
            fresh = last is not None and time.monotonic() - last.begun < FRESH_SECONDS
            if last is None or last.done is None or (last.done.done() and not fresh):
                last = self._last = Looking()
                last.done = self._thread.submit(self._ask_each, last)
            return last

    def _ask_each(self, looking: Looking) -> None:
        try:
            for name, part in self._parts().items():
                looking.found[name] = self._ask(part)
        finally:
            connections.close_all()  # this look's own connection, with its short limit

    @staticmethod
    def _ask(part: Part) -> tuple[bool, str]:
        try:
            return part()
        except (django.db.Error, DomainError) as exc:
            connection.close()
            return False, f"{type(exc).__name__}"


def parts() -> dict[str, Part]:
    """Name → question, in the order they are asked; those of the settings come last."""
    return {"database": database, "migrations": migrations, "events": event_tail} | {
        name: _part_of_settings(path) for name, path in settings.READINESS.items()
    }


def _part_of_settings(path: str) -> Part:
    def ask() -> tuple[bool, str]:
        ok, detail = load(path)()
        return bool(ok), str(detail)

    return ask


def database() -> tuple[bool, str]:
    """Whether it answers, and whether we may write."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, false)", [str(PART_MILLISECONDS)])
        cursor.execute("SELECT pg_is_in_recovery(), current_setting('server_version')")
        standby, version = cursor.fetchone()
    return (not standby), f"PostgreSQL {version}{', a standby that takes no writes' if standby else ''}"


def migrations() -> tuple[bool, str]:
    """Whether the database is of this program's version."""
    executor = MigrationExecutor(connection)
    missing = len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
    return missing == 0, f"{missing} not applied; run manage.py migrate" if missing else "all applied"


def event_tail() -> tuple[bool, str]:
    """Whether events get their numbers: without, no page and no trigger sees them."""
    events.number_new()
    waiting = Event.objects.filter(number__isnull=True).order_by("key").values_list("at", flat=True).first()
    lag = (db.now() - waiting).total_seconds() if waiting else 0.0
    return lag < EVENT_LAG_SECONDS, f"oldest unnumbered event is {lag:.0f} s old" if waiting else "none waits"


looker = Looker(parts=parts)


# --- who asks -------------------------------------------------------------------------------------


def _may_know(visitor: Visitor) -> bool:
    if not visitor.shows_something:
        return False
    try:
        return visitors.ask(visitor, now=db.now()) is Answer.WELCOME
    except django.db.Error:
        return False


def _comes_from_here(request: HttpRequest) -> bool:
    """A direct connection from this machine; a proxy's is somebody else's."""
    proxied = ("Forwarded", "Via", "X-Real-Ip", "X-Client-Ip", "Cf-Connecting-Ip", "True-Client-Ip")
    if any(name in proxied or name.startswith("X-Forwarded-") for name in request.headers):
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False


# --- metrics --------------------------------------------------------------------------------------


class OfTheCompany:
    """What each part of `settings.METRICS` tells; one that can't is counted, and the others are told."""

    def collect(self) -> Iterator[Metric]:
        failed = GaugeMetricFamily("tradeco_metrics_failed", "Parts that couldn't be asked", labels=["part"])
        for path in settings.METRICS:
            part: list[Metric] = []
            try:
                part = list(load(path)())
            except (django.db.Error, DomainError) as exc:
                log.warning("Metrics can't be read.", action="metrics_failed", part=path, error=type(exc).__name__)
            failed.add_metric([path], 0 if part else 1)
            yield from part
        yield failed
        seats = hub.hub.seats
        yield GaugeMetricFamily("tradeco_event_listeners", "Websocket listeners of this process", value=seats)


def _registry() -> CollectorRegistry:
    made: Any = CollectorRegistry(auto_describe=False)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=made)
    made.register(OfTheCompany())
    return made


registry = _registry()
