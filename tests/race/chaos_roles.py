"""What the processes of the chaos run do, each a fork of the warm one, with short times: they are killed any moment."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

WORK_SECONDS = 1.0
APART_SECONDS = 0.05  # between two looks of a process that found nothing to do
LEASE_SECONDS = 2.0  # of beat and market
QUICK = [
    ("rescue", "missions.rescue.run", 4000, 100),
    ("reconcile", "trading.reconciliation.run", 8000, 200),
]


def run(role: str, plan: dict[str, Any]) -> None:
    """Never returns; survives a database that goes away.

    Args:
        role: worker, beat or market.
        plan: `log`, a file for what is printed; `guard_off`, as in `old_way`.
    """
    descriptor = os.open(plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    hurry(plan)
    act = {"worker": work, "beat": beat, "market": tend_market}[role]
    forever(act)


def hurry(plan: dict[str, Any]) -> None:
    """Times of seconds instead of minutes, and whatever guard the control lacks."""
    from django.conf import settings

    from missions import claims, heartbeat, outcomes
    from tests.race import old_way
    from trading import attempts, market

    outcomes.BACKOFF_FIRST_SECONDS, outcomes.BACKOFF_MOST_SECONDS = 0.1, 1.0
    attempts.LOOK_AGAIN, attempts.ASK_AGAIN = timedelta(seconds=0.08), timedelta(seconds=0.1)
    attempts.ASK_AGAIN_MOST = timedelta(seconds=1)
    heartbeat.LEASE_SECONDS, heartbeat.APART_SECONDS = LEASE_SECONDS, 0.5
    market.LEASE_SECONDS = LEASE_SECONDS
    settings.HEARTBEAT = QUICK if not plan["guard_off"] else QUICK[:1]
    claims.FENCED = not plan["guard_off"]
    old_way.take_away(plan["guard_off"])


def forever(act: Callable[[], None]) -> None:
    from django.db import DatabaseError, InterfaceError, connection

    while True:
        try:
            act()
        except (DatabaseError, InterfaceError):
            connection.close()
        time.sleep(APART_SECONDS)


def work() -> None:
    from missions import execution, rescue
    from tradeco.common import db

    execution.drain(budget_seconds=WORK_SECONDS)
    rescue.run(now=db.now(), limit=20)


def beat() -> None:
    from missions import heartbeat
    from tradeco.common import db

    heartbeat.run(asked_by="chaos", now=db.now())


def tend_market() -> None:
    from trading import market

    market.run(stopping=lambda: False)
