"""Migrations forward and back on a filled database, each to the same schema and to nothing left."""

import uuid
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.core.management import call_command
from django.db import ProgrammingError, connection
from django.db.migrations.executor import MigrationExecutor

from agents.models import Memory
from dashboard.models import IdempotencyKey
from missions import heartbeat, policies, proposals
from missions.models import Word
from tests import admin_rows, cast, other_database
from tradeco.common import db, events, pulses
from tradeco.common.models import Breaker
from trading import findings, money, portfolio, stops
from trading.models import Agreement, Finding, LedgerEntry, Lot, LotWithdrawal, Order, Position, Signal
from trading.vocabulary import FindingKind

APPS = ["dashboard", "roundtable", "trading", "missions", "agents", "common"]  # back: who depends goes first

SCHEMA = {  # what PostgreSQL knows of a schema, as text that can be compared
    "columns": "SELECT table_name, column_name, data_type, is_nullable, character_maximum_length, numeric_precision,"
    " numeric_scale, column_default, is_identity FROM information_schema.columns WHERE table_schema = 'public'",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
    " WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "triggers": "SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal",
    "functions": "SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace",
    "sequences": "SELECT sequencename, data_type::text FROM pg_sequences WHERE schemaname = 'public'",
    "types": "SELECT typname, typtype::text FROM pg_type WHERE typnamespace = 'public'::regnamespace",
}


