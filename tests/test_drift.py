"""How much a conversation moves each pair: one contribution a turn, by pair, whatever the order."""

import random
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import relationships
from agents.models import AFFINITY_MAX, AFFINITY_MIN, DRIFT_MOST
from missions.vocabulary import ConversationFormat as F
from roundtable import drift
from roundtable.models import Stance, Tone
from tests import talk

A, N, D, V = Stance.AGREE, Stance.NEUTRAL, Stance.DISAGREE, Stance.VETO
PAIR = ("atlas", "sage")

turns = st.lists(
    st.builds(
        talk.turn,
        agent=st.sampled_from(talk.SIX_KEYS),
        to=st.none() | st.sampled_from(talk.SIX_KEYS),
        stance=st.sampled_from(list(Stance)),
        tone=st.sampled_from(list(Tone)),
    ),
    max_size=16,
)


@pytest.mark.parametrize(
    ("stance", "tone", "moves"),
    [
        (A, Tone.PLAIN, "0.02"),
        (A, Tone.CRITICAL, "0.02"),
        (A, Tone.CHALLENGE, "0.02"),
        (A, Tone.SUPPORTIVE, "0.015"),
        (D, Tone.PLAIN, "-0.01"),
        (D, Tone.CHALLENGE, "-0.01"),
        (D, Tone.SUPPORTIVE, "-0.01"),
        (V, Tone.PLAIN, "-0.01"),
        (N, Tone.CHALLENGE, "-0.005"),
        (N, Tone.CRITICAL, "0"),
        (N, Tone.SUPPORTIVE, "0"),
        (N, Tone.PLAIN, "0"),
    ],
)
def test_a_turn_counts_once_by_its_stance_and_by_its_tone_where_that_is_neutral(
    stance: Stance, tone: Tone, moves: str
) -> None:
    assert drift.of_turn(stance, tone) == Decimal(moves)


def test_turns_of_a_pair_add_up_whoever_speaks_and_disagree_is_no_agree() -> None:
    said = [talk.turn("atlas", "sage", A), talk.turn("sage", "atlas", A), talk.turn("atlas", "sage", D)]
    assert drift.by_pair(said) == {PAIR: Decimal("0.03")}


@pytest.mark.parametrize(
    ("mine", "yours", "moves"), [(A, A, "0.02"), (D, D, "0.02"), (D, V, "0.02"), (A, D, "-0.01"), (V, A, "-0.01")]
)
def test_in_a_trade_review_who_thinks_alike_of_the_trade_comes_closer(mine: Stance, yours: Stance, moves: str) -> None:
    said = [talk.turn("atlas", None, yours, place=1), talk.turn("sage", "atlas", mine, place=2)]
    assert drift.by_pair(said, of_a_proposal=True) == {PAIR: Decimal(moves)}


def test_in_a_trade_review_who_has_no_opinion_moves_nobody() -> None:
    said = [talk.turn("atlas", None, A, place=1), talk.turn("sage", "atlas", N, place=2)]
    said += [talk.turn("atlas", "sage", D, place=3)]
    assert drift.by_pair(said, of_a_proposal=True) == {}


def test_who_answers_nobody_moves_nobody_and_nobody_moves_itself() -> None:
    assert drift.by_pair([talk.turn("atlas", None, A), talk.turn("sage", "sage", D)]) == {}


def test_what_cancels_out_leaves_no_pair() -> None:
    said = [talk.turn("atlas", "sage", A), talk.turn("atlas", "sage", D), talk.turn("sage", "atlas", D)]
    assert drift.by_pair(said) == {}


@given(turns, st.randoms(use_true_random=False))
def test_the_order_of_turns_changes_nothing(said: list[object], dice: random.Random) -> None:
    shuffled = list(said)
    dice.shuffle(shuffled)
    assert drift.by_pair(shuffled) == drift.by_pair(said)  # type: ignore[arg-type]


@given(turns)
def test_pairs_are_in_alphabetical_order_and_no_turn_moves_more_than_one(said: list[object]) -> None:
    found = drift.by_pair(said)  # type: ignore[arg-type]
    assert list(found) == sorted(found)
    assert all(a < b for a, b in found)
    assert sum(abs(delta) for delta in found.values()) <= Decimal("0.02") * len(said)


# --- ten thousand conversations -------------------------------------------------------------------


def test_ten_thousand_conversations_keep_every_affinity_and_every_shift_within_bounds() -> None:
    """Planned, spoken and counted in memory, with the very clamps that the database is written by."""
    affinities, dice, shifts, clamped = dict(talk.AFFINITIES), random.Random("a company's life"), 0, 0
    for seed in range(10_000):
        format = dice.choice(list(F))
        room = talk.review_room(dice) if format == F.TRADE_REVIEW else None
        said = talk.spoken(talk.arranged(format, seed, room=room), affinities)
        assert all(0 < len(turn.text) <= 120 for turn in said)
        moved = drift.by_pair(said, of_a_proposal=format == F.TRADE_REVIEW)
        assert len(moved) == len(set(moved))
        for pair, delta in moved.items():
            before = affinities[pair]
            after = relationships._kept_within(
                before + relationships._allowed(delta, DRIFT_MOST), AFFINITY_MIN, AFFINITY_MAX
            )
            assert abs(after - before) <= DRIFT_MOST
            assert AFFINITY_MIN <= after <= AFFINITY_MAX
            affinities[pair] = after
            shifts += 1
            clamped += abs(delta) > DRIFT_MOST
    assert shifts > 20_000
    assert clamped > 100, "the clamp was never needed: this tried nothing"
