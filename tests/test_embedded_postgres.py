"""The embedded server, with real servers in real folders, as root and as a plain user."""

import os
import pickle
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tradeco.common import postgres, postgres_leftovers, postgres_place, processes
from tradeco.common.postgres import EmbeddedServer, PostgresUnavailable

pytestmark = pytest.mark.enable_socket
IS_ROOT = os.geteuid() == 0
as_root_only = pytest.mark.skipif(not IS_ROOT, reason="only root can act as several users")


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder that every user may pass through; pytest's own is closed to all but its user."""
    made = Path(tempfile.mkdtemp(prefix="tradeco embedded "))
    made.chmod(0o755)
    yield made
    for place in made.glob("**/postgres-folder"):
        shutil.rmtree(place.read_text().strip(), ignore_errors=True)
    shutil.rmtree(made)


@pytest.fixture(scope="module")
def made_home(folder: Path) -> Path:
    """A home with a database in it, which the tests below start and stop in turn."""
    home = folder / "home"
    with_server(home, lambda server: None)
    return home


@pytest.fixture
def home(made_home: Path) -> Path:
    return made_home


def with_server(home: Path, act: Callable[[EmbeddedServer], Any], **options: Any) -> Any:
    server = EmbeddedServer(home, durable=False, **options)
    server.start()
    try:
        return act(server)
    finally:
        server.stop()


def ask(home: Path, statement: str) -> Any:
    """One answer to the application's role."""
    return ask_at(postgres.connection(home), statement)


