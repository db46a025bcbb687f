"""What halt, reduce, resume and other commands in a person's name have in common."""

from typing import Any, ClassVar

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.core.management.base import BaseCommand, CommandError, CommandParser

from missions import company, policies, words
from missions.vocabulary import CompanyStatus
from tradeco.common import db
from tradeco.common.errors import DomainError

MORE_PEOPLE = 3  # exit code: the word is kept, and isn't enough


def speaker(name: str) -> AbstractBaseUser:
    """The person in whose name a command speaks."""
    user = get_user_model().objects.filter(username=name, is_active=True).first()
    if user is None or not user.has_perm(policies.MAY_AGREE):
        raise CommandError(f"There is no active user {name!r} who may say so.")
    return user


class SwitchCommand(BaseCommand):
    to: ClassVar[CompanyStatus]

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="why; it is stored and shown")
        parser.add_argument("--user", default="admin", help="who says so (a staff user's name)")

    def handle(self, *args: Any, **options: Any) -> None:
        user = speaker(options["user"])
        try:
            switched = company.switch(to=self.to, by=user, reason=options["reason"], now=db.now())
        except DomainError as refused:
            raise CommandError(refused.detail) from refused
        if switched.missing:
            raise CommandError(words.still(switched.missing), returncode=MORE_PEOPLE)
        self.stdout.write(f"The company is {switched.company.status}: {switched.company.reason}")
