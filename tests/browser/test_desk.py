"""The first page in Chromium: no violation, live, resuming, each panel alone, small screens, both themes."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db.models import F
from playwright.sync_api import Page, Route, expect

from tests import cast
from tests.browser.conftest import Complaints
from tests.web_server import WebServer
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind
from trading import portfolio
from trading.models import Feed

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()


def alarm(text: str, kind: str = EventKind.ALARM, **data: Any) -> None:
    with db.transaction():
        events.emit(kind=kind, subject="company", agent="scout", now=db.now(), data={"alarm": text, **data})


def measure_equity() -> None:
    """A point of the line, a minute of market time after the last."""
    Feed.objects.update(market_time=F("market_time") + timedelta(minutes=1))
    portfolio.snapshot(now=db.now(), limit=1)


def open_desk(page: Page, server: WebServer) -> None:
    page.goto(f"{server.url}/dashboard/")
    expect(page.locator("html")).to_have_attribute("data-ready", "yes")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")


def rows(page: Page) -> list[str]:
    return page.locator("#events .event-text").all_inner_texts()


def test_the_page_loads_without_a_violation_and_events_appear_by_themselves(
    page: Page, server: WebServer, complaints: Complaints
) -> None:
    open_desk(page, server)
    alarm("first")
    expect(page.locator("#events li").first).to_contain_text("first")
    alarm("second")
    expect(page.locator("#events li").first).to_contain_text("second")
    assert complaints.found == []


def test_what_the_browser_writes_is_what_the_server_writes(page: Page, server: WebServer) -> None:
    open_desk(page, server)
    cast.bought()
    alarm("<b>not bold</b> & “quoted”")
    with db.transaction():
        for kind in EventKind.values:
            data = {
                "title": "Buy_it",
                "reason": "x" * 200,
                "value_usd": "1234.5",
                "gain": "-0.0125",
                "market": "SOL/USDC",
            }
            events.emit(kind=kind, subject="proposal:7", agent="sage", now=db.now(), data=data)
    alarm("the end")
    expect(page.locator("#events li").first).to_contain_text("the end")
    live = rows(page)
    links = page.locator("#events li a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-ready", "yes")
    assert rows(page) == live
    assert page.locator("#events li a").evaluate_all("all => all.map(a => a.getAttribute('href'))") == links


def test_figures_follow_a_trade_without_a_reload(page: Page, server: WebServer, complaints: Complaints) -> None:
    open_desk(page, server)
    expect(page.locator("#panel-positions")).to_contain_text("Nothing is held")
    cast.bought()
    expect(page.locator("#panel-positions table.positions")).to_contain_text("SOL/USDC")
    expect(page.locator("#panel-pipeline")).to_contain_text("Filled")
    expect(page.locator("#panel-portfolio")).to_contain_text("1 open")
    expect(page.locator("#panel-equity")).to_contain_text("No measure yet")
    for _ in range(2):
        measure_equity()
    expect(page.locator("#equity-chart .uplot")).to_be_visible()
    assert complaints.found == []


@pytest.mark.race
def test_after_the_web_process_was_killed_the_page_resumes_and_misses_nothing(page: Page, server: WebServer) -> None:
    open_desk(page, server)
    alarm("before")
    expect(page.locator("#events li").first).to_contain_text("before")
    server.stop(kill=True)
    expect(page.locator("#live")).to_have_attribute("data-state", "reconnecting")
    for n in range(5):
        alarm(f"meanwhile {n}")
    server.start()
    expect(page.locator("#live")).to_have_attribute("data-state", "live", timeout=40_000)
    alarm("after")
    expect(page.locator("#events li").first).to_contain_text("after")
    found = [text for text in rows(page) if re.search(r"before|meanwhile|after", text)]
    words = ["after", *(f"meanwhile {n}" for n in reversed(range(5))), "before"]
    assert found == [f"Something needs a person: {word}." for word in words]


def test_a_panel_that_breaks_leaves_the_others_live(page: Page, server: WebServer) -> None:
    def broken(route: Route) -> None:
        route.fulfill(
            status=500,
            content_type="text/html",
            body='<div class="failed">broken<a data-retry href="#">Again</a></div>',
        )

    page.route("**/dashboard/panels/pipeline/", broken)
    page.route(
        "**/dashboard/chart.js",
        lambda route: route.fulfill(content_type="text/javascript", body="throw new Error('x')"),
    )
    open_desk(page, server)
    cast.bought()
    expect(page.locator("#panel-pipeline .failed")).to_be_visible()
    expect(page.locator("#panel-positions table.positions")).to_contain_text("SOL/USDC")
    expect(page.locator("#panel-equity")).to_be_visible()
    page.unroute("**/dashboard/panels/pipeline/")
    page.locator("#panel-pipeline [data-retry]").click()
    expect(page.locator("#panel-pipeline")).to_contain_text("Filled")


def test_pausing_holds_events_back_and_resuming_shows_them(page: Page, server: WebServer) -> None:
    open_desk(page, server)
    page.locator("#pause").click()
    alarm("held back")
    expect(page.locator("#live-more")).to_contain_text("waiting")
    assert not any("held back" in text for text in rows(page))
    page.locator("#pause").click()
    expect(page.locator("#events li").first).to_contain_text("held back")


def test_the_list_stays_at_fifty_rows_however_much_comes(page: Page, server: WebServer) -> None:
    open_desk(page, server)
    with db.transaction():
        for n in range(400):
            events.emit(kind=EventKind.ALARM, subject="company", now=db.now(), data={"alarm": f"number {n}"})
    expect(page.locator("#events li").first).to_contain_text("number 399")
    assert page.locator("#events li").count() == 50


def test_without_scripts_the_page_is_complete(page: Page, server: WebServer) -> None:
    alarm("by the server")
    page.route("**/*.js", lambda route: route.abort())
    page.goto(f"{server.url}/dashboard/")
    expect(page.locator("#events li").first).to_contain_text("by the server")
    expect(page.locator("#panel-portfolio")).to_contain_text("$10,000.00")
    expect(page.locator("#live")).to_contain_text("As of")
    assert page.locator("#pause").is_hidden()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1024, 1920])
def test_it_fits_and_is_accessible(
    page: Page, server: WebServer, theme: Any, width: int, complaints: Complaints
) -> None:
    cast.bought()
    measure_equity()
    measure_equity()
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 900})
    open_desk(page, server)
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert page.evaluate(overflow) == 0
    expect(page.locator("#equity-chart .uplot")).to_be_visible()
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []
    assert complaints.found == []


def test_the_theme_that_is_chosen_is_kept(page: Page, server: WebServer) -> None:
    open_desk(page, server)
    for theme in ("light", "dark"):
        page.locator("#theme").click()
        expect(page.locator("html")).to_have_attribute("data-theme", theme)
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_the_company_is_halted_from_the_keyboard(page: Page, server: WebServer) -> None:
    open_desk(page, server)
    page.get_by_role("link", name="Halt…").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Halt the company?")).to_be_visible()
    page.evaluate(AXE)
    assert page.evaluate("axe.run(document)")["violations"] == []
    page.keyboard.type("a drill")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator(".pill-halted")).to_be_visible()
