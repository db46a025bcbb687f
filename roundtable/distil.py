"""What remains of a conversation: how its speakers stand to each other, what they remember, what is to be done.

Everything has its cause, which names the conversation, so that a distillation that is done again does nothing twice.
A trade review leaves no memories: what it was worth, the outcome of its trade will teach.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from agents import memory, relationships
from agents.models import MemoryType, Shift
from missions.policy_keys import Policy
from missions.vocabulary import ConversationFormat
from roundtable import actions, drift, said
from roundtable.models import Conversation, Stance, Tone, Turn
from tradeco.common import crashpoints, db, events
from tradeco.common.vocabulary import EventKind

TEACHES: Mapping[ConversationFormat, MemoryType] = {
    ConversationFormat.MORNING_STANDUP: MemoryType.INSIGHT,
    ConversationFormat.POSITION_REVIEW: MemoryType.INSIGHT,
    ConversationFormat.POST_MORTEM: MemoryType.LESSON,
    ConversationFormat.DEBATE: MemoryType.INSIGHT,
    ConversationFormat.STRATEGY_SESSION: MemoryType.INSIGHT,
    ConversationFormat.WATERCOOLER: MemoryType.PREFERENCE,
}
STRATEGY_FROM = Decimal("0.75")  # as sure as this, what a strategy session says is a strategy
DOUBTED, TRUSTED = Decimal("0.40"), Decimal("0.90")  # confidence where all disagree, and where all agree


@dataclass(frozen=True, slots=True)
class Kept:
    """What one turn is worth remembering as."""

    turn: Turn
    confidence: Decimal


def distil_within(conversation: Conversation, *, now: datetime, policy: Policy) -> None:
    """Draw the conclusions of a conversation that is over, in the transaction that ends it."""
    db.requires_transaction()
    turns = list(conversation.turns.order_by("place").prefetch_related("memories"))
    shifts = _shift(conversation, turns, policy=policy, now=now)
    crashpoints.reach("distil.shifted")
    kept = _remember(conversation, turns, policy=policy, now=now)
    crashpoints.reach("distil.remembered")
    asked = actions.propose_within(conversation, turns, policy=policy, now=now)
    events.emit(
        kind=EventKind.CONVERSATION_COMPLETED,
        subject=conversation.subject,
        now=now,
        data={
            "conversation": conversation.pk,
            "format": conversation.format,
            "topic": conversation.topic,
            "turns": len(turns),
            "shifts": {str(shift.relationship).replace(" – ", "-"): str(shift.delta) for shift in shifts},
            "memories": kept,
            "actions": [proposal.pk for proposal in asked],
        },
    )


def keep(conversation: Conversation, turns: Sequence[Turn], *, most: int) -> list[Kept]:
    """What is worth remembering, of each speaker its best turn: one with a figure, the more agreed to the better."""
    if ConversationFormat(conversation.format) not in TEACHES:
        return []
    sure = {agent: _confidence(agent, turns) for agent in {turn.agent_id for turn in turns}}
    best = [Kept(turn, sure[turn.agent_id]) for turn in _best_of_each(turns)]
    surest = sorted(best, key=lambda each: (-each.confidence, each.turn.place))[:most]
    return sorted(surest, key=lambda each: each.turn.agent_id)  # agents are locked in the order of their keys


# --- inside ---------------------------------------------------------------------------------------


def _shift(conversation: Conversation, turns: Sequence[Turn], *, policy: Policy, now: datetime) -> list[Shift]:
    moved = [
        relationships.drift(a=a, b=b, delta=delta, cause=conversation.subject, most=policy.drift_max, now=now)
        for (a, b), delta in drift.by_pair(turns, of_a_proposal=conversation.decides_id is not None).items()
    ]
    return [shift for shift in moved if shift is not None]


def _remember(conversation: Conversation, turns: Sequence[Turn], *, policy: Policy, now: datetime) -> int:
    kept = [
        memory.remember(
            agent=each.turn.agent_id,
            type=_type(conversation, each.confidence),
            text=each.turn.text,
            confidence=each.confidence,
            cause=f"{conversation.subject}:{each.turn.place}",
            now=now,
            floor=policy.memory_floor,
            most=policy.memories_live_max,
            tags=[*said.markets(each.turn), conversation.format],
        )
        for each in keep(conversation, turns, most=policy.memories_per_conversation_max)
    ]
    return len([each for each in kept if each is not None])


def _type(conversation: Conversation, confidence: Decimal) -> MemoryType:
    format = ConversationFormat(conversation.format)
    if format == ConversationFormat.STRATEGY_SESSION and confidence >= STRATEGY_FROM:
        return MemoryType.STRATEGY
    return TEACHES[format]


def _best_of_each(turns: Sequence[Turn]) -> Iterator[Turn]:
    """Of each speaker the finding that was answered best, the later of two as good."""
    answers = {answer.place - 1: _answered(Stance(answer.stance)) for answer in turns}
    for agent in sorted({turn.agent_id for turn in turns}):
        own = [turn for turn in turns if turn.agent_id == agent and _is_its_own_finding(turn)]
        if own:
            yield max(own, key=lambda turn: (answers.get(turn.place, 0), turn.place))


def _is_its_own_finding(turn: Turn) -> bool:
    """One with a figure, and no memory told again: an echo would be remembered, confirmed and told for ever."""
    return said.has_a_figure(turn) and not turn.memories.all()


def _answered(stance: Stance) -> int:
    return {Stance.AGREE: 1, Stance.NEUTRAL: 0}.get(stance, -1)


def _confidence(agent: str, turns: Sequence[Turn]) -> Decimal:
    """By the agreement that the agent met: (1 + agreed) ÷ (2 + agreed + disagreed), from .40 to .90.

    A challenge counts as half a disagreement.
    """
    answers = [turn for turn in turns if turn.to_id == agent]
    agreed = Decimal(sum(turn.stance == Stance.AGREE for turn in answers))
    disagreed = sum((_weight_against(turn) for turn in answers), Decimal(0))
    share = (1 + agreed) / (2 + agreed + disagreed)
    return (DOUBTED + (TRUSTED - DOUBTED) * share).quantize(Decimal("0.001"))


def _weight_against(turn: Turn) -> Decimal:
    if turn.stance in (Stance.DISAGREE, Stance.VETO):
        return Decimal(1)
    return Decimal("0.5") if turn.tone == Tone.CHALLENGE and turn.stance == Stance.NEUTRAL else Decimal(0)
