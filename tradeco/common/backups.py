"""Dumps of the database: made at one moment with a manifest, checked, and restored beside what is there.

A dump is PostgreSQL's custom format, `<time>.dump`, and a manifest, `<time>.json`, says what it must hold. What a
company does once its books were set back is `trading.restoring`'s affair. The programs are the embedded server's; they
serve a server of one's own up to their version.
"""

import hashlib
import os
import subprocess  # nosec B404
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, ClassVar

import psycopg
import structlog
from psycopg import sql
from pydantic import BaseModel, ConfigDict, ValidationError

from tradeco.common import postgres
from tradeco.common.errors import DomainError

log = structlog.get_logger(__name__)

FOLDER = "backups"
NEVER_IDLE = "SET idle_in_transaction_session_timeout = 0; SET statement_timeout = 0"
MAINTENANCE = "postgres"  # the database to stand in while another one is made or renamed


class BackupFailed(DomainError):
    code: ClassVar[str] = "backup_failed"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The backup could not be made"


class BackupUnusable(DomainError):
    code: ClassVar[str] = "backup_unusable"
    title: ClassVar[str] = "This backup can't be used"


class RestoreFailed(DomainError):
    code: ClassVar[str] = "restore_failed"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "The backup could not be restored; the database is as it was"


class DatabaseInUse(DomainError):
    code: ClassVar[str] = "database_in_use"
    title: ClassVar[str] = "Somebody works in this database"


class Manifest(BaseModel):
    """What a dump holds, read in the very snapshot that was dumped."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    made_at: datetime
    sha256: str
    bytes: int
    postgres: str
    newest_event: int
    migrations: dict[str, str]
    rows: dict[str, int]


def make(database: dict[str, Any], *, folder: Path) -> Path:
    """Dump a database; the path of the dump. `database` is an entry of Django's DATABASES.

    Raises:
        BackupFailed: nothing is left of it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _connected(database, str(database["NAME"])) as connection:
        connection.execute(NEVER_IDLE)
        connection.execute("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        snapshot, made_at, version = _one(
            connection, "SELECT pg_export_snapshot(), clock_timestamp(), current_setting('server_version')"
        )
        path = folder / f"{made_at.astimezone(UTC):%Y%m%dT%H%M%S.%fZ}.dump"
        draft = path.with_suffix(".unfinished")
        try:
            with _private(draft) as file:
                arguments = ["--format=custom", "--no-owner", "--no-acl", f"--snapshot={snapshot}"]
                _run("pg_dump", arguments, database, output=file, failed=BackupFailed)
                os.fsync(file.fileno())
            manifest = Manifest(
                made_at=made_at,
                sha256=_digest(draft),
                bytes=draft.stat().st_size,
                postgres=version,
                newest_event=_one(connection, "SELECT coalesce(max(number), 0) FROM common_event")[0],
                migrations=_migrations(connection),
                rows=_rows(connection),
            )
            with _private(manifest_of(path)) as file:
                file.write(manifest.model_dump_json(indent=1).encode())
            draft.rename(path)  # last: a dump without its manifest is never seen
        except BaseException:
            draft.unlink(missing_ok=True)
            manifest_of(path).unlink(missing_ok=True)
            raise
    log.info("A backup was made.", action="backup_made", file=str(path), bytes=manifest.bytes)
    return path


def manifest_of(path: Path) -> Path:
    return path.with_suffix(".json")


def check(path: Path) -> Manifest:
    """The manifest of a dump that is whole: its digest is right, and PostgreSQL can read all of it.

    Raises:
        BackupUnusable: the detail says why.
    """
    try:
        manifest = Manifest.model_validate_json(manifest_of(path).read_bytes())
        digest = _digest(path)
    except OSError as exc:
        raise BackupUnusable(f"{exc.filename} can't be read: {exc.strerror}.") from exc
    except ValidationError as exc:
        raise BackupUnusable(f"{manifest_of(path)} isn't the manifest of a backup.") from exc
    if digest != manifest.sha256:
        raise BackupUnusable(f"{path} isn't what was written: its digest differs from the manifest's.")
    with open(os.devnull, "wb") as nowhere:
        _run("pg_restore", ["--file=-", str(path)], None, output=nowhere, failed=BackupUnusable)
    return manifest


def restore(path: Path, database: dict[str, Any], *, prepare: Callable[[str], None]) -> str:
    """Put a dump into a new database, compare it with its manifest, prepare it, and let the two change places.

    Nobody may be connected to the old one, which stays under the name that is returned.

    Args:
        prepare: gets the new database's name while nobody else knows it; what it raises leaves all as it was.

    Raises:
        BackupUnusable, DatabaseInUse, RestoreFailed: the old database is as it was.
    """
    manifest = check(path)
    name = str(database["NAME"])
    at = f"{datetime.now(UTC):%Y%m%d_%H%M%S}_{time.monotonic_ns() % 1_000:03}"
    fresh, aside = f"{name}_restoring_{at}", f"{name}_before_{at}"
    with _connected(database, MAINTENANCE) as admin:
        _refuse_others(admin, name)
        _make(admin, fresh)
        try:
            arguments = ["--no-owner", "--no-acl", "--exit-on-error", f"--dbname={fresh}", str(path)]
            _run("pg_restore", arguments, database | {"NAME": fresh}, output=subprocess.DEVNULL, failed=RestoreFailed)
            _compare(database, fresh, manifest)
            prepare(fresh)
            _change_places(admin, name, fresh=fresh, aside=aside)
        except BaseException:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(fresh)))
            raise
    log.warning("A backup was restored.", action="backup_restored", file=str(path), database=name, aside=aside)
    return aside


