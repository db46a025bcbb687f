"""What a voice is given and what it gives back. A voice knows nothing beyond its brief, so that a stored brief can be
spoken from again: `as_json` and `of_json` store it beside the rows that hold the rest.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from django.core.serializers.json import DjangoJSONEncoder

from agents.models import Memory
from roundtable.models import Exchange, Stance, Tone


@dataclass(frozen=True, slots=True)
class Heard:
    """A turn as a later speaker hears it."""

    agent: str
    text: str
    stance: Stance
    tone: Tone


@dataclass(frozen=True, slots=True)
class Remembered:
    """A memory that comes to the speaker's mind; `strength` is its confidence after decay."""

    id: int
    type: str
    text: str
    strength: Decimal


@dataclass(frozen=True, slots=True)
class Opinion:
    """What an agent thinks of a proposal by rule, with the figure it rests on."""

    stance: Stance
    reason: str
    probability: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Brief:
    """Everything that a speaker may speak from.

    `facts` are named facts as JSON (decimals as strings), `heard` the last turns, oldest first; `opinion` stands in a
    trade review only; `seed` rolls every dice of the turn.
    """

    agent: str
    role: str
    manner: str
    format: str
    topic: str
    tone: Tone
    temperature: Decimal
    place: int  # from 0
    planned: int
    to: str | None
    heard: tuple[Heard, ...]
    facts: Mapping[str, Any]
    memories: tuple[Remembered, ...]
    modifiers: tuple[str, ...]
    opinion: Opinion | None
    seed: str
    chars_max: int


@dataclass(frozen=True, slots=True)
class Said:
    """A turn's words. `exchange` is what a language model was asked and answered, unsaved; `failed` what it answered
    before, when an answer was invalid.
    """

    text: str
    stance: Stance
    probability: Decimal | None
    voice: str
    memories: tuple[int, ...] = ()
    fell_back: bool = False
    exchange: Exchange | None = None
    failed: tuple[Exchange, ...] = field(default_factory=tuple)


def settled(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Facts as they come back once they were stored, so that a speaker starts from what a replay will find.

    The database keeps no order of keys and knows no negative zero: keys inside a fact stand in alphabetical order. The
    facts themselves stay in theirs, which says what matters most.
    """
    return {
        name: json.loads(json.dumps(fact, cls=DjangoJSONEncoder, sort_keys=True), parse_float=_number)
        for name, fact in facts.items()
    }


def as_json(brief: Brief) -> dict[str, Any]:
    """A brief but for the facts' values, the words of turns and those of memories, which are rows of their own."""
    opinion = brief.opinion
    return {
        "agent": brief.agent,
        "role": brief.role,
        "manner": brief.manner,
        "format": brief.format,
        "topic": brief.topic,
        "tone": str(brief.tone),
        "temperature": str(brief.temperature),
        "place": brief.place,
        "planned": brief.planned,
        "to": brief.to,
        "heard": len(brief.heard),
        "facts": list(brief.facts),
        "memories": [[each.id, str(each.strength)] for each in brief.memories],
        "modifiers": list(brief.modifiers),
        "opinion": None if opinion is None else [str(opinion.stance), opinion.reason, _text(opinion.probability)],
        "seed": brief.seed,
        "chars_max": brief.chars_max,
    }


def of_json(
    stored: Mapping[str, Any], *, facts: Mapping[str, Any], before: Sequence[Heard], memories: Mapping[int, Memory]
) -> Brief:
    """The brief that `as_json` stored.

    Args:
        facts: as they were stored with the turn.
        before: the turns before it, oldest first.
        memories: the rows of those that came to mind.

    Raises:
        KeyError: something isn't there.
    """
    heard, opinion = stored["heard"], stored["opinion"]
    return Brief(
        agent=stored["agent"],
        role=stored["role"],
        manner=stored["manner"],
        format=stored["format"],
        topic=stored["topic"],
        tone=Tone(stored["tone"]),
        temperature=Decimal(stored["temperature"]),
        place=stored["place"],
        planned=stored["planned"],
        to=stored["to"],
        heard=tuple(before[-heard:]) if heard else (),
        facts=settled({name: facts[name] for name in stored["facts"]}),
        memories=tuple(_remembered(memories[key], strength) for key, strength in stored["memories"]),
        modifiers=tuple(stored["modifiers"]),
        opinion=None if opinion is None else Opinion(Stance(opinion[0]), opinion[1], _decimal(opinion[2])),
        seed=stored["seed"],
        chars_max=stored["chars_max"],
    )


def _remembered(memory: Memory, strength: str) -> Remembered:
    return Remembered(id=memory.pk, type=memory.type, text=memory.text, strength=Decimal(strength))


def _number(text: str) -> float:
    return float(text) + 0.0  # −0.0 + 0.0 is 0.0


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _decimal(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


class Voice(Protocol):
    """Finds the words of one turn; never writes, may ask the network, and so is called outside transactions."""

    def speak(self, brief: Brief) -> Said: ...
