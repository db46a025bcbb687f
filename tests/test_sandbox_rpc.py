"""Solana's JSON-RPC as the sandbox answers it: solders reads every answer, codes and commitments are the real ones."""

import base64
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from solders.keypair import Keypair
from solders.rpc import errors, responses
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from tests.sandbox_chain import (
    DOLLAR,
    LAMPORTS,
    SOL,
    USDC,
    encoded,
    funded,
    held,
    prepared,
    rpc,
    rpc_answer,
    running_sandbox,
    send,
    status,
    swap,
)
from trading.sandbox import methods_accounts, methods_chain, methods_transactions
from trading.sandbox.chain import GENESIS, SKIPPED_SLOTS
from trading.sandbox.codec import b58decode, b58encode
from trading.sandbox.jupiter import HttpError
from trading.sandbox.main import Sandbox

ALL_METHODS = [*methods_accounts.METHODS, *methods_chain.METHODS, *methods_transactions.METHODS]
OPTIONS = (
    *("commitment", "encoding", "minContextSlot", "dataSlice", "offset", "length", "limit", "before", "until"),
    *("mint", "programId", "accounts", "addresses", "searchTransactionHistory", "maxSupportedTransactionVersion"),
    *("userPublicKey", "inputMint", "outputMint", "inAmount", "outAmount", "slippageBps", "signedTransaction"),
    *("requestId", "prioritizationFeeLamports", "priorityLevelWithMaxLamports", "maxLamports"),
)
CONFIRMED = {"commitment": "confirmed"}


@pytest.fixture(scope="module")
def world() -> Iterator[Sandbox]:
    """One sandbox for reading; slots may pass in it, nothing else is counted on."""
    with running_sandbox() as running:
        yield running


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        yield running


def raw(sandbox: Sandbox, method: str, *params: Any) -> str:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
    return requests.post(sandbox.url, json=body, timeout=10).text


def code(sandbox: Sandbox, method: str, *params: Any) -> int:
    found: int = rpc_answer(sandbox, method, *params)["error"]["code"]
    return found


