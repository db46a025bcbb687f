"""Deciding on proposals at the staff's desk: by the same operation as the API, with a reason, by who may."""

from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.test import Client
from django.urls import reverse

from missions import company, proposals
from missions.models import Approval, Mission, Proposal
from missions.vocabulary import CompanyStatus
from tests import admin_rows, cast
from tradeco.common import admin_base, db
from trading.models import Market

pytestmark = pytest.mark.usefixtures("company")

LIST = "/admin/missions/proposal/"


@pytest.fixture
def waiting(company: None) -> Proposal:
    """A buy that policy leaves to one person."""
    cast.set_policy(human_from_usd="10")
    proposal = cast.submit(cast.buy(size_usd="20.00"))
    assert proposal.waits_for_people_since is not None
    return proposal


@pytest.fixture
def vera(company: None) -> Any:
    """A viewer."""
    return admin_rows.person("vera", "viewer")


def page(proposal: Proposal) -> str:
    return reverse("admin:missions_proposal_change", args=[proposal.pk])


def act(client: Client, proposal: Proposal, verb: str, reason: str = "The price is right.") -> str:
    """Act and come back to the proposal's page; its text."""
    address = reverse(f"admin:missions_proposal_{verb}", args=[proposal.pk])
    answer = client.post(address, {"reason": reason}, follow=True)
    assert answer.status_code == 200
    return str(answer.text)


def as_person(user: AbstractUser, **kwargs: Any) -> Client:
    client = Client(**kwargs)
    client.force_login(user)
    return client


def test_a_reviewer_approves_with_a_reason_and_the_mission_opens(waiting: Proposal, alice: AbstractUser) -> None:
    text = act(as_person(alice), waiting, "approve")
    assert "Approved: Buy SOL/USDC. Its mission is open." in text
    waiting.refresh_from_db()
    assert (waiting.status, waiting.decided_by) == ("approved", "alice")
    assert Approval.objects.get().reason == "The price is right."
    assert Mission.objects.get().proposal == waiting


def test_rejecting_and_withdrawing_end_a_proposal_with_their_reason(waiting: Proposal, alice: AbstractUser) -> None:
    other = cast.submit(cast.buy("JUP/USDC"))
    assert "Rejected: Buy SOL/USDC." in act(as_person(alice), waiting, "reject", "Too dear.")
    assert "Withdrawn: Buy JUP/USDC." in act(as_person(alice), other, "withdraw", "No longer wanted.")
    waiting.refresh_from_db()
    other.refresh_from_db()
    assert (waiting.status, waiting.code, waiting.reason) == ("rejected", "rejected_by_person", "Too dear.")
    assert (other.status, other.code, other.reason) == ("cancelled", "withdrawn", "No longer wanted.")


def test_without_a_reason_that_can_be_kept_nothing_is_decided(waiting: Proposal, alice: AbstractUser) -> None:
    address = reverse("admin:missions_proposal_approve", args=[waiting.pk])
    for reason in ("", "   ", "x" * 501, "a\x00b"):
        answer = as_person(alice).post(address, {"reason": reason})
        assert answer.status_code == 200, reason
        assert "errorlist" in answer.text, reason
    waiting.refresh_from_db()
    assert waiting.status == "pending"


def test_looking_at_the_question_decides_nothing(waiting: Proposal, alice: AbstractUser) -> None:
    for verb in ("approve", "reject", "withdraw"):
        address = reverse(f"admin:missions_proposal_{verb}", args=[waiting.pk])
        assert as_person(alice).get(address, {"reason": "yes"}).status_code == 200
        assert as_person(alice).put(address).status_code == 405
    waiting.refresh_from_db()
    assert waiting.status == "pending"


def test_a_forged_form_of_another_site_decides_nothing(waiting: Proposal, alice: AbstractUser) -> None:
    address = reverse("admin:missions_proposal_approve", args=[waiting.pk])
    many = reverse("admin:missions_proposal_many_approve")
    client = as_person(alice, enforce_csrf_checks=True)
    assert client.post(address, {"reason": "yes"}).status_code == 403
    assert client.post(many, {"reason": "yes", "proposal": waiting.pk}).status_code == 403
    waiting.refresh_from_db()
    assert waiting.status == "pending"


