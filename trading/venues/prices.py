"""The world's prices: in USD per mint from Jupiter, and the candles of the markets that a sandbox serves.

A mint without a usable price is left out, for the reader to show as unpriced: it is never zero.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Annotated, Any, Self

import structlog
from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, model_validator

from trading.pricepath import Bar
from trading.venues.http import Guard, HttpClient, Patience, VenueRefused
from trading.venues.jupiter_api import JupiterApi
from trading.venues.shapes import U64, Address, Number, Shape, shaped

log = structlog.get_logger(__name__)

MINTS_MOST = 50  # a request, Jupiter's bound
CANDLES_MOST = 1000


@dataclass(frozen=True, slots=True)
class Price:
    """USD per whole token, above zero; `liquidity` in USD."""

    usd: Decimal
    decimals: int
    block_id: int | None
    liquidity: Decimal | None


class _Price(Shape):
    usd_price: Annotated[Number, Field(gt=0)]
    decimals: Annotated[int, Field(ge=0, le=18)]
    block_id: U64 | None = None
    liquidity: Annotated[Number, Field(ge=0)] | None = None


_PRICE = TypeAdapter(_Price)


class JupiterPrices(JupiterApi):
    """GET /price/v3."""

    def usd(self, mints: Sequence[str]) -> dict[str, Price]:
        """The price of each mint that has one, in requests of MINTS_MOST.

        Raises:
            VenueUnavailable, VenueRefused: see `HttpClient.read`; no part of the answer is given then.
        """
        asked = list(dict.fromkeys(mints))
        found: dict[str, Price] = {}
        for first in range(0, len(asked), MINTS_MOST):
            found |= self._some(asked[first : first + MINTS_MOST])
        return found

    def _some(self, mints: list[str]) -> dict[str, Price]:
        tree = self._http.read("GET", "/price/v3", params={"ids": ",".join(mints)})
        if not isinstance(tree, dict):
            raise VenueRefused("bad_answer", "The prices aren't an object.")
        prices = {mint: self._price(mint, tree[mint]) for mint in mints if tree.get(mint) is not None}
        return {mint: price for mint, price in prices.items() if price is not None}

    def _price(self, mint: str, tree: Any) -> Price | None:
        """One entry; what is wrong with it blinds us to this mint, not to the others."""
        try:
            found = _PRICE.validate_python(tree)
        except ValidationError as exc:
            wrong = [".".join(map(str, error["loc"])) for error in exc.errors(include_input=False)]
            log.warning("A price can't be used.", action="price_unusable", venue=self.name, mint=mint, wrong=wrong)
            return None
        return Price(usd=found.usd_price, decimals=found.decimals, block_id=found.block_id, liquidity=found.liquidity)


# --- candles --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ListedAsset:
    mint: str
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class ListedMarket:
    name: str
    base: ListedAsset
    quote: ListedAsset


@dataclass(frozen=True, slots=True)
class NumberedBar:
    """A candle and its place among all candles of all markets: what to ask for next is what comes `after` it."""

    number: int
    bar: Bar


@dataclass(frozen=True, slots=True)
class CandlePage:
    """Candles in their order. `last`: the newest number that there is; `ended`: no other will ever come after it."""

    source: str
    bar_seconds: int
    markets: tuple[ListedMarket, ...]
    candles: tuple[NumberedBar, ...]
    last: int
    ended: bool


def _decimal_text(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?", value):
        raise ValueError("a price is a string with a decimal number")
    return Decimal(value)


def _moment(value: object) -> object:
    moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    if moment is None or moment.utcoffset() is None or moment.utcoffset():
        raise ValueError("a moment is RFC 3339 in UTC")
    return moment


_Positive = Annotated[Decimal, BeforeValidator(_decimal_text), Field(gt=0)]
_Volume = Annotated[Decimal, BeforeValidator(_decimal_text), Field(ge=0)]


class _Asset(Shape):
    mint: Address
    symbol: Annotated[str, Field(pattern=r"^[A-Za-z0-9$._-]{1,20}$")]
    decimals: Annotated[int, Field(ge=0, le=18)]

    def plain(self) -> ListedAsset:
        return ListedAsset(mint=self.mint, symbol=self.symbol, decimals=self.decimals)


class _Market(Shape):
    name: Annotated[str, Field(min_length=1, max_length=41)]
    base: _Asset
    quote: _Asset

    def plain(self) -> ListedMarket:
        return ListedMarket(name=self.name, base=self.base.plain(), quote=self.quote.plain())


class _Candle(Shape):
    number: U64
    market: str
    start: Annotated[datetime, BeforeValidator(_moment)]
    seconds: int
    open: _Positive
    high: _Positive
    low: _Positive
    close: _Positive
    volume: _Volume

    @model_validator(mode="after")
    def _is_a_candle(self) -> Self:
        if not self.low <= min(self.open, self.close) <= max(self.open, self.close) <= self.high:
            raise ValueError("low and high must enclose open and close")
        return self

    def plain(self) -> NumberedBar:
        bar = Bar(
            market=self.market,
            start=self.start,
            seconds=self.seconds,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
            volume=self.volume,
        )
        return NumberedBar(number=self.number, bar=bar)


class _Page(Shape):
    # this one is ours, and written in snake_case
    source: Annotated[str, Field(min_length=1, max_length=200)]
    bar_seconds: Annotated[int, Field(ge=1, alias="bar_seconds")]
    markets: Annotated[list[_Market], Field(min_length=1)]
    candles: list[_Candle]
    last: Annotated[int, Field(ge=0)]
    ended: bool

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        names = {market.name for market in self.markets}
        if any(candle.market not in names for candle in self.candles):
            raise ValueError("a candle is of a market that isn't listed")
        if any(candle.seconds != self.bar_seconds for candle in self.candles):
            raise ValueError("a candle is of another length")
        if any(later.number <= earlier.number for earlier, later in pairwise(self.candles)):
            raise ValueError("candles come in their order")
        return self


_PAGE = TypeAdapter(_Page)


class Candles:
    """GET /candles, which the sandbox serves: the world's candles, numbered through over all markets."""

    def __init__(
        self,
        base_url: str,
        *,
        timeout_seconds: tuple[float, float] = (2, 8),
        guard: Guard | None = None,
        patience: Patience | None = None,
    ) -> None:
        self._http = HttpClient(base_url, timeout_seconds=timeout_seconds, guard=guard, patience=patience)
        self.name = self._http.name

    def page(self, *, after: int, limit: int = CANDLES_MOST) -> CandlePage:
        """The oldest candles that there still are with a number above `after`.

        Raises:
            VenueUnavailable: no usable answer came in time.
            VenueRefused: `bad_answer` where a single candle isn't one: prices with holes are worse than none.
        """
        assert 1 <= limit <= CANDLES_MOST, "ask for fewer candles at once"
        tree = self._http.read("GET", "/candles", params={"after": str(after), "limit": str(limit)})
        found = shaped(_PAGE, tree, what="candles")
        if len(found.candles) > limit or any(candle.number <= after for candle in found.candles):
            raise VenueRefused("bad_answer", "These aren't the candles asked for.")
        return CandlePage(
            source=found.source,
            bar_seconds=found.bar_seconds,
            markets=tuple(market.plain() for market in found.markets),
            candles=tuple(candle.plain() for candle in found.candles),
            last=found.last,
            ended=found.ended,
        )
