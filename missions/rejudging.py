"""A stored decision taken again from what was stored: draft, facts, dice, policy revision. Nothing is asked anew.

What the agents said is the roundtable's part of a replay (`roundtable.replay`). Inputs, taken as they were recorded:
what people said, what was granted at that moment (caps, reservations), and a gate that failed.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from django.conf import settings

from agents import memory
from agents.memory import Recalled
from agents.models import Memory
from missions import deciding, drafts, influence, policies, voting
from missions.gates import Case, Gate
from missions.models import Influence, Proposal, Verdict
from missions.policy_keys import Policy
from missions.vocabulary import ProposalSource, ProposalStatus
from missions.voting import Decided
from tradeco.common.wiring import load

SPENDING = "spending:"
"""Verdicts of caps and reservations: what the database granted at that moment; an input, not a judgement."""
GATE_ERROR = "gate_error"
ASKS_ITS_MEMORY = "reactive:"
"""Causes of the proposals whose agent rolled the dice of `influence`; the cause is their seed."""


class Compared(NamedTuple):
    """One part of a decision, as it was recorded and as it came out again."""

    what: str
    recorded: Any
    again: Any

    @property
    def equal(self) -> bool:
        return bool(self.recorded == self.again)


def parts(proposal: Proposal) -> Iterator[Compared]:
    """The draft, and every gate's verdict at submission and at approval, in the order they were given."""
    draft = deciding.draft_of(proposal)
    yield Compared("draft", proposal.steps, drafts.steps_as_json(draft))
    case = deciding.case_of(proposal)
    for stage in Verdict.Stage.values:
        given = [verdict for verdict in proposal.verdicts.filter(stage=stage) if not verdict.gate.startswith(SPENDING)]
        if given or stage == Verdict.Stage.SUBMISSION:
            yield from _stage(case, stage, given)


# --- gates ----------------------------------------------------------------------------------------