def test_solders_reads_every_answer(world: Sandbox) -> None:
    wallet = funded(world)
    signature = swap(world, wallet)
    world.advance(2)
    sent = prepared(world, wallet)
    address = str(wallet.pubkey())
    account = rpc(world, "getTokenAccountsByOwner", address, {"mint": USDC}, {"encoding": "base64"})["value"][0]
    asked: list[tuple[Any, str, list[Any]]] = [
        (responses.GetGenesisHashResp, "getGenesisHash", []),
        (responses.GetHealthResp, "getHealth", []),
        (responses.GetVersionResp, "getVersion", []),
        (responses.GetSlotResp, "getSlot", [CONFIRMED]),
        (responses.GetBlockHeightResp, "getBlockHeight", [CONFIRMED]),
        (responses.GetLatestBlockhashResp, "getLatestBlockhash", [CONFIRMED]),
        (responses.IsBlockhashValidResp, "isBlockhashValid", [str(GENESIS), CONFIRMED]),
        (responses.GetBalanceResp, "getBalance", [address, CONFIRMED]),
        (responses.GetAccountInfoResp, "getAccountInfo", [address, {"encoding": "base64"}]),
        (responses.GetAccountInfoResp, "getAccountInfo", [str(Keypair().pubkey()), {"encoding": "base64"}]),
        (responses.GetMultipleAccountsResp, "getMultipleAccounts", [[address, USDC], {"encoding": "base64"}]),
        (
            responses.GetTokenAccountsByOwnerResp,
            "getTokenAccountsByOwner",
            [address, {"mint": USDC}, {"encoding": "base64"}],
        ),
        (
            responses.GetTokenAccountsByOwnerJsonParsedResp,
            "getTokenAccountsByOwner",
            [address, {"programId": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"}, {"encoding": "jsonParsed"}],
        ),
        (responses.GetTokenAccountBalanceResp, "getTokenAccountBalance", [account["pubkey"]]),
        (responses.GetSignatureStatusesResp, "getSignatureStatuses", [[signature, str(Signature.default())]]),
        (responses.GetSignaturesForAddressResp, "getSignaturesForAddress", [address, CONFIRMED]),
        (responses.SendTransactionResp, "sendTransaction", [encoded(sent), {"encoding": "base64", **PREFLIGHT}]),
        (
            responses.SimulateTransactionResp,
            "simulateTransaction",
            [encoded(sent), {"encoding": "base64", **CONFIRMED, "accounts": {"addresses": [address, USDC]}}],
        ),
        (responses.GetMinimumBalanceForRentExemptionResp, "getMinimumBalanceForRentExemption", [165]),
        (responses.RequestAirdropResp, "requestAirdrop", [address, LAMPORTS]),
        (responses.GetRecentPrioritizationFeesResp, "getRecentPrioritizationFees", [[address]]),
        (responses.GetBlockTimeResp, "getBlockTime", [rpc(world, "getSlot", CONFIRMED)]),
    ]
    for kind, method, params in asked:
        text = raw(world, method, *params)
        assert isinstance(kind.from_json(text), kind), (method, text)
    for encoding in ("json", "base64", "jsonParsed", "base58"):
        options = {"encoding": encoding, "maxSupportedTransactionVersion": 0, **CONFIRMED}
        read = responses.GetTransactionResp.from_json(raw(world, "getTransaction", signature, options))
        assert read.value is not None, encoding
        assert read.value.transaction.meta is not None
        assert read.value.transaction.meta.fee == 15_000


PREFLIGHT = {"preflightCommitment": "confirmed"}


def test_every_method_of_the_brochure_is_there(world: Sandbox) -> None:
    """And nothing that isn't: the control of the test before."""
    assert code(world, "getClusterNodes") == -32601


def test_solders_reads_the_errors(sandbox: Sandbox) -> None:
    wallet = funded(sandbox)
    transaction = prepared(sandbox, wallet)
    send(sandbox, transaction)
    sandbox.advance()
    options = {"encoding": "base64", **PREFLIGHT}
    again = responses.SendTransactionResp.from_json(raw(sandbox, "sendTransaction", encoded(transaction), options))
    assert isinstance(again, errors.SendTransactionPreflightFailureMessage)
    assert str(again.data.err) == "TransactionErrorFieldless.AlreadyProcessed"
    early = responses.GetSlotResp.from_json(raw(sandbox, "getSlot", {"minContextSlot": 10**9}))
    assert isinstance(early, errors.MinContextSlotNotReachedMessage)


def test_the_chain_says_that_it_isnt_mainnet(world: Sandbox) -> None:
    assert rpc(world, "getGenesisHash") == str(GENESIS)
    assert str(GENESIS) != "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"


def test_slots_run_ahead_of_heights_and_commitments_follow(sandbox: Sandbox) -> None:
    sandbox.advance(7)
    heights = {name: rpc(sandbox, "getBlockHeight", {"commitment": name}) for name in COMMITMENTS}
    assert heights["processed"] - heights["confirmed"] == 1
    assert heights["processed"] - heights["finalized"] == 32
    assert rpc(sandbox, "getSlot", CONFIRMED) - heights["confirmed"] == SKIPPED_SLOTS
    assert rpc(sandbox, "getBlockHeight") == heights["finalized"]


COMMITMENTS = ("processed", "confirmed", "finalized")


def test_balances_are_those_of_the_commitment(sandbox: Sandbox) -> None:
    wallet = funded(sandbox)
    swap(sandbox, wallet)
    sandbox.advance()
    before, after = 10_000 * DOLLAR, 9_900 * DOLLAR
    assert [held(sandbox, wallet, USDC, commitment=name) for name in COMMITMENTS] == [after, before, before]
    sandbox.advance()
    assert [held(sandbox, wallet, USDC, commitment=name) for name in COMMITMENTS] == [after, after, before]
    sandbox.advance(31)
    assert [held(sandbox, wallet, USDC, commitment=name) for name in COMMITMENTS] == [after, after, after]


def test_a_status_grows_up(sandbox: Sandbox) -> None:
    signature = swap(sandbox, funded(sandbox))
    assert status(sandbox, signature) is None
    seen = []
    for _ in range(34):
        sandbox.advance()
        found = status(sandbox, signature)
        assert found is not None
        seen.append((found["confirmationStatus"], found["confirmations"]))
    assert seen[0] == ("processed", 0)
    assert seen[1] == ("confirmed", 1)
    assert seen[31] == ("confirmed", 31)
    assert seen[32] == ("finalized", None)


def test_an_old_status_is_only_found_by_searching(sandbox: Sandbox) -> None:
    signature = swap(sandbox, funded(sandbox))
    sandbox.advance(151)
    assert status(sandbox, signature, search=False) is not None
    sandbox.advance(1)
    assert status(sandbox, signature, search=False) is None
    assert status(sandbox, signature, search=True) is not None


def test_a_transaction_expires_with_its_blockhash(sandbox: Sandbox) -> None:
    wallet = funded(sandbox)
    last, late = prepared(sandbox, wallet), prepared(sandbox, wallet)
    born = rpc(sandbox, "getBlockHeight", CONFIRMED)
    sandbox.advance(born + 149 - sandbox.chain.height)
    assert "result" in send(sandbox, last)
    sandbox.advance()
    assert sandbox.chain.height == born + 150
    assert status(sandbox, str(last.signatures[0])) is not None
    assert "result" in send(sandbox, late)  # the node still knows the blockhash, but the next block doesn't
    sandbox.advance()
    assert status(sandbox, str(late.signatures[0])) is None
    sandbox.advance()
    error = send(sandbox, late)["error"]
    assert (error["code"], error["data"]["err"]) == (-32002, "BlockhashNotFound")
    assert "result" in send(sandbox, late, skipPreflight=True)
    sandbox.advance(3)
    assert status(sandbox, str(late.signatures[0])) is None


def test_a_confirmed_blockhash_is_unknown_to_a_finalized_preflight(sandbox: Sandbox) -> None:
    transaction = prepared(sandbox, funded(sandbox))
    error = rpc_answer(sandbox, "sendTransaction", encoded(transaction), {"encoding": "base64"})["error"]
    assert error["data"]["err"] == "BlockhashNotFound"
    assert "result" in send(sandbox, transaction)


def test_a_transaction_lands_once_however_often_it_is_sent(sandbox: Sandbox) -> None:
    wallet = funded(sandbox)
    transaction = prepared(sandbox, wallet)
    send(sandbox, transaction)
    send(sandbox, transaction)
    sandbox.advance()
    assert send(sandbox, transaction)["error"]["data"]["err"] == "AlreadyProcessed"
    assert send(sandbox, transaction, skipPreflight=True)["result"] == str(transaction.signatures[0])
    sandbox.advance(160)
    assert send(sandbox, transaction, skipPreflight=True)["result"] == str(transaction.signatures[0])
    sandbox.advance(3)
    assert held(sandbox, wallet, USDC) == 9_900 * DOLLAR
    assert len([record for record in sandbox.ledger() if record["swap"]]) == 1


def test_a_forged_signature_is_refused_and_never_lands(sandbox: Sandbox) -> None:
    wallet = funded(sandbox)
    good = prepared(sandbox, wallet)
    forged = VersionedTransaction.populate(good.message, [Keypair().sign_message(b"no"), good.signatures[1]])
    assert send(sandbox, forged)["error"]["code"] == -32003
    assert "result" in send(sandbox, forged, skipPreflight=True)
    sandbox.advance(2)
    assert held(sandbox, wallet, USDC) == 10_000 * DOLLAR
    assert status(sandbox, str(forged.signatures[0])) is None
    assert "result" in send(sandbox, good)


def test_simulation_tells_what_would_change_and_changes_nothing(sandbox: Sandbox) -> None:
    wallet = funded(sandbox)
    good = prepared(sandbox, wallet)
    unsigned = VersionedTransaction.populate(good.message, [Signature.default(), good.signatures[1]])
    address = str(wallet.pubkey())
    options = {"encoding": "base64", "accounts": {"encoding": "base64", "addresses": [address, USDC]}, **CONFIRMED}
    value = rpc(sandbox, "simulateTransaction", encoded(unsigned), options)["value"]
    assert value["err"] is None
    assert value["unitsConsumed"] > 10_000
    quoted_out = value["accounts"][0]["lamports"] - LAMPORTS + 15_000
    assert quoted_out == sandbox.chain.desk.pools.give(USDC, SOL, 100 * DOLLAR).amount_out
    assert held(sandbox, wallet, SOL) == LAMPORTS
    assert code(sandbox, "simulateTransaction", encoded(unsigned), {**options, "sigVerify": True}) == -32003
    sandbox.advance(200)
    old = rpc(sandbox, "simulateTransaction", encoded(unsigned), options)["value"]
    assert (old["err"], old["accounts"]) == ("BlockhashNotFound", [None, None])
    renewed = rpc(sandbox, "simulateTransaction", encoded(unsigned), {**options, "replaceRecentBlockhash": True})
    assert renewed["value"]["err"] is None
    assert renewed["value"]["replacementBlockhash"]["lastValidBlockHeight"] > 0


def test_a_versioned_transaction_needs_a_client_that_knows_versions(sandbox: Sandbox) -> None:
    signature = swap(sandbox, funded(sandbox))
    sandbox.advance(2)
    assert code(sandbox, "getTransaction", signature, {"encoding": "json", **CONFIRMED}) == -32015
    assert code(sandbox, "getTransaction", signature, {"commitment": "processed"}) == -32602


def test_balances_of_a_transaction_are_the_chains_own(sandbox: Sandbox) -> None:
    wallet = funded(sandbox)
    signature = swap(sandbox, wallet)
    sandbox.advance(2)
    options = {"maxSupportedTransactionVersion": 0, **CONFIRMED}
    found = rpc(sandbox, "getTransaction", signature, options)
    meta, keys = found["meta"], found["transaction"]["message"]["accountKeys"]
    assert keys[0] == str(wallet.pubkey())
    assert meta["postBalances"][0] == held(sandbox, wallet, SOL)
    mine = {
        name: [item for item in meta[name] if item["owner"] == str(wallet.pubkey())]
        for name in ("preTokenBalances", "postTokenBalances")
    }
    assert [item["uiTokenAmount"]["amount"] for item in mine["preTokenBalances"]] == [str(10_000 * DOLLAR)]
    assert [item["uiTokenAmount"]["amount"] for item in mine["postTokenBalances"]] == [str(9_900 * DOLLAR)]
    assert sum(meta["preBalances"]) - sum(meta["postBalances"]) == meta["fee"]


def test_the_history_of_an_address_is_paged_newest_first(sandbox: Sandbox) -> None:
    wallet = funded(sandbox)
    landed = []
    for _ in range(5):
        landed.append(swap(sandbox, wallet))
        sandbox.advance()
    sandbox.advance()
    address = str(wallet.pubkey())

    def page(**options: Any) -> list[str]:
        return [
            item["signature"] for item in rpc(sandbox, "getSignaturesForAddress", address, {**CONFIRMED, **options})
        ]

    newest = landed[::-1]
    assert page()[:5] == newest
    assert len(page()) == 6  # and the money it began with
    assert page(limit=2) == newest[:2]
    assert page(before=newest[1], limit=2) == newest[2:4]
    assert page(until=newest[2]) == newest[:2]
    assert page(before=str(Signature.default())) == []


def test_an_airdrop_is_a_transaction(sandbox: Sandbox) -> None:
    poor = Keypair()
    signature = rpc(sandbox, "requestAirdrop", str(poor.pubkey()), LAMPORTS)
    sandbox.advance()
    assert status(sandbox, signature) is not None
    assert held(sandbox, poor, SOL) == LAMPORTS


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("getBalance", []),
        ("getBalance", ["nonsense"]),
        ("getBalance", [5]),
        ("getSlot", [{"commitment": "sure"}]),
        ("getSlot", [{"minContextSlot": "x"}]),
        ("getAccountInfo", [USDC, {"encoding": "morse"}]),
        ("getTokenAccountsByOwner", [USDC, {}]),
        ("getTokenAccountBalance", [USDC]),
        ("getSignatureStatuses", [["x"]]),
        ("getSignatureStatuses", [[str(Signature.default())] * 257]),
        ("sendTransaction", ["AAAA", {"encoding": "base64"}]),
        ("sendTransaction", ["!", {"encoding": "base64"}]),
        ("sendTransaction", [base64.b64encode(bytes(1233)).decode(), {"encoding": "base64"}]),
        ("requestAirdrop", [USDC, -1]),
        ("getSignaturesForAddress", [USDC, {"limit": 1001}]),
        ("getMultipleAccounts", [[USDC] * 101]),
    ],
)
def test_bad_parameters_are_refused(world: Sandbox, method: str, params: list[Any]) -> None:
    assert code(world, method, *params) == -32602


