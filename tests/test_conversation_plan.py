"""Who sits at the table, who speaks next, to whom and how: pure, by seed."""

import random
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from django.conf import settings
from hypothesis import given
from hypothesis import strategies as st

from missions.vocabulary import ConversationFormat as F
from roundtable import conversation, formats, opinions
from roundtable.conversation import next_turn
from roundtable.formats import FORMATS, Room
from roundtable.models import Tone
from tests import talk

EVERY = list(F)
SEEDS = st.integers(0, 2**62)


def table(format: F, seed: int, room: Room | None = None) -> tuple[str, ...]:
    return formats.seat(FORMATS[format], room or Room(talk.SIX_KEYS, talk.AFFINITIES), random.Random(seed))


def meeting(format: F, seed: int) -> Any:
    room = talk.review_room(random.Random(seed)) if format == F.TRADE_REVIEW else None
    return talk.arranged(format, seed, room=room)


# --- who ------------------------------------------------------------------------------------------


def test_the_standup_has_its_three_and_one_to_three_others() -> None:
    sizes = {len(table(F.MORNING_STANDUP, seed)) for seed in range(50)}
    assert sizes == {4, 5, 6}
    assert all({"atlas", "sage", "intel"} <= set(table(F.MORNING_STANDUP, seed)) for seed in range(50))


def test_each_format_has_who_belongs_there() -> None:
    assert table(F.POSITION_REVIEW, 1) == ("atlas", "sage", "scout")
    assert table(F.STRATEGY_SESSION, 1) == ("atlas", "sage", "growth")
    assert set(table(F.POST_MORTEM, 1)) == set(talk.SIX_KEYS) - {"observer"}
    assert {len(table(F.WATERCOOLER, seed)) for seed in range(30)} == {2, 3}


def test_the_two_that_stand_farthest_apart_debate_with_one_more() -> None:
    tables = [table(F.DEBATE, seed) for seed in range(40)]
    assert all({"intel", "sage"} <= set(each) and len(each) == 3 for each in tables)
    assert {*sum(tables, ())} == set(talk.SIX_KEYS)
    closer = {**talk.AFFINITIES, ("intel", "sage"): Decimal("0.9")}
    assert {"atlas", "intel"} <= set(table(F.DEBATE, 1, Room(talk.SIX_KEYS, closer)))


def test_a_review_has_proposer_sage_atlas_and_whoever_votes_once_each() -> None:
    room = Room(talk.SIX_KEYS, talk.AFFINITIES, proposer="scout", voters=("sage", "atlas", "observer"))
    assert table(F.TRADE_REVIEW, 1, room) == ("atlas", "scout", "sage", "observer")


@pytest.mark.parametrize("format", EVERY)
def test_who_is_inactive_stays_away(format: F) -> None:
    room = Room(("sage", "scout", "growth"), talk.AFFINITIES, proposer="intel", voters=("sage", "scout"))
    assert set(table(format, 3, room)) <= {"sage", "scout", "growth"}


@given(SEEDS, st.sampled_from(EVERY))
def test_the_coordinator_sits_first_wherever_it_is_present(seed: int, format: F) -> None:
    participants = meeting(format, seed).participants
    assert "atlas" not in participants[1:]
    assert len(set(participants)) == len(participants) >= 2


@given(SEEDS, st.sampled_from(EVERY))
def test_the_number_of_turns_is_within_the_format_s_range(seed: int, format: F) -> None:
    shortest, longest = FORMATS[format].turns
    assert shortest <= meeting(format, seed).turns_planned <= longest


def test_every_fact_of_every_format_has_a_provider() -> None:
    assert {name for each in FORMATS.values() for name in each.facts} <= set(settings.FACTS)
    assert set(opinions.FACTS) <= set(FORMATS[F.TRADE_REVIEW].facts), "voters must see what they vote by"
    assert set(FORMATS) == set(F)


# --- who speaks -----------------------------------------------------------------------------------


@given(SEEDS, st.sampled_from(EVERY))
def test_nobody_speaks_twice_in_a_row_and_everybody_at_least_once(seed: int, format: F) -> None:
    held = meeting(format, seed)
    turns = talk.spoken(held, talk.AFFINITIES)
    speakers = [turn.agent_id for turn in turns]
    assert [turn.place for turn in turns] == list(range(1, held.turns_planned + 1))
    assert all(one != other for one, other in pairwise(speakers))
    assert set(speakers) == set(held.participants)
    assert speakers[0] == held.participants[0]
    assert [turn.to_id for turn in turns] == [None, *speakers[:-1]]


