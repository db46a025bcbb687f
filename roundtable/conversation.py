"""Who speaks next, to whom, and in which tone: pure, from the conversation's seed, the turns so far and affinities.

What is said is the voices' affair. Everybody at the table speaks at least once: when no more turns are left than
silent agents, only they are asked.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from agents import relationships
from agents.relationships import Pair
from roundtable.models import Conversation, Tone, Turn

LIKING, RECENCY, CHANCE = 0.6, 0.4, 0.2  # of design 3: 1 + 0.6 × affinity − 0.4 × recency ± 0.2
TENSE_ABOVE, EASY_BELOW = Decimal("0.6"), Decimal("0.3")  # tension = 1 − affinity
CHALLENGES, SUPPORTS = 0.2, 0.4  # shares of tense and of easy turns


@dataclass(frozen=True, slots=True)
class Planned:
    """A turn to come; `place` counts from 1."""

    place: int
    agent: str
    to: str | None
    tone: Tone


def next_turn(conversation: Conversation, turns: Sequence[Turn], affinities: Mapping[Pair, Decimal]) -> Planned:
    """The turn after `turns` (oldest first). The same for the same seed, turns and affinities."""
    place = len(turns) + 1
    assert place <= conversation.turns_planned, "the conversation is over"
    if not turns:
        return Planned(place, conversation.participants[0], None, Tone.PLAIN)
    dice = random.Random(f"{conversation.seed}:{place}")
    last = turns[-1].agent_id
    candidates = _candidates(conversation, turns)
    weights = [_weight(key, last, turns, affinities, dice) for key in candidates]
    agent = dice.choices(candidates, weights)[0]
    return Planned(place, agent, last, _tone(1 - relationships.between(agent, last, affinities), dice))


def _candidates(conversation: Conversation, turns: Sequence[Turn]) -> list[str]:
    """Everybody but the last speaker; only the silent where the turns left are needed for them."""
    spoken = {turn.agent_id for turn in turns}
    silent = [key for key in conversation.participants if key not in spoken]
    if silent and conversation.turns_planned - len(turns) <= len(silent):
        return silent
    return [key for key in conversation.participants if key != turns[-1].agent_id]


def _weight(
    key: str, last: str, turns: Sequence[Turn], affinities: Mapping[Pair, Decimal], dice: random.Random
) -> float:
    liking = float(relationships.between(key, last, affinities))
    return 1 + LIKING * liking - RECENCY * _recency(key, turns) + dice.uniform(-CHANCE, CHANCE)


def _recency(key: str, turns: Sequence[Turn]) -> float:
    """1 for whoever spoke just before the last speaker, ½ for the one before, …; 0 for the silent."""
    for ago, turn in enumerate(reversed(turns[:-1]), start=1):
        if turn.agent_id == key:
            return 1 / ago
    return 0.0


def _tone(tension: Decimal, dice: random.Random) -> Tone:
    roll = dice.random()
    if tension > TENSE_ABOVE:
        return Tone.CHALLENGE if roll < CHALLENGES else Tone.CRITICAL
    if tension < EASY_BELOW and roll < SUPPORTS:
        return Tone.SUPPORTIVE
    return Tone.PLAIN
