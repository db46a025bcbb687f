"""What a speaker is told before it speaks: the facts of the format, what was said last, what comes to its mind, what it
thinks of the proposal. Reads only; the same rows give the same brief. Finding words for it is the voices' affair.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from agents import manner, memory
from agents.memory import Recalled
from agents.models import Agent
from missions import deciding
from missions.models import Proposal
from missions.policy_keys import Policy
from missions.vocabulary import ConversationFormat
from roundtable import said, votes
from roundtable.conversation import Planned
from roundtable.formats import FORMATS
from roundtable.models import Conversation, Stance, Tone, Turn
from roundtable.voices import port
from roundtable.voices.port import Brief, Heard, Opinion, Remembered

MEMORIES_MOST = 3  # that come to mind at once
WORD_CHARS_MIN = 4  # shorter ones find everything


def brief(
    conversation: Conversation, turns: Sequence[Turn], planned: Planned, *, policy: Policy, now: datetime
) -> Brief:
    """Everything that the speaker of this turn may speak from."""
    speaker = Agent.objects.get(pk=planned.agent)
    facts = _facts(conversation, now=now)
    return Brief(
        agent=speaker.key,
        role=speaker.role,
        manner=speaker.manner,
        format=conversation.format,
        topic=conversation.topic,
        tone=planned.tone,
        temperature=conversation.temperature,
        place=planned.place - 1,
        planned=conversation.turns_planned,
        to=planned.to,
        heard=tuple(heard(turn) for turn in turns[-policy.context_turns :]),
        facts=facts,
        memories=_memories(conversation, speaker.key, facts, now=now),
        modifiers=tuple(each.text for each in manner.modifiers(agent=speaker.key, now=now)),
        opinion=opinion_of(conversation.decides, speaker.key, facts, policy=policy),
        seed=seed_of(conversation, planned.place),
        chars_max=policy.turn_chars_max,
    )


def _facts(conversation: Conversation, *, now: datetime) -> dict[str, Any]:
    """By name; of the trade that is decided in a review, else of the conversation itself."""
    known = deciding.known_of(conversation.decides or conversation.step.mission.proposal, now=now)
    return port.settled({name: known[name] for name in FORMATS[ConversationFormat(conversation.format)].facts})


def seed_of(conversation: Conversation, place: int) -> str:
    """What every dice of the words of a turn are rolled from."""
    return f"{conversation.seed}:{place}:words"


def heard(turn: Turn) -> Heard:
    """A turn as later speakers hear it."""
    return Heard(agent=turn.agent_id, text=turn.text, stance=Stance(turn.stance), tone=Tone(turn.tone))


def opinion_of(decides: Proposal | None, agent: str, facts: Mapping[str, Any], *, policy: Policy) -> Opinion | None:
    """What the rule has a voter think; whoever proposed it stands by it, and has no vote."""
    if decides is None:
        return None
    if agent == decides.agent_id:
        reason = (decides.rationale or decides.title).strip()
        return Opinion(
            Stance.AGREE,
            reason if reason.endswith((".", "!", "?", "…")) else f"{reason}.",
            decides.forecast_probability,
        )
    return votes.opinion_of(agent, decides, facts, policy=policy)


def _memories(
    conversation: Conversation, agent: str, facts: Mapping[str, Any], *, now: datetime
) -> tuple[Remembered, ...]:
    """What comes to mind about what is talked of, and hasn't been said by this speaker here; the strongest first."""
    spoken = Turn.memories.through.objects.filter(turn__conversation=conversation, turn__agent=agent)
    used = set(spoken.values_list("memory_id", flat=True))
    found = [each for each in _recalled(conversation, agent, facts, now=now) if each.memory.pk not in used]
    return tuple(
        Remembered(id=each.memory.pk, type=each.memory.type, text=each.memory.text, strength=each.strength)
        for each in found[:MEMORIES_MOST]
    )


def _recalled(conversation: Conversation, agent: str, facts: Mapping[str, Any], *, now: datetime) -> list[Recalled]:
    """By the markets talked of; else by the topic's words; else whatever is strongest."""
    tags = sorted(said.markets_of({name: facts.get(name) for name in ("talked_of", "trade")}))
    words = " or ".join(word for word in _words(conversation.topic) if len(word) >= WORD_CHARS_MIN)
    ways: list[dict[str, Any]] = [*([{"tags": tags}] if tags else []), *([{"words": words}] if words else []), {}]
    for way in ways:
        # as many more as this speaker may have used up
        found = memory.recall(agent=agent, now=now, limit=MEMORIES_MOST * conversation.turns_planned, **way)
        if found:
            return found
    return []


def _words(text: str) -> list[str]:
    return "".join(character if character.isalnum() else " " for character in text).split()
