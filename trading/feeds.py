"""Where the company's prices come from, one source for its life: computed here, read from a sandbox, asked of Jupiter.

All answer the same question: what is new that isn't stored yet? Storing it is market's affair. Which feed a deployment
has is settings' (`FEED`); a feed that asks over the network may raise VenueUnavailable.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import structlog
from django.conf import settings

from tradeco.common.errors import DomainError
from tradeco.common.outside import VenueUnavailable
from tradeco.common.wiring import load
from trading import csvfeed, listing, network, sources
from trading.models import Feed as FeedRow
from trading.models import Market
from trading.pricepath import EPOCH, Bar
from trading.sources import PriceSource, Progress
from trading.venues.prices import Candles, JupiterPrices

log = structlog.get_logger(__name__)

POLL_SECONDS = 5.0  # between two questions for prices
POLLED_BAR_SECONDS = 60


class FeedChanged(DomainError):
    code = "feed_changed"
    title = "This company's prices come from another source"


@dataclass(frozen=True, slots=True)
class News:
    """What is new: complete candles, oldest first; newest prices apart from them; the place reached; the end."""

    bars: list[Bar] = field(default_factory=list)
    marks: Mapping[str, Decimal] = field(default_factory=dict)
    read: int = 0
    ended: bool = False


class Feed(Protocol):
    source: str
    bar_seconds: int
    markets: list[str]

    def news(self, row: FeedRow, *, now: datetime) -> News: ...


class Computed:
    """A source that this process computes itself: the seeded path with the clock on the wall, or a file's replay."""

    def __init__(self, source: PriceSource) -> None:
        self._source = source
        self.source = source.name
        self.bar_seconds = source.bar_seconds
        self.markets = source.markets

    def news(self, row: FeedRow, *, now: datetime) -> News:
        bars, ended = self._source.due(Progress(read=row.read, newest=_newest(self.bar_seconds)), now=now)
        return News(bars=bars, read=row.read + len(bars), ended=ended)


class Served:
    """The candles of a sandbox, numbered through: what comes after the last number stored."""

    def __init__(self, declared: Feed, client: Candles) -> None:
        self.source = declared.source
        self.bar_seconds = declared.bar_seconds
        self.markets = declared.markets
        self._client = client

    def news(self, row: FeedRow, *, now: datetime) -> News:
        page = self._client.page(after=row.read)
        if page.source != self.source:
            raise FeedChanged(f"The sandbox serves {page.source}, but the settings ask for {self.source}.")
        if page.last < row.read:
            raise VenueUnavailable(
                f"The sandbox's newest candle is number {page.last}, and the books know number {row.read}."
                " If this lasts, it is another chain than theirs: put its folder back ($TRADECO_HOME/sandbox)."
            )
        read = page.candles[-1].number if page.candles else row.read
        return News(bars=[each.bar for each in page.candles], read=read, ended=page.ended and not page.candles)


class Polled:
    """Jupiter's prices, asked every POLL_SECONDS and joined to candles of POLLED_BAR_SECONDS. Volumes are unknown.

    A candle under way when the process ends is lost: a shorter one would be a wrong one.
    """

    bar_seconds = POLLED_BAR_SECONDS

    def __init__(self, markets: list[str], client: JupiterPrices) -> None:
        self.source = "jupiter:price-v3"
        self.markets = markets
        self._client = client
        self._mints = {name: listing.mint_of(name.split("/")[0]) for name in markets}
        self._asked: datetime | None = None
        self._begun: dict[str, Bar] = {}
        self._whole: set[str] = set()  # markets whose candle under way was seen from its beginning

    def news(self, row: FeedRow, *, now: datetime) -> News:
        if self._asked is not None and now - self._asked < timedelta(seconds=POLL_SECONDS):
            return News(read=row.read)
        self._asked = now
        found = self._client.usd(list(self._mints.values()))
        marks = {name: found[mint].usd for name, mint in self._mints.items() if mint in found}
        bars = [bar for name, price in marks.items() for bar in self._join(name, price, now=now)]
        return News(bars=bars, marks=marks, read=row.read + len(bars))

    def _join(self, market: str, price: Decimal, *, now: datetime) -> list[Bar]:
        """Take a price into the market's candle; the candle before, where this one begins another."""
        seconds = timedelta(seconds=POLLED_BAR_SECONDS)
        start = EPOCH + (now - EPOCH) // seconds * seconds
        under_way = self._begun.get(market)
        if under_way is not None and under_way.start == start:
            self._begun[market] = _stretched(under_way, price)
            return []
        done = [under_way] if under_way is not None and market in self._whole else []
        if under_way is not None:
            self._whole.add(market)
        self._begun[market] = Bar(market, start, POLLED_BAR_SECONDS, price, price, price, price, Decimal(0))
        return done


def computed() -> Feed:
    """The source that TRADECO_SEED or TRADECO_MARKET_CSV name.

    Raises:
        UnusableCsv: the file has no usable candle.
    """
    if settings.MARKET_CSV:
        path, market = Path(settings.MARKET_CSV).expanduser(), settings.MARKET_NAME.upper()
        file = csvfeed.read(path, market=market)
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
        return Computed(sources.Replay(path, market=market, speed=settings.MARKET_SPEED))
    return Computed(sources.seeded(settings.MARKET_SEED))


def served() -> Feed:
    """The sandbox's candles. What it must serve follows from the same settings as the sandbox's own."""
    return Served(computed(), network.candles())


def polled() -> Feed:
    """Jupiter's prices of the markets in TRADECO_MARKETS."""
    return Polled([name.upper() for name in settings.MARKETS], network.prices())


def open_feed() -> Feed:
    """The feed of this deployment; nothing is asked over the network yet.

    Raises:
        UnusableCsv: the price file has no usable candle.
    """
    made: Feed = load(settings.FEED)()
    return made


def require_same(feed: Feed, row: FeedRow) -> None:
    """Prices of two worlds don't mix in one company.

    Raises:
        FeedChanged: the company was opened with another source.
    """
    if row.source != feed.source:
        raise FeedChanged(
            f"This company trades on {row.source}, but the settings ask for {feed.source}."
            " Start another company with its own folder: set TRADECO_HOME."
        )


def _newest(bar_seconds: int) -> dict[str, Bar]:
    """Each market's newest candle, as far as its close says: no look at the candles needed."""
    length = timedelta(seconds=bar_seconds)
    return {
        market.name: Bar(
            market.name,
            market.price_at - length,
            bar_seconds,
            open=market.price,
            high=market.price,
            low=market.price,
            close=market.price,
            volume=Decimal(0),
        )
        for market in Market.objects.all()
        if market.price is not None and market.price_at is not None
    }


def _stretched(bar: Bar, price: Decimal) -> Bar:
    return Bar(
        bar.market, bar.start, bar.seconds, bar.open, max(bar.high, price), min(bar.low, price), price, bar.volume
    )
