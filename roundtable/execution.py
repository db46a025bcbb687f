"""The handler of hold_roundtable: a conversation held turn by turn, one visit each, and brought to its end.

    approved → pending      arranged in the approving transaction (`arranging`)
    pending → active        a table is left (`tables`)
    active → active         one turn: words are found outside of any transaction, stored with the fence
    active → completed      distilled (`distil`), and a trade review's vote counted
    → cancelled, failed     its proposal was decided meanwhile, nobody could speak, or it stood still (`recovery`)

Nothing of a turn leaves the database, so a lost worker's step goes back to the queue, and the next visit speaks the
turn that is missing: `may_have_sent` stays False. Were it True, a step that fails again and again would end before a
person, who has nothing to find out about it, and its cap would stay spent. Attempts are counted a turn: each visit that
is recorded sets them back to 0 in its own transaction, so that a conversation outlives any number of workers, while a
turn that kills every worker fails after `step_attempts_max` of them.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

from django.conf import settings

from agents import relationships
from agents.models import Agent
from agents.relationships import Pair
from missions import policies, voting
from missions.claims import Claim
from missions.handlers import Ending, Failed, Handler, Park, Succeeded
from missions.models import Proposal, Step
from missions.policy_keys import Policy
from missions.vocabulary import ProposalStatus
from roundtable import arranging, briefing, conversation, distil, tables, votes
from roundtable.conversation import Planned
from roundtable.models import OPEN, Conversation, ConversationStatus, Turn
from roundtable.voices import lanes, port, speaking
from roundtable.voices.port import Brief, Said
from tradeco.common import crashpoints, db, events, states
from tradeco.common.vocabulary import EventKind

REASON_CHARS = 300
WAIT_MOST_SECONDS = 60.0  # for a table, between two looks


class Hold(Handler):
    def prepare(self, step: Step, *, policy: Policy, now: datetime) -> None:
        arranging.arrange_within(step, policy=policy, now=now)

    def visit(self, claim: Claim, *, now: datetime) -> Ending:
        held = _of(claim.step)
        _, policy = policies.current()
        if held.status not in OPEN:
            return Failed(code="conversation_ended", reason=f"The conversation has {held.status} already.")
        if held.decides and not voting.is_awaited(held.decides, now=now):
            return _call_off(held, _decided_meanwhile(held.decides), now=now)
        if held.decides and (left := _who_left(held, held.decides)):
            return _call_off(held, f"{', '.join(left)} isn't active any more.", now=now)
        if held.status == ConversationStatus.PENDING:
            return _wait_for_a_table(held, policy=policy, now=now)
        turns = list(held.turns.order_by("place"))
        if len(turns) >= held.turns_planned:
            return _finish(held, policy=policy, now=now)
        return _speak(held, turns, policy=policy, now=now)

    def release(self, step: Step, *, now: datetime) -> None:
        cancelled = step.code == "cancelled"
        to = ConversationStatus.CANCELLED if cancelled else ConversationStatus.FAILED
        _end_of_step(step, to=to, now=now)

    def doubt(self, step: Step, *, now: datetime) -> None:
        _end_of_step(step, to=ConversationStatus.FAILED, now=now)


def end_within(held: Conversation, *, to: ConversationStatus, code: str, reason: str, now: datetime) -> None:
    """Fail or cancel an open conversation, in the caller's transaction; a proposal that waits for it goes to people."""
    db.requires_transaction()
    states.move(held, to=to, code=code, reason=reason[:REASON_CHARS], ended_at=now)
    _, policy = policies.current()
    votes.give_up_within(held, now=now, policy=policy)
    failed = to == ConversationStatus.FAILED
    events.emit(
        kind=EventKind.CONVERSATION_FAILED if failed else EventKind.CONVERSATION_CANCELLED,
        subject=held.subject,
        now=now,
        data={
            "conversation": held.pk,
            "format": held.format,
            "code": code,
            "reason": reason[:REASON_CHARS],
            "turns": held.turns.count(),
        },
    )


# --- a visit --------------------------------------------------------------------------------------


def _wait_for_a_table(held: Conversation, *, policy: Policy, now: datetime) -> Ending:
    left = tables.is_left(held, policy=policy)
    # all that wait ask as often as one would, so that many keep no worker from other work
    pause = policy.turn_seconds * tables.waiting()
    book = _counting_anew(held, partial(_take_a_table, held.pk, policy=policy, now=now))
    return Park(
        delay=timedelta(seconds=0 if left else min(pause, WAIT_MOST_SECONDS)), reason="waits for a table", book=book
    )


def _take_a_table(key: int, *, policy: Policy, now: datetime) -> None:
    tables.take_within(Conversation.objects.get(pk=key), policy=policy, now=now)