def _make(admin: psycopg.Connection[Any], name: str) -> None:
    try:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name)))
    except psycopg.Error as exc:
        raise RestoreFailed(f"A new database can't be made: {_words(exc)}") from exc


def _change_places(admin: psycopg.Connection[Any], name: str, *, fresh: str, aside: str) -> None:
    """Two renames in one transaction: there is always exactly one database of the name."""
    rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
    try:
        with admin.transaction():
            admin.execute(rename.format(sql.Identifier(name), sql.Identifier(aside)))
            admin.execute(rename.format(sql.Identifier(fresh), sql.Identifier(name)))
    except psycopg.errors.ObjectInUse as exc:
        raise DatabaseInUse(f"Somebody came to {name} meanwhile: {_words(exc)}") from exc
    except psycopg.Error as exc:
        raise RestoreFailed(f"The databases can't change names: {_words(exc)}") from exc


def refuse_where_in_use(database: dict[str, Any]) -> None:
    """Raises DatabaseInUse."""
    with _connected(database, MAINTENANCE) as admin:
        _refuse_others(admin, str(database["NAME"]))


def _refuse_others(admin: psycopg.Connection[Any], name: str) -> None:
    asked = "SELECT DISTINCT coalesce(nullif(application_name, ''), 'pid ' || pid) FROM pg_stat_activity"
    rows = admin.execute(f"{asked} WHERE datname = %s AND pid <> pg_backend_pid()", [name]).fetchall()
    if rows:
        who = ", ".join(sorted(row[0] for row in rows))
        raise DatabaseInUse(f"{name} is in use by {who}. Stop the company on every machine first.")


def _compare(database: dict[str, Any], name: str, manifest: Manifest) -> None:
    """What was restored must hold, table by table, as many rows as were dumped."""
    with _connected(database, name) as connection:
        migrations, found = _migrations(connection), _rows(connection)
    if (migrations, found) != (manifest.migrations, manifest.rows):
        differing = sorted(table for table, rows in manifest.rows.items() if found.get(table) != rows)
        raise RestoreFailed(f"What was restored isn't what the manifest says; differing: {differing}.")


@contextmanager
def reachable(database: dict[str, Any], *, home: Path | None) -> Iterator[None]:
    """The database's server, which is started for the time being where it is the embedded one of `home` and rests.

    Raises:
        BackupFailed: a server of one's own can't be reached.
        PostgresUnavailable: the embedded one can't run.
    """
    try:
        with _connected(database, MAINTENANCE):
            pass
    except BackupFailed:
        if home is None:
            raise
        server = postgres.EmbeddedServer(home)
        server.start()
        try:
            yield
        finally:
            server.stop()
    else:
        yield


# --- asking and running ---------------------------------------------------------------------------


def _rows(connection: psycopg.Connection[Any]) -> dict[str, int]:
    tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
    count = sql.SQL("SELECT count(*) FROM {}")
    return {name: _one(connection, count.format(sql.Identifier(name)))[0] for (name,) in tables}


def _migrations(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """The newest migration of each app."""
    return dict(connection.execute("SELECT app, max(name) FROM django_migrations GROUP BY app ORDER BY app").fetchall())


def _one(connection: psycopg.Connection[Any], statement: Any) -> Any:
    return connection.execute(statement).fetchone()


@contextmanager
def _connected(database: dict[str, Any], name: str) -> Iterator[psycopg.Connection[Any]]:
    given = dict(zip(("host", "port", "user", "password"), ("HOST", "PORT", "USER", "PASSWORD"), strict=True))
    known: dict[str, Any] = {key: str(database[setting]) for key, setting in given.items() if database.get(setting)}
    known |= {"dbname": name, "connect_timeout": 5, **_tls(database)}
    try:
        connection = psycopg.connect(autocommit=True, **known)
    except psycopg.OperationalError as exc:
        raise BackupFailed(f"The database can't be reached: {_words(exc)}") from exc
    with connection:
        yield connection


def _tls(database: dict[str, Any]) -> dict[str, str]:
    options = database.get("OPTIONS", {})
    return {name: str(value) for name, value in options.items() if name.startswith("ssl")}


def _run(
    program: str, arguments: list[str], database: dict[str, Any] | None, *, output: Any, failed: type[DomainError]
) -> None:
    """One of PostgreSQL's programs; the password goes by its environment, which nobody else can read."""
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8"}
    if database is not None:
        given = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
        environment |= {name: str(database[key]) for name, key in given.items() if database.get(key)}
        environment |= {f"PG{name.upper()}": value for name, value in _tls(database).items()}
    done = subprocess.run(  # nosec B603
        [str(postgres.binary(program)), *arguments],
        env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise failed(f"{program}: {done.stderr.decode(errors='replace').strip()[-500:]}")


def _private(path: Path) -> IO[bytes]:
    return open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _words(exc: psycopg.Error) -> str:
    """The first line of the driver's message: it names host and port, never a password."""
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
