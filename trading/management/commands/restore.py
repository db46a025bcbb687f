"""manage.py restore: set the books back to a dump, and open halted."""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection
from django.db.migrations.loader import MigrationLoader

from tradeco.common import archive, backups, db, postgres, premises
from tradeco.common.backups import BackupUnusable, Manifest
from tradeco.common.errors import DomainError
from trading import restoring


class Command(BaseCommand):
    help = (
        "Puts a dump in the place of the database, which is kept beside it under another name, and halts the company:"
        " nothing that had been decided is sent. Refuses while the company runs. A base backup is recovered to --to,"
        " or to the last moment that the log knows. With --recovered the database is one that you set back yourself."
    )
    requires_system_checks = ()  # what is restored may be all that is wrong

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("dump", type=Path, nargs="?", help="what `manage.py backup` made")
        parser.add_argument("--to", type=_moment, help="of a base backup: the moment, as 2026-11-23T03:00:00Z")
        parser.add_argument("--recovered", action="store_true", help="restore nothing: the database was set back")
        parser.add_argument("--yes", action="store_true", help="you mean it")

    def handle(
        self, *args: Any, dump: Path | None, to: datetime | None, recovered: bool, yes: bool, **options: Any
    ) -> None:
        if (dump is None) != recovered:
            raise CommandError("Name a dump, or say --recovered.")
        is_base = dump is not None and dump.name.endswith(archive.SUFFIX)
        if to is not None and not is_base:
            raise CommandError(f"Only a base backup (…{archive.SUFFIX}) can be recovered to a moment.")
        if not yes:
            raise CommandError("This sets the company's books back. Say --yes if you mean it.")
        try:
            with ExitStack() as opened:
                opened.enter_context(premises.held(settings.TRADECO_HOME))
                if dump and is_base:
                    self._recover(dump, to)
                    return
                database = dict(connection.settings_dict)
                home = settings.TRADECO_HOME if settings.EMBEDDED_POSTGRES else None
                opened.enter_context(backups.reachable(database, home=home))
                opened.callback(connection.close)
                self._restore(dump, database) if dump else self._adopt_recovered(database)
        except DomainError as refused:
            raise CommandError(refused.detail) from refused

    def _restore(self, dump: Path, database: dict[str, Any]) -> None:
        manifest = backups.check(dump)
        _refuse_a_newer(manifest)

        def prepare(name: str) -> None:
            with restoring.led_to(name):
                self._adopt(f"Restored from {dump.name}, of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC.")

        aside = backups.restore(dump, database, prepare=prepare)
        self.stdout.write(f"What was there before is the database {aside}.")

    def _recover(self, base: Path, to: datetime | None) -> None:
        if not settings.EMBEDDED_POSTGRES:
            raise CommandError("Recover your own PostgreSQL by its own tools, then say --recovered.")

        def prepare(home: Path) -> None:
            with restoring.led_to(postgres.DATABASE, host=postgres.connection(home)["HOST"]):
                when = f"{to.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if to else "the last moment known"
                self._adopt(f"Recovered from {base.name} to {when}.")

        aside = archive.recover(settings.TRADECO_HOME, base, to=to, prepare=prepare)
        self.stdout.write(f"What was there before is in {aside}.")

    def _adopt_recovered(self, database: dict[str, Any]) -> None:
        connection.close()
        backups.refuse_where_in_use(database)
        self._adopt("The database was recovered to an earlier moment.")

    def _adopt(self, why: str) -> None:
        call_command("migrate", interactive=False, verbosity=0)
        adopted = restoring.adopt(why=why, now=db.now())
        self.stdout.write(
            f"{why} The company is halted. {adopted.let_go} approved trades were let go, {adopted.lapsed} proposals"
            f" lapsed, {adopted.sent} orders had been sent and will be looked up."
        )


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.utcoffset() is None:
        raise ValueError("say the offset too, as in 2026-11-23T03:00:00Z")
    return moment


def _refuse_a_newer(manifest: Manifest) -> None:
    known = MigrationLoader(None).disk_migrations
    unknown = [f"{app}.{name}" for app, name in manifest.migrations.items() if (app, name) not in known]
    if unknown:
        raise BackupUnusable(f"It was made by a newer tradeco, with {', '.join(unknown)}. Install that one first.")
