"""Where the signer's files are: key and state in the home, the socket in a short folder of its own."""

import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import ClassVar

from tradeco.common import postgres_place
from tradeco.common.errors import DomainError
from trading.signer.networks import Network

SOCKET_NAME = "signer.sock"


class SocketPlaceTaken(DomainError):
    code: ClassVar[str] = "socket_place_taken"
    title: ClassVar[str] = "The signer's socket can't be where it belongs"


def key_path(home: Path, network: Network) -> Path:
    return home / "wallet" / f"{network}.json"


def state_path(home: Path, network: Network) -> Path:
    return home / "wallet" / f"{network}.state.json"


def socket_path(home: Path) -> Path:
    """The same short path for the same home and user; beside the database's folder, which may be another user's."""
    folder = postgres_place.socket_folder(home)
    return folder.with_name(f"{folder.name}-signer") / SOCKET_NAME


def make_way(path: Path) -> None:
    """The socket's folder, ours alone, and in it no socket of a killed signer.

    Raises:
        SocketPlaceTaken: the folder is somebody else's or open to others (its mode is never changed: it may be
            /tmp), or what lies at the path isn't a socket.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise SocketPlaceTaken(f"{path.parent} must be a folder of ours with mode 700, for the signer's socket alone.")
    if path.is_socket():
        path.unlink()
    elif path.exists() or path.is_symlink():
        raise SocketPlaceTaken(f"{path} exists and isn't a socket. Move it away, or name another place.")


def leave(path: Path) -> None:
    """Take the socket away, and its folder where that held nothing else."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        path.parent.rmdir()


def listen(listener: socket.socket, path: Path, *, backlog: int) -> None:
    """Bind a Unix socket that its owner alone may use.

    Raises:
        SocketPlaceTaken.
    """
    try:
        listener.bind(str(path))
    except OSError as exc:
        raise SocketPlaceTaken(f"Can't listen at {path}: {exc}. A socket's path has some 100 bytes at most.") from exc
    path.chmod(0o600)
    listener.listen(backlog)
