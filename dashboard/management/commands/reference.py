"""`manage.py reference`: write the generated pages of docs/reference/, or say which are out of date."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from dashboard import reference


class Command(BaseCommand):
    help = (
        "Write the reference pages that come from the code (--write), or compare them with it (--check). "
        "Exit codes: 0 done or current, 1 a page is out of date."
    )
    requires_system_checks = []  # it reads code only

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--write", action="store_true", help="write the pages anew")
        what.add_argument("--check", action="store_true", help="only say which pages differ")

    def handle(self, *args: Any, write: bool, **options: Any) -> None:
        folder = Path(settings.BASE_DIR) / "docs" / "reference"
        if write:
            folder.mkdir(parents=True, exist_ok=True)
            for name, page in reference.PAGES.items():
                (folder / name).write_text(page())
            self.stdout.write(f"{len(reference.PAGES)} pages written to docs/reference/.")
        elif different := reference.differences(folder):
            raise CommandError(f"Out of date: {', '.join(different)}. Run `make docs` and commit the result.")
