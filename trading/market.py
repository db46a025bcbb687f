"""The market process: prices in, stops watched, stale work swept, the heartbeat's metronome. One active, under a lease.

Every write is fenced by the lease, so a process that was paused and replaced changes nothing.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from missions import heartbeat, policies, rescue
from missions.execution import worker_name
from missions.policy_keys import Policy
from tradeco.common import db, doorbell, events, leases, pulses
from tradeco.common.leases import Held, LeaseLost
from tradeco.common.vocabulary import EventKind
from trading import feeds, stops
from trading.feeds import Candles
from trading.models import Candle, Feed, Market
from trading.pricepath import Bar

log = structlog.get_logger(__name__)

LEASE = "market"
LEASE_SECONDS = 10.0
TICK_SECONDS = 0.5
STANDBY_SECONDS = 1.0
PRICES_EVERY_SECONDS = 5.0  # price events; pages need no more
RING_APART_SECONDS = 3.0  # between two rings for the same beat
SILENT_SECONDS = 20.0


def run(*, stopping: Callable[[], bool]) -> None:
    """Until told to stop: take the lease or stand by, and tick. Survives a database that goes away."""
    candles = feeds.open_feed(
        seed=settings.MARKET_SEED,
        csv=settings.MARKET_CSV,
        market=settings.MARKET_NAME,
        speed=settings.MARKET_SPEED,
    )
    while not stopping():
        try:
            held = leases.acquire(LEASE, holder=worker_name(), seconds=LEASE_SECONDS)
            if held is None:
                time.sleep(STANDBY_SECONDS)
                continue
            _serve(Loop(candles, held), stopping=stopping)
        except LeaseLost:
            log.warning("Another market process took over.", action="market_lease_lost")
        except DatabaseError as exc:
            log.warning("The database is away; trying again.", action="database_away", why=str(exc).strip())
            connection.close()
            time.sleep(STANDBY_SECONDS)


def _serve(loop: "Loop", *, stopping: Callable[[], bool]) -> None:
    loop.open()
    while not stopping():
        begun = time.monotonic()
        loop.tick(now=db.now())
        time.sleep(max(0.05, TICK_SECONDS - (time.monotonic() - begun)))
    leases.release(loop.held)


class Loop:
    """The active market process: what it did last, so that each duty comes at its own cadence."""

    def __init__(self, candles: Candles, held: Held) -> None:
        self.candles = candles
        self.held = held
        self._last: dict[str, datetime] = {}

    def open(self) -> None:
        """Make sure that the company's prices are ours to go on with.

        Raises:
            FeedChanged: it was opened with another source.
        """
        now = db.now()
        with db.transaction():
            leases.fence(self.held)
            feed = Feed.objects.get()
            feeds.require_same(self.candles, feed)
            events.emit(
                kind=EventKind.MARKET_OPENED,
                subject="market",
                now=now,
                data={"source": feed.source, "holder": self.held.holder},
            )

    def tick(self, *, now: datetime) -> None:
        """One look: new candles, stops, and whatever is due."""
        leases.renew(self.held)
        _, policy = policies.current()
        stored = self.store(now=now)
        if stored:
            stops.run(now=now, limit=100)
        if stored and self._due("prices", PRICES_EVERY_SECONDS - TICK_SECONDS, now=now):
            self._announce(now=now)
        if self._due("sweep", policy.sweep_seconds, now=now):
            pulses.beat("market", now=now)
            rescue.run(now=now, limit=100)
            doorbell.ring()
        self._metronome(policy, now=now)

    def store(self, *, now: datetime) -> int:
        """Store the candles that are due and the prices that follow from them; how many."""
        feed = Feed.objects.get()
        if feed.ended_at is not None:
            return 0
        bars, last = self.candles.due(feed, now=now)
        if not bars and not last:
            return 0
        with db.transaction():
            leases.fence(self.held)
            _write(bars, feed, now=now)
            if last:
                _end(feed, now=now)
        return len(bars)

    def _announce(self, *, now: datetime) -> None:
        prices = Market.objects.values_list("name", "price")
        with db.transaction():
            leases.fence(self.held)
            events.emit(
                kind=EventKind.MARKET_PRICES,
                subject="market",
                now=now,
                data={"prices_usd": {name: f"{price.normalize():f}" for name, price in prices if price}},
            )

    def _metronome(self, policy: Policy, *, now: datetime) -> None:
        """django-q's scheduler can't tick as fast as a demo beats; so whoever looks each half second rings."""
        if heartbeat.is_due(policy=policy, now=now) and self._due("ring", RING_APART_SECONDS, now=now):
            doorbell.ring_for_a_beat()

    def _due(self, duty: str, every_seconds: float, *, now: datetime) -> bool:
        last = self._last.get(duty)
        if last is not None and now - last < timedelta(seconds=every_seconds):
            return False
        self._last[duty] = now
        return True


def readiness() -> tuple[bool, str]:
    """Whether prices arrive: the lease is held, and its holder gave a sign of life."""
    newest = pulses.newest("market")
    if newest is None:
        return False, "no market process has shown up yet"
    silent = (db.now() - newest).total_seconds()
    _, policy = policies.current()
    return silent <= policy.sweep_seconds + SILENT_SECONDS, f"last sign of life {silent:.0f} s ago"


def prune(*, now: datetime, limit: int, retention: timedelta) -> int:
    """Delete the oldest candles beyond their retention, by when we had them."""
    doomed = Candle.objects.filter(received_at__lt=now - retention).order_by("received_at")[:limit]
    deleted, _ = Candle.objects.filter(pk__in=list(doomed.values_list("pk", flat=True))).delete()
    return deleted


def _write(bars: Sequence[Bar], feed: Feed, *, now: datetime) -> None:
    Candle.objects.bulk_create([_candle(bar, now=now) for bar in bars], ignore_conflicts=True)
    newest: dict[str, Bar] = {bar.market: bar for bar in bars}
    for name, bar in newest.items():
        Market.objects.filter(pk=name).update(price=bar.close, price_at=_end_of(bar), received_at=now)
    changes: dict[str, Any] = {"read": feed.read + len(bars)}
    if newest:
        changes["market_time"] = max(_end_of(bar) for bar in newest.values())
    Feed.objects.filter(pk=feed.pk).update(**changes)


def _end(feed: Feed, *, now: datetime) -> None:
    """The file is at its end: no entries any more; stops close what is open."""
    Feed.objects.filter(pk=feed.pk).update(ended_at=now)
    Market.objects.update(open=False)
    events.emit(kind=EventKind.MARKET_ENDED, subject="market", now=now, data={"source": feed.source})


def _candle(bar: Bar, *, now: datetime) -> Candle:
    return Candle(
        market_id=bar.market,
        start=bar.start,
        seconds=bar.seconds,
        open=bar.open,
        high=bar.high,
        low=bar.low,
        close=bar.close,
        volume=bar.volume,
        received_at=now,
    )


def _end_of(bar: Bar) -> datetime:
    return bar.start + timedelta(seconds=bar.seconds)
