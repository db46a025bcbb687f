"""Who may do what: every address by every role, strangers, sessions, and tokens that ended."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from dashboard.models import ApiToken
from tests import cast
from tests.api.program import Program, analysis, is_problem, trade
from tradeco.common import db

MATRIX = [  # (address, method, roles that may)
    *((path, "GET", "viewer reviewer operator") for path in (
        "agents/", "agents/<key:key>/", "agents/<key:key>/memories/", "relationships/", "proposals/",
        "proposals/<row_id:id>/", "missions/", "missions/<row_id:id>/", "steps/", "steps/<row_id:id>/",
        "policies/", "policies/<key:key>/versions/", "caps/", "orders/", "orders/<row_id:id>/", "positions/",
        "positions/<row_id:id>/", "portfolio/", "equity/", "prices/", "events/", "heartbeats/", "stats/",
        "company/", "tokens/", "findings/", "agents/<key:key>/track-record/", "relationships/<pair:pair>/",
        "conversations/", "conversations/<row_id:id>/", "proposals/<row_id:id>/provenance/", "provenance/",
    )),
    ("proposals/", "POST", "reviewer operator"),
    ("proposals/<row_id:id>/approve/", "POST", "reviewer operator"),
    ("proposals/<row_id:id>/reject/", "POST", "reviewer operator"),
    ("proposals/<row_id:id>/cancel/", "POST", "reviewer operator"),
    ("missions/<row_id:id>/cancel/", "POST", "reviewer operator"),
    ("steps/<row_id:id>/reconcile/", "POST", "reviewer operator"),
    ("findings/<row_id:id>/settle/", "POST", "reviewer operator"),
    ("policies/<key:key>/versions/", "POST", "operator"),
    ("heartbeats/", "POST", "operator"),
    ("company/halt/", "POST", "operator"),
    ("company/reduce/", "POST", "operator"),
    ("company/resume/", "POST", "operator"),
    ("tokens/", "POST", "viewer reviewer operator"),
    ("tokens/<row_id:id>/", "DELETE", "viewer reviewer operator"),
]  # fmt: skip


def ask(program: Program, path: str, method: str) -> Any:
    """An otherwise empty request; ids that nobody has."""
    address = path.replace("<row_id:id>", "999999").replace("<pair:pair>", "atlas-sage")
    address = address.replace("agents/<key:key>", "agents/scout").replace("<key:key>", "trades_per_day")
    if method == "GET":
        return program.get(address)
    return program.delete(address) if method == "DELETE" else program.post(address)


@pytest.mark.parametrize("role", ["viewer", "reviewer", "operator"])
def test_each_role_may_what_the_matrix_says_and_nothing_else(tokens: dict[str, str], role: str) -> None:
    program = Program(tokens[role])
    for path, method, allowed in MATRIX:
        if (path, method) == ("heartbeats/", "POST") and role in allowed:
            continue  # would beat
        answer = ask(program, path, method)
        assert answer.status_code < 500, (path, method, answer.content)
        assert (answer.status_code != 403) == (role in allowed.split()), (path, method, answer.content)
        if answer.status_code == 403:
            assert "scope" in is_problem(answer, 403, "scope_missing")["detail"]


def test_a_stranger_is_asked_for_a_token_everywhere(stranger: Program) -> None:
    for path, method, _ in MATRIX:
        answer = ask(stranger, path, method)
        is_problem(answer, 401, "not_authenticated")
        assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("header", ["Bearer", "Bearer tco_wrong", "Bearer \xff\xfe", "Bearer a b c"])
def test_a_token_that_nobody_has_is_refused(stranger: Program, header: str) -> None:
    stranger.headers = {"Authorization": header}
    is_problem(stranger.get("agents/"), 401, "token_invalid")


@pytest.mark.parametrize("scheme", ["Basic YTpi", "Token x", "x"])
def test_another_scheme_is_no_token(stranger: Program, scheme: str) -> None:
    stranger.headers = {"Authorization": scheme}
    is_problem(stranger.get("agents/"), 401, "not_authenticated")


def test_a_token_that_ended_was_revoked_or_whose_person_left_is_refused(viewer: Program) -> None:
    token = ApiToken.objects.get(name="viewer")
    assert viewer.get("agents/").status_code == 200
    ApiToken.objects.filter(pk=token.pk).update(expires_at=db.now() - timedelta(seconds=1))
    is_problem(viewer.get("agents/"), 401, "token_invalid")
    ApiToken.objects.filter(pk=token.pk).update(expires_at=None, revoked_at=db.now())
    is_problem(viewer.get("agents/"), 401, "token_invalid")
    ApiToken.objects.filter(pk=token.pk).update(revoked_at=None)
    assert viewer.get("agents/").status_code == 200
    token.user.is_active = False
    token.user.save()
    is_problem(viewer.get("agents/"), 401, "token_invalid")


def test_a_token_does_no_more_than_its_person_may_by_now(reviewer: Program) -> None:
    user = ApiToken.objects.get(name="reviewer").user
    assert reviewer.post("proposals/", analysis()).status_code == 201
    user.groups.set([Group.objects.get(name="viewer")])
    is_problem(reviewer.post("proposals/", analysis()), 403, "scope_missing")
    assert reviewer.get("proposals/").status_code == 200


def test_the_use_of_a_token_is_noted(viewer: Program) -> None:
    viewer.get("agents/")
    assert ApiToken.objects.get(name="viewer").last_used_at is not None


def test_a_proposer_withdraws_their_own_and_no_other(operator: Program, company: None) -> None:
    cast.set_policy(human_from_usd="10")
    now = db.now()
    people = {}
    for name in ("dana", "erin"):
        user = cast_member(name)
        _, secret = ApiToken.issue(user=user, name=name, scopes=["read", "propose"], now=now)
        people[name] = Program(secret)
    made = people["dana"].post("proposals/", trade()).json()
    refused = people["erin"].post(f"proposals/{made['id']}/cancel/", {"reason": "Not mine."})
    is_problem(refused, 403, "permission_denied")
    assert people["dana"].post(f"proposals/{made['id']}/cancel/", {"reason": "Mine."}).json()["status"] == "cancelled"


def cast_member(name: str) -> Any:
    from tests.conftest import _staff

    return _staff(name, "reviewer")


def test_staff_may_use_their_session_and_writing_asks_for_csrf(alice: Any) -> None:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    client.force_login(alice)
    assert client.get("/api/v1/agents/").status_code == 200
    sent = {"content_type": "application/json", "headers": {"Idempotency-Key": "a"}}
    is_problem(client.post("/api/v1/proposals/", analysis(), **sent), 403, "permission_denied")
    client.cookies["csrftoken"] = "x" * 32
    sent["headers"]["X-CSRFToken"] = "x" * 32
    assert client.post("/api/v1/proposals/", analysis(), **sent).status_code == 201


def test_staff_without_rights_and_people_who_are_no_staff_see_nothing(charlie: Any) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(charlie)
    is_problem(client.get("/api/v1/agents/"), 403, "scope_missing")
    charlie.is_staff = False
    charlie.save()
    is_problem(client.get("/api/v1/agents/"), 401, "not_authenticated")


def test_a_new_token_shows_its_secret_once_and_works(reviewer: Program) -> None:
    wanted = {"name": "script", "scopes": ["read"], "expires_in_days": 7}
    made = reviewer.post("tokens/", wanted, key="one")
    assert made.status_code == 201, made.content
    secret = made.json()["secret"]
    assert Program(secret).get("agents/").status_code == 200
    is_problem(Program(secret).post("proposals/", analysis()), 403, "scope_missing")
    again = reviewer.post("tokens/", wanted, key="one")
    assert (again.json()["id"], again.json()["secret"]) == (made.json()["id"], None)
    assert ApiToken.objects.filter(name="script").count() == 1
    from dashboard.models import IdempotencyKey

    assert secret not in str(list(IdempotencyKey.objects.values_list("body", flat=True)))
    listed = reviewer.get("tokens/").json()["results"]
    assert [token["name"] for token in listed] == ["script", "reviewer"]
    assert "secret" not in listed[0]
    assert reviewer.delete(f"tokens/{made.json()['id']}/").status_code == 204
    is_problem(Program(secret).get("agents/"), 401, "token_invalid")
    assert reviewer.delete(f"tokens/{made.json()['id']}/").status_code == 204


def test_a_token_can_neither_grant_more_nor_live_longer_than_its_maker(viewer: Program) -> None:
    ends = db.now() + timedelta(days=2)
    ApiToken.objects.filter(name="viewer").update(expires_at=ends)
    refused = viewer.post("tokens/", {"name": "climb", "scopes": ["read", "operate"]})
    assert "operate" in is_problem(refused, 403, "permission_denied")["detail"]
    made = viewer.post("tokens/", {"name": "for ever", "scopes": ["read"], "expires_in_days": None})
    assert made.status_code == 201
    assert ApiToken.objects.get(name="for ever").expires_at == ends


def test_tokens_of_others_are_not_there_except_for_an_operator(viewer: Program, operator: Program) -> None:
    theirs = ApiToken.objects.get(name="reviewer")
    assert [token["name"] for token in viewer.get("tokens/").json()["results"]] == ["viewer"]
    is_problem(viewer.delete(f"tokens/{theirs.pk}/"), 404, "not_found")
    assert len(operator.get("tokens/").json()["results"]) == 3
    assert operator.delete(f"tokens/{theirs.pk}/").status_code == 204
    theirs.refresh_from_db()
    assert theirs.revoked_at is not None
