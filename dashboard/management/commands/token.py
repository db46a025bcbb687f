"""manage.py token create|list|revoke: API tokens from the command line."""

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dashboard.models import ApiToken, Scope
from tradeco.common import db


class Command(BaseCommand):
    help = "Makes, lists and revokes API tokens. A token's secret is shown once, when it is made."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True)
        create = verbs.add_parser("create", help="make a token and print its secret")
        create.add_argument("--user", required=True, help="whose token it is")
        create.add_argument("--name", required=True, help="what it is for")
        create.add_argument("--scope", action="append", choices=Scope.values, help="again for each; default: read")
        create.add_argument("--days", type=int, default=90, help="until it expires (90); 0: never")
        verbs.add_parser("list", help="all tokens, without their secrets")
        revoke = verbs.add_parser("revoke", help="end a token now")
        revoke.add_argument("prefix", help="the beginning of the secret, as list shows it")

    def handle(self, *args: Any, **options: Any) -> None:
        getattr(self, options["verb"])(options)

    def create(self, options: dict[str, Any]) -> None:
        user = get_user_model().objects.filter(username=options["user"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {options['user']!r}.")
        now = db.now()
        expires = now + timedelta(days=options["days"]) if options["days"] else None
        scopes = options["scope"] or [Scope.READ.value]
        _, secret = ApiToken.issue(
            user=user, name=options["name"], scopes=sorted(set(scopes)), now=now, expires_at=expires
        )
        self.stdout.write(secret)

    def list(self, options: dict[str, Any]) -> None:
        now = db.now()
        for token in ApiToken.objects.select_related("user").order_by("pk"):
            state = "works" if token.works(now=now) else "ended"
            used = token.last_used_at.isoformat(timespec="seconds") if token.last_used_at else "never used"
            scopes = ",".join(token.scopes)
            self.stdout.write(f"{token.prefix}  {state:<6} {token.user}  {token.name}  [{scopes}]  {used}")

    def revoke(self, options: dict[str, Any]) -> None:
        token = ApiToken.objects.filter(prefix=options["prefix"], revoked_at__isnull=True).first()
        if token is None:
            raise CommandError("No working token begins like this; manage.py token list shows them.")
        self.stdout.write(f"Revoked: {token.revoke(now=db.now())}.")
