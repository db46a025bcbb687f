"""Conversations from their proposal to what remains of them: arranged, held turn by turn, distilled, given up."""

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents import memory
from agents.models import AFFINITY_MAX, AFFINITY_MIN, DRIFT_MOST, Agent, Memory, MemoryType, Relationship, Shift
from missions import claims, outcomes, policies, proposals, rescue
from missions.claims import LostClaim
from missions.models import CapUse, Mission, Outcome, Proposal, Step
from missions.vocabulary import ConversationFormat as F
from roundtable import actions, distil, recovery
from roundtable.execution import Hold
from roundtable.formats import FORMATS
from roundtable.models import Conversation, Exchange, Stance, Tone, Turn, Vote
from roundtable.voices.port import Brief, Said
from tests import cast, minds, talk
from tradeco.common import db
from tradeco.common.models import Event

pytestmark = pytest.mark.usefixtures("company")
SPEAK = "roundtable.voices.speaking.speak"


@pytest.fixture(autouse=True)
def plain_voice(db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(SPEAK, talk.plain)
    return


@pytest.fixture
def quick(company: None) -> None:
    talk.quickly()


# --- arranging ------------------------------------------------------------------------------------


def test_a_conversation_is_arranged_with_its_approval_and_waits_for_a_table() -> None:
    held = talk.held("strategy_session", topic="What worked")
    assert (held.status, held.topic, held.participants) == ("pending", "What worked", ["atlas", "sage", "growth"])
    assert 10 <= held.turns_planned <= 16
    assert held.temperature == Decimal("0.65")
    event = Event.objects.get(kind="conversation.opened")
    assert (event.subject, event.data["format"], event.data["turns"]) == (
        held.subject,
        "strategy_session",
        held.turns_planned,
    )


def test_no_two_conversations_roll_the_same_dice() -> None:
    assert len({talk.held("watercooler").seed for _ in range(5)}) == 5


@pytest.mark.parametrize("about", ["position:4711", "proposal:4711", "nonsense:1"])
def test_what_is_not_there_is_not_talked_about(about: str) -> None:
    proposal = talk.hold("post_mortem", about=about)
    assert (proposal.status, proposal.code) == ("rejected", "nothing_to_talk_of")
    assert not Conversation.objects.exists()


def test_what_is_there_is_talked_about() -> None:
    position = cast.bought()
    held = talk.held("post_mortem", about=position.subject)
    assert held.about == position.subject


@pytest.mark.parametrize("about", ["", "position:1", "proposal:4711"])
def test_a_review_needs_a_proposal(about: str) -> None:
    proposal = talk.hold("trade_review", about=about)
    assert (proposal.status, proposal.code) == ("rejected", "no_review_awaited")


def test_a_review_of_what_is_decided_makes_no_sense() -> None:
    decided = cast.submit(cast.buy())
    assert talk.hold("trade_review", about=decided.subject).code == "no_review_awaited"


def test_one_agent_alone_does_not_talk() -> None:
    Agent.objects.exclude(key="atlas").update(active=False)
    assert talk.hold("watercooler").code == "nobody_to_talk"


# --- held turn by turn ----------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("format", talk.EVERY_FORMAT)
def test_the_worker_holds_a_conversation_of_each_format_to_its_end(format: F) -> None:
    held = talk.held(format, topic="SOL and the week")
    done = cast.work()
    assert done["succeeded"] >= 1
    held.refresh_from_db()
    turns = talk.said_of(held)
    assert (held.status, len(turns)) == ("completed", held.turns_planned)
    assert [turn.place for turn in turns] == list(range(1, held.turns_planned + 1))
    assert all(set(turn.facts) == set(FORMATS[format].facts) for turn in turns)
    assert held.last_turn_at is not None
    told = Event.objects.filter(kind="conversation.turn", subject=held.subject).order_by("key")
    assert [event.data["text"] for event in told] == [turn.text for turn in turns]
    assert [(event.data["place"], event.data["of"]) for event in told] == [
        (turn.place, held.turns_planned) for turn in turns
    ]
    over = Event.objects.get(kind="conversation.completed")
    assert over.data["turns"] == len(turns)
    assert len(over.data["shifts"]) == Shift.objects.filter(cause=held.subject).count()
    assert Outcome.objects.get(mission=held.step.mission).succeeded


@pytest.mark.usefixtures("quick")
def test_one_visit_speaks_one_turn_and_writes_one_event() -> None:
    held = talk.held()
    assert talk.visit() == ["park"], "it takes a table"
    held.refresh_from_db()
    assert (held.status, held.turns.count()) == ("active", 0)
    for place in range(1, held.turns_planned + 1):
        before = set(Event.objects.values_list("key", flat=True))
        assert talk.visit() == ["park"]
        assert held.turns.count() == place
        new = Event.objects.exclude(key__in=before).values_list("kind", flat=True)
        assert list(new) == ["conversation.turn"]
    assert talk.visit() == ["succeeded"]


@pytest.mark.usefixtures("quick")
def test_a_speaker_hears_the_last_turns_and_gets_its_own_manner(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Brief] = []

    def listen(brief: Brief, **kwargs: Any) -> Said:
        told.append(brief)
        return talk.plain(brief)

    monkeypatch.setattr(SPEAK, listen)
    held = talk.held("debate", topic="Too much?")
    cast.work()
    turns = talk.said_of(held)
    assert [len(brief.heard) for brief in told] == [min(n, 5) for n in range(len(turns))]
    assert [heard.text for heard in told[-1].heard] == [turn.text for turn in turns[-6:-1]]
    assert all(brief.manner == Agent.objects.get(pk=brief.agent).manner for brief in told)
    assert len({brief.seed for brief in told}) == len(told)
    assert all(brief.opinion is None for brief in told)


@pytest.mark.usefixtures("quick")
def test_what_comes_to_mind_is_about_what_is_talked_of_and_comes_once() -> None:
    with db.savepoint():
        for n, (tag, text) in enumerate([("SOL/USDC", "SOL falls on Mondays"), ("WIF/USDC", "WIF is thin")]):
            for key in talk.SIX_KEYS:
                memory.remember(
                    agent=key,
                    type=MemoryType.INSIGHT,
                    text=text,
                    confidence=Decimal("0.8"),
                    cause=f"test:{n}",
                    now=db.now(),
                    floor=Decimal(0),
                    most=200,
                    tags=[tag],
                )
    position = cast.bought("SOL/USDC")
    held = talk.held("position_review", about=position.subject)
    cast.work()
    used = Counter(
        (turn.agent_id, remembered.text) for turn in talk.said_of(held) for remembered in turn.memories.all()
    )
    assert {text for _, text in used} == {"SOL falls on Mondays"}
    assert set(used.values()) == {1}


def test_at_most_three_are_held_at_once_and_the_next_waits() -> None:
    talk.quickly(conversations_per_day=100)
    five = [talk.held() for _ in range(5)]
    assert [talk.visit(of=each) for each in five] == [["park"]] * 5
    assert Counter(Conversation.objects.values_list("status", flat=True)) == {"active": 3, "pending": 2}
    Step.objects.update(run_after=db.now())
    cast.work()
    assert set(Conversation.objects.values_list("status", flat=True)) == {"completed"}


def test_no_more_than_policy_says() -> None:
    talk.quickly(roundtables_at_once=1)
    for each in [talk.held() for _ in range(3)]:
        talk.visit(of=each)
    assert Conversation.objects.filter(status="active").count() == 1


def test_a_trade_that_waits_goes_first() -> None:
    talk.quickly(roundtables_at_once=1, roundtable_from_usd="0")
    early, review = talk.held(), reviewed()
    talk.visit(2, of=early)
    early.refresh_from_db()
    assert early.status == "pending"
    talk.visit(of=review)
    review.refresh_from_db()
    assert review.status == "active"
    talk.visit(review.turns_planned + 1, of=review)
    talk.visit(of=early)
    early.refresh_from_db()
    assert early.status == "active"


@pytest.mark.usefixtures("quick")
def test_a_word_too_many_is_never_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SPEAK, talk.saying(Stance.AGREE, "x" * 121))
    held = talk.held()
    for _ in range(10):
        if Step.objects.get().finished_at is None:
            talk.visit()
    held.refresh_from_db()
    assert (held.status, held.code, held.turns.count()) == ("failed", "attempts_used_up", 0)


