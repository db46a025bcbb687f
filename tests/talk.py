"""How tests let agents talk: proposals of conversations, a voice that needs nothing, conversations in memory."""

import random
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from agents.opening import FIRST_AFFINITIES, SIX
from agents.relationships import Pair
from missions.models import Proposal, Step
from missions.vocabulary import ConversationFormat
from roundtable import conversation as conversation_module
from roundtable import formats
from roundtable.formats import FORMATS, Room
from roundtable.models import Conversation, Stance, Tone, Turn
from roundtable.voices.port import Brief, Said
from tests import cast
from tradeco.common import db

SIX_KEYS = tuple(agent.key for agent in SIX)
AFFINITIES: Mapping[Pair, Decimal] = {pair: Decimal(first) for pair, first in FIRST_AFFINITIES.items()}
EVERY_FORMAT = [each for each in ConversationFormat if each != ConversationFormat.TRADE_REVIEW]


# --- in the database ------------------------------------------------------------------------------


def hold(format: str = "watercooler", *, topic: str = "", about: str = "", **kwargs: Any) -> Proposal:
    """Propose a conversation."""
    params = {"format": format, "topic": topic, "about": about}
    draft = cast.draft(agent="atlas", title="Talk", steps=[{"kind": "hold_roundtable", "params": params}])
    return cast.submit(draft, source="trigger", **kwargs)


def held(format: str = "watercooler", **kwargs: Any) -> Conversation:
    """A conversation that was arranged and waits for a table."""
    proposal = hold(format, **kwargs)
    assert proposal.status == "approved", (proposal.code, proposal.reason)
    return Conversation.objects.get(step__mission__proposal=proposal)


def quickly(**policies: Any) -> None:
    """Turns follow each other at once."""
    cast.force_policy(turn_seconds=0.001, **policies)


def visit(times: int = 1, *, of: Conversation | None = None) -> list[str]:
    """So many visits of whatever is due, or of one conversation; how each ended."""
    from missions import execution

    endings = []
    for _ in range(times):
        Step.objects.filter(finished_at=None).update(run_after=db.now() if of is None else cast.later(hours=1))
        if of is not None:
            Step.objects.filter(pk=of.step_id).update(run_after=db.now())
        endings.append(execution.run(cast.claim()))
    return endings


def said_of(conversation: Conversation) -> list[Turn]:
    return list(conversation.turns.order_by("place"))


# --- voices ---------------------------------------------------------------------------------------

TEXTS = (
    "SOL stands at 152.40, up 1.2 % over the day.",
    "We made 12.50 USD on JUP, and paid 0.80 for it.",
    "I would rather wait.",
    "Exposure is 12.0 % of equity; 30 % is allowed.",
)


def plain(brief: Brief, *, tokens_per_day: int = 0, now: datetime | None = None) -> Said:
    """A valid voice: words, stance and probability by the dice of the turn."""
    dice = random.Random(brief.seed)
    stance = dice.choice([Stance.AGREE, Stance.NEUTRAL, Stance.DISAGREE])
    if brief.opinion is not None:
        stance = brief.opinion.stance
    return Said(
        text=dice.choice(TEXTS)[: brief.chars_max],
        stance=stance,
        probability=brief.opinion.probability if brief.opinion else None,
        voice="plain",
        memories=tuple(each.id for each in brief.memories[:1]),
    )


def saying(stance: Stance, text: str = "It is 42."):  # type: ignore[no-untyped-def]
    """A voice that always says the same."""

    def speak(brief: Brief, *, tokens_per_day: int, now: datetime) -> Said:
        return Said(text=text, stance=stance, probability=None, voice="plain")

    return speak


# --- in memory ------------------------------------------------------------------------------------


def arranged(format: ConversationFormat, seed: int, *, room: Room | None = None) -> Conversation:
    """A conversation as it would be arranged, stored nowhere."""
    dice = random.Random(f"{seed}:table")
    room = room or Room(active=SIX_KEYS, affinities=AFFINITIES)
    participants = formats.seat(FORMATS[format], room, dice)
    return Conversation(
        pk=seed,
        format=format,
        participants=list(participants),
        voters=list(room.voters),
        turns_planned=formats.length(FORMATS[format], participants, dice),
        seed=seed,
    )


def review_room(dice: random.Random) -> Room:
    """Who comes to a trade review, with two to five voters."""
    proposer = dice.choice(SIX_KEYS)
    others = [key for key in SIX_KEYS if key != proposer]
    return Room(SIX_KEYS, AFFINITIES, proposer=proposer, voters=tuple(dice.sample(others, dice.randint(2, 5))))


def spoken(conversation: Conversation, affinities: Mapping[Pair, Decimal]) -> list[Turn]:
    """The whole conversation, with stances by the dice."""
    turns: list[Turn] = []
    while len(turns) < conversation.turns_planned:
        planned = conversation_module.next_turn(conversation, turns, affinities)
        dice = random.Random(f"{conversation.seed}:{planned.place}:words")
        turns.append(
            turn(planned.agent, planned.to, dice.choice(list(Stance)), planned.tone, planned.place, dice.choice(TEXTS))
        )
    return turns


def turn(
    agent: str,
    to: str | None,
    stance: Stance = Stance.NEUTRAL,
    tone: Tone = Tone.PLAIN,
    place: int = 1,
    text: str = "1",
) -> Turn:
    return Turn(place=place, agent_id=agent, to_id=to, text=text, stance=stance, tone=tone)
