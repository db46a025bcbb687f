"""Decisions taken again from what was stored: equal each time, and whatever was changed since is found and named."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from io import StringIO
from random import Random
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.db import connection, transaction

from agents import relationships
from agents.models import Agent, Memory, Relationship, Shift
from missions import outcomes, policies, proposals, triggers, voting
from missions.mind import initiative, reactions
from missions.models import Influence, Proposal, Reaction, Verdict
from missions.vocabulary import ProposalStatus
from roundtable import prune, replay
from roundtable.models import Conversation, Exchange, Turn, VoiceUse, Vote
from roundtable.replay import Replayed
from roundtable.replay_talk import NotReplayable
from roundtable.voices import port, speaking
from tests import canned_server, cast, minds, talk
from tests.canned_server import Asked, CannedServer, Reply
from tests.test_influence import learns, signal_rises
from tradeco.common import breakers, db, events
from tradeco.common.models import Event
from trading.models import Market, Position

pytestmark = pytest.mark.usefixtures("company")


def again(proposal: Proposal) -> Replayed:
    return replay.replay(proposal.pk)


def differs_in(proposal: Proposal) -> str:
    """What the first difference is in; empty where all is equal."""
    found = again(proposal).difference
    return found.what if found else ""


def is_equal(proposal: Proposal) -> bool:
    done = again(proposal)
    assert done.difference is None, done.difference
    assert done.parts > 3, "this looked at nothing"
    return True


def fresh(proposal: Proposal) -> Proposal:
    return Proposal.objects.get(pk=proposal.pk)


def admin() -> Any:

    return get_user_model().objects.get(username="admin")


# --- gates and policy -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "draft",
    [
        cast.buy(size_usd="900.00"),
        cast.buy("GHOST/USDC"),
        cast.draft(confidence="0.5"),
        cast.draft(confidence="0.54999"),
        cast.close(4711),
    ],
    ids=["too large", "no such market", "not sure enough", "hardly not sure enough", "nothing to close"],
)
def test_what_a_gate_refused_is_refused_again(draft: Any) -> None:
    refused = cast.submit(draft)
    assert refused.status == "rejected"
    assert refused.decided_by == "a gate"
    assert is_equal(refused)


def test_what_policy_approves_is_approved_again() -> None:
    assert is_equal(cast.submit(cast.analysis_draft()))


def test_a_protective_exit_is_approved_again() -> None:
    position = cast.bought()
    exit_ = cast.submit(cast.close(position.pk), source="protection", protective=True)
    assert exit_.decided_by == "policy"
    assert is_equal(exit_)


def test_what_the_database_did_not_grant_is_an_input() -> None:
    refused = talk.hold("post_mortem", about="position:4711")
    assert refused.code == "nothing_to_talk_of"
    assert Verdict.objects.filter(proposal=refused, gate__startswith="spending:").exists()
    assert is_equal(refused)


def test_a_gate_that_failed_is_an_input(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("trading.facts.portfolios.summary", lambda now: 1 / 0)
        refused = cast.submit(cast.buy())
    assert refused.code == "gate_error"
    assert is_equal(refused)


def test_the_policy_of_then_judges_whatever_is_in_force_now() -> None:
    approved, analysed = cast.submit(cast.buy()), cast.submit(cast.analysis_draft())
    cast.force_policy(confidence_min="0.99", auto_approve_kinds=[], vote_tiers=[{"from_share": "0", "voters": 5}])
    assert is_equal(approved)
    assert is_equal(analysed)


def of_a_price_just_come() -> Proposal:
    """A trade of which scout said how old its price was; it came while the facts were gathered."""
    cast.force_policy(vote_tiers=[{"from_share": "0", "voters": 5}])
    Market.objects.update(received_at=cast.later(seconds=20))
    proposal = cast.submit(cast.draft(agent="growth"))
    Vote.objects.get(proposal=proposal, agent="scout")
    return proposal


def test_a_price_that_came_while_the_facts_were_gathered_is_no_second_old() -> None:
    proposal = of_a_price_just_come()
    assert "-" not in Vote.objects.get(proposal=proposal, agent="scout").reason
    assert is_equal(proposal)


def test_control_its_age_below_nothing_would_come_back_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """JSON knows no negative zero."""
    monkeypatch.setattr("trading.facts.max", lambda least, age: -0.0, raising=False)
    assert differs_in(of_a_price_just_come()) == "scout's vote"


def test_control_a_confidence_judged_in_another_form_than_stored_would_be_refused_in_other_words() -> None:
    unrounded = cast.draft().model_copy(update={"confidence": Decimal("0.5")})
    assert differs_in(cast.submit(unrounded)) == "confidence_suffices at submission"


# --- votes by rule --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", ["20.00", "150.00", "350.00"])
def test_a_vote_by_rule_comes_to_the_same(size: str) -> None:
    proposal = cast.submit(cast.buy(size_usd=size))
    assert Vote.objects.filter(proposal=proposal).count() >= 2
    assert is_equal(proposal)


def test_a_trade_that_was_voted_down_is_voted_down_again() -> None:
    cast.force_policy(exposure_max="0.021", vote_tiers=[{"from_share": "0", "voters": 2}])
    down = cast.submit(cast.buy(size_usd="200.00"), source="trigger")
    assert down.code == "voted_down", down.reason
    assert is_equal(down)


def test_what_was_left_to_people_is_left_to_them_again_and_what_they_said_is_an_input(alice: Any, bob: Any) -> None:
    cast.force_policy(human_from_usd="10", four_eyes_from_usd="100")
    waiting, one, two, no, withdrawn, lapsed = (
        cast.submit(cast.buy(size_usd=size)) for size in ("20.00", "20.00", "150.00", "20.00", "20.00", "20.00")
    )
    proposals.approve(proposal_id=one.pk, approver=alice, reason="fine", now=db.now())
    for person in (alice, bob):
        proposals.approve(proposal_id=two.pk, approver=person, reason=f"{person} says so", now=db.now())
    proposals.reject(proposal_id=no.pk, by=alice, reason="not today", now=db.now())
    proposals.cancel(proposal_id=withdrawn.pk, by=alice, reason="a mistake", now=db.now())
    Proposal.objects.filter(pk=lapsed.pk).update(expires_at=db.now())
    proposals.expire(now=db.now(), limit=10)
    all_ = [fresh(each) for each in (waiting, one, two, no, withdrawn, lapsed)]
    assert [each.status for each in all_] == ["pending", "approved", "approved", "rejected", "cancelled", "expired"]
    assert all(is_equal(each) for each in all_)


def test_a_yes_of_people_that_a_gate_overrules_is_overruled_again(alice: Any) -> None:
    cast.force_policy(human_from_usd="10")
    late = cast.submit(cast.buy())
    cast.force_policy(position_usd_max="5")
    proposals.approve(proposal_id=late.pk, approver=alice, reason="fine", now=db.now())
    assert fresh(late).code == "position_too_large"
    assert is_equal(fresh(late))


# --- dice -----------------------------------------------------------------------------------------


def triggered(influence: str, *kinds: str) -> Proposal:
    cast.set_policy(proactive=[], memory_influence=influence)
    for kind in kinds:
        learns(kind)
    signal_rises()
    triggers.run(now=db.now(), limit=20)
    return Proposal.objects.get(source="trigger")


def test_what_memories_added_is_added_again() -> None:
    proposal = triggered("1", "strategy", "lesson", "pattern")
    assert Influence.objects.filter(proposal=proposal).count() == 3
    assert is_equal(proposal)


def test_where_the_dice_said_no_nothing_was_remembered() -> None:
    proposal = triggered("0", "strategy")
    kept = Memory.objects.get()
    assert is_equal(proposal)
    Influence.objects.create(proposal=proposal, memory=kept, effect="0.01", at=db.now())
    assert differs_in(proposal) == "memories that it asked for"


def test_the_roll_for_an_initiative_is_rolled_again() -> None:
    talk.quickly(initiative_on=True, initiative_memories_min=1, initiatives_apart_hours="0.05")
    learns("insight", agent="growth", confidence="0.85")
    for n in range(100):
        if initiative.run(now=cast.later(seconds=n), limit=1)["took"]:
            break
    own = Proposal.objects.get(source="initiative")
    assert is_equal(own)
    before = own.created_at
    for n in range(1, 60):  # another moment is another roll
        Proposal.objects.filter(pk=own.pk).update(created_at=before.replace(microsecond=n))
        if not replay.replay(own.pk).equal:
            break
    assert differs_in(own) == "the roll for an initiative"


def test_the_roll_for_a_reaction_is_rolled_again() -> None:
    cast.force_policy(flag_reactions=True, trigger_pace=0.01)
    cast.submit(cast.analysis_draft())
    cast.work()
    loses()
    reactions.run(now=db.now(), limit=10)
    answer = Proposal.objects.filter(source="reaction").first()
    assert answer is not None
    assert is_equal(answer)
    Reaction.objects.filter(proposal=answer).update(rolled="0.999999")
    assert differs_in(answer) == "the roll for a reaction"


def loses() -> None:
    position = cast.bought()
    data = {"position": position.pk, "market": "SOL/USDC", "realized_pct": "-50", "realized_usd": "-50"}
    with db.savepoint():
        events.emit(kind="position.loss", subject=position.subject, agent="scout", now=db.now(), data=data)


# --- talked over ----------------------------------------------------------------------------------


QUICK_FORMATS = ("watercooler", "position_review")


@pytest.fixture
def talking(company: None) -> None:
    talk.quickly(roundtable_from_usd="0", memory_floor="0")
    for agent in talk.SIX_KEYS:
        for n, text in enumerate(("SOL/USDC lost 3 % after a spike.", "Waiting earned 4.20 USD.")):
            minds.known(agent, tags=["SOL/USDC"], text=text, days_old=n)


def talked_over(size_usd: str = "150.00", agent: str = "scout", **changes: Any) -> Proposal:
    step = {"kind": "execute_trade", "params": {"side": "buy", "market": "SOL/USDC", "size_usd": size_usd}}
    proposal = cast.submit(cast.draft(agent=agent, steps=[step], **changes), source="trigger")
    assert proposal.vote_by is not None
    cast.work()
    return fresh(proposal)


def turn_of(proposal: Proposal, place: int = 2) -> Any:
    return Turn.objects.filter(conversation__decides=proposal, place=place)


@pytest.mark.usefixtures("talking")
@pytest.mark.parametrize(("size", "agent"), [("50.00", "scout"), ("150.00", "growth"), ("350.00", "intel")])
def test_what_was_talked_over_is_spoken_again_and_comes_to_the_same(size: str, agent: str) -> None:
    proposal = talked_over(size, agent, forecast={"probability": "0.61", "horizon_minutes": 10})
    assert Vote.objects.filter(proposal=proposal, turn__isnull=False).exists()
    assert is_equal(proposal)
    assert is_equal(Proposal.objects.get(cause=f"review:{proposal.pk}"))


@pytest.mark.usefixtures("talking")
def test_a_review_whose_yes_leaves_the_trade_to_people_comes_to_the_same() -> None:
    cast.force_policy(human_from_usd="10")
    proposal = talked_over()
    assert is_equal(proposal)
    cast.force_policy(human_from_usd="100000")
    assert is_equal(proposal), "by the policy of then"


@pytest.mark.usefixtures("talking")
@pytest.mark.parametrize("visits", [0, 1, 3])
def test_a_review_that_came_to_no_end_is_replayed_as_far_as_it_came(visits: int) -> None:
    rejected, late, cancelled = (cast.submit(cast.buy(size_usd=size)) for size in ("20.00", "30.00", "40.00"))
    for each in (rejected, late, cancelled):
        talk.visit(visits, of=Conversation.objects.get(decides=each))
        assert is_equal(fresh(each)), "still talked over"
    proposals.reject(proposal_id=rejected.pk, by=admin(), reason="not today", now=db.now())
    mission = Conversation.objects.get(decides=cancelled).step.mission_id
    if not visits:
        outcomes.cancel_mission(mission_id=mission, by="admin", reason="no time", now=db.now())
    voting.escalate(now=cast.later(hours=1), limit=10)
    assert all(is_equal(fresh(each)) for each in (rejected, late, cancelled))


@pytest.mark.usefixtures("talking")
@pytest.mark.parametrize(
    "format",
    [each if each in QUICK_FORMATS else pytest.param(each, marks=pytest.mark.slow) for each in talk.EVERY_FORMAT],
)
def test_a_conversation_of_each_format_is_spoken_again(format: str) -> None:
    cast.submit(cast.buy())
    cast.work()
    held = talk.held(format, topic="SOL/USDC and the week")
    cast.work()
    held.refresh_from_db()
    assert held.status == "completed"
    assert is_equal(held.step.mission.proposal)


@pytest.mark.usefixtures("talking")
def test_what_is_so_by_now_changes_nothing() -> None:
    proposal = talked_over()
    Agent.objects.update(manner="Loud.", role="Guest")
    Relationship.objects.update(affinity="0.11")
    Memory.objects.update(archived_at=db.now())
    cast.set_price("SOL/USDC", "999")
    cast.force_policy(context_turns=1, turn_chars_max=60, exposure_max="0.01")
    assert is_equal(proposal)


@pytest.mark.usefixtures("talking")
def test_control_facts_spoken_from_in_an_order_that_the_database_does_not_keep_would_be_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as unsettled:
        unsettled.setattr(port, "settled", dict)
        spoken = talk.held("debate", topic="SOL/USDC").step.mission.proposal
        cast.work()
        assert "said at turn" in differs_in(spoken)


@pytest.mark.usefixtures("talking")
def test_a_turn_that_does_not_say_what_it_was_spoken_from_can_not_be_spoken_again() -> None:
    proposal = talked_over()
    turn_of(proposal).update(brief={})
    with pytest.raises(NotReplayable, match="without its brief"):
        again(proposal)
    turn_of(proposal).update(brief={"facts": []})
    with pytest.raises(NotReplayable, match="can't be read: KeyError"):
        again(proposal)


# --- a language model -----------------------------------------------------------------------------

GOOD = {"text": "Exposure stays low; I am for it.", "stance": "agree", "probability": 0.4}


def completion(content: Any, **more: Any) -> Reply:
    text = content if isinstance(content, str) else json.dumps(content)
    return Reply({"choices": [{"message": {"content": text}}]}, **more)


@pytest.fixture
def model(talking: None, settings: Any) -> Iterator[CannedServer]:
    breakers.forget()
    with canned_server.running() as server:
        settings.VOICE, settings.VOICE_URL, settings.VOICE_MODEL = "openai", f"{server.url}/v1", "tiny"
        settings.VOICE_TIMEOUT_SECONDS = 1.0
        server.answers(completion(GOOD))
        yield server
    breakers.forget()


def one_invalid(asked: Asked) -> Reply:
    """The first answer to each turn is half a sentence, the second is good."""
    return completion('{"text": "half') if len(asked.json()["messages"]) == 2 else completion(GOOD)


ANSWERS: dict[str, Reply | Callable[[Asked], Reply]] = {
    "good": completion(GOOD),
    "good at the second try": one_invalid,
    "never good": completion("I would buy."),
    "refused": Reply({"error": "no"}, status=401),
    "down": Reply({"error": "no"}, status=503),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_what_a_model_answered_then_is_answered_again_without_asking_it(
    model: CannedServer, answer: Any, settings: Any
) -> None:
    model.answers(answer)
    cast.force_policy(breaker_failures=3)
    proposal = talked_over("350.00")
    asked, spent = len(model.asked), VoiceUse.objects.order_by("agent").values_list("agent", "tokens", "asked")
    assert asked
    before = list(spent)
    settings.VOICE, settings.VOICE_URL, settings.VOICE_MODEL = "scripted", "http://127.0.0.1:1/", "another"
    assert is_equal(proposal)
    assert len(model.asked) == asked
    assert list(spent) == before


def test_where_the_model_could_not_be_asked_the_script_speaks_instead_again(model: CannedServer) -> None:
    cast.force_policy(voice_tokens_per_day=0)
    proposal = talked_over()
    assert all(turn.fell_back for turn in Turn.objects.all())
    assert not Exchange.objects.exists()
    assert is_equal(proposal)


def test_what_a_model_answered_and_was_pruned_can_not_be_replayed(model: CannedServer) -> None:
    proposal = talked_over()

    assert prune.exchanges(now=cast.later(days=2), limit=1, retention=timedelta(days=1)) == 1
    with pytest.raises(NotReplayable, match="was pruned"):
        again(proposal)


@pytest.mark.parametrize("place", ["first", "second"])
def test_an_answer_that_was_changed_since_is_found(model: CannedServer, place: str) -> None:
    model.answers(one_invalid)
    proposal = talked_over()
    turn = turn_of(proposal).get()
    first, second = turn.brief["exchanges"]
    changed = {"first": (first, '{"text": "quarter'), "second": (second, json.dumps({**GOOD, "text": "No."}))}
    key, answer = changed[place]
    Exchange.objects.filter(pk=key).update(answer=answer)
    found = again(proposal).difference
    assert found is not None
    assert f"turn {turn.place}" in found.what
    assert turn.agent_id in found.what


# --- what was changed since -----------------------------------------------------------------------


def in_json(rows: Any, column: str, *path: Any, to: Any) -> None:
    """Change one thing deep in a JSON column of the first of the rows."""
    row = rows.order_by("pk").first()
    tree = inner = getattr(row, column)
    for name in path[:-1]:
        inner = inner[name]
    assert inner[path[-1]] != to, "this would change nothing"
    inner[path[-1]] = to
    type(row).objects.filter(pk=row.pk).update(**{column: tree})


def verdicts(proposal: Proposal, gate: str, stage: str = "submission") -> Any:
    return Verdict.objects.filter(proposal=proposal, gate=gate, stage=stage)


def _vote_of(proposal: Proposal, agent: str = "sage") -> Any:
    return Vote.objects.filter(proposal=proposal, agent=agent)


BY_RULE: dict[str, tuple[Callable[[Proposal], Any], str]] = {
    "a fact": (
        lambda p: in_json(verdicts(p, "size_is_within_limits"), "facts", "trade", "value_usd", to="5000.00"),
        "size_is_within_limits at submission",
    ),
    "a fact at approval": (
        lambda p: in_json(verdicts(p, "cash_suffices", "approval"), "facts", "portfolio", "free_cash_usd", to="1"),
        "cash_suffices at approval",
    ),
    "a fact that is gone": (
        lambda p: verdicts(p, "price_is_fresh").update(facts={}),
        "price_is_fresh at submission",
    ),
    "a verdict": (
        lambda p: verdicts(p, "caps_are_left").update(allowed=False, code="cap_reached", reason="none is left"),
        "caps_are_left at submission",
    ),
    "a verdict that is gone": (lambda p: verdicts(p, "cash_suffices").delete(), "gates at submission"),
    "all verdicts at approval": (lambda p: p.verdicts.filter(stage="approval").delete(), "decision"),
    "a policy revision": (
        lambda p: verdicts(p, "confidence_suffices").update(revision=strict()),
        "confidence_suffices at submission",
    ),
    "the draft's confidence": (
        lambda p: Proposal.objects.filter(pk=p.pk).update(confidence="0.1"),
        "confidence_suffices at submission",
    ),
    "a vote's fact": (
        lambda p: in_json(_vote_of(p), "facts", "portfolio", "exposure_usd", to="2900"),
        "sage's vote",
    ),
    "a vote's stance": (lambda p: _vote_of(p).update(stance="disagree"), "sage's vote"),
    "a vote's reason": (lambda p: _vote_of(p).update(reason="Because."), "sage's vote"),
    "who voted": (lambda p: _vote_of(p, "atlas").update(agent="scout"), "voters"),
    "a vote that is gone": (lambda p: _vote_of(p, "atlas").delete(), "decision"),
    "the code": (lambda p: Proposal.objects.filter(pk=p.pk).update(code="fine"), "decision"),
    "the reason": (lambda p: Proposal.objects.filter(pk=p.pk).update(reason="fine"), "decision"),
    "who decided": (lambda p: Proposal.objects.filter(pk=p.pk).update(decided_by="admin"), "decision"),
    "the status": (lambda p: Proposal.objects.filter(pk=p.pk).update(status="rejected"), "decision"),
    "whether people were asked": (
        lambda p: Proposal.objects.filter(pk=p.pk).update(waits_for_people_since=db.now()),
        "left to people",
    ),
    "its worth": (lambda p: Proposal.objects.filter(pk=p.pk).update(value_usd="900"), "left to people"),
}


def strict() -> int:
    cast.force_policy(confidence_min="0.99")
    return policies.revision()


def changed(proposal: Proposal, change: Callable[[Proposal], Any]) -> str:
    """What differs after a change, which is undone."""
    try:
        with transaction.atomic():
            change(proposal)
            policies.at.cache_clear()
            found = differs_in(fresh(proposal))
            raise Undo
    except Undo:
        policies.at.cache_clear()
    return found


class Undo(Exception):
    pass


def test_what_was_changed_since_is_found_in_a_vote_by_rule() -> None:
    proposal = cast.submit(cast.buy(size_usd="20.00"))
    assert proposal.status == "approved"
    assert is_equal(proposal)
    found = {name: changed(proposal, change) for name, (change, _) in BY_RULE.items()}
    assert found == {name: what for name, (_, what) in BY_RULE.items()}
    assert is_equal(proposal)


def _tense(proposal: Proposal) -> None:
    """The pair that spoke at turn 2 stood as far apart as can be."""
    turn = turn_of(proposal).get()
    pair = "-".join(sorted((turn.agent_id, turn.to_id)))
    in_json(turn_of(proposal), "brief", "affinities", pair, to="0.1000" if turn.tone == "plain" else "0.5000")


def _veto(proposal: Proposal) -> None:
    """Sage's facts say that half of what may be lost is lost."""
    for turn in Turn.objects.filter(conversation__decides=proposal, agent="sage"):
        Turn.objects.filter(pk=turn.pk).update(
            facts={**turn.facts, "portfolio": {**turn.facts["portfolio"], "drawdown": "0.39"}}
        )


