"""What an agent can honestly read out of candles. Whether to act on it is policy's affair.

A pure module: candles in, signals out, no clock and no store. Each kind has a raw score that is scaled to be
a standard normal on a driftless random walk, so that `strength` is the same thing for all of them:

    strength = erf(|score| / sqrt(2)) = the share of looks at mere noise that would have shown less

A strength of 0.8 is thus what noise shows in one look of five, either way. `confidence` is another thing: how
far the state of the market suits this kind of signal, and how far the other kinds agree (see `confidence`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from trading import indicators
from trading.pricepath import Bar

Kind = Literal["momentum", "mean_reversion", "breakout"]
Direction = Literal["buy", "sell"]

MIN_BARS = 40  # below it the slow average still remembers its first value
WINDOW = 120  # bars that are looked at; older ones change no figure and cost time
FAST, SLOW = 8, 21  # bars; spans of the two averages
VOLATILITY_BARS = 40
STRETCH_BARS = 20  # Bollinger's window
RSI_BARS = 14  # Wilder's period
CHANNEL_BARS = 16  # Donchian's four weeks, a little shorter: a break is seen while it is young
HOLD_BARS = 4  # a break counts while it is this fresh
REGIME_BARS = 25  # bars in which the market is called trending or choppy
STRENGTH_MIN = 0.35  # below it there is nothing to say
TRENDING = 0.55  # efficiency above which a stretched price isn't stretched, but on its way
# Standard deviations of the raw figures over 4,000 driftless walks of 120 bars (tests keep them true).
MOMENTUM_SD = 1.21
Z_SD = 1.32
RSI_SD = 11.9
EFFICIENCY_USUAL = 0.18  # median of the efficiency of a driftless walk over REGIME_BARS


@dataclass(frozen=True, slots=True)
class Signal:
    """One reading of one market: `strength` and `confidence` 0 to 1, `features` the figures behind them."""

    kind: Kind
    direction: Direction
    strength: float
    confidence: float
    why: str
    features: dict[str, float]


@dataclass(frozen=True, slots=True)
class Reading:
    """A kind's raw finding: `score` is signed (above zero buys) and standard normal on noise."""

    kind: Kind
    score: float
    why: str
    features: dict[str, float]

    @property
    def direction(self) -> Direction:
        return "buy" if self.score > 0 else "sell"

    @property
    def strength(self) -> float:
        return math.erf(abs(self.score) / math.sqrt(2.0))


@dataclass(frozen=True, slots=True)
class Chart:
    """The window of candles as logarithms, and what all kinds need of it."""

    closes: list[float]
    highs: list[float]
    lows: list[float]
    volumes: list[float]
    moves: list[float]
    volatility: float  # per bar
    efficiency: float  # 0 choppy, 1 a straight line


def compute(bars: Sequence[Bar]) -> list[Signal]:
    """The signals of the last bar, at most one of each kind, the strongest first; `bars` are oldest first.

    Empty where there are fewer than MIN_BARS, where the price hasn't moved, where nothing reaches
    STRENGTH_MIN.
    """
    chart = draw(bars)
    if chart is None:
        return []
    found = (momentum(chart), mean_reversion(chart), breakout(chart))
    readings = [reading for reading in found if reading is not None and reading.strength >= STRENGTH_MIN]
    readings.sort(key=lambda reading: -reading.strength)
    return [judged(reading, readings, chart) for reading in readings]


def agreement(signals: Sequence[Signal], direction: Direction) -> float:
    """The share of `signals`, by strength, that point in `direction`: 0 to 1, and 0 where there are none."""
    return share((signal.strength, signal.direction == direction) for signal in signals)


def draw(bars: Sequence[Bar]) -> Chart | None:
    """The chart of the last WINDOW bars; None where it is too short, flat, or not made of prices."""
    window = bars[-WINDOW:]
    if len(window) < MIN_BARS:
        return None
    prices = [[float(price) for price in (bar.close, bar.high, bar.low)] for bar in window]
    if not all(0.0 < price < math.inf for candle in prices for price in candle):
        return None
    closes, highs, lows = ([math.log(candle[at]) for candle in prices] for at in range(3))
    moves = indicators.returns(closes)
    volatility = indicators.realised_volatility(moves[-VOLATILITY_BARS:])
    if volatility < 1e-9:
        return None
    return Chart(
        closes=closes,
        highs=highs,
        lows=lows,
        volumes=[float(bar.volume) for bar in window],
        moves=moves,
        volatility=volatility,
        efficiency=indicators.efficiency(closes[-REGIME_BARS:]),
    )


def momentum(chart: Chart) -> Reading | None:
    """Distance of a fast from a slow average of the log price, in realised volatilities.

    score = (EMA8(ln p) - EMA21(ln p)) / (sigma * MOMENTUM_SD): the crossover signal of Baz et al.,
    "Dissecting Investment Strategies in the Cross Section and Time Series", 2015. Nothing where the fast
    average has turned.
    """
    fast, slow = indicators.ema(chart.closes, FAST), indicators.ema(chart.closes, SLOW)
    score = (fast - slow) / (chart.volatility * MOMENTUM_SD)
    slope = (fast - indicators.ema(chart.closes[:-HOLD_BARS], FAST)) / (HOLD_BARS * chart.volatility)
    if score * slope <= 0.0:
        return None
    side = "above" if score > 0 else "below"
    why = (
        f"the {FAST}-bar average is {abs(fast - slow):.2%} {side} the {SLOW}-bar one and still parting, "
        f"{abs(score):.1f} times what noise does"
    )
    return Reading("momentum", score, why, {"ema_gap": fast - slow, "slope": slope, "score": score})


