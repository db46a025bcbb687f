"""What agents propose of their own accord: who may, how often, by which dice, and that nobody holds another up."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.memory import Recalled
from agents.models import Agent, Memory
from missions.mind import initiative
from missions.models import CapUse, Influence, Proposal, TriggerState
from tests import cast
from tests.race import stage
from tests.test_influence import learns
from tradeco.common import db


@pytest.fixture
def certain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may, does."""
    monkeypatch.setattr(initiative, "CHANCE", Decimal(1))


@pytest.fixture
def growth_knows(company: None, certain: None) -> list[Memory]:
    """Growth knows three things, the surest first; nobody else knows enough."""
    return [learns("insight", agent="growth", confidence=sure) for sure in ("0.85", "0.80", "0.75")]


def run(now: datetime | None = None, limit: int = 6) -> list[str]:
    did = initiative.run(now=now or db.now(), limit=limit)
    assert did["failed"] == 0
    took: list[str] = did["took"]
    return took


def noon() -> datetime:
    return db.now().replace(hour=12, minute=0, second=0, microsecond=0)


# --- one by one -----------------------------------------------------------------------------------


def test_an_initiative_enters_by_the_one_door_and_names_its_memory(growth_knows: list[Memory]) -> None:
    assert run() == ["growth"]
    proposal = Proposal.objects.get()
    assert (proposal.source, proposal.cause, proposal.agent_id) == ("initiative", "initiative:growth:0", "growth")
    assert (proposal.status, proposal.steps[0]["kind"]) == ("approved", "reflect")
    assert f"#{growth_knows[0].pk}" in proposal.title
    assert f"Remembers #{growth_knows[0].pk}: It worked before." in proposal.rationale
    link = Influence.objects.get()
    assert (link.proposal_id, link.memory_id, link.effect) == (proposal.pk, growth_knows[0].pk, 0)


def test_the_flag_switches_it_off(growth_knows: list[Memory]) -> None:
    cast.set_policy(initiative_on=False)
    assert run() == []
    assert not TriggerState.objects.exists()
    cast.set_policy(initiative_on=True)
    assert run() == ["growth"]


def test_who_knows_too_little_waits(growth_knows: list[Memory]) -> None:
    Memory.objects.filter(pk=growth_knows[0].pk).update(archived_at=db.now())
    assert run() == []
    learns("pattern", agent="growth")
    assert run() == ["growth"]


def test_an_inactive_agent_takes_none(growth_knows: list[Memory]) -> None:
    Agent.objects.filter(key="growth").update(active=False)
    assert run() == []


def test_two_of_one_agent_are_as_far_apart_as_policy_says(growth_knows: list[Memory]) -> None:
    now = db.now()
    assert run(now) == ["growth"]
    assert run(now + timedelta(seconds=179)) == []  # 0.05 h
    assert run(now + timedelta(seconds=180)) == ["growth"]
    assert set(Proposal.objects.values_list("cause", flat=True)) == {"initiative:growth:0", "initiative:growth:1"}


def test_a_day_has_its_number_and_the_next_day_its_own(growth_knows: list[Memory]) -> None:
    cast.set_policy(initiatives_per_day=2, initiatives_apart_hours=0)
    today = noon()
    assert [run(today + timedelta(minutes=minute)) for minute in range(4)] == [["growth"], ["growth"], [], []]
    tomorrow = today + timedelta(hours=12)
    assert [run(tomorrow + timedelta(minutes=minute)) for minute in range(3)] == [["growth"], ["growth"], []]


def test_a_number_of_none_means_none(growth_knows: list[Memory]) -> None:
    cast.set_policy(initiatives_per_day=0)
    assert run() == []


def test_what_led_to_the_last_initiatives_gives_way_to_what_didn_t(growth_knows: list[Memory]) -> None:
    cast.set_policy(initiatives_apart_hours=0)
    for _ in range(4):
        run()
    named = list(Influence.objects.order_by("pk").values_list("memory_id", flat=True))
    first, second, third = (each.pk for each in growth_knows)
    assert named == [first, second, third, first]


