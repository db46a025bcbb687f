"""Recovery of the embedded database to a moment, with real servers: what was committed until then is there, no more."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from tradeco.common import archive, postgres, postgres_place
from tradeco.common.backups import BackupUnusable
from tradeco.common.postgres import EmbeddedServer

pytestmark = pytest.mark.enable_socket


@pytest.fixture
def home() -> Iterator[Path]:
    """Not pytest's folder: root's database runs as another user, who must be able to enter."""
    made = Path(tempfile.mkdtemp(prefix="tradeco-archive-"))
    yield made
    shutil.rmtree(made)


class Running:
    """The server of a home for the length of a block."""

    def __init__(self, home: Path) -> None:
        self.server = EmbeddedServer(home)

    def __enter__(self) -> None:
        self.server.start()

    def __exit__(self, *_: object) -> None:
        self.server.stop()


def ask(home: Path, statement: str) -> list[Any]:
    to = postgres.connection(home)
    with psycopg.connect(
        host=to["HOST"], port=to["PORT"], user=to["USER"], dbname=to["NAME"], autocommit=True
    ) as connection:
        found = connection.execute(statement)
        return [row[0] for row in found.fetchall()] if found.description else []


def numbers(home: Path) -> list[int]:
    return ask(home, "SELECT n FROM numbers ORDER BY n")


@pytest.fixture
def base(home: Path) -> Path:
    """A base backup of 1; then 2, a moment, and 3 were committed. The server rests; `moment` is in its name's file."""
    archive.switch_on(home)
    with Running(home):
        ask(home, "CREATE TABLE numbers (n int)")
        ask(home, "INSERT INTO numbers VALUES (1)")
        path = archive.base(home, folder=home / "backups")
        ask(home, "INSERT INTO numbers VALUES (2)")
        time.sleep(0.05)
        (moment,) = ask(home, "SELECT clock_timestamp()")
        (home / "moment").write_text(moment.isoformat())
        time.sleep(0.05)
        ask(home, "INSERT INTO numbers VALUES (3)")
    return path


def test_a_moment_comes_back_and_the_company_can_go_on_from_it(home: Path, base: Path) -> None:
    seen: list[list[int]] = []
    moment = datetime.fromisoformat((home / "moment").read_text())
    aside = archive.recover(home, base, to=moment, prepare=lambda there: seen.append(numbers(there)))
    assert seen == [[1, 2]]
    assert aside.is_dir()
    with Running(home):
        assert numbers(home) == [1, 2]
        ask(home, "INSERT INTO numbers VALUES (4)")
        assert ask(home, "SHOW archive_mode") == ["on"]
    assert not (postgres_place.find(home=home).folder / "recovering").exists()


def test_without_a_moment_nothing_that_was_committed_is_lost(home: Path, base: Path) -> None:
    archive.recover(home, base, to=None, prepare=lambda there: None)
    with Running(home):
        assert numbers(home) == [1, 2, 3]


def test_what_can_not_be_recovered_leaves_everything_as_it_was(home: Path, base: Path) -> None:
    with pytest.raises(BackupUnusable, match="before configured recovery target"):
        archive.recover(home, base, to=datetime(2100, 1, 1, tzinfo=UTC), prepare=lambda there: None)
    damaged = base.with_name(f"damaged{archive.SUFFIX}")
    damaged.write_bytes(base.read_bytes()[:100_000])
    with pytest.raises(BackupUnusable, match="whole base backup"):
        archive.recover(home, damaged, to=None, prepare=lambda there: None)

    def refuse(there: Path) -> None:
        raise RuntimeError("not prepared")

    with pytest.raises(RuntimeError):
        archive.recover(home, base, to=None, prepare=refuse)
    with Running(home):
        assert numbers(home) == [1, 2, 3]


def test_a_base_backup_without_the_log_after_it_is_refused(home: Path) -> None:
    with Running(home):
        with pytest.raises(archive.ArchiveOff):
            archive.base(home, folder=home / "backups")
        assert ask(home, "SHOW archive_mode") == ["off"]
    assert not (home / "backups").exists()


def test_old_base_backups_go_with_the_log_before_them(home: Path, base: Path) -> None:
    kept = postgres_place.find(home=home).archive
    old, new = kept / "000000010000000000000001.gz", kept / "0000000100000000000000FF.gz"
    for segment, age in ((old, -3600), (new, 3600)):
        segment.touch()
        os.utime(segment, (time.time() + age, time.time() + age))
    with Running(home):
        newer = archive.base(home, folder=home / "backups")
    assert archive.prune(home, folder=home / "backups", keep=2) >= 1
    assert (old.exists(), new.exists(), base.exists()) == (False, True, True)
    archive.prune(home, folder=home / "backups", keep=1)
    assert (base.exists(), newer.exists(), new.exists()) == (False, True, True)
    archive.recover(home, newer, to=None, prepare=lambda there: None)
    with Running(home):
        assert numbers(home) == [1, 2, 3]


@pytest.mark.timeout(300)
def test_a_company_recovered_to_a_moment_is_halted(home: Path) -> None:
    archive.switch_on(home)
    with Running(home):
        manage("bootstrap", home=home)
        manage("backup", "--base", "--keep", "3", home=home)
        time.sleep(0.05)
        (moment,) = ask(home, "SELECT clock_timestamp()")
        time.sleep(0.05)
        ask(home, "UPDATE missions_company SET reason = 'of later'")
    (path,) = (home / "backups").glob(f"*{archive.SUFFIX}")
    said = manage("restore", str(path), "--to", moment.isoformat(), "--yes", home=home)
    assert "The company is halted" in said
    with Running(home):
        assert ask(home, "SELECT status || ': ' || left(reason, 14) FROM missions_company") == [
            "halted: Recovered from"
        ]
        assert ask(home, "SELECT bool_and(restored_at IS NOT NULL) FROM trading_wallet") == [True]


def manage(*command: str, home: Path) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=settings.BASE_DIR,
        env=os.environ | {"TRADECO_HOME": str(home), "TRADECO_NETWORK": "paper"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_backups_of_both_kinds_are_private(home: Path, base: Path) -> None:
    assert base.stat().st_mode & 0o777 == 0o600
    assert postgres_place.find(home=home).archive.stat().st_mode & 0o777 == 0o700


def test_only_a_base_backup_has_moments() -> None:
    with pytest.raises(CommandError, match="Only a base backup"):
        call_command("restore", Path(f"{os.devnull}.dump"), to="2026-11-23T03:00:00Z", yes=True)
    with pytest.raises(CommandError, match="invalid _moment"):
        call_command("restore", "x.base.tar.gz", "--to", "2026-11-23T03:00:00", "--yes")
