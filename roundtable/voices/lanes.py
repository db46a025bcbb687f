"""How many workers may wait for a language model at once: one fewer than there are, so that a slow model never keeps a
stop waiting. A script takes no time, and needs no lane.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings
from django.db import connection

from roundtable.voices import openai

_LOCKS = 0x766F_6963  # "voic": the advisory locks of the lanes; they end with the connection of whoever dies


@contextmanager
def entered() -> Iterator[bool]:
    """Whether a lane was free; it is held until the end of the block."""
    if settings.VOICE != openai.NAME:
        yield True
        return
    lane = next((number for number in range(max(1, settings.Q_CLUSTER["workers"] - 1)) if _take(number)), None)
    try:
        yield lane is not None
    finally:
        if lane is not None:
            _ask("SELECT pg_advisory_unlock(%s, %s)", lane)


def _take(lane: int) -> bool:
    return _ask("SELECT pg_try_advisory_lock(%s, %s)", lane)


def _ask(query: str, lane: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(query, [_LOCKS, lane])
        found: tuple[bool] = cursor.fetchone()
    return found[0]
