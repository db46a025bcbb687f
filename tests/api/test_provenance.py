"""The thread from an event to what was learnt of it and what that changed, walked from either end."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from agents.models import Memory, Relationship, Score, Shift
from dashboard import admin_panels, provenance
from dashboard.provenance_nodes import KINDS
from missions import triggers
from missions.models import Approval, Forecast, Influence, Outcome, Proposal, Reaction, Step, Verdict
from missions.vocabulary import ProposalSource
from roundtable.models import Conversation
from tests import admin_rows, cast
from tests.api.program import Program, is_problem
from tradeco.common import db, events
from tradeco.common.models import Event
from trading.models import Attempt, Fill, Order, Position


class Story:
    """A win wakes growth's rule; its proposal remembers, is talked over, approved, traded, closed and learnt from."""

    def __init__(self) -> None:
        self.now = now = db.now()
        self.woken_by = self.tell("position.win", "position:77")
        self.proposal = admin_rows.proposal(
            agent_id="growth", source="trigger", cause="reactive:position.win:growth:3", created_at=now,
            status="approved", decided_at=now, waits_for_people_since=None,
        )  # fmt: skip
        self.fired = self.tell(
            "trigger.fired", "trigger:reactive:position.win:growth", proposal=self.proposal.pk,
            event=self.woken_by.number, at=now,
        )  # fmt: skip
        self.memory = admin_rows.memory("growth", cause="outcome:424242", text="It paid.")
        Influence.objects.create(proposal=self.proposal, memory=self.memory, effect="0.02", at=now)
        self.decide()
        self.trade()
        self.learn()

    def tell(self, kind: str, subject: str, *, at: Any = None, **data: Any) -> Event:
        Event.objects.create(kind=kind, subject=subject, agent="growth", data=data, at=at or self.now)
        events.number_new()
        found = Event.objects.order_by("-number").first()
        assert found is not None
        return found

    def decide(self) -> None:
        self.talk = admin_rows.conversation(
            status="completed", format="trade_review", decides=self.proposal, about=self.proposal.subject
        )
        self.turn = admin_rows.turn(self.talk, 1, "sage", memories=[self.memory])
        self.vote = admin_rows.vote(self.proposal, "sage", turn=self.turn)
        self.review = self.talk.step.mission.proposal
        Proposal.objects.filter(pk=self.review.pk).update(
            cause=f"review:{self.proposal.pk}", source=ProposalSource.CONVERSATION
        )
        pair = Relationship.objects.get(a="atlas", b="sage")
        self.shift = Shift.objects.create(
            relationship=pair, cause=self.talk.subject, delta="0.01", before="0.8", after="0.81", at=self.now
        )
        self.verdict = Verdict.objects.create(
            proposal=self.proposal, stage="submission", gate="company_is_active", allowed=True, at=self.now
        )
        admin = cast.get_user_model().objects.get(username="admin")
        self.approval = Approval.objects.create(
            proposal=self.proposal, approver=admin, four_eyes=False, reason="Yes.", at=self.now
        )

    def trade(self) -> None:
        self.step = admin_rows.step(mission=mission_of(self.proposal), kind="execute_trade")
        self.order, self.attempt, self.fill, self.position = traded(self.step, "buy")
        self.exit = admin_rows.proposal(
            cause=f"position:{self.position.pk}:exit:0", source="protection", title="Close SOL", status="approved",
            decided_at=self.now, waits_for_people_since=None, created_at=self.now,
        )  # fmt: skip
        self.stop = self.tell("stop.hit", self.position.subject, proposal=self.exit.pk, at=self.now)
        closing = admin_rows.step(mission=mission_of(self.exit, kind="exit"), kind="close_position")
        self.sale, _, self.sold, _ = traded(closing, "sell", self.position)
        self.outcome = Outcome.objects.create(
            mission=closing.mission, agent_id="scout", kind="exit", succeeded=True, pnl_usd="1.25", at=self.now
        )
        self.forecast = Forecast.objects.create(
            proposal=self.proposal, agent_id="growth", probability="0.6", horizon_minutes=60, status="scored",
            happened=True, made_at=self.now, settled_at=self.now,
        )  # fmt: skip
        self.score = Score.objects.create(
            agent_id="growth", kind="entry", cause=self.forecast.subject, probability="0.6", happened=True,
            brier="0.16", log_score="0.51", at=self.now,
        )  # fmt: skip

    def learn(self) -> None:
        self.lesson = admin_rows.memory("growth", type="strategy", cause=f"outcome:{self.outcome.pk}", text="Again.")
        self.said = admin_rows.memory("sage", cause=f"{self.talk.subject}:1", text="We agreed.")
        self.later = admin_rows.proposal(title="Buy SOL once more")
        Influence.objects.create(proposal=self.later, memory=self.lesson, effect="-0.01", at=self.now)
        won = self.tell("position.closed", self.position.subject)
        self.answer = admin_rows.proposal(title="Look back")
        self.reaction = Reaction.objects.create(
            event=won, target_id="sage", does="diagnose", seed="x", rolled="0.1", probability="1", answered=True,
            proposal=self.answer, at=self.now,
        )  # fmt: skip