@pytest.mark.usefixtures("quick")
def test_what_a_model_was_asked_is_kept_with_the_turn_also_where_its_first_answer_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def speak(brief: Brief, **kwargs: Any) -> Said:
        asked = {"prompt_hash": "h", "model": "m", "agent_id": brief.agent, "prompt": {}, "at": db.now()}
        first, second = Exchange(**asked, valid=False, error="no JSON"), Exchange(**asked, valid=True)
        return Said("It is 1.", Stance.AGREE, None, "openai", exchange=second, failed=(first,))

    monkeypatch.setattr(SPEAK, speak)
    held = talk.held()
    cast.work()
    assert all(turn.exchange is not None and turn.exchange.valid for turn in talk.said_of(held))
    assert Exchange.objects.filter(valid=False).count() == held.turns_planned


# --- lost workers ---------------------------------------------------------------------------------


def lose_a_worker() -> None:
    Step.objects.filter(finished_at=None).update(run_after=db.now())
    claims.begin(cast.claim())
    Step.objects.filter(finished_at=None).update(lease_expires_at=cast.later(seconds=-1))
    assert rescue.run(now=db.now(), limit=10)["recovered"] == 1


@pytest.mark.usefixtures("quick")
def test_a_conversation_outlives_any_number_of_workers_since_attempts_are_counted_a_turn() -> None:
    held = talk.held("strategy_session")
    talk.visit()
    for _ in range(held.turns_planned):
        lose_a_worker()
        assert Step.objects.get().attempts == 1
        assert talk.visit() == ["park"]
        assert Step.objects.get().attempts == 0
    assert talk.visit() == ["succeeded"]
    assert held.turns.count() == held.turns_planned