@pytest.fixture
def filled(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """A company that has traded, in a database of its own: every table of ours holds a row at least."""
    with django_db_blocker.unblock(), other_database.opened("tradeco_there_and_back"):
        cast.open_company()
        _trade()
        _decide_and_remember()
        admin_rows.populate(1)
        assert [table for table in _our_tables() if not _rows(table)] == [], "these tables would prove nothing"
        yield


def _trade() -> None:
    """A position closed at its stop, another one open, and an order that is only reserved."""
    stopped = cast.bought("SOL/USDC")
    cast.set_price("SOL/USDC", stopped.stop_price * Decimal("0.99"))
    stops.run(now=db.now(), limit=10)
    cast.work()
    cast.bought("WIF/USDC")
    cast.submit(cast.buy("JUP/USDC"))
    for _ in range(2):
        heartbeat.run(asked_by="a test", now=cast.later(minutes=2))
    cast.work()
    if not Signal.objects.exists():
        step = Order.objects.latest("pk").step
        Signal.objects.create(
            market_id="SOL/USDC", step=step, kind="momentum", direction="buy", strength="0.5", confidence="0.6",
            why="for a test", at=db.now(), market_at=db.now(),
        )  # fmt: skip
    assert Order.objects.filter(status="filled").count() >= 3
    assert set(Position.objects.values_list("status", flat=True)) == {"open", "closed"}


def _decide_and_remember() -> None:
    """A proposal that waits for people, one that a person approved, and what only later parts write of themselves."""
    people = [get_user_model().objects.create_user(username=name, is_staff=True) for name in ("alice", "bob")]
    people[0].groups.add(Group.objects.get(name="reviewer"))
    cast.issue_tokens()
    cast.set_policy(human_from_usd="50")
    waiting = [cast.submit(cast.buy("BONK/USDC", "60.00"), author=people[0]) for _ in range(2)]
    assert {proposal.status for proposal in waiting} == {"pending"}
    proposals.approve(proposal_id=waiting[0].pk, approver=people[1], reason="fine", now=db.now())
    Word.objects.create(
        subject="company", digest="0" * 64, asked={"to": "active"}, person=people[0], reason="fine", at=db.now()
    )
    pulses.beat("worker", now=db.now())
    Breaker.objects.create(name="rpc_1")
    findings.found(
        wallet=portfolio.wallet(),
        kind=FindingKind.BALANCE_DRIFT,
        key=money.USDC,
        what="for a test",
        evidence={},
        now=db.now(),
    )
    Agreement.objects.create(
        finding=Finding.objects.get(), verb="book", person=people[0], reason="for a test", at=db.now()
    )
    lot = Lot.objects.latest("pk")
    LotWithdrawal.objects.create(
        finding=Finding.objects.get(), wallet=lot.wallet, asset=lot.asset, quantity=1, after=lot.fill, at=db.now()
    )
    events.number_new()
    Memory.objects.create(
        agent_id="scout", type="lesson", text="Stops hold.", confidence="0.6", cause="outcome:1", created_at=db.now()
    )
    IdempotencyKey.objects.create(
        user=people[0], key=str(uuid.uuid4()), fingerprint="0" * 64, status=201, body={}, created_at=db.now()
    )


@pytest.mark.usefixtures("filled")
def test_every_migration_goes_back_leaving_nothing_of_ours_and_forth_to_the_same_schema() -> None:
    before, people = _schema(), _rows("auth_user")
    for app, migration in _back():
        _undo(app, migration)
    assert [name for what in _schema().values() for name in _names(what) if _is_ours(name)] == []
    assert _rows("auth_user") == people, "what isn't ours must stay"
    call_command("migrate", verbosity=0, interactive=False)
    after = _schema()
    assert {what: _difference(before[what], after[what]) for what in before} == {what: set() for what in before}
    _opens_again()
    with connection.cursor() as cursor:  # the control: a schema that lost one index isn't the same
        cursor.execute("DROP INDEX step_queue")
    assert _difference(before["indexes"], _schema()["indexes"])


def _undo(app: str, migration: str) -> None:
    """Go back to that migration of an app; no row of the others may go with it."""
    there = set(connection.introspection.table_names())
    others = [table for table in _our_tables() if table in there and not table.startswith(f"{app}_")]
    rows = {table: _rows(table) for table in others}
    call_command("migrate", app, migration, verbosity=0, interactive=False)
    assert {table: _rows(table) for table in others} == rows, f"{app} took rows of others with it"


def _opens_again() -> None:
    policies.at.cache_clear()
    cast.open_company()
    assert cast.bought("SOL/USDC").status == "open"
    with pytest.raises(ProgrammingError, match="Cannot update"):  # the guards came back with their tables
        LedgerEntry.objects.update(amount=1)


def test_the_models_have_no_change_without_a_migration(db: None) -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_no_two_migrations_of_an_app_claim_to_be_its_newest(db: None) -> None:
    loader = MigrationExecutor(connection).loader
    assert loader.detect_conflicts() == {}


def _back() -> list[tuple[str, str]]:
    """Each of our migrations undone one at a time: the app, and the migration that then is its newest."""
    loader = MigrationExecutor(connection).loader
    steps: list[tuple[str, str]] = []
    for app in APPS:
        names = sorted(name for label, name in loader.disk_migrations if label == app)
        steps += [(app, before) for before in reversed(["zero", *names[:-1]])]
    return steps


def _names(rows: list[tuple[Any, ...]]) -> list[str]:
    return [str(part) for row in rows for part in row[:2]]


def _is_ours(name: str) -> bool:
    return name.startswith(("pgtrigger_", *(f"{app}_" for app in APPS)))


def _difference(one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    return set(one) ^ set(other)


def _our_tables() -> list[str]:
    models = [model for label in APPS for model in apps.get_app_config(label).get_models()]
    return sorted(model._meta.db_table for model in models)


def _rows(table: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(f'SELECT count(*) FROM "{table}"')
        return int(cursor.fetchone()[0])


def _schema() -> dict[str, list[tuple[Any, ...]]]:
    with connection.cursor() as cursor:
        return {what: _asked(cursor, query) for what, query in SCHEMA.items()}


def _asked(cursor: Any, query: str) -> list[tuple[Any, ...]]:
    cursor.execute(query)
    return sorted(cursor.fetchall(), key=repr)
