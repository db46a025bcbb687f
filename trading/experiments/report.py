"""An experiment in words and as JSON: what was run, the arms side by side, what differs, and what that shows."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from trading.experiments import comparison
from trading.experiments.comparison import MEASURES, Difference, Measure, Runs
from trading.experiments.intervals import CONFIDENCE

LABEL, COLUMN = 26, 12  # characters
NOTHING = "–"


def lines(runs: Runs, *, told: str, failures: Sequence[str]) -> Iterator[str]:
    """The report, line by line.

    Args:
        told: what was run.
        failures: what became of the runs that don't count.
    """
    yield told
    yield ""
    yield from _table(runs)
    found = comparison.differences(runs)
    if found:
        yield from _differences(runs, found)
    if failures:
        yield ""
        yield from failures


def as_json(runs: Runs, *, plan: dict[str, Any], failures: Sequence[str]) -> dict[str, Any]:
    return {
        "plan": plan,
        "runs": {arm: {str(seed): each.as_json() for seed, each in found.items()} for arm, found in runs.items()},
        "means": {
            arm: {measure.key: comparison.mean(found, measure) for measure in MEASURES} for arm, found in runs.items()
        },
        "differences": [
            {
                "arm": each.arm,
                "baseline": each.baseline,
                "measure": each.measure.key,
                **(asdict(each.interval) if each.interval else {"n": 0, "mean": None, "low": None, "high": None}),
                "says": each.sentence,
            }
            for each in comparison.differences(runs)
        ],
        "failures": list(failures),
    }


# --- inside ---------------------------------------------------------------------------------------


def _table(runs: Runs) -> Iterator[str]:
    yield _row("mean of an arm's runs", list(runs))
    yield _row("runs", [str(len(found)) for found in runs.values()])
    for measure in MEASURES:
        label = f"{measure.label}, {measure.unit}" if measure.unit else measure.label
        yield _row(label, [_number(comparison.mean(found, measure), measure) for found in runs.values()])


def _differences(runs: Runs, found: Sequence[Difference]) -> Iterator[str]:
    baseline = next(iter(runs))
    yield ""
    sure = f"{CONFIDENCE * 100:.0f} % confidence interval (Student's t)"
    yield f"What differs from {baseline}, seed by seed: mean and {sure}."
    arm = ""
    for each in found:
        if each.arm != arm:
            arm = each.arm
            yield ""
            yield f"{arm} − {baseline}"
        yield f"  {_told(each):<70} {each.sentence}"
    yield ""
    yield (
        f"Of {len(found)} intervals some {len(found) * (1 - CONFIDENCE):.1f} leave 0 out by chance, even where nothing"
        " differs: one alone shows little."
    )


def _told(each: Difference) -> str:
    measure, interval = each.measure, each.interval
    label = f"{measure.label:<24}"
    if interval is None:
        return f"{label} {NOTHING}"
    unit = f" {measure.unit}" if measure.unit else ""
    middle = f"{label} {_signed(interval.mean, measure)}{unit}"
    if interval.low is None or interval.high is None:
        return f"{middle} (n {interval.n})"
    return f"{middle} ({_signed(interval.low, measure)} to {_signed(interval.high, measure)}; n {interval.n})"


def _row(label: str, cells: Sequence[str]) -> str:
    return f"{label:<{LABEL}}" + "".join(f"{cell:>{COLUMN}}" for cell in cells)


def _number(value: float | None, measure: Measure) -> str:
    return NOTHING if value is None else f"{value * measure.scale:.{measure.places}f}".replace("-", "−")


def _signed(value: float, measure: Measure) -> str:
    return f"{value * measure.scale:+.{max(2, measure.places)}f}".replace("-", "−")