def test_what_isnt_json_rpc_is_refused(world: Sandbox) -> None:
    assert requests.post(world.url, data=b"{", timeout=10).json()["error"]["code"] == -32700
    assert requests.post(world.url, json=[5], timeout=10).json()[0]["error"]["code"] == -32600
    batch = [{"jsonrpc": "2.0", "id": n, "method": "getHealth"} for n in range(3)]
    assert [item["result"] for item in requests.post(world.url, json=batch, timeout=10).json()] == ["ok"] * 3
    assert requests.post(world.url, data=b"x" * (1024 * 1024 + 1), timeout=10).status_code == 413


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(2**70), max_value=2**70)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "confirmed", "base64", "jsonParsed", USDC, SOL, str(Signature.default()), "ä"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(OPTIONS), inner, max_size=4),
    max_leaves=8,
)


@given(method=st.sampled_from(sorted(ALL_METHODS)), params=st.lists(JUNK, max_size=3) | JUNK)
@example(method="sendTransaction", params=["1" * 64])  # bytes that are a transaction and yet hold none
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_gets_an_answer(world: Sandbox, method: str, params: Any) -> None:
    answer = world.rpc.answer({"id": 1, "method": method, "params": params})
    assert ("result" in answer) != ("error" in answer)


@given(body=st.dictionaries(st.sampled_from(OPTIONS), JUNK), quoted=JUNK)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_junk_gets_jupiters_refusal(world: Sandbox, body: dict[str, Any], quoted: Any) -> None:
    for call in (world.jupiter.swap, world.jupiter.execute):
        with pytest.raises(HttpError):
            call({**body, "quoteResponse": quoted})


@given(st.binary(max_size=200))
@settings(max_examples=50, suppress_health_check=[HealthCheck.differing_executors])
def test_base58_goes_there_and_back(data: bytes) -> None:
    assert b58decode(b58encode(data)) == data


def test_base58_is_solanas() -> None:
    key = Keypair().pubkey()
    assert b58encode(bytes(key)) == str(key)
    assert b58encode(bytes(32)) == "1" * 32