TALKED: dict[str, tuple[Callable[[Proposal], Any], str]] = {
    "a word": (lambda p: turn_of(p).update(text="Buy the maximum!"), "what {} said at turn 2"),
    "a stance": (lambda p: turn_of(p).update(stance="veto"), "what {} said at turn 2"),
    "a probability": (lambda p: turn_of(p).update(probability="0.999"), "what {} said at turn 2"),
    "the voice": (lambda p: turn_of(p).update(voice="openai"), "what {} said at turn 2"),
    "a fall-back": (lambda p: turn_of(p).update(fell_back=True), "what {} said at turn 2"),
    "who spoke": (lambda p: turn_of(p, 1).update(agent="observer"), "who speaks at turn 1"),
    "a tone": (lambda p: turn_of(p).update(tone=another_tone(p)), "who speaks at turn 2"),
    "an affinity": (_tense, "who speaks at turn 2"),
    "the conversation's seed": (
        lambda p: Conversation.objects.filter(decides=p).update(seed=another_table(p)),
        "who sits at the table",
    ),
    "the conversation's topic": (
        lambda p: Conversation.objects.filter(decides=p).update(topic="Hurry"),
        "what atlas was told before turn 1",
    ),
    "a turn that is gone": (lambda p: gone(p), "number of turns"),
    "an opinion": (
        lambda p: in_json(turn_of(p), "brief", "opinion", 1, to="Because."),
        "what {} thinks by rule at turn 2",
    ),
    "what was heard": (lambda p: in_json(turn_of(p), "brief", "heard", to=0), "what {} was told before turn 2"),
    "which voice": (lambda p: in_json(turn_of(p), "brief", "voice", to="openai"), "what {} said at turn 2"),
    "the policy revision": (
        lambda p: in_json(Turn.objects.filter(conversation__decides=p, agent="sage"), "brief", "revision", to=tight()),
        "what sage thinks by rule at turn {sage}",
    ),
    "facts": (_veto, "what sage thinks by rule at turn {sage}"),
    "a vote": (lambda p: _vote_of(p).update(stance="disagree"), "sage's vote"),
    "a vote's words": (lambda p: _vote_of(p).update(reason="Because."), "sage's vote"),
    "a vote that is gone": (lambda p: _vote_of(p).delete(), "voters"),
    "all votes": (lambda p: Vote.objects.filter(proposal=p).delete(), "decision"),
    "the decision": (lambda p: Proposal.objects.filter(pk=p.pk).update(code="fine"), "decision"),
}


