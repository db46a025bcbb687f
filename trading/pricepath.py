"""What the demo market's next candle is, from a seed alone. Storing and trading it is others' affair.

A pure module: no clock, no database, no generator that remembers. The randomness of a candle is a hash of
(seed, market, bar number), so the path needs nothing but the last stored close to go on after a restart, and
two processes that ask for the same candle get the same candle.

One step of a path, in logarithms of the price, per bar:

    r = drift(regime) - PULL * d * (1 + (d / FAR)^2) + sigma * factor(regime) * N(0, 1)
    d = ln(open / anchor)

Four regimes take turns of REGIME_BARS: a trend up, a trend down, a swing (mean-reverting waves) and a
breakout (a quiet coil, then a burst, which is false some of the time). Capital rotates: at each turn the four
regimes are dealt out among the markets anew, so that something happens somewhere at any time, and nowhere for
long. The turns of the markets begin apart from each other. The pull towards the anchor is an
Ornstein-Uhlenbeck term (Uhlenbeck and Ornstein 1930) that stiffens far from home: it keeps a company that is
left on for weeks in a sane range of prices.

All figures are per bar, whatever the bar's length: a market of 5-second bars moves in minutes as a real one
of 15-minute candles does in hours.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import Enum
from functools import lru_cache

REGIME_BARS = 48  # 4 minutes of 5-second bars: long enough for a trade to open and close inside one
STAGGER_BARS = 3  # a market begins its turns that much before the market after it
SIGMA = 0.0026  # per bar: a stop of 1.5 % or a profit of 2 % is some 20 to 40 bars away
TREND_DRIFT = 0.0012  # per bar, nearly half of the noise: visible to an average, not to the eye at once
SWING_AMPLITUDE = 0.016  # of a wave, one way from its middle
SWING_BARS = (18, 30)  # the shortest and the longest period of a wave
BURST_DRIFT = 0.0040  # per bar while a breakout bursts
BURST_BARS = 8
COIL_SHARE = 0.35  # of the turn is spent in the coil before the burst
FALSE_BREAKOUTS = 0.35  # share of the bursts that are taken back at once
PULL = 0.0008  # per bar; forgets half of a distance in some 870 bars
FAR = 0.5  # in logarithms of the price; there the pull has doubled, beyond it no trend gets far
PULL_MAX = 0.004  # per bar, so that a price from elsewhere walks home instead of jumping
SIGNIFICANT_DIGITS = 6  # of a price: finer than any fee, coarse enough to be read
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Bar:
    """A candle. Prices are USD per whole token and above zero; `start` is market time, aware UTC."""

    market: str
    start: datetime
    seconds: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal  # base units, 0 when unknown


@dataclass(frozen=True, slots=True)
class PathMarket:
    """A market that the path can draw: where its price is at home, how wild it is, how busy."""

    name: str
    anchor: Decimal  # USD per whole token
    wildness: float = 1.0  # factor on SIGMA
    turnover_usd: float = 25_000.0  # of a usual bar

    @property
    def tick(self) -> Decimal:
        """The smallest step of the price, SIGNIFICANT_DIGITS of the anchor."""
        return Decimal(1).scaleb(self.anchor.adjusted() - SIGNIFICANT_DIGITS + 1)


DEMO_MARKETS = (
    PathMarket("SOL/USDC", Decimal("150"), wildness=0.95, turnover_usd=120_000.0),
    PathMarket("JUP/USDC", Decimal("0.9"), wildness=1.0, turnover_usd=30_000.0),
    PathMarket("BONK/USDC", Decimal("0.000025"), wildness=1.1, turnover_usd=40_000.0),
    PathMarket("WIF/USDC", Decimal("2.2"), wildness=1.1, turnover_usd=25_000.0),
)


class Regime(Enum):
    TREND_UP = "trend_up"
    TREND_DOWN = "trend_down"
    SWING = "swing"
    BREAKOUT = "breakout"


@dataclass(frozen=True, slots=True)
class Turn:
    """One market's turn in one regime. `dice` are four uniforms of (0, 1) that last for the whole turn."""

    regime: Regime
    dice: tuple[float, float, float, float]


