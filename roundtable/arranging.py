"""Arranging a conversation, in the transaction that approves it: whether it makes sense, who takes part, how long it
is. Holding it is `execution`'s affair.
"""

import random
import secrets
from datetime import datetime

from agents import relationships
from agents.models import Agent
from missions import deciding, voting
from missions.drafts import HoldRoundtable
from missions.models import Proposal, Step
from missions.policy_keys import Policy
from missions.vocabulary import ConversationFormat
from roundtable import formats, votes
from roundtable.formats import FORMATS, Room
from roundtable.models import Conversation
from tradeco.common import db, events
from tradeco.common.errors import DomainError
from tradeco.common.vocabulary import EventKind

SEED_BITS = 62  # a bigint holds 63


class NothingToTalkOf(DomainError):
    code = "nothing_to_talk_of"
    title = "There is no such thing to talk about"


class NoReviewAwaited(DomainError):
    code = "no_review_awaited"
    title = "No proposal waits for this review"


class NobodyToTalk(DomainError):
    code = "nobody_to_talk"
    title = "A conversation needs two agents that are active"


def arrange_within(step: Step, *, policy: Policy, now: datetime) -> Conversation:
    """Open the conversation of a step; it waits for a table.

    Raises:
        NothingToTalkOf: `about` names a row that isn't there, or that nobody can tell of.
        NoReviewAwaited: a trade review of what no vote decides, or of what is talked over already.
        NobodyToTalk: fewer than two of those who should come are active.
    """
    db.requires_transaction()
    params = HoldRoundtable.model_validate(step.params)
    decides = _decided_by(params, now=now)
    if decides is None:
        _require_subject(step, params, now=now)
    seed = secrets.randbits(SEED_BITS)
    room = _room(decides, policy=policy, now=now)
    format, dice = FORMATS[params.format], random.Random(f"{seed}:table")
    participants = formats.seat(format, room, dice)
    if len(participants) < 2:
        raise NobodyToTalk(f"Only {', '.join(participants) or 'nobody'} would sit there.")
    conversation = Conversation.objects.create(
        step=step,
        format=params.format,
        topic=params.topic,
        about=params.about,
        decides=decides,
        participants=list(participants),
        voters=list(room.voters),
        temperature=format.temperature,
        turns_planned=formats.length(format, participants, dice),
        seed=seed,
        created_at=now,
    )
    _announce(conversation, now=now)
    return conversation


def _decided_by(params: HoldRoundtable, *, now: datetime) -> Proposal | None:
    """The proposal that a trade review decides, locked, so that no two reviews are opened of one."""
    if params.format != ConversationFormat.TRADE_REVIEW:
        return None
    name, _, key = params.about.partition(":")
    if name != "proposal":
        raise NoReviewAwaited("A trade review is about a proposal, such as proposal:12.")
    found = Proposal.objects.select_for_update(no_key=True).filter(pk=int(key)).first()
    if found is None or not voting.is_awaited(found, now=now):
        raise NoReviewAwaited(f"No vote decides {params.about}.")
    if Conversation.objects.filter(decides=found).exists():
        raise NoReviewAwaited(f"There is a review of {params.about} already.")
    return found


def _require_subject(step: Step, params: HoldRoundtable, *, now: datetime) -> None:
    if params.about and not deciding.known_of(step.mission.proposal, now=now)["talked_of"]:
        raise NothingToTalkOf(f"There is no {params.about}.")


def _room(decides: Proposal | None, *, policy: Policy, now: datetime) -> Room:
    active = tuple(Agent.objects.filter(active=True).order_by("place").values_list("key", flat=True))
    affinities = relationships.affinities(active)
    if decides is None:
        return Room(active=active, affinities=affinities)
    voters = votes.voters_of(decides, deciding.known_of(decides, now=now), policy=policy)
    assert decides.agent_id not in voters, "nobody votes on what it proposed itself"
    return Room(active=active, affinities=affinities, proposer=decides.agent_id, voters=voters)


def _announce(conversation: Conversation, *, now: datetime) -> None:
    events.emit(
        kind=EventKind.CONVERSATION_OPENED,
        subject=conversation.subject,
        now=now,
        data={
            "conversation": conversation.pk,
            "format": conversation.format,
            "topic": conversation.topic,
            "about": conversation.about,
            "participants": conversation.participants,
            "turns": conversation.turns_planned,
            "decides": conversation.decides_id,
        },
    )
