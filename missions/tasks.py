"""What the workers are asked by the doorbell. A task says "look"; losing or doubling one costs nothing."""

import time

from missions import execution, heartbeat, policies, rescue
from missions.policies import NoPolicy
from tradeco.common import db, doorbell, pulses

DRAIN_SECONDS = 5.0  # who is asked to stop ends its task first; the next ring goes on where this one ended


def drain() -> dict[str, int]:
    """Run steps until none is left or the time is up, then look for lost work."""
    pulses.beat("worker", now=db.now())
    until = time.monotonic() + DRAIN_SECONDS
    try:
        done = execution.drain(budget_seconds=DRAIN_SECONDS, is_wanted=doorbell.is_rung)
    except NoPolicy:
        return {}
    if time.monotonic() >= until:
        doorbell.ring()  # there may be more
    rescue.run(now=db.now(), limit=100)
    return dict(done)


def beat() -> int | None:
    """A heartbeat, when one is due; its id."""
    now = db.now()
    pulses.beat("worker", now=now)
    try:
        policies.current()
    except NoPolicy:
        return None
    done = heartbeat.run(asked_by="clock", now=now, only_if_due=True)
    return done.pk if done else None