def test_a_viewer_sees_a_proposal_and_decides_nothing(waiting: Proposal, vera: AbstractUser) -> None:
    client = as_person(vera)
    seen = client.get(page(waiting)).text
    assert "Buy SOL/USDC" in seen
    assert "/approve/" not in seen
    for verb in ("approve", "reject", "withdraw"):
        address = reverse(f"admin:missions_proposal_{verb}", args=[waiting.pk])
        assert client.get(address).status_code == 403
        assert client.post(address, {"reason": "mine"}).status_code == 403
    many = reverse("admin:missions_proposal_many_approve")
    assert client.post(many, {"reason": "mine", "proposal": waiting.pk}).status_code == 403
    client.post(LIST, {"action": "approve_selected", "_selected_action": [waiting.pk]})
    waiting.refresh_from_db()
    assert waiting.status == "pending"


def test_who_comes_second_is_told_who_decided_first(waiting: Proposal, alice: AbstractUser, bob: AbstractUser) -> None:
    act(as_person(bob), waiting, "reject")
    text = act(as_person(alice), waiting, "approve")
    assert "This proposal is decided already. It is rejected already, by bob." in text
    assert Approval.objects.count() == 0


def test_from_the_four_eyes_threshold_two_people_approve_and_not_the_author(
    company: None, alice: AbstractUser, bob: AbstractUser, admin_user: AbstractUser
) -> None:
    cast.set_policy(human_from_usd="10", four_eyes_from_usd="15")
    proposal = cast.submit(cast.buy(), author=admin_user)
    assert "2 of 2 people, and not its author admin." in as_person(bob).get(page(proposal)).text
    assert "authors can&#x27;t approve what they proposed" in act(as_person(admin_user), proposal, "approve")
    assert "Another person must approve as well." in act(as_person(alice), proposal, "approve")
    assert "You have approved this already" in act(as_person(alice), proposal, "approve")
    seen = as_person(bob).get(page(proposal)).text
    assert "alice approved" in seen
    assert "1 of 2 people" in seen
    assert "people</strong>, 1 yes so far" in as_person(bob).get(LIST).text
    assert "Its mission is open." in act(as_person(bob), proposal, "approve")


def test_what_the_gates_refuse_by_now_is_said_with_its_reason(
    waiting: Proposal, alice: AbstractUser, admin_user: AbstractUser
) -> None:
    company.switch(to=CompanyStatus.HALTED, by=admin_user, reason="flash crash", now=db.now())
    text = act(as_person(alice), waiting, "approve")
    assert "by now it is refused: Trading is halted: flash crash" in text
    waiting.refresh_from_db()
    assert (waiting.status, waiting.code) == ("rejected", "halted")
    assert "Gates at approval" in text


def test_the_page_shows_what_a_decision_needs(waiting: Proposal, alice: AbstractUser) -> None:
    seen = as_person(alice).get(page(waiting)).text
    for words in (
        "It looks good.",
        "1. Execute a trade",
        "side buy, market SOL/USDC, size 20.00 USD",
        "500 of 500 left, this needs 1",
        "Exposure now",
        "0.00 USD (0.0 % of equity)",
        "Exposure after",
        "20.00 USD (0.2 % of equity)",
        "Gates at submission",
        "confidence suffices",
        "One person.",
        "Sage",
    ):
        assert words in seen, words
    assert "could not be shown" not in seen


def _broken_panel(proposal: Proposal) -> Any:
    raise RuntimeError("the roundtable burns")