def mission_of(proposal: Proposal, kind: str = "entry") -> Any:
    from missions.models import Mission

    return Mission.objects.create(proposal=proposal, agent_id=proposal.agent_id, kind=kind, created_at=db.now())


def traded(step: Step, side: str, position: Position | None = None) -> tuple[Order, Attempt, Fill, Position]:
    from trading.models import Asset, Wallet

    now, wallet = db.now(), Wallet.objects.get(name="main")
    position = position or Position.objects.create(
        wallet=wallet, market_id="SOL/USDC", agent_id="growth", status="closed", quantity=0, cost=0, bought=1,
        stop_loss="0.1", take_profit="0.1", opened_at=now, opened_market_at=now, closed_at=now, closed_market_at=now,
    )  # fmt: skip
    order = Order.objects.create(
        step=step, agent_id="growth", wallet=wallet, market_id="SOL/USDC", position=position, side=side,
        asset_in=Asset.objects.get(symbol="USDC"), amount_in=1, slippage_bps=100, status="filled", created_at=now,
        ended_at=now,
    )  # fmt: skip
    attempt = Attempt.objects.create(
        order=order, n=1, reference=f"r{order.pk}", status="confirmed", quote={}, created_at=now, ended_at=now
    )
    fill = Fill.objects.create(
        order=order, attempt=attempt, amount_in=1, amount_out=1, fee_quote=0, price="141.5", at=now, market_at=now
    )
    return order, attempt, fill, position


@pytest.fixture
def story(company: None) -> Story:
    return Story()


def thread(program: Program, number: int) -> dict[str, Any]:
    answer = program.get(f"proposals/{number}/provenance/")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def leads_to(found: dict[str, Any], start: str) -> set[str]:
    """Every node that can be reached along the edges."""
    ahead: dict[str, list[str]] = {}
    for edge in found["edges"]:
        ahead.setdefault(edge["from"], []).append(edge["to"])
    seen, waiting = {start}, [start]
    while waiting:
        for key in ahead.get(waiting.pop(), ()):
            if key not in seen:
                seen.add(key)
                waiting.append(key)
    return seen


def test_one_thread_leads_from_the_event_to_the_decision_that_remembers(viewer: Program, story: Story) -> None:
    found = thread(viewer, story.proposal.pk)
    assert (found["proposal"], found["asked"], found["cut"]) == (
        story.proposal.pk, f"proposal:{story.proposal.pk}", False,
    )  # fmt: skip
    reached = leads_to(found, f"event:{story.woken_by.number}")
    for key in (
        "rule:reactive:position.win:growth", f"event:{story.fired.number}", f"proposal:{story.proposal.pk}",
        f"conversation:{story.talk.pk}", f"turn:{story.turn.pk}", f"vote:{story.vote.pk}",
        f"verdict:{story.verdict.pk}", f"approval:{story.approval.pk}", f"mission:{story.step.mission_id}",
        f"step:{story.step.pk}", f"order:{story.order.pk}", f"attempt:{story.attempt.pk}", f"fill:{story.fill.pk}",
        f"position:{story.position.pk}", f"proposal:{story.exit.pk}", f"order:{story.sale.pk}",
        f"fill:{story.sold.pk}", f"outcome:{story.outcome.pk}", f"forecast:{story.forecast.pk}",
        f"score:{story.score.pk}", f"shift:{story.shift.pk}", f"memory:{story.lesson.pk}", f"memory:{story.said.pk}",
        f"proposal:{story.later.pk}", f"reaction:{story.reaction.pk}", f"proposal:{story.answer.pk}",
        f"proposal:{story.review.pk}",
    ):  # fmt: skip
        assert key in reached, key
    edges = {(edge["from"], edge["to"]): edge["why"] for edge in found["edges"]}
    memory, proposal = f"memory:{story.memory.pk}", f"proposal:{story.proposal.pk}"
    assert edges[memory, proposal] == "added +0.020 to its confidence"
    assert edges[f"turn:{story.turn.pk}", f"memory:{story.said.pk}"] == "said it first"
    assert edges[memory, f"turn:{story.turn.pk}"] == "came to mind"
    assert edges[f"memory:{story.lesson.pk}", f"proposal:{story.later.pk}"] == "added -0.010 to its confidence"