def ask_at(to: dict[str, str], statement: str) -> Any:
    with psycopg.connect(host=to["HOST"], port=to["PORT"], user=to["USER"], dbname=to["NAME"]) as connection:
        cursor = connection.execute(statement)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def in_another_process(act: Callable[[], Any], *, user: str | None = None) -> Any:
    """What `act` returns in a fork of this process, as another user where one is named.

    A fork, since that user may not be able to read the interpreter's own files.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            if user is not None:
                entry = pwd.getpwnam(user)
                os.setgroups([])
                os.setgid(entry.pw_gid)
                os.setuid(entry.pw_uid)
                os.environ["HOME"] = entry.pw_dir
            said = ("ok", act())
        except BaseException:  # noqa: BLE001  this process's outermost loop: all of it goes to the parent
            said = ("failed", traceback.format_exc())
        os.write(writer, pickle.dumps(said))
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        sent = pipe.read()
    os.waitpid(pid, 0)
    if not sent:
        return None
    outcome, value = pickle.loads(sent)
    assert outcome == "ok", value
    return value


def orphan_a_server(home: Path) -> int:
    """The pid of a live server whose keeper was killed with -9."""

    def start_and_be_killed() -> None:
        EmbeddedServer(home, durable=False).start()
        os.kill(os.getpid(), signal.SIGKILL)

    in_another_process(start_and_be_killed)
    pid = int((place_of(home).data / "postmaster.pid").read_text().split()[0])
    assert runs(pid), "the server outlives its keeper, or this test shows nothing"
    return pid


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and processes.alive(psutil.Process(pid))


def place_of(home: Path) -> postgres_place.Place:
    return postgres_place.find(home=home)


def until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


# --- where and as whom ---------------------------------------------------------------------------


def test_the_connection_is_told_without_making_or_starting_anything(tmp_path: Path) -> None:
    to = postgres.connection(tmp_path / "home")
    assert to == postgres.connection(tmp_path / "home") != postgres.connection(tmp_path / "other")
    assert not Path(to["HOST"]).exists()
    assert not (tmp_path / "home").exists()


@as_root_only
def test_roots_server_runs_as_nobody(home: Path) -> None:
    who = with_server(home, lambda server: psutil.Process(server.pid).username())
    assert who == "nobody"


@as_root_only
def test_a_plain_users_server_runs_as_that_user(folder: Path) -> None:
    mine = folder / "of a plain user"
    mine.mkdir()
    shutil.chown(mine, "nobody")

    def run() -> tuple[str, str]:
        def look(server: EmbeddedServer) -> tuple[str, str]:
            return psutil.Process(server.pid).username(), ask(mine, "SELECT current_user")

        return with_server(mine, look)

    assert in_another_process(run, user="nobody") == ("nobody", "tradeco")


def test_a_long_path_with_spaces_works(folder: Path) -> None:
    long = folder / ("a home with spaces and ümläuts " + "x" * 110)
    assert with_server(long, lambda server: ask(long, "SELECT current_user")) == "tradeco"


@as_root_only
def test_where_nobody_can_enter_the_files_live_elsewhere_and_are_found_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, system = folder / "closed", folder / "system"
    closed.mkdir(mode=0o700)
    system.mkdir(mode=0o755)
    package = postgres_place.wheel_binaries().parent.parent
    (closed / "packages").symlink_to(package.parent)  # as if the virtual environment were in there too
    binaries = closed / "packages" / package.name / "pginstall" / "bin"
    monkeypatch.setattr(postgres_place, "wheel_binaries", lambda: binaries)
    home = closed / "home"

    with_server(home, lambda server: ask(home, "CREATE TABLE kept AS SELECT 7 AS n"), system_folder=system)
    again = with_server(home, lambda server: ask(home, "SELECT n FROM kept"), system_folder=system)

    assert again == 7
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700, "nobody's folder was opened"
    (elsewhere,) = system.iterdir()
    assert (home / "postgres-folder").read_text().strip() == str(elsewhere)
    assert elsewhere.stat().st_mode & 0o007 == 0
    # A home that was deleted and made again begins anew, and doesn't find the old one's data.
    shutil.rmtree(home)
    home.mkdir()
    assert postgres_place.find(home=home, system_folder=system).folder != elsewhere


@as_root_only
def test_a_socket_folder_of_somebody_else_is_refused(folder: Path) -> None:
    home = folder / "squatted"
    sockets = postgres_place.socket_folder(home)
    sockets.mkdir()
    os.chown(sockets, 12345, 12345)
    try:
        with pytest.raises(PostgresUnavailable, match="belongs to somebody else"):
            EmbeddedServer(home, durable=False).start()
    finally:
        sockets.rmdir()


# --- who gets in -----------------------------------------------------------------------------------


def test_the_server_has_no_tcp_port(home: Path) -> None:
    def look(server: EmbeddedServer) -> tuple[str, list[Any]]:
        return ask(home, "SHOW listen_addresses"), psutil.Process(server.pid).net_connections("inet")

    assert with_server(home, look) == ("", [])


@as_root_only
def test_no_other_user_gets_in(home: Path) -> None:
    to = postgres.connection(home)  # as root: it depends on who asks

    def knock() -> str:
        try:
            return str(ask_at(to, "SELECT 'inside'"))
        except psycopg.OperationalError as exc:
            return str(exc)

    def knock_as_others(server: EmbeddedServer) -> tuple[str, str]:
        return in_another_process(knock, user="nobody"), in_another_process(knock, user="daemon")

    its_own_account, a_stranger = with_server(home, knock_as_others)
    assert "Peer authentication failed" in its_own_account
    assert "Permission denied" in a_stranger


def test_the_applications_role_is_no_superuser_but_may_make_test_databases(home: Path) -> None:
    def rights(server: EmbeddedServer) -> str:
        return str(ask(home, "SELECT rolsuper || ' ' || rolcreatedb FROM pg_roles WHERE rolname = 'tradeco'"))

    assert with_server(home, rights) == "false true"


def test_values_of_failing_statements_stay_out_of_the_log(home: Path) -> None:
    def fail(server: EmbeddedServer) -> str:
        with pytest.raises(psycopg.errors.DivisionByZero):
            ask(home, "SELECT 1 / (length('hunter2') - 7)")
        return server.log_path.read_text()

    log = with_server(home, fail)
    assert "division by zero" in log
    assert "hunter2" not in log


# --- again, and after the worst -----------------------------------------------------------------------


def test_data_are_kept_between_runs(home: Path) -> None:
    with_server(home, lambda server: ask(home, "CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS n"))
    assert with_server(home, lambda server: ask(home, "SELECT n FROM kept")) == 42


def test_nothing_is_left_in_the_temporary_folder_after_a_stop(home: Path) -> None:
    with_server(home, lambda server: None)
    assert not postgres_place.socket_folder(home).exists()


def test_a_second_keeper_is_refused_and_the_first_goes_on(home: Path) -> None:
    def start_another(server: EmbeddedServer) -> int:
        with pytest.raises(PostgresUnavailable, match=f"Process {os.getpid()} already runs the database"):
            EmbeddedServer(home, durable=False).start()
        return int(ask(home, "SELECT 1"))

    assert with_server(home, start_another) == 1


def test_a_killed_server_is_started_again_by_its_keeper(home: Path) -> None:
    def kill_and_start(server: EmbeddedServer) -> int:
        os.kill(server.pid or 0, signal.SIGKILL)
        until(lambda: not server.running())
        server.start()
        return int(ask(home, "SELECT 1"))

    assert with_server(home, kill_and_start) == 1


def test_an_orphaned_server_is_ended_and_its_data_go_on(home: Path) -> None:
    with_server(home, lambda server: ask(home, "CREATE TABLE IF NOT EXISTS orphaned AS SELECT 1 AS n"))
    orphan = orphan_a_server(home)
    assert with_server(home, lambda server: ask(home, "SELECT n FROM orphaned")) == 1
    assert not runs(orphan)


def test_an_orphaned_server_that_hangs_is_killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_leftovers, "FAST_SECONDS", 0.2)
    monkeypatch.setattr(postgres_leftovers, "QUIT_SECONDS", 0.2)
    orphan = orphan_a_server(home)
    os.kill(orphan, signal.SIGSTOP)
    assert with_server(home, lambda server: ask(home, "SELECT 1")) == 1
    assert not runs(orphan)


def leave_a_pid_file_of(pid: int, home: Path) -> None:
    data = place_of(home).data
    stale = data / "postmaster.pid"
    stale.write_text(f"{pid}\n{data}\n1700000000\n5432\n\n\n")
    shutil.chown(stale, place_of(home).account.uid)


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Another program of the server's user, which has got a killed server's pid."""
    account = postgres_place.server_account()
    with subprocess.Popen(["sleep", "600"], **account.options()) as process:
        yield process
        process.kill()


