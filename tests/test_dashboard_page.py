"""The first page: who sees it, that it is complete without scripts, and that one broken panel stays alone."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.db import OperationalError, connection, transaction
from django.test import Client

from dashboard import formats, panels, queries, sentences
from dashboard.panels import PANELS, Panel
from missions import company
from missions.models import Company
from missions.vocabulary import CompanyStatus
from tests import cast
from tradeco.common import db, events
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind


@pytest.fixture
def watching(client: Client, admin_user: AbstractUser) -> Client:
    client.force_login(admin_user)
    return client


def emit(kind: str = EventKind.ALARM, subject: str = "company", agent: str = "", **data: Any) -> Event:
    with transaction.atomic():
        event = events.emit(kind=kind, subject=subject, now=db.now(), agent=agent, data=data)
    events.number_new()
    event.refresh_from_db()
    return event


# --- who ------------------------------------------------------------------------------------------


def test_strangers_are_led_to_the_log_in(client: Client, company: None) -> None:
    assert client.get("/").headers["Location"] == "/dashboard/"
    for address in ("/dashboard/", "/dashboard/panels/equity/", "/dashboard/company/halted/", "/dashboard/words.json"):
        answer = client.get(address)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/?next=%2Fdashboard%2F")


def test_a_script_that_fetches_a_panel_without_session_is_told_so(client: Client, company: None) -> None:
    assert client.get("/dashboard/panels/equity/", headers={"X-Fragment": "1"}).status_code == 401


def test_staff_without_the_right_see_nothing(client: Client, charlie: AbstractUser) -> None:
    client.force_login(charlie)
    assert client.get("/dashboard/").status_code == 403
    assert client.get("/dashboard/panels/portfolio/").status_code == 403


def test_an_unknown_panel_is_not_found(watching: Client) -> None:
    assert watching.get("/dashboard/panels/nonsense/").status_code == 404


# --- what -----------------------------------------------------------------------------------------


def test_the_page_is_complete_without_scripts(watching: Client) -> None:
    page = watching.get("/dashboard/").content.decode()
    for panel in PANELS.values():
        assert f'data-panel="{panel.name}"' in page
    for text in ("PAPER", "$10,000.00", "SOL/USDC", "Atlas", "Trades per day", "Active", "Halt…", "demo policies"):
        assert text in page
    assert "can’t be shown" not in page


def test_before_anything_happened_each_panel_says_what_happens_next(client: Client, db: None) -> None:
    admin = cast.get_user_model().objects.create_superuser("admin", "", "a long pass phrase")
    client.force_login(admin)
    page = client.get("/dashboard/").content.decode()
    for text in ("not opened yet", "No market yet", "Nothing is held", "No order yet", "Nobody is hired yet"):
        assert text in page


def test_a_traded_company_shows_its_position_order_and_events(committed_company: None, watching: Client) -> None:
    cast.bought()
    page = watching.get("/dashboard/").content.decode()
    for text in ("SOL/USDC</a>", "Filled", "Scout opened a position in SOL/USDC", "−$0."):
        assert text in page


def test_texts_of_agents_and_people_are_shown_as_text(watching: Client) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    emit(EventKind.PROPOSAL_CREATED, subject="proposal:1", agent="scout", title=evil)
    emit(EventKind.ALARM, subject=f"company:{evil[:40]}", alarm='"><svg onload=alert(1)>')
    page = watching.get("/dashboard/").content.decode()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page
    assert "<svg onload" not in page


def test_nothing_on_the_page_needs_a_weaker_content_policy(watching: Client) -> None:
    answer = watching.get("/dashboard/")
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy
    page = answer.content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert not re.search(r"\sstyle=|\son[a-z]+=|javascript:|<style", page)


def test_the_page_asks_a_bounded_number_of_queries(
    watching: Client, django_assert_max_num_queries: Callable[[int], AbstractContextManager[Any]]
) -> None:
    for _ in range(5):
        emit(agent="scout")
    with django_assert_max_num_queries(120):
        watching.get("/dashboard/")


def test_the_list_of_events_has_fifty_rows_and_no_routine(watching: Client) -> None:
    for n in range(60):
        emit(alarm=f"number {n}")
    emit(EventKind.MARKET_PRICES, subject="market")
    page = watching.get("/dashboard/panels/events/").content.decode()
    assert page.count('class="event ') == queries.EVENT_ROWS
    assert "number 59" in page
    assert "New prices" not in page


# --- one broken panel -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["python", "database"])
def test_a_panel_that_fails_says_so_and_the_others_stay(
    watching: Client, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def broken(*, now: object) -> dict[str, Any]:
        if way == "python":
            raise ZeroDivisionError("secret detail")
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        return {}

    monkeypatch.setitem(panels.PANELS, "prices", Panel("prices", "Prices", broken, ("market.",)))
    answer = watching.get("/dashboard/")
    page = answer.content.decode()
    assert answer.status_code == 200
    assert page.count("can’t be shown right now") == 1
    assert "secret detail" not in page
    assert "$10,000.00" in page
    alone = watching.get("/dashboard/panels/prices/")
    assert alone.status_code == 500
    assert "Try again" in alone.content.decode()


def test_while_the_database_is_away_the_page_says_so(watching: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OperationalError("it's gone")

    monkeypatch.setattr("dashboard.views.db.now", away)
    answer = watching.get("/dashboard/")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "5"
    assert "database is away" in answer.content.decode()


# --- the switch -----------------------------------------------------------------------------------


def test_halting_asks_for_confirmation_and_a_reason(watching: Client) -> None:
    assert "Halt the company?" in watching.get("/dashboard/company/halted/").content.decode()
    refused = watching.post("/dashboard/company/halted/", {"reason": "  "})
    assert refused.status_code == 400
    assert Company.objects.get().status == CompanyStatus.ACTIVE
    answer = watching.post("/dashboard/company/halted/", {"reason": "prices look wrong"}, follow=True)
    assert "The company is halted" in answer.content.decode()
    row = Company.objects.get()
    assert (row.status, row.reason, row.changed_by.get_username()) == ("halted", "prices look wrong", "admin")


def test_a_reviewer_sees_no_switch_and_may_not_use_it(client: Client, alice: AbstractUser) -> None:
    client.force_login(alice)
    assert "Halt…" not in client.get("/dashboard/").content.decode()
    assert client.post("/dashboard/company/halted/", {"reason": "because"}).status_code == 403
    assert Company.objects.get().status == CompanyStatus.ACTIVE


def test_the_switch_needs_the_forms_own_token(admin_user: AbstractUser) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    assert strict.post("/dashboard/company/halted/", {"reason": "because"}).status_code == 403


def test_where_resuming_needs_more_people_the_page_says_so(watching: Client, admin_user: AbstractUser) -> None:
    cast.force_policy(quorum=2)
    company.switch(to=CompanyStatus.HALTED, by=admin_user, reason="drill", now=db.now())
    answer = watching.post("/dashboard/company/active/", {"reason": "over"}, follow=True)
    assert "1 more person must say the same" in answer.content.decode()
    assert Company.objects.get().status == CompanyStatus.HALTED
    assert watching.get("/dashboard/company/sideways/").status_code == 404


# --- words and numbers ----------------------------------------------------------------------------


def test_every_kind_of_event_has_its_sentence_and_its_icon(watching: Client) -> None:
    assert set(sentences.SENTENCES) == set(EventKind.values)
    page = watching.get("/dashboard/").content.decode()
    drawn = set(re.findall(r'<symbol id="i-([a-z]+)"', page))
    assert {sentence.icon for sentence in sentences.SENTENCES.values()} <= drawn


@pytest.mark.parametrize(
    ("template", "fields", "text"),
    [
        ("{a}[ by {b}].", {"a": "x"}, "x."),
        ("{a}[ by {b}].", {"a": "x", "b": "y"}, "x by y."),
        ("{a}[, worth {b:usd}].", {"a": "x", "b": "0.00"}, "x."),
        ("{a}[, worth {b:usd}].", {"a": "x", "b": "1234.5"}, "x, worth $1,234.50."),
        ("{a.b} {c}", {"a": {"b": 1}}, "1 –"),
        ("{a:words}", {"a": "execute_trade"}, "execute trade"),
        ("{a:nonsense_in_data}", {"a": "x"}, "{a:nonsense_in_data}"),
    ],
)
def test_templates_are_filled(template: str, fields: dict[str, Any], text: str) -> None:
    assert sentences.fill(template, fields) == text


@pytest.mark.parametrize(
    ("how", "value", "text"),
    [
        ("usd", Decimal("1234.5"), "$1,234.50"),
        ("usd", Decimal("-0.001"), "$0.00"),
        ("usd", None, "–"),
        ("usd", "nonsense", "–"),
        ("gain", "1.2", "+$1.20"),
        ("gain", "-1.2", "−$1.20"),
        ("gain", 0, "$0.00"),
        ("pct", "1.254", "+1.25 %"),
        ("share", "0.125", "12.5 %"),
        ("price", "0.000025186", "$0.000025186"),
        ("price", "141.1234", "$141.12"),
        ("price", "2.1494", "$2.1494"),
        ("count", 1234.4, "1,234"),
        ("share", "-0.0125", "−1.3 %"),
        ("usd", "NaN", "–"),
        ("usd", "1e400", "–"),
    ],
)
def test_numbers_are_written(how: str, value: Any, text: str) -> None:
    assert formats.FORMATS[how](value) == text
