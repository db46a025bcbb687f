"""The one door: every proposal enters by `submit`, and is decided by policy, by a vote or by people.

    validate (drafts) → gates, each with its verdict → auto-approve | vote | people
    approval: gates again on fresh facts → mission and steps → reservations → caps spent → event, one transaction

A refusal is a stored decision with a code and a reason, never a silent drop. Pending proposals hold no cap.
"""

import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError

from agents.models import Agent
from missions import approvals, caps, drafts, gates, handlers, planning, policies
from missions.drafts import Draft
from missions.gates import Case, Deny, Judgement, Known
from missions.models import Approval, Mission, Proposal, Verdict
from missions.policy_keys import Policy
from missions.vocabulary import ProposalStatus
from tradeco.common import db, events, states
from tradeco.common.errors import DomainError, InvalidInput, NotFound
from tradeco.common.vocabulary import EventKind
from tradeco.common.wiring import load


class AlreadyDecided(DomainError):
    code = "already_decided"
    title = "This proposal is decided already"


class ProposalExpired(DomainError):
    code = "proposal_expired"
    title = "This proposal has expired"


class OwnProposal(DomainError):
    code = "own_proposal"
    status = 403
    title = "From the four-eyes threshold on, authors can't approve what they proposed"


class ApprovedAlready(DomainError):
    code = "approved_already"
    title = "You have approved this already; another person is needed"


@dataclass(frozen=True, slots=True)
class Decided:
    """What a decider says of a proposal: approve, reject, or None for "I can't say"."""

    approve: bool | None
    code: str = ""
    reason: str = ""
    facts: dict[str, Any] = field(default_factory=dict)


def submit(
    *,
    draft: Draft,
    source: str,
    now: datetime,
    author: AbstractBaseUser | None = None,
    protective: bool = False,
    cause: str = "",
) -> Proposal:
    """Hand in a proposal and let policy route it, in a transaction of its own.

    Args:
        draft: what is proposed (`drafts.read`).
        source: one of `ProposalSource`.
        author: the person who proposes, also when speaking for an agent.
        protective: a stop, take-profit, reduce or close on halt; only the company itself may say so.
        cause: what called for it; the same cause gives back the proposal that stands.

    Raises:
        InvalidInput: there is no such agent, or it is inactive.
    """
    with db.transaction():
        return submit_within(draft=draft, source=source, now=now, author=author, protective=protective, cause=cause)


def submit_within(
    *,
    draft: Draft,
    source: str,
    now: datetime,
    author: AbstractBaseUser | None = None,
    protective: bool = False,
    cause: str = "",
) -> Proposal:
    """`submit` inside the caller's transaction, so that what called for it commits with it or not at all."""
    db.requires_transaction()
    standing = Proposal.objects.filter(cause=cause).first() if cause else None
    if standing is not None:
        return standing
    _require_agent(draft.agent)
    revision, policy = policies.current()
    known = Known(Case(draft=draft, protective=protective), now=now)
    try:
        with db.savepoint():
            proposal = _create(known, source=source, author=author, cause=cause, revision=revision, policy=policy)
    except IntegrityError:
        if not cause:
            raise
        return Proposal.objects.get(cause=cause)  # another process answered the same cause just now
    judgements = gates.judge(known, policy=policy)
    _record(proposal, judgements, stage=Verdict.Stage.SUBMISSION, now=now)
    denied = gates.first_denial(judgements)
    if denied:
        _reject(proposal, code=denied.code, reason=denied.reason, by="a gate", now=now)
    else:
        _route(proposal, known, policy=policy)
    return proposal


def approve(*, proposal_id: int, approver: AbstractBaseUser, reason: str, now: datetime) -> Proposal:
    """A person's yes. From the four-eyes threshold on the second yes approves, and neither may be the author's.

    Returns:
        The proposal: approved, or rejected where the gates refuse it by now, or still pending the second person.

    Raises:
        AlreadyDecided, ProposalExpired, OwnProposal, ApprovedAlready, NotFound
    """
    with db.transaction():
        return approve_within(proposal_id=proposal_id, approver=approver, reason=reason, now=now)


def approve_within(*, proposal_id: int, approver: AbstractBaseUser, reason: str, now: datetime) -> Proposal:
    """`approve` inside the caller's transaction."""
    proposal = _lock_pending(proposal_id, now=now)
    _, policy = policies.current()
    needed = approvals.needed(proposal, known_of(proposal, now=now), policy=policy)
    four_eyes = needed > 1
    if four_eyes and proposal.author_id == approver.pk:
        raise OwnProposal
    if proposal.approvals.filter(approver_id=approver.pk).exists():
        raise ApprovedAlready
    Approval.objects.create(
        proposal=proposal,
        approver_id=approver.pk,
        four_eyes=four_eyes,
        author_id=proposal.author_id,
        reason=reason,
        at=now,
    )
    missing = needed - approvals.counting(proposal).count()
    if missing > 0:
        _wait_for_people(proposal, f"{missing} more person must approve.", now=now)
    else:
        _approve(proposal, by=approver.get_username(), reason=reason, policy=policy, now=now)
    return proposal