def test_it_keeps_to_the_pace_of_the_day(growth_knows: list[Memory]) -> None:
    CapUse.objects.create(cap="analyses_per_day", day=noon().date(), used=1040)  # 2000 × ½ + 40
    assert run(noon()) == []
    assert not Proposal.objects.exists()
    CapUse.objects.update(used=1039)
    assert run(noon()) == ["growth"]


def test_an_agent_without_an_idea_waits_for_none(company: None, certain: None) -> None:
    for _ in range(3):
        learns("lesson", agent="sage")
    assert run() == []
    assert not TriggerState.objects.exclude(fired=0).exists()
    assert TriggerState.objects.get().next_at < db.now()


# --- dice -----------------------------------------------------------------------------------------


def test_whether_it_is_taken_in_a_beat_is_a_roll_that_its_stored_cause_and_moment_repeat(
    company: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast.set_policy(initiatives_apart_hours=0)
    for _ in range(3):
        learns("insight", agent="growth")
    moments = [noon() + timedelta(seconds=15 * beat) for beat in range(40)]
    expected, number = [], 0
    for moment in moments:
        hit = random.Random(f"initiative:growth:{number}:{moment.isoformat()}").random() < 0.25
        expected.append(["growth"] if hit else [])
        number += hit
    monkeypatch.setattr(initiative, "_propose", lambda *_, **__: True)
    assert [run(moment) for moment in moments] == expected
    assert 0 < number < len(moments)


# --- several agents -------------------------------------------------------------------------------


@pytest.fixture
def growth_and_observer_know(growth_knows: list[Memory]) -> None:
    for _ in range(3):
        learns("insight", agent="observer")


@pytest.mark.usefixtures("growth_and_observer_know")
class TestSeveral:
    def test_who_took_it_least_comes_first(self) -> None:
        assert run(limit=1) == ["growth"]
        cast.set_policy(initiatives_apart_hours=0)
        assert run(cast.later(hours=1), limit=1) == ["observer"]
        TriggerState.objects.filter(key="initiative:observer").update(fired=5)
        assert run(cast.later(hours=2), limit=1) == ["growth"]

    def test_the_limit_bounds_a_beat(self) -> None:
        assert run(limit=1) == ["growth"]
        assert run(limit=1) == ["observer"]

    def test_one_agent_s_mistake_does_not_silence_another(self, settings: Any) -> None:
        settings.INITIATIVES = "tests.test_initiative.growth_stumbles"
        assert initiative.run(now=db.now(), limit=6) == {"took": ["observer"], "failed": 1}
        assert not Proposal.objects.filter(agent="growth").exists()


def growth_stumbles(agent: str, memories: Sequence[Recalled], **_: Any) -> dict[str, Any]:
    assert agent != "growth" or 1 / 0
    steps = [{"kind": "reflect"}]
    return {"agent": agent, "title": "Audit", "steps": steps, "confidence": "0.9", "memories": []}


# --- interleavings --------------------------------------------------------------------------------


def growth_learns_committed() -> None:
    for number in range(3):
        Memory.objects.create(
            agent_id="growth", type="insight", text="It rains.", confidence="0.8", cause=f"x:{number}",
            created_at=db.now(),
        )  # fmt: skip


@pytest.mark.race
def test_two_beats_side_by_side_take_it_once(committed_company: None, certain: None) -> None:
    growth_learns_committed()
    now = db.now()
    took = stage.together(6, lambda _: run(now))
    assert sorted(took) == [[], [], [], [], [], ["growth"]]
    assert Proposal.objects.count() == Influence.objects.count() == 1


@pytest.mark.race
def test_the_distance_holds_across_connections(committed_company: None, certain: None) -> None:
    growth_learns_committed()
    now = db.now()
    assert stage.together(1, lambda _: run(now)) == [["growth"]]
    assert stage.together(1, lambda _: run(now + timedelta(minutes=2))) == [[]]
    assert stage.together(1, lambda _: run(now + timedelta(minutes=3))) == [["growth"]]