class SeededPath:
    """The demo market of one seed: `history` begins it, `next_bar` goes on with it.

    The order of `markets` matters (who is dealt which regime); a market that is appended changes no other.
    """

    def __init__(self, seed: int, markets: Sequence[PathMarket] = DEMO_MARKETS, bar_seconds: int = 5) -> None:
        if bar_seconds < 1:
            raise ValueError(f"a bar lasts at least one second, not {bar_seconds}")
        self.seed = seed
        self.markets = {market.name: market for market in markets}
        self.bar_seconds = bar_seconds
        self._slots = {name: slot for slot, name in enumerate(self.markets)}

    def align(self, moment: datetime) -> datetime:
        """The start of the bar in which `moment` lies."""
        return EPOCH + timedelta(seconds=self._index(moment) * self.bar_seconds)

    def history(self, *, until: datetime, bars: int) -> dict[str, list[Bar]]:
        """The last `bars` candles complete at `until`, per market, oldest first; they begin at the anchor.

        A first history for a new company. Afterwards only `next_bar` from the last stored close goes on with
        it: another `until` is another history.
        """
        start = self.align(until) - timedelta(seconds=bars * self.bar_seconds)
        return {
            name: list(self.follow(market=name, start=start, previous_close=market.anchor, bars=bars))
            for name, market in self.markets.items()
        }

    def follow(self, *, market: str, start: datetime, previous_close: Decimal, bars: int) -> Iterator[Bar]:
        """`bars` candles one after another from `start`, each opening where the one before closed."""
        for number in range(bars):
            bar = self.next_bar(
                market=market,
                start=start + timedelta(seconds=number * self.bar_seconds),
                previous_close=previous_close,
            )
            previous_close = bar.close
            yield bar

    def next_bar(self, *, market: str, start: datetime, previous_close: Decimal) -> Bar:
        """The candle that begins at `start`. Raises ValueError where no bar starts then (see `align`)."""
        index = self._index(start)
        if self.align(start) != start:
            raise ValueError(f"{start.isoformat()} isn't the start of a bar of {self.bar_seconds} s")
        return self._draw(self.markets[market], index, previous_close)

    def regime(self, *, market: str, start: datetime) -> Regime:
        """Which regime a bar belongs to: for tests and explanations, agents don't get to know it."""
        return self._turn(market, self._index(start))[0].regime

    def _index(self, moment: datetime) -> int:
        if moment.tzinfo is None:
            raise ValueError("market time is aware UTC")
        return int((moment - EPOCH) // timedelta(seconds=self.bar_seconds))

    def _turn(self, market: str, index: int) -> tuple[Turn, int]:
        """The turn of `index` and the bar's place in it. Neighbours begin their turns a quarter apart."""
        slot = self._slots[market]
        number, place = divmod(index + slot * STAGGER_BARS, REGIME_BARS)
        return deal(self.seed, market, slot, number), place

    def _draw(self, market: PathMarket, index: int, opening: Decimal) -> Bar:
        turn, place = self._turn(market.name, index)
        first, second, up, down = uniforms(f"{self.seed}:{market.name}:{index}")
        radius = math.sqrt(-2.0 * math.log(first))  # Box and Muller 1958: two normals from two uniforms
        shock, bustle = radius * math.cos(math.tau * second), radius * math.sin(math.tau * second)
        sigma = SIGMA * market.wildness * calmness(turn, place)
        move = market.wildness * drift(turn, place) + pull(opening, market.anchor) + sigma * shock
        close = step(opening, move, market.tick)
        return Bar(
            market=market.name,
            start=EPOCH + timedelta(seconds=index * self.bar_seconds),
            seconds=self.bar_seconds,
            open=opening,
            high=max(opening, close, step(max(opening, close), wick(up, sigma), market.tick)),
            low=min(opening, close, step(min(opening, close), -wick(down, sigma), market.tick)),
            close=close,
            volume=volume(market, close, move, bustle),
        )


def uniforms(key: str) -> tuple[float, float, float, float]:
    """Four numbers inside (0, 1) that depend on `key` alone, on every machine and in every version."""
    digest = hashlib.blake2b(key.encode(), digest_size=32).digest()
    words = (int.from_bytes(digest[at : at + 8], "big") >> 11 for at in range(0, 32, 8))
    first, second, third, fourth = ((word + 0.5) / (1 << 53) for word in words)
    return first, second, third, fourth


@lru_cache(maxsize=256)
def deal(seed: int, market: str, slot: int, number: int) -> Turn:
    """The market's turn of that number: one shuffle of the regimes serves each group of four markets."""
    shuffle = uniforms(f"{seed}:deal:{slot // len(Regime)}:{number}")
    order = sorted(range(len(Regime)), key=shuffle.__getitem__)
    regime = tuple(Regime)[order[slot % len(Regime)]]
    return Turn(regime, uniforms(f"{seed}:{market}:turn:{number}"))


def drift(turn: Turn, place: int) -> float:
    """The expected log return of the bar at `place` of the turn, before the pull home."""
    strength = 0.75 + 0.5 * turn.dice[0]  # no two trends are equally steep
    match turn.regime:
        case Regime.TREND_UP:
            return TREND_DRIFT * strength
        case Regime.TREND_DOWN:
            return -TREND_DRIFT * strength
        case Regime.SWING:
            return wave(turn, place + 1) - wave(turn, place)
        case Regime.BREAKOUT:
            return burst(turn, place) * strength


def wave(turn: Turn, place: int) -> float:
    shortest, longest = SWING_BARS
    period = shortest + (longest - shortest) * turn.dice[1]
    return SWING_AMPLITUDE * math.sin(math.tau * (place / period + turn.dice[2]))


def burst(turn: Turn, place: int) -> float:
    """Nothing in the coil, then BURST_BARS one way; a false breakout is taken back in as many bars."""
    way = BURST_DRIFT if turn.dice[1] < 0.5 else -BURST_DRIFT
    since = place - int(REGIME_BARS * COIL_SHARE)
    if 0 <= since < BURST_BARS:
        return way
    if BURST_BARS <= since < 2 * BURST_BARS and turn.dice[2] < FALSE_BREAKOUTS:
        return -way
    return 0.0


def calmness(turn: Turn, place: int) -> float:
    """The factor on the noise: a coil is quiet, a burst is loud."""
    if turn.regime is not Regime.BREAKOUT:
        return 1.0
    since = place - int(REGIME_BARS * COIL_SHARE)
    if since < 0:
        return 0.6
    return 1.3 if since < BURST_BARS else 1.0


def pull(price: Decimal, anchor: Decimal) -> float:
    distance = math.log(price) - math.log(anchor)
    return max(-PULL_MAX, min(PULL_MAX, -PULL * distance * (1.0 + (distance / FAR) ** 2)))


def wick(uniform: float, sigma: float) -> float:
    """How far a candle reaches beyond its body: exponential, half a sigma on average."""
    return -0.5 * sigma * math.log(uniform)


def step(price: Decimal, move: float, tick: Decimal) -> Decimal:
    """`price` moved by a log return, on the tick and never below one tick."""
    moved = price * Decimal(math.exp(move))
    return max(tick, moved.quantize(tick))


def volume(market: PathMarket, price: Decimal, move: float, bustle: float) -> Decimal:
    """Base units traded: log-normal about the usual turnover, and more where the price moves more."""
    activity = math.exp(0.4 * bustle) * (1.0 + min(4.0, abs(move) / SIGMA))
    return Decimal(f"{market.turnover_usd * activity / float(price):.2f}")
