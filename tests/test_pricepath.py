"""The demo market: the same for the same seed, continuous, alive, and never far from home."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest

from trading import pricepath
from trading.pricepath import DEMO_MARKETS, REGIME_BARS, Bar, PathMarket, Regime, SeededPath, drift

UNTIL = datetime(2026, 11, 23, 9, 0, 3, tzinfo=UTC)
SOL = "SOL/USDC"
GOLDEN = (Decimal("150.019"), Decimal("149.935"), Decimal("149.974"), Decimal("1472.43"))


def within(bars: list[Bar], anchor: Decimal) -> bool:
    low, high = min(bar.low for bar in bars), max(bar.high for bar in bars)
    return anchor * Decimal("0.4") < low and high < anchor * Decimal("2.5")


def bars_until_exit(bars: list[Bar], *, stop: float = 0.015, profit: float = 0.02) -> tuple[int, bool]:
    """How many bars a long position opened at the first close lives, and whether it won."""
    entry = float(bars[0].close)
    for age, bar in enumerate(bars[1:], start=1):
        if float(bar.low) <= entry * (1 - stop):
            return age, False
        if float(bar.high) >= entry * (1 + profit):
            return age, True
    return len(bars), False


def test_the_same_seed_draws_the_same_market() -> None:
    first = SeededPath(7).history(until=UNTIL, bars=200)
    assert first == SeededPath(7).history(until=UNTIL, bars=200)
    assert first != SeededPath(8).history(until=UNTIL, bars=200)


def test_a_candle_never_changes_between_versions() -> None:
    bar = SeededPath(1).next_bar(market=SOL, start=datetime(2026, 11, 23, 9, tzinfo=UTC), previous_close=Decimal("150"))
    assert (bar.high, bar.low, bar.close, bar.volume) == GOLDEN


def test_a_restart_goes_on_from_the_last_stored_close_as_if_nothing_had_happened() -> None:
    whole = SeededPath(3).history(until=UNTIL, bars=300)[SOL]
    stored = whole[149]
    after = SeededPath(3).follow(
        market=SOL, start=stored.start + timedelta(seconds=5), previous_close=stored.close, bars=150
    )
    assert list(after) == whole[150:]


def test_a_history_is_complete_at_its_end_and_without_gaps() -> None:
    for market, bars in SeededPath(3).history(until=UNTIL, bars=60).items():
        assert bars[-1].start + timedelta(seconds=5) == datetime(2026, 11, 23, 9, 0, 0, tzinfo=UTC)
        assert all(b.start - a.start == timedelta(seconds=5) and b.open == a.close for a, b in pairwise(bars))
        assert {bar.market for bar in bars} == {market}


def test_every_candle_is_a_candle_on_the_tick() -> None:
    path = SeededPath(11)
    for name, bars in path.history(until=UNTIL, bars=1500).items():
        tick = path.markets[name].tick
        for bar in bars:
            assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            assert bar.volume > 0
            assert bar.close % tick == 0


def test_a_market_that_is_appended_changes_no_other() -> None:
    more = (*DEMO_MARKETS, PathMarket("RAY/USDC", Decimal("3")))
    assert (
        SeededPath(5, more).history(until=UNTIL, bars=100)[SOL] == (SeededPath(5).history(until=UNTIL, bars=100)[SOL])
    )


def test_regimes_take_turns_and_capital_rotates() -> None:
    path = SeededPath(2)
    starts = [path.align(UNTIL) + timedelta(seconds=5 * REGIME_BARS * turn) for turn in range(200)]
    seen = Counter(path.regime(market=SOL, start=start) for start in starts)
    assert set(seen) == set(Regime)
    assert min(seen.values()) > 25
    busy = path.align(UNTIL)
    while busy.timestamp() // 5 % REGIME_BARS != REGIME_BARS // 2 - 6:  # all markets are inside one turn
        busy += timedelta(seconds=5)
    assert {path.regime(market=market.name, start=busy) for market in DEMO_MARKETS} == set(Regime)


def test_a_trend_is_one() -> None:
    path = SeededPath(4)
    bars = path.history(until=UNTIL, bars=4000)[SOL]
    rises = {
        regime: [b.close > b.open for b in bars if path.regime(market=SOL, start=b.start) is regime]
        for regime in Regime
    }
    share = {regime: sum(ups) / len(ups) for regime, ups in rises.items()}
    assert share[Regime.TREND_UP] > 0.6
    assert share[Regime.TREND_DOWN] < 0.4


def test_the_regimes_together_favour_neither_side() -> None:
    path = SeededPath(6)
    index = int(path.align(UNTIL).timestamp()) // 5
    drifts = [drift(*path._turn(SOL, index + number)) for number in range(60_000)]
    assert abs(sum(drifts) / len(drifts)) < 0.0001


def test_a_position_closes_within_minutes_and_both_wins_and_losses_are_common() -> None:
    lives, wins = [], []
    for seed in range(4):
        for bars in SeededPath(seed).history(until=UNTIL, bars=1300).values():
            for at in range(0, 1100, 50):
                life, won = bars_until_exit(bars[at : at + 200])
                lives.append(life)
                wins.append(won)
    lives.sort()
    assert 10 <= lives[len(lives) // 2] <= 30  # of 5 s: half of them within 1 to 2.5 min
    assert lives[len(lives) // 20] >= 3  # hardly one in a couple of bars
    assert lives[len(lives) * 19 // 20] <= 60  # and nearly all within 5 min
    assert 0.3 < sum(wins) / len(wins) < 0.6


def test_without_the_pull_a_price_from_elsewhere_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pricepath, "PULL", 0.0)
    path = SeededPath(9)
    away = path.follow(market=SOL, start=path.align(UNTIL), previous_close=Decimal("15000"), bars=6000)
    assert not within(list(away)[-500:], Decimal("150"))


def test_a_price_from_elsewhere_walks_home() -> None:
    path = SeededPath(9)
    away = path.follow(market=SOL, start=path.align(UNTIL), previous_close=Decimal("15000"), bars=6000)
    assert within(list(away)[-500:], Decimal("150"))


def test_hours_of_every_market_stay_near_home() -> None:
    path = SeededPath(12)
    for name, bars in path.history(until=UNTIL, bars=6000).items():
        assert within(bars, path.markets[name].anchor)


@pytest.mark.slow
def test_weeks_of_every_market_stay_near_home() -> None:
    path = SeededPath(1)
    for name, bars in path.history(until=UNTIL, bars=500_000 // len(DEMO_MARKETS)).items():
        assert within(bars, path.markets[name].anchor)


def test_a_bar_may_have_any_length() -> None:
    bars = SeededPath(1, bar_seconds=900).history(until=UNTIL, bars=50)[SOL]
    assert {bar.seconds for bar in bars} == {900}
    assert bars[-1].start == datetime(2026, 11, 23, 8, 45, tzinfo=UTC)


def test_questions_that_have_no_answer_are_refused() -> None:
    path = SeededPath(1)
    with pytest.raises(ValueError, match="isn't the start of a bar"):
        path.next_bar(market=SOL, start=UNTIL, previous_close=Decimal(1))
    with pytest.raises(ValueError, match="aware UTC"):
        path.align(datetime(2026, 1, 1))
    with pytest.raises(ValueError, match="at least one second"):
        SeededPath(1, bar_seconds=0)
