"""Arms side by side: means of each, and what differs from the first, seed by seed.

Two arms of a seed see the same prices, so what differs between them is what the arm did. Only seeds that both have
count, and of them those of which the figure can be said.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from statistics import fmean

from trading.experiments import intervals
from trading.experiments.figures import Figures
from trading.experiments.intervals import Interval

Runs = Mapping[str, Mapping[int, Figures]]
"""Figures by arm, then by seed; the first arm is what the others are compared with."""


class Better(Enum):
    """Which way a figure is better, if either is."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure as it is told: its value is multiplied by `scale` and printed with `places`."""

    key: str
    label: str
    unit: str
    read: Callable[[Figures], float | None]
    better: Better = Better.NEITHER
    places: int = 2
    scale: float = 1.0
    compared: bool = False


def _plain(key: str) -> Callable[[Figures], float | None]:
    return lambda figures: getattr(figures, key)


MEASURES = (
    Measure("trades", "trades", "", _plain("trades"), places=1, compared=True),
    Measure("refusals", "refusals", "", _plain("refusals"), places=1),
    Measure("left_to_people", "left to people", "", _plain("left_to_people"), places=1),
    Measure("conversations", "conversations", "", lambda figures: figures.talks, places=1),
    Measure("memories", "memories kept", "", _plain("memories"), places=1),
    Measure("influenced", "proposals with a memory", "", _plain("influenced"), places=1),
    Measure("pnl_usd", "P&L", "USD", _plain("pnl_usd"), Better.HIGHER, compared=True),
    Measure("realized_usd", "  realised", "USD", _plain("realized_usd")),
    Measure("unrealized_usd", "  unrealised", "USD", _plain("unrealized_usd")),
    Measure("pnl_share", "P&L of opening equity", "%", _plain("pnl_share"), places=3, scale=100),
    Measure("max_drawdown", "largest drawdown", "%", _plain("max_drawdown"), Better.LOWER, 3, 100, compared=True),
    Measure("hit_rate", "hit rate", "%", _plain("hit_rate"), Better.HIGHER, 1, 100, compared=True),
    Measure("forecasts", "forecasts scored", "", _plain("forecasts"), places=1),
    Measure("brier", "Brier score (0 is best)", "", _plain("brier"), Better.LOWER, 4, compared=True),
    Measure("log_score", "log score (0 is best)", "", _plain("log_score"), Better.LOWER, 4, compared=True),
)
COMPARED = tuple(measure for measure in MEASURES if measure.compared)


@dataclass(frozen=True, slots=True)
class Difference:
    """What an arm's figure lies above the first arm's, in the figure's own unit; None where no seed can say it."""

    arm: str
    baseline: str
    measure: Measure
    interval: Interval | None

    @property
    def sentence(self) -> str:
        """What may honestly be said of it."""
        if self.interval is None:
            return "shows nothing: there is nothing to compare"
        if self.interval.low is None:
            return "shows nothing: one seed has no spread"
        if not self.interval.shows_something:
            return "shows nothing: the interval contains 0"
        way = Better.HIGHER if self.interval.mean > 0 else Better.LOWER
        worth = "better" if way == self.measure.better else "worse"
        told = f"shows: {way.value} than {self.baseline}"
        return told if self.measure.better == Better.NEITHER else f"{told}, which is {worth}"


def mean(runs: Mapping[int, Figures], measure: Measure) -> float | None:
    """Over the seeds of which it can be said."""
    found = [value for figures in runs.values() if (value := measure.read(figures)) is not None]
    return fmean(found) if found else None


def differences(runs: Runs) -> list[Difference]:
    """Of each further arm to the first, measure by measure."""
    baseline, *others = runs
    return [
        Difference(arm, baseline, measure, intervals.of(_paired(runs[arm], runs[baseline], measure)))
        for arm in others
        for measure in COMPARED
    ]


def _paired(ours: Mapping[int, Figures], theirs: Mapping[int, Figures], measure: Measure) -> list[float]:
    both = [(measure.read(ours[seed]), measure.read(theirs[seed])) for seed in sorted(ours.keys() & theirs.keys())]
    return [mine - its for mine, its in both if mine is not None and its is not None]


def other_markets(runs: Runs) -> Sequence[int]:
    """Seeds whose arms didn't see the same prices: there the comparison would mean nothing."""
    seen: dict[int, set[str]] = {}
    for of_arm in runs.values():
        for seed, figures in of_arm.items():
            seen.setdefault(seed, set()).add(figures.market)
    return sorted(seed for seed, markets in seen.items() if len(markets) > 1)
