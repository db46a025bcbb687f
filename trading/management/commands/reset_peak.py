"""manage.py reset_peak."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from missions import words
from missions.management.switching import MORE_PEOPLE, speaker
from tradeco.common.errors import DomainError
from trading import portfolio


class Command(BaseCommand):
    help = (
        "Sets the equity peak, from which drawdown is measured, back to what there is now: after a wrong price had"
        " raised it. Exit codes: 0 done, 1 refused, 3 the word is kept and more people must say the same."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--reason", required=True, help="why; it is stored and shown")
        parser.add_argument("--user", default="admin", help="who says so (a staff user's name)")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            missing = portfolio.reset_peak(by=speaker(options["user"]), reason=options["reason"])
        except DomainError as refused:
            raise CommandError(f"{refused.title}. {refused.detail}") from refused
        if missing:
            raise CommandError(words.still(missing), returncode=MORE_PEOPLE)
        self.stdout.write("The peak is what equity is now.")
