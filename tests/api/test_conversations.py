"""Conversations, pairs, memories and track records, as programs read them."""

from decimal import Decimal
from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from agents.models import Memory, Relationship, Score, Shift
from missions.models import Influence, Mission, Outcome
from roundtable.models import Conversation
from tests import admin_rows
from tests.api.program import Program, is_problem, trade
from tradeco.common import db

LEAST = {"status", "turns", "shifts", "votes", "format", "topic", "about", "decides", "participants"}


def rows(program: Program, path: str, **parameters: Any) -> list[dict[str, Any]]:
    answer = program.get(path, **parameters)
    assert answer.status_code == 200, answer.content
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def shift(cause: str, delta: str = "0.0200", *, a: str = "atlas", b: str = "sage") -> Shift:
    pair = Relationship.objects.get(a=a, b=b)
    before, change = Decimal("0.5"), Decimal(delta)
    return Shift.objects.create(
        relationship=pair, cause=cause, delta=change, before=before, after=before + change, at=db.now()
    )


@pytest.fixture
def review(company: None) -> Conversation:
    """A finished trade review: two turns, one of them a vote, a memory spoken from, a pair moved."""
    proposal = admin_rows.proposal(title="Buy SOL")
    talk = admin_rows.conversation(
        status="completed", format="trade_review", about=proposal.subject, decides=proposal, voters=["sage"]
    )
    admin_rows.turn(talk, 2, "sage", stance="disagree", to="atlas", probability="0.4", text="I doubt it.")
    said = admin_rows.turn(talk, 1, "atlas", memories=[admin_rows.memory("atlas")])
    admin_rows.vote(proposal, "sage", stance="disagree", turn=said)
    shift(talk.subject)
    shift("conversation:999999")
    return talk


# --- conversations --------------------------------------------------------------------------------


def test_a_conversation_has_turns_shifts_and_votes(viewer: Program, review: Conversation) -> None:
    answer = viewer.get(f"conversations/{review.pk}/")
    assert answer.status_code == 200, answer.content
    found = answer.json()
    assert set(found) >= LEAST
    assert (found["status"], found["decides"], found["format"]) == ("completed", review.decides_id, "trade_review")
    first, second = found["turns"]
    assert (first["place"], first["agent"], first["to"], first["memories"]) == (
        1,
        "atlas",
        None,
        [Memory.objects.get().pk],
    )
    told = {key: second[key] for key in ("agent", "to", "text", "stance", "tone", "probability", "voice", "fell_back")}
    assert told == {
        "agent": "sage", "to": "atlas", "text": "I doubt it.", "stance": "disagree", "tone": "plain",
        "probability": "0.4", "voice": "scripted", "fell_back": False,
    }  # fmt: skip
    (moved,) = found["shifts"]
    assert {key: moved[key] for key in ("a", "b", "delta", "before", "after")} == {
        "a": "atlas", "b": "sage", "delta": "0.02", "before": "0.5", "after": "0.52",
    }  # fmt: skip
    assert [(vote["agent"], vote["stance"], vote["reason"]) for vote in found["votes"]] == [
        ("sage", "disagree", "Why not.")
    ]
    assert rows(viewer, "conversations/") == [found]


def test_a_conversation_that_has_only_been_arranged_is_whole(viewer: Program) -> None:
    talk = admin_rows.conversation(status="pending", started_at=None)
    found = viewer.get(f"conversations/{talk.pk}/").json()
    assert (found["turns"], found["shifts"], found["votes"], found["started_at"]) == ([], [], [], None)


def test_conversations_are_filtered(viewer: Program, review: Conversation) -> None:
    other = admin_rows.conversation(participants=["growth", "intel"], about="position:12")
    for parameters, expected in (
        ({"status": "active"}, [other.pk]),
        ({"status": "completed"}, [review.pk]),
        ({"format": "trade_review"}, [review.pk]),
        ({"agent": "growth"}, [other.pk]),
        ({"agent": "grow"}, []),
        ({"about": "position:12"}, [other.pk]),
        ({"about": review.about, "agent": "sage"}, [review.pk]),
        ({}, [other.pk, review.pk]),
    ):
        assert [row["id"] for row in rows(viewer, "conversations/", **parameters)] == expected, parameters


