"""Thousands of conversations against the database: whatever is said, affinities, drift, turns, memories, action items
and deadlines keep their bounds, and what is done again does nothing twice.

Most are arranged, planned, spoken and ended by the real functions, a batch in a transaction; some hundred more enter by
the one door and are held by the real worker loop, trade reviews among them.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.db.models import Count, F, Max, Q
from django.db.models.functions import Length

from agents import relationships
from agents.models import AFFINITY_MAX, AFFINITY_MIN, DRIFT_MOST, Memory, Relationship, Shift
from missions import policies, proposals, voting
from missions.models import Mission, Proposal, Step
from missions.policy_keys import Policy
from missions.vocabulary import ConversationFormat as Talked
from missions.vocabulary import MissionKind, MissionStatus, ProposalSource, ProposalStatus, StepKind, StepStatus
from roundtable import arranging, conversation, distil, execution
from roundtable.formats import FORMATS
from roundtable.models import OPEN, TURN_CHARS, Conversation, ConversationStatus, Stance, Tone, Turn
from roundtable.voices import scripted
from roundtable.voices.port import Brief, Heard, Said
from tests import cast, minds, talk, voice_briefs
from tradeco.common import db
from trading.models import Market, Position

BATCH = 100  # conversations a transaction
APART = timedelta(minutes=10)
WEIGHTS = {
    Talked.WATERCOOLER: 8,
    Talked.POSITION_REVIEW: 4,
    Talked.DEBATE: 2,
    Talked.MORNING_STANDUP: 1,
    Talked.POST_MORTEM: 1,
    Talked.STRATEGY_SESSION: 1,
}
KNOWN = [voice_briefs.facts(f"talks {n}") for n in range(40)]

# --- what they say --------------------------------------------------------------------------------

Stand = Callable[[Said, random.Random], Stance]
WAYS: dict[str, Stand] = {
    "as the script has it": lambda said, _: said.stance,
    "always agree": lambda *_: Stance.AGREE,
    "always disagree": lambda *_: Stance.DISAGREE,
    "by the dice": lambda _, dice: dice.choice(list(Stance)),
    "always veto": lambda *_: Stance.VETO,
}
EPOCH = 500  # conversations in which they stand one way: long enough to reach the end of the scale


def way_of(number: int, total: int) -> Stand:
    """Epochs in turn; in a short life each way comes up too."""
    return list(WAYS.values())[number // min(EPOCH, max(1, total // len(WAYS))) % len(WAYS)]


def speak(held: Conversation, known: dict[str, Any], stand: Stand) -> list[Turn]:
    """The whole conversation by the script, from live affinities, with stances as this way has them."""
    told = {name: known[name] for name in FORMATS[Talked(held.format)].facts if name in known}
    dice = random.Random(f"{held.seed}:stands")
    affinities = relationships.affinities(held.participants)
    limit = dice.choice([20, 60, TURN_CHARS])
    seen = {"prices": {name: {} for name in known["prices"]}, "positions": {"open": known["positions"]["open"]}}
    turns: list[Turn] = []
    while len(turns) < held.turns_planned:
        planned = conversation.next_turn(held, turns, affinities)
        said = scripted.speak(brief(held, turns, planned, told, limit))
        assert 0 < len(said.text) <= limit, said.text
        turns.append(
            Turn(conversation=held, place=planned.place, agent_id=planned.agent, to_id=planned.to, text=said.text,
                 stance=stand(said, dice), tone=planned.tone, probability=said.probability, voice=said.voice,
                 facts=seen, at=held.created_at)
        )  # fmt: skip
    return turns


def brief(
    held: Conversation, turns: list[Turn], planned: conversation.Planned, known: dict[str, Any], limit: int
) -> Brief:
    heard = tuple(Heard(t.agent_id, t.text, Stance(t.stance), Tone(t.tone)) for t in turns[-5:])
    return voice_briefs.brief(
        planned.agent, format=held.format, topic=held.topic, tone=planned.tone, place=planned.place,
        planned=held.turns_planned, to=planned.to, heard=heard, facts=known,
        seed=f"{held.seed}:{planned.place}:words", chars_max=limit,
    )  # fmt: skip


# --- many, a batch at a time ----------------------------------------------------------------------


def live(number: int, *, seed: str, again: float = 0.1) -> None:
    """So many conversations one after another; `again` of them are distilled a second time."""
    dice, begun = random.Random(seed), db.now()
    _, policy = policies.current()
    for first in range(0, number, BATCH):
        batch = range(first, min(number, first + BATCH))
        steps = steps_for(len(batch), dice, now=begun)
        with db.transaction():
            held = [
                hold(step, way_of(n, number), dice, policy=policy, now=begun + n * APART)
                for n, step in zip(batch, steps, strict=True)
            ]
        with db.transaction():
            for one in held:
                if dice.random() < again:
                    distilled_again(one, policy=policy, now=one.created_at)


def steps_for(number: int, dice: random.Random, *, now: datetime) -> list[Step]:
    """Conversations as the one door approves them, written past it."""
    formats = dice.choices(list(WEIGHTS), weights=list(WEIGHTS.values()), k=number)
    params = [{"format": format.value, "topic": dice.choice(["", *FORMATS[format].topics])} for format in formats]
    made = Proposal.objects.bulk_create(
        Proposal(agent_id="atlas", source=ProposalSource.TRIGGER, title="Talk", confidence=Decimal("0.9"),
                 steps=[{"kind": StepKind.HOLD_ROUNDTABLE, "params": each}], status=ProposalStatus.APPROVED,
                 revision=1, seed=n, created_at=now, expires_at=now, decided_at=now)
        for n, each in enumerate(params)
    )  # fmt: skip
    missions = Mission.objects.bulk_create(
        Mission(proposal=each, agent_id="atlas", kind=MissionKind.CONVERSATION, status=MissionStatus.RUNNING,
                created_at=now)
        for each in made
    )  # fmt: skip
    return Step.objects.bulk_create(
        Step(mission=mission, place=1, kind=StepKind.HOLD_ROUNDTABLE, params=each, status=StepStatus.EXECUTING,
             run_after=now + timedelta(days=9999), attempts_max=5, created_at=now)
        for mission, each in zip(missions, params, strict=True)
    )  # fmt: skip


def hold(step: Step, stand: Stand, dice: random.Random, *, policy: Policy, now: datetime) -> Conversation:
    held = arranging.arrange_within(step, policy=policy, now=now)
    Conversation.objects.filter(pk=held.pk).update(status=ConversationStatus.ACTIVE, started_at=now)
    Turn.objects.bulk_create(speak(held, dice.choice(KNOWN), stand))
    execution._complete(held.pk, policy=policy, now=now)
    return held


def left_behind(held: Conversation) -> tuple[int, ...]:
    items = Proposal.objects.filter(cause__startswith=f"{held.subject}:action:")
    memories = Memory.objects.filter(cause__startswith=f"{held.subject}:")
    moved = Shift.objects.filter(cause=held.subject)
    affinity = sum(Relationship.objects.values_list("affinity", flat=True))
    return moved.count(), memories.count(), items.count(), int(affinity * 10_000)


def distilled_again(held: Conversation, *, policy: Policy, now: datetime) -> None:
    before = left_behind(held)
    distil.distil_within(Conversation.objects.get(pk=held.pk), policy=policy, now=now)
    assert left_behind(held) == before


# --- what must hold -------------------------------------------------------------------------------


def broken(*, now: datetime | None = None) -> list[str]:
    """Every bound that the stored rows break, in words."""
    return [*_broken_affinities(), *_broken_turns(), *_broken_limits(), *_left_pending(now or db.now())]


def _broken_affinities() -> Iterator[str]:
    for pair in Relationship.objects.all():
        if not AFFINITY_MIN <= pair.affinity <= AFFINITY_MAX:
            yield f"{pair} stands at {pair.affinity}"
        stands = talk.AFFINITIES[pair.a_id, pair.b_id]
        for shift in pair.shifts.order_by("pk"):
            if shift.before != stands or shift.after != shift.before + shift.delta:
                yield f"{shift} of {pair} doesn't follow from {stands}"
            stands = shift.after
        if stands != pair.affinity:
            yield f"the shifts of {pair} lead to {stands}, not to {pair.affinity}"
    for shift in Shift.objects.filter(Q(delta__gt=DRIFT_MOST) | Q(delta__lt=-DRIFT_MOST)):
        yield f"{shift} is beyond the cap"
    for row in Shift.objects.values("relationship", "cause").annotate(n=Count("pk")).filter(n__gt=1):
        yield f"{row['cause']} moved a pair {row['n']} times"
    over = set(Conversation.objects.filter(status=ConversationStatus.COMPLETED).values_list("pk", flat=True))
    for cause in Shift.objects.values_list("cause", flat=True).distinct():
        if int(cause.removeprefix("conversation:")) not in over:
            yield f"{cause} moved a pair and isn't over"


def _broken_turns() -> Iterator[str]:
    for turn in Turn.objects.annotate(long=Length("text")).filter(Q(long__gt=TURN_CHARS) | Q(long=0)):
        yield f"{turn.pk} has {len(turn.text)} characters"
    spoken = Conversation.objects.annotate(spoken=Count("turns"), last=Max("turns__place"))
    for held in spoken.filter(Q(spoken__gt=F("turns_planned")) | ~Q(spoken=F("last"), last__isnull=False)):
        if held.spoken:
            yield f"{held}: {held.spoken} turns up to place {held.last} of {held.turns_planned}"
    for held in spoken.filter(status=ConversationStatus.COMPLETED).exclude(spoken=F("turns_planned")):
        yield f"{held} ended after {held.spoken} of {held.turns_planned} turns"


def _broken_limits() -> Iterator[str]:
    _, policy = policies.current()
    causes = Counter(c.rpartition(":")[0] for c in Memory.objects.values_list("cause", flat=True))
    for cause, kept in causes.items():
        if kept > policy.memories_per_conversation_max:
            yield f"{cause} left {kept} memories"
    for row in Memory.objects.filter(archived_at=None).values("agent").annotate(n=Count("pk")):
        if row["n"] > policy.memories_live_max:
            yield f"{row['agent']} keeps {row['n']} memories"
    items = Proposal.objects.filter(cause__contains=":action:")
    days = items.values_list("created_at__date").annotate(n=Count("pk"))
    for day, asked in days.filter(n__gt=policy.action_items_per_day):
        yield f"{day} has {asked} action items"


def _left_pending(now: datetime) -> Iterator[str]:
    late = Proposal.objects.filter(Q(vote_by__lte=now) | Q(expires_at__lte=now), status=ProposalStatus.PENDING)
    for proposal in late:
        yield f"{proposal} is left pending"


# --- ten thousand ---------------------------------------------------------------------------------


def lived(number: int) -> None:
    """Live, and see that the bounds were needed and hold."""
    cast.force_policy(action_items_per_day=3)
    for pair, affinity in talk.AFFINITIES.items():
        assert Relationship.objects.get(a=pair[0], b=pair[1]).affinity == affinity
    live(number, seed=f"a life of {number}")
    assert Conversation.objects.filter(status=ConversationStatus.COMPLETED).count() == number
    assert broken() == []
    assert Shift.objects.count() > number
    assert Shift.objects.filter(delta__in=(DRIFT_MOST, -DRIFT_MOST)).exists(), "the cap was never needed"
    assert Memory.objects.exists()
    assert Proposal.objects.filter(cause__contains=":action:").exists()


def test_a_hundred_conversations_keep_every_bound(committed_company: None) -> None:
    lived(100)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_ten_thousand_conversations_keep_every_bound(committed_company: None) -> None:
    lived(10_000)
    assert Shift.objects.filter(after=AFFINITY_MAX).exists(), "nobody got to the upper end"
    assert Shift.objects.filter(after=AFFINITY_MIN).exists(), "nobody got to the lower end"
    assert Memory.objects.filter(archived_at__isnull=False).exists(), "nobody had too much to remember"


# --- by the worker loop ---------------------------------------------------------------------------

LATE = 0.2  # of the reviews that no worker holds before their deadline


def through_the_door(number: int, *, seed: str) -> None:
    """So many conversations proposed and held by the worker loop, about half of them reviews of trades."""
    dice = random.Random(seed)
    talk.quickly(
        roundtable_from_usd="0", conversations_per_day=100_000, trades_per_day=100_000, exposure_max="1",
        position_max="0.2", position_usd_max="1500", confidence_min="0.5", reviews_waiting_max=1000,
        daily_loss_halt="1", drawdown_halt="1", action_items_per_day=50,
    )  # fmt: skip
    look_at_all_markets()
    for n in range(number):
        let_the_market_move(dice)
        if n % 2:
            talk.hold(dice.choice(talk.EVERY_FORMAT), topic=dice.choice(["", "SOL and the week"]))
        else:
            cast.submit(trade(dice), source=ProposalSource.TRIGGER)
            if dice.random() < LATE:
                newest = Proposal.objects.filter(vote_by__isnull=False).order_by("-pk").first()
                if newest is not None and newest.vote_by is not None:
                    voting.escalate(now=newest.vote_by, limit=100)
        cast.work()
        _distil_some_again(dice)


MARKETS = ("SOL/USDC", "JUP/USDC", "BONK/USDC", "WIF/USDC")


def look_at_all_markets() -> None:
    """So that there are signals to argue about."""
    for market in MARKETS:
        step = {"kind": "analyze_signal", "params": {"market": market}}
        cast.submit(cast.draft(agent="intel", steps=[step]), source=ProposalSource.TRIGGER)
    cast.work()


def let_the_market_move(dice: random.Random) -> None:
    for market in Market.objects.all():
        assert market.price is not None
        cast.set_price(market.pk, market.price * Decimal(f"{dice.uniform(0.98, 1.02):.6f}"), at=market.price_at)


def trade(dice: random.Random) -> Any:
    agent = dice.choice(talk.SIX_KEYS)
    market = dice.choice(MARKETS)
    held = Position.objects.filter(status="open", market=market).first()
    if held and dice.random() < 0.5:
        step = {"kind": "close_position", "params": {"position": held.pk}}
        return cast.draft(agent=agent, title=f"Close {market}", steps=[step])
    size = dice.choice(["20.00", "150.00", "350.00"])
    step = {"kind": "execute_trade", "params": {"side": "buy", "market": market, "size_usd": size}}
    forecast = {"probability": f"{dice.uniform(0.3, 0.8):.3f}", "horizon_minutes": 10}
    return cast.draft(agent=agent, title=f"Buy {market}", steps=[step], forecast=dice.choice([forecast, None]))


def _distil_some_again(dice: random.Random) -> None:
    held = Conversation.objects.filter(status=ConversationStatus.COMPLETED).order_by("-pk").first()
    if held is not None and dice.random() < 0.3:
        assert held.ended_at is not None
        with db.savepoint():
            distilled_again(held, policy=policies.current()[1], now=held.ended_at)


def past_all_deadlines() -> datetime:
    """What the heartbeat does about deadlines, a day later and at the bounds of its phases."""
    later = cast.later(days=1)
    while voting.escalate(now=later, limit=100)["escalated"] + proposals.expire(now=later, limit=200)["expired"]:
        pass
    return later


def held_by_workers(number: int) -> None:
    through_the_door(number, seed=f"{number} by the door")
    left = [cast.submit(trade(random.Random(n)), source=ProposalSource.TRIGGER) for n in range(6)]
    waiting = [each for each in left if each.vote_by is not None]
    assert waiting, "nothing was left for the deadlines"
    assert broken(now=cast.later(days=1)) != [], "the deadlines were met before anybody looked"
    later = past_all_deadlines()
    assert broken(now=later) == []
    cast.work()
    assert not Conversation.objects.filter(status__in=OPEN).exists()
    assert not Conversation.objects.filter(status=ConversationStatus.FAILED).exists()
    assert not Step.objects.filter(kind=StepKind.HOLD_ROUNDTABLE, finished_at=None).exists()
    assert not Proposal.objects.filter(status=ProposalStatus.PENDING).exists()
    assert broken(now=later) == []


@pytest.mark.usefixtures("company")
def test_conversations_that_the_worker_loop_holds_keep_every_bound_and_every_deadline() -> None:
    held_by_workers(6)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("company")
def test_two_hundred_that_the_worker_loop_holds_keep_every_bound_and_every_deadline() -> None:
    held_by_workers(200)
    ended = dict(Proposal.objects.filter(conversation__isnull=False).values_list("status").annotate(Count("pk")))
    assert {"approved", "rejected", "expired"} <= set(ended), ended


# --- what is no number ----------------------------------------------------------------------------


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("figure", ["NaN", "sNaN", "Infinity", "-Infinity"])
@pytest.mark.parametrize("which", ["delta", "most"])
def test_what_is_no_number_moves_nobody(figure: str, which: str) -> None:
    given = {"delta": Decimal("0.01"), "most": DRIFT_MOST, which: Decimal(figure)}
    with pytest.raises(ValueError, match="no drift"):
        relationships.drift(a="atlas", b="sage", cause="conversation:1", now=db.now(), **given)
    assert not Shift.objects.exists()


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE agents_relationship SET affinity = 'NaN' WHERE a_id = 'atlas'",
        "INSERT INTO agents_shift (relationship_id, cause, delta, before, after, at)"
        " SELECT id, 'conversation:1', 'NaN', affinity, 'NaN', now() FROM agents_relationship",
        "INSERT INTO agents_shift (relationship_id, cause, delta, before, after, at)"
        " SELECT id, 'conversation:1', 0.0301, affinity, affinity + 0.0301, now() FROM agents_relationship",
    ],
)
def test_the_database_refuses_it_too(statement: str) -> None:
    with pytest.raises(IntegrityError), db.savepoint(), connection.cursor() as cursor:
        cursor.execute(statement)


# --- controls -------------------------------------------------------------------------------------


@pytest.fixture
def unclamped(company: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relationships, "_kept_within", lambda value, lowest, highest: value)


def agree_all(number: int = 1) -> None:
    dice, now = random.Random("they agree"), db.now()
    _, policy = policies.current()
    for step in steps_for(number, dice, now=now):
        step.params = {"format": Talked.STRATEGY_SESSION.value, "topic": ""}  # three agents, ten turns and more
        hold(step, WAYS["always agree"], dice, policy=policy, now=now)


@pytest.mark.usefixtures("unclamped")
def test_control_without_the_clamp_the_database_refuses_the_drift() -> None:
    with pytest.raises(IntegrityError, match="drift_within_cap"):
        agree_all()


@pytest.mark.usefixtures("unclamped")
def test_control_without_the_clamp_the_database_refuses_an_affinity_beyond_the_scale() -> None:
    Relationship.objects.filter(a="atlas", b="sage").update(affinity="0.94")
    with pytest.raises(IntegrityError, match="affinity_within_range"):
        relationships.drift(
            a="atlas", b="sage", delta=Decimal("0.02"), cause="conversation:1", most=DRIFT_MOST, now=db.now()
        )


@pytest.mark.usefixtures("unclamped")
def test_control_without_clamp_and_checks_both_bounds_are_broken_and_found_out() -> None:
    without_constraint("agents_shift", "drift_within_cap")
    without_constraint("agents_relationship", "affinity_within_range")
    agree_all(8)
    found = broken()
    assert [each for each in found if each.endswith("is beyond the cap")]
    assert [each for each in found if " stands at 1." in each]


@pytest.mark.usefixtures("company")
def test_control_a_pair_that_drifts_twice_for_one_cause_is_refused_and_found_out() -> None:
    agree_all()
    moved = Shift.objects.order_by("pk").first()
    assert moved is not None
    moved.pk = None
    with pytest.raises(IntegrityError, match="shift_once_per_cause"), db.savepoint():
        moved.save(force_insert=True)
    without_constraint("agents_shift", "shift_once_per_cause")
    moved.save(force_insert=True)
    assert [each for each in broken() if each.endswith("moved a pair 2 times")]


@pytest.mark.usefixtures("company")
def test_control_each_other_bound_that_is_broken_is_found_out() -> None:
    agree_all()
    held = Conversation.objects.get()
    assert broken() == []
    held.turns.filter(place=2).delete()
    assert any("turns up to place" in each for each in broken())
    assert any("ended after" in each for each in broken())
    for n in range(7):
        minds.known(cause=f"{held.subject}:9{n}")
    assert any(each.endswith("memories") for each in broken())
    proposal = cast.submit(cast.analysis_draft(confidence="0.9"))
    Proposal.objects.filter(pk=proposal.pk).update(status="pending", decided_at=None, expires_at=db.now())
    assert any(each.endswith("is left pending") for each in broken())


def without_constraint(table: str, name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
