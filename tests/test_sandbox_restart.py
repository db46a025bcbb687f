"""A sandbox that comes back has the same balances, statuses, history, height and prices, also after kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests
from solders.keypair import Keypair

from tests.sandbox_chain import (
    BONK,
    DOLLAR,
    JUP,
    SOL,
    USDC,
    encoded,
    funded,
    held,
    prepared,
    quote,
    rpc,
    running_sandbox,
    send,
    signed,
    status,
    swap,
)
from trading.sandbox.clock import ManualClock
from trading.sandbox.errors import SandboxError, SourceChanged
from trading.sandbox.journal import Journal
from trading.sandbox.main import Sandbox
from trading.sandbox.store import COMPACT_AFTER
from trading.sources import seeded


def essence(sandbox: Sandbox, wallet: Keypair) -> dict[str, Any]:
    """All that must be the same afterwards."""
    address = str(wallet.pubkey())
    history = rpc(sandbox, "getSignaturesForAddress", address, {"commitment": "confirmed"})
    options = {"maxSupportedTransactionVersion": 0, "commitment": "confirmed"}
    return {
        "balances": {mint: held(sandbox, wallet, mint) for mint in (USDC, SOL, JUP, BONK)},
        "history": history,
        "transactions": [rpc(sandbox, "getTransaction", item["signature"], options) for item in history],
        "height": sandbox.chain.height,
        "ledger": sandbox.ledger(),
        "undone": list(sandbox.chain.ledger.undone),
        "prices": requests.get(f"{sandbox.url}/sandbox/state", timeout=10).json()["prices"],
        "candles": requests.get(f"{sandbox.url}/candles", timeout=10).json()["candles"][:400],
    }


def test_a_restarted_sandbox_is_the_same(tmp_path: Path) -> None:
    with running_sandbox(folder=tmp_path) as sandbox:
        wallet = funded(sandbox)
        for mint in (SOL, JUP, BONK, SOL):
            swap(sandbox, wallet, mint_out=mint)
            sandbox.advance()
        vanishing = swap(sandbox, wallet, mint_out=JUP)
        sandbox.advance()
        swap(sandbox, wallet, mint_in=SOL, mint_out=USDC, amount=10_000_000)
        sandbox.advance(2)
        sandbox.chain.reorganise(vanishing)
        sandbox.prices.pin("SOL/USDC", Decimal("140"))
        waiting = prepared(sandbox, wallet)
        landed = sandbox.ledger()[-1]["signature"]
        before = essence(sandbox, wallet)
    for _ in range(2):
        with running_sandbox(folder=tmp_path) as sandbox:
            assert essence(sandbox, wallet) == before
            assert sandbox.fund(str(wallet.pubkey()), usdc=DOLLAR) is None
            assert status(sandbox, vanishing) is None
            assert status(sandbox, landed) is not None
    with running_sandbox(folder=tmp_path) as sandbox:
        assert "result" in send(sandbox, waiting)  # its blockhash and its order are still known
        sandbox.advance()
        assert sandbox.ledger()[-1]["swap"]["wallet"] == str(wallet.pubkey())


def test_what_landed_before_the_restart_never_lands_again(tmp_path: Path) -> None:
    with running_sandbox(folder=tmp_path) as sandbox:
        wallet = funded(sandbox)
        transaction = prepared(sandbox, wallet)
        send(sandbox, transaction)
        sandbox.advance()
    with running_sandbox(folder=tmp_path) as sandbox:
        assert send(sandbox, transaction)["error"]["data"]["err"] == "AlreadyProcessed"
        send(sandbox, transaction, skipPreflight=True)
        sandbox.advance(2)
        assert held(sandbox, wallet, USDC) == 9_900 * DOLLAR


def test_the_height_never_goes_back_though_nothing_happened(tmp_path: Path) -> None:
    with running_sandbox(folder=tmp_path) as sandbox:
        sandbox.advance(77)
        height = sandbox.chain.height
    with running_sandbox(folder=tmp_path) as sandbox:
        assert sandbox.chain.height == height


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    with running_sandbox(folder=tmp_path) as sandbox:
        wallet = funded(sandbox)
        swap(sandbox, wallet)
        sandbox.advance()
        before = essence(sandbox, wallet)
    with open(tmp_path / "chain.journal", "ab") as file:
        file.write(b'{"k":"transaction","number":9')
    with running_sandbox(folder=tmp_path) as sandbox:
        assert essence(sandbox, wallet) == before
        swap(sandbox, wallet)
        sandbox.advance()
        after = essence(sandbox, wallet)
    with running_sandbox(folder=tmp_path) as sandbox:
        assert essence(sandbox, wallet) == after


def test_a_line_torn_in_the_middle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.journal").write_bytes(b'{"k":1}\n{"k":\n{"k":2}\n')
    with pytest.raises(SandboxError, match="line 2"):
        Journal(tmp_path / "x.journal")


def test_a_compacted_journal_holds_the_same(tmp_path: Path) -> None:
    with running_sandbox(folder=tmp_path) as sandbox:
        wallet = funded(sandbox)
        quoted = quote(sandbox, USDC, SOL, DOLLAR)
        for number in range(COMPACT_AFTER // 2):
            made = sandbox_swap(sandbox, wallet, quoted)
            if number % 50 == 0:
                send(sandbox, made)
                sandbox.advance()
        swap(sandbox, wallet, mint_out=JUP)
        sandbox.advance(400)
        for _ in range(COMPACT_AFTER // 2):
            sandbox_swap(sandbox, wallet, quoted)
        waiting = sandbox_swap(sandbox, wallet, quoted)
        before = essence(sandbox, wallet)
        size = (tmp_path / "chain.journal").stat().st_size
    for _ in range(2):
        with running_sandbox(folder=tmp_path) as sandbox:
            assert essence(sandbox, wallet) == before
            assert (tmp_path / "chain.journal").stat().st_size < 0.8 * size
    with running_sandbox(folder=tmp_path) as sandbox:
        assert "result" in send(sandbox, waiting)
        sandbox.advance()
        assert len(sandbox.ledger()) == len(before["ledger"]) + 1


def sandbox_swap(sandbox: Sandbox, wallet: Keypair, quoted: dict[str, Any]) -> Any:
    """A signed swap, built in process: quick."""
    body = {"quoteResponse": quoted, "userPublicKey": str(wallet.pubkey())}
    return signed(wallet, sandbox.jupiter.swap(body)["swapTransaction"])


def test_other_prices_are_refused(tmp_path: Path) -> None:
    with running_sandbox(folder=tmp_path):
        pass
    with pytest.raises(SourceChanged, match="seeded:7"):
        Sandbox(folder=tmp_path, source=seeded(7), clock=ManualClock())


def test_two_sandboxes_never_share_a_folder(tmp_path: Path) -> None:
    with running_sandbox(folder=tmp_path), pytest.raises(SandboxError, match="Another sandbox"):
        Sandbox(folder=tmp_path, source=seeded(7), clock=ManualClock())
    with running_sandbox(folder=tmp_path):
        pass


def test_memory_holds_places_not_transactions(tmp_path: Path) -> None:
    """What is kept of a landed transaction is small; accounts and orders don't grow with trades."""
    with running_sandbox(folder=tmp_path) as sandbox:
        wallet = funded(sandbox)
        quoted = quote(sandbox, USDC, SOL, DOLLAR)
        sizes = []
        for _ in range(2):
            for _ in range(300):
                sandbox.chain.submit(sandbox_swap(sandbox, wallet, quoted))
            sandbox.advance(400)
            bank = sandbox.chain.bank
            sizes.append((len(list(sandbox.chain.desk.orders())), *bank.sizes(), len(sandbox.chain.mempool)))
        assert sizes[0] == sizes[1]
        assert sizes[0][0] == 0
        assert len(sandbox.chain.ledger) == 601