def test_a_panel_that_fails_says_so_and_the_rest_of_the_page_stands(
    waiting: Proposal, alice: AbstractUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = admin_base.load
    monkeypatch.setattr(
        admin_base, "load", lambda path: _broken_panel if path.endswith(".votes_of_proposal") else real(path)
    )
    seen = as_person(alice).get(page(waiting)).text
    assert seen.count("This part could not be shown") == 1
    assert "Gates at submission" in seen
    assert "the roundtable burns" not in seen
    assert "/approve/" in seen


def test_what_waits_comes_first_by_value_then_by_age(waiting: Proposal, alice: AbstractUser) -> None:
    bigger = cast.submit(cast.buy("JUP/USDC", "50.00"))
    younger = cast.submit(cast.buy("BONK/USDC", "20.00"))
    decided = cast.submit(cast.buy("WIF/USDC", "300.00"))
    proposals.reject(proposal_id=decided.pk, by=alice, reason="no", now=db.now())
    rows = as_person(alice).get(LIST).context["cl"].result_list
    assert [row.pk for row in rows][:4] == [bigger.pk, waiting.pk, younger.pk, decided.pk]


def test_the_list_finds_by_number_title_and_kind_of_step(waiting: Proposal, alice: AbstractUser) -> None:
    analysis = cast.submit(cast.analysis_draft())
    client = as_person(alice)
    for query, expected in (
        ({"q": f"#{waiting.pk}"}, [waiting]),
        ({"q": "scan"}, [analysis]),
        ({"step_kind": "analyze_signal"}, [analysis]),
        ({"waits_for": "people"}, [waiting]),
        ({"waits_for": "policy"}, []),
    ):
        assert list(client.get(LIST, query).context["cl"].result_list) == expected, query


def test_many_are_decided_one_by_one_after_a_preview(waiting: Proposal, alice: AbstractUser, bob: AbstractUser) -> None:
    stale = cast.submit(cast.buy("JUP/USDC"))
    taken = cast.submit(cast.buy("BONK/USDC"))
    over = cast.submit(cast.analysis_draft())
    client = as_person(alice)
    chosen = [waiting.pk, stale.pk, taken.pk, over.pk]
    preview = client.post(LIST, {"action": "approve_selected", "_selected_action": chosen})
    assert [row.pk for row in preview.context["rows"]] == [waiting.pk, stale.pk, taken.pk]
    assert "Approve 3 proposals" in preview.text
    assert Approval.objects.count() == 0
    # meanwhile a price goes stale, and somebody else decides
    Market.objects.filter(name="JUP/USDC").update(received_at=cast.later(minutes=-5))
    act(as_person(bob), taken, "reject")
    ids = [row.pk for row in preview.context["rows"]]
    answer = client.post(preview.context["post_to"], {"reason": "All fine.", "proposal": ids}, follow=True)
    assert sorted(str(message) for message in answer.context["messages"]) == [
        "1 approved.",
        "1 decided already by someone else.",
        "1 refused by a gate or a cap by now; the column “why” says which.",
    ]
    assert [Proposal.objects.get(pk=key).status for key in ids] == ["approved", "rejected", "rejected"]


def test_many_ask_for_a_reason_too_and_keep_the_list(waiting: Proposal, alice: AbstractUser) -> None:
    many = reverse("admin:missions_proposal_many_reject")
    answer = as_person(alice).post(many, {"reason": "", "proposal": waiting.pk})
    assert "errorlist" in answer.text
    assert [row.pk for row in answer.context["rows"]] == [waiting.pk]
    waiting.refresh_from_db()
    assert waiting.status == "pending"


def test_many_refuse_what_names_no_proposals(company: None, alice: AbstractUser) -> None:
    many, client = reverse("admin:missions_proposal_many_approve"), as_person(alice)
    for named in ([], ["x"], ["-1"], ["9" * 30], ["²"], [str(number) for number in range(101)]):
        assert client.post(many, {"reason": "yes", "proposal": named}).status_code == 400, named
    assert client.get(many).status_code == 405


def test_a_script_in_a_proposal_is_inert_wherever_a_decision_is_asked(company: None, alice: AbstractUser) -> None:
    evil = admin_rows.proposal(title=admin_rows.EVIL, rationale=admin_rows.EVIL)
    client, too_long = as_person(alice), admin_rows.EVIL + "x" * 500
    answers = [
        client.get(LIST),
        client.get(page(evil)),
        client.get(reverse("admin:index")),
        client.get(reverse("admin:missions_proposal_approve", args=[evil.pk])),
        client.post(LIST, {"action": "reject_selected", "_selected_action": [evil.pk]}),
        client.post(reverse("admin:missions_proposal_approve", args=[evil.pk]), {"reason": too_long}),
    ]
    for answer in answers:
        assert "<script>alert" not in answer.text
        assert "&lt;script&gt;alert" in answer.text
    assert "<script>alert" not in act(client, evil, "reject", admin_rows.EVIL)