def another_tone(proposal: Proposal) -> str:
    return "plain" if turn_of(proposal).get().tone == "critical" else "critical"


def another_table(proposal: Proposal) -> int:
    """A seed by which the conversation would have had another length."""
    held = Conversation.objects.get(decides=proposal)

    return next(n for n in range(100) if max(Random(f"{n}:table").randint(3, 6), 4) != held.turns_planned)


def gone(proposal: Proposal) -> None:
    held = Conversation.objects.get(decides=proposal)
    last = Turn.objects.filter(conversation=held).order_by("-place").first()
    assert last is not None
    Vote.objects.filter(turn=last).update(turn=None)
    last.memories.clear()
    Turn.objects.filter(pk=last.pk).delete()


def tight() -> int:
    cast.force_policy(exposure_max="0.001")
    return policies.revision()


@pytest.mark.usefixtures("talking")
def test_what_was_changed_since_is_found_in_what_was_talked_over() -> None:
    cast.force_policy(vote_tiers=[{"from_share": "0", "voters": 3}])
    proposal = talked_over()
    assert is_equal(proposal)
    speaker = turn_of(proposal).get().agent_id
    sage = Turn.objects.filter(conversation__decides=proposal, agent="sage").order_by("place")[0].place
    found = {name: changed(proposal, change) for name, (change, _) in TALKED.items()}
    assert found == {name: what.format(speaker, sage=sage) for name, (_, what) in TALKED.items()}
    assert is_equal(proposal)


