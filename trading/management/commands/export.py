"""manage.py export: a year's disposals and fees as CSV."""

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from tradeco.common import db
from trading import export, lots


class Command(BaseCommand):
    help = (
        "Writes a UTC year for the tax adviser as CSV: each disposal with the purchase it came from (first in, first"
        " out), fees of failed transactions, deposits, and what was moved by hand."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--year", type=_year, required=True)
        parser.add_argument("--output", type=Path, help="a new file, for your eyes only; default: standard output")

    def handle(self, *args: Any, year: int, output: Path | None, **options: Any) -> None:
        lots.catch_up()
        with db.one_snapshot():
            if output is None:
                export.write(self.stdout, year=year)  # type: ignore[arg-type]  # write() is all that it needs
                return
            try:
                with open(output, "x", newline="", opener=_private) as file:
                    count = export.write(file, year=year)
            except OSError as exc:
                raise CommandError(f"{output} can't be written: {exc.strerror}.") from exc
        self.stdout.write(f"{count} rows of {year} are in {output}.")


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _year(text: str) -> int:
    year = int(text)
    if not 2000 <= year <= 9998:
        raise ValueError(f"{text} is no year")
    return year
