"""Asking after and signalling processes that may end at any moment, and may not be our children.

A zombie counts as gone: it does nothing any more, and when its parent collects it isn't ours to wait for.
"""

import signal
import time
from collections.abc import Iterable

import psutil

POLL_SECONDS = 0.02


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            pass  # it ended meanwhile, which was the aim


def still_alive_after(processes: Iterable[psutil.Process], *, seconds: float) -> list[psutil.Process]:
    """Wait until they are gone, at most so long; returns those that are not."""
    deadline = time.monotonic() + seconds
    while (left := [process for process in processes if alive(process)]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return left
