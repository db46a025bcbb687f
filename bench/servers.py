"""Our processes as others see them: started as they are shipped, waited for, ended."""

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import psutil

from bench.stage import ROOT

READY_SECONDS = 60.0
STOP_SECONDS = 30.0


@contextlib.contextmanager
def running(arguments: list[str], *, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run one of our programs as a group of its own; end it and all its children afterwards."""
    process = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=env, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """Politely, then at once; children that outlive it too, also those that made a group of their own."""
    children = _children(process.pid)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for child in [*children, *_children(process.pid)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    process.kill()
    process.wait()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def until(ready: Callable[[], bool], *, what: str, seconds: float = READY_SECONDS, every: float = 0.05) -> float:
    """Look again and again; after how many seconds it was so.

    Raises:
        TimeoutError: it never was.
    """
    begun = time.monotonic()
    while not ready():
        if time.monotonic() - begun > seconds:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every)
    return time.monotonic() - begun


def answers(port: int) -> bool:
    """Whether a web server of ours says that it lives."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as said:
            return bool(said.status == 200)
    except (OSError, urllib.error.URLError):
        return False
