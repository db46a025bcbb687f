"""manage.py soak: the company under fire, and a verdict."""

import json
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from trading import soak


class Command(BaseCommand):
    help = (
        "Runs a company and a chain of its own for some minutes while its processes, the chain's and the signer's too,"
        " are killed and stopped, its database sessions ended, its database restarted, and chain and Jupiter fail in"
        " every way; then compares its books with the chain's ledger. Prints one JSON verdict last. Exit code 0 only"
        " if nothing is lost, doubled, stuck or unbalanced."
    )
    requires_system_checks = ()  # the company in this folder needn't run

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--minutes", type=float, default=2.0, help="how long the fire burns (%(default)s)")
        parser.add_argument("--seed", type=int, default=None, help="of what is struck; default: the clock")

    def handle(self, *args: Any, **options: Any) -> None:
        seed = options["seed"] if options["seed"] is not None else time.time_ns() % 1_000_000
        self.stderr.write(f"Seed {seed}.")
        verdict = soak.run(minutes=options["minutes"], seed=seed, say=self.stderr.write)
        self.stdout.write(json.dumps(verdict.as_json()))
        if not verdict.ok:
            raise SystemExit(1)
