"""How much what was said moves each pair, before any clamp: pure. Keeping it within bounds is `agents.relationships`'.

Each turn that answers somebody counts once, by its stance; where that is neutral, by its tone.
"""

from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal

from agents.relationships import Pair
from roundtable.models import Stance, Tone, Turn

AGREES, SUPPORTS = Decimal("0.02"), Decimal("0.015")
DISAGREES, CHALLENGES = Decimal("-0.01"), Decimal("-0.005")
NOTHING = Decimal(0)


def by_pair(turns: Sequence[Turn], *, of_a_proposal: bool = False) -> dict[Pair, Decimal]:
    """The sum of the turns' drift by pair, in alphabetical order; pairs that it leaves where they are stay out.

    Args:
        of_a_proposal: stances are towards a proposal, as in a trade review; each turn answers the one before it.
    """
    sums: defaultdict[Pair, Decimal] = defaultdict(Decimal)
    heard = {turn.place: Stance(turn.stance) for turn in turns} if of_a_proposal else {}
    for turn in turns:
        if turn.to_id is not None and turn.to_id != turn.agent_id:
            a, b = sorted((turn.agent_id, turn.to_id))
            stance = Stance(turn.stance)
            if of_a_proposal:
                stance = towards_each_other(stance, heard[turn.place - 1])
            sums[a, b] += of_turn(stance, Tone(turn.tone))
    return {pair: delta for pair, delta in sorted(sums.items()) if delta}


def towards_each_other(mine: Stance, yours: Stance) -> Stance:
    """Where two stand to each other who say what they think of the same thing."""
    if Stance.NEUTRAL in (mine, yours):
        return Stance.NEUTRAL
    return Stance.AGREE if (mine == Stance.AGREE) == (yours == Stance.AGREE) else Stance.DISAGREE


def of_turn(stance: Stance, tone: Tone) -> Decimal:
    """The one contribution of a turn: an agreement in a supportive tone counts as support, a challenge counts as one
    where it doesn't disagree outright.
    """
    match stance:
        case Stance.AGREE:
            return SUPPORTS if tone == Tone.SUPPORTIVE else AGREES
        case Stance.DISAGREE | Stance.VETO:
            return DISAGREES
    return CHALLENGES if tone == Tone.CHALLENGE else NOTHING
