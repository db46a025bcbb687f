"""Every resource of version 1 answers as the contract says."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.urls import get_resolver
from pytest_django import DjangoAssertNumQueries

from agents.models import Agent, Memory
from dashboard.api import urls
from missions import heartbeat
from missions.models import Proposal, Step
from tests import cast
from tests.api.program import Program, analysis, is_problem, trade
from tradeco.common import db
from trading import portfolio
from trading.models import Market, Order

LISTS = (
    "agents/", "agents/scout/memories/", "relationships/", "proposals/", "missions/", "steps/", "policies/",
    "policies/trades_per_day/versions/", "caps/", "orders/", "positions/", "equity/", "prices/", "events/",
    "heartbeats/", "tokens/", "conversations/",
)  # fmt: skip
SINGLES = (
    "agents/scout/", "agents/scout/track-record/", "relationships/atlas-sage/", "portfolio/", "stats/", "company/",
)  # fmt: skip
MOMENT = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")


def walk(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from walk(inner, key)
    elif isinstance(value, list):
        for inner in value:
            yield from walk(inner, name)
    else:
        yield name, value


@pytest.fixture
def busy(viewer: Program) -> Program:
    """A viewer of a company where each list has a row."""
    cast.bought()
    portfolio.snapshot(now=db.now(), limit=1)
    Memory.objects.create(
        agent_id="scout", type="lesson", text="Wait.", confidence="0.6", cause="outcome:1", created_at=db.now()
    )
    return viewer


def pages_of(program: Program, path: str) -> Iterator[dict[str, Any]]:
    """The list in pages of three, by the addresses that it gives."""
    at: str | None = f"/api/v1/{path}?limit=3"
    while at is not None:
        answer = program.get(at)
        assert answer.status_code == 200, answer.content
        page = answer.json()
        assert set(page) == {"results", "next"}
        assert len(page["results"]) <= 3
        assert answer.get("Link") == (f'<{page["next"]}>; rel="next"' if page["next"] else None)
        yield page
        at = page["next"]


def test_a_list_in_pages_holds_every_row_once(busy: Program, subtests: pytest.Subtests) -> None:
    for path in LISTS:
        with subtests.test(path):
            whole = busy.get(path, limit=200).json()
            assert whole["next"] is None
            seen = [row for page in pages_of(busy, path) for row in page["results"]]
            assert len(seen) == len(whole["results"])
            assert all(row in whole["results"] for row in seen)


def test_money_is_decimal_strings_and_times_are_utc(busy: Program, subtests: pytest.Subtests) -> None:
    for path in (*LISTS, *SINGLES):
        with subtests.test(path):
            for name, value in walk(busy.get(path).json()):
                if name.endswith("_usd") and value is not None:
                    assert isinstance(value, str), name
                    assert Decimal(value).is_finite(), name
                    assert "E" not in value, name
                if name.endswith("_at") and value is not None:
                    assert MOMENT.match(value), (name, value)


def test_the_agents_are_six_in_their_order(viewer: Program) -> None:
    found = viewer.get("agents/").json()["results"]
    assert [agent["key"] for agent in found] == list(Agent.objects.order_by("place").values_list("key", flat=True))
    assert len(found) == 6
    assert viewer.get("agents/sage/").json()["key"] == "sage"


def test_relationships_are_fifteen_pairs(viewer: Program) -> None:
    found = viewer.get("relationships/").json()["results"]
    assert len(found) == 15
    pair = next(each for each in found if (each["a"], each["b"]) == ("atlas", "sage"))
    assert Decimal(pair["affinity"]) == Decimal("0.8")


def test_a_proposal_that_policy_approves_opens_its_mission_at_once(reviewer: Program) -> None:
    answer = reviewer.post("proposals/", analysis())
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert made["status"] == "approved"
    assert made["decided_by"] == "policy"
    assert made["source"] == "person"
    assert made["author"] == "reviewer-program"
    assert {verdict["stage"] for verdict in made["verdicts"]} == {"submission", "approval"}
    assert all(verdict["allowed"] for verdict in made["verdicts"])
    assert made["mission"]["steps"][0]["kind"] == "analyze_signal"
    assert reviewer.get(f"proposals/{made['id']}/").json() == made
    mission = reviewer.get(f"missions/{made['mission']['id']}/").json()
    assert mission["proposal"] == made["id"]
    step = reviewer.get(f"steps/{made['mission']['steps'][0]['id']}/").json()
    assert (step["status"], step["mission"]) == ("queued", mission["id"])


def test_a_proposal_that_a_gate_refuses_is_stored_and_answered_201(reviewer: Program) -> None:
    answer = reviewer.post("proposals/", trade(market="DOGE/USDC"))
    assert answer.status_code == 201, answer.content
    made = answer.json()
    assert (made["status"], made["mission"]) == ("rejected", None)
    refusals = [verdict for verdict in made["verdicts"] if not verdict["allowed"]]
    assert refusals[0]["code"] == made["code"]
    assert refusals[0]["reason"]
    assert Proposal.objects.get(pk=made["id"]).status == "rejected"


def test_a_trade_is_voted_for_filled_and_seen_everywhere(reviewer: Program) -> None:
    made = reviewer.post("proposals/", trade("100.00")).json()
    assert (made["status"], made["decided_by"]) == ("approved", "vote"), made["reason"]
    assert {vote["agent"] for vote in made["votes"]} == {"sage", "atlas", "observer"}
    told = {"probability": "0.6", "horizon_minutes": 240, "status": "open", "happened": None}
    assert made["forecast"] == told
    assert made["value_usd"] == "100.00"
    cast.work()
    order = reviewer.get("orders/", status="filled").json()["results"][0]
    assert order == reviewer.get(f"orders/{order['id']}/").json()
    assert (order["amount_in"], order["amount_in_asset"], order["amount_in_units"]) == ("100000000", "USDC", "100")
    assert [attempt["status"] for attempt in order["attempts"]] == ["finalized"]
    fill = order["fills"][0]
    assert (fill["amount_in_asset"], fill["amount_out_asset"], fill["fee_usd"]) == ("USDC", "SOL", "0.10")
    position = reviewer.get(f"positions/{order['position']}/").json()
    assert (position["status"], position["cost_usd"], position["market"]) == ("open", "100.00", "SOL/USDC")
    assert Decimal(position["stop_price_usd"]) < Decimal(position["entry_price_usd"])
    whole = reviewer.get("portfolio/").json()
    assert Decimal(whole["cash_usd"]) == Decimal("9900")
    assert Decimal(whole["equity_usd"]) == Decimal(whole["cash_usd"]) + Decimal(whole["positions_usd"])
    mission = reviewer.get("missions/", kind="entry").json()["results"][0]
    assert (mission["status"], mission["outcome"]["succeeded"]) == ("succeeded", True)


def test_an_unpriced_position_has_no_value_which_is_not_zero(viewer: Program) -> None:
    position = cast.bought()
    Market.objects.update(price=None, price_at=None, received_at=None)
    seen = viewer.get(f"positions/{position.pk}/").json()
    assert (seen["mark_price_usd"], seen["value_usd"], seen["unrealized_pnl_usd"]) == (None, None, None)
    price = viewer.get("prices/").json()["results"][0]
    assert (price["price_usd"], price["stale"]) == (None, True)
    assert viewer.get("portfolio/").json()["unpriced"] == ["SOL/USDC"]


def test_prices_are_fresh_until_policy_calls_them_stale(viewer: Program) -> None:
    assert not any(price["stale"] for price in viewer.get("prices/").json()["results"])
    Market.objects.update(received_at=cast.later(seconds=-31))
    assert all(price["stale"] for price in viewer.get("prices/").json()["results"])


def test_people_decide_what_waits_for_them(reviewer: Program, operator: Program) -> None:
    cast.set_policy(human_from_usd="10")
    first, second, third = (reviewer.post("proposals/", trade()).json() for _ in range(3))
    assert {each["status"] for each in (first, second, third)} == {"pending"}
    yes = operator.post(f"proposals/{first['id']}/approve/", {"reason": "The range broke."})
    assert (yes.status_code, yes.json()["status"], yes.json()["decided_by"]) == (200, "approved", "operator-program")
    no = operator.post(f"proposals/{second['id']}/reject/", {"reason": "Too late."}).json()
    assert (no["status"], no["code"], no["reason"]) == ("rejected", "rejected_by_person", "Too late.")
    gone = reviewer.post(f"proposals/{third['id']}/cancel/", {"reason": "A slip."}).json()
    assert gone["status"] == "cancelled"
    again = operator.post(f"proposals/{first['id']}/reject/", {"reason": "Changed my mind."})
    is_problem(again, 409, "already_decided")
    waiting = reviewer.get("proposals/", status="pending").json()["results"]
    assert waiting == []


def test_four_eyes_hold_by_program_too(reviewer: Program, operator: Program, alice: Any) -> None:
    cast.set_policy(human_from_usd="10", four_eyes_from_usd="20")
    made = reviewer.post("proposals/", trade()).json()
    own = reviewer.post(f"proposals/{made['id']}/approve/", {"reason": "Mine."})
    is_problem(own, 403, "own_proposal")
    one = operator.post(f"proposals/{made['id']}/approve/", {"reason": "Yes."})
    assert one.json()["status"] == "pending"
    twice = operator.post(f"proposals/{made['id']}/approve/", {"reason": "Yes, yes."})
    is_problem(twice, 409, "approved_already")


def test_a_mission_whose_steps_wait_can_be_cancelled_once(reviewer: Program) -> None:
    mission = reviewer.post("proposals/", analysis()).json()["mission"]["id"]
    before = {cap["key"]: cap for cap in reviewer.get("caps/").json()["results"]}
    assert before["analyses_per_day"]["used"] == 1
    gone = reviewer.post(f"missions/{mission}/cancel/", {"reason": "Not needed."})
    assert gone.json()["status"] == "cancelled"
    after = {cap["key"]: cap for cap in reviewer.get("caps/").json()["results"]}
    assert after["analyses_per_day"]["used"] == 0
    assert after["analyses_per_day"]["left"] == after["analyses_per_day"]["limit"]
    is_problem(reviewer.post(f"missions/{mission}/cancel/", {"reason": "Again."}), 409, "mission_ended")


def test_a_policy_has_unit_reason_and_versions_and_an_operator_may_add_one(operator: Program) -> None:
    def trades() -> dict[str, Any]:
        rows = operator.get("policies/", limit=200).json()["results"]
        return next(row for row in rows if row["key"] == "trades_per_day")

    before = trades()
    assert before["unit"]
    assert before["why"]
    made = operator.post("policies/trades_per_day/versions/", {"value": 7, "reason": "Calm down."})
    assert made.status_code == 201, made.content
    assert (made.json()["version"], made.json()["previous"]) == (2, before["value"])
    assert made.json()["author"] == "operator-program"
    assert (trades()["value"], trades()["version"]) == (7, 2)
    assert trades()["revision"] == made.json()["revision"] > before["revision"]
    versions = operator.get("policies/trades_per_day/versions/").json()["results"]
    assert [row["version"] for row in versions] == [2, 1]


def test_a_policy_value_of_the_wrong_kind_says_where(operator: Program) -> None:
    wrong = operator.post("policies/trades_per_day/versions/", {"value": "many", "reason": "More."})
    assert is_problem(wrong, 400, "invalid_input")["errors"][0]["pointer"] == "/value"
    is_problem(operator.post("policies/no_such/versions/", {"value": 1, "reason": "x"}), 404, "unknown_policy")
    is_problem(operator.get("policies/no_such/versions/"), 404, "unknown_policy")


def test_the_switch_halts_reduces_and_resumes(operator: Program) -> None:
    for verb, status in (("halt", "halted"), ("reduce", "reducing"), ("resume", "active")):
        answer = operator.post(f"company/{verb}/", {"reason": f"To {verb}."})
        assert (answer.status_code, answer.json()["status"]) == (200, status)
        seen = operator.get("company/").json()
        assert (seen["status"], seen["changed_by"], seen["reason"]) == (status, "operator-program", f"To {verb}.")


def test_a_halted_company_refuses_trades_as_stored_decisions(operator: Program) -> None:
    operator.post("company/halt/", {"reason": "Look first."})
    made = operator.post("proposals/", trade()).json()
    assert (made["status"], made["code"]) == ("rejected", "halted")


def test_a_reader_without_the_websocket_sees_what_just_happened(reviewer: Program) -> None:
    newest = reviewer.get("events/", limit=200).json()["results"][-1]["id"]
    made = reviewer.post("proposals/", analysis()).json()
    fresh = reviewer.get("events/", after=newest).json()["results"]
    assert [event["id"] for event in fresh] == sorted(event["id"] for event in fresh)
    assert fresh[0]["kind"] == "proposal.created"
    assert fresh[0]["subject"] == f"proposal:{made['id']}"
    only = reviewer.get("events/", after=newest, kind="mission.approved").json()["results"]
    assert [event["kind"] for event in only] == ["mission.approved"]


@pytest.mark.django_db(transaction=True)
def test_a_beat_runs_when_asked_and_a_second_one_at_once_is_the_same(
    operator: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "APART_SECONDS", 60.0)  # a beat may take long on a busy machine
    first = operator.post("heartbeats/")
    assert (first.status_code, first.json()["ran"]) == (201, True), first.content
    assert first.json()["asked_by"] == "operator-program"
    assert [phase["name"] for phase in first.json()["phases"]][:2] == ["triggers", "reactions"]
    second = operator.post("heartbeats/")
    assert (second.status_code, second.json()["ran"]) == (200, False)
    assert second.json()["id"] == first.json()["id"]
    listed = operator.get("heartbeats/").json()["results"]
    assert [beat["id"] for beat in listed] == [first.json()["id"]]


def test_stats_count_by_status(reviewer: Program) -> None:
    reviewer.post("proposals/", analysis())
    found = reviewer.get("stats/").json()
    assert found["proposals"]["approved"] == 1
    assert found["proposals"]["expired"] == 0
    assert found["steps"]["queued"] == 1
    assert found["oldest_runnable_step_seconds"] >= 0


def test_lists_filter_by_what_is_allowed(reviewer: Program) -> None:
    reviewer.post("proposals/", analysis())
    reviewer.post("proposals/", trade(market="DOGE/USDC"))
    assert len(reviewer.get("proposals/", agent="intel").json()["results"]) == 1
    assert len(reviewer.get("proposals/", agent="nobody").json()["results"]) == 0
    assert len(reviewer.get("proposals/", status="rejected", source="person").json()["results"]) == 1
    assert len(reviewer.get("steps/", kind="analyze_signal", status="queued").json()["results"]) == 1
    assert len(reviewer.get("steps/", mission=Step.objects.get().mission_id).json()["results"]) == 1
    assert len(reviewer.get("orders/", market="SOL/USDC", side="buy").json()["results"]) == 0


def test_a_list_needs_the_same_few_queries_however_long_it_is(
    reviewer: Program, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    reviewer.get("agents/")  # a token's first use is noted, once a minute
    for _ in range(6):
        reviewer.post("proposals/", trade("30.00"))
    cast.work()
    assert Order.objects.filter(status="filled").count() == 6
    lists = {"proposals/": 8, "missions/": 6, "orders/": 7, "positions/": 5, "policies/": 7, "heartbeats/": 6}
    for path, queries in lists.items():
        with django_assert_max_num_queries(queries, info=path):
            assert reviewer.get(path).status_code == 200


def test_orders_give_raw_amounts_as_strings(viewer: Program) -> None:
    cast.bought()
    order = viewer.get("orders/").json()["results"][0]
    assert int(order["amount_in"]) == Order.objects.get().amount_in
    assert isinstance(order["fills"][0]["amount_out"], str)


def test_every_address_is_in_this_test_or_another() -> None:
    """A new address must be added to the matrix of rights, which is checked against the urls."""
    from tests.api.test_rights import MATRIX

    served = {str(each.pattern) for each in urls.urlpatterns} - {"^"}
    assert served == {path for path, _, _ in MATRIX}
    assert get_resolver().resolve("/api/v1/agents/")
