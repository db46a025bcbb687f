"""From an approved proposal to a mission with its steps, and back out of it by cancelling.

Runs inside the approving transaction. When steps run is `claims`' affair.
"""

from datetime import datetime

from missions import handlers
from missions.drafts import Draft, ExecuteTrade, StepDraft
from missions.models import Mission, Proposal, Step
from missions.policy_keys import Policy
from missions.vocabulary import PRIORITY_PROTECTIVE, MissionKind, StepKind
from tradeco.common import db, doorbell, events
from tradeco.common.vocabulary import EventKind

PRIORITY_TRADE, PRIORITY_OTHER = 50, 100

_MISSION_KIND = {
    StepKind.CLOSE_POSITION: MissionKind.EXIT,
    StepKind.SCALE_POSITION: MissionKind.SCALE,
    StepKind.ANALYZE_SIGNAL: MissionKind.ANALYSIS,
    StepKind.CALCULATE_RISK: MissionKind.ANALYSIS,
    StepKind.REFLECT: MissionKind.ANALYSIS,
    StepKind.MONITOR_POSITION: MissionKind.MONITOR,
    StepKind.HOLD_ROUNDTABLE: MissionKind.CONVERSATION,
}
_TRADES = (StepKind.EXECUTE_TRADE, StepKind.CLOSE_POSITION, StepKind.SCALE_POSITION)


def open_mission(*, proposal: Proposal, draft: Draft, policy: Policy, now: datetime) -> Mission:
    """Create the mission and its steps, each blocked by the one before, and let handlers reserve what they need.

    Raises:
        DomainError: a handler can't reserve; the caller's savepoint must be undone.
    """
    db.requires_transaction()
    mission = Mission.objects.create(
        proposal=proposal, agent_id=proposal.agent_id, kind=mission_kind(draft), created_at=now
    )
    before: Step | None = None
    for place, step_draft in enumerate(draft.steps, start=1):
        before = Step.objects.create(
            mission=mission,
            place=place,
            kind=step_draft.kind,
            params=step_draft.typed.model_dump(mode="json", exclude_none=True),
            priority=_priority(proposal, step_draft),
            blocked_by=before,
            run_after=now,
            attempts_max=policy.step_attempts_max,
            created_at=now,
        )
        handler = handlers.of(step_draft.kind)
        assert handler is not None, "the gates let no kind through that nobody can do"
        handler.prepare(before, policy=policy, now=now)
    events.emit(
        kind=EventKind.MISSION_APPROVED,
        subject=mission.subject,
        agent=proposal.agent_id,
        now=now,
        data={
            "proposal": proposal.pk,
            "kind": mission.kind,
            "title": proposal.title,
            "steps": [step.kind.value for step in draft.steps],
        },
    )
    doorbell.ring()
    return mission


def mission_kind(draft: Draft) -> MissionKind:
    """What kind of mission a draft becomes: that of the step that moves money, else of its first."""
    leading: StepDraft = next((step for step in draft.steps if step.kind in _TRADES), draft.steps[0])
    if isinstance(leading.typed, ExecuteTrade):
        return MissionKind.ENTRY if leading.typed.side == "buy" else MissionKind.EXIT
    return _MISSION_KIND[leading.kind]


def _priority(proposal: Proposal, step: StepDraft) -> int:
    if proposal.protective:
        return PRIORITY_PROTECTIVE
    return PRIORITY_TRADE if step.kind in _TRADES else PRIORITY_OTHER
