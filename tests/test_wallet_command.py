"""manage.py wallet, as a person runs it."""

import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings
from solders.keypair import Keypair

from tests.signing import OUR_SEED, US, leaks
from trading.signer import hardening, keyfile, passphrase
from trading.signer.networks import GENESIS, Network

PAIR = Keypair.from_seed(OUR_SEED)
PHRASE = "a phrase for the wallet"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own, with the passphrase in a file; this process itself isn't hardened."""
    settings.TRADECO_HOME = tmp_path / "home"
    phrase = tmp_path / "phrase"
    phrase.write_text(PHRASE)
    phrase.chmod(0o600)
    monkeypatch.setenv(passphrase.FILE_VARIABLE, str(phrase))
    monkeypatch.setattr(hardening, "harden", lambda: None)
    monkeypatch.setattr(keyfile.store, "__kwdefaults__", {"cost": 2**10})
    monkeypatch.setattr(keyfile.create, "__kwdefaults__", {"cost": 2**10})
    return tmp_path / "home"


def wallet(*arguments: str) -> str:
    out = io.StringIO()
    call_command("wallet", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.parametrize("network", list(Network))
def test_create_makes_a_key_for_its_network(home: Path, network: Network) -> None:
    out = wallet("create", "--network", network)
    path = home / "wallet" / f"{network}.json"
    found = keyfile.describe(path)
    assert found.genesis == GENESIS[network]
    assert f"address  {found.address}\nnetwork  {network}\nfile     {path}" in out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert wallet("show", "--network", network) == out


def test_the_sandbox_is_meant_unless_another_is_named(home: Path) -> None:
    wallet("create")
    assert [file.name for file in (home / "wallet").iterdir()] == ["sandbox.json"]


def test_create_never_replaces_a_key(home: Path) -> None:
    wallet("create")
    before = (home / "wallet" / "sandbox.json").read_bytes()
    with pytest.raises(CommandError, match="exists"):
        wallet("create")
    assert (home / "wallet" / "sandbox.json").read_bytes() == before


@pytest.mark.parametrize("text", [PAIR.to_json(), str(PAIR)])
def test_import_reads_the_key_from_standard_input(home: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text + "\n"))
    out = wallet("import")
    assert str(US) in out
    assert leaks(out.encode()) == []


def test_import_of_something_else_says_so_and_writes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("not a key"))
    with pytest.raises(CommandError, match="base58"):
        wallet("import")
    assert not (home / "wallet").exists()


def test_show_without_a_key_says_how_to_make_one() -> None:
    with pytest.raises(CommandError, match="wallet create"):
        wallet("show")


def test_a_key_for_another_chain_isnt_shown_as_ours(home: Path) -> None:
    wallet("create")
    path = home / "wallet" / "sandbox.json"
    path.rename(path.with_name("mainnet.json"))
    with pytest.raises(CommandError, match="another chain"):
        wallet("show", "--network", "mainnet")


def test_the_command_line_takes_no_secret() -> None:
    with pytest.raises(CommandError):
        wallet("import", str(PAIR))


def test_as_a_process_it_imports_and_tells_nothing(home: Path) -> None:
    """Without a terminal and without a passphrase it stops, before anything is written."""
    env = {**os.environ, "TRADECO_HOME": str(home)}
    argv = [sys.executable, "manage.py", "wallet", "import"]

    def run(**more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            argv,
            cwd=settings.BASE_DIR,
            env={**env, **more},
            input=PAIR.to_json(),
            capture_output=True,
            text=True,
            start_new_session=True,
            timeout=60,
            check=False,
        )

    refused = run(**{passphrase.FILE_VARIABLE: ""})
    assert refused.returncode != 0
    assert passphrase.VARIABLE in refused.stderr
    assert not (home / "wallet").exists()
    done = run()
    assert done.returncode == 0, done.stderr
    assert str(US) in done.stdout
    assert leaks((done.stdout + done.stderr + refused.stdout + refused.stderr).encode()) == []
    assert json.loads((home / "wallet" / "sandbox.json").read_text())["address"] == str(US)
