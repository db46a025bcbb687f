"""The one door: every proposal enters by `submit`, and is decided by policy, by a vote (`voting`) or by people.

    validate (drafts) → gates, each with its verdict → auto-approve | vote | people
    approval: gates again on fresh facts → mission and steps → reservations → caps spent → event, one transaction

A refusal is a stored decision with a code and a reason, never a silent drop. Pending proposals hold no cap.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError

from agents.models import Agent
from missions import approvals, deciding, drafts, forecasts, gates, policies, voting
from missions.drafts import Draft
from missions.gates import Case, Known
from missions.models import Approval, Influence, Proposal, Verdict
from missions.policy_keys import Policy
from missions.vocabulary import ProposalStatus
from tradeco.common import db, events
from tradeco.common.errors import DomainError, InvalidInput, NotFound
from tradeco.common.vocabulary import EventKind


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


class VoteUnderWay(DomainError):
    code = "vote_under_way"
    title = "Agents are talking this proposal over"


def submit(
    *,
    draft: Draft,
    source: str,
    now: datetime,
    author: AbstractBaseUser | None = None,
    protective: bool = False,
    cause: str = "",
    memories: Sequence[tuple[int, Decimal]] = (),
) -> Proposal:
    """Hand in a proposal and let policy route it, in a transaction of its own.

    Args:
        draft: what is proposed (`drafts.read`).
        source: one of `ProposalSource`.
        author: the person who proposes, also when speaking for an agent.
        protective: a stop, take-profit, reduce or close on halt; only the company itself may say so.
        cause: what called for it; the same cause gives back the proposal that stands.
        memories: ids of the memories that changed it, each with what it added to the confidence.

    Raises:
        InvalidInput: there is no such agent, or it is inactive.
    """
    with db.transaction():
        return submit_within(
            draft=draft,
            source=source,
            now=now,
            author=author,
            protective=protective,
            cause=cause,
            memories=memories,
        )


def submit_within(
    *,
    draft: Draft,
    source: str,
    now: datetime,
    author: AbstractBaseUser | None = None,
    protective: bool = False,
    cause: str = "",
    memories: Sequence[tuple[int, Decimal]] = (),
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
            _link(proposal, memories, now=now)
    except IntegrityError:
        if not cause:
            raise
        return Proposal.objects.get(cause=cause)  # another process answered the same cause just now
    judgements = gates.judge(known, policy=policy)
    deciding.record(proposal, judgements, stage=Verdict.Stage.SUBMISSION, policy=policy, now=now)
    denied = gates.first_denial(judgements)
    if denied:
        deciding.reject(proposal, code=denied.code, reason=denied.reason, by="a gate", now=now)
    else:
        voting.route(proposal, known, policy=policy)
    return proposal


def approve(*, proposal_id: int, approver: AbstractBaseUser, reason: str, now: datetime) -> Proposal:
    """A person's yes. From the four-eyes threshold on the second yes approves, and neither may be the author's.

    Returns:
        The proposal: approved, or rejected where the gates refuse it by now, or still pending the second person.

    Raises:
        AlreadyDecided, ProposalExpired, VoteUnderWay, OwnProposal, ApprovedAlready, NotFound
    """
    with db.transaction():
        return approve_within(proposal_id=proposal_id, approver=approver, reason=reason, now=now)


def approve_within(*, proposal_id: int, approver: AbstractBaseUser, reason: str, now: datetime) -> Proposal:
    """`approve` inside the caller's transaction."""
    proposal = _lock_pending(proposal_id, now=now)
    _, policy = policies.current()
    if proposal.vote_by is not None:
        raise VoteUnderWay(f"They decide until {proposal.vote_by:%H:%M:%S} UTC; rejecting is possible at any time.")
    needed = approvals.needed(proposal, deciding.known_of(proposal, now=now), policy=policy)
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
        deciding.wait_for_people(proposal, f"{missing} more person must approve.", now=now)
    else:
        deciding.approve(proposal, by=approver.get_username(), reason=reason, policy=policy, now=now)
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
    deciding.reject(proposal, code="rejected_by_person", reason=reason, by=by.get_username(), now=now)
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
    deciding.end(
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
            deciding.end(
                proposal,
                to=ProposalStatus.EXPIRED,
                code="expired",
                reason=voting.EXPIRED,
                by="policy",
                now=now,
            )
    return {"expired": len(expired)}


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
    if draft.forecast:
        forecasts.open_within(proposal=proposal, draft=draft, now=now)
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


def _link(proposal: Proposal, memories: Sequence[tuple[int, Decimal]], *, now: datetime) -> None:
    Influence.objects.bulk_create(
        Influence(proposal=proposal, memory_id=memory, effect=effect, at=now) for memory, effect in memories
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
