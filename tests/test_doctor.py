"""The doctor: well where all is there, and for each thing that is missing the line that says so."""

import io
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from missions import company
from missions.vocabulary import CompanyStatus
from tests import cast
from tests.chain_company import ChainCompany
from tests.sandbox_chain import running_sandbox
from tradeco.common import db
from trading import doctor, findings, network
from trading.models import Attempt, Order, Wallet
from trading.sandbox.clock import RunningClock
from trading.vocabulary import FindingKind

NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def moving(chain: ChainCompany, monkeypatch: pytest.MonkeyPatch) -> ChainCompany:
    """The chain, whose blocks come whenever the doctor looks."""
    monkeypatch.setattr(doctor.time, "sleep", lambda seconds: chain.slots())
    return chain


def lines() -> dict[str, doctor.Line]:
    return {line.check: line for line in doctor.examine()}


def states(found: dict[str, doctor.Line], *but: str) -> dict[str, str]:
    """What isn't well, apart from some."""
    return {name: line.state for name, line in found.items() if line.state != "ok" and name not in but}


def test_a_sound_company_is_called_sound_and_nothing_moves(moving: ChainCompany) -> None:
    before = moving.sandbox.ledger()
    found = lines()
    # the test chain's clock stands still but for our looking
    assert states(found, "rpc 1 clock") == {}
    assert {"database", "migrations", "policy", "company", "wallet", "breakers", "findings", "key", "signer", "rpc 1",
            "fees", "balance", "jupiter"} <= set(found)  # fmt: skip
    assert moving.sandbox.ledger() == before
    assert not Order.objects.exists()
    assert not Attempt.objects.exists()


def test_a_chain_that_stands_still_is_found(chain: ChainCompany, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "HEIGHT_SECONDS", 0.3)
    assert lines()["rpc 1"].state == "fail"
    assert "stands at block" in lines()["rpc 1"].said


@pytest.mark.parametrize(
    ("changes", "check", "state"),
    [
        ({"RPC_URLS": []}, "rpc", "fail"),
        ({"RPC_URLS": [NOBODY]}, "rpc 1", "fail"),
        ({"JUPITER_URL": NOBODY}, "jupiter", "fail"),
    ],
)
def test_what_is_missing_outside_is_named(
    moving: ChainCompany, changes: dict[str, Any], check: str, state: str
) -> None:
    with override_settings(**changes):
        assert lines()[check].state == state


def test_a_mainnet_setup_is_told_all_that_it_lacks(moving: ChainCompany) -> None:
    """The sandbox's node under mainnet's settings: another chain, no key, no Jupiter key."""
    with override_settings(NETWORK="mainnet", JUPITER_KEY="", MARKETS=["SOL/USDC", "PEPE/USDC"]):
        found = lines()
    assert found["rpc 1"].state == "fail"
    assert "another chain" in found["rpc 1"].said
    assert {name: line.state for name, line in found.items() if name in ("key", "jupiter key", "markets")} == {
        "key": "fail", "jupiter key": "fail", "markets": "fail"
    }  # fmt: skip
    assert found["rpc"].state == "warn"
    assert (found["policy"].state, found["policy"].said[:10]) == ("fail", "Real money")
    assert found["backup"].state == "warn"
    assert "wallet create" in found["key"].do


def test_an_empty_wallet_can_not_pay_fees(moving: ChainCompany, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "address", lambda: "11111111111111111111111111111112")
    found = lines()
    assert (found["fees"].state, found["balance"].state) == ("fail", "warn")
    assert (found["wallet"].state, found["signer"].state) == ("fail", "fail")


def test_a_key_that_others_may_read_is_refused(moving: ChainCompany) -> None:
    network.key_file().chmod(0o644)
    assert lines()["key"].state == "fail"
    assert "chmod 600" in lines()["key"].said


def test_what_waits_for_people_is_told(moving: ChainCompany) -> None:
    wallet = Wallet.objects.get()
    kind = FindingKind.MOVEMENT
    findings.found(wallet=wallet, kind=kind, key="k", what="Something came.", evidence={}, now=db.now())
    company.switch(to=CompanyStatus.HALTED, by=None, reason="for a test", now=db.now())
    found = lines()
    assert (found["findings"].state, found["company"].state) == ("warn", "warn")


def test_fewer_people_than_the_quorum_asks_for_are_told(moving: ChainCompany) -> None:
    assert "people" not in lines()
    cast.force_policy(quorum=2)
    assert (lines()["people"].state, lines()["people"].do) == ("warn", "Make another operator in the admin: Users.")


def test_a_signer_that_rests_is_no_failure(moving: ChainCompany, tmp_path: Path) -> None:
    with override_settings(TRADECO_HOME=tmp_path / "elsewhere"):
        found = lines()
    assert found["signer"].state == "warn"
    assert found["key"].state == "fail"


@pytest.mark.parametrize(
    ("off", "state"), [(0, "ok"), (10, "ok"), (20, "warn"), (60, "fail"), (-1, "ok"), (-10, "warn"), (-60, "fail")]
)
def test_a_clock_may_lag_but_not_run_ahead(db: None, off: int, state: str) -> None:
    from datetime import UTC, datetime

    theirs = datetime.now(UTC) - timedelta(seconds=off)
    assert doctor._skew("clock", theirs, lag=15.0).state == state


@pytest.mark.usefixtures("company")
def test_paper_needs_no_chain_and_the_command_says_so_by_its_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    call_command("doctor", stdout=said)
    assert "FAIL" not in said.getvalue()
    assert "Paper money" in said.getvalue()
    said = io.StringIO()
    call_command("doctor", json=True, stdout=said)
    assert {json.loads(line)["state"] for line in said.getvalue().splitlines()} == {"ok"}
    bad = doctor.Line("x", doctor.State.FAIL, "broken", "mend it")
    monkeypatch.setattr(doctor, "examine", lambda: iter([bad]))
    said = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", stdout=said)
    assert ended.value.code == 1
    assert said.getvalue() == "FAIL  x: broken\n      → mend it\n"


def test_a_running_chains_clock_is_ours(db: None) -> None:
    with (
        running_sandbox(clock=RunningClock(0.05), finalized_after=2) as sandbox,
        override_settings(NETWORK="sandbox", RPC_URLS=[sandbox.url]),
    ):
        found = {line.check: line for line in doctor._nodes()}
    assert [line.state for line in found.values()] == ["ok", "ok"], found
