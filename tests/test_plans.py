"""What PostgreSQL does for each hot query, as the code asks it, with a million rows of everything: it uses the index
that was made for it, reads no big table from end to end, and looks at a bounded number of rows.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.test import Client

from dashboard import health, queries
from dashboard.models import ApiToken
from missions import claims, execution, heartbeat, metrics, proposals, rescue, triggers, watch
from missions.mind import reflection
from missions.models import Step
from missions.vocabulary import PRIORITY_PROTECTIVE
from tests import cast, million, other_database
from tradeco.common import db, events, pulses
from trading import facts, market, portfolio, stops
from trading import metrics as trading_metrics
from trading.analysis import newest_bars
from trading.models import Market

BIG = {
    "missions_proposal", "missions_mission", "missions_step", "missions_outcome", "missions_beat", "missions_beatphase",
    "common_event", "trading_candle", "trading_order", "trading_position", "trading_signal", "trading_equitysnapshot",
}  # fmt: skip
"""Tables that grow with the company's life. Scanning another one from end to end is fine."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.usefixtures("million_rows"),
    pytest.mark.xdist_group("a million rows"),  # which one process loads
]


@pytest.fixture(scope="module")
def loaded(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock(), other_database.opened("tradeco_million"):
        million.load()
        yield


@pytest.fixture
def million_rows(loaded: None, django_db_blocker: Any) -> Iterator[None]:
    """The loaded database, left for the next test as it was found as far as plans care."""
    with django_db_blocker.unblock():
        yield
        connection.close()


@dataclass
class Seen:
    """What the statements of one act did to the big tables."""

    indexes: set[str] = field(default_factory=set)
    scanned: list[str] = field(default_factory=list)  # big tables read from end to end, with their statement
    rows: int = 0  # of big tables, looked at by the statement that looked at most
    worst: str = ""
    milliseconds: float = 0.0


def seen(act: Callable[[], Any]) -> Seen:
    """Do it, then have each of its statements explained with what it really reads."""
    statements: list[str] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append(psycopg.ClientCursor(connection.connection).mogrify(sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        act()
    found = Seen()
    for statement in statements:
        if statement.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE")) and "INSERT" not in statement:
            _look(statement, found)
    return found


def _look(statement: str, found: Seen) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement.replace("%", "%%"), [])
        told = cursor.fetchone()[0]
        transaction.set_rollback(True)
    plan = (json.loads(told) if isinstance(told, str) else told)[0]
    found.milliseconds += plan["Execution Time"]
    rows = 0
    for node in _nodes(plan["Plan"]):
        if index := node.get("Index Name"):
            found.indexes.add(index)
        if node.get("Relation Name") in BIG and "Scan" in node["Node Type"]:
            rows += _read(node)
            if node["Node Type"] == "Seq Scan":
                found.scanned.append(f"{node['Relation Name']}: {statement[:300]}")
    if rows > found.rows:
        found.rows, found.worst = rows, statement


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _read(node: dict[str, Any]) -> int:
    """Rows that a scan looked at, those that its filter threw away among them."""
    thrown = node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0)
    return round((node["Actual Rows"] + thrown) * node["Actual Loops"])


def holds(act: Callable[[], Any], *, by: str = "", rows: int) -> Seen:
    """Assert that it reads no big table whole and at most so many rows a statement, by that index."""
    found = seen(act)
    assert found.scanned == []
    assert found.rows <= rows, found.worst
    for index in by.split():
        assert index in found.indexes, f"{sorted(found.indexes)}\n{found.worst}"
    return found


# --- the control ------------------------------------------------------------------------------------


def test_a_query_without_its_index_is_found_out() -> None:
    found = seen(lambda: Step.objects.filter(reason="nobody made an index for this").first())
    assert [scan.split(":")[0] for scan in found.scanned] == ["missions_step"]
    assert found.rows > million.MILLION


@pytest.mark.usefixtures("nothing_parked")
def test_a_claim_without_the_queue_s_index_sorts_the_whole_backlog() -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DROP INDEX step_queue")
        found = seen(lambda: claims.claim_next(worker="w:1", lease_seconds=60))
        transaction.set_rollback(True)
    assert found.rows > million.BACKLOG * 0.9  # some were claimed by other tests


# --- work -------------------------------------------------------------------------------------------


@pytest.fixture
def nothing_parked(million_rows: None) -> None:
    """Steps that wait for their next visit go first; here each waits for tomorrow, and costs nothing."""
    Step.objects.filter(status="executing", token=None).update(run_after=cast.later(days=1))


@pytest.mark.usefixtures("nothing_parked")
def test_the_next_step_is_found_at_the_head_of_the_queue() -> None:
    holds(lambda: claims.claim_next(worker="w:1", lease_seconds=60), by="step_parked step_queue", rows=20)


@pytest.mark.usefixtures("nothing_parked")
def test_fifty_steps_at_once_are_found_there_too() -> None:
    holds(lambda: claims.claim_next(worker="w:1", lease_seconds=60, limit=50), by="step_queue step_parked", rows=400)


@pytest.mark.usefixtures("nothing_parked")
def test_the_plan_that_is_kept_for_the_prepared_claim_finds_it_there_too() -> None:
    """PostgreSQL may keep one plan for all limits and times; it must not be one that reads the whole table."""
    statement = claims.CLAIM
    given = {"limit": "bigint", "worker": "text", "lease": "float8", "protective": "smallint"}
    for number, (name, kind) in enumerate(given.items(), 1):
        statement = statement.replace(f"%({name})s", f"${number}::{kind}")
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE claim AS {statement}")
        found = Seen()
        _look(f"EXECUTE claim (1, 'w:1', 60, {PRIORITY_PROTECTIVE})", found)
        cursor.execute("DEALLOCATE claim")
    assert found.scanned == []
    assert found.indexes >= {"step_queue", "step_parked"}
    assert found.rows <= 20


@pytest.mark.usefixtures("nothing_parked")
def test_running_a_step_from_claim_to_ending_reads_few_rows() -> None:
    """From a proposal of today, since those of the backlog belong to missions that ended long ago."""
    cast.submit(cast.analysis_draft())
    step = Step.objects.latest("pk")
    Step.objects.filter(pk=step.pk).update(priority=0)

    def one() -> None:
        (claim,) = claims.claim_next(worker="w:1", lease_seconds=60)
        assert claim.step.pk == step.pk
        assert execution.run(claim) == "succeeded"

    holds(one, by="step_queue", rows=2_000)


def test_lost_steps_are_found_by_their_leases() -> None:
    holds(lambda: rescue.run(now=db.now(), limit=10), by="step_leased", rows=2_000)


def test_the_oldest_waiting_step_is_found_without_looking_at_the_backlog() -> None:
    holds(lambda: watch.oldest_step_seconds(now=db.now()), rows=20)


def test_signs_of_life_are_one_look() -> None:
    pulses.beat("worker", now=db.now())
    holds(lambda: (watch.worker_readiness(), watch.beat_readiness(), watch.worker_must_be_replaced()), rows=20)


# --- the heartbeat ----------------------------------------------------------------------------------


def test_a_whole_beat_reads_few_rows_in_each_of_its_statements() -> None:
    beats: list[Any] = []
    after = max(db.now(), heartbeat.newest_start() or db.now()) + timedelta(minutes=1)
    by = "beat_newest beat_unfinished equity_newest proposal_expiring step_leased"
    holds(lambda: beats.append(heartbeat.run(asked_by="a test", now=after)), by=by, rows=6_000)
    assert {phase.status for phase in beats[0].phases.all()} == {"success"}


def test_triggers_read_the_events_behind_their_cursor_only() -> None:
    triggers.run(now=db.now(), limit=20)
    holds(lambda: triggers.run(now=db.now(), limit=20), rows=1_000)


def test_lapsed_proposals_are_found_by_their_expiry() -> None:
    holds(lambda: proposals.expire(now=db.now(), limit=50), by="proposal_expiring", rows=200)


@pytest.mark.parametrize("prune", [events.prune, market.prune, heartbeat.prune])
def test_pruning_reads_what_it_deletes(prune: Callable[..., int]) -> None:
    holds(lambda: prune(now=db.now(), limit=100, retention=timedelta(days=20)), rows=1_500)


def test_stops_look_at_open_positions_only() -> None:
    holds(lambda: stops.run(now=db.now(), limit=100), rows=200)


# --- events -----------------------------------------------------------------------------------------


def test_new_events_are_numbered_without_looking_at_the_old_ones() -> None:
    with db.transaction():
        for _ in range(50):
            events.emit(kind="alarm", subject="a test", now=db.now())
    holds(events.number_new, by="event_unnumbered", rows=500)


@pytest.mark.parametrize("behind", [10, 500_000, 990_000])
def test_readers_find_their_place_however_far_behind_they_are(behind: int) -> None:
    after = events.newest_number() - behind
    holds(lambda: events.read_after(after, limit=100), by="common_event_number_key", rows=200)


@pytest.mark.parametrize("kinds", [["position.closed"], ["position.closed", "stop.hit", "signal.strong"]])
def test_readers_of_few_kinds_find_them_at_the_tail(kinds: list[str]) -> None:
    after = events.newest_number() - 1_000
    holds(lambda: events.read_after(after, limit=100, kinds=kinds), rows=1_500)


# --- proposals and money ----------------------------------------------------------------------------


def test_the_gates_and_the_approval_of_a_trade_read_few_rows() -> None:
    cast.fill_market()
    holds(lambda: cast.submit(cast.buy()), rows=6_000)


def test_the_portfolio_is_summed_without_reading_its_history() -> None:
    holds(lambda: portfolio.summary(now=db.now()), by="equity_newest", rows=200)


def test_the_newest_candles_are_read_from_their_end() -> None:
    sol = Market.objects.get(name="SOL/USDC")
    holds(lambda: newest_bars(sol), rows=150)


def test_signals_of_now_are_found_without_looking_at_older_ones() -> None:
    from missions.gates import Case, Known

    cast.fill_market()
    holds(lambda: facts.signals(Known(Case(draft=cast.buy()), now=db.now())), rows=2_000)


def test_looking_back_over_a_window_reads_that_window() -> None:
    holds(lambda: reflection.look_back(since=db.now() - timedelta(minutes=10)), rows=2_000)


# --- pages, API, metrics ----------------------------------------------------------------------------


PANELS = {
    name: getattr(queries, name)
    for name in ("company", "portfolio_now", "equity", "prices", "open_and_closed", "last_events", "agents", "health")
}


@pytest.mark.parametrize("panel", PANELS)
def test_each_panel_of_the_page_reads_few_rows(panel: str) -> None:
    holds(lambda: PANELS[panel](now=db.now()), rows=6_000)


def test_the_pipeline_counts_what_is_on_its_way() -> None:
    """What is on its way and what ended today is counted, and so read; what ended long ago isn't."""
    holds(lambda: queries.pipeline(now=db.now()), rows=million.BACKLOG + 50_000)


def test_metrics_count_what_is_on_its_way() -> None:
    holds(lambda: [*metrics.collect(), *trading_metrics.collect()], rows=million.BACKLOG + 10_000)


def test_readiness_reads_few_rows() -> None:
    holds(lambda: [part() for name, part in health.parts().items() if name != "migrations"], rows=500)


@pytest.fixture
def api(million_rows: None) -> Client:
    """A program that may read."""
    user = get_user_model().objects.get(username="admin")
    _, secret = ApiToken.issue(user=user, name="plans", scopes=["read"], now=db.now())
    return Client(headers={"Authorization": f"Bearer {secret}"})


LISTS = [
    "proposals/", "proposals/?status=pending", "proposals/?status=rejected", "proposals/?agent=scout",
    "missions/", "missions/?status=running", "steps/", "steps/?status=queued",
    "orders/", "orders/?status=filled", "orders/?status=in_doubt",
    "orders/?market=SOL/USDC", "positions/", "positions/?status=open", "events/", "events/?kind=position.closed",
    "equity/", "heartbeats/",
]  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
def test_the_first_page_of_each_list_reads_a_page(api: Client, path: str) -> None:
    """Where a filter finds nothing new, what is newer and pending is looked at as well."""
    holds(lambda: _get(api, f"/api/v1/{path}"), rows=2 * million.PENDING)


def test_a_rare_status_and_kind_of_step_is_found_by_its_index(api: Client) -> None:
    holds(lambda: _get(api, "/api/v1/steps/?status=failed&kind=reflect"), by="step_status_kind_priority", rows=3_000)


def test_a_list_of_what_ended_passes_over_the_newer_backlog_at_most(api: Client) -> None:
    path = "/api/v1/steps/?status=succeeded&kind=execute_trade"
    holds(lambda: _get(api, path), rows=million.BACKLOG + 3_000)


@pytest.mark.parametrize("path", ["proposals/", "missions/", "steps/", "orders/", "positions/", "equity/"])
def test_a_page_far_back_reads_a_page_too(api: Client, path: str) -> None:
    from dashboard.api import pagination

    cursor = pagination._signer.sign_object([f"/api/v1/{path}", 50_000])
    holds(lambda: _get(api, f"/api/v1/{path}?cursor={cursor}"), rows=3_000)


def _get(api: Client, path: str) -> None:
    answer = api.get(path)
    assert answer.status_code == 200, answer.content[:300]
    assert "results" in answer.json()


@pytest.mark.parametrize("page", ["missions/proposal/?status__exact=pending", "missions/proposal/?waits_for=people"])
def test_the_admin_s_pending_list_reads_what_is_pending(million_rows: None, page: str) -> None:
    staff = Client()
    staff.force_login(get_user_model().objects.get(username="admin"))
    holds(lambda: staff.get(f"/admin/{page}"), rows=3 * million.PENDING)
