"""Where the world's prices come from: the seeded path, a CSV replayed at a speed, or prices that stand still.

A source answers one question: which candles are due by now that the book hasn't got yet? Numbering, keeping and
pinning them is `prices`' affair.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from trading import csvfeed
from trading.pricepath import DEMO_MARKETS, EPOCH, Bar, SeededPath

WARM_UP_BARS = 120  # history at the opening, so that signals can be computed at once
CATCH_UP_BARS = 120  # after a longer rest the path goes on from here: nobody traded meanwhile
BAR_SECONDS = 5
USUAL_LIQUIDITY_USD = 400_000  # of a market that no demo market describes
LIQUIDITY_PER_TURNOVER = 16  # a pool holds that many bars' turnover: some 2 million USD for SOL
LIQUIDITY_USD = {market.name: round(market.turnover_usd * LIQUIDITY_PER_TURNOVER) for market in DEMO_MARKETS}


@dataclass(frozen=True, slots=True)
class Progress:
    """What the book has: how many candles of the file, and each market's newest candle."""

    read: int
    newest: Mapping[str, Bar]


class PriceSource(Protocol):
    name: str
    bar_seconds: int
    markets: list[str]

    def due(self, progress: Progress, *, now: datetime) -> tuple[list[Bar], bool]:
        """The candles that are due, oldest first, and whether they are the last ones."""


class WallPath(Protocol):
    """What a path that runs with the clock on the wall can do; `SeededPath` is one."""

    def align(self, moment: datetime) -> datetime: ...

    def history(self, *, until: datetime, bars: int) -> dict[str, list[Bar]]: ...

    def follow(self, *, market: str, start: datetime, previous_close: Decimal, bars: int) -> Iterator[Bar]: ...


class StillPath:
    """Prices that stand still, as a path: every candle opens and closes where the one before closed."""

    def __init__(self, prices: Mapping[str, Decimal]) -> None:
        self.prices = dict(prices)

    def align(self, moment: datetime) -> datetime:
        return EPOCH + (moment - EPOCH) // timedelta(seconds=BAR_SECONDS) * timedelta(seconds=BAR_SECONDS)

    def history(self, *, until: datetime, bars: int) -> dict[str, list[Bar]]:
        start = self.align(until) - timedelta(seconds=bars * BAR_SECONDS)
        return {
            name: list(self.follow(market=name, start=start, previous_close=price, bars=bars))
            for name, price in self.prices.items()
        }

    def follow(self, *, market: str, start: datetime, previous_close: Decimal, bars: int) -> Iterator[Bar]:
        for number in range(bars):
            begin = start + timedelta(seconds=number * BAR_SECONDS)
            price = previous_close
            yield Bar(market, begin, BAR_SECONDS, open=price, high=price, low=price, close=price, volume=Decimal(0))


class OnTheWall:
    """A path that runs with the clock on the wall, on from the last close after a rest."""

    bar_seconds = BAR_SECONDS

    def __init__(self, name: str, path: WallPath, markets: list[str]) -> None:
        self.name = name
        self.path = path
        self.markets = markets

    def due(self, progress: Progress, *, now: datetime) -> tuple[list[Bar], bool]:
        if len(progress.newest) < len(self.markets):
            history = self.path.history(until=now, bars=WARM_UP_BARS)
            return sorted((bar for bars in history.values() for bar in bars), key=_by_time), False
        found: list[Bar] = []
        for market, newest in progress.newest.items():
            found += self._after(market, newest, now=now)
        return sorted(found, key=_by_time), False

    def _after(self, market: str, newest: Bar, *, now: datetime) -> list[Bar]:
        """The complete candles of a market since its last; at most CATCH_UP_BARS."""
        step = timedelta(seconds=self.bar_seconds)
        until = self.path.align(now)
        first = max(newest.start + step, until - step * CATCH_UP_BARS)
        count = max(0, (until - first) // step)
        return list(self.path.follow(market=market, start=first, previous_close=newest.close, bars=count))


def seeded(seed: int) -> OnTheWall:
    path = SeededPath(seed, bar_seconds=BAR_SECONDS)
    return OnTheWall(f"seeded:{seed}", path, list(path.markets))


def still(prices: Mapping[str, Decimal]) -> OnTheWall:
    """Prices that only move when they are pinned elsewhere: for tests."""
    return OnTheWall("still", StillPath(prices), list(prices))


class Replay:
    """The candles of a file, `speed` of them a second. The book keeps the place, so a restart goes on from it."""

    def __init__(self, path: Path, *, market: str, speed: float) -> None:
        """Raises UnusableCsv: the file has no usable candle."""
        file = csvfeed.read(path, market=market)
        self.bars = file.bars
        self.name = f"csv:{path.name}:{len(file.bars)}"
        self.bar_seconds = file.bar_seconds
        self.markets = [market]
        self.speed = speed
        self._begun: tuple[float, int] | None = None

    def due(self, progress: Progress, *, now: datetime) -> tuple[list[Bar], bool]:
        if self._begun is None:
            self._begun = time.monotonic(), max(progress.read, min(WARM_UP_BARS, len(self.bars)))
        begun, first = self._begun
        until = min(len(self.bars), first + int((time.monotonic() - begun) * self.speed))
        return self.bars[progress.read : until], until == len(self.bars)


def _by_time(bar: Bar) -> tuple[datetime, str]:
    return bar.start, bar.market