@pytest.mark.usefixtures("quick")
def test_a_turn_that_every_worker_dies_of_fails_in_the_end() -> None:
    held = talk.held()
    talk.visit()
    for _ in range(5):
        lose_a_worker()
    held.refresh_from_db()
    assert (held.status, held.code, held.step.status) == ("failed", "attempts_used_up", "failed")
    assert Event.objects.filter(kind="conversation.failed").count() == 1
    assert CapUse.objects.get(cap="conversations_per_day").used == 0


@pytest.mark.usefixtures("quick")
def test_a_voice_with_a_bug_fails_the_conversation_and_no_person_is_asked_what_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(brief: Brief, **kwargs: Any) -> Said:
        raise ZeroDivisionError

    monkeypatch.setattr(SPEAK, broken)
    held = talk.held()
    talk.visit()
    endings = talk.visit(5)
    held.refresh_from_db()
    assert endings == ["retry"] * 5
    assert (held.status, held.step.status, held.step.sent) == ("failed", "failed", False)


def test_a_cancelled_mission_calls_its_conversation_off() -> None:
    held = talk.held()
    outcomes.cancel_mission_within(mission_id=held.step.mission_id, by="alice", reason="not now", now=db.now())
    held.refresh_from_db()
    assert (held.status, held.code, held.reason) == ("cancelled", "cancelled", "alice: not now")
    assert Event.objects.filter(kind="conversation.cancelled", subject=held.subject).count() == 1


# --- trade reviews --------------------------------------------------------------------------------


def reviewed(agent: str = "scout", size_usd: str = "100.00", **changes: Any) -> Conversation:
    """The review of a trade that policy has talked over."""
    step = {"kind": "execute_trade", "params": {"side": "buy", "market": "SOL/USDC", "size_usd": size_usd}}
    proposal = cast.submit(cast.draft(agent=agent, steps=[step], **changes), source="trigger")
    assert (proposal.status, proposal.vote_by is None) == ("pending", False), (proposal.code, proposal.reason)
    return Conversation.objects.select_related("decides").get(decides=proposal)


@pytest.fixture
def talked_over(company: None) -> None:
    talk.quickly(roundtable_from_usd="0")