def test_a_pid_file_whose_pid_is_somebody_elses_now_is_forgotten(
    home: Path, bystander: subprocess.Popen[bytes]
) -> None:
    leave_a_pid_file_of(bystander.pid, home)
    assert with_server(home, lambda server: ask(home, "SELECT 1")) == 1
    assert bystander.poll() is None, "the bystander was harmed"


def test_control_without_clearing_leftovers_such_a_pid_file_stops_the_start(
    home: Path, bystander: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_a_pid_file_of(bystander.pid, home)
    monkeypatch.setattr(postgres_leftovers, "clear", lambda place: None)
    with pytest.raises(PostgresUnavailable, match="ended while it started"):
        EmbeddedServer(home, durable=False).start()


def test_an_initdb_that_was_killed_half_way_is_made_anew(folder: Path) -> None:
    home = folder / "killed half way"
    half = home / "postgres" / "data.unfinished" / "PG_VERSION"
    if (keeper := os.fork()) == 0:
        EmbeddedServer(home).start()
        os._exit(0)
    until(half.exists)
    os.kill(keeper, signal.SIGKILL)
    os.waitpid(keeper, 0)
    assert not (home / "postgres" / "data").exists()
    assert with_server(home, lambda server: ask(home, "SELECT 1")) == 1
    assert not half.exists()


def test_a_server_that_does_not_stop_is_killed(home: Path) -> None:
    server = EmbeddedServer(home, durable=False, stop_seconds=0.1)
    server.start()
    os.kill(server.pid or 0, signal.SIGSTOP)
    server.stop()
    assert not server.running()
    assert with_server(home, lambda healed: ask(home, "SELECT 1")) == 1


# --- what can't run says what to do -----------------------------------------------------------------


def test_data_of_another_major_version_are_refused(home: Path) -> None:
    version = place_of(home).data / "PG_VERSION"
    original = version.read_text()
    version.write_text("17\n")
    try:
        with pytest.raises(PostgresUnavailable, match=r"(?s)PostgreSQL 17.*brings 18.*DATABASE_URL"):
            EmbeddedServer(home, durable=False).start()
    finally:
        version.write_text(original)


def test_without_the_wheel_the_error_names_database_url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_place.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PostgresUnavailable, match="DATABASE_URL"):
        EmbeddedServer(tmp_path / "home").start()


def test_the_servers_log_stays_within_its_bound(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "LOG_MAX_BYTES", 1000)

    def overflow(server: EmbeddedServer) -> tuple[int, str]:
        while server.log_path.stat().st_size <= 1000:
            with pytest.raises(psycopg.errors.DivisionByZero):
                ask(home, "SELECT 1 / 0")
        server.bound_log()
        emptied = server.log_path.stat().st_size
        with pytest.raises(psycopg.errors.DivisionByZero):
            ask(home, "SELECT 1 / 0")
        return emptied, server.last_words(lines=1)

    emptied, last = with_server(home, overflow)
    assert emptied == 0
    assert "division by zero" in last
    assert "division by zero" in (home / "logs" / "postgres.log.1").read_text()


@as_root_only
def test_only_a_private_folder_of_ours_is_opened_to_the_servers_group(folder: Path) -> None:
    account = postgres_place.server_account()
    ours, chosen = folder / "ours", folder / "modes that somebody chose"
    ours.mkdir(mode=0o700)
    chosen.mkdir(mode=0o750)
    assert postgres_place._open_for(ours, account)
    assert (stat.S_IMODE(ours.stat().st_mode), ours.stat().st_gid) == (0o710, account.gid)
    assert not postgres_place._open_for(chosen, account)
    assert (stat.S_IMODE(chosen.stat().st_mode), chosen.stat().st_gid) == (0o750, 0)
