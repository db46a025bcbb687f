"""What kinds of conversations there are: who sits at the table, for how long, how warm the talk is, and which facts its
speakers get. When one is held is `schedule`'s affair, who speaks next `conversation`'s.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from agents import relationships
from agents.relationships import Pair
from missions.vocabulary import ConversationFormat
from roundtable import opinions

COORDINATOR, RISK = "atlas", "sage"


@dataclass(frozen=True, slots=True)
class Room:
    """Who is there: active agents in their order, how they stand, and of a trade review who must come."""

    active: tuple[str, ...]
    affinities: Mapping[Pair, Decimal]
    proposer: str = ""
    voters: tuple[str, ...] = ()


Rule = Callable[[Room, random.Random], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Format:
    """`turns` is a range, both ends included; a `formal` conversation may end in action items. `topics` come in turn
    where nobody names one.
    """

    who: Rule
    turns: tuple[int, int]
    temperature: Decimal
    formal: bool
    facts: tuple[str, ...]
    topics: tuple[str, ...] = ()


def seat(format: Format, room: Room, dice: random.Random) -> tuple[str, ...]:
    """Keys of who takes part, once each; the coordinator first, where present, since it opens."""
    keys = list(dict.fromkeys(format.who(room, dice)))
    return tuple(sorted(keys, key=lambda key: key != COORDINATOR))


def length(format: Format, participants: tuple[str, ...], dice: random.Random) -> int:
    """Number of turns: by the dice, but as many as there are people, so that nobody sits there in silence."""
    shortest, longest = format.turns
    return min(longest, max(dice.randint(shortest, longest), len(participants)))


# --- who ------------------------------------------------------------------------------------------


def _named(*keys: str, more: tuple[int, int] = (0, 0)) -> Rule:
    """These of the active agents, and so many others by the dice."""

    def who(room: Room, dice: random.Random) -> tuple[str, ...]:
        named = [key for key in keys if key in room.active]
        return (*named, *_some([key for key in room.active if key not in named], more, dice))

    return who


def _all_but(*keys: str) -> Rule:
    return lambda room, _: tuple(key for key in room.active if key not in keys)


def _any(number: tuple[int, int]) -> Rule:
    return lambda room, dice: _some(list(room.active), number, dice)


def _farthest_and_one(room: Room, dice: random.Random) -> tuple[str, ...]:
    """The two that stand farthest apart, and one more by the dice."""
    pairs = [(a, b) for a in room.active for b in room.active if a < b]
    if not pairs:
        return room.active
    pair = min(pairs, key=lambda two: (relationships.between(two[0], two[1], room.affinities), two))
    return (*pair, *_some([key for key in room.active if key not in pair], (1, 1), dice))


def _reviewers(room: Room, _: random.Random) -> tuple[str, ...]:
    """Who proposed it, the risk manager, the coordinator, and whoever votes."""
    return tuple(key for key in (room.proposer, RISK, COORDINATOR, *room.voters) if key in room.active)


def _some(keys: list[str], number: tuple[int, int], dice: random.Random) -> tuple[str, ...]:
    return tuple(dice.sample(keys, min(dice.randint(*number), len(keys))))


# --- the table ------------------------------------------------------------------------------------

FORMATS: Mapping[ConversationFormat, Format] = {
    ConversationFormat.MORNING_STANDUP: Format(
        who=_named("atlas", "sage", "intel", more=(1, 3)),
        turns=(6, 12),
        temperature=Decimal("0.60"),
        formal=True,
        facts=("prices", "outlook", "positions", "portfolio", "outcomes"),
        topics=("What the day asks of us", "What has changed since yesterday", "Where we stand this morning"),
    ),
    ConversationFormat.POSITION_REVIEW: Format(
        who=_named("atlas", "sage", "scout"),
        turns=(4, 8),
        temperature=Decimal("0.50"),
        formal=True,
        facts=("positions", "prices", "outlook", "portfolio", "talked_of"),
        topics=("What we hold, and why still", "Which position we would not open again"),
    ),
    ConversationFormat.POST_MORTEM: Format(
        who=_all_but("observer"),
        turns=(8, 15),
        temperature=Decimal("0.70"),
        formal=True,
        facts=("talked_of", "positions", "outcomes", "prices", "portfolio"),
        topics=("What went wrong, and what of it was ours", "Which loss we should have seen coming"),
    ),
    ConversationFormat.DEBATE: Format(
        who=_farthest_and_one,
        turns=(6, 10),
        temperature=Decimal("0.80"),
        formal=True,
        facts=("outlook", "prices", "positions", "outcomes", "portfolio", "talked_of"),
        topics=("Whether the signals deserve more of our money", "Whether we trade too much or too little"),
    ),
    ConversationFormat.STRATEGY_SESSION: Format(
        who=_named("atlas", "sage", "growth"),
        turns=(10, 16),
        temperature=Decimal("0.65"),
        formal=True,
        facts=("outcomes", "portfolio", "positions", "outlook", "prices"),
        topics=("What worked, and what we do more of", "What we stop doing"),
    ),
    ConversationFormat.WATERCOOLER: Format(
        who=_any((2, 3)),
        turns=(3, 6),
        temperature=Decimal("0.90"),
        formal=False,
        facts=("prices", "positions", "outcomes"),
        topics=("Which market each of us likes to watch", "The trade one remembers", "How the day felt"),
    ),
    ConversationFormat.TRADE_REVIEW: Format(
        who=_reviewers,
        turns=(3, 6),
        temperature=Decimal("0.40"),
        formal=False,  # its outcome is the vote
        facts=(*opinions.FACTS, "prices"),
    ),
}
