"""Who decides a proposal: nobody (work without risk, protective exits), a vote, people.

`settings.DECIDERS` names who votes on a step kind. A decider answers at once, or takes its time (`Decided.by`): then
the proposal waits for `conclude_within` until its deadline, after which people decide (`escalate`, a phase of the
heartbeat). What a decision does is `deciding`'s affair.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.conf import settings

from missions import approvals, deciding
from missions.gates import Case, Known
from missions.models import Proposal
from missions.policy_keys import Policy
from missions.vocabulary import ProposalStatus
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind
from tradeco.common.wiring import load

BY_POLICY = "Policy approves this kind."
LATE = "The roundtable didn't decide in time."
EXPIRED = "Nobody decided in time."


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decider says of a proposal: approve, reject, or None for "I can't say"; `by`: it will say until then."""

    approve: bool | None
    code: str = ""
    reason: str = ""
    by: datetime | None = None


def route(proposal: Proposal, known: Known, *, policy: Policy) -> None:
    """Let policy say who decides, in the submitting transaction."""
    now = known.now
    if needs_nobody(known.case, policy=policy):
        deciding.approve(proposal, by="policy", reason=BY_POLICY, policy=policy, now=now)
        return
    said = _vote(proposal, known, policy=policy)
    if said.by is not None:
        _await(proposal, said, now=now)
    else:
        _settle(proposal, said, policy=policy, now=now)


def needs_nobody(case: Case, *, policy: Policy) -> bool:
    """Whether policy approves by itself: work that risks nothing, and protective exits."""
    return case.protective or set(case.draft.kinds) <= set(policy.auto_approve_kinds)


def deciders(case: Case, *, policy: Policy) -> list[str]:
    """Paths of who votes on the kinds that need a vote; empty where people must decide."""
    voting = [kind for kind in case.draft.kinds if kind in policy.needs_vote_kinds]
    return sorted({settings.DECIDERS[kind.value] for kind in voting if kind.value in settings.DECIDERS})


def outcome(said: Decided, *, value_usd: Decimal, policy: Policy) -> bool | None:
    """What a vote comes to: a no rejects, a yes approves what is worth less than people must see; None: they decide."""
    if said.approve is True and value_usd >= policy.human_from_usd:
        return None
    return said.approve


def conclude_within(*, proposal_id: int, said: Decided, policy: Policy, now: datetime) -> Proposal:
    """What the vote that was awaited came to. Says nothing where people were first; people decide where it is late."""
    db.requires_transaction()
    proposal = Proposal.objects.select_for_update().get(pk=proposal_id)
    if is_awaited(proposal, now=now):
        _look_at_its_worth_again(proposal, now=now)
        _settle(proposal, said, policy=policy, now=now)
    elif proposal.status == ProposalStatus.PENDING and proposal.vote_by is not None:
        deciding.wait_for_people(proposal, LATE, now=now)
    return proposal


def is_awaited(proposal: Proposal, *, now: datetime) -> bool:
    """Whether a vote may still decide it."""
    if proposal.status != ProposalStatus.PENDING or proposal.vote_by is None:
        return False
    return now < min(proposal.vote_by, proposal.expires_at)


def escalate(*, now: datetime, limit: int) -> dict[str, int]:
    """Leave to people what no vote has decided by its deadline; a phase of the heartbeat."""
    with db.transaction():
        late = Proposal.objects.select_for_update(skip_locked=True).filter(
            status=ProposalStatus.PENDING, vote_by__lte=now
        )
        overdue = list(late.order_by("vote_by")[:limit])
        for proposal in overdue:
            deciding.wait_for_people(proposal, LATE, now=now)
    return {"escalated": len(overdue)}


def _await(proposal: Proposal, said: Decided, *, now: datetime) -> None:
    proposal.vote_by = said.by
    proposal.save(update_fields=["vote_by"])
    data = {"title": proposal.title, "value_usd": str(proposal.value_usd), "reason": said.reason}
    events.emit(
        kind=EventKind.PROPOSAL_TALKED_OVER, subject=proposal.subject, agent=proposal.agent_id, now=now, data=data
    )


def _look_at_its_worth_again(proposal: Proposal, *, now: datetime) -> None:
    """What has become worth more while it was talked over may be people's to decide by now."""
    worth = approvals.worth(deciding.known_of(proposal, now=now))
    if worth > proposal.value_usd:
        proposal.value_usd = worth
        proposal.save(update_fields=["value_usd"])


def _settle(proposal: Proposal, said: Decided, *, policy: Policy, now: datetime) -> None:
    match outcome(said, value_usd=proposal.value_usd, policy=policy):
        case True:
            deciding.approve(proposal, by="vote", reason=said.reason, policy=policy, now=now)
        case False:
            deciding.reject(proposal, code=said.code, reason=said.reason, by="vote", now=now)
        case None:
            deciding.wait_for_people(proposal, said.reason, now=now)


def _vote(proposal: Proposal, known: Known, *, policy: Policy) -> Decided:
    """Let the deciders vote on the kinds that need one; one no rejects, one "can't say" asks people."""
    paths = deciders(known.case, policy=policy)
    if not paths:
        return Decided(approve=None, reason="No vote settles this kind: people must decide.")
    said: list[Decided] = [load(path)(proposal, known, policy=policy) for path in paths]
    awaited = [each for each in said if each.by is not None]
    if awaited:
        return awaited[0]
    for answer in (False, None):
        for each in said:
            if each.approve is answer:
                return Decided(approve=answer, code=each.code, reason=each.reason)
    return Decided(approve=True, reason=" ".join(each.reason for each in said))
