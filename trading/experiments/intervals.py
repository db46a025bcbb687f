"""How sure one may be of a mean of few numbers: confidence intervals by Student's t. Pure statistics, so floats.

"Student", "The Probable Error of a Mean", Biometrika 6 (1908).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, stdev

CONFIDENCE = 0.95
# t with 2.5 % above it, for 1 to 30 degrees of freedom: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2
QUANTILES = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of `n` numbers, and between what its true value lies in 95 of 100 such experiments; no bounds of one."""

    n: int
    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def shows_something(self) -> bool:
        """Whether 0 lies outside."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def of(values: Sequence[float]) -> Interval | None:
    """mean ± t × s ÷ √n, s the standard deviation of a sample; None of nothing.

    It supposes numbers that are independent of each other and not far from normal.
    """
    if not values:
        return None
    n, mean = len(values), fmean(values)
    if n < 2:
        return Interval(n, mean)
    half = quantile(n - 1) * stdev(values) / math.sqrt(n)
    return Interval(n, mean, mean - half, mean + half)


def quantile(freedom: int) -> float:
    """t with 2.5 % above it. Beyond the table by Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5), right to more
    places than the table has.
    """
    assert freedom >= 1, "a spread needs two numbers"
    if freedom <= len(QUANTILES):
        return QUANTILES[freedom - 1]
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3