def reject(*, proposal_id: int, by: AbstractBaseUser, reason: str, now: datetime) -> Proposal:
    """A person's no, with its reason.

    Raises:
        AlreadyDecided, ProposalExpired, NotFound
    """
    with db.transaction():
        return reject_within(proposal_id=proposal_id, by=by, reason=reason, now=now)


def reject_within(*, proposal_id: int, by: AbstractBaseUser, reason: str, now: datetime) -> Proposal:
    """`reject` inside the caller's transaction."""
    proposal = _lock_pending(proposal_id, now=now)
    _reject(proposal, code="rejected_by_person", reason=reason, by=by.get_username(), now=now)
    return proposal


def cancel(*, proposal_id: int, by: AbstractBaseUser, reason: str, now: datetime) -> Proposal:
    """Withdraw a pending proposal.

    Raises:
        AlreadyDecided, ProposalExpired, NotFound
    """
    with db.transaction():
        return cancel_within(proposal_id=proposal_id, by=by, reason=reason, now=now)


def cancel_within(*, proposal_id: int, by: AbstractBaseUser, reason: str, now: datetime) -> Proposal:
    """`cancel` inside the caller's transaction."""
    proposal = _lock_pending(proposal_id, now=now)
    _end(
        proposal,
        to=ProposalStatus.CANCELLED,
        code="withdrawn",
        reason=reason,
        by=by.get_username(),
        now=now,
    )
    return proposal


def expire(*, now: datetime, limit: int) -> dict[str, int]:
    """Let pending proposals lapse whose time is over; a phase of the heartbeat."""
    with db.transaction():
        lapsed = Proposal.objects.select_for_update(skip_locked=True).filter(
            status=ProposalStatus.PENDING, expires_at__lte=now
        )
        expired = list(lapsed.order_by("expires_at")[:limit])
        for proposal in expired:
            _end(
                proposal,
                to=ProposalStatus.EXPIRED,
                code="expired",
                reason="Nobody decided in time.",
                by="policy",
                now=now,
            )
    return {"expired": len(expired)}


def draft_of(proposal: Proposal) -> Draft:
    """The stored proposal as the draft that it was."""
    return Draft.model_validate(
        {
            "agent": proposal.agent_id,
            "title": proposal.title,
            "rationale": proposal.rationale,
            "steps": proposal.steps,
            "confidence": proposal.confidence,
        }
    )


def known_of(proposal: Proposal, *, now: datetime) -> Known:
    """What can be known of a stored proposal at this moment."""
    return Known(Case(draft=draft_of(proposal), protective=proposal.protective), now=now)


# --- inside ---------------------------------------------------------------------------------------


def _require_agent(key: str) -> None:
    if not Agent.objects.filter(key=key, active=True).exists():
        raise InvalidInput(
            "The proposal is not valid.",
            errors=[{"pointer": "/agent", "message": "there is no active agent of this key"}],
        )


def _create(
    known: Known, *, source: str, author: AbstractBaseUser | None, cause: str, revision: int, policy: Policy
) -> Proposal:
    case, now = known.case, known.now
    draft = case.draft
    proposal = Proposal.objects.create(
        agent_id=draft.agent,
        author_id=author.pk if author else None,
        source=source,
        cause=cause,
        protective=case.protective,
        title=draft.title,
        rationale=draft.rationale,
        steps=drafts.steps_as_json(draft),
        confidence=draft.confidence,
        forecast_probability=draft.forecast.probability if draft.forecast else None,
        forecast_horizon_minutes=draft.forecast.horizon_minutes if draft.forecast else None,
        value_usd=approvals.worth(known),
        revision=revision,
        seed=secrets.randbits(62),
        created_at=now,
        expires_at=now + timedelta(minutes=policy.proposal_expires_minutes),
    )
    events.emit(
        kind=EventKind.PROPOSAL_CREATED,
        subject=proposal.subject,
        agent=draft.agent,
        now=now,
        data={
            "title": draft.title,
            "kinds": [kind.value for kind in draft.kinds],
            "value_usd": str(proposal.value_usd),
            "confidence": str(proposal.confidence),
            "source": source,
        },
    )
    return proposal


def _record(proposal: Proposal, judgements: list[Judgement], *, stage: str, now: datetime) -> None:
    Verdict.objects.bulk_create(
        Verdict(
            proposal=proposal,
            stage=stage,
            gate=judgement.gate,
            allowed=judgement.denied is None,
            code=judgement.denied.code if judgement.denied else "",
            reason=judgement.denied.reason[:500] if judgement.denied else "",
            facts=dict(judgement.facts),
            at=now,
        )
        for judgement in judgements
    )


