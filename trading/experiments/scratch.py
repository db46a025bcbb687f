"""A PostgreSQL for an experiment alone, in a temporary folder: databases made, copied and dropped, nothing kept."""

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from tradeco.common import postgres

PREFIX = "tradeco-experiment-"
SURROUNDINGS = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "PYTHONPATH")
"""All that a child gets of our environment: no key, no token, no address."""


class Scratch:
    """One server and its folder, which is the children's TRADECO_HOME."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._place = postgres.connection(home)

    def create(self, name: str, *, template: str = "template0") -> None:
        """A new database, as another one is."""
        self._do("CREATE DATABASE {} TEMPLATE {}", name, template)

    def drop(self, name: str) -> None:
        """Drop it, if nobody is in it; the folder's end takes the rest."""
        with suppress(psycopg.Error):
            self._do("DROP DATABASE IF EXISTS {}", name)

    def environment(self, name: str, **more: str) -> dict[str, str]:
        """What a child is started with that works in this database."""
        ours: Mapping[str, str] = {name: os.environ[name] for name in SURROUNDINGS if name in os.environ}
        return {
            **ours,
            "DJANGO_SETTINGS_MODULE": "tradeco.settings",
            "DATABASE_URL": f"postgres://{self._place['USER']}@{quote(self._place['HOST'], safe='')}"
            f":{self._place['PORT']}/{name}",
            "TRADECO_HOME": str(self.home),
            "TRADECO_NETWORK": "paper",
            "TRADECO_POLICY_SET": "demo",
            "TRADECO_VOICE": "scripted",
            "TRADECO_LOG_LEVEL": "ERROR",
            "PYTHONHASHSEED": "0",  # a set's order must not differ from run to run
            **more,
        }

    def _do(self, statement: str, *names: str) -> None:
        place = self._place
        with psycopg.connect(
            host=place["HOST"], port=place["PORT"], user=place["USER"], dbname="postgres", autocommit=True
        ) as admin:
            admin.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextmanager
def server() -> Iterator[Scratch]:
    """Start one, and leave nothing of it whatever happens; what a killed experiment left goes first.

    Raises:
        PostgresUnavailable: it can't run here.
    """
    clear_leftovers()
    home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    running = postgres.EmbeddedServer(home, durable=False)
    try:
        running.start()
        yield Scratch(home)
    finally:
        running.stop()
        _remove(home)


def clear_leftovers() -> None:
    """A killed experiment couldn't clean up; its folder's name says which process it was."""
    for home in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = home.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)) and home.stat().st_uid == os.geteuid():
            postgres.EmbeddedServer(home, durable=False).end_leftovers()
            _remove(home)


def _remove(home: Path) -> None:
    elsewhere = home / "postgres-folder"  # where root's server had to live, if it did
    if elsewhere.exists():
        shutil.rmtree(elsewhere.read_text().strip(), ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
