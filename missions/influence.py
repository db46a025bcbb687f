"""What an agent remembers of a market before it enters: lessons make it less sure, strategies and patterns surer.

Whether it asks its memory at all is a roll of the dice by policy, so that what memories are worth can be measured, and
switched off. What comes to mind is `agents.memory`'s affair; whether the entry may happen, the gates'.
"""

import random
from collections.abc import Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import NamedTuple

from agents import memory
from agents.memory import Recalled
from agents.models import Memory, MemoryType
from missions.drafts import Draft, ExecuteTrade
from missions.policy_keys import Policy

MOST = Decimal("0.05")  # of confidence, all memories together: what is remembered shades a decision, it doesn't make it
MEMORIES_MOST = 3  # that come to mind before one entry; with more of them each would hardly count
WORDS_MOST = 160  # characters of a memory that a rationale quotes
RATIONALE_MOST = 4000  # as a draft's schema says
_STEP = Decimal("0.001")  # as proposals and influences store it
SIGN = {MemoryType.LESSON: -1, MemoryType.STRATEGY: 1, MemoryType.PATTERN: 1}
"""Types that say whether an entry is a good idea; insights and preferences don't."""


class Considered(NamedTuple):
    """A draft after its agent has asked its memory: each memory's id with what it added to the confidence."""

    draft: Draft
    memories: tuple[tuple[int, Decimal], ...] = ()


def consider(draft: Draft, *, seed: str, policy: Policy, now: datetime) -> Considered:
    """Let the agent of an entry ask its memory about the market; what is no entry stays as it is.

    Args:
        seed: of the dice that say whether it asks; the same seed, memories and moment say the same again.
    """
    market = entered(draft)
    if market is None or not asks(seed=seed, policy=policy):
        return Considered(draft)
    recalled = memory.recall(
        agent=draft.agent,
        now=now,
        limit=MEMORIES_MOST,
        types=tuple(SIGN),
        tags=(market,),
        confidence_min=policy.memory_influence_confidence_min,
    )
    return _shaded(draft, recalled)


def asks(*, seed: str, policy: Policy) -> bool:
    """Whether the dice have an agent ask its memory."""
    return random.Random(f"influence:{seed}").random() < policy.memory_influence


def entered(draft: Draft) -> str | None:
    """The market that the draft enters, if it enters one."""
    for step in draft.steps:
        params = step.typed
        if isinstance(params, ExecuteTrade) and params.side == "buy":
            return params.market.upper()
    return None


def effects(confidence: Decimal, recalled: Sequence[Recalled]) -> list[tuple[Memory, Decimal]]:
    """What each memory adds to a confidence; those that add nothing are left out.

    One after the other, so that what each is said to have added is what it did add, at the end of the scale too.
    """
    counted = []
    for each in recalled:
        wanted = confidence + SIGN[MemoryType(each.memory.type)] * weight(each.strength, of=len(recalled))
        effect = min(max(wanted, Decimal(0)), Decimal(1)) - confidence
        if effect:
            confidence += effect
            counted.append((each.memory, effect))
    return counted


def weight(strength: Decimal, *, of: int = 1) -> Decimal:
    """What one of so many memories may add to a confidence or take from it: strength × 0.05 ÷ their number."""
    return (strength * MOST / of).quantize(_STEP, rounding=ROUND_DOWN)


def words(remembered: Memory) -> str:
    """A memory as a title or a rationale names it: its number, and as much of its words as fits there."""
    text = "".join(character for character in " ".join(remembered.text.split()) if character.isprintable())
    return f"#{remembered.pk}: {text if len(text) <= WORDS_MOST else text[: WORDS_MOST - 1] + '…'}"


def remembering(rationale: str, remembered: Sequence[Memory]) -> str:
    """A rationale that ends by naming memories; where both don't fit, its own end gives way."""
    named = f"Remembers {'; '.join(map(words, remembered))}"
    return f"{rationale[: RATIONALE_MOST - len(named) - 1]} {named}".strip()


def _shaded(draft: Draft, recalled: Sequence[Recalled]) -> Considered:
    counted = effects(draft.confidence, recalled)
    if not counted:
        return Considered(draft)
    confidence = draft.confidence + sum(effect for _, effect in counted)
    said = remembering(draft.rationale, [remembered for remembered, _ in counted])
    changed = {**draft.model_dump(), "confidence": confidence, "rationale": said}
    return Considered(Draft.model_validate(changed), tuple((remembered.pk, effect) for remembered, effect in counted))
