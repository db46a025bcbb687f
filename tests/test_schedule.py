"""When the company talks of its own accord: by the clock and about losses, once each, whoever looks."""

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.models import Agent, Relationship
from missions import triggers
from missions.models import CapUse, Proposal, TriggerState
from missions.vocabulary import ConversationFormat as F
from roundtable import schedule
from roundtable.formats import FORMATS
from roundtable.models import Conversation
from tests import cast, talk
from tests.race import stage
from tradeco.common import crashpoints, db, events
from tradeco.common.models import Event

DAY = 1440
LUNCH = {"format": "watercooler", "every_minutes": DAY, "at_minutes": 720, "probability": "1"}
SUNDAYS = {"format": "strategy_session", "every_minutes": 7 * DAY, "at_minutes": 3 * DAY + 540, "probability": "1"}
DEBATE = {"format": "debate", "every_minutes": DAY, "at_minutes": 960, "probability": "1"}
MONDAY = datetime(2031, 3, 3, tzinfo=UTC)


def run(now: datetime | None = None, limit: int = 5) -> list[str]:
    held: list[str] = schedule.run(now=now or db.now(), limit=limit)["held"]
    return held


def at(days: int = 0, hours: float = 0) -> datetime:
    return MONDAY + timedelta(days=days, hours=hours)


@pytest.fixture
def by_the_clock(company: None) -> None:
    """Lunch each day at twelve and strategy on Sundays at nine, at the pace of the clock on the wall."""
    cast.force_policy(talks=[LUNCH, SUNDAYS], trigger_pace=1, pace_burst=1000)


# --- by the clock ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("by_the_clock")
class TestByTheClock:
    def test_each_talk_comes_round_at_its_time_of_day_and_week(self) -> None:
        run(at(0))
        found = [(day, hour, held) for day in range(7) for hour in range(24) for held in run(at(day, hour + 0.5))]
        assert found == [
            (0, 12, "watercooler"),
            (1, 12, "watercooler"),
            (2, 12, "watercooler"),
            (3, 12, "watercooler"),
            (4, 12, "watercooler"),
            (5, 12, "watercooler"),
            (6, 9, "strategy_session"),
            (6, 12, "watercooler"),
        ]

    def test_it_is_proposed_by_the_one_door_and_arranged(self) -> None:
        run(at(0))
        run(at(0, 12))
        proposal = Proposal.objects.get()
        turn = (at(0, 12) - datetime(1970, 1, 1, 12, tzinfo=UTC)).days
        assert (proposal.agent_id, proposal.source, proposal.status) == ("atlas", "trigger", "approved")
        assert proposal.cause == f"talk:watercooler:{turn}"
        assert Conversation.objects.get().topic == FORMATS[F.WATERCOOLER].topics[turn % 3]
        assert Event.objects.get(kind="trigger.fired").subject == "trigger:talk:watercooler"

    def test_none_is_held_twice_for_one_time(self) -> None:
        run(at(0))
        assert run(at(0, 12)) == ["watercooler"]
        assert run(at(0, 12)) == run(at(0, 23.9)) == []

    def test_a_new_company_waits_for_the_next_time_and_holds_nothing_that_was_before_it(self) -> None:
        assert run(at(0, 23)) == []
        assert TriggerState.objects.get(key="talk:watercooler").next_at == at(1, 12)

    def test_what_came_round_while_nobody_looked_is_held_once(self) -> None:
        run(at(0))
        assert sorted(run(at(30, 13))) == ["strategy_session", "watercooler"]
        assert run(at(30, 14)) == []

    def test_the_limit_leaves_the_rest_to_the_next_beat(self) -> None:
        run(at(0))
        late = at(6, 13)
        assert [run(late, limit=1), run(late, limit=1), run(late, limit=1)] == [
            ["watercooler"],
            ["strategy_session"],
            [],
        ]

    def test_the_pace_multiplies_cadence_and_time_of_day(self) -> None:
        cast.force_policy(talks=[LUNCH], trigger_pace=1 / 60)
        run(at(0))
        held = [minute for minute in range(60) if run(at(0) + timedelta(minutes=minute))]
        assert len(held) == 2
        assert held[1] - held[0] == 24  # minutes: a day at a sixtieth

    def test_chance_is_rolled_from_the_time_it_came_round_so_a_replay_rolls_the_same(self) -> None:
        cast.force_policy(talks=[{**LUNCH, "probability": "0.4"}])
        run(at(0))
        days = [day for day in range(60) if run(at(day, 12))]
        assert 12 <= len(days) <= 36
        TriggerState.objects.all().delete()
        Proposal.objects.update(cause="")
        run(at(0))
        assert [day for day in range(60) if run(at(day, 12))] == days

    def test_the_flag_switches_talk_off(self) -> None:
        cast.force_policy(flag_talks=False)
        assert run(at(0)) == run(at(0, 12)) == []
        assert not TriggerState.objects.filter(key__startswith="talk:").exists()

    def test_it_waits_when_the_day_s_cap_is_ahead_of_the_clock(self) -> None:
        cast.force_policy(pace_burst=40)
        run(at(0))
        CapUse.objects.create(cap="conversations_per_day", day=at(0).date(), used=290)  # 500 × ½ + 40
        assert run(at(0, 12)) == []

    def test_another_agent_asks_where_the_coordinator_is_away(self) -> None:
        Agent.objects.filter(key="atlas").update(active=False)
        run(at(0))
        run(at(0, 12))
        assert Proposal.objects.get().agent_id == "sage"

    def test_where_nobody_is_there_to_open_it_nothing_is_asked_for(self) -> None:
        Agent.objects.update(active=False)
        run(at(0))
        assert run(at(0, 12)) == []
        assert not Proposal.objects.exists()


