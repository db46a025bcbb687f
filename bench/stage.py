"""Where the measurements play: one PostgreSQL, and a fresh company in a database of its own for each of them.

The company is opened once, by the project's own commands, and copied as a template. What is measured, and by
which processes, is the measurements' affair.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from tradeco.common.postgres import EmbeddedServer, connection

ROOT = Path(__file__).resolve().parent.parent
OPENING = (["manage.py", "migrate", "--noinput"], ["manage.py", "bootstrap"], ["-m", "bench.prices"])


@dataclass(frozen=True, slots=True)
class Address:
    """A database."""

    name: str
    user: str
    host: str
    port: str = "5432"
    password: str = ""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """From one of Django's DATABASES."""
        return cls(
            name=str(settings["NAME"]),
            user=str(settings["USER"]),
            host=str(settings["HOST"]),
            port=str(settings.get("PORT") or "5432"),
            password=str(settings.get("PASSWORD") or ""),
        )

    @property
    def url(self) -> str:
        """As DATABASE_URL wants it: a socket's folder stands in the path, where the settings look for it."""
        password = f":{quote(self.password, safe='')}" if self.password else ""
        host, folder = ("", f"{self.host}/") if self.host.startswith("/") else (self.host, "")
        return f"postgres://{self.user}{password}@{host}:{self.port}/{folder}{self.name}"

    def connect(self) -> psycopg.Connection[Any]:
        """Our own connection, in autocommit and without the application's limits: it loads a million rows."""
        return psycopg.connect(**self.as_psycopg(), autocommit=True)

    def as_psycopg(self) -> dict[str, Any]:
        return {
            "dbname": self.name,
            "user": self.user,
            "host": self.host,
            "port": self.port,
            "password": self.password or None,
        }


@dataclass(frozen=True, slots=True)
class Stage:
    """What every measurement gets.

    Args:
        home: TRADECO_HOME of the processes that are measured.
        template: the opened company; nobody stays connected to it, so that it can be copied.
        quick: small counts, to see that everything runs; the figures mean little.
        full: also what takes long or needs more cores: ten million rows, 500 clients.
        tell: shows what is being done.
    """

    home: Path
    template: Address
    maintenance: Address
    quick: bool = False
    full: bool = False
    tell: Callable[[str], None] = lambda _: None

    @property
    def rounds(self) -> int:
        return 1 if self.quick else 3

    def count(self, usual: int, quick: int) -> int:
        return quick if self.quick else usual

    def env(self, address: Address, **more: str) -> dict[str, str]:
        return _environment(self.home, address) | more

    @contextlib.contextmanager
    def company(self) -> Iterator[Address]:
        """A fresh company in a database of its own, dropped afterwards."""
        address = replace(self.template, name=f"bench_{uuid.uuid4().hex[:12]}")
        self._admin("CREATE DATABASE {} TEMPLATE {}", address.name, self.template.name)
        try:
            yield address
        finally:
            self._admin("DROP DATABASE {} WITH (FORCE)", address.name)

    def _admin(self, statement: str, *names: str) -> None:
        with self.maintenance.connect() as database:
            database.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


@contextlib.contextmanager
def opened(*, maintenance: Address, quick: bool, full: bool, tell: Callable[[str], None]) -> Iterator[Stage]:
    """A stage on a server that runs; `maintenance` is any database there, of a role that may create others."""
    template = replace(maintenance, name=f"bench_template_{uuid.uuid4().hex[:12]}")
    with temporary_home() as home:
        stage = Stage(home, template, maintenance, quick=quick, full=full, tell=tell)
        stage._admin("CREATE DATABASE {}", template.name)
        try:
            tell("opening the company")
            for arguments in OPENING:
                run_python(arguments, env=stage.env(template))
            yield stage
        finally:
            stage._admin("DROP DATABASE {} WITH (FORCE)", template.name)


@contextlib.contextmanager
def own_server() -> Iterator[Address]:
    """An embedded PostgreSQL as a company has it: durable, with the shipped settings."""
    with temporary_home() as home:
        server = EmbeddedServer(home)
        server.start()
        try:
            yield Address.of(connection(home))
        finally:
            server.stop()


@contextlib.contextmanager
def temporary_home() -> Iterator[Path]:
    home = Path(tempfile.mkdtemp(prefix="tradeco-bench-"))
    try:
        yield home
    finally:
        elsewhere = home / "postgres-folder"  # where root's server had to live, if it did
        if elsewhere.exists():
            shutil.rmtree(elsewhere.read_text().strip(), ignore_errors=True)
        shutil.rmtree(home, ignore_errors=True)


def run_python(arguments: list[str], *, env: dict[str, str]) -> None:
    """Run one of our programs to its end.

    Raises:
        RuntimeError: it failed; with its last words.
    """
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(arguments)} failed:\n{done.stderr[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _environment(home: Path, address: Address) -> dict[str, str]:
    """The caller's own settings of a company don't count: all start from the shipped ones."""
    foreign = ("TRADECO_", "DATABASE_URL", "SENTRY_DSN", "PORT", "HOST", "PGOPTIONS")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return kept | {
        "TRADECO_HOME": str(home),
        "DATABASE_URL": address.url,
        "DJANGO_SETTINGS_MODULE": "tradeco.settings",
        "TRADECO_LOG_LEVEL": "ERROR",
        "PYTHONWARNINGS": "ignore",
    }