def test_nodes_say_what_they_are_when_and_where_to_look(viewer: Program, story: Story) -> None:
    nodes = {node["key"]: node for node in thread(viewer, story.proposal.pk)["nodes"]}
    assert all(set(node) == {"key", "kind", "at", "title", "url"} for node in nodes.values())
    turn = nodes[f"turn:{story.turn.pk}"]
    assert (turn["kind"], turn["title"]) == ("turn", "sage agrees: I see it so.")
    assert turn["at"].endswith("Z")
    assert nodes[f"outcome:{story.outcome.pk}"]["title"] == "Succeeded, +1.25 USD"
    rule = nodes["rule:reactive:position.win:growth"]
    assert (rule["at"], rule["url"]) == (None, None)
    for node in nodes.values():
        if str(node["url"]).startswith("/api/"):
            assert viewer.get(node["url"]).status_code == 200, node
    moments = [node["at"] for node in nodes.values() if node["at"]]
    assert moments == sorted(moments)


def test_edges_join_nodes_that_are_there_and_no_node_hangs_loose(viewer: Program, story: Story) -> None:
    found = thread(viewer, story.proposal.pk)
    keys = [node["key"] for node in found["nodes"]]
    joined = {end for edge in found["edges"] for end in (edge["from"], edge["to"])}
    assert len(keys) == len(set(keys))
    assert joined == set(keys)


def test_from_any_row_the_same_thread_is_found(viewer: Program, story: Story, subtests: pytest.Subtests) -> None:
    whole = {node["key"] for node in thread(viewer, story.proposal.pk)["nodes"]}
    for row in (
        story.turn, story.talk, story.vote, story.verdict, story.approval, story.step, story.order, story.attempt,
        story.fill, story.position, story.forecast, story.score, story.shift, story.said, story.fired,
    ):  # fmt: skip
        name = row._meta.model_name
        number = row.number if isinstance(row, Event) else row.pk
        with subtests.test(name):
            found = viewer.get("provenance/", of=f"{name}:{number}").json()
            assert (found["asked"], found["proposal"]) == (f"{name}:{number}", story.proposal.pk)
            assert {node["key"] for node in found["nodes"]} == whole


def test_a_lesson_of_the_exit_leads_back_to_the_exit_and_on_to_the_later_decision(
    viewer: Program, story: Story
) -> None:
    found = viewer.get("provenance/", of=f"memory:{story.lesson.pk}").json()
    assert found["proposal"] == story.exit.pk
    reached = leads_to(found, f"event:{story.stop.number}")
    assert {f"memory:{story.lesson.pk}", f"proposal:{story.later.pk}", f"outcome:{story.outcome.pk}"} <= reached
    assert f"proposal:{story.proposal.pk}" in {node["key"] for node in found["nodes"]}


def test_a_memory_of_unknown_cause_leads_to_what_it_influenced(viewer: Program, story: Story) -> None:
    other = admin_rows.proposal(title="Another")
    Influence.objects.create(proposal=other, memory=story.memory, effect="0", at=db.now())
    found = viewer.get("provenance/", of=f"memory:{story.memory.pk}").json()
    assert found["proposal"] == story.proposal.pk
    assert f"proposal:{other.pk}" in leads_to(found, f"memory:{story.memory.pk}")
    aside = thread(viewer, story.proposal.pk)
    assert f"proposal:{other.pk}" not in {node["key"] for node in aside["nodes"]}, "that is another thread"


