"""The staff's desk as a whole: every model has its pages, which stay cheap, inert and read-only."""

from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import AbstractUser
from django.db import connection
from django.db.models import Model
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from missions.models import Proposal
from tests import admin_rows
from tradeco.common import admin_base, admin_show
from tradeco.common.admin_base import BoundedPaginator, ReadOnlyAdmin
from tradeco.common.models import Event

OURS = ("common", "agents", "missions", "trading", "roundtable", "dashboard")
MODELS = [model for app in OURS for model in apps.get_app_config(app).get_models()]
EDITABLE = {"agents.agent", "agents.memory"}  # by operators, some of their fields
ADDABLE = {"missions.policyversion", "dashboard.apitoken"}  # on pages of their own
CSP = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
}


class Inline(HTMLParser):
    """Collects what a strict content security policy would block."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        if tag == "style" or (tag == "script" and not names.get("src")):
            self.found.append(self.get_starttag_text() or tag)
        self.found += [f"{tag} {name}" for name in names if name == "style" or name.startswith("on")]
        if any((value or "").strip().lower().startswith("javascript:") for value in names.values()):
            self.found.append(f"{tag} javascript:")


def what_is_blocked(html: str) -> list[str]:
    parser = Inline()
    parser.feed(html)
    return parser.found


def address_of(model: type[Model], page: str, row: Model | None = None) -> str:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}"
    return reverse(name, args=[admin.utils.quote(row.pk)] if row else [])


def list_of(model: type[Model]) -> str:
    return address_of(model, "changelist")


def newest(model: type[Model]) -> Model:
    row = model._default_manager.order_by("-pk").first()
    assert row is not None, model
    return row


def page_of(row: Model) -> str:
    found = admin_show.change_url(type(row), row.pk)
    assert found
    return found


def queries_of(client: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as asked:
        assert client.get(address).status_code == 200
    return len(asked)


@pytest.fixture
def staff(client: Client, company: None, admin_user: AbstractUser) -> Client:
    client.force_login(admin_user)
    return client


def test_every_model_of_ours_is_on_the_desk_and_the_doorbells_tables_are_not() -> None:
    assert [model._meta.label for model in MODELS if not admin.site.is_registered(model)] == []
    assert [model for model in apps.get_app_config("django_q").get_models() if admin.site.is_registered(model)] == []


def test_a_list_of_fifty_rows_asks_no_more_than_one_of_five(staff: Client) -> None:
    admin_rows.populate(5)
    for model in MODELS:
        staff.get(list_of(model))  # content types and other caches are warm now
    few = {model._meta.label: queries_of(staff, list_of(model)) for model in MODELS}
    admin_rows.populate(45)
    assert {model._meta.label: queries_of(staff, list_of(model)) for model in MODELS} == few
    assert max(few.values()) <= 15


@pytest.mark.usefixtures("company")
def test_control_a_column_that_loads_its_row_is_seen_by_the_count(admin_user: AbstractUser) -> None:
    class Careless(ReadOnlyAdmin):
        list_display = ("author_name",)

        def author_name(self, row: Proposal) -> str:
            return row.author.get_username() if row.author else ""

    def queries() -> int:
        request = RequestFactory().get("/")
        request.user = admin_user
        with CaptureQueriesContext(connection) as asked:
            Careless(Proposal, admin.site).changelist_view(request).render()
        return len(asked)

    admin_rows.populate(5)
    queries()
    few = queries()
    admin_rows.populate(5)
    assert queries() == few + 5


def test_pages_hold_nothing_inline_and_stored_scripts_stay_text(staff: Client) -> None:
    admin_rows.populate(2)
    for model in MODELS:
        row = newest(model)
        for address in (list_of(model), page_of(row), address_of(model, "history", row)):
            answer = staff.get(address)
            assert answer.status_code == 200, address
            assert set(answer["Content-Security-Policy"].split("; ")) == CSP, address
            assert what_is_blocked(answer.text) == [], address
            assert "<script>alert" not in answer.text, address
            assert "<script>x" not in answer.text, address
            assert "<b>" not in answer.text, address
            assert "could not be shown" not in answer.text, address


def test_control_the_parser_sees_what_a_policy_would_block() -> None:
    inline = '<script>x()</script><p style="a"><b onclick="x()"><style></style><a href=" javascript:x()">'
    assert len(what_is_blocked(inline)) == 5
    assert what_is_blocked('<script src="/x.js"></script><p class="style">') == []


def test_each_filter_and_the_search_answer(staff: Client) -> None:
    admin_rows.populate(2)
    for model in MODELS:
        changes = staff.get(list_of(model)).context["cl"]
        asked = [list(spec.choices(changes))[-1]["query_string"] for spec in changes.filter_specs]
        asked += [f"?{urlencode({'q': words})}" for words in ("it's 100%", "#1", "99999999999999999999")]
        for query in asked:
            assert staff.get(list_of(model) + query).status_code == 200, list_of(model) + query


def test_what_postgresql_cannot_read_is_refused_and_never_a_crash(staff: Client) -> None:
    for model in MODELS:
        assert staff.get(list_of(model), {"q": "a\x00b"}).status_code == 400, model
        assert staff.get(f"{list_of(model)}%00/change/").status_code in {302, 404}, model
        assert staff.get(f"{list_of(model)}99999999999999999999/change/").status_code in {302, 404}, model


def test_nobody_edits_what_is_read_only_not_even_a_superuser(staff: Client) -> None:
    admin_rows.populate(1)
    for model in MODELS:
        row, label = newest(model), model._meta.label_lower
        assert staff.post(address_of(model, "delete", row), {"post": "yes"}).status_code == 403, label
        if label not in EDITABLE:
            assert staff.post(page_of(row), {"reason": "mine"}).status_code == 403, label
        if label not in ADDABLE:
            assert staff.get(address_of(model, "add")).status_code == 403, label
            assert staff.post(address_of(model, "add"), {}).status_code == 403, label
        assert model._default_manager.filter(pk=row.pk).exists(), label


def test_a_viewer_reads_everything_and_a_stranger_nothing(
    client: Client, viewer: AbstractUser, charlie: AbstractUser
) -> None:
    admin_rows.populate(1)
    for user, expected in ((viewer, 200), (charlie, 403)):
        client.force_login(user)
        for model in MODELS:
            assert client.get(list_of(model)).status_code == expected, model
            assert client.get(page_of(newest(model))).status_code == expected, model


@pytest.fixture
def viewer(company: None) -> Any:
    return admin_rows.person("vera", "viewer")


@pytest.mark.usefixtures("company")
def test_counting_stops_where_it_would_cost_more_than_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    admin_rows.populate(8)
    monkeypatch.setattr(admin_base, "COUNTED_MOST", 3)
    with CaptureQueriesContext(connection) as asked:
        assert BoundedPaginator(Event.objects.order_by("-at"), 50).count == 3
    assert "LIMIT 3" in asked[0]["sql"]
    assert "ORDER BY" not in asked[0]["sql"]


def test_an_event_is_found_by_its_public_number_and_by_its_subject(staff: Client) -> None:
    admin_rows.populate(2)
    for words in ("1000001", "#1000001", "proposal:1"):
        rows = staff.get(list_of(Event), {"q": words}).context["cl"].result_list
        assert [row.number for row in rows] == [1_000_001], words
