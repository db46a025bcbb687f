"""A sandbox chain for tests: slots pass when a test says so, prices stand where it pins them, nothing on disk.

with running_sandbox() as sandbox:
    wallet = funded(sandbox)
    signature = swap(sandbox, wallet, mint_in=USDC, mint_out=SOL, amount=100 * DOLLAR)
    sandbox.advance()
"""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import requests
from solders.keypair import Keypair
from solders.message import to_bytes_versioned
from solders.transaction import VersionedTransaction

from trading.sandbox import tokens
from trading.sandbox.clock import ManualClock
from trading.sandbox.main import Sandbox
from trading.sources import still

USDC, SOL, JUP, BONK, WIF = (tokens.mint_of(symbol) for symbol in ("USDC", "SOL", "JUP", "BONK", "WIF"))
DOLLAR = 1_000_000  # raw USDC
LAMPORTS = 1_000_000_000  # of one SOL
PRICES = {
    "SOL/USDC": Decimal("150"),
    "JUP/USDC": Decimal("0.9"),
    "BONK/USDC": Decimal("0.000025"),
    "WIF/USDC": Decimal("2.2"),
}


@contextmanager
def running_sandbox(**options: Any) -> Iterator[Sandbox]:
    """A sandbox on a free port of loopback; `options` are `Sandbox`'s own."""
    defaults = {"folder": None, "source": still(PRICES), "clock": ManualClock(), "control": True}
    sandbox = Sandbox(**{**defaults, **options})
    sandbox.start()
    try:
        yield sandbox
    finally:
        sandbox.stop()


def funded(sandbox: Sandbox, *, usdc: int = 10_000 * DOLLAR, lamports: int = LAMPORTS) -> Keypair:
    """A new wallet with money that is finalized where the clock is manual."""
    wallet = Keypair()
    sandbox.fund(str(wallet.pubkey()), usdc=usdc, lamports=lamports)
    return wallet


def rpc(sandbox: Sandbox, method: str, *params: Any, http: Any = requests) -> Any:
    """The result of a JSON-RPC call; an error answer fails the test."""
    answer = rpc_answer(sandbox, method, *params, http=http)
    assert "error" not in answer, answer
    return answer["result"]


def rpc_answer(sandbox: Sandbox, method: str, *params: Any, http: Any = requests) -> dict[str, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    answer: dict[str, Any] = http.post(sandbox.url, json=body, timeout=10).json()
    return answer


def quote(sandbox: Sandbox, mint_in: str, mint_out: str, amount: int, *, slippage_bps: int = 50) -> dict[str, Any]:
    query = {"inputMint": mint_in, "outputMint": mint_out, "amount": amount, "slippageBps": slippage_bps}
    answer = requests.get(f"{sandbox.url}/swap/v1/quote", params=query, timeout=10)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def built(sandbox: Sandbox, wallet: Keypair, quoted: dict[str, Any], **options: Any) -> dict[str, Any]:
    body = {"quoteResponse": quoted, "userPublicKey": str(wallet.pubkey()), **options}
    answer = requests.post(f"{sandbox.url}/swap/v1/swap", json=body, timeout=10)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def signed(wallet: Keypair, transaction: str) -> VersionedTransaction:
    """A base64 transaction with the wallet's signature in the first place."""
    unsigned = VersionedTransaction.from_bytes(base64.b64decode(transaction))
    signature = wallet.sign_message(to_bytes_versioned(unsigned.message))
    return VersionedTransaction.populate(unsigned.message, [signature, *unsigned.signatures[1:]])


def encoded(transaction: VersionedTransaction) -> str:
    return base64.b64encode(bytes(transaction)).decode()


def prepared(
    sandbox: Sandbox, wallet: Keypair, *, mint_in: str = USDC, mint_out: str = SOL, amount: int = 100 * DOLLAR
) -> VersionedTransaction:
    """A signed swap that wasn't sent."""
    return signed(wallet, built(sandbox, wallet, quote(sandbox, mint_in, mint_out, amount))["swapTransaction"])


def send(sandbox: Sandbox, transaction: VersionedTransaction, **options: Any) -> dict[str, Any]:
    """The whole answer of sendTransaction, as the production client would ask it."""
    asked = {"encoding": "base64", "preflightCommitment": "confirmed", "maxRetries": 0, **options}
    return rpc_answer(sandbox, "sendTransaction", encoded(transaction), asked)


def swap(
    sandbox: Sandbox, wallet: Keypair, *, mint_in: str = USDC, mint_out: str = SOL, amount: int = 100 * DOLLAR
) -> str:
    """Quote, build, sign and send by v1; the signature of what lands in the next block."""
    answer = send(sandbox, prepared(sandbox, wallet, mint_in=mint_in, mint_out=mint_out, amount=amount))
    assert "error" not in answer, answer
    signature: str = answer["result"]
    return signature


def status(sandbox: Sandbox, signature: str, *, search: bool = True) -> dict[str, Any] | None:
    found: dict[str, Any] | None = rpc(
        sandbox, "getSignatureStatuses", [signature], {"searchTransactionHistory": search}
    )["value"][0]
    return found


def held(sandbox: Sandbox, wallet: Keypair, mint: str, *, commitment: str = "processed") -> int:
    """Raw amount of a mint in the wallet; of SOL the lamports."""
    address = str(wallet.pubkey())
    if mint == SOL:
        lamports: int = rpc(sandbox, "getBalance", address, {"commitment": commitment})["value"]
        return lamports
    options = {"encoding": "jsonParsed", "commitment": commitment}
    accounts = rpc(sandbox, "getTokenAccountsByOwner", address, {"mint": mint}, options)["value"]
    return sum(int(item["account"]["data"]["parsed"]["info"]["tokenAmount"]["amount"]) for item in accounts)
