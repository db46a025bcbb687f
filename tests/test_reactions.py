"""Who answers whose doings: cooldowns, dice, bounds, and beats that die in the midst of it."""

import random
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.models import Agent
from missions import proposals, triggers
from missions.mind import reactions
from missions.models import CapUse, Proposal, Reaction, Step, TriggerState
from missions.vocabulary import ProposalSource
from tests import cast
from tests.race import stage
from tradeco.common import crashpoints, db, events
from tradeco.common.models import Event
from trading.models import Market, Signal

ASSESSED = {"equity_usd": "10000.00", "exposure_usd": "0.00", "drawdown": "0.000000", "loss_at_stops_usd": "0.00"}
SAGE_TO_ATLAS = {"source": "sage", "target": "atlas", "does": "review", "probability": "1.0", "cooldown_minutes": 15}


class Died(BaseException):
    """A process was killed; nothing of ours may catch it."""


def set_up(*rules: dict[str, Any], **policy: Any) -> None:
    cast.set_policy(reactions=list(rules or [SAGE_TO_ATLAS]), proactive=[], reactive=[], **policy)


def happens(kind: str = "risk.assessed", *, agent: str = "sage", subject: str = "step:999999", **data: Any) -> Event:
    at = data.pop("at", None) or db.now()
    with db.savepoint():
        return events.emit(kind=kind, subject=subject, agent=agent, now=at, data=data or ASSESSED)


def happens_committed() -> None:
    with db.transaction():
        happens()


def analysed(strength: str) -> None:
    """Intel looked at SOL/USDC and found one signal, this strong, whatever its candles would have shown."""
    cast.submit(cast.analysis_draft())
    step, market = Step.objects.get(), Market.objects.get(name="SOL/USDC")
    Signal.objects.create(
        market=market, step=step, kind="momentum", direction="buy", strength=strength, confidence="0.600",
        why="Two averages crossed.", at=db.now(), market_at=market.price_at,
    )  # fmt: skip
    happens("signal.strong", agent="intel", subject="market:SOL/USDC", market="SOL/USDC", strength=strength)
    strongest = {"kind": "momentum", "direction": "buy", "strength": strength}
    happens("signal.found", agent="intel", subject=step.subject, markets=1, signals=1, strongest=strongest)


def run(now: datetime | None = None, limit: int = 10) -> dict[str, Any]:
    return reactions.run(now=now or db.now(), limit=limit)


def counts(rolled: int, answered: int, processed: int, failed: int = 0) -> dict[str, int]:
    return {"rolled": rolled, "answered": answered, "processed": processed, "failed": failed}


NOTHING = counts(0, 0, 0)


# --- what is answered -----------------------------------------------------------------------------