@pytest.mark.usefixtures("talked_over")
@pytest.mark.parametrize(("size_usd", "voters"), [("50.00", 2), ("150.00", 3), ("350.00", 5)])
def test_every_voter_of_a_review_speaks_and_what_they_say_decides(size_usd: str, voters: int) -> None:
    held = reviewed(size_usd=size_usd)
    assert len(held.voters) == voters
    assert "scout" not in held.voters
    assert {"scout", "sage", "atlas", *held.voters} == set(held.participants)
    assert 3 <= held.turns_planned <= 6
    cast.work()
    held.refresh_from_db()
    assert held.status == "completed"
    assert set(held.voters) <= set(held.turns.values_list("agent", flat=True))
    votes = Vote.objects.filter(proposal=held.decides)
    assert set(votes.values_list("agent", flat=True)) == set(held.voters)
    assert all(vote.turn is not None and vote.turn.conversation_id == held.pk for vote in votes)
    assert Proposal.objects.get(pk=held.decides_id).status != "pending"
    assert not Memory.objects.exists(), "what a review was worth its trade's outcome teaches"


@pytest.mark.usefixtures("talked_over")
def test_a_second_review_of_the_same_proposal_is_refused() -> None:
    held = reviewed()
    assert talk.hold("trade_review", about=held.about).code == "no_review_awaited"


@pytest.mark.usefixtures("talked_over")
def test_a_review_whose_proposal_was_decided_meanwhile_ends_early_and_says_by_whom(alice: Any) -> None:
    held = reviewed()
    talk.visit(2)
    assert held.decides is not None
    proposals.reject_within(proposal_id=held.decides.pk, by=alice, reason="no", now=db.now())
    assert talk.visit() == ["succeeded"]
    held.refresh_from_db()
    assert (held.status, held.code) == ("cancelled", "decided_meanwhile")
    assert "rejected meanwhile by alice" in held.reason
    assert not Shift.objects.exists()
    assert not Vote.objects.exists()


