"""What a decision does to a proposal: approval with all that follows from it, rejection, waiting for people.

Approval is one transaction: what it makes scarcer is locked, the gates judge again on fresh facts, mission and steps
are opened, caps spent. Who decides is `voting`'s and `proposals`' affair.
"""

from datetime import datetime

from missions import caps, forecasts, gates, handlers, planning
from missions.drafts import Draft
from missions.gates import Case, Deny, Judgement, Known
from missions.models import Mission, Proposal, Verdict
from missions.policy_keys import Policy
from missions.vocabulary import ProposalStatus
from tradeco.common import db, events, states
from tradeco.common.errors import DomainError
from tradeco.common.vocabulary import EventKind


def draft_of(proposal: Proposal) -> Draft:
    """The stored proposal as the draft that it was."""
    return Draft.model_validate(
        {
            "agent": proposal.agent_id,
            "title": proposal.title,
            "rationale": proposal.rationale,
            "steps": proposal.steps,
            "confidence": proposal.confidence,
            "forecast": _forecast_of(proposal),
        }
    )


def known_of(proposal: Proposal, *, now: datetime) -> Known:
    """What can be known of a stored proposal at this moment."""
    return Known(case_of(proposal), now=now)


def case_of(proposal: Proposal) -> Case:
    """The stored proposal as the gates and voters see it."""
    return Case(draft=draft_of(proposal), protective=proposal.protective)


def _forecast_of(proposal: Proposal) -> dict[str, object] | None:
    if proposal.forecast_probability is None:
        return None
    return {"probability": proposal.forecast_probability, "horizon_minutes": proposal.forecast_horizon_minutes}


def record(proposal: Proposal, judgements: list[Judgement], *, stage: str, policy: Policy, now: datetime) -> None:
    """Store what the gates said, with the facts and the policy that they judged by."""
    Verdict.objects.bulk_create(
        Verdict(
            proposal=proposal,
            stage=stage,
            gate=judgement.gate,
            allowed=judgement.denied is None,
            code=judgement.denied.code if judgement.denied else "",
            reason=judgement.denied.reason[:500] if judgement.denied else "",
            facts=dict(judgement.facts),
            revision=policy.revision,
            at=now,
        )
        for judgement in judgements
    )


def approve(proposal: Proposal, *, by: str, reason: str, policy: Policy, now: datetime) -> None:
    """Approve inside the transaction of the caller, who holds the row.

    Where a gate, a reservation or a cap refuses by now, the proposal is rejected.
    """
    draft = draft_of(proposal)
    for step in draft.steps:
        handler = handlers.of(step.kind)
        if handler is not None:
            handler.lock(step)  # what approving makes scarcer is locked before it is judged
    judgements = gates.judge(known_of(proposal, now=now), policy=policy)
    record(proposal, judgements, stage=Verdict.Stage.APPROVAL, policy=policy, now=now)
    denied = gates.first_denial(judgements)
    if denied is None:
        try:
            with db.savepoint():
                _open_mission(proposal, draft, by=by, reason=reason, policy=policy, now=now)
        except DomainError as refused:
            proposal.status = ProposalStatus.PENDING
            denied = Deny(refused.code, refused.detail)
            record(
                proposal,
                [Judgement(gate=f"spending:{refused.code}", denied=denied, facts={})],
                stage=Verdict.Stage.APPROVAL,
                policy=policy,
                now=now,
            )
    if denied is not None:
        reject(proposal, code=denied.code, reason=denied.reason, by="a gate", now=now)


def _open_mission(proposal: Proposal, draft: Draft, *, by: str, reason: str, policy: Policy, now: datetime) -> Mission:
    end(proposal, to=ProposalStatus.APPROVED, code="approved", reason=reason, by=by, now=now)
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


def reject(proposal: Proposal, *, code: str, reason: str, by: str, now: datetime) -> None:
    """Reject a proposal; the caller holds its row."""
    end(proposal, to=ProposalStatus.REJECTED, code=code, reason=reason, by=by, now=now)


def end(proposal: Proposal, *, to: ProposalStatus, code: str, reason: str, by: str, now: datetime) -> None:
    """End a proposal; the caller holds its row."""
    if to != ProposalStatus.APPROVED:
        forecasts.void_within(proposal=proposal, now=now)
    states.move(proposal, to=to, code=code, reason=reason[:500], decided_by=by, decided_at=now)
    events.emit(
        kind=_ENDING_EVENT[to],
        subject=proposal.subject,
        agent=proposal.agent_id,
        now=now,
        data={"title": proposal.title, "code": code, "reason": reason[:500], "by": by},
    )


def wait_for_people(proposal: Proposal, reason: str, *, now: datetime) -> None:
    """Leave it to people; no vote decides it any more."""
    proposal.vote_by = None
    proposal.waits_for_people_since = proposal.waits_for_people_since or now
    proposal.save(update_fields=["vote_by", "waits_for_people_since"])
    events.emit(
        kind=EventKind.PROPOSAL_WAITING,
        subject=proposal.subject,
        agent=proposal.agent_id,
        now=now,
        data={"title": proposal.title, "value_usd": str(proposal.value_usd), "reason": reason},
    )
