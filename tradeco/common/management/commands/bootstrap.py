"""manage.py bootstrap: bring the database up to date and open the company, or make sure that it is whole."""

from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from tradeco.common.errors import DomainError
from tradeco.common.wiring import load


class Command(BaseCommand):
    help = (
        "Migrates the database and opens the company: agents, policies, books, the first staff user."
        " Runs again without effect."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        self.stdout.write("The database is up to date.")
        for path in settings.BOOTSTRAP:
            try:
                load(path)()
            except DomainError as refused:
                raise CommandError(refused.detail) from refused
        self.stdout.write("The company is open.")
