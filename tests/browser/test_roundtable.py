"""The roundtable in Chromium: turns appear as they are spoken, on a phone too, and without scripts."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from agents.models import Relationship, Shift
from roundtable.models import Conversation
from tests import admin_rows
from tests.browser.conftest import Complaints
from tests.browser.test_desk import AXE, open_desk
from tests.web_server import WebServer
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind

LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 3


def speak(talk: Conversation, place: int, text: str) -> None:
    with db.transaction():
        admin_rows.turn(talk, place, "sage", text=text[:120], stance="disagree", to="atlas", probability="0.4")
        events.emit(
            kind=EventKind.TURN_SPOKEN, subject=talk.subject, agent="sage", now=db.now(), data={"text": text[:120]}
        )


def ended() -> Conversation:
    talk = admin_rows.conversation(status="completed", topic=LONG)
    for place, stance in enumerate(("agree", "veto", "neutral", "disagree"), start=1):
        admin_rows.turn(talk, place, "atlas", stance=stance, memories=[admin_rows.memory("atlas")])
    pair = Relationship.objects.get(a="atlas", b="sage")
    Shift.objects.create(relationship=pair, cause=talk.subject, delta="-0.01", before="0.8", after="0.79", at=db.now())
    return talk


def test_a_turn_appears_by_itself_and_an_open_transcript_stays_open(
    page: Page, server: WebServer, complaints: Complaints
) -> None:
    ended()
    talk = admin_rows.conversation()
    open_desk(page, server)
    panel = page.locator("#panel-roundtable")
    expect(panel).to_contain_text("atlas opens")
    panel.locator("details summary").click()
    for place in (1, 2):
        speak(talk, place, f"Word {place} of mine.")
        expect(panel).to_contain_text(f"Word {place} of mine.")
    expect(panel.locator("details")).to_have_attribute("open", "")
    expect(page.locator("#panel-agents")).to_contain_text("Word 2 of mine.")
    assert not any("spoke" in text for text in page.locator("#events .event-text").all_inner_texts())
    assert complaints.found == []


def test_an_open_transcript_stays_open_when_a_newer_conversation_comes_before_it(
    page: Page, server: WebServer, complaints: Complaints
) -> None:
    read = ended()
    open_desk(page, server)
    panel = page.locator("#panel-roundtable")
    panel.locator(f"#talk-{read.pk} summary").click()
    for _ in range(2):
        newer = ended()
        with db.transaction():
            events.emit(kind=EventKind.CONVERSATION_COMPLETED, subject=newer.subject, now=db.now(), data={})
        expect(panel.locator(f"#talk-{newer.pk}")).to_be_visible()
    expect(panel.locator(f"#talk-{read.pk} details")).to_have_attribute("open", "")
    expect(panel.locator("details[open]")).to_have_count(1)
    assert [talk.get_attribute("id") for talk in panel.locator("li.talk").all()][-1] == f"talk-{read.pk}"
    assert complaints.found == []


def test_without_scripts_the_transcript_can_be_read(page: Page, server: WebServer) -> None:
    ended()
    speak(admin_rows.conversation(), 1, "Plainly said.")
    page.route("**/*.js", lambda route: route.abort())
    page.goto(f"{server.url}/dashboard/")
    panel = page.locator("#panel-roundtable")
    expect(panel).to_contain_text("Plainly said.")
    panel.locator("details summary").click()
    expect(panel.locator("details .turn").first).to_be_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1920])
def test_it_fits_and_is_accessible(
    page: Page, server: WebServer, theme: Any, width: int, complaints: Complaints
) -> None:
    ended()
    speak(admin_rows.conversation(topic=LONG), 1, LONG)
    page.emulate_media(color_scheme=theme)
    page.set_viewport_size({"width": width, "height": 900})
    open_desk(page, server)
    page.locator("#panel-roundtable details summary").click()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    page.evaluate(AXE)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(each["id"], [node["html"][:120] for node in each["nodes"]]) for each in found] == []
    assert complaints.found == []
