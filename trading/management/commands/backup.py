"""manage.py backup: dump the database, or check a dump."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from tradeco.common import archive, backups
from tradeco.common.errors import DomainError


class Command(BaseCommand):
    help = (
        "Dumps the database into $TRADECO_HOME/backups, with a manifest, while the company runs or rests; or checks a"
        " dump. Keys and logs aren't in it. With --base: a base backup of the embedded database, from which any later"
        " moment can be recovered; the first time switches on the keeping of its log."
    )
    requires_system_checks = ()  # a backup must be possible of a company that isn't well

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--folder", type=Path, default=settings.TRADECO_HOME / backups.FOLDER, help="where to")
        parser.add_argument("--keep", type=_count, help="afterwards remove all but so many of the newest in the folder")
        parser.add_argument("--base", action="store_true", help="a base backup for recovery to a moment")
        parser.add_argument("--check", type=Path, metavar="DUMP", help="make none; check that one instead")

    def handle(
        self, *args: Any, folder: Path, keep: int | None, check: Path | None, base: bool, **options: Any
    ) -> None:
        if base:
            self._base(folder, keep)
            return
        home = settings.TRADECO_HOME if settings.EMBEDDED_POSTGRES else None
        try:
            if check is None:
                database = dict(connection.settings_dict)
                with backups.reachable(database, home=home):
                    check = backups.make(database, folder=folder)
            manifest = backups.check(check)
        except DomainError as refused:
            raise CommandError(refused.detail) from refused
        for old in sorted(folder.glob("*.dump"))[:-keep] if keep else []:
            old.unlink()
            backups.manifest_of(old).unlink(missing_ok=True)
        self.stdout.write(
            f"{check}\n{manifest.bytes:,} bytes of {manifest.made_at:%Y-%m-%d %H:%M:%S} UTC, whole;"
            f" {sum(manifest.rows.values()):,} rows, newest event {manifest.newest_event}."
        )

    def _base(self, folder: Path, keep: int | None) -> None:
        if not settings.EMBEDDED_POSTGRES:
            raise CommandError("Your own PostgreSQL has its own tools for this: pg_basebackup and archive_command.")
        try:
            archive.switch_on(settings.TRADECO_HOME)
            path = archive.base(settings.TRADECO_HOME, folder=folder)
            if keep:
                archive.prune(settings.TRADECO_HOME, folder=folder, keep=keep)
        except DomainError as refused:
            raise CommandError(refused.detail) from refused
        self.stdout.write(f"{path}\n{path.stat().st_size:,} bytes. Every moment from now on can be recovered.")


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("at least one is kept")
    return number
