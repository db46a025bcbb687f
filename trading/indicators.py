"""The arithmetic of charts on plain lists of floats: what each figure is. What it means is signals' affair.

Every function is total on finite numbers: a quantity that would be 0 / 0 is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise


def ema(values: Sequence[float], span: int) -> float:
    """Exponential moving average with alpha = 2 / (span + 1), begun at the first value (Hunter 1986)."""
    alpha = 2.0 / (span + 1.0)
    level = values[0]
    for value in values:
        level += alpha * (value - level)
    return level


def returns(logs: Sequence[float]) -> list[float]:
    """Log returns of a list of log prices."""
    return [after - before for before, after in pairwise(logs)]


def realised_volatility(moves: Sequence[float]) -> float:
    """sqrt(mean(r^2)) per bar, not centred: realised variance of Andersen and Bollerslev 1998."""
    return math.sqrt(math.fsum(move * move for move in moves) / len(moves)) if moves else 0.0


def z_score(values: Sequence[float]) -> float:
    """(last - mean) / population standard deviation of `values`: Bollinger's %b in other units."""
    mean = math.fsum(values) / len(values)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    return ratio(values[-1] - mean, deviation)


def rsi(moves: Sequence[float], period: int) -> float:
    """Relative strength index 0 to 100 with Wilder's smoothing (Wilder 1978); 50 where nothing moved."""
    up = math.fsum(max(move, 0.0) for move in moves[:period]) / period
    down = math.fsum(max(-move, 0.0) for move in moves[:period]) / period
    for move in moves[period:]:
        up += (max(move, 0.0) - up) / period
        down += (max(-move, 0.0) - down) / period
    return 50.0 + 50.0 * ratio(up - down, up + down)


def efficiency(values: Sequence[float]) -> float:
    """|last - first| / sum |steps|, 0 to 1: Kaufman's efficiency ratio (1995). 1 is a straight line."""
    path = math.fsum(abs(move) for move in returns(values))
    return min(1.0, ratio(abs(values[-1] - values[0]), path))


def ratio(part: float, whole: float) -> float:
    """part / whole, and 0 where the whole is nothing against the precision of a float."""
    return part / whole if abs(whole) > 1e-12 else 0.0
