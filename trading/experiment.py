"""What debate and memory are worth, measured: each seed's market is traded by companies that differ in policy alone.

Runs the children, one a seed and arm, each in a copy of one opened company, and collects what they say. What is
switched off in an arm, how a child trades, and what may be concluded is `trading.experiments`' affair.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, NamedTuple

from django.conf import settings

from missions.policy_keys import opening_values
from tradeco.common.errors import DomainError, InvalidInput
from trading.experiments import child, comparison, crew, report, scratch
from trading.experiments.arms import Arm
from trading.experiments.child import DATABASES, Task
from trading.experiments.crew import Ended, Job
from trading.experiments.figures import Figures
from trading.experiments.markets import open_course
from trading.experiments.scratch import Scratch

TEMPLATE = f"{DATABASES}opened"
USUAL_BEATS = 45  # in a run, of which the usual seeds and arms make 32
MINUTES_A_DAY = 1440
PACE_MOST = 10  # what the policy trigger_pace allows
WINDOW_MOST_HOURS = 2160  # what learning_window_hours allows
KEPT_DAYS = 36_500  # nothing that is measured may be pruned


class NotOpened(DomainError):
    code = "experiment_not_opened"
    status = 500
    title = "The experiment's company can't be opened"


class Run(NamedTuple):
    """One market traded by one arm."""

    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}"

    @property
    def database(self) -> str:
        return f"{DATABASES}{self.arm}_{self.seed}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. `csv` is empty where each seed has a market of its own. None is the usual cadence, and
    USUAL_BEATS of it.
    """

    arms: Sequence[Arm]
    seeds: Sequence[int]
    days: float | None = None
    beat_minutes: float | None = None
    csv: str = ""
    market: str = ""
    at_once: int = 2

    @property
    def runs(self) -> list[Run]:
        """Seed by seed, so that an experiment that is broken off has whole pairs."""
        return [Run(arm.name, seed) for seed in self.seeds for arm in self.arms]


