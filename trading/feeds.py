"""Where candles come from: the seeded path, or a CSV replayed at a speed. One of them a company, for its life.

Both answer the same question: which candles are due by now that aren't stored yet? Storing them is market's affair.
"""

import time
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import structlog

from tradeco.common.errors import DomainError
from trading import csvfeed
from trading.models import Feed, Market
from trading.pricepath import DEMO_MARKETS, Bar, SeededPath

log = structlog.get_logger(__name__)

WARM_UP_BARS = 120  # history at the opening, so that signals can be computed at once
CATCH_UP_BARS = 120  # after a longer rest the path goes on from here: nobody traded meanwhile
SEEDED_BAR_SECONDS = 5


class FeedChanged(DomainError):
    code = "feed_changed"
    title = "This company's prices come from another source"


class Candles(Protocol):
    source: str
    bar_seconds: int
    markets: list[str]

    def due(self, feed: Feed, *, now: datetime) -> tuple[list[Bar], bool]:
        """The candles that are due, oldest first, and whether they are the last ones."""


class Seeded:
    """Generated from a seed, running with the clock on the wall. Demo prices: they say so by their source."""

    def __init__(self, seed: int) -> None:
        self.path = SeededPath(seed, bar_seconds=SEEDED_BAR_SECONDS)
        self.source = f"seeded:{seed}"
        self.bar_seconds = SEEDED_BAR_SECONDS
        self.markets = [market.name for market in DEMO_MARKETS]

    def due(self, feed: Feed, *, now: datetime) -> tuple[list[Bar], bool]:
        closes = _last_closes(self.bar_seconds)
        if len(closes) < len(self.markets):
            history = self.path.history(until=now, bars=WARM_UP_BARS)
            return sorted((bar for bars in history.values() for bar in bars), key=_by_time), False
        found: list[Bar] = []
        for market, (start, close) in closes.items():
            found += self._after(market, start, close, now=now)
        return sorted(found, key=_by_time), False

    def _after(self, market: str, start: datetime, close: Decimal, *, now: datetime) -> list[Bar]:
        """The complete candles of a market since its last; at most CATCH_UP_BARS."""
        step = timedelta(seconds=self.bar_seconds)
        first = max(start + step, self.path.align(now) - step * CATCH_UP_BARS)
        count = (self.path.align(now) - first) // step
        return list(self.path.follow(market=market, start=first, previous_close=close, bars=max(0, count)))


class Replay:
    """The candles of a file, `speed` of them a second. The place reached is kept, so a restart goes on from it."""

    def __init__(self, path: Path, *, market: str, speed: float) -> None:
        file = csvfeed.read(path, market=market)
        self.bars = file.bars
        self.source = f"csv:{path.name}:{len(file.bars)}"
        self.bar_seconds = file.bar_seconds
        self.markets = [market]
        self.speed = speed
        self._begun: tuple[float, int] | None = None
        for bad in file.bad_rows[:20]:
            log.warning("A row of the CSV was skipped.", action="csv_row_skipped", line=bad.line, why=bad.reason)
        log.info(
            "The CSV is read.",
            action="csv_read",
            candles=len(file.bars),
            skipped=file.bad_count,
            format=file.format,
            bar_seconds=file.bar_seconds,
        )

    def due(self, feed: Feed, *, now: datetime) -> tuple[list[Bar], bool]:
        if self._begun is None:
            self._begun = time.monotonic(), max(feed.read, min(WARM_UP_BARS, len(self.bars)))
        begun, first = self._begun
        until = min(len(self.bars), first + int((time.monotonic() - begun) * self.speed))
        return self.bars[feed.read : until], until == len(self.bars)


def open_feed(*, seed: int, csv: str, market: str, speed: float) -> Candles:
    """The feed that the settings ask for.

    Raises:
        UnusableCsv: the file has no usable candle.
    """
    if csv:
        return Replay(Path(csv).expanduser(), market=market.upper(), speed=speed)
    return Seeded(seed)


def require_same(candles: Candles, feed: Feed) -> None:
    """Prices of two worlds don't mix in one company.

    Raises:
        FeedChanged: the company was opened with another source.
    """
    if feed.source != candles.source:
        raise FeedChanged(
            f"This company trades on {feed.source}, but the settings ask for {candles.source}."
            " Start another company with its own folder: set TRADECO_HOME."
        )


def _last_closes(bar_seconds: int) -> dict[str, tuple[datetime, Decimal]]:
    """Start and close of each market's newest candle, from its price: no look at the candles needed."""
    length = timedelta(seconds=bar_seconds)
    return {
        market.name: (market.price_at - length, market.price)
        for market in Market.objects.all()
        if market.price is not None and market.price_at is not None
    }


def _by_time(bar: Bar) -> tuple[datetime, str]:
    return bar.start, bar.market
