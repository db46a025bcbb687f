"""Daily caps: what is spent, given back and shown. A hundred at once: race/test_caps."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from missions import caps, policies
from missions.caps import CapReached
from missions.models import CapCharge, CapUse, Mission
from missions.policy_keys import Policy
from missions.vocabulary import CapKey, StepKind
from tests import cast
from tests.race import stage
from tradeco.common import db

pytestmark = pytest.mark.usefixtures("company")


@pytest.fixture
def policy() -> Policy:
    cast.set_policy(analyses_per_day=3, trades_per_day=2, pace_burst=4)
    return policies.current()[1]


@pytest.fixture
def missions() -> list[Mission]:
    stage.queue_steps(6)
    return list(Mission.objects.order_by("pk"))


def spend(mission: Mission, policy: Policy, *kinds: StepKind, now: datetime | None = None) -> None:
    with db.savepoint():
        caps.spend(mission=mission, kinds=kinds, policy=policy, now=now or db.now())


def used() -> dict[str, int]:
    return dict(CapUse.objects.values_list("cap", "used"))


def test_each_step_spends_a_slot_of_its_kind_s_cap(missions: list[Mission], policy: Policy) -> None:
    spend(missions[0], policy, StepKind.ANALYZE_SIGNAL, StepKind.REFLECT, StepKind.EXECUTE_TRADE)
    assert used() == {"analyses_per_day": 2, "trades_per_day": 1}
    assert caps.needed([StepKind.HOLD_ROUNDTABLE]) == {CapKey.CONVERSATIONS: 1}


def test_when_one_of_two_caps_is_spent_neither_is_charged(missions: list[Mission], policy: Policy) -> None:
    for mission in missions[:2]:
        spend(mission, policy, StepKind.EXECUTE_TRADE)
    with pytest.raises(CapReached, match="all 2 of"):
        spend(missions[2], policy, StepKind.ANALYZE_SIGNAL, StepKind.EXECUTE_TRADE)
    assert used() == {"trades_per_day": 2}
    assert CapCharge.objects.count() == 2


def test_more_than_the_whole_cap_at_once_is_refused_even_on_a_fresh_day(
    missions: list[Mission], policy: Policy
) -> None:
    with pytest.raises(CapReached):
        spend(missions[0], policy, *[StepKind.REFLECT] * 4)
    assert used() == {}


def test_a_cap_of_nothing_lets_nothing_through(missions: list[Mission]) -> None:
    cast.set_policy(trades_per_day=0)
    with pytest.raises(CapReached):
        spend(missions[0], policies.current()[1], StepKind.EXECUTE_TRADE)


def test_days_are_utc_days_whatever_zone_the_moment_comes_in(missions: list[Mission], policy: Policy) -> None:
    tokyo = timezone(timedelta(hours=9))
    spend(missions[0], policy, StepKind.REFLECT, now=datetime(2026, 3, 2, 8, 59, tzinfo=tokyo))
    spend(missions[1], policy, StepKind.REFLECT, now=datetime(2026, 3, 2, 9, 0, tzinfo=tokyo))
    assert [str(day) for day in CapUse.objects.order_by("day").values_list("day", flat=True)] == [
        "2026-03-01",
        "2026-03-02",
    ]
    assert caps.resets_at(datetime(2026, 3, 2, 8, 59, tzinfo=tokyo)) == datetime(2026, 3, 2, tzinfo=UTC)


def test_a_slot_goes_back_to_the_day_that_it_was_charged_to_and_once(missions: list[Mission], policy: Policy) -> None:
    yesterday = db.now() - timedelta(days=1)
    spend(missions[0], policy, StepKind.REFLECT, StepKind.REFLECT, now=yesterday)
    spend(missions[1], policy, StepKind.REFLECT)
    for _ in range(3):
        caps.give_back(mission=missions[0], now=db.now())
    assert dict(CapUse.objects.values_list("day", "used")) == {yesterday.date(): 0, db.now().date(): 1}
    spend(missions[2], policy, StepKind.REFLECT, now=yesterday)


def test_a_mission_is_charged_once_per_cap(missions: list[Mission], policy: Policy) -> None:
    spend(missions[0], policy, StepKind.REFLECT)
    with pytest.raises(IntegrityError, match="charge_once_per_mission_and_cap"):
        spend(missions[0], policy, StepKind.REFLECT)
    assert used() == {"analyses_per_day": 1}


def test_the_database_lets_no_counter_fall_below_zero(missions: list[Mission], policy: Policy) -> None:
    spend(missions[0], policy, StepKind.REFLECT)
    with pytest.raises(IntegrityError, match="cap_use_is_not_negative"), transaction.atomic():
        CapUse.objects.update(used=-1)


def test_a_look_shows_limit_used_and_left(missions: list[Mission], policy: Policy) -> None:
    spend(missions[0], policy, StepKind.EXECUTE_TRADE)
    now = db.now()
    shown: dict[Any, dict[str, object]] = {row["key"]: row for row in caps.overview(policy=policy, now=now)}
    assert set(shown) == set(CapKey.values)
    assert shown["trades_per_day"] == {
        "key": "trades_per_day", "limit": 2, "used": 1, "left": 1, "resets_at": caps.resets_at(now),
    }  # fmt: skip
    cast.set_policy(trades_per_day=0)
    lowered = {row["key"]: row["left"] for row in caps.overview(policy=policies.current()[1], now=now)}
    assert lowered["trades_per_day"] == 0, "never less than nothing"


def test_the_company_s_routine_spreads_the_day_s_cap(policy: Policy) -> None:
    noon = db.now().replace(hour=12, minute=0, second=0, microsecond=0)
    CapUse.objects.create(cap=CapKey.TRADES, day=noon.date(), used=4)
    assert not caps.ahead_of_pace(cap=CapKey.TRADES, policy=policy, now=noon)  # 2 × ½ + 4 are allowed
    CapUse.objects.update(used=5)
    assert caps.ahead_of_pace(cap=CapKey.TRADES, policy=policy, now=noon)
    assert not caps.ahead_of_pace(cap=CapKey.ANALYSES, policy=policy, now=noon)