@pytest.mark.usefixtures("talked_over")
def test_a_review_that_fails_leaves_its_proposal_to_people(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(brief: Brief, **kwargs: Any) -> Said:
        raise ZeroDivisionError

    monkeypatch.setattr(SPEAK, broken)
    held = reviewed()
    talk.visit(6)
    held.refresh_from_db()
    assert held.status == "failed"
    assert held.decides is not None
    held.decides.refresh_from_db()
    assert (held.decides.status, held.decides.vote_by) == ("pending", None)
    assert held.decides.waits_for_people_since is not None


@pytest.mark.usefixtures("talked_over")
def test_voters_are_told_what_the_rule_thinks_and_the_proposer_stands_by_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[Brief] = []

    def listen(brief: Brief, **kwargs: Any) -> Said:
        told.append(brief)
        return talk.plain(brief)

    monkeypatch.setattr(SPEAK, listen)
    reviewed(forecast={"probability": "0.61", "horizon_minutes": 10})
    cast.work()
    opinions = {brief.agent: brief.opinion for brief in told}
    assert all(opinion is not None for opinion in opinions.values())
    assert opinions["scout"] is not None
    assert (opinions["scout"].stance, opinions["scout"].probability) == (Stance.AGREE, Decimal("0.610"))


# --- distilled ------------------------------------------------------------------------------------


def told(format: str = "strategy_session", *turns: tuple[Any, ...], **kwargs: Any) -> Conversation:
    """A conversation in which this was said: (agent, to, stance, text[, tone])."""
    held = talk.held(format, **kwargs)
    for place, (agent, to, stance, text, *tone) in enumerate(turns, start=1):
        Turn.objects.create(
            conversation=held,
            place=place,
            agent_id=agent,
            to_id=to,
            text=text,
            stance=stance,
            tone=tone[0] if tone else Tone.PLAIN,
            voice="test",
            facts={"prices": {"SOL/USDC": {}, "WIF/USDC": {}}, "positions": {"open": STILL_OPEN}},
            at=db.now(),
        )
    return held


STILL_OPEN = [{"id": 7, "market": "WIF/USDC"}]
A, N, D = Stance.AGREE, Stance.NEUTRAL, Stance.DISAGREE
SESSION = [
    ("atlas", None, N, "Equity is 10,012 USD."),
    ("growth", "atlas", A, "SOL won 4 of 5."),
    ("sage", "growth", A, "So it did, at 1.2 % risk."),
    ("growth", "sage", A, "Then more of it."),
    ("atlas", "growth", A, "Agreed, 2 % at most."),
]


def end(held: Conversation) -> None:
    _, policy = policies.current()
    distil.distil_within(held, now=db.now(), policy=policy)


def test_a_conversation_moves_each_pair_within_the_cap() -> None:
    held = told("strategy_session", *SESSION)
    end(held)
    shifts = {str(shift.relationship): shift for shift in Shift.objects.select_related("relationship")}
    # atlas and growth: 0.02 twice, held back to 0.03
    assert {pair: shift.delta for pair, shift in shifts.items()} == {
        "atlas – growth": Decimal("0.03"),
        "growth – sage": Decimal("0.03"),
    }
    assert Relationship.objects.get(a="atlas", b="growth").affinity == Decimal("0.63")
    assert Event.objects.get(kind="conversation.completed").data["shifts"] == {
        "atlas-growth": "0.0300",
        "growth-sage": "0.0300",
    }


def left_behind() -> tuple[int, ...]:
    kept = Shift.objects.count(), Memory.objects.count()
    affinities = Relationship.objects.filter(a="atlas", b="growth").values_list("affinity", flat=True)[0]
    return (*kept, Proposal.objects.filter(cause__contains=":action:").count(), int(affinities * 10_000))


def test_a_distillation_that_is_done_again_does_nothing_twice() -> None:
    held = told("strategy_session", *SESSION)
    end(held)
    once = left_behind()
    assert all(once)
    end(held)
    assert left_behind() == once


def test_control_without_one_cause_for_both_a_second_distillation_doubles_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    held = told("strategy_session", *SESSION)
    end(held)
    once = left_behind()
    monkeypatch.setattr(Conversation, "subject", "conversation:again")
    end(held)
    twice = left_behind()
    assert twice[:3] == tuple(2 * number for number in once[:3])
    assert twice[3] > once[3]


def test_what_was_a_memory_told_again_is_not_remembered_once_more() -> None:
    held = told("strategy_session", *SESSION)
    echo = minds.known("growth", text="SOL won 4 of 5.")
    said = held.turns.get(place=2)
    end(held)
    assert Memory.objects.filter(cause=f"{held.subject}:2").exists(), "the control: without an echo it is kept"
    again = told("strategy_session", *SESSION)
    again.turns.get(place=said.place).memories.add(echo)
    end(again)
    assert not Memory.objects.filter(cause=f"{again.subject}:2").exists()


def test_each_speaker_remembers_its_best_words_as_sure_as_they_were_agreed_to() -> None:
    held = told("strategy_session", *SESSION, topic="What worked")
    end(held)
    kept = {each.agent_id: each for each in Memory.objects.all()}
    assert set(kept) == {"atlas", "growth", "sage"}
    growth = kept["growth"]
    assert growth.text == "SOL won 4 of 5."
    assert growth.cause == f"{held.subject}:2"
    assert growth.tags == ["SOL/USDC", "strategy_session"]
    # two agreed to growth: 0.40 + 0.50 × 3 ÷ 4
    assert (growth.type, growth.confidence) == ("strategy", Decimal("0.775"))
    # one agreed to sage: 0.40 + 0.50 × 2 ÷ 3
    assert (kept["sage"].type, kept["sage"].confidence) == ("insight", Decimal("0.733"))


def test_what_was_disagreed_with_or_has_no_figure_is_not_remembered() -> None:
    end(
        told(
            "debate",
            ("sage", None, N, "It costs 12 USD a day."),
            ("intel", "sage", D, "I think not."),
            ("sage", "intel", N, "It does, 12 USD."),
            ("intel", "sage", D, "Never."),
        )
    )
    assert not Memory.objects.exists()


@pytest.mark.parametrize(
    ("format", "type"),
    [
        ("post_mortem", "lesson"),
        ("debate", "insight"),
        ("position_review", "insight"),
        ("morning_standup", "insight"),
        ("watercooler", "preference"),
    ],
)
def test_what_a_conversation_teaches_follows_from_its_format(format: str, type: str) -> None:
    end(told(format, ("sage", None, N, "It lost 3 %."), ("scout", "sage", A, "3 %, yes.")))
    assert set(Memory.objects.values_list("type", flat=True)) == {type}


def test_no_more_is_remembered_than_policy_says() -> None:
    talk.quickly(memories_per_conversation_max=2)
    end(told("strategy_session", *SESSION))
    assert Memory.objects.count() == 2


# --- action items ---------------------------------------------------------------------------------

ARGUED = [
    ("atlas", None, N, "What of SOL?"),
    ("sage", "atlas", D, "SOL lost 3 %."),
    ("growth", "sage", D, "WIF won it back."),
]


def asked_for(held: Conversation) -> list[tuple[str, str, Any]]:
    made = Proposal.objects.filter(cause__startswith=f"{held.subject}:action:").order_by("cause")
    return [(each.agent_id, each.steps[0]["kind"], each.steps[0]["params"]) for each in made]


def test_doubts_are_looked_into_risks_measured_and_positions_watched() -> None:
    held = told("strategy_session", *ARGUED)
    end(held)
    assert asked_for(held) == [
        ("intel", "analyze_signal", {"market": "SOL/USDC"}),
        ("sage", "calculate_risk", {"market": "SOL/USDC"}),
        ("scout", "monitor_position", {"position": 7}),
    ], "and not more than three"
    first = Proposal.objects.get(cause=f"{held.subject}:action:1")
    assert (first.source, first.status) == ("conversation", "approved")
    assert "turn 2, Sage: “SOL lost 3 %.”" in first.rationale
    assert Event.objects.get(kind="conversation.completed").data["actions"] == list(
        Proposal.objects.filter(cause__contains=":action:").order_by("pk").values_list("pk", flat=True)
    )


def test_where_all_agree_a_post_mortem_asks_to_look_back_only() -> None:
    held = told("post_mortem", ("atlas", None, N, "We lost."), ("sage", "atlas", A, "We did."), topic="The loss")
    end(held)
    assert asked_for(held) == [("growth", "reflect", {"topic": "The loss", "window_hours": 48})]


def test_an_informal_conversation_asks_for_nothing() -> None:
    held = told("watercooler", *ARGUED)
    end(held)
    assert asked_for(held) == []


def test_an_inactive_agent_is_asked_for_nothing() -> None:
    held = told("strategy_session", *ARGUED)
    Agent.objects.filter(key="intel").update(active=False)
    end(held)
    assert [agent for agent, _, _ in asked_for(held)] == ["sage", "scout", "growth"]


def test_a_day_has_so_many_items_for_the_whole_company() -> None:
    talk.quickly(action_items_per_day=4)
    first, second = told("strategy_session", *ARGUED), told("strategy_session", *ARGUED)
    end(first)
    end(second)
    assert (len(asked_for(first)), len(asked_for(second))) == (3, 1)
    Proposal.objects.filter(cause__contains=":action:").update(created_at=cast.later(days=-1))
    third = told("strategy_session", *ARGUED)
    end(third)
    assert len(asked_for(third)) == 3
    assert actions.ITEMS_MOST == 3


# --- standing still -------------------------------------------------------------------------------


def hours_later(hours: float = 2) -> Any:
    return db.now() + timedelta(hours=hours)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("visits", [0, 1, 3])
def test_a_conversation_in_which_nobody_spoke_for_long_is_given_up(visits: int) -> None:
    held = talk.held("strategy_session")
    talk.visit(visits)
    assert recovery.run(now=db.now(), limit=10) == {"given_up": 0}
    assert recovery.run(now=hours_later(), limit=10) == {"given_up": 1}
    held.refresh_from_db()
    mission = Mission.objects.get(steps=held.step_id)
    assert (held.status, held.code) == ("failed", "stale")
    assert (held.step.status, mission.status) == (("failed", "failed") if visits else ("cancelled", "cancelled"))
    assert Event.objects.filter(kind="conversation.failed").count() == 1
    assert recovery.run(now=hours_later(), limit=10) == {"given_up": 0}
    assert cast.work() == {}


@pytest.mark.usefixtures("quick")
def test_one_whose_worker_was_lost_is_given_up_from_the_queue() -> None:
    held = talk.held()
    talk.visit(2)
    lose_a_worker()
    assert Step.objects.get().status == "queued"
    assert recovery.run(now=hours_later(), limit=10) == {"given_up": 1}
    held.refresh_from_db()
    assert (held.status, held.code, held.step.status) == ("failed", "stale", "cancelled")


@pytest.mark.usefixtures("quick")
def test_a_worker_that_still_speaks_for_a_conversation_that_was_given_up_writes_nothing() -> None:
    held = talk.held()
    talk.visit(2)
    Step.objects.update(run_after=db.now())
    slow = cast.claim()
    ending = Hold().visit(slow, now=db.now())
    assert recovery.run(now=hours_later(), limit=10) == {"given_up": 1}
    with pytest.raises(LostClaim):
        outcomes.record(slow, ending, now=db.now())
    assert held.turns.count() == 1


@pytest.mark.usefixtures("quick")
def test_control_without_the_fence_it_writes_a_turn_into_a_conversation_that_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(claims, "FENCED", False)
    held = talk.held()
    talk.visit(2)
    Step.objects.update(run_after=db.now())
    slow = cast.claim()
    ending = Hold().visit(slow, now=db.now())
    recovery.run(now=hours_later(), limit=10)
    outcomes.record(slow, ending, now=db.now())
    held.refresh_from_db()
    assert (held.status, held.turns.count()) == ("failed", 2)


def test_a_conversation_that_waits_for_another_step_is_not_stale() -> None:
    steps = [{"kind": "reflect"}, {"kind": "hold_roundtable", "params": {"format": "watercooler"}}]
    assert cast.submit(cast.draft(agent="atlas", steps=steps), source="trigger").status == "approved"
    assert recovery.run(now=hours_later(), limit=10) == {"given_up": 0}


@pytest.mark.usefixtures("talked_over")
def test_a_review_that_stands_still_leaves_its_proposal_to_people() -> None:
    held = reviewed()
    talk.visit(2)
    recovery.run(now=hours_later(), limit=10)
    assert held.decides is not None
    held.decides.refresh_from_db()
    assert held.decides.waits_for_people_since is not None


@pytest.mark.usefixtures("quick")
def test_no_more_are_given_up_than_the_limit() -> None:
    for _ in range(3):
        talk.held()
    talk.visit(3)
    assert recovery.run(now=hours_later(), limit=2) == {"given_up": 2}


# --- many -----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_more_than_a_hundred_conversations_through_the_database_keep_all_bounds() -> None:
    talk.quickly(conversations_per_day=1000, action_items_per_day=1000)
    for n in range(120):
        talk.held(talk.EVERY_FORMAT[n % len(talk.EVERY_FORMAT)], topic="SOL")
        cast.work()
    assert Conversation.objects.filter(status="completed").count() == 120
    assert all(0 < len(turn.text) <= 120 for turn in Turn.objects.all())
    shifts = list(Shift.objects.values_list("relationship", "cause", "delta"))
    assert len(shifts) == len({(pair, cause) for pair, cause, _ in shifts}) > 200
    assert all(abs(delta) <= DRIFT_MOST for _, _, delta in shifts)
    assert all(AFFINITY_MIN <= pair.affinity <= AFFINITY_MAX for pair in Relationship.objects.all())
    for pair in Relationship.objects.all():
        moved = sum(Shift.objects.filter(relationship=pair).values_list("delta", flat=True))
        assert talk.AFFINITIES[pair.a_id, pair.b_id] + moved == pair.affinity
    of_each = Counter(cause.rpartition(":")[0] for cause in Memory.objects.values_list("cause", flat=True))
    assert max(of_each.values()) <= 6
