"""Whether the company may run here: one `up` a home, and a free address.

Running it is the supervisor's affair.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from tradeco.common.errors import DomainError


class AlreadyRunning(DomainError):
    code: ClassVar[str] = "already_running"
    title: ClassVar[str] = "The company already runs here"


class AddressTaken(DomainError):
    code: ClassVar[str] = "address_taken"
    title: ClassVar[str] = "Another program listens at this address"


@contextmanager
def held(home: Path) -> Iterator[None]:
    """The home is ours alone; the lock ends with this process, however it ends."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            file.seek(0)
            raise AlreadyRunning(
                f"The company already runs in {home}, as process {file.read().strip() or 'unknown'}. "
                "Stop that one with Ctrl-C or `kill`, or set TRADECO_HOME to another folder."
            ) from exc
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def refuse_a_taken_address(address: tuple[str, int] | None) -> None:
    if address is None:
        return
    host, port = address
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as exc:
        raise AddressTaken(f"{host!r} is no address of this machine: {exc.strerror}.") from exc
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the web server does
        try:
            probe.bind(where)
        except OSError as exc:
            raise AddressTaken(
                f"Can't listen at {host}:{port}: {exc.strerror}. Stop the program that listens there, "
                f"or choose another port: PORT={port + 1} make run"
            ) from exc


def keep_port(home: Path, name: str) -> int:
    """The port of a server of ours on loopback: the one it had before, where that is free, else another.

    It is written into the home, so that commands typed elsewhere find the server.
    """
    path = home / "run" / f"{name}-port"
    before = int(path.read_text()) if path.exists() else 0
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", before))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    path.parent.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.write_text(str(port))
    draft.replace(path)
    return port
