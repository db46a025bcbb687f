"""Reconciliation by program: steps in doubt and findings, with the same rules as at the desk."""

import pytest

from missions.models import Step
from tests import cast
from tests.api.program import Program, is_problem
from tests.chain_company import ChainCompany
from tests.chain_weather import PAST_EXPIRY, SEND, agreed, come_back, into_doubt, paid_in, sent
from trading.models import Agreement, Finding

pytestmark = pytest.mark.usefixtures("impatient")
WHY = {"reason": "I looked."}


@pytest.fixture
def doubtful(chain: ChainCompany, tokens: dict[str, str]) -> tuple[ChainCompany, Program]:
    """A step in doubt whose transaction lands in the next slot, and a reviewer's program."""
    sent(chain)
    into_doubt(chain)
    return chain, Program(tokens["reviewer"])


def path() -> str:
    return f"steps/{Step.objects.get().pk}/reconcile/"


def test_a_step_in_doubt_is_looked_up_and_settled_by_proof(doubtful: tuple[ChainCompany, Program]) -> None:
    chain, reviewer = doubtful
    waits = reviewer.post(path(), {"verb": "look_up", **WHY}).json()
    assert (waits["ending"], waits["step"]["status"]) == ("waits", "needs_reconciliation")
    chain.slots(2)
    settled = reviewer.post(path(), {"verb": "look_up", **WHY}).json()
    assert (settled["ending"], settled["people_missing"]) == ("succeeded", 0)
    assert settled["step"]["status"] == "succeeded"
    agreed(chain)
    is_problem(reviewer.post(path(), {"verb": "look_up", **WHY}), 409, "not_in_doubt")


def test_a_repeated_request_is_answered_as_before_though_the_chain_is_away(
    doubtful: tuple[ChainCompany, Program],
) -> None:
    chain, reviewer = doubtful
    chain.slots(2)
    first = reviewer.post(path(), {"verb": "confirm", **WHY}, key="one")
    chain.sandbox.faults.add("drop")
    again = reviewer.post(path(), {"verb": "confirm", **WHY}, key="one")
    assert (again.json(), again["Idempotency-Replayed"]) == (first.json(), "true")
    is_problem(reviewer.post(path(), {"verb": "fail", **WHY}, key="one"), 422, "idempotency_key_reused")


def test_what_the_evidence_forbids_is_refused_with_what_it_says(doubtful: tuple[ChainCompany, Program]) -> None:
    chain, reviewer = doubtful
    for verb in ("confirm", "fail", "requeue"):
        assert is_problem(reviewer.post(path(), {"verb": verb, **WHY}), 409, "evidence_against")["detail"]
    chain.slots(2)
    for verb in ("fail", "requeue"):
        is_problem(reviewer.post(path(), {"verb": verb, **WHY}), 409, "evidence_against")
    assert Step.objects.get().status == "needs_reconciliation"


def test_a_chain_that_is_away_leaves_the_step_in_doubt_and_is_no_error(doubtful: tuple[ChainCompany, Program]) -> None:
    chain, reviewer = doubtful
    chain.sandbox.faults.add("drop")
    answer = reviewer.post(path(), {"verb": "look_up", **WHY})
    assert (answer.status_code, answer.json()["ending"]) == (200, "waits")


def test_where_two_people_are_asked_for_the_second_settles(chain: ChainCompany, tokens: dict[str, str]) -> None:
    sent(chain)
    into_doubt(chain)
    chain.slots(2)
    cast.force_policy(quorum=2)
    reviewer, operator = Program(tokens["reviewer"]), Program(tokens["operator"])
    assert reviewer.post(path(), {"verb": "confirm", **WHY}).json()["people_missing"] == 1
    is_problem(reviewer.post(path(), {"verb": "confirm", **WHY}), 409, "agreed_already")
    assert operator.post(path(), {"verb": "confirm", **WHY}).json()["ending"] == "succeeded"
    assert Agreement.objects.count() == 2


@pytest.mark.parametrize(
    "body", [{}, {"verb": "look_up"}, {"verb": "retry", **WHY}, {"verb": "fail", "reason": " "}, {**WHY, "x": 1}]
)
def test_a_verb_and_a_reason_are_needed(doubtful: tuple[ChainCompany, Program], body: dict[str, str]) -> None:
    is_problem(doubtful[1].post(path(), body), 400, "invalid_input")


def test_findings_are_listed_and_booked_once(chain: ChainCompany, tokens: dict[str, str]) -> None:
    reviewer = Program(tokens["reviewer"])
    signature = paid_in(chain, USDC=5_000_000)
    chain.slots(2)
    chain.reconcile()
    listed = reviewer.get("findings/", kind="movement", open="true").json()["results"]
    assert [row["key"] for row in listed] == [signature]
    assert list(listed[0]["evidence"]["moved"].values()) == ["5000000"]
    address = f"findings/{listed[0]['id']}/settle/"
    is_problem(reviewer.post(address, {"verb": "book", **WHY}), 409, "movement_not_bookable")
    chain.slots(40)
    settled = reviewer.post(address, {"verb": "book", **WHY}).json()
    assert (settled["finding"]["how"], settled["finding"]["settled_by"]) == ("booked", "reviewer-program")
    is_problem(reviewer.post(address, {"verb": "book", **WHY}), 409, "finding_settled")
    chain.reconcile()
    assert reviewer.get("findings/", open="true").json()["results"] == []
    assert len(reviewer.get("findings/", open="false").json()["results"]) == 2
    assert chain.held() == chain.books()


def test_a_finding_that_needs_an_entry_is_not_dismissed(chain: ChainCompany, tokens: dict[str, str]) -> None:
    reviewer = Program(tokens["reviewer"])
    paid_in(chain, USDC=5_000_000)
    chain.slots(2)
    chain.reconcile()
    drift = Finding.objects.get(kind="balance_drift")
    refused = reviewer.post(f"findings/{drift.pk}/settle/", {"verb": "dismiss", **WHY})
    is_problem(refused, 409, "finding_needs_another_verb")
    chain.sandbox.faults.add("drop")
    refused = reviewer.post(f"findings/{drift.pk}/settle/", {"verb": "book", **WHY})
    is_problem(refused, 409, "movement_not_bookable")
    come_back()


def test_what_provably_never_landed_is_requeued(chain: ChainCompany, tokens: dict[str, str]) -> None:
    chain.sandbox.faults.add("drop_transaction", route=SEND)
    sent(chain)
    into_doubt(chain)
    chain.slots(PAST_EXPIRY)
    assert Program(tokens["operator"]).post(path(), {"verb": "requeue", **WHY}).json()["ending"] == "queued"
    chain.work()
    agreed(chain)
