"""Twenty people decide one proposal at once: one decision stands, and everybody else is told so."""

from itertools import pairwise
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser

from missions import company, policies, proposals
from missions.drafts import Draft
from missions.models import Approval, Mission, PolicyVersion, Proposal
from missions.proposals import AlreadyDecided
from missions.vocabulary import CompanyStatus, ProposalSource
from tests import cast
from tests.race import stage
from tradeco.common import db
from tradeco.common.models import Event
from trading.models import Account, Order

pytestmark = [pytest.mark.race, pytest.mark.usefixtures("committed_company")]


def people(count: int) -> list[AbstractBaseUser]:
    users = get_user_model().objects
    return [users.create(username=f"person-{n}", is_staff=True) for n in range(count)]


def waiting() -> Proposal:
    cast.set_policy(human_from_usd="10")
    proposal = cast.submit(cast.buy(size_usd="20.00"))
    assert proposal.status == "pending"
    return proposal


def decisions(results: list[Any]) -> list[Any]:
    for result in results:
        assert isinstance(result, (Proposal, AlreadyDecided)), result
    return [result for result in results if isinstance(result, Proposal)]


def test_of_twenty_who_approve_at_once_one_does() -> None:
    proposal, everybody = waiting(), people(20)
    results = stage.together(
        20,
        lambda place: proposals.approve(proposal_id=proposal.pk, approver=everybody[place], reason="yes", now=db.now()),
    )
    assert len(decisions(results)) == 1
    assert (Mission.objects.count(), Approval.objects.count(), Order.objects.count()) == (1, 1, 1)
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 20_000_000


def test_of_approvals_rejections_and_withdrawals_at_once_one_counts() -> None:
    proposal, everybody = waiting(), people(21)
    now = db.now()

    def decide(place: int) -> Proposal:
        who = everybody[place]
        match place % 3:
            case 0:
                return proposals.approve(proposal_id=proposal.pk, approver=who, reason="yes", now=now)
            case 1:
                return proposals.reject(proposal_id=proposal.pk, by=who, reason="no", now=now)
        return proposals.cancel(proposal_id=proposal.pk, by=who, reason="never mind", now=now)

    (decided,) = decisions(stage.together(21, decide))
    proposal.refresh_from_db()
    assert (proposal.status, proposal.decided_by) == (decided.status, decided.decided_by)
    assert Mission.objects.count() == (proposal.status == "approved")
    ended = Event.objects.filter(subject=proposal.subject).exclude(kind__in=("proposal.created", "proposal.waiting"))
    assert ended.exclude(kind="vote.cast").count() == 1


def test_of_twenty_who_approve_a_large_one_at_once_two_do() -> None:
    cast.set_policy(human_from_usd="10", four_eyes_from_usd="15")
    proposal, everybody = cast.submit(cast.buy(size_usd="20.00")), people(20)
    results = stage.together(
        20,
        lambda place: proposals.approve(proposal_id=proposal.pk, approver=everybody[place], reason="yes", now=db.now()),
    )
    assert len(decisions(results)) == 2
    assert (Mission.objects.count(), Approval.objects.filter(four_eyes=True).count()) == (1, 2)


def test_twenty_answers_to_one_cause_are_one_proposal() -> None:
    draft: Draft = cast.buy()
    results = stage.together(
        20,
        lambda _: proposals.submit(draft=draft, source=ProposalSource.TRIGGER, cause="event:7", now=db.now()),
    )
    assert {result.pk for result in results} == {Proposal.objects.get().pk}
    assert Mission.objects.count() <= 1


def test_policies_that_change_at_once_get_revisions_in_a_row() -> None:
    everybody = people(12)
    before = policies.revision()
    results = stage.together(
        12,
        lambda place: policies.change(
            key="trades_per_day", value=10 + place, author=everybody[place], reason="more", now=db.now()
        ),
    )
    assert sorted(changed.version.revision for changed in results) == list(range(before + 1, before + 13))
    versions = PolicyVersion.objects.filter(key="trades_per_day").order_by("version")
    for earlier, later in pairwise(versions):
        assert later.previous == earlier.value, "each names the value that it really replaced"


def test_trading_halted_by_many_at_once_is_halted_once() -> None:
    everybody = people(10)
    stage.together(
        10,
        lambda place: company.switch(
            to=CompanyStatus.HALTED, by=everybody[place], reason=f"reason {place}", now=db.now()
        ),
    )
    assert Event.objects.filter(kind="company.halted").count() == 1
