"""manage.py experiment: what debate and memory are worth."""

import json
import os
import signal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tradeco.common.errors import DomainError
from trading import experiment
from trading.experiments import arms

SEEDS = 8


class Command(BaseCommand):
    help = (
        "Lets companies that differ in debate and memory alone trade the same markets on paper, over many seeds, and"
        " reports forecasts and P&L side by side, with confidence intervals of what differs. Runs in databases of its"
        " own: the company's isn't touched, and needn't run. Exit codes: 0 all runs count, 1 one failed; the others"
        " are reported all the same."
    )
    requires_system_checks = ()  # the company in this folder needn't run

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--arms", default=",".join(arms.ARMS), help="the first is what the others are compared"
                            " with (%(default)s)")  # fmt: skip
        parser.add_argument("--seeds", type=_count, default=SEEDS, help="how many (%(default)s)")
        parser.add_argument("--first-seed", type=_count, default=1, help="they go on from here (%(default)s)")
        parser.add_argument("--days", type=_positive, help="of market time in a run (as many as hold"
                            f" {experiment.USUAL_BEATS} heartbeats)")  # fmt: skip
        parser.add_argument("--beat", type=_positive, help="minutes of market time between heartbeats (15 s; at least"
                            " a candle)")  # fmt: skip
        parser.add_argument("--csv", type=Path, help="prices of this file instead; then seeds differ in the dice only")
        parser.add_argument("--market", default="SOL/USDC", help="the market of the file (%(default)s)")
        parser.add_argument("--parallel", type=_count, default=2, help="runs beside each other (%(default)s)")
        parser.add_argument("--json", type=Path, help="write all figures to this file too")

    def handle(self, *args: Any, **options: Any) -> None:
        path: Path | None = options["json"]
        if path is not None and not os.access(path.parent, os.W_OK):
            raise CommandError(f"{path} can't be written.")
        try:
            result = experiment.run(_plan(options), say=self.stderr.write)
        except DomainError as refused:
            raise CommandError(refused.detail) from refused
        except KeyboardInterrupt as told:
            number = told.args[0] if told.args else signal.SIGINT
            raise CommandError("Stopped; nothing is left of it.", returncode=128 + number) from None
        self.stdout.write("\n".join(result.lines()))
        if path is not None:
            path.write_text(json.dumps(result.as_json(), indent=1) + "\n")
        if result.failures:
            raise SystemExit(1)


def _plan(options: dict[str, Any]) -> experiment.Plan:
    first, csv = options["first_seed"], options["csv"]
    return experiment.Plan(
        arms=arms.read(options["arms"]),
        seeds=range(first, first + options["seeds"]),
        days=options["days"],
        beat_minutes=options["beat"],
        csv=str(csv.expanduser().absolute()) if csv else "",
        market=options["market"].upper(),
        at_once=options["parallel"],
    )


def _count(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 100_000:
        raise ValueError("one at least")
    return number


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number <= 36_500:
        raise ValueError("more than nothing")
    return number