@pytest.mark.parametrize(
    ("cause", "rule"),
    [
        ("proactive:intel:signal_scan:7", "rule:proactive:intel:signal_scan"),
        ("initiative:sage:3", "rule:initiative:sage"),
        ("talk:morning_standup:41", "rule:talk:morning_standup"),
        ("talk:post_mortem:position:12", "rule:talk:post_mortem"),
        ("something new", "rule:something new"),
    ],
)
def test_a_rule_is_named_whatever_its_cause_looks_like(viewer: Program, cause: str, rule: str) -> None:
    made = admin_rows.proposal(cause=cause)
    found = thread(viewer, made.pk)
    assert rule in {node["key"] for node in found["nodes"]}
    assert f"proposal:{made.pk}" in leads_to(found, rule)


# --- which event woke a rule ----------------------------------------------------------------------


def fires(woken_by: Event | None, rule: str = "reactive:signal.strong:scout") -> Proposal:
    """A proposal that a rule made of an event, and the event that tells of it."""
    made = admin_rows.proposal(cause=f"{rule}:{Proposal.objects.count()}")
    number = woken_by.number if woken_by else None
    tells("trigger.fired", f"trigger:{rule}", at=made.created_at, proposal=made.pk, event=number)
    return made


def tells(kind: str, subject: str, /, *, at: Any = None, **data: Any) -> Event:
    event = Event.objects.create(kind=kind, subject=subject, data=data, at=at or db.now())
    events.number_new()
    event.refresh_from_db()
    return event


def woke(found: dict[str, Any], rule: str = "reactive:signal.strong:scout") -> list[str]:
    return [edge["from"] for edge in found["edges"] if (edge["to"], edge["why"]) == (f"rule:{rule}", "woke it")]


def test_a_rule_was_woken_by_the_event_that_its_firing_names_not_by_the_newest_of_its_kind(viewer: Program) -> None:
    meant, newest = (tells("signal.strong", "market:SOL/USDC", market="SOL/USDC") for _ in range(2))
    assert woke(thread(viewer, fires(meant).pk)) == [f"event:{meant.number}"]
    assert woke(thread(viewer, fires(newest).pk)) == [f"event:{newest.number}"]