def mean_reversion(chart: Chart) -> Reading | None:
    """How far the price has run from its mean, against the run.

    score = -(z / Z_SD + (RSI - 50) / RSI_SD) / 2, z over 20 bars (Bollinger 2001), RSI over 14 (Wilder 1978).
    Nothing where the two disagree, nor in a market that goes straight (Kaufman's efficiency above TRENDING).
    """
    z = indicators.z_score(chart.closes[-STRETCH_BARS:])
    rsi = indicators.rsi(chart.moves, RSI_BARS)
    if z * (rsi - 50.0) <= 0.0 or chart.efficiency > TRENDING:
        return None
    score = -(z / Z_SD + (rsi - 50.0) / RSI_SD) / 2.0
    side, name = ("above", "overbought") if z > 0 else ("below", "oversold")
    why = f"the price is {abs(z):.1f} deviations {side} its {STRETCH_BARS}-bar mean, RSI {rsi:.0f}: {name}"
    return Reading("mean_reversion", score, why, {"z": z, "rsi": rsi, "score": score})


def breakout(chart: Chart) -> Reading | None:
    """A close outside the channel of the CHANNEL_BARS before, not older than HOLD_BARS (Donchian 1960).

    score = +-(1 + excess / 2 + confirmation / 2), excess in sigma and at most 2, confirmation the mean of how
    much wider the ranges and larger the volumes of the fresh bars are than before, less 1, within -1 to 1.
    """
    before = slice(-CHANNEL_BARS - HOLD_BARS, -HOLD_BARS)
    top, bottom, last = max(chart.highs[before]), min(chart.lows[before]), chart.closes[-1]
    if bottom <= last <= top:
        return None
    excess = (last - top if last > top else bottom - last) / chart.volatility
    wider, busier = expansion(chart, before)
    size = 1.0 + min(2.0, excess) / 2.0 + (clip(wider - 1.0) + clip(busier - 1.0)) / 4.0
    edge, sign = ("high", 1.0) if last > top else ("low", -1.0)
    why = (
        f"a close {excess:.1f} volatilities beyond the {CHANNEL_BARS}-bar {edge}, "
        f"ranges {wider:.1f} and volume {busier:.1f} times the usual"
    )
    return Reading("breakout", sign * size, why, {"excess": sign * excess, "range": wider, "volume": busier})


def expansion(chart: Chart, before: slice) -> tuple[float, float]:
    """How much wider and busier the fresh bars are than those `before`; an unknown volume is usual (1)."""
    ranges = [high - low for high, low in zip(chart.highs, chart.lows, strict=True)]
    usual = math.fsum(ranges[before]) / CHANNEL_BARS
    known = math.fsum(chart.volumes[before]) / CHANNEL_BARS
    fresh = math.fsum(chart.volumes[-HOLD_BARS:]) / HOLD_BARS
    wider = indicators.ratio(math.fsum(ranges[-HOLD_BARS:]) / HOLD_BARS, usual) if usual > 1e-12 else 1.0
    return wider, (fresh / known if known > 0.0 and math.isfinite(fresh / known) else 1.0)


def judged(reading: Reading, readings: Sequence[Reading], chart: Chart) -> Signal:
    """The reading with its confidence among the others."""
    agreed = share((other.strength, other.direction == reading.direction) for other in readings)
    clear = clarity(reading, chart)
    return Signal(
        kind=reading.kind,
        direction=reading.direction,
        strength=round(reading.strength, 4),
        confidence=round(confidence(agreed, clear, reading.strength), 4),
        why=reading.why,
        features={
            **{name: round(value, 6) for name, value in reading.features.items()},
            "volatility": round(chart.volatility, 8),
            "efficiency": round(chart.efficiency, 6),
            "agreement": round(agreed, 6),
            "clarity": round(clear, 6),
        },
    )


def clarity(reading: Reading, chart: Chart) -> float:
    """How far the market is of the sort that the kind lives on, straight or choppy: 0 to 1, noise 0.5."""
    straight = chart.efficiency / (chart.efficiency + EFFICIENCY_USUAL)
    return 1.0 - straight if reading.kind == "mean_reversion" else straight


def confidence(agreed: float, clear: float, strength: float) -> float:
    """0.15 + 0.35 agreement + 0.35 clarity + 0.15 strength: ours; a lone strong one on noise has some 0.8."""
    return 0.15 + 0.35 * agreed + 0.35 * clear + 0.15 * strength


def share(weighed: Iterable[tuple[float, bool]]) -> float:
    """The weight of the true ones over the weight of all, 0 where there is none."""
    pairs = list(weighed)
    return indicators.ratio(math.fsum(weight for weight, yes in pairs if yes), math.fsum(weight for weight, _ in pairs))


def clip(value: float) -> float:
    return max(-1.0, min(1.0, value))