# --- a process of its own, killed ----------------------------------------------------------------


@contextmanager
def process(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`manage.py sandbox`, and the address that its log line names."""
    root = Path(__file__).resolve().parent.parent
    command = [sys.executable, "manage.py", "sandbox", "--port", "0", "--folder", str(folder), *arguments]
    child = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    )
    assert child.stdout is not None
    try:
        lines = []
        for line in child.stdout:
            lines.append(line)
            if "sandbox_started" in line:
                yield child, line.split("address=")[1].split()[0].strip("'\"")
                return
        pytest.fail("".join(lines))
    finally:
        if child.poll() is None:
            child.kill()
        child.wait(timeout=10)
        child.stdout.close()


def environment() -> dict[str, str]:
    """No database may be asked: the address leads nowhere."""
    return {**os.environ, "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nowhere", "NO_COLOR": "1"}


def call(url: str, method: str, *params: Any) -> Any:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    return requests.post(url, json=body, timeout=10).json()["result"]


def trade(url: str, wallet: Keypair, mint: str) -> str:
    query: dict[str, Any] = {
        "inputMint": USDC,
        "outputMint": mint,
        "amount": 10 * DOLLAR,
        "taker": str(wallet.pubkey()),
    }
    made = requests.get(f"{url}/swap/v2/order", params=query, timeout=10).json()
    body = {"signedTransaction": encoded(signed(wallet, made["transaction"])), "requestId": made["requestId"]}
    done = requests.post(f"{url}/swap/v2/execute", json=body, timeout=10).json()
    assert done["status"] == "Success", done
    found: str = done["signature"]
    return found


def test_the_command_survives_kill_9_and_stops_cleanly(tmp_path: Path) -> None:
    wallet = Keypair()
    arguments = ("--seed", "7", "--slot-seconds", "0.05", "--fund", str(wallet.pubkey()), "--sol", "1")
    with process(tmp_path, *arguments) as (child, url):
        signatures = [trade(url, wallet, mint) for mint in (SOL, JUP, BONK)]
        options = {"commitment": "processed"}
        before = call(url, "getBalance", str(wallet.pubkey()), options)["value"]
        height = call(url, "getBlockHeight", options)
        child.kill()
    with process(tmp_path, *arguments) as (child, url):
        assert call(url, "getBlockHeight", options) >= height
        assert call(url, "getBalance", str(wallet.pubkey()), options)["value"] == before
        found = call(url, "getSignatureStatuses", signatures, {"searchTransactionHistory": True})["value"]
        assert [item["err"] for item in found] == [None] * 3
        ledger = requests.get(f"{url}/sandbox/ledger", timeout=10).json()["transactions"]
        assert [record["signature"] for record in ledger if record["swap"]] == signatures
        assert [record["note"] for record in ledger if record["note"]] == [f"fund:opening:{wallet.pubkey()}"]
        assert requests.post(f"{url}/sandbox/advance", json={}, timeout=10).status_code == 403
        trade(url, wallet, SOL)
        child.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        assert child.wait(timeout=10) == 0
        assert time.monotonic() - begun < 5
    journal = (tmp_path / "chain.journal").read_text().splitlines()
    assert sum(json.loads(line)["k"] == "transaction" for line in journal) == 5


def test_the_command_refuses_a_taken_folder_and_bad_arguments(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parent.parent

    def refused(*arguments: str) -> str:
        command = [sys.executable, "manage.py", "sandbox", "--port", "0", *arguments]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, env=environment(), timeout=60)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return done.stderr

    with running_sandbox(folder=tmp_path):
        assert "Another sandbox" in refused("--folder", str(tmp_path))
    other = str(tmp_path / "other")
    assert "no address" in refused("--folder", other, "--fund", "nobody")
    assert "can't be read" in refused("--folder", other, "--csv", str(tmp_path / "missing.csv"))
