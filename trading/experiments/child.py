"""One process of an experiment: it prepares the database that others are copied from, or trades one market in a copy.

    python -m trading.experiments.child '{"task": "open" | "trade", …}'

It trusts nothing but its environment, which its parent wrote, and refuses every database and network but an
experiment's. It prints one JSON line.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

from tradeco.common.wiring import load

DATABASES = "experiment_"
OPEN, TRADE = "open", "trade"


@dataclass(frozen=True, slots=True)
class Task:
    """What one child is told. `csv` is empty where the market is the seed's; `parent` is who must live meanwhile."""

    task: str
    parent: int
    seed: int
    csv: str = ""
    market: str = ""
    arm: str = ""
    days: float = 0.0
    beat_minutes: float = 0.0
    pace: dict[str, Any] | None = None

    def as_argument(self) -> str:
        return json.dumps(asdict(self))


def main(argument: str) -> None:
    task = Task(**json.loads(argument))
    django.setup()
    _require_play()
    said = _open(task) if task.task == OPEN else _trade(task)
    sys.stdout.write(json.dumps(said) + "\n")


def _require_play() -> None:
    name = settings.DATABASES["default"]["NAME"]
    if settings.NETWORK != "paper" or not name.startswith(DATABASES):
        raise SystemExit(f"An experiment trades on paper in a database of its own, not {settings.NETWORK} in {name}.")


def _open(task: Task) -> dict[str, Any]:
    """Migrate, and open the company at the moment at which its market begins."""
    from trading.experiments import clock, markets

    call_command("migrate", interactive=False, verbosity=0)
    clock.install()
    clock.Clock(markets.open_course(seed=task.seed, csv=task.csv, market=task.market).begins).start()
    for path in settings.BOOTSTRAP:
        load(path)()
    return {}


def _trade(task: Task) -> dict[str, Any]:
    """Trade a market in the copy of that company."""
    from trading.experiments import arms, clock, markets, simulation

    course = markets.open_course(seed=task.seed, csv=task.csv, market=task.market)
    time = clock.Clock(course.begins)
    time.start()
    setting = simulation.Setting(task.seed, task.days, task.beat_minutes, task.pace or {})
    return simulation.run(arms.ARMS[task.arm], setting, course, time, look=lambda: _require(task.parent)).as_json()


def _require(parent: int) -> None:
    """An experiment that was killed leaves nobody at work."""
    if os.getppid() != parent:
        raise SystemExit("The experiment was ended.")


if __name__ == "__main__":
    main(sys.argv[1])
