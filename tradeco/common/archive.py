"""Point-in-time recovery of the embedded database: base backups, and the write-ahead log kept between them.

It is on once its folder is there (`switch_on`) and the server was started again. A base backup is one compressed file;
with it and the log that was kept since, the database of any later moment can be made anew: beside the one there is,
which it replaces only once it is complete and prepared. A server of one's own has its own tools for this.
"""

import os
import shutil
import subprocess  # nosec B404
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

import psycopg
import structlog

from tradeco.common import postgres, postgres_place
from tradeco.common.backups import BackupFailed, BackupUnusable
from tradeco.common.errors import DomainError
from tradeco.common.postgres import EmbeddedServer, PostgresUnavailable
from tradeco.common.postgres_place import Place

log = structlog.get_logger(__name__)

SUFFIX = ".base.tar.gz"
MOMENT = "%Y%m%dT%H%M%S.%fZ"  # when it was begun: its name
RECOVERY_SECONDS = 3600.0  # a long log is read again at some 50 MB a second


class ArchiveOff(DomainError):
    code: ClassVar[str] = "archive_off"
    title: ClassVar[str] = "The write-ahead log isn't kept yet"


def switch_on(home: Path) -> None:
    """Make the folder of the log, for the server to find at its next start."""
    place = postgres_place.find(home=home)
    if not place.archive.exists():
        postgres_place.make_for(place.archive, place.account)


def base(home: Path, *, folder: Path) -> Path:
    """A base backup of the running server; every moment from its end on can be recovered.

    Raises:
        ArchiveOff: the server runs without keeping its log.
        BackupFailed: nothing is left of it.
    """
    to = postgres.connection(home)
    _refuse_without_log(to)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{datetime.now(UTC):{MOMENT}}{SUFFIX}"
    draft = path.with_suffix(".unfinished")
    arguments = ["--pgdata=-", "--format=tar", "--wal-method=fetch", "--gzip", "--checkpoint=fast", "--no-password"]
    with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        done = subprocess.run(  # nosec B603
            [str(postgres.binary("pg_basebackup")), *arguments, f"--username={postgres.SUPERUSER}"],
            env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PGHOST": to["HOST"], "PGPORT": to["PORT"]},
            stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE, check=False,
        )  # fmt: skip
        os.fsync(file.fileno())
    if done.returncode != 0:
        draft.unlink()
        raise BackupFailed(f"pg_basebackup: {done.stderr.decode(errors='replace').strip()[-500:]}")
    draft.rename(path)
    log.info("A base backup was made.", action="base_backup_made", file=str(path), bytes=path.stat().st_size)
    return path


def _refuse_without_log(to: dict[str, str]) -> None:
    try:
        with psycopg.connect(host=to["HOST"], port=to["PORT"], user=to["USER"], dbname=to["NAME"]) as connection:
            mode = connection.execute("SELECT current_setting('archive_mode')").fetchone()
    except psycopg.OperationalError as exc:
        raise BackupFailed("The embedded database rests. Start the company: make run") from exc
    if mode != ("on",):
        raise ArchiveOff("It will be kept once the company was stopped and started again; make the base backup then.")


def recover(home: Path, path: Path, *, to: datetime | None, prepare: Callable[[Path], None]) -> Path:
    """Make the database of a moment anew and put it in the place of the one there is; where that one is kept.

    Args:
        home: whose company rests.
        to: the moment; None: the last one that the log knows.
        prepare: gets the home of the recovered server, running and known to nobody, before it takes its place.

    Raises:
        BackupUnusable: it isn't a base backup, or log and moment don't go with it; nothing was changed.
    """
    EmbeddedServer(home).end_leftovers()
    place = postgres_place.find(home=home)
    scratch = place.folder / "recovering"
    shutil.rmtree(scratch, ignore_errors=True)
    postgres_place.make_for(scratch, place.account)
    try:
        data = scratch / "postgres" / "data"
        _unpack(path, data, place)
        _ask_for(data, place, to)
        server = EmbeddedServer(scratch, ready_seconds=RECOVERY_SECONDS)
        try:
            server.start()
            prepare(scratch)
        except PostgresUnavailable as exc:
            raise BackupUnusable(f"It can't be recovered to that moment: {exc.detail}") from exc
        finally:
            server.stop()
        (data / "postgresql.auto.conf").write_text("")
        aside = place.folder / f"data.before-{datetime.now(UTC):%Y%m%dT%H%M%S}"
        if place.data.exists():
            place.data.rename(aside)
        data.rename(place.data)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    log.warning(
        "The database was recovered.", action="database_recovered", file=str(path), to=str(to), aside=str(aside)
    )
    return aside


def prune(home: Path, *, folder: Path, keep: int) -> int:
    """Remove all but the newest base backups, and what was kept of the log before the oldest that stays; how much."""
    found = sorted(folder.glob(f"*{SUFFIX}"))
    doomed = found[:-keep]
    if staying := found[-keep:]:
        begun = datetime.strptime(staying[0].name.removesuffix(SUFFIX), MOMENT).replace(tzinfo=UTC).timestamp()
        kept = postgres_place.find(home=home).archive.glob("*.gz")
        doomed += [segment for segment in kept if segment.stat().st_mtime < begun]
    for path in doomed:
        path.unlink()
    return len(doomed)


def _unpack(path: Path, data: Path, place: Place) -> None:
    data.parent.mkdir(mode=0o700)
    data.mkdir(mode=0o700)
    try:
        with tarfile.open(path, "r:gz") as packed:
            packed.extractall(data, filter="tar")  # which lets nothing out of the folder  # nosec B202
    except (OSError, EOFError, tarfile.TarError) as exc:
        raise BackupUnusable(f"{path} isn't a whole base backup: {exc}") from exc
    if place.account.options():
        for each in (data.parent, data, *data.rglob("*")):
            os.chown(each, place.account.uid, place.account.gid, follow_symlinks=False)
    data.chmod(0o700)


def _ask_for(data: Path, place: Place, to: datetime | None) -> None:
    """Recovery's settings. The last minute's log may only lie where the server that rests wrote it."""
    kept, last = place.archive, place.data / "pg_wal"
    wanted = {
        "restore_command": f"gunzip -c '{kept}/%f.gz' > '%p' 2>/dev/null || cp '{last}/%f' '%p' 2>/dev/null",
        "recovery_target_action": "promote",
        "hot_standby": "off",  # nobody gets in before it is complete
        "archive_mode": "off",
    }
    if to is not None:
        wanted["recovery_target_time"] = to.astimezone(UTC).isoformat(timespec="microseconds")
    lines = ["{} = '{}'".format(name, value.replace("'", "''")) for name, value in wanted.items()]
    (data / "postgresql.auto.conf").write_text("\n".join(lines) + "\n")
    (data / "recovery.signal").touch()
    if place.account.options():
        for each in ("postgresql.auto.conf", "recovery.signal"):
            os.chown(data / each, place.account.uid, place.account.gid)