@pytest.mark.usefixtures("company")
class TestAnswers:
    def test_a_big_loss_is_diagnosed_by_sage_through_the_one_door(self) -> None:
        event = happens("position.loss", agent="scout", subject="position:3", market="WIF/USDC", realized_pct="-1.300")
        assert run() == counts(1, 1, 1)
        reaction = Reaction.objects.get()
        assert (reaction.event_id, reaction.source_id, reaction.target_id) == (event.key, "scout", "sage")
        assert (reaction.does, reaction.status, reaction.answered) == ("diagnose", "processed", True)
        proposal = Proposal.objects.get()
        assert reaction.proposal_id == proposal.pk
        assert (proposal.source, proposal.cause) == ("reaction", f"reaction:{reaction.pk}")
        assert (proposal.agent_id, proposal.status, proposal.decided_by) == ("sage", "approved", "policy")
        assert [step["kind"] for step in proposal.steps] == ["reflect"]
        assert "WIF/USDC" in proposal.title
        told = Event.objects.get(kind="reaction.processed")
        assert (told.agent, told.data["proposal"], told.data["source"]) == ("sage", proposal.pk, "scout")
        assert told.data["event"] == Event.objects.get(key=event.key).number

    def test_a_smaller_loss_calls_for_nobody(self) -> None:
        happens("position.loss", agent="scout", subject="position:3", market="WIF/USDC", realized_pct="-1.199")
        assert run() == NOTHING
        assert not Reaction.objects.exists()

    @pytest.mark.parametrize(
        ("kind", "agent", "subject", "data", "answer"),
        [
            ("position.opened", "scout", "position:3", {"market": "SOL/USDC"}, ("growth", "reflect")),
            ("risk.assessed", "sage", "step:9", ASSESSED, ("atlas", "monitor_position")),
            ("agent.reflected", "observer", "step:9", {"topic": "audit"}, ("atlas", "calculate_risk")),
            ("positions.reviewed", "observer", "step:9", {"positions": []}, ("atlas", "calculate_risk")),
            ("agent.reflected", "growth", "step:9", {"topic": "performance"}, ("atlas", "reflect")),
        ],
    )
    def test_each_doing_of_the_matrix_has_its_answer(
        self, kind: str, agent: str, subject: str, data: dict[str, Any], answer: tuple[str, str]
    ) -> None:
        certain = [{**rule, "probability": "1"} for rule in matrix()]
        cast.set_policy(reactions=certain, flag_talks=False)
        happens(kind, agent=agent, subject=subject, **data)
        assert run() == counts(1, 1, 1)
        proposal = Proposal.objects.get()
        assert (proposal.agent_id, proposal.steps[0]["kind"]) == answer

    def test_an_analysis_is_one_doing_however_much_it_found(self) -> None:
        cast.set_policy(signal_strong="0", reactive=[], proactive=[])
        analysed(strength="0.500")
        assert Event.objects.filter(kind="signal.strong", agent="intel").exists()
        cast.set_policy(signal_strong="1", reactions=[{**matrix()[1], "probability": "1"}])
        assert run() == counts(1, 1, 1)
        proposal = Proposal.objects.get(source="reaction")
        assert (proposal.agent_id, proposal.steps) == (
            "atlas",
            [{"kind": "analyze_signal", "params": {"market": "SOL/USDC"}}],
        )

    def test_where_the_signal_is_strong_still_there_is_nothing_to_add(self) -> None:
        cast.set_policy(signal_strong="0", reactive=[], proactive=[], reactions=[{**matrix()[1], "probability": "1"}])
        analysed(strength="0.500")
        assert run() == counts(1, 1, 1)
        assert not Proposal.objects.filter(source="reaction").exists()
        assert Reaction.objects.get().reason == "There is nothing to add."
        assert Event.objects.get(kind="reaction.processed").data["proposal"] is None

    def test_the_doings_of_others_call_for_nobody(self) -> None:
        set_up()
        happens(agent="observer")
        happens("agent.reflected", agent="sage")
        assert run() == NOTHING

    def test_an_inactive_agent_answers_nobody(self) -> None:
        set_up()
        Agent.objects.filter(key="atlas").update(active=False)
        happens()
        assert run() == NOTHING

    def test_the_flag_switches_reactions_off(self) -> None:
        set_up(flag_reactions=False)
        happens()
        assert run() == NOTHING
        assert not Reaction.objects.exists()
        assert not TriggerState.objects.exists()
        cast.set_policy(flag_reactions=True)
        assert run() == counts(1, 1, 1)

    def test_what_happened_long_ago_is_history(self) -> None:
        set_up()
        happens(at=cast.later(minutes=-61))
        assert run() == NOTHING
        happens(at=cast.later(minutes=-59))
        assert run() == counts(1, 1, 1)

    def test_answers_keep_to_the_pace_of_the_day(self) -> None:
        set_up()
        noon = db.now().replace(hour=12, minute=0, second=0, microsecond=0)
        happens(at=noon)
        CapUse.objects.create(cap="analyses_per_day", day=noon.date(), used=1040)  # 2000 × ½ + 40
        assert run(noon) == counts(1, 1, 1)
        assert not Proposal.objects.exists()
        assert "pace" in Reaction.objects.get().reason

    def test_of_two_sources_that_ask_the_same_of_one_agent_one_is_heard(self) -> None:
        loss = {"target": "sage", "does": "diagnose", "probability": "1", "cooldown_minutes": 60}
        set_up({**loss, "source": "any"}, {**loss, "source": "any", "cooldown_minutes": 30})
        happens("position.loss", agent="scout", subject="position:3", market="WIF/USDC", realized_pct="-3")
        assert run() == counts(1, 1, 1)
        assert Reaction.objects.count() == Proposal.objects.count() == 1


