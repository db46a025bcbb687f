"""manage.py bootstrap: make a new company, or make sure that one is whole."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from tradeco.common.errors import DomainError
from tradeco.common.wiring import load


class Command(BaseCommand):
    help = "Opens the company: agents, policies, books, the first staff user. Runs again without effect."

    def handle(self, *args: Any, **options: Any) -> None:
        for path in settings.BOOTSTRAP:
            try:
                load(path)()
            except DomainError as refused:
                raise CommandError(refused.detail) from refused
