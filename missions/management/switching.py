"""What halt, reduce and resume have in common."""

from typing import Any, ClassVar

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from missions import company
from missions.vocabulary import CompanyStatus
from tradeco.common import db
from tradeco.common.errors import DomainError


class SwitchCommand(BaseCommand):
    to: ClassVar[CompanyStatus]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="why; it is stored and shown")
        parser.add_argument("--user", default="admin", help="who says so (a staff user's name)")

    def handle(self, *args: Any, **options: Any) -> None:
        user = get_user_model().objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {options['user']!r}.")
        try:
            row = company.switch(to=self.to, by=user, reason=options["reason"], now=db.now())
        except DomainError as refused:
            raise CommandError(refused.detail) from refused
        self.stdout.write(f"The company is {row.status}: {row.reason}")
