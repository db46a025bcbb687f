"""A conversation spoken again, turn by turn: who spoke, from which brief, in which words. Nobody is asked, nothing is
written: each turn's brief stands with it, and a language model answers what it answered then.

What was so when a turn was spoken is an input: facts, what came to mind, how the speakers stood to each other, and
whether the language model could be asked.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from agents.models import Memory
from agents.relationships import Pair
from missions import policies
from missions.policy_keys import Policy
from missions.rejudging import Compared
from missions.vocabulary import ConversationFormat
from roundtable import briefing, formats
from roundtable.conversation import next_turn
from roundtable.formats import FORMATS, Room
from roundtable.models import Conversation, ConversationStatus, Exchange, Turn
from roundtable.voices import openai, port, speaking
from roundtable.voices.port import Brief, Opinion, Said
from tradeco.common.errors import DomainError

NOTHING = {"": ""}  # no prompt has this hash: the model was to speak, and couldn't be asked


class NotReplayable(DomainError):
    code = "not_replayable"
    title = "What this decision was taken from isn't there any more"


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a turn was spoken from, as it stands with the turn."""

    brief: Brief
    affinities: Mapping[Pair, Decimal]
    policy: Policy
    by_model: bool
    exchanges: Sequence[Exchange]


def talk(conversation: Conversation) -> Iterator[Compared]:
    """A conversation as far as it came.

    Raises:
        NotReplayable: a turn doesn't say what it was spoken from, or a model's answer was pruned.
    """
    turns = list(conversation.turns.order_by("place").prefetch_related("memories"))
    yield from _table(conversation)
    yield Compared("number of turns", len(turns), _number(conversation, len(turns)))
    for place, turn in enumerate(turns):
        yield from _turn(conversation, turns[:place], turn)


def _number(conversation: Conversation, spoken: int) -> int:
    planned = conversation.turns_planned
    return planned if conversation.status == ConversationStatus.COMPLETED else min(spoken, planned)


def _table(conversation: Conversation) -> Iterator[Compared]:
    """Who sits in a trade review, and how long it is; elsewhere that hangs on who was there, which isn't kept."""
    if conversation.format != ConversationFormat.TRADE_REVIEW or conversation.decides is None:
        return
    present, voters = tuple(conversation.participants), tuple(conversation.voters)
    room = Room(active=present, affinities={}, proposer=conversation.decides.agent_id, voters=voters)
    format, dice = FORMATS[ConversationFormat.TRADE_REVIEW], random.Random(f"{conversation.seed}:table")
    seated = formats.seat(format, room, dice)
    yield Compared(
        "who sits at the table",
        {"participants": conversation.participants, "turns": conversation.turns_planned},
        {"participants": list(seated), "turns": formats.length(format, seated, dice)},
    )


# --- a turn ---------------------------------------------------------------------------------------


def _turn(conversation: Conversation, before: Sequence[Turn], turn: Turn) -> Iterator[Compared]:
    kept = _kept(turn, before)
    yield _who_speaks(conversation, before, turn, kept)
    yield _what_it_is_told(conversation, before, turn, kept)
    yield from _opinion(conversation, turn, kept)
    said = _speak(turn, kept)
    yield _what_is_asked(turn, kept, said)
    yield _words(turn, said)


def _who_speaks(conversation: Conversation, before: Sequence[Turn], turn: Turn, kept: _Kept) -> Compared:
    again = next_turn(conversation, before, kept.affinities)
    return Compared(
        f"who speaks at turn {turn.place}",
        {"place": turn.place, "agent": turn.agent_id, "to": turn.to_id, "tone": str(turn.tone)},
        {"place": again.place, "agent": again.agent, "to": again.to, "tone": str(again.tone)},
    )


def _what_it_is_told(conversation: Conversation, before: Sequence[Turn], turn: Turn, kept: _Kept) -> Compared:
    """What a brief repeats of the rows around it, and what policy says of it."""
    brief = kept.brief
    told = {
        "agent": brief.agent,
        "to": brief.to,
        "tone": str(brief.tone),
        "format": brief.format,
        "topic": brief.topic,
        "temperature": brief.temperature,
        "planned": brief.planned,
        "seed": brief.seed,
        "heard": len(brief.heard),
        "chars_max": brief.chars_max,
    }
    rows = {
        "agent": turn.agent_id,
        "to": turn.to_id,
        "tone": str(turn.tone),
        "format": conversation.format,
        "topic": conversation.topic,
        "temperature": conversation.temperature,
        "planned": conversation.turns_planned,
        "seed": briefing.seed_of(conversation, len(before) + 1),
        "heard": min(len(before), kept.policy.context_turns),
        "chars_max": kept.policy.turn_chars_max,
    }
    return Compared(_named("what {} was told before turn {}", turn), told, rows)