def _route(proposal: Proposal, known: Known, *, policy: Policy) -> None:
    """Policy decides who decides: nobody (work without risk, protective exits), a vote, people."""
    case, now = known.case, known.now
    if case.protective or set(case.draft.kinds) <= set(policy.auto_approve_kinds):
        _approve(proposal, by="policy", reason="Policy approves this kind.", policy=policy, now=now)
        return
    said = _vote(proposal, known, policy=policy)
    if said.approve is False:
        _reject(proposal, code=said.code, reason=said.reason, by="vote", now=now)
    elif said.approve is None or proposal.value_usd >= policy.human_from_usd:
        _wait_for_people(proposal, said.reason, now=now)
    else:
        _approve(proposal, by="vote", reason=said.reason, policy=policy, now=now)


def _vote(proposal: Proposal, known: Known, *, policy: Policy) -> Decided:
    """Let the deciders vote on the kinds that need one; one no rejects, one "can't say" asks people."""
    voting = [kind for kind in known.case.draft.kinds if kind in policy.needs_vote_kinds]
    paths = sorted({settings.DECIDERS[kind.value] for kind in voting if kind.value in settings.DECIDERS})
    if not paths:
        return Decided(approve=None, reason="No vote settles this kind: people must decide.")
    said = [load(path)(proposal, known, policy=policy) for path in paths]
    for answer in (False, None):
        for each in said:
            if each.approve is answer:
                return Decided(approve=answer, code=each.code, reason=each.reason)
    return Decided(approve=True, reason=" ".join(each.reason for each in said))


def _approve(proposal: Proposal, *, by: str, reason: str, policy: Policy, now: datetime) -> None:
    """Approve inside the caller's transaction; where a gate, a reservation or a cap refuses by now, reject."""
    draft = draft_of(proposal)
    for step in draft.steps:
        handler = handlers.of(step.kind)
        if handler is not None:
            handler.lock(step)  # what approving makes scarcer is locked before it is judged
    judgements = gates.judge(known_of(proposal, now=now), policy=policy)
    _record(proposal, judgements, stage=Verdict.Stage.APPROVAL, now=now)
    denied = gates.first_denial(judgements)
    if denied is None:
        try:
            with db.savepoint():
                _commit_approval(proposal, draft, by=by, reason=reason, policy=policy, now=now)
        except DomainError as refused:
            proposal.status = ProposalStatus.PENDING
            denied = Deny(refused.code, refused.detail)
            _record(
                proposal,
                [Judgement(gate=f"spending:{refused.code}", denied=denied, facts={})],
                stage=Verdict.Stage.APPROVAL,
                now=now,
            )
    if denied is not None:
        _reject(proposal, code=denied.code, reason=denied.reason, by="a gate", now=now)


def _commit_approval(
    proposal: Proposal, draft: Draft, *, by: str, reason: str, policy: Policy, now: datetime
) -> Mission:
    _end(proposal, to=ProposalStatus.APPROVED, code="approved", reason=reason, by=by, now=now)
    mission = planning.open_mission(proposal=proposal, draft=draft, policy=policy, now=now)
    if not proposal.protective:
        # last, since the counter's row stays locked until the commit
        caps.spend(mission=mission, kinds=draft.kinds, policy=policy, now=now)
    return mission


_ENDING_EVENT = {
    ProposalStatus.APPROVED: EventKind.PROPOSAL_APPROVED,
    ProposalStatus.REJECTED: EventKind.PROPOSAL_REJECTED,
    ProposalStatus.CANCELLED: EventKind.PROPOSAL_CANCELLED,
    ProposalStatus.EXPIRED: EventKind.PROPOSAL_EXPIRED,
}


def _reject(proposal: Proposal, *, code: str, reason: str, by: str, now: datetime) -> None:
    _end(proposal, to=ProposalStatus.REJECTED, code=code, reason=reason, by=by, now=now)


def _end(proposal: Proposal, *, to: ProposalStatus, code: str, reason: str, by: str, now: datetime) -> None:
    states.move(proposal, to=to, code=code, reason=reason[:500], decided_by=by, decided_at=now)
    events.emit(
        kind=_ENDING_EVENT[to],
        subject=proposal.subject,
        agent=proposal.agent_id,
        now=now,
        data={"title": proposal.title, "code": code, "reason": reason[:500], "by": by},
    )


def _wait_for_people(proposal: Proposal, reason: str, *, now: datetime) -> None:
    if proposal.waits_for_people_since is None:
        proposal.waits_for_people_since = now
        proposal.save(update_fields=["waits_for_people_since"])
    events.emit(
        kind=EventKind.PROPOSAL_WAITING,
        subject=proposal.subject,
        agent=proposal.agent_id,
        now=now,
        data={"title": proposal.title, "value_usd": str(proposal.value_usd), "reason": reason},
    )


def _lock_pending(proposal_id: int, *, now: datetime) -> Proposal:
    db.requires_transaction()
    proposal = Proposal.objects.select_for_update().filter(pk=proposal_id).first()
    if proposal is None:
        raise NotFound(f"There is no proposal #{proposal_id}.")
    if proposal.status != ProposalStatus.PENDING:
        raise AlreadyDecided(f"It is {proposal.status} already, by {proposal.decided_by}.")
    if proposal.expires_at <= now:
        raise ProposalExpired(f"It expired at {proposal.expires_at:%Y-%m-%d %H:%M} UTC.")
    return proposal
