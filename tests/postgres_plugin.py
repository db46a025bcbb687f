"""One embedded PostgreSQL for the whole test session, in a temporary home that no other run shares.

Loaded by `-p tests.postgres_plugin`, before pytest-django reads the settings: importing this module points
TRADECO_HOME at the temporary home, so that tests never touch the user's own, and settings find the server
there. With DATABASE_URL set, that server is used and none is started.
"""

import atexit
import os
import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import django.db.models  # noqa: F401  before pytest-randomly, whose import of model_bakery breaks it half-way
import psutil
import pytest

from tradeco.common import postgres

PREFIX = "tradeco-tests-"
NEEDS_NO_SERVER = ("help", "version", "collectonly", "show_fixtures", "show_fixtures_per_test", "markers")


class Session:
    """This process's home and server; an xdist worker uses its controller's."""

    def __init__(self) -> None:
        self.home: Path | None = None
        self.server: postgres.EmbeddedServer | None = None

    def make_home(self) -> None:
        if "PYTEST_XDIST_WORKER" in os.environ:
            return
        _remove_homes_of_killed_sessions()
        self.home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
        os.environ["TRADECO_HOME"] = str(self.home)
        atexit.register(self.end)

    def start_server(self) -> None:
        if self.home is not None and not os.environ.get("DATABASE_URL"):
            self.server = postgres.EmbeddedServer(self.home, durable=False)
            self.server.start()

    def end(self) -> None:
        if self.server is not None:
            self.server.stop()
        if self.home is not None:
            _remove(self.home)
        self.home = self.server = None


def _remove_homes_of_killed_sessions() -> None:
    """A session that was killed couldn't clean up; its folder's name says which process it was."""
    for home in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        owner = home.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)) and home.stat().st_uid == os.geteuid():
            orphan = postgres.EmbeddedServer(home, durable=False)
            if (home / "postgres").exists():
                orphan.end_leftovers()
            _remove(home)


def _remove(home: Path) -> None:
    elsewhere = home / "postgres-folder"  # where root's server had to live, if it did
    if elsewhere.exists():
        shutil.rmtree(elsewhere.read_text().strip(), ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)


os.environ.setdefault("TRADECO_NETWORK", "paper")  # tests that need a chain open one of their own
session = Session()
session.make_home()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    options = early_config.known_args_namespace
    if not any(getattr(options, name, False) for name in NEEDS_NO_SERVER):
        session.start_server()
    return (yield)


def pytest_unconfigure() -> None:
    session.end()
