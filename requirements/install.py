"""Make `.venv` hold exactly what a lock file says: `python3 requirements/install.py run|dev`.

Decides whether anything is to be done, and starts over where an earlier install was broken off. What is
installed is decided by the lock files. Standard library only, and readable to any Python 3, since it must be
able to say that this Python is too old.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from pathlib import Path
from typing import IO

OLDEST = (3, 11)
LOCKS = Path(__file__).resolve().parent
VENV = LOCKS.parent / ".venv"
PYTHON = VENV / "bin" / "python"
BEGUN = VENV / "install-begun"  # stands only while an install runs, or after one was broken off
COVERS = {"run": ["run"], "dev": ["dev", "run"]}  # dev.txt holds everything of run.txt, at the same versions


def main(wanted: str) -> None:
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:3]))
        stop(
            f"tradeco needs Python 3.11 or newer, and {sys.executable} is {found}.\n"
            "Name another one: make PYTHON=python3.12 run"
        )
    with open(__file__, "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second waits, and then finds everything done
        if not sound():
            make_environment()
        if stamp_of(wanted) != digest_of(wanted):
            install(wanted, keep_locked=lock)


def sound() -> bool:
    """Whether there is an environment whose Python still runs, and whose last install was not broken off."""
    if BEGUN.exists():
        say("An earlier install was broken off: starting over.")
        return False
    if not PYTHON.exists():
        return False
    asked = [str(PYTHON), "-c", f"import sys; sys.exit(sys.version_info < {OLDEST})"]
    if subprocess.call(asked, stderr=subprocess.DEVNULL) == 0:
        return True
    say("The Python of .venv is gone or too old: starting over.")
    return False


def make_environment() -> None:
    say(f"Making .venv with Python {sys.version_info[0]}.{sys.version_info[1]} …")
    shutil.rmtree(VENV, ignore_errors=True)
    begin()
    if subprocess.call([sys.executable, "-m", "venv", str(VENV)], stdout=subprocess.DEVNULL) != 0:
        stop(f"{sys.executable} can't make virtual environments. On Debian and Ubuntu: apt-get install python3-venv")


def begin() -> None:
    VENV.mkdir(exist_ok=True)
    BEGUN.touch()


def install(wanted: str, *, keep_locked: IO[bytes]) -> None:
    say(f"Installing what requirements/{wanted}.txt names; the first time takes a minute or two …")
    begin()
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    code = subprocess.call(
        [*pip, "--require-hashes", "--requirement", str(lock_file(wanted))],
        pass_fds=[keep_locked.fileno()],  # a pip that outlives us keeps the lock until it ends
    )
    if code != 0:
        stop("The install failed; the lines above say why. Run the same command again once that is mended.")
    for name in COVERS[wanted]:
        stamp_file(name).write_text(digest_of(name))
    BEGUN.unlink()
    say("Installed.")


def lock_file(name: str) -> Path:
    return LOCKS / f"{name}.txt"


def stamp_file(name: str) -> Path:
    return VENV / f"installed-{name}"


def stamp_of(name: str) -> str:
    return stamp_file(name).read_text() if stamp_file(name).exists() else ""


def digest_of(name: str) -> str:
    """Of the lock's content and not its age: a checkout changes ages."""
    return hashlib.sha256(lock_file(name).read_bytes()).hexdigest()


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def stop(text: str) -> None:
    say(text)
    sys.exit(1)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COVERS:
        stop("Usage: python3 requirements/install.py run|dev")
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        stop("Broken off; the next make starts the install over.")
