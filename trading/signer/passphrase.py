"""Where the wallet's passphrase comes from: the environment, a file, or a person at a terminal. Never argv."""

import ctypes
import getpass
import os
import stat
import sys
from pathlib import Path
from typing import ClassVar

from pydantic import SecretStr

from tradeco.common.errors import DomainError

VARIABLE = "TRADECO_WALLET_PASSPHRASE"
FILE_VARIABLE = "TRADECO_WALLET_PASSPHRASE_FILE"
TERMINAL = Path("/dev/tty")
ENV_START, ENV_END = 50, 51  # fields of /proc/self/stat, counted from 1 (proc(5))


class PassphraseMissing(DomainError):
    code: ClassVar[str] = "passphrase_missing"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "There is no passphrase"


def read(*, confirm: bool) -> SecretStr:
    """The passphrase; afterwards it is in this process's environment no more.

    Args:
        confirm: a person types it twice, since it will encrypt something new.

    Raises:
        PassphraseMissing: none was given, or its file is open to others.
    """
    if given := os.environ.pop(VARIABLE, ""):
        _erase_from_memory(VARIABLE)
        return SecretStr(given)
    if file := os.environ.get(FILE_VARIABLE, ""):
        return _from_file(Path(file))
    return _ask(confirm=confirm)


def _from_file(path: Path) -> SecretStr:
    try:
        with path.open() as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise PassphraseMissing(f"Others may read the passphrase in {path}: chmod 600 {path}")
            found = file.readline().rstrip("\r\n")
    except (OSError, ValueError) as exc:
        raise PassphraseMissing(f"The passphrase's file {path} can't be read: {type(exc).__name__}.") from None
    if not found:
        raise PassphraseMissing(f"The first line of {path} is empty; the passphrase belongs there.")
    return SecretStr(found)


def _ask(*, confirm: bool) -> SecretStr:
    """From the terminal itself: standard input may be carrying the key that is imported."""
    try:
        TERMINAL.open().close()
    except OSError:
        raise PassphraseMissing(f"Set {FILE_VARIABLE} or {VARIABLE}, or run this in a terminal.") from None
    typed = getpass.getpass("Passphrase of the wallet: ")
    if confirm and getpass.getpass("The same again: ") != typed:
        raise PassphraseMissing("These were two different passphrases; nothing was written.")
    return SecretStr(typed)


def _erase_from_memory(name: str) -> None:
    """Overwrite the value where the system put it when this process began.

    Unsetting a variable leaves it there, to be read in /proc/<pid>/environ by root. Linux only.
    """
    if sys.platform != "linux":
        return
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()  # from field 3 on
    start, end = int(fields[ENV_START - 3]), int(fields[ENV_END - 3])
    block = ctypes.string_at(start, end - start)
    at = 0
    for entry in block.split(b"\0"):
        if entry.startswith(name.encode() + b"="):
            ctypes.memset(start + at, ord("x"), len(entry))
        at += len(entry) + 1