def matrix() -> list[dict[str, Any]]:
    from missions.policy_keys import opening_values

    rules: list[dict[str, Any]] = opening_values("demo")["reactions"]
    return rules


# --- dice and cooldowns ---------------------------------------------------------------------------


@pytest.mark.usefixtures("company")
class TestDiceAndCooldowns:
    def test_every_roll_is_stored_with_its_seed_and_rolls_the_same_again(self) -> None:
        set_up({**SAGE_TO_ATLAS, "probability": "0.4", "cooldown_minutes": 0.001})
        now = db.now()
        for second in range(12):
            happens()
            run(now + timedelta(seconds=second))
        found = list(Reaction.objects.select_related("event").order_by("pk"))
        assert len(found) == 12
        for each in found:
            assert each.seed == f"reaction:{each.event.key}:atlas:review"
            assert abs(float(each.rolled) - random.Random(each.seed).random()) < 1e-6
            assert (each.probability, each.answered) == (Decimal("0.4"), each.rolled < Decimal("0.4"))
            assert (each.status, each.finished_at is not None) == ("processed", True)
            assert bool(each.proposal_id) == each.answered
        assert Proposal.objects.count() == sum(each.answered for each in found)

    @pytest.mark.parametrize(("probability", "answered"), [("0", 0), ("1", 1)])
    def test_the_impossible_never_happens_and_the_certain_always(
        self, probability: str, answered: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        set_up({**SAGE_TO_ATLAS, "probability": probability})
        monkeypatch.setattr(random.Random, "random", lambda _: (0.0, 0.99999999)[answered])
        happens()
        assert run() == counts(1, answered, answered)

    def test_within_the_cooldown_nobody_rolls_and_after_it_again(self) -> None:
        set_up()
        now = db.now()
        happens()
        assert run(now) == counts(1, 1, 1)
        happens()
        assert run(now + timedelta(seconds=14)) == NOTHING  # 15 min at the demo's pace
        assert Reaction.objects.count() == 1
        happens()
        assert run(now + timedelta(seconds=16)) == counts(1, 1, 1)

    def test_without_cooldowns_it_would_be_answered_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        set_up()
        monkeypatch.setattr(triggers, "cool_down", lambda *_, **__: None)
        for _ in range(2):
            happens()
            assert run() == counts(1, 1, 1)

    def test_a_lost_roll_leaves_the_next_doing_its_own(self) -> None:
        set_up({**SAGE_TO_ATLAS, "probability": "0"})
        for _ in range(3):
            happens()
        assert run() == counts(3, 0, 0)

    def test_of_many_doings_in_a_beat_a_rule_answers_one(self) -> None:
        set_up({**SAGE_TO_ATLAS, "cooldown_minutes": 1e-9})
        for _ in range(5):
            happens()
        assert run() == counts(1, 1, 1)

    def test_nothing_is_rolled_for_twice_where_the_cursor_is_lost(self) -> None:
        set_up()
        happens()
        run()
        TriggerState.objects.all().delete()
        assert run() == NOTHING
        assert Reaction.objects.count() == Proposal.objects.count() == 1


# --- bounds ---------------------------------------------------------------------------------------


def queued(count: int) -> None:
    event, now = happens(), db.now()
    events.number_new()
    TriggerState.objects.create(key=reactions.CURSOR, next_at=now, cursor=events.newest_number())
    Reaction.objects.bulk_create(
        Reaction(
            event=event, source_id="sage", target_id="atlas", does=f"review{'x' * place}", seed="s",
            rolled=0, probability=1, answered=True, at=now,
        )
        for place in range(count)
    )  # fmt: skip


@pytest.mark.usefixtures("company")
class TestBounds:
    def test_at_most_so_many_a_beat(self) -> None:
        set_up()
        queued(25)
        assert [run()["processed"] for _ in range(4)] == [10, 10, 5, 0]

    def test_no_more_are_called_for_than_may_wait_and_the_rest_keeps_its_place(self) -> None:
        set_up()
        queued(10)
        happens()
        assert run(limit=10) == counts(0, 0, 10)
        assert run(limit=10) == counts(1, 1, 1)

    def test_a_beat_calls_for_no_more_than_its_limit(self) -> None:
        others = [{**SAGE_TO_ATLAS, "does": does} for does in ("review", "alert", "analyze", "diagnose")]
        set_up(*others)
        happens()
        assert run(limit=3) == counts(3, 3, 3)

    def test_agents_do_not_answer_each_other_without_end(self) -> None:
        assert self.ping_pong() == 1

    def test_without_the_bound_they_would(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reactions, "_without_answers", lambda found: found)
        assert self.ping_pong() > 3

    @staticmethod
    def ping_pong() -> int:
        """How many answers come of one doing of sage, in six beats without a cooldown to speak of."""
        rule = {"probability": "1", "cooldown_minutes": 1e-9}
        to_sage = {"source": "atlas", "target": "sage", "does": "alert"}
        set_up({**SAGE_TO_ATLAS, **rule}, {**to_sage, **rule})
        cast.submit(cast.draft(agent="sage", steps=[{"kind": "calculate_risk", "params": {}}]))
        for _ in range(6):
            cast.work()
            run()
        return Proposal.objects.filter(source="reaction").count()

    def test_an_answer_moves_no_money(self, settings: Any) -> None:
        settings.REACTIVE_TRIGGERS = "tests.test_reactions.buys"
        set_up()
        happens()
        assert run() == counts(1, 1, 0, failed=1)
        assert not Proposal.objects.exists()
        assert (Reaction.objects.get().status, Event.objects.filter(kind="reaction.processed").count()) == ("failed", 0)

    def test_without_that_guard_it_would(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        settings.REACTIVE_TRIGGERS = "tests.test_reactions.buys"
        monkeypatch.setattr(reactions, "_require_no_trade", lambda draft: None)
        set_up()
        happens()
        run()
        assert Proposal.objects.get().steps[0]["kind"] == "execute_trade"

    def test_one_that_cannot_be_answered_holds_nobody_up(self, settings: Any) -> None:
        settings.REACTIVE_TRIGGERS = "tests.test_reactions.stumbles_at_alerts"
        set_up({**SAGE_TO_ATLAS, "does": "alert"}, SAGE_TO_ATLAS)
        happens()
        assert run() == counts(2, 2, 1, failed=1)
        assert dict(Reaction.objects.values_list("does", "status")) == {"alert": "failed", "review": "processed"}
        assert "ZeroDivisionError" in Reaction.objects.get(does="alert").reason
        assert run() == NOTHING

    def test_what_waited_too_long_is_not_answered(self) -> None:
        set_up()
        queued(1)
        assert run(cast.later(minutes=61)) == counts(0, 0, 1)
        assert not Proposal.objects.exists()
        assert "too late" in Reaction.objects.get().reason

    def test_old_reactions_are_forgotten_a_bounded_number_at_a_time(self) -> None:
        queued(5)
        Reaction.objects.filter(does__in=["review", "reviewx", "reviewxx"]).update(at=cast.later(days=-31))
        month = timedelta(days=30)
        gone = [reactions.prune(now=db.now(), limit=2, retention=month) for _ in range(3)]
        assert (gone, Reaction.objects.count()) == ([2, 1, 0], 2)


def buys(agent: str, found: list[Event], **_: Any) -> dict[str, Any]:
    step = {"kind": "execute_trade", "params": {"side": "buy", "market": "SOL/USDC", "size_usd": "20"}}
    return {"agent": agent, "title": "Buy", "steps": [step], "confidence": "0.9"}


def stumbles_at_alerts(agent: str, found: list[Event], *, does: str, **_: Any) -> dict[str, Any]:
    assert does != "alert" or 1 / 0
    return {"agent": agent, "title": "Look back", "steps": [{"kind": "reflect"}], "confidence": "0.9"}


# --- beats that die -------------------------------------------------------------------------------


@pytest.fixture
def dying() -> Iterator[Callable[[str], None]]:
    """Let the next to reach a point die there."""

    def die_at(point: str) -> None:
        def hook(name: str) -> None:
            if name == point:
                crashpoints.watch(None)
                raise Died

        crashpoints.watch(hook)

    yield die_at
    crashpoints.watch(None)


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize(
    ("point", "left"),
    [("reactions.queued", "queued"), ("reactions.taken", "processing"), ("reactions.answered", "processing")],
)
def test_what_a_dead_beat_left_is_answered_once_by_the_next(
    point: str, left: str, dying: Callable[[str], None]
) -> None:
    set_up()
    happens()
    dying(point)
    with pytest.raises(Died):
        run()
    reaction = Reaction.objects.get()
    assert (reaction.status, reaction.proposal_id, Proposal.objects.count()) == (left, None, 0)
    assert run() == counts(0, 0, 1)
    reaction.refresh_from_db()
    assert (reaction.status, reaction.proposal_id) == ("processed", Proposal.objects.get().pk)
    assert Event.objects.filter(kind="reaction.processed").count() == 1
    assert run() == NOTHING


@pytest.mark.usefixtures("company")
def test_a_beat_that_dies_while_it_rolls_leaves_the_doing_to_the_next(dying: Callable[[str], None]) -> None:
    set_up()
    happens()
    dying("reactions.newest_known")
    with pytest.raises(Died):
        run()
    assert not Reaction.objects.exists()
    assert run() == counts(1, 1, 1)


@pytest.mark.usefixtures("company")
def test_what_was_proposed_already_is_the_answer(dying: Callable[[str], None]) -> None:
    set_up()
    happens()
    dying("reactions.queued")
    with pytest.raises(Died):
        run()
    reaction = Reaction.objects.get()
    standing = proposals.submit(
        draft=cast.analysis_draft(), source=ProposalSource.REACTION, cause=f"reaction:{reaction.pk}", now=db.now()
    )
    run()
    reaction.refresh_from_db()
    assert reaction.proposal_id == standing.pk
    assert Proposal.objects.count() == 1


# --- interleavings --------------------------------------------------------------------------------


@pytest.mark.race
def test_two_beats_side_by_side_answer_once(committed_company: None) -> None:
    set_up({**SAGE_TO_ATLAS, "cooldown_minutes": 0.001})
    happens_committed()
    now = db.now()
    did = stage.together(6, lambda _: run(now))
    assert [sum(each[name] for each in did) for name in ("rolled", "answered", "processed", "failed")] == [1, 1, 1, 0]
    assert Reaction.objects.count() == Proposal.objects.count() == 1


@pytest.mark.race
def test_cooldowns_hold_across_connections(committed_company: None) -> None:
    set_up()
    now = db.now()
    happens_committed()
    assert stage.together(1, lambda _: run(now)) == [counts(1, 1, 1)]
    happens_committed()
    assert stage.together(1, lambda _: run(now + timedelta(seconds=14))) == [NOTHING]
    happens_committed()
    assert stage.together(1, lambda _: run(now + timedelta(seconds=16))) == [counts(1, 1, 1)]


@pytest.mark.race
def test_a_doing_that_comes_between_two_looks_is_not_passed_over(committed_company: None) -> None:
    set_up()
    reached: list[str] = []

    def emit_elsewhere(_: int) -> None:
        happens_committed()
        events.number_new()

    def hook(name: str) -> None:
        if name == "reactions.newest_known" and not reached:
            reached.append(name)
            stage.together(1, emit_elsewhere)

    crashpoints.watch(hook)
    try:
        answered = run()["answered"] + run(db.now() + timedelta(minutes=1))["answered"]
    finally:
        crashpoints.watch(None)
    assert (reached, answered) == (["reactions.newest_known"], 1)


def test_who_finds_no_room_is_asked_about_the_same_by_the_next_beat(company: None) -> None:
    set_up(SAGE_TO_ATLAS, {**SAGE_TO_ATLAS, "target": "observer", "does": "alert"})
    happens()
    assert [run(limit=1)["answered"] for _ in range(3)] == [1, 1, 0]
    assert set(Reaction.objects.values_list("target", flat=True)) == {"atlas", "observer"}