def test_many_conversations_come_in_pages_and_few_queries(
    viewer: Program, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    viewer.get("agents/")  # a token's first use is noted, once a minute
    for _ in range(12):
        talk = admin_rows.conversation(decides=admin_rows.proposal())
        said = [admin_rows.turn(talk, n, "atlas", memories=[admin_rows.memory("atlas")]) for n in range(1, 6)]
        admin_rows.vote(talk.decides, "sage", turn=said[0])
        shift(talk.subject)
    with django_assert_max_num_queries(10):
        found = rows(viewer, "conversations/")
    assert len(found) == 12
    assert all(len(row["turns"]) == 5 and len(row["shifts"]) == 1 and len(row["votes"]) == 1 for row in found)
    first = viewer.get("conversations/", limit=5).json()
    second = viewer.get(first["next"]).json()
    assert [row["id"] for row in first["results"] + second["results"]] == [row["id"] for row in found[:10]]


def test_hostile_words_are_told_as_they_are_and_as_json(viewer: Program) -> None:
    talk = admin_rows.conversation(topic=admin_rows.EVIL)
    admin_rows.turn(talk, 1, "atlas", text='"}]}' + admin_rows.EVIL)
    answer = viewer.get(f"conversations/{talk.pk}/")
    assert answer["Content-Type"] == "application/json"
    assert answer.json()["turns"][0]["text"] == '"}]}' + admin_rows.EVIL


# --- pairs ----------------------------------------------------------------------------------------


def test_a_pair_shows_its_last_twenty_shifts_newest_first_whoever_is_named_first(viewer: Program) -> None:
    for number in range(25):
        shift(f"conversation:{number}", "0.0100")
    shift("conversation:1", a="atlas", b="intel")
    found = viewer.get("relationships/atlas-sage/").json()
    assert (found["a"], found["b"], found["affinity"]) == ("atlas", "sage", "0.8")
    assert [moved["cause"] for moved in found["shifts"]] == [f"conversation:{n}" for n in range(24, 4, -1)]
    assert viewer.get("relationships/sage-atlas/").json() == found


def test_a_pair_that_is_none_is_not_found(viewer: Program, subtests: pytest.Subtests) -> None:
    for pair in ("atlas-nobody", "atlas-atlas", "atlas", "atlas-sage-intel", "ATLAS-sage", "%00-sage", "1-2"):
        with subtests.test(pair):
            is_problem(viewer.get(f"relationships/{pair}/"), 404, "not_found")


# --- memories -------------------------------------------------------------------------------------


def test_memories_are_found_by_tag_by_words_in_any_form_and_by_whether_they_are_live(viewer: Program) -> None:
    wait = admin_rows.memory("sage", text="Waiting for volume paid.", tags=["SOL/USDC", "entry"])
    gone = admin_rows.memory("sage", text="Stops too tight are hit.", archived_at=db.now(), superseded_by=wait)
    admin_rows.memory("atlas", text="Waiting for volume paid.", tags=["entry"])
    for parameters, expected in (
        ({"tag": "entry"}, [wait.pk]),
        ({"tag": "entr"}, []),
        ({"q": "wait volumes"}, [wait.pk]),
        ({"q": "stop OR wait"}, [gone.pk, wait.pk]),
        ({"q": "volume -waiting"}, []),
        ({"q": "' OR 1=1 --"}, []),
        ({"q": ":*&|!()"}, []),
        ({"archived": "true"}, [gone.pk]),
        ({"archived": "false", "type": "lesson"}, [wait.pk]),
        ({}, [gone.pk, wait.pk]),
    ):
        assert [row["id"] for row in rows(viewer, "agents/sage/memories/", **parameters)] == expected, parameters
    first = rows(viewer, "agents/sage/memories/")[0]
    assert (first["superseded_by"], first["promoted_at"]) == (wait.pk, None)


# --- track records --------------------------------------------------------------------------------


def outcome(kind: str, pnl_usd: str | None, *, succeeded: bool = True, agent: str = "scout") -> None:
    now = db.now()
    mission = Mission.objects.create(proposal=admin_rows.proposal(), agent_id=agent, kind=kind, created_at=now)
    Outcome.objects.create(
        mission=mission, agent_id=agent, kind=kind, succeeded=succeeded, pnl_usd=pnl_usd, at=now, details={}
    )


def test_a_track_record_says_what_forecasts_and_missions_came_to(viewer: Program) -> None:
    for pnl in ("3.00", "1.00", "-2.50"):
        outcome("exit", pnl)
    outcome("entry", None, succeeded=False)
    outcome("exit", "100.00", agent="sage")
    for number, happened in enumerate((True, False)):
        Score.objects.create(
            agent_id="scout", kind="entry", cause=f"forecast:{number}", probability="0.8", happened=happened,
            brier="0.04" if happened else "0.64", log_score="0.22" if happened else "1.61", at=db.now(),
        )  # fmt: skip
    found = viewer.get("agents/scout/track-record/").json()
    assert (found["agent"], found["forecasts"], found["capital_factor"]) == ("scout", 2, "1")
    assert {key: Decimal(found[key]) for key in ("mean_probability", "base_rate", "brier")} == {
        "mean_probability": Decimal("0.8"), "base_rate": Decimal("0.5"), "brier": Decimal("0.34"),
    }  # fmt: skip
    assert sum(each["n"] for each in found["bins"]) == 2
    assert (found["realized_pnl_usd"], found["hit_rate"]) == ("1.50", "0.6667")
    assert found["by_kind"] == [
        {"kind": "entry", "missions": 1, "succeeded": 0, "wins": 0, "losses": 0, "hit_rate": None,
         "realized_pnl_usd": "0.00"},
        {"kind": "exit", "missions": 3, "succeeded": 3, "wins": 2, "losses": 1, "hit_rate": "0.6667",
         "realized_pnl_usd": "1.50"},
    ]  # fmt: skip
    of_kind = viewer.get("agents/scout/track-record/", kind="exit").json()
    assert (of_kind["forecasts"], [each["kind"] for each in of_kind["by_kind"]]) == (0, ["exit"])


def test_an_agent_without_a_record_has_none_which_is_not_zero(
    viewer: Program, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    viewer.get("agents/")
    with django_assert_max_num_queries(12):
        found = viewer.get("agents/intel/track-record/").json()
    assert (found["forecasts"], found["brier"], found["skill"], found["hit_rate"]) == (0, None, None, None)
    assert (found["realized_pnl_usd"], found["by_kind"]) == ("0.00", [])


# --- proposals ------------------------------------------------------------------------------------


def test_a_proposal_names_its_conversation_its_deadline_and_what_influenced_it(
    viewer: Program, review: Conversation
) -> None:
    proposal = review.decides
    assert proposal is not None
    proposal.vote_by = db.now()
    proposal.save()
    memory = admin_rows.memory("scout", text="It paid.")
    Influence.objects.create(proposal=proposal, memory=memory, effect="0.02", at=db.now())
    found = viewer.get(f"proposals/{proposal.pk}/").json()
    assert found["conversation"] == review.pk
    assert found["vote_by"].endswith("Z")
    assert found["influences"] == [{"memory": memory.pk, "effect": "0.02", "text": "It paid."}]
    (row,) = [each for each in rows(viewer, "proposals/") if each["id"] == proposal.pk]
    assert (row["conversation"], "influences" in row) == (review.pk, False)


def test_a_forecast_of_before_they_were_followed_up_is_told_without_a_status(reviewer: Program) -> None:
    old = admin_rows.proposal(forecast_probability="0.6", forecast_horizon_minutes=60)
    told = reviewer.get(f"proposals/{old.pk}/").json()["forecast"]
    assert told == {"probability": "0.6", "horizon_minutes": 60, "status": None, "happened": None}
    made = reviewer.post("proposals/", trade()).json()
    assert made["forecast"]["status"] in ("open", "void")


# --- wrong questions ------------------------------------------------------------------------------

PARAMETERS = [
    ("conversations/", "status=over", "status"),
    ("conversations/", "format=chat", "format"),
    ("conversations/", "agent=%00", "agent"),
    ("conversations/", "agent=SAGE", "agent"),
    ("conversations/", "about=position", "about"),
    ("conversations/", "about=position:12%00", "about"),
    ("conversations/", "about=" + "x" * 900, "about"),
    ("conversations/", "about=position:9999999999999999999", "about"),
    ("conversations/", "limit=0", "limit"),
    ("conversations/", "cursor=abc", "cursor"),
    ("conversations/", "x=1", "x"),
    ("conversations/1/", "x=1", "x"),
    ("relationships/atlas-sage/", "x=1", "x"),
    ("agents/scout/track-record/", "kind=dream", "kind"),
    ("agents/scout/memories/", "q=", "q"),
    ("agents/scout/memories/", "q=a%00", "q"),
    ("agents/scout/memories/", "q=" + "x" * 201, "q"),
    ("agents/scout/memories/", "tag=", "tag"),
    ("agents/scout/memories/", "tag=a%07", "tag"),
    ("agents/scout/memories/", "archived=perhaps", "archived"),
]


def test_a_parameter_that_is_wrong_is_named(viewer: Program, subtests: pytest.Subtests) -> None:
    for path, query, parameter in PARAMETERS:
        with subtests.test(f"{path}?{query}"[:80]):
            told = is_problem(viewer.get(f"/api/v1/{path}?{query}"), 400, "invalid_input")
            assert told["errors"][0]["parameter"] == parameter


def test_what_is_not_there_is_not_found(viewer: Program, subtests: pytest.Subtests) -> None:
    for path in ("conversations/7777777/", "conversations/abc/", "conversations/0/", "agents/nobody/track-record/"):
        with subtests.test(path):
            is_problem(viewer.get(path), 404, "not_found")
