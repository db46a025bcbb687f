"""The markets of an experiment: whose prices, from when to when, candle by candle.

A seed's market is the demo's own path (`trading.pricepath`), and a file's are its candles (`trading.csvfeed`); both
are given out by the simulated clock, the same to every company that asks.
"""

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from pathlib import Path
from typing import Protocol

from tradeco.common.errors import InvalidInput
from trading import csvfeed, feeds, sources
from trading.feeds import Feed, News
from trading.models import Feed as FeedRow
from trading.pricepath import Bar
from trading.sources import WARM_UP_BARS

FIRST_DAY = datetime(2026, 1, 5, tzinfo=UTC)  # a Monday; any would do


class Course(Protocol):
    """One market's course in time."""

    feed: Feed
    begins: datetime
    """When the company opens: it has the candles before, and trades on those after."""

    def moments(self, *, days: float) -> Iterator[datetime]:
        """When new candles are complete, until so many days later."""


class Seeded:
    """The demo's four markets by a seed. Each seed begins on a day of its own, so that what the clock calls for isn't
    the same in all of them.
    """

    def __init__(self, seed: int) -> None:
        source = sources.seeded(seed)
        self.feed: Feed = feeds.Computed(source)
        self.begins = FIRST_DAY + timedelta(days=seed)
        self._bar = timedelta(seconds=source.bar_seconds)

    def moments(self, *, days: float) -> Iterator[datetime]:
        for number in range(1, int(timedelta(days=days) / self._bar) + 1):
            yield self.begins + number * self._bar


class FromFile:
    """One market from a file's candles; the first ones are what the company knows when it opens."""

    def __init__(self, path: Path, *, market: str) -> None:
        """
        Raises:
            UnusableCsv: the file has no usable candle.
            InvalidInput: it has fewer candles than a company must know to begin with.
        """
        file = csvfeed.read(path, market=market)
        if len(file.bars) <= WARM_UP_BARS:
            raise InvalidInput(
                f"{path} has {len(file.bars)} usable candles; the company begins with {WARM_UP_BARS} and needs more."
            )
        self._bars = file.bars
        self.feed: Feed = Candles(path.name, file.bars, file.bar_seconds)
        self.begins = _end_of(file.bars[WARM_UP_BARS - 1])

    def moments(self, *, days: float) -> Iterator[datetime]:
        ends = self.begins + timedelta(days=days)
        return takewhile(lambda moment: moment <= ends, map(_end_of, self._bars[WARM_UP_BARS:]))


class Candles:
    """A file's candles as a feed: those that are complete by now and not yet stored."""

    def __init__(self, name: str, bars: list[Bar], bar_seconds: int) -> None:
        self.source = f"csv:{name}:{len(bars)}"
        self.bar_seconds = bar_seconds
        self.markets = [bars[0].market]
        self._bars = bars

    def news(self, row: FeedRow, *, now: datetime) -> News:
        until = bisect_right(self._bars, now, lo=row.read, key=_end_of)
        return News(bars=self._bars[row.read : until], read=until)


def open_course(*, seed: int, csv: str, market: str) -> Course:
    """The market of a seed; or the file's where one is named, the same for all seeds.

    Raises:
        UnusableCsv, InvalidInput: the file can't be used.
    """
    return FromFile(Path(csv), market=market) if csv else Seeded(seed)


def _end_of(bar: Bar) -> datetime:
    return bar.start + timedelta(seconds=bar.seconds)
