"""The one door: how a proposal is routed, decided and stored. Who races for a decision: race/test_decisions."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.db import IntegrityError, transaction

from agents.models import Agent
from missions import approvals, deciding, proposals
from missions.models import Approval, CapUse, Mission, Proposal, Step
from missions.proposals import AlreadyDecided, ApprovedAlready, OwnProposal, ProposalExpired
from missions.vocabulary import ProposalSource
from tests import cast
from tradeco.common import db
from tradeco.common.errors import InvalidInput, NotFound
from tradeco.common.models import Event
from trading.models import Account, Order

pytestmark = pytest.mark.usefixtures("company")


def approve(proposal: Proposal, who: AbstractUser, **kwargs: Any) -> Proposal:
    return proposals.approve(proposal_id=proposal.pk, approver=who, reason="yes", **{"now": db.now(), **kwargs})


def waiting(size_usd: str = "20.00", **kwargs: Any) -> Proposal:
    cast.set_policy(human_from_usd="10", four_eyes_from_usd="100")
    proposal = cast.submit(cast.buy(size_usd=size_usd), **kwargs)
    assert proposal.status == "pending", proposal.reason
    return proposal


# --- submission and routing -----------------------------------------------------------------------


def test_work_that_risks_nothing_is_approved_by_policy() -> None:
    proposal = cast.submit(cast.analysis_draft())
    assert (proposal.status, proposal.decided_by, proposal.value_usd) == ("approved", "policy", 0)
    assert Step.objects.get().status == "queued"


def test_a_small_trade_is_voted_on_and_a_larger_one_waits_for_people() -> None:
    assert cast.submit(cast.buy(size_usd="20.00")).decided_by == "vote"
    cast.set_policy(human_from_usd="50")
    small, large = cast.submit(cast.buy(size_usd="49.99")), cast.submit(cast.buy(size_usd="50.00"))
    assert (small.status, large.status) == ("approved", "pending")
    assert large.waits_for_people_since is not None
    assert large.value_usd == Decimal("50.00")


def test_work_and_trade_together_go_the_trade_s_way() -> None:
    cast.set_policy(human_from_usd="10")
    look = {"kind": "analyze_signal", "params": {}}
    trade = {"kind": "execute_trade", "params": {"side": "buy", "market": "SOL/USDC", "size_usd": "20"}}
    assert cast.submit(cast.draft(steps=[look, trade])).status == "pending"


def test_a_kind_that_policy_no_longer_approves_by_itself_waits_for_people() -> None:
    cast.set_policy(auto_approve_kinds=[])
    proposal = cast.submit(cast.analysis_draft())
    assert (proposal.status, Mission.objects.count()) == ("pending", 0)


def test_a_rejection_is_a_stored_row_with_its_code_and_reason() -> None:
    proposal = cast.submit(cast.draft(confidence="0.1"))
    stored = Proposal.objects.get(pk=proposal.pk)
    assert (stored.status, stored.code, stored.decided_by) == ("rejected", "confidence_too_low", "a gate")
    assert "0.1" in stored.reason
    assert Event.objects.filter(kind="proposal.rejected", subject=stored.subject).count() == 1


def test_pending_holds_neither_cap_nor_cash() -> None:
    waiting()
    assert not CapUse.objects.exists()
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 0


def test_approval_opens_mission_steps_order_reservation_cap_and_event_together(alice: AbstractUser) -> None:
    proposal = approve(waiting(), alice)
    assert (proposal.status, proposal.decided_by) == ("approved", "alice")
    mission, order = Mission.objects.get(), Order.objects.get()
    assert (mission.kind, mission.status, order.status) == ("entry", "approved", "reserved")
    assert CapUse.objects.get().used == 1
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 20_000_000
    kinds = set(Event.objects.values_list("kind", flat=True))
    assert {"proposal.created", "proposal.waiting", "proposal.approved", "mission.approved", "order.reserved"} <= kinds


def test_steps_run_one_after_another() -> None:
    plan = [{"kind": "reflect"}, {"kind": "calculate_risk"}, {"kind": "monitor_position"}]
    cast.submit(cast.draft(agent="growth", steps=plan))
    first, second, third = Step.objects.order_by("place")
    assert (first.blocked_by, second.blocked_by, third.blocked_by) == (None, first, second)
    assert cast.work() == {"succeeded": 3}
    assert Mission.objects.get().status == "succeeded"


def test_the_same_cause_has_one_proposal() -> None:
    first = cast.submit(cast.analysis_draft(), cause="event:7")
    again = cast.submit(cast.draft(title="Something else"), cause="event:7")
    assert again.pk == first.pk
    assert cast.submit(cast.analysis_draft(), cause="event:8").pk != first.pk


def test_an_agent_that_is_inactive_or_unknown_proposes_nothing() -> None:
    Agent.objects.filter(key="scout").update(active=False)
    for agent in ("scout", "nobody"):
        with pytest.raises(InvalidInput) as refused:
            cast.submit(cast.draft(agent=agent))
        assert [error["pointer"] for error in refused.value.errors] == ["/agent"]
    assert not Proposal.objects.exists()


def test_a_proposal_knows_its_policy_revision_and_its_seed() -> None:
    from missions import policies

    one, two = cast.submit(cast.analysis_draft()), cast.submit(cast.analysis_draft())
    assert one.revision == policies.revision()
    assert one.seed != two.seed


def test_a_stored_proposal_is_the_draft_that_it_was() -> None:
    draft = cast.buy(size_usd="20.00", stop_loss_pct="2")
    proposal = cast.submit(draft)
    again = deciding.draft_of(Proposal.objects.get(pk=proposal.pk))
    assert [step.typed for step in again.steps] == [step.typed for step in draft.steps]
    assert (again.agent, again.title, again.confidence) == (draft.agent, draft.title, draft.confidence)


# --- deciding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("decide", ["approve", "reject", "cancel"])
def test_what_is_decided_stays_decided(decide: str, alice: AbstractUser, bob: AbstractUser) -> None:
    proposal = waiting()
    proposals.reject(proposal_id=proposal.pk, by=alice, reason="no", now=db.now())
    who = "approver" if decide == "approve" else "by"
    with pytest.raises(AlreadyDecided, match="rejected already, by alice"):
        getattr(proposals, decide)(proposal_id=proposal.pk, **{who: bob}, reason="but", now=db.now())
    assert not Mission.objects.exists()


def test_what_nobody_decided_in_time_cannot_be_decided_any_more_and_expires(alice: AbstractUser) -> None:
    proposal, other = waiting(), waiting()
    Proposal.objects.filter(pk=proposal.pk).update(expires_at=db.now())
    with pytest.raises(ProposalExpired):
        approve(proposal, alice)
    assert proposals.expire(now=db.now(), limit=10) == {"expired": 1}
    proposal.refresh_from_db()
    assert (proposal.status, proposal.code, proposal.decided_by) == ("expired", "expired", "policy")
    other.refresh_from_db()
    assert other.status == "pending"


def test_expiring_takes_no_more_than_its_limit() -> None:
    for _ in range(3):
        waiting()
    Proposal.objects.update(expires_at=db.now())
    assert [proposals.expire(now=db.now(), limit=2)["expired"] for _ in range(3)] == [2, 1, 0]


def test_nothing_of_that_number(alice: AbstractUser) -> None:
    with pytest.raises(NotFound):
        proposals.approve(proposal_id=404, approver=alice, reason="yes", now=db.now())


def test_the_gates_are_asked_again_on_fresh_facts(alice: AbstractUser) -> None:
    proposal = waiting()
    cast.set_policy(confidence_min="0.9")
    decided = approve(proposal, alice)
    assert (decided.status, decided.code) == ("rejected", "confidence_too_low")
    assert not Mission.objects.exists()


def test_a_reservation_that_fails_undoes_the_approval_and_spends_nothing(alice: AbstractUser, settings: Any) -> None:
    """Cash that went after the gates looked: the reservation itself refuses."""
    settings.GATES = [path for path in settings.GATES if "cash" not in path]
    proposal = waiting()
    Account.objects.filter(kind="wallet", asset__symbol="USDC").update(reserved=9_990_000_000)
    decided = approve(proposal, alice)
    assert (decided.status, decided.code) == ("rejected", "funds_short")
    assert not Mission.objects.exists()
    assert not Order.objects.exists()
    assert not CapUse.objects.exists()
    stored = Proposal.objects.get()
    assert (stored.status, stored.code, stored.decided_by) == ("rejected", "funds_short", "a gate")


def test_a_cap_that_is_spent_after_the_gates_looked_refuses_too(alice: AbstractUser, settings: Any) -> None:
    settings.GATES = [path for path in settings.GATES if "caps" not in path]
    cast.set_policy(trades_per_day=0)
    decided = approve(waiting(), alice)
    assert (decided.status, decided.code) == ("rejected", "cap_reached")
    assert (Mission.objects.count(), Order.objects.count()) == (0, 0)
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 0


# --- four eyes ------------------------------------------------------------------------------------


def test_below_the_threshold_the_author_may_approve(alice: AbstractUser) -> None:
    assert approve(waiting(author=alice), alice).status == "approved"


def test_from_the_threshold_on_two_others_must_approve(alice: AbstractUser, bob: AbstractUser) -> None:
    proposal = waiting("100.00", author=alice)
    with pytest.raises(OwnProposal):
        approve(proposal, alice)
    assert approve(proposal, bob).status == "pending"
    with pytest.raises(ApprovedAlready):
        approve(proposal, bob)
    assert Mission.objects.count() == 0


def test_the_second_person_s_yes_approves(alice: AbstractUser, bob: AbstractUser, admin_user: AbstractUser) -> None:
    proposal = waiting("100.00", author=alice)
    assert approve(proposal, bob).status == "pending"
    assert approve(proposal, admin_user).status == "approved"
    assert set(proposal.approvals.values_list("approver__username", "four_eyes")) == {("bob", True), ("admin", True)}


def test_what_it_is_worth_at_the_decision_counts(alice: AbstractUser) -> None:
    position = cast.bought("SOL/USDC", "100.00")
    cast.set_policy(human_from_usd="50", four_eyes_from_usd="200")
    proposal = cast.submit(cast.close(position.pk), author=alice)
    assert (proposal.status, proposal.value_usd < 200) == ("pending", True)
    cast.set_price("SOL/USDC", position.market.price * 3)
    with pytest.raises(OwnProposal):
        approve(proposal, alice)


def test_control_by_the_worth_of_submission_alone_the_author_approves(
    alice: AbstractUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    position = cast.bought("SOL/USDC", "100.00")
    cast.set_policy(human_from_usd="50", four_eyes_from_usd="200")
    proposal = cast.submit(cast.close(position.pk), author=alice)
    cast.set_price("SOL/USDC", position.market.price * 3)
    monkeypatch.setattr(approvals, "worth", lambda known: Decimal(0))
    assert approve(proposal, alice).status == "approved"


def test_what_it_was_worth_when_it_was_handed_in_counts_too(alice: AbstractUser) -> None:
    position = cast.bought("SOL/USDC", "300.00")
    cast.set_policy(human_from_usd="50", four_eyes_from_usd="200")
    proposal = cast.submit(cast.close(position.pk), author=alice)
    cast.set_price("SOL/USDC", position.market.price / 3)
    with pytest.raises(OwnProposal):
        approve(proposal, alice)


def test_the_yes_of_somebody_let_go_since_does_not_count(
    alice: AbstractUser, bob: AbstractUser, admin_user: AbstractUser
) -> None:
    proposal = waiting("100.00")
    approve(proposal, alice)
    alice.is_active = False
    alice.save()
    assert approve(proposal, bob).status == "pending"
    assert approve(proposal, admin_user).status == "approved"


def test_control_counting_every_row_it_would(
    alice: AbstractUser, bob: AbstractUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal = waiting("100.00")
    approve(proposal, alice)
    alice.is_active = False
    alice.save()
    monkeypatch.setattr(approvals, "counting", lambda proposal: proposal.approvals.all())
    assert approve(proposal, bob).status == "approved"


def test_one_no_is_enough(alice: AbstractUser, bob: AbstractUser) -> None:
    proposal = waiting("100.00")
    approve(proposal, bob)
    assert proposals.reject(proposal_id=proposal.pk, by=alice, reason="no", now=db.now()).status == "rejected"


def test_the_database_itself_lets_no_author_approve_with_four_eyes(alice: AbstractUser, bob: AbstractUser) -> None:
    proposal = waiting("100.00", author=alice)
    yes = {"proposal": proposal, "author": alice, "reason": "mine", "at": db.now(), "four_eyes": True}
    with pytest.raises(IntegrityError, match="approver_is_not_author_when_four_eyes"), transaction.atomic():
        Approval.objects.create(approver=alice, **yes)
    Approval.objects.create(approver=bob, **yes)
    with pytest.raises(IntegrityError, match="approval_once_per_person"), transaction.atomic():
        Approval.objects.create(approver=bob, **yes)


# --- facts that the database holds ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"status": "approved", "decided_at": None}, "proposal_decided_iff_not_pending"),
        ({"decided_at": "now"}, "proposal_decided_iff_not_pending"),
        ({"confidence": Decimal("1.001")}, "proposal_confidence_is_a_share"),
        ({"forecast_probability": Decimal("-0.1")}, "proposal_forecast_is_a_probability"),
    ],
)
def test_the_database_refuses_what_cannot_be(changes: dict[str, Any], constraint: str) -> None:
    waiting()
    values = {key: db.now() if value == "now" else value for key, value in changes.items()}
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Proposal.objects.update(**values)


def test_sources_are_stored(alice: AbstractUser) -> None:
    proposal = cast.submit(cast.analysis_draft(), source=ProposalSource.TRIGGER)
    assert Proposal.objects.get(pk=proposal.pk).source == "trigger"
