"""What strangers and careless operators tried once."""

from typing import Any

import pytest
from django.test import Client

from dashboard.models import ApiToken
from missions import policies
from tradeco.common import db
from tradeco.common.errors import InvalidInput

pytestmark = pytest.mark.usefixtures("company")


@pytest.mark.parametrize("address", ["/dashboard/", "/admin/", "/admin/login/", "/api/v1/company/"])
def test_a_session_cookie_that_can_be_no_key_is_no_session(client: Client, address: str) -> None:
    client.cookies["sessionid"] = "\x00aaaaaaaaaa"
    assert client.get(address).status_code in {200, 302, 401}


def test_nul_in_the_admin_s_autocomplete_finds_nothing(client: Client, admin_user: Any) -> None:
    client.force_login(admin_user)
    asked = {"app_label": "missions", "model_name": "proposal", "field_name": "agent", "term": "\x00"}
    answer = client.get("/admin/autocomplete/", asked)
    assert (answer.status_code, answer.json()["results"]) == (200, [])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_approve_kinds", ["execute_trade"]),
        ("quorum", 2),
        ("retention_days", 740_000),
        ("venue_slippage_bps", 1_000_000),
        ("slippage_max_bps", 1_000_000),
    ],
)
def test_a_policy_that_would_break_the_company_is_refused(admin_user: Any, key: str, value: Any) -> None:
    before = policies.revision()
    with pytest.raises(InvalidInput):
        policies.change(key=key, value=value, author=admin_user, reason="careless", now=db.now())
    assert policies.revision() == before


def test_revoking_a_token_ends_what_was_made_with_it(admin_user: Any) -> None:
    now = db.now()
    parent, _ = ApiToken.issue(user=admin_user, name="a", scopes=["read"], now=now)
    child, _ = ApiToken.issue(user=admin_user, name="b", scopes=["read"], now=now, made_with=parent)
    ApiToken.issue(user=admin_user, name="c", scopes=["read"], now=now, made_with=child)
    other, _ = ApiToken.issue(user=admin_user, name="d", scopes=["read"], now=now)
    assert parent.revoke(now=now) == 3
    assert list(ApiToken.objects.filter(revoked_at=None)) == [other]


def test_a_weak_token_cannot_revoke_a_stronger_one(client: Client, admin_user: Any) -> None:
    now = db.now()
    strong, _ = ApiToken.issue(user=admin_user, name="strong", scopes=["read", "operate"], now=now)
    _, secret = ApiToken.issue(user=admin_user, name="weak", scopes=["read"], now=now)
    headers = {"Authorization": f"Bearer {secret}"}
    assert client.delete(f"/api/v1/tokens/{strong.pk}/", headers=headers).status_code == 403
    strong.refresh_from_db()
    assert strong.revoked_at is None


@pytest.mark.parametrize("header", ["X-Forwarded-Host", "Via", "X-Client-IP", "CF-Connecting-IP", "X-Forwarded-For"])
def test_metrics_through_a_proxy_are_not_asked_from_here(client: Client, header: str) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", headers={header: "somebody"}).status_code == 401
