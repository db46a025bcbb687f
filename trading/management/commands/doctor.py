"""manage.py doctor: what is missing before this set-up can trade."""

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from trading import doctor
from trading.doctor import State

MARKS = {State.OK: "ok  ", State.WARN: "warn", State.FAIL: "FAIL"}


class Command(BaseCommand):
    help = (
        "Looks whether this set-up can trade: database, key, signer, Solana nodes, Jupiter, balances, clocks, and"
        " what waits to be settled; says what to do. Never signs, never trades. Exit codes: 0 nothing fails, 1 it"
        " does."
    )
    requires_system_checks = ()  # looks for itself, and must be able to say what is wrong

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def handle(self, *args: Any, **options: Any) -> None:
        failed = False
        for line in doctor.examine():
            failed = failed or line.state == State.FAIL
            if options["json"]:
                self.stdout.write(json.dumps(asdict(line)))
                continue
            self.stdout.write(f"{MARKS[line.state]}  {line.check}: {line.said}")
            if line.do and line.state != State.OK:
                self.stdout.write(f"      → {line.do}")
        if failed:
            raise SystemExit(1)
