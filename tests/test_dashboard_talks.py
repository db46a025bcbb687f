"""The roundtable's panel: what is said as it is said, what it moved, and nothing that could hurt the page."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.test import Client

from agents.models import Relationship, Shift
from dashboard import panels, sentences, talks
from dashboard.panels import PANELS
from roundtable.models import Conversation
from tests import admin_rows, cast
from tests.test_admin_lists import what_is_blocked
from tradeco.common import db
from tradeco.common.vocabulary import EventKind

EVIL = "<script>alert(1)</script><img src=x onerror=alert(1)>"
PANEL = "/dashboard/panels/roundtable/"


@pytest.fixture
def watching(client: Client, admin_user: AbstractUser) -> Client:
    client.force_login(admin_user)
    return client


def shown(client: Client) -> str:
    answer = client.get(PANEL)
    assert answer.status_code == 200
    text: str = answer.content.decode()
    return text


def moved(conversation: Conversation, delta: str, *, a: str = "atlas", b: str = "sage") -> Shift:
    pair = Relationship.objects.get(a=a, b=b)
    change = Decimal(delta)
    return Shift.objects.create(
        relationship=pair,
        cause=conversation.subject,
        delta=change,
        before=pair.affinity,
        after=pair.affinity + change,
        at=db.now(),
    )


# --- empty ----------------------------------------------------------------------------------------


def test_with_no_conversation_the_panel_says_what_will_start_one(watching: Client) -> None:
    cast.force_policy(roundtable_from_usd="75")
    text = shown(watching)
    assert "The next trade worth $75.00 or more starts a review, a big loss a post-mortem" in text
    assert "Ended last" not in text


def test_where_talks_are_switched_off_the_panel_names_the_policy(watching: Client) -> None:
    cast.force_policy(flag_talks=False)
    text = shown(watching)
    assert "flag_talks" in text
    assert "a stand-up" not in text


def test_before_the_company_is_opened_the_panel_names_the_command(client: Client, db: None) -> None:
    client.force_login(cast.get_user_model().objects.create_superuser("admin", "", "a long pass phrase"))
    assert "manage.py bootstrap" in shown(client)


# --- while they talk ------------------------------------------------------------------------------


def test_turns_appear_in_their_order_with_stance_as_icon_word_and_colour(watching: Client) -> None:
    talk = admin_rows.conversation(format="debate", topic="Do we hold?", turns_planned=8)
    admin_rows.turn(talk, 2, "sage", stance="disagree", to="atlas", text="It may fall.", probability="0.4")
    admin_rows.turn(talk, 1, "atlas", text="It rises.")
    text = shown(watching)
    assert text.index("It rises.") < text.index("It may fall.")
    assert re.search(r'mark-disagree"><svg[^>]*><use href="#i-cross"/></svg>disagrees', text)
    assert re.search(r'mark-agree"><svg[^>]*><use href="#i-check"/></svg>agrees', text)
    for word in ("Debate", "Do we hold?", "Active", "to Atlas", "40.0 % likely", "2 of some 8 turns"):
        assert word in text, word


def test_a_turn_is_seen_with_the_next_look_and_the_browser_looks_at_each_turn(watching: Client) -> None:
    talk = admin_rows.conversation()
    assert "atlas opens" in shown(watching)
    admin_rows.turn(talk, 1, "atlas", text="Now I speak.")
    assert "Now I speak." in shown(watching)
    kinds = PANELS["roundtable"].kinds
    for kind in (EventKind.TURN_SPOKEN, EventKind.CONVERSATION_OPENED, EventKind.CONVERSATION_COMPLETED):
        assert kind.startswith(kinds), kind
    assert PANELS["roundtable"].every_seconds == 1


def test_memories_and_a_failed_model_are_named(watching: Client) -> None:
    talk = admin_rows.conversation()
    memory = admin_rows.memory("sage", text="Wait for volume.")
    admin_rows.turn(talk, 1, "atlas", fell_back=True, memories=[memory])
    text = shown(watching)
    assert f'href="/admin/agents/memory/{memory.pk}/change/">#{memory.pk}</a>' in text
    assert "The script spoke" in text


def test_the_agents_panel_holds_the_last_words_of_each(watching: Client) -> None:
    talk = admin_rows.conversation()
    admin_rows.turn(talk, 1, "atlas", text="My first words.")
    admin_rows.turn(talk, 2, "atlas", text="My last words.")
    text = watching.get("/dashboard/panels/agents/").content.decode()
    assert "My last words." in text
    assert "My first words." not in text
    assert text.count("agent-words") == 1


# --- afterwards -----------------------------------------------------------------------------------


def test_a_finished_one_shows_its_stances_and_its_drift_beside_the_cap(watching: Client) -> None:
    talk = admin_rows.conversation(status="completed")
    for place, stance in enumerate(("agree", "agree", "veto", "neutral"), start=1):
        admin_rows.turn(talk, place, "atlas", stance=stance)
    moved(talk, "0.0200")
    moved(talk, "-0.0300", a="atlas", b="intel")
    text = shown(watching)
    assert re.findall(r"(\d) × ([a-z]+)", text) == [("2", "agrees"), ("1", "neutral"), ("1", "vetoes")]
    for words in ("+0.0200", "−0.0300", "of ±0.03, now 0.8200", "Atlas – Intel", "4 turns"):
        assert words in text, words
    assert [drift.at for drift in talks.roundtable(now=db.now())["ended"][0].drift] == [Decimal("0.0"), Decimal("83.3")]


def test_one_that_was_given_up_says_why_and_a_review_names_its_proposal(watching: Client) -> None:
    proposal = admin_rows.proposal(title="Buy SOL")
    admin_rows.conversation(status="failed", reason="Nobody spoke for 3 min.", format="trade_review", decides=proposal)
    text = shown(watching)
    assert "Nobody spoke for 3 min." in text
    assert f'href="/admin/missions/proposal/{proposal.pk}/change/">proposal #{proposal.pk}</a>, pending' in text


# --- many, hostile, bounded -----------------------------------------------------------------------


def test_however_many_there_are_the_panel_shows_a_few_in_as_few_queries(
    watching: Client, django_assert_max_num_queries: Callable[[int], AbstractContextManager[Any]]
) -> None:
    for _ in range(7):
        talk = admin_rows.conversation(status="completed", decides=admin_rows.proposal())
        for place in range(1, 13):
            admin_rows.turn(talk, place, "atlas", memories=[admin_rows.memory("sage")])
        moved(talk, "0.0100")
        admin_rows.turn(admin_rows.conversation(), 1, "atlas")
    with django_assert_max_num_queries(16):
        read = talks.roundtable(now=db.now())
    assert (len(read["running"]), len(read["ended"])) == (talks.RUNNING_ROWS, talks.ENDED_ROWS)
    page = watching.get("/dashboard/").content.decode()
    assert page.count('class="talk ') == talks.RUNNING_ROWS + talks.ENDED_ROWS
    assert "can’t be shown" not in page


def test_hostile_words_stay_words_and_nothing_is_inline(watching: Client) -> None:
    talk = admin_rows.conversation(topic=EVIL, participants=[EVIL[:20], "sage"])
    admin_rows.conversation(topic=EVIL, participants=[EVIL[:20], "sage"])
    admin_rows.turn(talk, 1, "sage", text=EVIL)
    ended = admin_rows.conversation(status="failed", reason=EVIL, topic=EVIL, decides=admin_rows.proposal(title=EVIL))
    admin_rows.turn(ended, 1, "sage", text=EVIL)
    answer = watching.get("/dashboard/")
    page = answer.content.decode()
    assert "unsafe" not in answer["Content-Security-Policy"]
    assert what_is_blocked(page) == []
    assert "<script>alert" not in page
    assert "<img" not in page.replace('<img src="/static/dashboard/mark.svg"', "")
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 5


def test_a_roundtable_that_cannot_be_read_leaves_the_rest_of_the_page(
    watching: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*, now: object) -> dict[str, Any]:
        raise ZeroDivisionError

    monkeypatch.setitem(panels.PANELS, "roundtable", panels.Panel("roundtable", "Roundtable", broken, ()))
    page = watching.get("/dashboard/").content.decode()
    assert page.count("can’t be shown right now") == 1
    assert "$10,000.00" in page


# --- words ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "subject", "data", "text"),
    [
        ("conversation.turn", "conversation:3", {"text": "It rises."}, "Sage spoke: “It rises.”."),
        ("conversation.turn", "conversation:3", {}, "Sage spoke."),
        ("conversation.opened", "conversation:3", {"format": "trade_review", "topic": "Buy"},
         "The conversation #3 was arranged: trade review, “Buy”."),
        ("conversation.failed", "conversation:3", {"reason": "Nobody spoke."},
         "The conversation #3 was given up: Nobody spoke."),
        ("relationship.shifted", "relationship:1", {"a": "atlas", "b": "sage", "delta": "0.0200", "affinity": "0.8200"},
         "Atlas and sage moved by 0.0200, to 0.8200."),
        ("memory.kept", "memory:5", {"text": "Wait.", "type": "lesson"}, "Sage keeps in mind: “Wait.” (lesson)."),
        ("memory.archived", "memory:5", {"why": "weakest"}, "Sage laid memory #5 aside: weakest."),
        ("forecast.scored", "forecast:2", {"probability": "0.6", "brier": "0.16"},
         "Sage’s forecast #2 met its horizon: 60.0 % was said, Brier 0.16."),
        ("proposal.talked_over", "proposal:9", {"title": "Buy", "value_usd": "20.00"},
         "“Buy” is talked over, worth $20.00."),
    ],
)  # fmt: skip
def test_what_agents_say_and_learn_is_told_in_sentences(
    company: None, kind: str, subject: str, data: dict[str, Any], text: str
) -> None:
    from tradeco.common.models import Event

    event = Event(kind=kind, subject=subject, agent="sage", data=data, at=db.now())
    assert sentences.tell(event, names=sentences.agent_names()).text == text


def test_turns_do_not_flood_the_list_of_events() -> None:
    assert EventKind.TURN_SPOKEN in sentences.ROUTINE
    assert EventKind.CONVERSATION_COMPLETED not in sentences.ROUTINE


# --- the staff's desk -----------------------------------------------------------------------------


def test_a_conversation_s_admin_page_holds_its_transcript_votes_and_drift(watching: Client) -> None:
    proposal = admin_rows.proposal(title="Buy SOL")
    talk = admin_rows.conversation(status="completed", format="trade_review", decides=proposal)
    said = admin_rows.turn(talk, 1, "sage", stance="veto", text=EVIL[:100], tone="critical", probability="0.250")
    admin_rows.turn(talk, 2, "atlas", to="sage")
    admin_rows.vote(proposal, "sage", stance="veto", turn=said, reason="Too much.")
    moved(talk, "-0.0100")
    answer = watching.get(f"/admin/roundtable/conversation/{talk.pk}/change/")
    for words in ("Transcript", "1. Sage", "&lt;script&gt;", "Vetoes", "Too much.", "-0.0100 from 0.8000 to 0.7900"):
        assert words in answer.text, words
    assert answer.text.count("I see it so.") == answer.text.count("I see it so.</a>") == 1, "told once, in a link"
    assert "2. Atlas to Sage" in answer.text
    assert "(critical, 25.0 %)</a>" in answer.text
    assert f'href="/admin/roundtable/turn/{said.pk}/change/"' in answer.text
    assert "<script>alert" not in answer.text
    assert "could not be shown" not in answer.text