def test_a_firing_that_names_no_event_has_none_guessed_for_it(viewer: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    tells("signal.strong", "market:SOL/USDC", market="SOL/USDC")
    made = fires(None)
    monkeypatch.setattr(events, "number_new", lambda: 0)  # another process is at it
    Event.objects.create(kind="signal.strong", subject="market:SOL/USDC", at=db.now())
    assert woke(thread(viewer, made.pk)) == []


def test_an_event_leads_to_what_every_rule_that_it_woke_proposed(viewer: Program) -> None:
    signal = tells("signal.strong", "market:SOL/USDC", market="SOL/USDC")
    first, second = fires(signal), fires(signal, rule="reactive:signal.strong:atlas")
    found = viewer.get("provenance/", of=f"event:{signal.number}").json()
    assert found["proposal"] == first.pk
    assert {f"proposal:{first.pk}", f"proposal:{second.pk}"} <= leads_to(found, f"event:{signal.number}")
    aside = {node["key"] for node in thread(viewer, first.pk)["nodes"]}
    assert f"proposal:{second.pk}" not in aside, "that is another thread"


def test_control_an_event_that_woke_nobody_is_told_alone(viewer: Program) -> None:
    slept, signal = (tells("signal.strong", "market:SOL/USDC") for _ in range(2))
    fires(signal)
    tells("alarm", "company", event=slept.number)  # of another kind, which tells of no rule
    found = viewer.get("provenance/", of=f"event:{slept.number}").json()
    assert (found["proposal"], [node["key"] for node in found["nodes"]]) == (None, [f"event:{slept.number}"])


def test_what_happened_to_a_position_leads_to_what_it_woke(viewer: Program, story: Story) -> None:
    lost = tells("position.loss", story.position.subject, market="SOL/USDC")
    measured = fires(lost, rule="reactive:position.loss:sage")
    for found in (thread(viewer, story.proposal.pk), viewer.get("provenance/", of=f"event:{lost.number}").json()):
        assert found["proposal"] == story.proposal.pk
        assert f"proposal:{measured.pk}" in leads_to(found, story.position.subject)
        assert f"proposal:{measured.pk}" in leads_to(found, f"event:{lost.number}")


def test_a_rule_that_really_fired_is_traced_both_ways(committed_company: None, viewer: Program) -> None:
    cast.set_policy(proactive=[])
    data = {"direction": "buy", "kind": "momentum", "confidence": "0.8", "why": "it rises"}
    meant = tells("signal.strong", "market:WIF/USDC", market="WIF/USDC", strength="0.95", **data)
    tells("signal.strong", "market:SOL/USDC", market="SOL/USDC", strength="0.9", **data)
    assert triggers.run(now=db.now(), limit=5) == {"fired": ["signal.strong:scout"]}
    made = Proposal.objects.get(cause__startswith="reactive:")
    assert woke(thread(viewer, made.pk)) == [f"event:{meant.number}"]
    assert viewer.get("provenance/", of=f"event:{meant.number}").json()["proposal"] == made.pk


def test_what_an_event_woke_is_found_by_its_index(company: None) -> None:
    """Among thirty thousand firings, of which a third are a routine's; the control has no such index."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO common_event (number, kind, subject, agent, data, at, request_id)"
            " SELECT 1000 + n, 'trigger.fired', 'trigger:a', 'sage', jsonb_build_object('proposal', n, 'event',"
            " CASE WHEN n % 3 > 0 THEN n END), now(), '' FROM generate_series(1, 30000) n"
        )
        cursor.execute("ANALYZE common_event")
        several = provenance._firings([20_000, 20_002]).exclude(data__proposal=20_002)[:20]
        looks = [provenance._firings([20_000])[:1], several]
        assert [[each.data["proposal"] for each in look] for look in looks] == [[20_000], [20_000]]
        assert all("event_woke" in look.explain() for look in looks)
        cursor.execute("DROP INDEX event_woke")
        assert not any("event_woke" in look.explain() for look in looks)


def test_a_loss_that_was_talked_about_leads_to_the_talk(viewer: Program, story: Story) -> None:
    talk = admin_rows.conversation(format="post_mortem", about=story.position.subject)
    held = talk.step.mission.proposal
    steps = [{"kind": "hold_roundtable", "params": {"format": "post_mortem", "about": story.position.subject}}]
    Proposal.objects.filter(pk=held.pk).update(cause=f"talk:post_mortem:{story.position.subject}", steps=steps)
    assert f"proposal:{held.pk}" in leads_to(thread(viewer, story.proposal.pk), story.position.subject)
    back = viewer.get("provenance/", of=talk.subject).json()
    assert talk.subject in leads_to(back, story.position.subject)


def test_what_belongs_to_no_thread_is_told_alone(viewer: Program) -> None:
    lonely = admin_rows.memory("sage")
    found = viewer.get("provenance/", of=f"memory:{lonely.pk}").json()
    assert (found["proposal"], found["edges"], found["cut"]) == (None, [], False)
    assert [node["key"] for node in found["nodes"]] == [f"memory:{lonely.pk}"]


def test_a_conversation_of_its_own_is_told_from_the_proposal_that_held_it(viewer: Program) -> None:
    talk = admin_rows.conversation(about="position:5")
    item = admin_rows.proposal(cause=f"{talk.subject}:action:1", source=ProposalSource.CONVERSATION)
    found = viewer.get("provenance/", of=talk.subject).json()
    assert found["proposal"] == talk.step.mission.proposal_id
    assert f"proposal:{item.pk}" in leads_to(found, f"step:{talk.step_id}")


def test_a_real_trade_has_its_thread(committed_company: None, viewer: Program) -> None:
    position = cast.bought()
    found = viewer.get("provenance/", of=position.subject).json()
    kinds = {node["kind"] for node in found["nodes"]}
    assert {"proposal", "verdict", "mission", "step", "order", "attempt", "fill", "position"} <= kinds
    assert position.subject in leads_to(found, f"proposal:{found['proposal']}")


def test_a_thread_is_cut_at_its_bound_and_says_so(viewer: Program, story: Story) -> None:
    talk = Conversation.objects.get(pk=story.talk.pk)
    for place in range(2, 120):
        admin_rows.turn(talk, place, "atlas")
    Verdict.objects.bulk_create(
        Verdict(proposal=story.proposal, stage="approval", gate=f"g{n}", allowed=True, at=story.now) for n in range(90)
    )
    Memory.objects.bulk_create(
        Memory(
            agent_id="sage", type="lesson", text="x", confidence="0.7", cause=f"{story.talk.subject}:{500 + n}",
            created_at=story.now + timedelta(seconds=n),
        )
        for n in range(90)
    )  # fmt: skip
    found = thread(viewer, story.proposal.pk)
    assert found["cut"] is True
    assert len(found["nodes"]) <= provenance.NODES_MOST
    assert {f"order:{story.order.pk}", f"fill:{story.fill.pk}", f"outcome:{story.outcome.pk}"} <= {
        node["key"] for node in found["nodes"]
    }
    small = provenance.of_proposal(story.proposal.pk, most=10)
    assert small is not None
    assert (len(small.nodes), small.cut) == (10, True)
    assert all(one in small.nodes and other in small.nodes for one, other in small.edges)


def test_a_thread_needs_the_same_few_queries_however_much_happened(
    viewer: Program, story: Story, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    viewer.get("agents/")
    for place in range(2, 20):
        admin_rows.turn(story.talk, place, "atlas", memories=[admin_rows.memory("atlas")])
    for number in range(15):
        lesson = admin_rows.memory("sage", cause=f"{story.talk.subject}:{500 + number}")
        Influence.objects.create(proposal=admin_rows.proposal(), memory=lesson, effect="0.01", at=db.now())
    with django_assert_max_num_queries(42):
        thread(viewer, story.proposal.pk)


def test_wrong_questions_are_refused_and_what_is_not_there_is_not_found(
    viewer: Program, subtests: pytest.Subtests
) -> None:
    for of in (
        "",
        "turn",
        "turn:",
        "turn:x",
        "turn:-1",
        "user:1",
        "turn:1:2",
        "turn:" + "9" * 30,
        "a\x00b:1",
        "turn:²",
    ):
        with subtests.test(of):
            told = is_problem(viewer.get("provenance/", of=of), 400, "invalid_input")
            assert told["errors"][0]["parameter"] == "of"
    is_problem(viewer.get("provenance/"), 400, "invalid_input")
    for kind in KINDS:
        with subtests.test(kind):
            is_problem(viewer.get("provenance/", of=f"{kind}:7777777"), 404, "not_found")
    is_problem(viewer.get("proposals/7777777/provenance/"), 404, "not_found")


def test_hostile_words_are_cut_and_stay_words_on_the_proposal_s_page(
    client: Client, admin_user: Any, story: Story, settings: Any
) -> None:
    evil = admin_rows.EVIL * 5
    Memory.objects.filter(pk=story.memory.pk).update(text=evil)
    Proposal.objects.filter(pk=story.later.pk).update(title=evil[:200])
    panel = "dashboard.admin_panels.provenance_of_proposal"
    table = dict(settings.ADMIN_PANELS)
    table["missions.proposal"] = [*[path for path in table["missions.proposal"] if path != panel], panel]
    settings.ADMIN_PANELS = table
    client.force_login(admin_user)
    page = client.get(f"/admin/missions/proposal/{story.proposal.pk}/change/").text
    assert "Where it comes from, what came of it" in page
    assert "could not be shown" not in page
    assert "<script>alert" not in page
    assert f'href="/admin/roundtable/turn/{story.turn.pk}/change/"' in page
    assert "came to mind" in page


def test_the_panel_says_where_there_is_more(story: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provenance.of_proposal, "__kwdefaults__", {"most": 5, "also": ()})
    _, rows = admin_panels.provenance_of_proposal(story.proposal)
    assert rows[-1][0] == "More"
