"""An act sent twice happens once; caps hold when many send at once."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from dashboard.api import idempotency
from dashboard.models import ApiToken, IdempotencyKey
from missions.models import Proposal
from tests import cast
from tests.api.program import Program, analysis, close_connection, is_problem, trade


def at_once(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Run `act` in so many threads, all let go at the same moment; each closes its connection."""
    gate = threading.Barrier(count)

    def work(number: int) -> Any:
        gate.wait()
        try:
            return act(number)
        finally:
            close_connection()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(work, range(count)))


def test_an_act_without_a_key_is_428(operator: Program) -> None:
    for path in ("proposals/", "proposals/1/approve/", "company/halt/", "heartbeats/", "tokens/"):
        is_problem(operator.post(path, key=None), 428, "idempotency_key_missing")


@pytest.mark.parametrize("key", ["x" * 256, "a\tb", "\xe9", "a\x7f"])
def test_a_key_that_is_malformed_is_400(reviewer: Program, key: str) -> None:
    is_problem(reviewer.post("proposals/", analysis(), key=key), 400, "idempotency_key_malformed")


def test_an_empty_key_is_malformed(reviewer: Program) -> None:
    answer = reviewer.post("proposals/", analysis(), key=None, **{"Idempotency-Key": ""})
    is_problem(answer, 400, "idempotency_key_malformed")


def test_the_same_request_again_is_answered_the_same_and_marked(reviewer: Program) -> None:
    first = reviewer.post("proposals/", analysis(), key="k " * 100)
    assert "Idempotency-Replayed" not in first
    again = reviewer.post("proposals/", analysis(), key="k " * 100)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again["Idempotency-Replayed"] == "true"
    assert Proposal.objects.count() == 1


def test_white_space_and_the_order_of_keys_make_no_other_request(reviewer: Program) -> None:
    body = analysis()
    first = reviewer.post("proposals/", body, key="k")
    again = reviewer.post("proposals/", dict(reversed(body.items())), key="k")
    assert again.json() == first.json()


def test_a_key_used_for_another_request_is_422(operator: Program) -> None:
    operator.post("proposals/", analysis(), key="k")
    is_problem(operator.post("proposals/", analysis(title="Other"), key="k"), 422, "idempotency_key_reused")
    is_problem(operator.post("company/halt/", {"reason": "x"}, key="k"), 422, "idempotency_key_reused")
    assert Proposal.objects.count() == 1


def test_keys_of_two_people_are_two_keys(reviewer: Program, operator: Program) -> None:
    first = reviewer.post("proposals/", analysis(), key="k").json()
    second = operator.post("proposals/", analysis(), key="k").json()
    assert first["id"] != second["id"]


def test_a_request_that_was_wrong_doesnt_use_its_key_up(reviewer: Program) -> None:
    reviewer.post("proposals/", analysis(agent="nobody"), key="k")
    assert IdempotencyKey.objects.count() == 0
    assert reviewer.post("proposals/", analysis(), key="k").status_code == 201


def test_each_act_is_replayed(operator: Program) -> None:
    cast.set_policy(human_from_usd="10")
    made = operator.post("proposals/", trade()).json()
    mission = operator.post("proposals/", analysis()).json()["mission"]["id"]
    for path, body in (
        (f"proposals/{made['id']}/approve/", {"reason": "Yes."}),
        (f"missions/{mission}/cancel/", {"reason": "No."}),
        ("company/halt/", {"reason": "Stop."}),
        ("policies/trades_per_day/versions/", {"value": 9, "reason": "Less."}),
    ):
        first, again = (operator.post(path, body, key=path) for _ in range(2))
        assert first.status_code < 300, first.content
        assert (again.status_code, again.json()) == (first.status_code, first.json())
        assert again["Idempotency-Replayed"] == "true"


@pytest.mark.django_db(transaction=True)
def test_a_beat_is_replayed(committed_company: None, operator: Program) -> None:
    first, again = (operator.post("heartbeats/", key="k") for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.json() == first.json()
    assert again["Idempotency-Replayed"] == "true"


def test_an_act_that_fails_late_leaves_neither_its_effect_nor_its_key(
    reviewer: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(answer: Any) -> Any:
        raise RuntimeError("after the act, before its answer is stored")

    monkeypatch.setattr(idempotency, "_stored", fail)
    assert reviewer.post("proposals/", analysis(), key="k").status_code == 500
    monkeypatch.undo()
    assert (Proposal.objects.count(), IdempotencyKey.objects.count()) == (0, 0)
    assert reviewer.post("proposals/", analysis(), key="k").status_code == 201


@pytest.mark.race
def test_fifty_at_once_with_one_key_make_one_proposal_and_one_answer(
    committed_company: None, tokens: dict[str, str]
) -> None:
    answers = at_once(50, lambda _: Program(tokens["reviewer"]).post("proposals/", analysis(), key="one"))
    assert {answer.status_code for answer in answers} == {201}
    assert Proposal.objects.count() == 1
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert Counter("Idempotency-Replayed" in answer for answer in answers) == {True: 49, False: 1}


@pytest.mark.race
def test_without_the_keys_row_first_the_same_fifty_double_the_act(
    committed_company: None, tokens: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: look for the key, then act, then store it, as one would without the unique row up front."""
    everyone_looked = threading.Barrier(10)

    def look_then_act(user_id: int, key: str, fingerprint: str, *, now: Any) -> bool:
        seen = IdempotencyKey.objects.filter(user_id=user_id, key=key).exists()
        everyone_looked.wait(timeout=30)
        return not seen

    monkeypatch.setattr(idempotency, "_take", look_then_act)
    at_once(10, lambda _: Program(tokens["reviewer"]).post("proposals/", analysis(), key="one"))
    assert Proposal.objects.count() == 10


@pytest.mark.race
def test_a_twin_that_waits_too_long_is_told_that_the_key_is_in_flight(
    committed_company: None, tokens: dict[str, str], raw_connection: Any
) -> None:
    user = ApiToken.objects.get(name="reviewer").user_id
    raw_connection.execute(
        "INSERT INTO dashboard_idempotencykey (user_id, key, fingerprint, status, body, created_at)"
        " VALUES (%s, 'one', '', 0, '{}', now())",
        [user],
    )
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '200ms'")
    try:
        answer = Program(tokens["reviewer"]).post("proposals/", analysis(), key="one")
    finally:
        connection.close()
    is_problem(answer, 409, "idempotency_key_in_flight")
    raw_connection.rollback()
    assert Program(tokens["reviewer"]).post("proposals/", analysis(), key="one").status_code == 201