def test_control_without_the_rule_for_the_silent_some_never_speak(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_but_the_last(held: Any, turns: Any) -> list[str]:
        return [key for key in held.participants if key != turns[-1].agent_id]

    monkeypatch.setattr(conversation, "_candidates", all_but_the_last)
    reviews = [meeting(F.TRADE_REVIEW, seed) for seed in range(200)]
    silent = [set(each.voters) - {turn.agent_id for turn in talk.spoken(each, talk.AFFINITIES)} for each in reviews]
    assert any(silent)


def test_two_alternate() -> None:
    room = Room(("sage", "scout"), talk.AFFINITIES)
    speakers = [turn.agent_id for turn in talk.spoken(talk.arranged(F.WATERCOOLER, 5, room=room), talk.AFFINITIES)]
    assert speakers == [speakers[n % 2] for n in range(len(speakers))]


@given(SEEDS, st.sampled_from(EVERY))
def test_the_same_seed_plans_the_same_conversation(seed: int, format: F) -> None:
    def plan() -> list[tuple[Any, ...]]:
        return [(t.agent_id, t.to_id, t.tone) for t in talk.spoken(meeting(format, seed), talk.AFFINITIES)]

    assert plan() == plan()


def test_another_seed_plans_another_one() -> None:
    plans = {
        tuple(turn.agent_id for turn in talk.spoken(meeting(F.POST_MORTEM, seed), talk.AFFINITIES))
        for seed in range(20)
    }
    assert len(plans) > 15


def second_speakers(affinities: dict[tuple[str, str], Decimal], number: int = 4000) -> Counter[str]:
    """Who answers atlas first, of sage and scout."""
    room = Room(("atlas", "sage", "scout"), affinities)
    found: Counter[str] = Counter()
    for seed in range(number):
        held = talk.arranged(F.POSITION_REVIEW, seed, room=room)
        found[next_turn(held, [talk.turn("atlas", None)], affinities).agent] += 1
    return found


def test_who_stands_closer_to_the_last_speaker_answers_more_often() -> None:
    near = {("atlas", "sage"): Decimal("0.95"), ("atlas", "scout"): Decimal("0.10")}
    found = second_speakers(near)
    # (1 + 0.6 × 0.95) ÷ (2 + 0.6 × 1.05) = 0.597
    assert found["sage"] / found.total() == pytest.approx(0.597, abs=0.03)
    even = second_speakers({("atlas", "sage"): Decimal("0.5"), ("atlas", "scout"): Decimal("0.5")})
    assert even["sage"] / even.total() == pytest.approx(0.5, abs=0.03)


def test_who_has_just_spoken_speaks_less_often() -> None:
    even = {("atlas", "sage"): Decimal("0.5"), ("atlas", "scout"): Decimal("0.5"), ("sage", "scout"): Decimal("0.5")}
    said = [talk.turn("sage", None), talk.turn("scout", "sage"), talk.turn("sage", "scout"), talk.turn("atlas", "sage")]
    chosen = Counter(
        next_turn(talk.arranged(F.POSITION_REVIEW, seed, room=Room(("atlas", "sage", "scout"), even)), said, even).agent
        for seed in range(4000)
        if talk.arranged(F.POSITION_REVIEW, seed).turns_planned > 4
    )
    # sage spoke before atlas (recency 1), scout two before (½): 0.9 against 1.1
    assert chosen["sage"] / chosen.total() == pytest.approx(0.45, abs=0.03)


# --- how ------------------------------------------------------------------------------------------


def tones(affinity: str, number: int = 3000) -> Counter[Tone]:
    known = {("atlas", "sage"): Decimal(affinity)}
    room = Room(("atlas", "sage"), known)
    held = [talk.arranged(F.WATERCOOLER, seed, room=room) for seed in range(number)]
    return Counter(next_turn(each, [talk.turn("atlas", None)], known).tone for each in held)


@pytest.mark.parametrize(
    ("affinity", "expected"),
    [
        ("0.39", {Tone.CRITICAL: 0.8, Tone.CHALLENGE: 0.2}),
        ("0.40", {Tone.PLAIN: 1.0}),
        ("0.70", {Tone.PLAIN: 1.0}),
        ("0.71", {Tone.PLAIN: 0.6, Tone.SUPPORTIVE: 0.4}),
    ],
)
def test_the_tone_follows_the_tension(affinity: str, expected: dict[Tone, float]) -> None:
    found = tones(affinity)
    assert {tone: n / found.total() for tone, n in found.items()} == pytest.approx(expected, abs=0.04)
