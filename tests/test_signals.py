"""What the agents read out of candles: calibrated on noise, found in the demo market, always finite."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trading import csvfeed, indicators, signals
from trading.pricepath import Bar, SeededPath
from trading.signals import MIN_BARS, WINDOW, Signal

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "SOLUSDT-15m-2026-04-to-05.csv"
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
STRONG = 0.8  # design's trigger
LOOK_BARS = 6  # a look every 30 s at bars of 5 s


def candles(closes: Sequence[float | Decimal], *, reach: float = 0.001, volume: float = 1.0) -> list[Bar]:
    prices = [price if isinstance(price, Decimal) else Decimal(repr(price)) for price in closes]
    wide, narrow, traded = Decimal(str(1 + reach)), Decimal(str(1 - reach)), Decimal(str(volume))
    return [
        Bar(
            market="SOL/USDC",
            start=NOON + timedelta(seconds=5 * number),
            seconds=5,
            open=opened,
            high=max(opened, close) * wide,
            low=min(opened, close) * narrow,
            close=close,
            volume=traded,
        )
        for number, (opened, close) in enumerate(zip([prices[0], *prices], prices, strict=False))
    ]


def noise(seed: int, count: int = WINDOW, sigma: float = 0.003) -> list[float]:
    dice, level = random.Random(seed), 0.0
    closes = []
    for _ in range(count):
        level += dice.gauss(0.0, sigma)
        closes.append(100.0 * math.exp(level))
    return closes


def of_kind(found: Sequence[Signal], kind: str) -> Signal | None:
    return next((signal for signal in found if signal.kind == kind), None)


def strong_buys(found: Sequence[Signal]) -> list[Signal]:
    return [signal for signal in found if signal.direction == "buy" and signal.strength > STRONG]


def looks(bars: Sequence[Bar], every: int) -> list[list[Signal]]:
    return [strong_buys(signals.compute(bars[end - WINDOW : end])) for end in range(WINDOW, len(bars) + 1, every)]


def share_of_minutes_with_a_strong_buy(seeds: range, bars: int) -> tuple[float, list[Signal]]:
    """The share of minutes (two looks) in which some market shows one, and all that were seen."""
    hits, seen = [], []
    for seed in seeds:
        markets = [looks(path, LOOK_BARS) for path in SeededPath(seed).history(until=NOON, bars=bars).values()]
        seen += [signal for market in markets for look in market for signal in look]
        any_at = [any(at_once) for at_once in zip(*markets, strict=True)]
        hits += [first or second for first, second in pairwise(any_at)]
    return sum(hits) / len(hits), seen


def test_a_rise_is_momentum_to_buy_and_a_fall_to_sell() -> None:
    rise = [100 * math.exp(0.0015 * n + 0.002 * math.sin(n)) for n in range(WINDOW)]
    for closes, direction in ((rise, "buy"), ([10_000 / price for price in rise], "sell")):
        signal = of_kind(signals.compute(candles(closes)), "momentum")
        assert signal is not None
        assert (signal.direction, signal.strength > STRONG) == (direction, True)


def test_a_sudden_drop_in_a_quiet_market_is_oversold() -> None:
    closes = [100 + 0.3 * math.sin(n) for n in range(80)] + [99.6, 99.3, 99.1]
    signal = of_kind(signals.compute(candles(closes)), "mean_reversion")
    assert signal is not None
    assert (signal.direction, signal.strength > STRONG) == ("buy", True)
    assert "oversold" in signal.why


def test_a_straight_fall_is_not_called_oversold() -> None:
    closes = [100 * math.exp(-0.002 * n) for n in range(80)]
    assert of_kind(signals.compute(candles(closes)), "mean_reversion") is None


def test_a_close_beyond_the_channel_breaks_out_and_volume_makes_it_stronger() -> None:
    closes = [100 + 0.3 * math.sin(n) for n in range(80)] + [100.9]
    quiet = candles(closes)
    signal = of_kind(signals.compute(quiet), "breakout")
    assert signal is not None
    assert signal.direction == "buy"
    last = quiet[-1]
    busy = [
        *quiet[:-1],
        Bar(last.market, last.start, 5, last.open, last.high, last.low, last.close, Decimal(9)),
    ]
    confirmed = of_kind(signals.compute(busy), "breakout")
    assert confirmed is not None
    assert confirmed.strength > signal.strength


def test_an_unknown_volume_neither_confirms_nor_denies() -> None:
    closes = [100 + 0.3 * math.sin(n) for n in range(80)] + [100.9]
    known, unknown = (of_kind(signals.compute(candles(closes, volume=v)), "breakout") for v in (1.0, 0.0))
    assert known is not None
    assert unknown is not None
    assert known.strength == unknown.strength


def test_too_little_history_says_nothing() -> None:
    closes = noise(1, MIN_BARS - 1)
    assert signals.compute(candles(closes)) == []
    assert signals.compute([]) == []


def test_a_price_that_stands_still_says_nothing() -> None:
    assert signals.compute(candles([1.0] * WINDOW)) == []
    assert signals.compute(candles([1.0] * WINDOW, reach=0.0)) == []


def test_older_bars_change_no_figure() -> None:
    bars = candles(noise(2, 400))
    assert signals.compute(bars) == signals.compute(bars[-WINDOW:])


def test_a_price_that_is_none_says_nothing() -> None:
    bars = candles([100 * math.exp(0.0015 * n + 0.002 * math.sin(n)) for n in range(WINDOW)])
    assert signals.compute(bars)
    for odd in ("NaN", "Infinity", "0", "-1", "1e400", "1e-400"):
        for field in ("close", "high", "low"):
            assert signals.compute([*bars[:-9], replace(bars[-9], **{field: Decimal(odd)}), *bars[-8:]]) == []


def test_agreement_is_the_share_by_strength() -> None:
    def said(direction: str, strength: float) -> Signal:
        return Signal("momentum", "buy" if direction == "buy" else "sell", strength, 0.5, "", {})

    assert signals.agreement([], "buy") == 0.0
    assert signals.agreement([said("buy", 0.5)], "buy") == 1.0
    assert signals.agreement([said("buy", 0.9), said("sell", 0.3)], "buy") == pytest.approx(0.75)
    assert signals.agreement([said("buy", 0.9), said("sell", 0.3)], "sell") == pytest.approx(0.25)


def test_signals_that_contradict_each_other_are_less_confident() -> None:
    pairs = [signals.confidence(agreed, 0.5, 0.9) for agreed in (0.0, 0.5, 1.0)]
    assert pairs == sorted(pairs)
    assert signals.confidence(1.0, 1.0, 1.0) == pytest.approx(1.0)


def test_on_noise_a_strong_signal_is_one_look_of_five() -> None:
    found = [signals.compute(candles(noise(seed), reach=0.0015)) for seed in range(1500)]
    for kind in ("momentum", "mean_reversion", "breakout"):
        strong = sum((said := of_kind(look, kind)) is not None and said.strength > STRONG for look in found)
        assert 0.13 < strong / len(found) < 0.25, kind
    buys = sum(bool(strong_buys(look)) for look in found)
    sells = sum(any(s.direction == "sell" and s.strength > STRONG for s in look) for look in found)
    assert 0.8 < buys / sells < 1.25


def test_a_newcomer_sees_a_strong_buy_within_a_minute() -> None:
    minutes, seen = share_of_minutes_with_a_strong_buy(range(3), 1320)
    assert minutes > 0.96
    confident = sum(signal.confidence >= 0.55 for signal in seen) / len(seen)
    assert 0.6 < confident < 0.97


@pytest.mark.slow
def test_twenty_seeds_show_a_strong_buy_within_nearly_every_minute() -> None:
    minutes, _ = share_of_minutes_with_a_strong_buy(range(20), 3000)
    assert minutes >= 0.97


@pytest.mark.skipif(not REAL.exists(), reason="the real market data isn't on this machine")
def test_the_real_market_shows_a_strong_buy_within_most_thirty_bars() -> None:
    hits = [bool(look) for look in looks(csvfeed.read(REAL, market="SOL/USDC").bars, 1)]
    windows = [any(hits[at : at + 30]) for at in range(len(hits) - 29)]
    assert sum(windows) / len(windows) >= 0.9


def test_a_look_takes_less_than_two_milliseconds() -> None:
    bars = candles(noise(4))
    best = math.inf
    for _ in range(30):
        began = time.perf_counter()
        signals.compute(bars)
        best = min(best, time.perf_counter() - began)
    assert best < 0.002


closes_of_any_size = st.builds(
    lambda scale, moves: [Decimal(1).scaleb(scale) * (1 + Decimal(move)) for move in moves],
    st.integers(-15, 15),
    st.lists(st.decimals(min_value="-0.999", max_value=50, places=6, allow_nan=False), min_size=1, max_size=130),
)


@settings(deadline=None, max_examples=150)
@given(
    closes=closes_of_any_size,
    reach=st.sampled_from([0.0, 0.001, 0.4]),
    volume=st.sampled_from([0.0, 1e-9, 1e15]),
)
def test_whatever_the_prices_every_figure_is_finite_and_in_its_range(
    closes: list[Decimal], reach: float, volume: float
) -> None:
    repeated = closes * (1 + MIN_BARS // len(closes))  # short examples are long enough, and often flat
    found = signals.compute(candles(repeated, reach=reach, volume=volume))
    assert len({signal.kind for signal in found}) == len(found)
    for signal in found:
        assert 0.0 <= signal.strength <= 1.0
        assert 0.0 <= signal.confidence <= 1.0
        assert signal.why
        assert all(math.isfinite(value) for value in signal.features.values())
    assert signals.agreement(found, "buy") + signals.agreement(found, "sell") in (
        pytest.approx(1.0),
        pytest.approx(0.0),
    )


@given(values=st.lists(st.floats(-50, 50), min_size=2, max_size=60))
def test_indicators_are_total(values: list[float]) -> None:
    moves = indicators.returns(values)
    assert min(values) - 1e-9 <= indicators.ema(values, 8) <= max(values) + 1e-9
    assert 0.0 <= indicators.rsi(moves, 14) <= 100.0
    assert 0.0 <= indicators.efficiency(values) <= 1.0
    assert math.isfinite(indicators.z_score(values))
    assert indicators.realised_volatility([]) == 0.0
