"""What agents do of themselves and about events: when, how often, and that nobody holds another up."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from agents.models import Agent
from missions import triggers
from missions.models import CapUse, Proposal, TriggerState
from tests import cast
from tests.race import stage
from tradeco.common import crashpoints, db, events
from tradeco.common.models import Event

TWO = [
    {"agent": "intel", "topic": "signal_scan", "step": "analyze_signal", "every_minutes": 30},
    {"agent": "growth", "topic": "performance", "step": "reflect", "every_minutes": 360},
]


@pytest.fixture
def routines(company: None) -> None:
    """Two routines that never skip."""
    cast.set_policy(proactive=TWO, trigger_skip="0", reactive=[])


@pytest.fixture
def reactions(company: None) -> None:
    cast.set_policy(proactive=[])


def run(now: datetime | None = None, limit: int = 20) -> list[str]:
    fired: list[str] = triggers.run(now=now or db.now(), limit=limit)["fired"]
    return fired


def happens(kind: str = "signal.strong", *, market: str = "SOL/USDC", strength: str = "0.9") -> None:
    sure = {"strength": strength, "confidence": "0.8"}
    data = {"market": market, "direction": "buy", "kind": "momentum", "why": "it rises", **sure}
    with db.savepoint():
        events.emit(kind=kind, subject=f"market:{market}", now=db.now(), data=data)


# --- routines -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("routines")
class TestRoutines:
    def test_a_new_company_looks_at_once(self) -> None:
        assert run() == ["intel:signal_scan", "growth:performance"]
        assert set(Proposal.objects.values_list("agent", "status", "source")) == {
            ("intel", "approved", "trigger"),
            ("growth", "approved", "trigger"),
        }
        assert Event.objects.filter(kind="trigger.fired").count() == 2

    def test_none_fires_again_before_its_time_and_each_in_its_own(self) -> None:
        now = db.now()
        run(now)
        assert run(now + timedelta(seconds=26)) == []
        assert run(now + timedelta(seconds=34)) == ["intel:signal_scan"]  # 30 s ± a tenth, at the demo's pace
        assert run(now + timedelta(seconds=397)) == ["intel:signal_scan", "growth:performance"]

    def test_cooldowns_stand_in_the_database_not_in_a_process(self) -> None:
        now = db.now()
        run(now)
        TriggerState.objects.filter(key="proactive:intel:signal_scan").update(next_at=now + timedelta(hours=5))
        assert run(now + timedelta(hours=1)) == ["growth:performance"]

    def test_the_limit_leaves_the_rest_to_the_next_beat(self) -> None:
        now = db.now()
        assert run(now, limit=1) == ["intel:signal_scan"]
        assert run(now, limit=1) == ["growth:performance"]

    def test_an_inactive_agent_s_routine_waits_and_holds_nobody_up(self) -> None:
        Agent.objects.filter(key="intel").update(active=False)
        assert run() == ["growth:performance"]
        Agent.objects.filter(key="intel").update(active=True)
        assert run() == ["intel:signal_scan"]

    def test_skipped_routines_cool_down_too_but_never_the_first(self) -> None:
        cast.set_policy(trigger_skip="1")
        now = db.now()
        assert len(run(now)) == 2
        later = now + timedelta(hours=1)
        assert run(later) == []
        assert TriggerState.objects.filter(next_at__gt=later).count() == 2

    def test_routines_wait_when_the_day_s_cap_is_ahead_of_the_clock(self) -> None:
        noon = db.now().replace(hour=12, minute=0, second=0, microsecond=0)
        CapUse.objects.create(cap="analyses_per_day", day=noon.date(), used=1040)  # 2000 × ½ + 40
        assert run(noon) == []

    def test_a_moment_of_chance_is_the_same_in_a_replay(self) -> None:
        now = db.now()
        run(now)
        times = dict(TriggerState.objects.values_list("key", "next_at"))
        TriggerState.objects.all().delete()
        Proposal.objects.update(cause="")
        run(now)
        assert dict(TriggerState.objects.values_list("key", "next_at")) == times


# --- reactions ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("reactions")
class TestReactions:
    def test_an_event_wakes_its_agent_once(self) -> None:
        happens()
        assert run() == ["signal.strong:scout"]
        assert run(db.now() + timedelta(hours=1)) == [], "the cursor is behind it"

    def test_within_the_cooldown_nothing_happens_and_after_it_again(self) -> None:
        now = db.now()
        happens()
        run(now)
        happens()
        assert run(now + timedelta(seconds=14)) == []
        happens()
        assert run(now + timedelta(seconds=16)) == ["signal.strong:scout"]

    def test_an_inactive_agent_does_not_react(self) -> None:
        Agent.objects.filter(key="scout").update(active=False)
        happens()
        assert run() == []

    def test_the_flag_switches_reactions_off(self) -> None:
        cast.set_policy(flag_reactive_triggers=False)
        happens()
        assert run() == []

    def test_two_agents_may_react_to_one_event(self) -> None:
        rule = {"event": "signal.strong", "cooldown_minutes": 15}
        cast.set_policy(reactive=[{**rule, "agent": "scout"}, {**rule, "agent": "atlas"}])
        happens()
        run()
        asked = set(TriggerState.objects.filter(key__startswith="reactive:signal").values_list("key", flat=True))
        assert asked == {"reactive:signal.strong:scout", "reactive:signal.strong:atlas"}

    def test_its_firing_names_the_event_that_the_proposal_is_about_and_a_routine_s_none(self) -> None:
        happens(market="WIF/USDC", strength="0.95")
        happens(market="SOL/USDC", strength="0.90")
        run()
        fired = Event.objects.get(kind="trigger.fired")
        woken_by = Event.objects.get(number=fired.data["event"])
        assert woken_by.data["market"] == "WIF/USDC"
        assert Proposal.objects.get(pk=fired.data["proposal"]).steps[0]["params"]["market"] == "WIF/USDC"
        cast.set_policy(proactive=TWO)
        run()
        routines = Event.objects.filter(kind="trigger.fired", subject__startswith="trigger:proactive:")
        assert [each.data["event"] for each in routines] == [None, None]

    def test_what_concerns_nobody_moves_the_cursor_too(self) -> None:
        for _ in range(3):
            happens("market.opened")
        run()
        assert TriggerState.objects.get(key=triggers.CURSOR).cursor == events.newest_number()

    def test_who_finds_no_room_in_a_beat_answers_the_same_event_in_the_next(self) -> None:
        now = db.now()
        rule = {"cooldown_minutes": 0.1}  # over before the next beat
        both = [{**rule, "event": "stop.hit", "agent": "growth"}, {**rule, "event": "signal.strong", "agent": "scout"}]
        cast.set_policy(reactive=both)
        happens("stop.hit")
        happens()
        assert run(now, limit=1) == ["stop.hit:growth"]
        assert run(now + timedelta(minutes=1), limit=1) == ["signal.strong:scout"]
        assert run(now + timedelta(minutes=2), limit=1) == [], "each event is answered once"

    def test_more_than_a_beat_s_lot_waits_for_the_next(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(triggers, "EVENTS_PER_BEAT", 3)
        for _ in range(5):
            happens("stop.hit")
        events.number_new()
        run()
        assert (
            TriggerState.objects.get(key=triggers.CURSOR).cursor
            == Event.objects.filter(kind="stop.hit").order_by("number")[2].number
        )


# --- cursors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "more", "cursor"),
    [
        ([], False, 90),  # nothing concerns us: behind all that stood there
        ([], True, 40),  # nobody had time to look: where it was
        ([50, 60], False, 90),
        ([50, 60], True, 60),  # a beat's lot: what is left comes next
        ([50, 95], False, 95),  # numbered between the two looks, and seen
    ],
)
def test_a_cursor_stays_before_what_nobody_has_seen(seen: list[int], more: bool, cursor: int) -> None:
    rows = [Event(number=number) for number in seen]
    assert triggers.seen_up_to(rows, 90, before=40, more=more) == cursor


# --- interleavings --------------------------------------------------------------------------------


@pytest.fixture
def between_the_looks(committed_company: None) -> Iterator[list[str]]:
    """An event that is numbered by another process between the trigger's two looks at the table."""
    cast.set_policy(proactive=[])
    reached: list[str] = []

    def emit_elsewhere(_: int) -> None:
        with db.transaction():
            happens()
        events.number_new()

    def hook(name: str) -> None:
        if name == "triggers.newest_known" and not reached:
            reached.append(name)
            stage.together(1, emit_elsewhere)

    crashpoints.watch(hook)
    yield reached
    crashpoints.watch(None)


@pytest.mark.race
def test_an_event_that_comes_between_two_looks_is_not_passed_over(between_the_looks: list[str]) -> None:
    fired = run() + run(db.now() + timedelta(minutes=1))
    assert between_the_looks == ["triggers.newest_known"]
    assert fired == ["signal.strong:scout"]


@pytest.mark.race
def test_two_beats_side_by_side_fire_each_rule_once(committed_company: None) -> None:
    cast.set_policy(proactive=TWO, trigger_skip="0", reactive=[])
    now = db.now()
    fired: list[Any] = stage.together(6, lambda _: run(now))
    assert sorted(name for each in fired for name in each) == ["growth:performance", "intel:signal_scan"]
    assert Proposal.objects.count() == 2