# --- it reads only --------------------------------------------------------------------------------


def counts() -> dict[str, int]:
    return {model._meta.label: model._base_manager.count() for model in apps.get_models() if model._meta.managed}


def test_a_replay_writes_nothing_and_asks_nobody(model: CannedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    model.answers(one_invalid)
    proposal = talked_over()
    events.number_new()
    rows, newest, asked = counts(), events.newest_number(), len(model.asked)
    monkeypatch.setattr(speaking, "_asking", lambda *args: pytest.fail("it asks the model"))
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT reading")
        cursor.execute("SET TRANSACTION READ ONLY")
        assert is_equal(proposal)
        cursor.execute("ROLLBACK TO SAVEPOINT reading")
    events.number_new()
    assert (counts(), events.newest_number(), len(model.asked)) == (rows, newest, asked)


# --- the command ----------------------------------------------------------------------------------


def told(*args: str, code: int = 0) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    came = 0
    try:
        call_command("replay", *args, stdout=out, stderr=err)
    except SystemExit as exc:
        came = int(exc.code or 0)
    assert came == code, out.getvalue() + err.getvalue()
    return out.getvalue(), err.getvalue()


def test_the_command_says_equal_and_shows_the_first_difference() -> None:
    proposal = cast.submit(cast.buy())
    out, _ = told(str(proposal.pk))
    assert out.startswith(f"#{proposal.pk} Buy SOL/USDC: equal, ")
    Proposal.objects.filter(pk=proposal.pk).update(code="fine")
    out, _ = told(f"#{proposal.pk}", code=1)
    assert out.splitlines() == [
        f"#{proposal.pk} Buy SOL/USDC: different in “decision”",
        '  code: recorded "fine"',
        '        again    "approved"',
    ]


def test_the_command_as_json() -> None:
    proposal = cast.submit(cast.buy())
    out, _ = told(str(proposal.pk), "--json")
    assert json.loads(out) == {"proposal": proposal.pk, "equal": True, "parts": again(proposal).parts}
    in_json(_vote_of(proposal), "facts", "portfolio", "exposure_usd", to="2900")
    out, _ = told(str(proposal.pk), "--json", code=1)
    answer = json.loads(out)
    assert (answer["equal"], answer["difference"]["what"]) == (False, "sage's vote")
    assert answer["difference"]["recorded"]["stance"] == "agree"
    assert answer["difference"]["again"]["stance"] == "disagree"


def test_the_command_says_why_it_can_not_replay(model: CannedServer) -> None:
    out, _ = told("4711", code=2)
    assert out == "#4711 can't be replayed: There is no proposal #4711.\n"
    proposal = talked_over()
    Exchange.objects.all().delete()
    out, _ = told(str(proposal.pk), "--json", code=2)
    assert json.loads(out)["code"] == "not_replayable"


def test_the_newest_are_replayed_oldest_first_and_one_that_can_not_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("roundtable.management.commands.replay.PROGRESS_EVERY", 2)
    several = [cast.submit(cast.analysis_draft()) for _ in range(4)]
    out, err = told("--last", "3")
    assert [line.split()[0] for line in out.splitlines()] == [f"#{each.pk}" for each in several[1:]]
    assert err.splitlines() == ["2 of 3", "3 decisions: 3 equal, 0 different, 0 can't be replayed."]
    Proposal.objects.filter(pk=several[1].pk).update(code="fine")
    monkeypatch.setattr(replay, "replay", _failing_for(several[2].pk, replay.replay))
    _, err = told("--last", "3", code=1)
    assert err.splitlines()[-1] == "3 decisions: 1 equal, 1 different, 1 can't be replayed."


def _failing_for(key: int, replayed: Callable[[int], Replayed]) -> Callable[[int], Replayed]:
    def failing(proposal_id: int) -> Replayed:
        if proposal_id == key:
            raise NotReplayable("It was long ago.")
        return replayed(proposal_id)

    return failing


@pytest.mark.parametrize("args", [[], ["0"], ["x"], ["1", "--last", "2"]])
def test_the_command_asks_which(args: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("replay", *args)


# --- a run ----------------------------------------------------------------------------------------

MARKETS = ("SOL/USDC", "JUP/USDC", "BONK/USDC", "WIF/USDC")


def a_round(n: int) -> None:
    """Some hours of the company: analyses, triggers, trades by rule and talked over, refusals, talks, exits."""
    market, agent = MARKETS[n % 4], talk.SIX_KEYS[1 + n % 5]
    cast.submit(cast.analysis_draft())
    cast.submit(cast.draft(agent="sage", title="Risk", steps=[{"kind": "calculate_risk"}]), source="trigger")
    sizes = (f"{20 + 37 * (n % 9)}.00", "15.00", "900.00")
    buys = [*(cast.buy(market, size) for size in sizes), cast.draft(confidence="0.41")]
    for each in buys:
        cast.submit(each.model_copy(update={"agent": agent}), source="trigger")
    if n % 2 == 0:
        talk.hold(talk.EVERY_FORMAT[n // 2 % len(talk.EVERY_FORMAT)], topic=f"{market} and the week")
    cast.work()
    triggers.run(now=db.now(), limit=20)
    reactions.run(now=db.now(), limit=10)

    for position in Position.objects.filter(status="open")[:2]:
        cast.submit(cast.close(position.pk), source="trigger")
    there = Market.objects.get(pk=market)
    cast.set_price(market, there.price * Decimal("1.004" if n % 3 else "0.991"))
    cast.work()


@pytest.mark.parametrize("number", [25, pytest.param(200, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_the_decisions_of_a_run_are_equal(number: int) -> None:
    talk.quickly(flag_reactions=True, memory_influence="0.6", confidence_min="0.55")
    n = 0
    talked = Conversation.objects.filter(decides__isnull=False, status="completed")
    # how many rounds end in a talk is the dice' affair
    while Proposal.objects.exclude(status=ProposalStatus.PENDING).count() < number or talked.count() < number / 40:
        cast.force_policy(roundtable_from_usd="100" if n % 2 else cast.TALKED_OVER_BY_NOBODY)
        a_round(n)
        n += 1
    ways = Counter(Proposal.objects.values_list("decided_by", flat=True))
    assert min(ways["vote"], ways["policy"], ways["a gate"]) >= number / 20, ways
    assert Shift.objects.exists()
    came = [replay.replay(key) for key in replay.newest(number)]
    assert [each.difference for each in came if not each.equal] == []
    assert len(came) == number


def test_affinities_of_a_turn_are_those_of_its_table(talking: None) -> None:
    proposal = talked_over()
    turn = turn_of(proposal, 1).get()
    at_the_table = relationships.affinities(turn.conversation.participants)
    assert set(turn.brief["affinities"]) == {f"{a}-{b}" for a, b in at_the_table}
    assert Event.objects.filter(subject=turn.conversation.subject).exists()