# --- debates --------------------------------------------------------------------------------------


def test_the_two_that_stand_farthest_apart_debate_when_debate_comes_round(company: None) -> None:
    cast.force_policy(talks=[DEBATE], trigger_pace=1)
    run(at(0))
    assert run(at(0, 16)) == ["debate"]
    held = Conversation.objects.get()
    assert {"intel", "sage"} <= set(held.participants)
    assert held.topic.endswith("Intel against Sage")


def test_nobody_debates_where_nobody_stands_apart(company: None) -> None:
    cast.force_policy(talks=[DEBATE], trigger_pace=1)
    Relationship.objects.filter(affinity__lt=Decimal("0.4")).update(affinity=Decimal("0.4"))
    run(at(0))
    assert run(at(0, 16)) == []


# --- about losses ---------------------------------------------------------------------------------


@pytest.fixture
def silent_clock(company: None) -> None:
    cast.force_policy(talks=[])


def lose(position: int, pct: str = "-1.500") -> None:
    with db.savepoint():
        events.emit(
            kind="position.loss",
            subject=f"position:{position}",
            now=db.now(),
            data={"market": "SOL/USDC", "realized_pct": pct, "realized_pnl_usd": "-1.5"},
        )


@pytest.mark.usefixtures("silent_clock")
class TestAboutLosses:
    def test_a_big_loss_is_talked_over_once(self) -> None:
        position = cast.bought()
        lose(position.pk)
        assert run() == [f"post_mortem about position:{position.pk}"]
        held = Conversation.objects.get()
        assert (held.format, held.about, held.topic) == (
            "post_mortem",
            f"position:{position.pk}",
            "The loss of 1.5% on SOL/USDC",
        )
        fired = Event.objects.get(kind="trigger.fired")
        assert fired.data["event"] == Event.objects.get(kind="position.loss").number
        lose(position.pk)
        assert run() == []

    @pytest.mark.parametrize(("pct", "times"), [("-1.199", 0), ("-1.200", 1), ("-40", 1)])
    def test_only_what_policy_calls_a_big_loss(self, pct: str, times: int) -> None:
        lose(cast.bought().pk, pct)
        assert len(run()) == times

    def test_the_cursor_is_its_own_and_moves_over_what_concerns_nobody(self) -> None:
        with db.savepoint():
            events.emit(kind="market.opened", subject="market", now=db.now())
        assert run() == []
        assert TriggerState.objects.get(key=schedule.CURSOR).cursor == events.newest_number()

    def test_more_than_the_limit_waits_for_the_next_beat(self) -> None:
        position = cast.bought().pk
        for n in range(3):
            lose(position if n == 0 else 9000 + n)
        held = [run(limit=1) for _ in range(4)]
        assert [len(each) for each in held] == [1, 1, 1, 0]
        assert Counter(Proposal.objects.filter(cause__startswith="talk:").values_list("status", flat=True)) == {
            "approved": 1,
            "rejected": 2,  # there are no such positions
        }

    def test_more_than_a_beat_s_lot_is_not_passed_over(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(schedule, "EVENTS_PER_BEAT", 2)
        for n in range(5):
            lose(9000 + n)
        assert [len(run(limit=10)) for _ in range(4)] == [2, 2, 1, 0]

    def test_old_losses_are_history(self) -> None:
        lose(9000)
        assert run(cast.later(hours=2)) == []
        assert TriggerState.objects.get(key=schedule.CURSOR).cursor == events.newest_number()

    def test_it_does_not_run_ahead_of_the_day_s_pace(self) -> None:
        CapUse.objects.create(cap="conversations_per_day", day=db.now().date(), used=10_000)
        lose(9000)
        assert run() == []


# --- interleavings --------------------------------------------------------------------------------


@pytest.fixture
def between_the_looks(committed_company: None) -> Iterator[list[str]]:
    """A loss that is numbered by another process between the two looks at the table."""
    cast.force_policy(talks=[])
    reached: list[str] = []

    def lose_elsewhere(_: int) -> None:
        with db.transaction():
            lose(9000)
        events.number_new()

    def hook(name: str) -> None:
        if name == "schedule.newest_known" and not reached:
            reached.append(name)
            stage.together(1, lose_elsewhere)

    crashpoints.watch(hook)
    yield reached
    crashpoints.watch(None)


@pytest.mark.race
def test_a_loss_that_comes_between_two_looks_is_not_passed_over(between_the_looks: list[str]) -> None:
    assert run() + run() == ["post_mortem about position:9000"]
    assert between_the_looks == ["schedule.newest_known"]


@pytest.mark.race
def test_beats_side_by_side_hold_each_talk_once(committed_company: None) -> None:
    cast.force_policy(talks=[LUNCH, SUNDAYS], trigger_pace=1, pace_burst=1000)
    run(at(0))
    held: list[Any] = stage.together(6, lambda _: run(at(6, 13)))
    assert sorted(name for each in held for name in each) == ["strategy_session", "watercooler"]
    assert Conversation.objects.count() == 2


@pytest.mark.race
def test_control_without_the_lock_on_its_row_both_find_it_due(
    committed_company: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    cast.force_policy(talks=[LUNCH], trigger_pace=1, pace_burst=1000)
    run(at(0))
    both = threading.Barrier(2, timeout=30)

    def look_only(key: str, **_: Any) -> TriggerState:
        state = TriggerState.objects.get(key=key)
        if key != schedule.CURSOR:
            both.wait()
        return state

    monkeypatch.setattr(triggers, "locked_state", look_only)
    monkeypatch.setattr(schedule, "_propose", lambda *args, **kwargs: True)  # nor the cause that has one proposal
    held: list[Any] = stage.together(2, lambda _: run(at(0, 13)))
    assert held == [["watercooler"], ["watercooler"]]


def test_every_format_that_comes_round_has_topics() -> None:
    assert all(FORMATS[format].topics for format in talk.EVERY_FORMAT)
