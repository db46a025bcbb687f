"""One measured figure, its limit and its goal. How they are shown is report's affair."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from statistics import median
from typing import Any, Literal

Of = Literal["ratio", "ours"]


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be: its ratio to the limit, or itself, within these bounds."""

    of: Of
    least: float | None = None
    most: float | None = None

    def met(self, value: float | None) -> bool | None:
        """None where the figure couldn't be had."""
        if value is None:
            return None
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def text(self, unit: str) -> str:
        tail = " ×" if self.of == "ratio" else f" {unit}".rstrip()
        if self.least is not None and self.least == self.most:
            return f"= {self.least:g}{tail}"
        parts = [f"≥ {self.least:g}"] if self.least is not None else []
        parts += [f"≤ {self.most:g}"] if self.most is not None else []
        return " and ".join(parts) + tail


@dataclass(frozen=True, slots=True)
class Figure:
    """A median over the rounds.

    Args:
        what: what was measured, in words.
        ours: the company's figure, in `unit`.
        limit: what it is compared with, in the same unit; None where there is nothing to compare with.
        limit_is: what the limit is, in words.
    """

    measurement: str
    what: str
    ours: float
    unit: str
    limit: float | None = None
    limit_is: str = ""
    goal: Goal | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.limit if self.limit else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        return self.goal.met(self.ratio if self.goal.of == "ratio" else self.ours) if self.goal else None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ratio": self.ratio, "met": self.met}


def ratio(*, least: float | None = None, most: float | None = None) -> Goal:
    return Goal("ratio", least, most)


def itself(*, least: float | None = None, most: float | None = None) -> Goal:
    return Goal("ours", least, most)


def middle(values: Sequence[float]) -> float:
    """The median: one disturbed round doesn't count."""
    return float(median(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all don't exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, ceil(share * len(ordered)) - 1)]
