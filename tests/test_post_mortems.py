"""When a post-mortem comes round by the clock: only where something was lost that it could be about."""

from datetime import UTC, datetime, timedelta

import pytest

from missions.models import Mission, Outcome
from roundtable import schedule
from tests import admin_rows, cast

MONDAY = datetime(2031, 3, 3, tzinfo=UTC)
EVENING = MONDAY + timedelta(hours=20)
DAILY = {"format": "post_mortem", "every_minutes": 1440, "at_minutes": 20 * 60, "probability": "1"}


def earned(pnl_usd: str, *, at: datetime) -> None:
    done = admin_rows.proposal(status="approved", decided_at=at, waits_for_people_since=None)
    mission = Mission.objects.create(proposal=done, agent_id="scout", kind="exit", created_at=at)
    Outcome.objects.create(mission=mission, agent_id="scout", kind="exit", succeeded=True, pnl_usd=pnl_usd, at=at)


@pytest.mark.parametrize(
    ("pnl_usd", "hours_ago", "held"),
    [("-0.01", 47, ["post_mortem"]), ("-50", 49, []), ("0", 1, []), ("50", 1, [])],
    ids=["a loss", "a loss before the window", "nothing", "a gain"],
)
def test_without_a_loss_within_the_window_the_hour_passes(
    company: None, pnl_usd: str, hours_ago: int, held: list[str]
) -> None:
    cast.force_policy(talks=[DAILY], trigger_pace=1, pace_burst=1000, learning_window_hours=48)
    earned(pnl_usd, at=EVENING - timedelta(hours=hours_ago))
    assert schedule.run(now=MONDAY, limit=5) == {"held": []}, "the hour hasn't come"
    assert schedule.run(now=EVENING, limit=5) == {"held": held}
