"""The market process: prices in, stops watched, stale work swept, the heartbeat's metronome. One active, under a lease.

Every write is fenced by the lease, so a process that was paused and replaced changes nothing.
"""

import time
from collections.abc import Callable
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
from tradeco.common.outside import VenueUnavailable
from tradeco.common.vocabulary import EventKind
from trading import feeds, reconciliation, safety, stocktaking, stops
from trading.feeds import Feed, News
from trading.models import Candle, Market
from trading.models import Feed as FeedRow
from trading.pricepath import Bar
from trading.venues.http import VenueRefused

log = structlog.get_logger(__name__)

LEASE = "market"
LEASE_SECONDS = 10.0
TICK_SECONDS = 0.5
STANDBY_SECONDS = 1.0
PRICES_EVERY_SECONDS = 5.0  # price events; pages need no more
RING_APART_SECONDS = 3.0  # between two rings for the same beat
SILENT_SECONDS = 20.0
COMPARE_EVERY_SECONDS = 1.0  # at the start, until it succeeds
TOKENS_EVERY_SECONDS = 30.0
COMPLAIN_EVERY_SECONDS = 30.0  # while no prices arrive


def run(*, stopping: Callable[[], bool]) -> None:
    """Until told to stop: take the lease or stand by, and tick. Survives a database that goes away."""
    feed = feeds.open_feed()
    while not stopping():
        try:
            held = leases.acquire(LEASE, holder=worker_name(), seconds=LEASE_SECONDS)
            if held is None:
                time.sleep(STANDBY_SECONDS)
                continue
            _serve(Loop(feed, held), stopping=stopping)
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

    def __init__(self, feed: Feed, held: Held) -> None:
        self.feed = feed
        self.held = held
        self._last: dict[str, datetime] = {}
        self._began = db.now()
        self._compared = False

    def open(self) -> None:
        """Make sure that the company's prices are ours to go on with.

        Raises:
            FeedChanged: it was opened with another source.
        """
        now = db.now()
        with db.transaction():
            leases.fence(self.held)
            row = FeedRow.objects.get()
            feeds.require_same(self.feed, row)
            events.emit(
                kind=EventKind.MARKET_OPENED,
                subject="market",
                now=now,
                data={"source": row.source, "holder": self.held.holder},
            )

    def tick(self, *, now: datetime) -> None:
        """One look: new candles, stops, and whatever is due."""
        leases.renew(self.held)
        _, policy = policies.current()
        stored = self.store(now=now)
        if stored:
            stops.run(now=now, limit=100)
        self._look_at_chain(now=now)
        if stored and self._due("prices", PRICES_EVERY_SECONDS - TICK_SECONDS, now=now):
            self._announce(now=now)
        if self._due("sweep", policy.sweep_seconds, now=now):
            pulses.beat("market", now=now)
            rescue.run(now=now, limit=100)
            doorbell.ring()
        self._metronome(policy, now=now)

    def store(self, *, now: datetime) -> int:
        """Store the candles that are due and the newest prices; how many prices are new."""
        row = FeedRow.objects.get()
        if row.ended_at is not None:
            return 0
        try:
            news = self.feed.news(row, now=now)
        except (VenueUnavailable, VenueRefused) as away:  # a lapsed key too: stops, sweep and metronome go on
            if self._due("complaint", COMPLAIN_EVERY_SECONDS, now=now):
                log.warning("No prices arrive.", action="prices_away", why=away.detail)
            return 0
        if not news.bars and not news.marks and not news.ended:
            return 0
        with db.transaction():
            leases.fence(self.held)
            _write(news, row, now=now)
            if news.ended:
                _end(row, now=now)
        return len(news.bars) + len(news.marks)

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

    def _look_at_chain(self, *, now: datetime) -> None:
        """Compare books and chain until it succeeds once, which opens the books; afterwards each beat does."""
        if settings.NETWORK == "paper":
            return
        if not self._compared and self._due("compare", COMPARE_EVERY_SECONDS, now=now):
            reconciliation.run(now=now, limit=100)
            self._compared = stocktaking.compared_since(self._began)
        if self._due("tokens", TOKENS_EVERY_SECONDS, now=now):
            safety.run(now=now, limit=20)

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


def _write(news: News, row: FeedRow, *, now: datetime) -> None:
    Candle.objects.bulk_create([_candle(bar, now=now) for bar in news.bars], ignore_conflicts=True)
    newest = {bar.market: (bar.close, _end_of(bar)) for bar in news.bars}
    newest |= {name: (price, now) for name, price in news.marks.items()}
    for name, (price, at) in newest.items():
        Market.objects.filter(pk=name).update(price=price, price_at=at, received_at=now)
    changes: dict[str, Any] = {"read": news.read}
    if newest:
        changes["market_time"] = max(at for _, at in newest.values())
    FeedRow.objects.filter(pk=row.pk).update(**changes)


def _end(row: FeedRow, *, now: datetime) -> None:
    """The file is at its end: no entries any more; stops close what is open."""
    FeedRow.objects.filter(pk=row.pk).update(ended_at=now)
    Market.objects.update(open=False)
    events.emit(kind=EventKind.MARKET_ENDED, subject="market", now=now, data={"source": row.source})


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