def _speak(held: Conversation, turns: list[Turn], *, policy: Policy, now: datetime) -> Ending:
    affinities = relationships.affinities(held.participants)
    planned = conversation.next_turn(held, turns, affinities)
    told = briefing.brief(held, turns, planned, policy=policy, now=now)
    with lanes.entered() as free:
        if not free:
            return Park(delay=timedelta(seconds=policy.turn_seconds), reason="waits for the model", book=_again(held))
        said = speaking.speak(told, tokens_per_day=policy.voice_tokens_per_day, now=now)
    crashpoints.reach("conversation.spoken")
    assert 0 < len(said.text) <= told.chars_max, "a voice keeps to its limit"
    is_last = planned.place == held.turns_planned
    basis = {**port.as_json(told), **_judged_by(affinities, policy)}
    return Park(
        delay=timedelta(seconds=0 if is_last else policy.turn_seconds),
        reason=f"turn {planned.place} of {held.turns_planned}",
        book=_counting_anew(held, partial(_store, held, planned, told, said, basis, now=now)),
    )


def _judged_by(affinities: Mapping[Pair, Decimal], policy: Policy) -> dict[str, Any]:
    """How the speakers stood to each other, by which policy the turn was spoken, and which voice was to speak."""
    stood = {f"{a}-{b}": str(affinity) for (a, b), affinity in affinities.items()}
    return {"affinities": stood, "revision": policy.revision, "voice": settings.VOICE}


def _store(
    held: Conversation, planned: Planned, told: Brief, said: Said, basis: Mapping[str, Any], *, now: datetime
) -> None:
    """A turn with all that it was spoken from (`replay_talk` speaks it again)."""
    exchanges = [*said.failed, *([said.exchange] if said.exchange else [])]
    for asked in exchanges:
        asked.save(force_insert=True)
    turn = Turn.objects.create(
        conversation=held,
        place=planned.place,
        agent_id=planned.agent,
        to_id=planned.to,
        text=said.text,
        stance=said.stance,
        tone=planned.tone,
        probability=said.probability,
        voice=said.voice,
        fell_back=said.fell_back,
        facts=dict(told.facts),
        brief={**basis, "exchanges": [asked.pk for asked in exchanges]},
        exchange=said.exchange,
        at=now,
    )
    turn.memories.add(*said.memories)
    Conversation.objects.filter(pk=held.pk).update(last_turn_at=now)
    _tell(held, turn, now=now)
    crashpoints.reach("conversation.turn_written")


def _tell(held: Conversation, turn: Turn, *, now: datetime) -> None:
    data: dict[str, Any] = {
        "conversation": held.pk,
        "format": held.format,
        "place": turn.place,
        "of": held.turns_planned,
        "agent": turn.agent_id,
        "to": turn.to_id,
        "text": turn.text,
        "stance": str(turn.stance),
        "tone": str(turn.tone),
        "probability": None if turn.probability is None else str(turn.probability),
    }
    events.emit(kind=EventKind.TURN_SPOKEN, subject=held.subject, agent=turn.agent_id, now=now, data=data)


# --- the end --------------------------------------------------------------------------------------


def _finish(held: Conversation, *, policy: Policy, now: datetime) -> Ending:
    result = {"conversation": held.pk, "format": held.format, "turns": held.turns_planned}
    return Succeeded(result=result, book=partial(_complete, held.pk, policy=policy, now=now))


def _complete(key: int, *, policy: Policy, now: datetime) -> None:
    held = Conversation.objects.select_for_update(of=("self",)).select_related("decides").get(pk=key)
    states.move(held, to=ConversationStatus.COMPLETED, ended_at=now)
    distil.distil_within(held, now=now, policy=policy)
    if held.decides is not None:
        votes.conclude_within(held, now=now, policy=policy)


def _call_off(held: Conversation, why: str, *, now: datetime) -> Ending:
    """Nothing went wrong: the step succeeds, and nobody learns a lesson from it."""
    return Succeeded(
        result={"conversation": held.pk, "format": held.format, "called_off": why},
        book=partial(_cancel, held.pk, why, now=now),
    )


def _cancel(key: int, why: str, *, now: datetime) -> None:
    held = Conversation.objects.select_for_update().get(pk=key)
    end_within(held, to=ConversationStatus.CANCELLED, code="decided_meanwhile", reason=why, now=now)


def _decided_meanwhile(proposal: Proposal) -> str:
    if proposal.status == ProposalStatus.PENDING:
        return f"{proposal.title}: the deadline has left it to people."
    return f"{proposal.title}: {proposal.status} meanwhile by {proposal.decided_by or 'others'}."


def _who_left(held: Conversation, proposal: Proposal) -> list[str]:
    """Proposer and voters that were switched off meanwhile: people decide then."""
    concerned = {proposal.agent_id, *held.voters}
    active = Agent.objects.filter(key__in=concerned, active=True).values_list("key", flat=True)
    return sorted(concerned - set(active))


def _end_of_step(step: Step, *, to: ConversationStatus, now: datetime) -> None:
    held = Conversation.objects.select_for_update().filter(step=step, status__in=OPEN).first()
    if held is not None:
        end_within(held, to=to, code=step.code or "failed", reason=step.reason, now=now)


def _of(step: Step) -> Conversation:
    return Conversation.objects.select_related("decides", "step__mission__proposal").get(step=step)


def _again(held: Conversation) -> Callable[[], None]:
    return _counting_anew(held, lambda: None)


def _counting_anew(held: Conversation, book: Callable[[], None]) -> Callable[[], None]:
    """What is recorded sets the step's attempts back: they are counted a turn."""

    def counting_anew() -> None:
        book()
        Step.objects.filter(pk=held.step_id).update(attempts=0)

    return counting_anew