def _opinion(conversation: Conversation, turn: Turn, kept: _Kept) -> Iterator[Compared]:
    if conversation.decides is None and kept.brief.opinion is None:
        return
    again = briefing.opinion_of(conversation.decides, turn.agent_id, kept.brief.facts, policy=kept.policy)
    yield Compared(
        _named("what {} thinks by rule at turn {}", turn), _opinion_told(kept.brief.opinion), _opinion_told(again)
    )


def _opinion_told(opinion: Opinion | None) -> dict[str, Any] | None:
    if opinion is None:
        return None
    return {"stance": str(opinion.stance), "reason": opinion.reason, "probability": opinion.probability}


def _speak(turn: Turn, kept: _Kept) -> Said:
    answers = {asked.prompt_hash: asked.answer for asked in kept.exchanges} or (NOTHING if kept.by_model else {})
    model = kept.exchanges[0].model if kept.exchanges else ""
    return speaking.speak(kept.brief, tokens_per_day=0, now=turn.at, recorded=answers, model=model)


def _what_is_asked(turn: Turn, kept: _Kept, said: Said) -> Compared:
    asked = (*said.failed, *([said.exchange] if said.exchange else []))
    return Compared(
        _named("what {}'s language model was asked for turn {}", turn),
        {"prompts": [each.prompt_hash for each in kept.exchanges], "valid": [each.valid for each in kept.exchanges]},
        {"prompts": [each.prompt_hash for each in asked], "valid": [each.valid for each in asked]},
    )


def _words(turn: Turn, said: Said) -> Compared:
    return Compared(
        _named("what {} said at turn {}", turn),
        {
            "text": turn.text,
            "stance": str(turn.stance),
            "probability": turn.probability,
            "voice": turn.voice,
            "fell_back": turn.fell_back,
            "memories": sorted(each.pk for each in turn.memories.all()),
        },
        {
            "text": said.text,
            "stance": str(said.stance),
            "probability": said.probability,
            "voice": said.voice,
            "fell_back": said.fell_back,
            "memories": sorted(said.memories),
        },
    )


def _named(what: str, turn: Turn) -> str:
    return what.format(turn.agent_id, turn.place)


# --- what stands with a turn ----------------------------------------------------------------------


def _kept(turn: Turn, before: Sequence[Turn]) -> _Kept:
    if not turn.brief:
        raise NotReplayable(f"Turn {turn.place} of {turn.conversation_id} was stored without its brief.")
    try:
        return _Kept(
            brief=_brief(turn, before),
            affinities={_pair(names): Decimal(stood) for names, stood in turn.brief["affinities"].items()},
            policy=policies.at(turn.brief["revision"]),
            by_model=turn.brief["voice"] == openai.NAME,
            exchanges=_exchanges(turn),
        )
    except (LookupError, TypeError, ValueError, ArithmeticError) as exc:
        why = f"The brief of turn {turn.place} of {turn.conversation_id} can't be read: {type(exc).__name__}."
        raise NotReplayable(why) from exc


def _brief(turn: Turn, before: Sequence[Turn]) -> Brief:
    memories = Memory.objects.in_bulk([key for key, _ in turn.brief["memories"]])
    heard = [briefing.heard(each) for each in before]
    return port.of_json(turn.brief, facts=turn.facts, before=heard, memories=memories)


def _exchanges(turn: Turn) -> list[Exchange]:
    """What a language model was asked for this turn, in that order."""
    keys = turn.brief["exchanges"]
    found = Exchange.objects.in_bulk(keys)
    if len(found) < len(keys):
        raise NotReplayable(f"What a model answered for turn {turn.place} of {turn.conversation_id} was pruned.")
    return [found[key] for key in keys]


def _pair(names: str) -> Pair:
    a, _, b = names.partition("-")
    return a, b
