"""manage.py drill: a restore rehearsed on a company of its own."""

import json
import os
import shutil
import subprocess  # our own manage.py with fixed arguments  # nosec B404
import sys
import tempfile
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from tradeco.common.errors import DomainError
from trading import drill

NOT_ITS_OWN = ("TRADECO_", "DATABASE_URL", "PORT", "HOST")


class Command(BaseCommand):
    help = (
        "Rehearses a restore in a folder of its own, with play money: trades, dumps, trades on, restores the dump"
        " beside the living chain, boots, and reconciles. Prints one JSON verdict last. Exit code 0 only if the company"
        " boots halted, finds every trade since the dump and repeats none."
    )
    requires_system_checks = ()  # the company in this folder needn't run

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--trades", type=_count, default=50, help="after the dump (%(default)s)")
        parser.add_argument("--before", type=_count, default=5, help="before it (%(default)s)")
        parser.add_argument("--inside", action="store_true", help="this is the drill's own process and folder")

    def handle(self, *args: Any, trades: int, before: int, inside: bool, **options: Any) -> None:
        if inside:
            self._inside(trades=trades, before=before)
            return
        folder = Path(tempfile.mkdtemp(prefix=f"tradeco-drill-{os.getpid()}-"))
        command = [sys.executable, "manage.py", "drill", "--inside", "--trades", str(trades), "--before", str(before)]
        try:
            code = subprocess.run(command, cwd=settings.BASE_DIR, env=_environment(folder), check=False).returncode  # nosec B603
            if code:
                self._keep_logs(folder)
                raise SystemExit(1)
        finally:
            _remove(folder)

    def _inside(self, *, trades: int, before: int) -> None:
        if not settings.TRADECO_HOME.name.startswith("tradeco-drill-"):
            raise CommandError("A drill isn't held in a company's own folder. Leave --inside out.")
        try:
            verdict = drill.run(before=before, after=trades, say=self.stderr.write)
        except DomainError as refused:
            raise CommandError(refused.detail) from refused
        self.stderr.write(
            f"found {verdict.found} of {verdict.traded}, repeated {verdict.repeated}, status {verdict.status}"
        )
        self.stdout.write(json.dumps(verdict.as_json()))
        if not verdict.ok:
            raise SystemExit(1)

    def _keep_logs(self, folder: Path) -> None:
        kept = Path(tempfile.mkdtemp(prefix="tradeco-drill-logs-"))
        shutil.copytree(folder / "logs", kept, dirs_exist_ok=True)
        self.stderr.write(f"Its logs are kept in {kept}.")


def _environment(folder: Path) -> dict[str, str]:
    """A company of its own: nothing of ours but the interpreter's surroundings."""
    theirs = {name: value for name, value in os.environ.items() if not name.startswith(NOT_ITS_OWN)}
    return theirs | {
        "TRADECO_HOME": str(folder),
        "TRADECO_NETWORK": "sandbox",
        "TRADECO_SANDBOX_PORT": str(drill.free_port()),
        "TRADECO_LOG_LEVEL": "WARNING",
        "PORT": str(drill.free_port()),
    }


def _remove(folder: Path) -> None:
    elsewhere = folder / "postgres-folder"  # where root's server had to live, if it did
    if elsewhere.exists():
        shutil.rmtree(elsewhere.read_text().strip(), ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def _count(text: str) -> int:
    number = int(text)
    if number < 2:
        raise ValueError("two at least")
    return number
