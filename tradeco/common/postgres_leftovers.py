"""What a killed run left in a data folder: live processes, a stale pid file.

Whoever calls holds the home's lock, so a server that still runs here has lost its keeper, and ending it is
right. A pid alone proves nothing, since the system uses it again: a process is the server's own only when
PostgreSQL's program works in that very data folder.
"""

import signal
from pathlib import Path

import psutil
import structlog

from tradeco.common import processes
from tradeco.common.postgres_place import Place

log = structlog.get_logger(__name__)

FAST_SECONDS = 10.0  # an orphan's fast shutdown with its last checkpoint
QUIT_SECONDS = 3.0


def clear(place: Place) -> None:
    """End whatever still works in the place's folders, then forget the pid file it left."""
    pid_file = place.data / "postmaster.pid"
    orphans = [*_working_in(place.data), *_working_in(place.unfinished)]
    if orphans:
        pids = sorted(process.pid for process in orphans)
        log.warning("Ending a server that a killed run left", action="postgres_orphan_ended", pids=pids)
        _end(orphans, postmaster=_first_number(pid_file))
    if pid_file.exists():
        # Its process is gone or, by the pid's reuse, somebody else's; PostgreSQL would refuse the latter.
        log.info("Removed a stale pid file", action="postgres_pid_file_removed", path=str(pid_file))
        pid_file.unlink()


def _working_in(folder: Path) -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["name"]) if _works_in(process, folder)]


def _works_in(process: psutil.Process, folder: Path) -> bool:
    """Backends and the postmaster stand in the data folder; initdb only names it."""
    try:
        name = process.info["name"] or ""
        if name == "initdb":
            return str(folder) in process.cmdline()
        return name.startswith("postgres") and Path(process.cwd()) == folder.resolve()
    except psutil.Error:  # it ended meanwhile, or is another user's, so not the server's
        return False


def _end(orphans: list[psutil.Process], *, postmaster: int) -> None:
    """A fast shutdown by the postmaster, else (it is gone, or hangs) an immediate one of each."""
    masters = [process for process in orphans if process.pid == postmaster]
    processes.send(masters, signal.SIGINT)
    left = processes.still_alive_after(orphans, seconds=FAST_SECONDS if masters else 0)
    processes.send(left, signal.SIGQUIT)
    left = processes.still_alive_after(left, seconds=QUIT_SECONDS)
    processes.send(left, signal.SIGKILL)
    processes.still_alive_after(left, seconds=QUIT_SECONDS)


def _first_number(pid_file: Path) -> int:
    try:
        return int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return 0
