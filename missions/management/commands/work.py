"""manage.py work: drain the steps in this process."""

import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from missions import execution, rescue
from tradeco.common import db, pulses

LOOK_SECONDS = 1.0


class Command(BaseCommand):
    help = "Runs steps in this process, beside the workers. Without --until-empty it goes on until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--until-empty", action="store_true", help="end when no step is runnable")
        parser.add_argument("--seconds", type=float, default=None, help="end after so many seconds")

    def handle(self, *args: Any, **options: Any) -> None:
        until = time.monotonic() + options["seconds"] if options["seconds"] else None
        try:
            while until is None or time.monotonic() < until:
                pulses.beat("worker", now=db.now())
                done = execution.drain(budget_seconds=20)
                for ending, count in sorted(done.items()):
                    self.stdout.write(f"{ending}: {count}")
                if options["until_empty"] and not done:
                    break
                rescue.run(now=db.now(), limit=100)
                time.sleep(0 if done else LOOK_SECONDS)
        except KeyboardInterrupt:
            self.stdout.write("Stopped.")