@dataclass
class Result:
    """Figures of the runs that ended well, and what became of the others."""

    plan: Plan
    bar_seconds: int
    beat_minutes: float
    days: float
    runs: dict[str, dict[int, Figures]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def lines(self) -> list[str]:
        return list(report.lines(self.runs, told=self._told(), failures=self.failures))

    def as_json(self) -> dict[str, Any]:
        plan = asdict(self.plan) | {
            "arms": [arm.name for arm in self.plan.arms],
            "seeds": list(self.plan.seeds),
            "beat_minutes": self.beat_minutes,
            "days": self.days,
            "bar_seconds": self.bar_seconds,
            "seconds": round(self.seconds, 1),
        }
        return report.as_json(self.runs, plan=plan, failures=self.failures)

    def _told(self) -> str:
        plan = self.plan
        where = f"{plan.market} from {plan.csv}" if plan.csv else "the seeded market"
        first, last = plan.seeds[0], plan.seeds[-1]
        seeds = f"Seed {first}" if first == last else f"Seeds {first} to {last}"
        return (
            f"{seeds} × {len(plan.arms)} arms on {where}:"
            f" {self.days:g} days of market time in candles of {self.bar_seconds} s,"
            f" a heartbeat each {self.beat_minutes:g} min. It took {self.seconds:.0f} s."
        )


def run(plan: Plan, *, say: Callable[[str], None]) -> Result:
    """Run it all.

    Args:
        say: gets a line of progress as each run ends.

    Raises:
        PostgresUnavailable: no server can run here.
        UnusableCsv, InvalidInput: the file can't be used.
        NotOpened: the company that all arms begin with can't be opened.
    """
    begun = time.monotonic()
    result = _begun(plan)
    with crew.leaving_when_told(), scratch.server() as place:
        say("Opening the company that all begin with.")
        _open(plan, place, result.bar_seconds)
        _trade(plan, place, result, say)
    for seed in comparison.other_markets(result.runs):
        result.failures.append(f"seed {seed}: its arms saw different prices; it doesn't count.")
        for of_arm in result.runs.values():
            of_arm.pop(seed, None)
    result.seconds = time.monotonic() - begun
    return result


# --- what is the same for all arms ----------------------------------------------------------------


def pace(plan: Plan, *, beat_minutes: float) -> dict[str, Any]:
    """Policies that keep the demo's proportions between candles, heartbeats and what agents do."""
    kept: dict[str, Any] = {"retention_days": KEPT_DAYS}
    if not plan.csv:
        return kept
    demo = opening_values("demo")
    slower = max(1.0, beat_minutes / _usual_beat_minutes())
    return kept | {
        "trigger_pace": min(PACE_MOST, demo["trigger_pace"] * slower),
        "initiatives_apart_hours": min(168, demo["initiatives_apart_hours"] * slower),
        "learning_window_hours": min(WINDOW_MOST_HOURS, round(demo["learning_window_hours"] * slower)),
    }


def _usual_beat_minutes() -> float:
    return float(opening_values("demo")["beat_every_seconds"]) / 60


def _begun(plan: Plan) -> Result:
    """Reads the file, so that what is wrong with it is said at once."""
    course = open_course(seed=plan.seeds[0], csv=plan.csv, market=plan.market)
    bar_seconds = course.feed.bar_seconds
    beat_minutes = plan.beat_minutes or max(_usual_beat_minutes(), bar_seconds / 60)
    days = plan.days or USUAL_BEATS * beat_minutes / MINUTES_A_DAY
    if next(course.moments(days=days), None) is None:
        raise InvalidInput(f"{days:g} days hold no candle of {bar_seconds} s.")
    return Result(plan, bar_seconds, beat_minutes, days, runs={arm.name: {} for arm in plan.arms})


# --- children -------------------------------------------------------------------------------------


def _open(plan: Plan, place: Scratch, bar_seconds: int) -> None:
    place.create(TEMPLATE)
    task = Task(child.OPEN, parent=os.getpid(), seed=0, csv=plan.csv, market=plan.market)
    job = Job("", _argv(task), _environment(plan, place, TEMPLATE, bar_seconds), settings.BASE_DIR)
    ended: list[Ended[str]] = []
    crew.run([job], at_once=1, end=ended.append)
    if ended[0].failed:
        raise NotOpened(f"The company can't be opened: {ended[0].words}")


def _trade(plan: Plan, place: Scratch, result: Result, say: Callable[[str], None]) -> None:
    begun, runs = time.monotonic(), plan.runs
    jobs = [_job(run, plan, place, result) for run in runs]
    ended: list[Run] = []

    def end(how: Ended[Run]) -> None:
        ended.append(how.about)
        _collect(how, result)
        place.drop(how.about.database)
        left = (time.monotonic() - begun) / len(ended) * (len(runs) - len(ended))
        say(f"{how.about}: {'failed' if how.failed else 'done'}. {len(ended)} of {len(runs)}, {_span(left)} left.")

    crew.run(jobs, at_once=plan.at_once, begin=lambda run: place.create(run.database, template=TEMPLATE), end=end)


def _job(run: Run, plan: Plan, place: Scratch, result: Result) -> Job[Run]:
    task = Task(
        child.TRADE,
        parent=os.getpid(),
        seed=run.seed,
        csv=plan.csv,
        market=plan.market,
        arm=run.arm,
        days=result.days,
        beat_minutes=result.beat_minutes,
        pace=pace(plan, beat_minutes=result.beat_minutes),
    )
    return Job(run, _argv(task), _environment(plan, place, run.database, result.bar_seconds), settings.BASE_DIR)


def _collect(how: Ended[Run], result: Result) -> None:
    if how.failed:
        result.failures.append(f"{how.about}: failed ({how.words})")
        return
    result.runs[how.about.arm][how.about.seed] = Figures(**json.loads(how.said.splitlines()[-1]))


def _environment(plan: Plan, place: Scratch, database: str, bar_seconds: int) -> dict[str, str]:
    """A file's market by the settings that name one; its speed is that of the simulated clock."""
    if not plan.csv:
        return place.environment(database)
    return place.environment(
        database,
        TRADECO_MARKET_CSV=plan.csv,
        TRADECO_MARKET=plan.market,
        TRADECO_MARKET_SPEED=str(1 / bar_seconds),
    )


def _argv(task: Task) -> list[str]:
    return [sys.executable, "-m", child.__name__, task.as_argument()]


def _span(seconds: float) -> str:
    return f"some {timedelta(seconds=round(seconds))}" if seconds >= 1 else "nothing"
