"""What its memories do to an agent's voice: a few short phrases, told to whoever finds its words. How it speaks by
nature stands in its row; what the phrases change is the voice's affair.

A phrase rests on memories of the agent's own, never on what others taught it. Its strength is the mean of theirs after
decay, so that an agent that learnt nothing new for long speaks as it did before.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Avg, CharField, Count, F, Func, QuerySet
from django.db.models.functions import Round

from agents import memory
from agents.models import Memory, MemoryType

MODIFIERS_MOST = 3  # a voice with more sides to it has none
STRENGTH_MIN = Decimal("0.3")  # what faded further isn't heard
LESSONS_ABOVE = 10  # about one thing
_BY_NUMBER: Mapping[str, tuple[int, str]] = {
    MemoryType.PATTERN: (5, "has seen {n} patterns: looks for what comes back"),
    MemoryType.STRATEGY: (8, "keeps {n} strategies that worked: sure of its ground"),
}


@dataclass(frozen=True, slots=True)
class Modifier:
    """A phrase such as "has learnt 14 lessons about SOL/USDC: careful there"; `strength` is 0.3 to 1."""

    text: str
    strength: Decimal


def modifiers(*, agent: str, now: datetime) -> tuple[Modifier, ...]:
    """What an agent's memories make of its voice at this moment, strongest first, at most three."""
    own = memory.live().filter(agent=agent)
    found = [modifier for modifier in _all(own, now) if modifier.strength >= STRENGTH_MIN]
    return tuple(sorted(found, key=lambda modifier: (-modifier.strength, modifier.text))[:MODIFIERS_MOST])


def _all(own: QuerySet[Memory], now: datetime) -> Iterator[Modifier]:
    for tag, n, strength in _grouped(own.filter(type=MemoryType.LESSON), _Each("tags"), now):
        if n > LESSONS_ABOVE:
            yield Modifier(f"has learnt {n} lessons about {tag}: careful there", strength)
    for type, n, strength in _grouped(own.filter(type__in=_BY_NUMBER), F("type"), now):
        above, phrase = _BY_NUMBER[type]
        if n > above:
            yield Modifier(phrase.format(n=n), strength)


class _Each(Func):
    """One row for each element of an array."""

    function = "unnest"
    set_returning = True
    output_field = CharField()


def _grouped(memories: QuerySet[Memory], by: Func | F, now: datetime) -> Iterable[tuple[str, int, Decimal]]:
    """Of each group: its name, how many memories it has, and the mean of their strengths."""
    named = memories.values(group=by).annotate(n=Count("pk"), mean=Round(Avg(memory.strength(now=now)), precision=3))
    return named.values_list("group", "n", "mean")