def _stage(case: Case, stage: str, given: list[Verdict]) -> Iterator[Compared]:
    gates: dict[str, Gate] = {gate.name: gate for path in settings.GATES if (gate := load(path)).concerns(case)}
    # a person's second look judges a stage again: the same gates, in the same order, each time
    asked = [verdict.gate for verdict in given]
    yield Compared(f"gates at {stage}", asked, list(gates) * max(1, len(asked) // max(1, len(gates))))
    for verdict in given:
        if verdict.gate in gates and verdict.code != GATE_ERROR:
            yield _verdict(case, verdict, gates[verdict.gate])


def _verdict(case: Case, verdict: Verdict, gate: Gate) -> Compared:
    return Compared(
        f"{verdict.gate} at {verdict.stage}",
        {"allowed": verdict.allowed, "code": verdict.code, "reason": verdict.reason},
        _judged(case, verdict, gate),
    )


def _judged(case: Case, verdict: Verdict, gate: Gate) -> dict[str, Any]:
    try:
        denied = gate.rule(case, verdict.facts, policies.at(verdict.revision), verdict.at)
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as exc:
        # by these facts nothing can be judged: they aren't what was recorded
        return {"allowed": False, "code": GATE_ERROR, "reason": f"{type(exc).__name__}: {exc}"}
    if denied is None:
        return {"allowed": True, "code": "", "reason": ""}
    return {"allowed": False, "code": denied.code, "reason": denied.reason[:500]}


# --- dice of memory -------------------------------------------------------------------------------


def memories(proposal: Proposal) -> Iterator[Compared]:
    """Whether the agent of an entry asked its memory, and what each memory that it then recalled added.

    What came to mind is an input; where the confidence stands at an end of its scale, how many did isn't known.
    """
    entry = influence.entered(deciding.draft_of(proposal)) is not None
    if proposal.source != ProposalSource.TRIGGER or not proposal.cause.startswith(ASKS_ITS_MEMORY) or not entry:
        return
    linked = list(proposal.influences.order_by("pk"))
    if not influence.asks(seed=proposal.cause, policy=policies.at(proposal.revision)):
        yield Compared("memories that it asked for", [each.memory_id for each in linked], [])
    elif linked:
        yield from _effects(proposal, linked)


def _effects(proposal: Proposal, linked: list[Influence]) -> Iterator[Compared]:
    rows = Memory.objects.filter(pk__in=[each.memory_id for each in linked])
    then = rows.annotate(strength=memory.strength(now=proposal.created_at)).order_by("-strength", "-pk")
    recalled = [Recalled(each, each.strength) for each in then]
    named = influence.remembering("", [each.memory for each in recalled])
    yield Compared("memories that the rationale names", proposal.rationale[-len(named) :], named)
    if 0 < proposal.confidence < 1:
        before = proposal.confidence - sum(each.effect for each in linked)
        again = {remembered.pk: effect for remembered, effect in influence.effects(before, recalled)}
        yield Compared("what its memories added", {each.memory_id: each.effect for each in linked}, again)


# --- who decides, and what it came to -------------------------------------------------------------


def refused(proposal: Proposal) -> bool:
    """Whether a gate refused it at submission, so that nobody was asked."""
    return _denial(proposal, Verdict.Stage.SUBMISSION) is not None


def needs_nobody(proposal: Proposal) -> bool:
    """Whether policy approves it by itself."""
    return voting.needs_nobody(deciding.case_of(proposal), policy=policies.at(proposal.revision))


def decision(proposal: Proposal, said: Decided | None, *, policy: Policy) -> Iterator[Compared]:
    """Who decided it, and how.

    Args:
        said: what the vote came to; None where none was counted.
        policy: in force when it was counted.
    """
    left, again = _ending(proposal, said, policy)
    if left is not None:
        yield Compared("left to people", proposal.waits_for_people_since is not None, left)
    recorded = {
        "status": proposal.status,
        "code": proposal.code,
        "reason": proposal.reason,
        "decided_by": proposal.decided_by,
    }
    yield Compared("decision", recorded, again)


def _ending(proposal: Proposal, said: Decided | None, policy: Policy) -> tuple[bool | None, Mapping[str, str]]:
    """Whether it is left to people (None: that is an input), and how it ends."""
    denied = _denial(proposal, Verdict.Stage.SUBMISSION)
    if denied is not None:
        return False, _rejected(denied.code, denied.reason, by="a gate")
    if needs_nobody(proposal):
        return False, _approved(proposal, by="policy", reason=voting.BY_POLICY)
    if said is None:
        return None, _by_people(proposal)
    match voting.outcome(said, value_usd=proposal.value_usd, policy=policy):
        case True:
            return False, _approved(proposal, by="vote", reason=said.reason)
        case False:
            return False, _rejected(said.code, said.reason, by="vote")
    return True, _by_people(proposal)


def _approved(proposal: Proposal, *, by: str, reason: str) -> Mapping[str, str]:
    """Approved, unless a gate, a reservation or a cap refuses by now."""
    denied = _denial(proposal, Verdict.Stage.APPROVAL)
    if denied is not None:
        return _rejected(denied.code, denied.reason, by="a gate")
    if not proposal.verdicts.filter(stage=Verdict.Stage.APPROVAL).exists():
        return _told("pending", "not_judged", "No gate was asked at its approval.", "")
    return _told(ProposalStatus.APPROVED, "approved", reason, by)


def _by_people(proposal: Proposal) -> Mapping[str, str]:
    """What people said is an input; what follows from a yes isn't. A lapse is the clock's."""
    if proposal.status == ProposalStatus.EXPIRED:
        return _told(ProposalStatus.EXPIRED, "expired", voting.EXPIRED, "policy")
    if proposal.status in (ProposalStatus.PENDING, ProposalStatus.CANCELLED) or proposal.code == "rejected_by_person":
        return _told(proposal.status, proposal.code, proposal.reason, proposal.decided_by)
    yes = proposal.approvals.select_related("approver").order_by("pk").last()
    if yes is None:
        return _told(ProposalStatus.PENDING, "", "", "")
    return _approved(proposal, by=yes.approver.get_username(), reason=yes.reason)


def _denial(proposal: Proposal, stage: str) -> Verdict | None:
    return proposal.verdicts.filter(stage=stage, allowed=False).order_by("pk").first()


def _rejected(code: str, reason: str, *, by: str) -> Mapping[str, str]:
    return _told(ProposalStatus.REJECTED, code, reason, by)


def _told(status: str, code: str, reason: str, by: str) -> Mapping[str, str]:
    return {"status": str(status), "code": code, "reason": reason[:500], "decided_by": by}
