"""The world's prices: the only owner of the price, with its memory in a journal.

Every candle has a running number over all markets, so that a reader asks for what came after the last it knows.
The price of a market is its newest candle's close, unless it is pinned. While pinned, candles close at the pin.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any

from trading.pricepath import Bar
from trading.sandbox.errors import SourceChanged, UnknownMarket
from trading.sandbox.journal import Journal
from trading.sources import PriceSource, Progress

BARS_KEPT = 5_000
PAGE_MAX = 1_000
COMPACT_AFTER = 4 * BARS_KEPT  # appended candles; the journal of a sandbox that is left on stays small


@dataclass(frozen=True, slots=True)
class Numbered:
    number: int
    bar: Bar


class PriceBook:
    """Thread-safe. `advance` once before anything is asked: it draws the history that a market begins with."""

    def __init__(self, source: PriceSource, folder: Path | None = None) -> None:
        """Raises SourceChanged: the folder's candles came from another source."""
        self.source = source
        self.ended = False
        self._lock = threading.RLock()
        self._bars: deque[Numbered] = deque(maxlen=BARS_KEPT)
        self._newest: dict[str, Bar] = {}
        self._pins: dict[str, Decimal] = {}
        self._number = 0
        self._appended = 0
        self._journal = Journal(folder / "prices.journal" if folder else None)
        try:
            self._recall()
        except SourceChanged:
            self._journal.close()
            raise
        self._compact()

    def advance(self, now: datetime) -> int:
        """Take in what is due by now; returns how many candles came."""
        with self._lock:
            if self.ended:
                return 0
            bars, self.ended = self.source.due(Progress(self._number, self._newest), now=now)
            records = [self._take(self._pinned(bar)) for bar in bars]
            if records:
                self._journal.append(records, sync=False)
                self._appended += len(records)
                if self._appended > COMPACT_AFTER:
                    self._compact()
            return len(records)

    def price(self, market: str) -> Decimal:
        """USD per whole token.

        Raises:
            UnknownMarket: there is no such market, or no candle of it yet.
        """
        with self._lock:
            pin = self._pins.get(market)
            if pin is not None:
                return pin
            newest = self._newest.get(market)
            if newest is None:
                raise UnknownMarket(market)
            return newest.close

    def pin(self, market: str, price: Decimal | None) -> None:
        """Hold a market's price from now on; None lets it go on with its source.

        Raises:
            UnknownMarket: there is no such market.
        """
        with self._lock:
            if market not in self.source.markets:
                raise UnknownMarket(market)
            if price is None:
                self._pins.pop(market, None)
            else:
                self._pins[market] = price
            self._journal.append([{"k": "pin", "market": market, "price": None if price is None else str(price)}])

    def page(self, *, after: int, limit: int) -> tuple[list[Numbered], bool]:
        """Candles numbered above `after`, oldest first; and whether no other will ever come."""
        with self._lock:
            first = self._bars[0].number if self._bars else 0
            skip = max(0, after + 1 - first)
            found = list(islice(self._bars, skip, skip + min(limit, PAGE_MAX)))
            return found, self.ended

    def change(self, market: str) -> float:
        """Per cent since the oldest kept candle of the market."""
        with self._lock:
            oldest = next((item.bar.open for item in self._bars if item.bar.market == market), None)
            return float((self.price(market) / oldest - 1) * 100) if oldest else 0.0

    @property
    def last_number(self) -> int:
        return self._number

    def close(self) -> None:
        with self._lock:
            self._journal.close()

    def _pinned(self, bar: Bar) -> Bar:
        pin = self._pins.get(bar.market)
        if pin is None:
            return bar
        newest = self._newest.get(bar.market)
        opening = newest.close if newest else pin
        return replace(bar, open=opening, close=pin, high=max(opening, pin), low=min(opening, pin))

    def _take(self, bar: Bar) -> dict[str, Any]:
        self._number += 1
        self._remember(Numbered(self._number, bar))
        return _record(Numbered(self._number, bar))

    def _remember(self, item: Numbered) -> None:
        self._bars.append(item)
        self._newest[item.bar.market] = item.bar

    def _recall(self) -> None:
        for _, record in self._journal.records():
            match record["k"]:
                case "source":
                    self._require_same(record["name"])
                    self._number = record["read"]
                case "bar":
                    item = _numbered(record)
                    self._remember(item)
                    self._number = item.number
                case "pin":
                    self._pins.pop(record["market"], None)
                    if record["price"] is not None:
                        self._pins[record["market"]] = Decimal(record["price"])

    def _require_same(self, name: str) -> None:
        if name != self.source.name:
            raise SourceChanged(
                f"This sandbox's prices come from {name}, but {self.source.name} is asked for."
                " Start another sandbox with its own folder."
            )

    def _compact(self) -> None:
        self._journal.rewrite(self._essence())
        self._appended = 0

    def _essence(self) -> Iterator[dict[str, Any]]:
        yield {"k": "source", "name": self.source.name, "read": self._number}
        for item in self._bars:
            yield _record(item)
        for market, price in self._pins.items():
            yield {"k": "pin", "market": market, "price": str(price)}


def as_json(item: Numbered) -> dict[str, Any]:
    """A candle as `/candles` shows it: prices and volume as strings, the start in RFC 3339."""
    bar = item.bar
    return {
        "number": item.number,
        "market": bar.market,
        "start": bar.start.isoformat().replace("+00:00", "Z"),
        "seconds": bar.seconds,
        "open": str(bar.open),
        "high": str(bar.high),
        "low": str(bar.low),
        "close": str(bar.close),
        "volume": str(bar.volume),
    }


def _record(item: Numbered) -> dict[str, Any]:
    return {"k": "bar", **as_json(item)}


def _numbered(record: dict[str, Any]) -> Numbered:
    figures = {name: Decimal(record[name]) for name in ("open", "high", "low", "close", "volume")}
    start = datetime.fromisoformat(record["start"])
    return Numbered(record["number"], Bar(record["market"], start, record["seconds"], **figures))
