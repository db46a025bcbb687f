"""Opening the company: its row, its first policies, its place in the scheduler. Runs again without effect."""

from typing import Any

from django.conf import settings

from missions import policies
from missions.models import Company
from missions.policy_keys import opening_values
from tradeco.common import db, doorbell, events
from tradeco.common.vocabulary import EventKind


def open_company() -> None:
    """Open with the policy set of the settings; an open company keeps its own."""
    now = db.now()
    with db.transaction():
        company, new = Company.objects.get_or_create(
            id=1,
            defaults={
                "policy_set": settings.POLICY_SET,
                "reason": "opening",
                "changed_at": now,
                "opened_at": now,
            },
        )
        policies.open_with(name=company.policy_set, now=now, instead=_for_a_replay(company.policy_set))
        if new:
            events.emit(
                kind=EventKind.COMPANY_OPENED,
                subject="company",
                now=now,
                data={"policy_set": company.policy_set},
            )
    doorbell.schedule()


BARS_A_SECOND = 0.2  # of the seeded market, for which the demo's cadences are made
BEAT_LEAST_SECONDS = 2.0
TURN_LEAST_SECONDS = 0.2
REPLAY_BURST = 10_000  # a replay is over in an hour or two: pacing its trades over a day would be wrong


def _for_a_replay(name: str) -> dict[str, Any]:
    """A fast replay takes cadences that follow the market along: as many looks a candle as the seeded market has."""
    if name != "demo" or not settings.MARKET_CSV:
        return {}
    quicker = min(1.0, BARS_A_SECOND / settings.MARKET_SPEED)
    demo = opening_values("demo")
    return {
        "trigger_pace": demo["trigger_pace"] * quicker,
        "beat_every_seconds": max(BEAT_LEAST_SECONDS, demo["beat_every_seconds"] * quicker),
        "pace_burst": REPLAY_BURST,
        "turn_seconds": max(TURN_LEAST_SECONDS, demo["turn_seconds"] * quicker),
    }
