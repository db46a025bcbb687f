"""Backups are whole or refused; a restored company is halted, forgets nothing on the chain and repeats nothing."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import connection
from psycopg import sql

from missions import company
from missions.models import Company, Proposal, Step
from missions.vocabulary import CompanyStatus
from tests import cast, other_database
from tests.chain_company import ChainCompany
from tradeco.common import backups, db, events, leases, premises
from tradeco.common.models import Lease
from trading import restoring
from trading.models import Attempt, Finding, Order, Position, Wallet


@pytest.fixture
def home(tmp_path: Path, settings: object) -> Path:
    settings.TRADECO_HOME = tmp_path  # type: ignore[attr-defined]
    return tmp_path


@pytest.fixture
def no_databases_left() -> Iterator[None]:
    """Whatever a restore put aside goes with the test."""
    yield
    connection.close()
    pattern = f"{connection.settings_dict['NAME']}\\_%"
    with other_database.connect("postgres", autocommit=True) as admin:
        asked = "SELECT datname FROM pg_database WHERE datname LIKE %s AND datname ~ '_(before|restoring)_'"
        for (name,) in admin.execute(asked, [pattern]).fetchall():
            admin.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


def databases() -> list[str]:
    with other_database.connect("postgres", autocommit=True) as admin:
        found = admin.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()
    return [name for (name,) in found if name.startswith(str(connection.settings_dict["NAME"]))]


def made(folder: Path) -> Path:
    return backups.make(dict(connection.settings_dict), folder=folder / "backups")


def restored(path: Path) -> str:
    said = io.StringIO()
    connection.close()
    call_command("restore", path, yes=True, stdout=said)
    return said.getvalue()


# --- a dump ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("committed_company")
def test_a_backup_is_private_and_says_what_it_holds(home: Path) -> None:
    cast.bought("SOL/USDC")
    events.number_new()
    path = made(home)
    manifest = backups.check(path)
    assert {file.stat().st_mode & 0o777 for file in (path, backups.manifest_of(path))} == {0o600}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert manifest.rows["trading_order"] == 1
    assert manifest.newest_event == events.newest_number() > 0
    assert manifest.migrations["trading"].startswith("0")
    assert manifest.bytes == path.stat().st_size


@pytest.mark.usefixtures("committed_company")
def test_a_damaged_backup_is_refused(home: Path) -> None:
    path = made(home)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(backups.BackupUnusable, match="digest"):
        backups.check(path)
    path.write_bytes(b"PGDMP not really")
    manifest = json.loads(backups.manifest_of(path).read_text())
    backups.manifest_of(path).write_text(json.dumps(manifest | {"sha256": backups._digest(path)}))
    with pytest.raises(backups.BackupUnusable, match="pg_restore"):
        backups.check(path)
    backups.manifest_of(path).unlink()
    with pytest.raises(backups.BackupUnusable, match="can't be read"):
        backups.check(path)


@pytest.mark.usefixtures("committed_company")
def test_the_command_backs_up_checks_and_keeps_the_newest(home: Path) -> None:
    said = io.StringIO()
    for _ in range(3):
        call_command("backup", keep=2, stdout=said)
    left = sorted((home / "backups").iterdir())
    assert [path.suffix for path in left] == [".dump", ".json"] * 2
    assert str(max(left, key=lambda path: path.stem).with_suffix(".dump")) in said.getvalue()
    call_command("backup", check=left[0].with_suffix(".dump"), stdout=said)
    with pytest.raises(CommandError, match="can't be read"):
        call_command("backup", check=home / "none.dump")
    assert len(list((home / "backups").iterdir())) == 4


@pytest.mark.django_db
def test_a_backup_that_fails_leaves_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backups.postgres, "binary", lambda name: Path("/bin/false"))
    with pytest.raises(backups.BackupFailed):
        made(home)
    assert list((home / "backups").iterdir()) == []


# --- a restore ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_databases_left")
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "control"])
def test_what_was_approved_before_a_restore_and_carried_out_since_is_not_carried_out_again(
    committed_chain: ChainCompany, guarded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chain = committed_chain
    cast.submit(cast.buy("JUP/USDC", "50.00"))
    chain.work()
    cast.submit(cast.buy("WIF/USDC", "50.00"))
    path = made(settings.TRADECO_HOME)
    chain.work()
    cast.submit(cast.close(Position.objects.get(market="JUP/USDC").pk))
    chain.work()
    since = set(Attempt.objects.order_by("-pk").values_list("reference", flat=True)[:2])
    assert len(chain.landed()) == 3
    if not guarded:
        monkeypatch.setattr(restoring, "adopt", lambda **_: restoring.Adopted(0, 0, 0))
    said = restored(path)
    chain.work()
    if not guarded:
        assert len(chain.landed()) == 4, "without what a restore does, the approved trade is made a second time"
        return
    assert "1 approved trades were let go" in said
    assert len(chain.landed()) == 3
    assert (Company.objects.get().status, Order.objects.get(market="WIF/USDC").status) == ("halted", "cancelled")
    assert chain.reconcile()["strangers"] == 2
    assert set(Finding.objects.filter(kind="unknown_signature").values_list("key", flat=True)) == since
    assert chain.reconcile()["strangers"] == 0
    # the drift that people will settle is exactly what the two trades moved
    assert {found.key for found in Finding.objects.filter(kind="balance_drift")} <= set(chain.held())
    assert cast.submit(cast.buy("WIF/USDC", "50.00")).status == "rejected"
    assert len(databases()) == 2


@pytest.mark.usefixtures("no_databases_left")
def test_what_was_sent_before_a_restore_is_looked_up_and_booked(committed_chain: ChainCompany) -> None:
    chain = committed_chain
    cast.submit(cast.buy("JUP/USDC", "50.00"))
    chain.visit()
    path = made(settings.TRADECO_HOME)
    chain.work()
    restored(path)
    assert Attempt.objects.get().status == "broadcast"
    chain.work()
    assert (Order.objects.get().status, len(chain.landed())) == ("filled", 1)
    assert chain.held() == chain.books()
    assert chain.reconcile()["strangers"] == 0


@pytest.mark.parametrize("set_back", [True, False], ids=["set back", "control"])
def test_an_order_from_before_a_restore_gets_no_second_attempt_even_when_trading_goes_on(
    chain: ChainCompany, set_back: bool
) -> None:
    """Its first attempt expired; whether the lost books made a second one that landed, nobody knows."""
    chain.sandbox.faults.add("drop_transaction", route="sendTransaction")
    cast.submit(cast.buy("JUP/USDC", "50.00"))
    chain.visit()
    if set_back:
        Wallet.objects.update(restored_at=db.now())
    chain.slots(200)
    chain.sandbox.faults.clear()
    chain.work()
    order = Order.objects.get()
    if set_back:
        assert (order.status, order.code, chain.landed()) == ("failed", "restored", [])
    else:
        assert (order.status, len(chain.landed())) == ("filled", 1)


@pytest.mark.usefixtures("committed_company", "no_databases_left")
def test_the_books_of_the_dump_come_back_and_those_of_now_are_kept(home: Path) -> None:
    cast.bought("SOL/USDC")
    path = made(home)
    cast.bought("JUP/USDC")
    aside = restored(path).split()[-1].rstrip(".")
    assert list(Order.objects.values_list("market", flat=True)) == ["SOL/USDC"]
    with restoring.led_to(aside):
        assert Order.objects.count() == 2
    assert connection.settings_dict["NAME"] in databases()


@pytest.mark.usefixtures("committed_company", "no_databases_left")
def test_nothing_that_was_issued_is_issued_again(home: Path) -> None:
    held = leases.acquire("market", holder="the lost company", seconds=3600)
    assert held is not None
    cast.set_policy(human_from_usd="10")
    waiting = cast.submit(cast.buy("SOL/USDC"))
    assert waiting.status == "pending"
    path = made(home)
    cast.set_policy(human_from_usd="500")
    cast.bought("JUP/USDC")
    events.number_new()
    newest, orders = events.newest_number(), Order.objects.get().pk
    restored(path)
    assert Lease.objects.get(name="market").epoch > held.epoch + 10**6
    with pytest.raises(leases.LeaseLost):
        leases.renew(held)
    events.number_new()
    (alarm,) = events.read_after(newest, limit=10, kinds=["alarm"])
    assert alarm.data["alarm"].startswith("Restored from")
    assert Proposal.objects.get(pk=waiting.pk).expires_at <= db.now(), "people decide anew"
    cast.set_policy(human_from_usd="500")
    company.switch(to=CompanyStatus.ACTIVE, by=None, reason="for a test", now=db.now())
    cast.bought("JUP/USDC")
    assert Order.objects.get().pk > orders


@pytest.mark.usefixtures("committed_company")
def test_a_step_in_a_workers_hands_is_let_go(home: Path) -> None:
    cast.submit(cast.buy("SOL/USDC"))
    cast.claim(lease_seconds=3600)
    with restoring.led_to(str(connection.settings_dict["NAME"])):
        assert restoring.adopt(why="for a test", now=db.now()).let_go == 1
    assert (Step.objects.get().status, Order.objects.get().status) == ("cancelled", "cancelled")
    assert Company.objects.get().reason == "for a test"
    restoring.adopt(why="once more", now=db.now())
    assert Company.objects.get().reason == "once more"


@pytest.mark.usefixtures("committed_company")
def test_a_restore_is_refused_where_it_can_not_be_meant(home: Path) -> None:
    path = made(home)
    connection.close()
    with pytest.raises(CommandError, match="--yes"):
        call_command("restore", path)
    with pytest.raises(CommandError, match="Name a dump"):
        call_command("restore", yes=True)
    with premises.held(home), pytest.raises(CommandError, match="already runs"):
        call_command("restore", path, yes=True)
    with other_database.connect(str(connection.settings_dict["NAME"])):
        with pytest.raises(CommandError, match="in use"):
            call_command("restore", path, yes=True)
        with pytest.raises(CommandError, match="in use"):
            call_command("restore", recovered=True, yes=True)
    assert databases() == [connection.settings_dict["NAME"]]
    assert Company.objects.get().status == "active"


@pytest.mark.usefixtures("committed_company")
def test_a_dump_of_a_newer_program_is_refused(home: Path) -> None:
    path = made(home)
    manifest = json.loads(backups.manifest_of(path).read_text())
    manifest["migrations"]["trading"] = "9999_from_the_future"
    backups.manifest_of(path).write_text(json.dumps(manifest))
    with pytest.raises(CommandError, match="newer tradeco"):
        restored(path)


@pytest.mark.usefixtures("committed_company")
def test_a_restore_that_fails_on_its_way_leaves_everything_as_it_was(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(home)
    manifest = json.loads(backups.manifest_of(path).read_text())
    manifest["rows"]["trading_order"] = 7
    backups.manifest_of(path).write_text(json.dumps(manifest))
    with pytest.raises(CommandError, match=r"differing: \['trading_order'\]"):
        restored(path)
    assert databases() == [connection.settings_dict["NAME"]]
    assert Company.objects.get().status == "active"


@pytest.mark.usefixtures("committed_company")
def test_a_database_that_was_recovered_otherwise_is_adopted(home: Path) -> None:
    cast.submit(cast.buy("SOL/USDC"))
    connection.close()
    call_command("restore", recovered=True, yes=True, stdout=io.StringIO())
    assert (Company.objects.get().status, Order.objects.get().status) == ("halted", "cancelled")
