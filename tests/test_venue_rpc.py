"""A Solana node's answers as values, and what an answer to a send proves."""

import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from tests import canned_server
from tests.canned_server import CannedServer, Reply, rpc
from trading.venues.http import BreakerOpen, Patience, VenueRefused, VenueUnavailable
from trading.venues.rpc import (
    Accepted,
    AlreadyProcessed,
    Refused,
    RpcError,
    SignatureInfo,
    SignatureStatus,
    SolanaRpc,
    TokenBalance,
    Unsure,
)
from trading.venues.rpc_answers import SPL_2022_PROGRAM, SPL_PROGRAM

KEY = "k3y-CANARY-0123456789"
QUICK = Patience(tries=3, seconds=2, wait_first_seconds=0.001, wait_most_seconds=0.002)
USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
SYSTEM = "11111111111111111111111111111111"
WALLET = Keypair.from_seed(bytes([7] * 32))
ALICE, BOB, POOL = (str(Keypair.from_seed(bytes([n] * 32)).pubkey()) for n in (1, 2, 3))
SIGNATURE = str(Signature(bytes([9] * 64)))
BLOCKHASH = str(Hash(bytes([5] * 32)))


def signed(lamports: int = 1) -> VersionedTransaction:
    payer = WALLET.pubkey()
    move = transfer(TransferParams(from_pubkey=payer, to_pubkey=Pubkey.from_string(ALICE), lamports=lamports))
    return VersionedTransaction(MessageV0.try_compile(payer, [move], [], Hash.from_string(BLOCKHASH)), [WALLET])


TRANSACTION = bytes(signed())
OURS = str(signed().signatures[0])


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with canned_server.running() as running:
        yield running


@pytest.fixture
def node(server: CannedServer) -> SolanaRpc:
    return SolanaRpc(server.url, timeout_seconds=(0.3, 0.3), patience=QUICK)


def at(slot: int, value: Any) -> dict[str, Any]:
    return {"context": {"slot": slot, "apiVersion": "3.0.0"}, "value": value}


def params(server: CannedServer) -> list[Any]:
    return list(server.asked[-1].json()["params"])


def holding(owner: str, mint: str, amount: int, *, program: str = SPL_PROGRAM, more: bytes = b"") -> dict[str, Any]:
    """A token account, initialised, as it lies on chain."""
    data = bytearray(165)
    data[:32], data[32:64] = bytes(Pubkey.from_string(mint)), bytes(Pubkey.from_string(owner))
    data[64:72], data[108] = amount.to_bytes(8, "little"), 1
    return account(bytes(data) + more, owner=program)


def account(data: bytes, *, owner: str, lamports: int = 2_039_280) -> dict[str, Any]:
    encoded = [b64encode(data).decode(), "base64"]
    return {"lamports": lamports, "owner": owner, "data": encoded, "executable": False, "rentEpoch": 2**64 - 1}


# --- reads ----------------------------------------------------------------------------------------

READS: list[tuple[str, Callable[[SolanaRpc], Any], Any, Any, list[Any]]] = [
    ("getGenesisHash", lambda n: n.genesis_hash(), BLOCKHASH, BLOCKHASH, []),
    ("getHealth", lambda n: n.health(), "ok", None, []),
    ("getVersion", lambda n: n.version(), {"solana-core": "3.0.1", "feature-set": 1}, "3.0.1", []),
    ("getSlot", lambda n: n.slot("finalized"), 7, 7, [{"commitment": "finalized"}]),
    ("getBlockHeight", lambda n: n.block_height(), 2**64 - 1, 2**64 - 1, [{"commitment": "confirmed"}]),
    (
        "getEpochInfo",
        lambda n: n.slot_and_height("finalized"),
        {"absoluteSlot": 9, "blockHeight": 7, "epoch": 0, "slotIndex": 9, "slotsInEpoch": 432_000},
        (9, 7),
        [{"commitment": "finalized"}],
    ),
    (
        "getLatestBlockhash",
        lambda n: n.latest_blockhash(),
        at(3, {"blockhash": BLOCKHASH, "lastValidBlockHeight": 153}),
        (BLOCKHASH, 153),
        [{"commitment": "confirmed"}],
    ),
    (
        "isBlockhashValid",
        lambda n: n.is_blockhash_valid_at(BLOCKHASH, "processed"),
        at(3, False),
        (3, False),
        [BLOCKHASH, {"commitment": "processed"}],
    ),
    ("getBalance", lambda n: n.balance(ALICE), at(3, 12), 12, [ALICE, {"commitment": "confirmed"}]),
]


@pytest.mark.parametrize(("method", "ask", "result", "value", "asked"), READS, ids=[read[0] for read in READS])
def test_what_a_node_answers_becomes_a_value(
    server: CannedServer,
    node: SolanaRpc,
    method: str,
    ask: Callable[[SolanaRpc], Any],
    result: Any,
    value: Any,
    asked: list[Any],
) -> None:
    server.answers(rpc(result))
    assert ask(node) == value
    body = server.asked[-1].json()
    assert (body["jsonrpc"], body["method"], body["params"]) == ("2.0", method, asked)


@pytest.mark.parametrize("wrong", [None, "7", 7.5, -1, 2**64, True, [7], {"slot": 7}])
def test_what_is_no_height_is_not_taken_for_one(server: CannedServer, node: SolanaRpc, wrong: Any) -> None:
    server.answers(rpc(wrong))
    with pytest.raises(VenueRefused) as refused:
        node.block_height()
    assert refused.value.why == "bad_answer"
    assert len(server.asked) == 1


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e3"])
def test_a_height_that_is_no_whole_number_is_refused(server: CannedServer, node: SolanaRpc, number: str) -> None:
    server.answers(lambda asked: Reply(f'{{"jsonrpc": "2.0", "id": {asked.json()["id"]}, "result": {number}}}'))
    with pytest.raises(VenueRefused, match="getBlockHeight"):
        node.block_height()


@pytest.mark.parametrize("said", [[], '"ok"', {"jsonrpc": "2.0", "id": 999, "result": 7}, {"jsonrpc": "2.0", "id": 1}])
def test_an_answer_that_is_not_to_this_request_is_refused(server: CannedServer, node: SolanaRpc, said: Any) -> None:
    server.answers(Reply(said))
    with pytest.raises(VenueRefused):
        node.block_height()


def test_a_node_that_is_behind_is_not_well(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(rpc(error={"code": -32005, "message": "Node is behind by 42 slots", "data": {"numSlotsBehind": 42}}))
    with pytest.raises(VenueUnavailable, match="behind"):
        node.health()


def test_a_nodes_own_error_keeps_its_number_and_data(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(rpc(error={"code": -32602, "message": "Invalid param: \n WrongSize", "data": {"more": 1}}))
    with pytest.raises(RpcError, match="WrongSize") as refused:
        node.balance(ALICE)
    assert (refused.value.number, refused.value.data, refused.value.why) == (-32602, {"more": 1}, "rpc_-32602")
    assert "\n" not in refused.value.detail


def test_reads_are_asked_again(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(Reply(reset=True), Reply(status=502), rpc(7))
    assert node.slot() == 7
    assert len(server.asked) == 3


def test_token_accounts_of_both_programs_are_read(server: CannedServer, node: SolanaRpc) -> None:
    longer = holding(ALICE, BOB, 3, program=SPL_2022_PROGRAM, more=b"\x02" + bytes(20))
    server.answers(
        rpc(at(5, [{"pubkey": POOL, "account": holding(ALICE, USDC, 2**64 - 1)}])),
        rpc(at(5, [{"pubkey": BOB, "account": longer}])),
    )
    assert node.token_balances(ALICE, "finalized") == [
        TokenBalance(owner=ALICE, mint=USDC, amount=2**64 - 1, account=POOL),
        TokenBalance(owner=ALICE, mint=BOB, amount=3, account=BOB),
    ]
    programs = [asked.json()["params"][1] for asked in server.asked]
    assert programs == [{"programId": SPL_PROGRAM}, {"programId": SPL_2022_PROGRAM}]
    assert params(server)[2] == {"commitment": "finalized", "encoding": "base64"}


def test_token_accounts_of_somebody_else_are_refused(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(rpc(at(5, [{"pubkey": POOL, "account": holding(BOB, USDC, 1)}])))
    with pytest.raises(VenueRefused, match="another owner"):
        node.token_balances(ALICE)


def test_accounts_are_given_as_they_lie_on_chain(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(rpc(at(5, [None, account(b"abc", owner=SYSTEM, lamports=4)])))
    nothing, found = node.accounts([ALICE, BOB])
    assert nothing is None
    assert found is not None
    assert (found.lamports, found.owner, found.data) == (4, SYSTEM, b"abc")


NOT_HOLDINGS = {
    "of another program": account(bytes(165), owner=SYSTEM),
    "a mint": account(bytes(82), owner=SPL_PROGRAM),
    "not initialised": account(bytes(165), owner=SPL_PROGRAM),
    "a mint with extensions": holding(ALICE, USDC, 1, program=SPL_2022_PROGRAM, more=b"\x01" + bytes(9)),
}


@pytest.mark.parametrize("raw", NOT_HOLDINGS.values(), ids=NOT_HOLDINGS)
def test_what_is_no_token_account_holds_nothing(server: CannedServer, node: SolanaRpc, raw: dict[str, Any]) -> None:
    server.answers(rpc(at(5, [raw])))
    (found,) = node.accounts([ALICE])
    assert found is not None
    assert found.holding(ALICE) is None


# --- statuses and history -------------------------------------------------------------------------


def status(slot: int, confirmation: str, err: Any = None) -> dict[str, Any]:
    return {"slot": slot, "confirmations": None, "err": err, "status": {"Ok": None}, "confirmationStatus": confirmation}


def test_statuses_say_what_is_known_and_by_which_slot(server: CannedServer, node: SolanaRpc) -> None:
    err = {"InstructionError": [3, {"Custom": 6001}]}
    server.answers(rpc(at(90, [None, status(80, "confirmed"), status(81, "finalized", err)])))
    slot, found = node.signature_statuses_at([SIGNATURE, OURS, SIGNATURE], search_history=True)
    assert slot == 90
    assert found == [
        None,
        SignatureStatus(slot=80, confirmation="confirmed", err=None),
        SignatureStatus(slot=81, confirmation="finalized", err=err),
    ]
    assert params(server) == [[SIGNATURE, OURS, SIGNATURE], {"searchTransactionHistory": True}]


def test_an_error_that_no_library_knows_yet_is_an_error_all_the_same(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(rpc(at(90, [status(80, "confirmed", {"NewIn2027": {"deep": [1.5, None]}})])))
    (found,) = node.signature_statuses([OURS], search_history=False)
    assert found is not None
    assert found.err
    assert params(server)[1] == {"searchTransactionHistory": False}


def test_many_signatures_are_asked_in_parts_and_keep_their_order(server: CannedServer, node: SolanaRpc) -> None:
    def answer(asked: Any) -> Reply:
        some = asked.json()["params"][0]
        slot = 100 - len(server.asked)
        return rpc(
            at(slot, [status(int.from_bytes(bytes(Signature.from_string(s))[:2], "big"), "finalized") for s in some])
        )(asked)

    server.answers(answer)
    many = [str(Signature(n.to_bytes(2, "big") + bytes(62))) for n in range(600)]
    slot, found = node.signature_statuses_at(many, search_history=True)
    assert [each.slot for each in found if each] == list(range(600))
    assert [len(asked.json()["params"][0]) for asked in server.asked] == [256, 256, 88]
    assert slot == 97


@pytest.mark.parametrize(
    "value",
    [
        [],
        [None, None],
        [{"slot": 1, "err": None}],
        [{"slot": 1, "confirmationStatus": "finalized"}],
        [status(1, "certain")],
        None,
    ],
)
def test_statuses_that_cannot_be_trusted_are_refused(server: CannedServer, node: SolanaRpc, value: Any) -> None:
    """Above all an answer without `err`, which would pass for a success."""
    server.answers(rpc(at(90, value)))
    with pytest.raises(VenueRefused):
        node.signature_statuses([OURS], search_history=True)


def test_history_is_given_newest_first(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(
        rpc([{"signature": OURS, "slot": 5, "err": None, "blockTime": 1_700_000_000, "memo": None},
             {"signature": SIGNATURE, "slot": 4, "err": "AccountInUse", "blockTime": None}])
    )  # fmt: skip
    found = node.signatures_for(ALICE, until=SIGNATURE, limit=10, commitment="finalized")
    assert found == [
        SignatureInfo(signature=OURS, slot=5, err=None, block_time=datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
        SignatureInfo(signature=SIGNATURE, slot=4, err="AccountInUse", block_time=None),
    ]
    assert params(server) == [ALICE, {"commitment": "finalized", "limit": 10, "until": SIGNATURE}]


# --- a landed transaction -------------------------------------------------------------------------


def landed(**meta: Any) -> dict[str, Any]:
    """Alice gives 100 of USDC and 2,044,280 lamports of rent and fee; the pool's account was loaded by a table."""

    def tokens(place: int, owner: str, amount: int) -> dict[str, Any]:
        shown = {"amount": str(amount), "decimals": 6, "uiAmount": amount / 1e6, "uiAmountString": str(amount / 1e6)}
        return {"accountIndex": place, "mint": USDC, "owner": owner, "programId": SPL_PROGRAM, "uiTokenAmount": shown}

    return {
        "slot": 77,
        "blockTime": 1_700_000_000,
        "version": 0,
        "transaction": {
            "signatures": [OURS],
            "message": {
                "header": {"numRequiredSignatures": 1},
                "accountKeys": [ALICE, BOB],
                "recentBlockhash": BLOCKHASH,
            },
        },
        "meta": {
            "err": None,
            "fee": 5000,
            "preBalances": [10_000_000, 0, 7],
            "postBalances": [7_955_720, 2_039_280, 7],
            "preTokenBalances": [tokens(1, ALICE, 150), tokens(2, POOL, 1000)],
            "postTokenBalances": [tokens(1, ALICE, 50), tokens(2, POOL, 1100)],
            "loadedAddresses": {"writable": [POOL], "readonly": []},
            **meta,
        },
    }


def test_a_transaction_says_who_gave_and_who_got(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(rpc(landed()))
    found = node.transaction(OURS, "finalized")
    assert found is not None
    assert (found.signature, found.slot, found.fee, found.err) == (OURS, 77, 5000, None)
    assert found.account_keys == [ALICE, BOB, POOL]
    assert found.lamports_delta(ALICE) == -2_044_280
    assert found.lamports_delta(SYSTEM) == 0
    assert found.token_delta(ALICE, USDC) == -100
    assert found.token_delta(POOL, USDC) == 100
    assert found.token_delta(ALICE, BOB) == 0
    assert found.post_tokens[1] == TokenBalance(owner=POOL, mint=USDC, amount=1100, account=POOL)
    asked = {"commitment": "finalized", "encoding": "json", "maxSupportedTransactionVersion": 0}
    assert params(server) == [OURS, asked]


def test_a_token_account_that_was_opened_or_closed_counts(server: CannedServer, node: SolanaRpc) -> None:
    whole = landed()
    server.answers(
        rpc(landed(preTokenBalances=[])), rpc(landed(postTokenBalances=whole["meta"]["postTokenBalances"][1:]))
    )
    opened, closed = node.transaction(OURS), node.transaction(OURS)
    assert opened is not None
    assert closed is not None
    assert (opened.token_delta(ALICE, USDC), closed.token_delta(ALICE, USDC)) == (50, -150)


def test_a_failed_transaction_is_an_answer(server: CannedServer, node: SolanaRpc) -> None:
    err = {"InstructionError": [3, {"Custom": 6001}]}
    server.answers(rpc(landed(err=err)))
    found = node.transaction(OURS)
    assert found is not None
    assert found.err == err


def test_a_transaction_that_the_node_does_not_have_is_none(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(rpc(None))
    assert node.transaction(OURS) is None


BAD = {
    "no meta": {**landed(), "meta": None},
    "of another signature": {**landed(), "transaction": {**landed()["transaction"], "signatures": [SIGNATURE]}},
    "without token balances": landed(preTokenBalances=None),
    "with a balance too few": landed(postBalances=[1, 2]),
    "tokens of no account": landed(loadedAddresses=None, preBalances=[1, 2], postBalances=[1, 2]),
    "a balance below zero": landed(postBalances=[-1, 2, 3]),
    "a fee in text": landed(fee="5000"),
}


@pytest.mark.parametrize("wrong", BAD.values(), ids=BAD)
def test_a_transaction_that_does_not_add_up_is_refused(server: CannedServer, node: SolanaRpc, wrong: Any) -> None:
    server.answers(rpc(wrong))
    with pytest.raises(VenueRefused) as refused:
        node.transaction(OURS)
    assert refused.value.why == "bad_answer"


def test_an_answer_without_err_does_not_pass_for_a_success(server: CannedServer, node: SolanaRpc) -> None:
    silent = landed()
    del silent["meta"]["err"]
    server.answers(rpc(silent))
    with pytest.raises(VenueRefused, match="err"):
        node.transaction(OURS)


# --- simulation -----------------------------------------------------------------------------------


def test_a_simulation_says_how_accounts_would_be_left(server: CannedServer, node: SolanaRpc) -> None:
    after = [account(b"", owner=SYSTEM, lamports=90), holding(ALICE, USDC, 12), None]
    server.answers(rpc(at(5, {"err": None, "logs": ["a", "b"], "unitsConsumed": 450, "accounts": after})))
    found = node.simulate(TRANSACTION, addresses=[ALICE, POOL, BOB], replace_blockhash=True)
    assert (found.err, found.logs, found.units) == (None, ["a", "b"], 450)
    assert found.lamports_after == {ALICE: 90, POOL: 2_039_280, BOB: 0}
    assert found.tokens_after == {POOL: TokenBalance(owner=ALICE, mint=USDC, amount=12, account=POOL)}
    assert found.accounts_after[BOB] is None
    encoded, config = params(server)
    assert b64decode(encoded) == TRANSACTION
    assert config == {
        "commitment": "confirmed",
        "encoding": "base64",
        "sigVerify": False,
        "replaceRecentBlockhash": True,
        "accounts": {"encoding": "base64", "addresses": [ALICE, POOL, BOB]},
    }


def test_a_simulation_that_fails_leaves_no_accounts(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(rpc(at(5, {"err": "AccountNotFound", "logs": None, "accounts": None, "unitsConsumed": 0})))
    found = node.simulate(TRANSACTION, addresses=[ALICE])
    assert (found.err, found.logs, found.lamports_after) == ("AccountNotFound", [], {})


@pytest.mark.parametrize("accounts", [None, [], [None, None], [{"lamports": 1}], [account(b"", owner="nobody")]])
def test_a_simulation_that_leaves_accounts_out_is_refused(server: CannedServer, node: SolanaRpc, accounts: Any) -> None:
    server.answers(rpc(at(5, {"err": None, "logs": [], "accounts": accounts})))
    with pytest.raises(VenueRefused):
        node.simulate(TRANSACTION, addresses=[ALICE])


@pytest.mark.parametrize("data", [["!!", "base64"], ["YQ==", "base58"], ["YQ=="], "YQ==", {"parsed": {}}])
def test_an_account_whose_data_cannot_be_read_is_refused(server: CannedServer, node: SolanaRpc, data: Any) -> None:
    raw = {**account(b"", owner=SYSTEM), "data": data}
    server.answers(rpc(at(5, [raw])))
    with pytest.raises(VenueRefused):
        node.accounts([ALICE])


# --- sends ----------------------------------------------------------------------------------------


def preflight(err: Any) -> dict[str, Any]:
    return {"code": -32002, "message": "Transaction simulation failed", "data": {"err": err, "logs": []}}


SENDS: dict[str, tuple[Any, Any]] = {
    "our signature": (rpc(OURS), Accepted(OURS)),
    "another signature": (rpc(SIGNATURE), Unsure("answer_to_another_request")),
    "no signature": (rpc(None), Unsure("answer_to_another_request")),
    "another request": (Reply({"jsonrpc": "2.0", "id": 999, "result": OURS}), Unsure("answer_to_another_request")),
    "an error of another request": (
        Reply({"jsonrpc": "2.0", "id": 999, "error": {"code": -32003, "message": ""}}),
        Unsure("answer_to_another_request"),
    ),
    "no JSON": (Reply("<html>"), Unsure("cut_off")),
    "JSON, but no object": (Reply("[]"), Unsure("cut_off")),
    "cut off": (Reply({"jsonrpc": "2.0"}, cut_to=4), "Unsure"),
    "reset": (Reply(reset=True), "Unsure"),
    "time-out": (Reply(hang=True), "Unsure"),
    "500": (Reply(status=500), "Unsure"),
    "503": (Reply(status=503, headers={"Retry-After": "1"}), "Unsure"),
    "429": (Reply(status=429, headers={"Retry-After": "0"}), "Unsure"),
    "already processed": (rpc(error=preflight("AlreadyProcessed")), AlreadyProcessed()),
    "blockhash not found": (rpc(error=preflight("BlockhashNotFound")), Unsure("blockhash_not_found")),
    "slippage": (rpc(error=preflight({"InstructionError": [3, {"Custom": 6001}]})), "slippage_exceeded"),
    "another program error": (rpc(error=preflight({"InstructionError": [3, {"Custom": 1}]})), "instruction_error"),
    "an instruction's error": (rpc(error=preflight({"InstructionError": [0, "InvalidArgument"]})), "instruction_error"),
    "no money": (rpc(error=preflight("InsufficientFundsForFee")), "insufficient_funds_for_fee"),
    "an error of tomorrow": (rpc(error=preflight({"NewIn2027": {}})), "new_in2027"),
    "preflight without an error": (rpc(error=preflight(None)), Unsure("preflight_without_reason")),
    "preflight with an odd error": (rpc(error=preflight([1])), Unsure("preflight_without_reason")),
    "preflight without data": (rpc(error={"code": -32002, "message": "?"}), Unsure("preflight_without_reason")),
    "bad signature": (rpc(error={"code": -32003, "message": ""}), "bad_signature"),
    "unhealthy": (rpc(error={"code": -32005, "message": "", "data": {}}), Unsure("rpc_-32005")),
    "bad precompile": (rpc(error={"code": -32006, "message": ""}), "bad_precompile_signature"),
    "too few signatures": (rpc(error={"code": -32013, "message": ""}), "bad_signature"),
    "version": (rpc(error={"code": -32015, "message": ""}), "unsupported_version"),
    "behind": (rpc(error={"code": -32016, "message": "", "data": {}}), Unsure("rpc_-32016")),
    "invalid params": (rpc(error={"code": -32602, "message": ""}), "invalid_params"),
    "internal": (rpc(error={"code": -32603, "message": ""}), Unsure("rpc_-32603")),
    "parse error": (Reply({"jsonrpc": "2.0", "id": None, "error": {"code": -32700, "message": ""}}), "parse_error"),
    "of tomorrow": (rpc(error={"code": -32099, "message": ""}), Unsure("rpc_-32099")),
    "no number": (rpc(error={"code": "-32003", "message": ""}), Unsure("error_without_code")),
    "400 with an error": (rpc(error={"code": -32602, "message": ""}, status=400), "invalid_params"),
    "403 with an unsure error": (rpc(error={"code": -32005, "message": ""}, status=403), Unsure("rpc_-32005")),
    "401": (Reply({"error": "no key"}, status=401), "http_401"),
    "413": (Reply("too large", status=413), "http_413"),
    "408": (Reply(status=408), Unsure("http_408")),
    "409": (Reply(status=409), Unsure("http_409")),
    "redirect": (Reply(status=307, headers={"Location": "/"}), Unsure("http_307")),
}


@pytest.mark.parametrize(("reply", "outcome"), SENDS.values(), ids=SENDS)
def test_a_send_goes_out_once_and_its_answer_proves_so_much(
    server: CannedServer, node: SolanaRpc, reply: Any, outcome: Any
) -> None:
    server.answers(reply, rpc(OURS))
    found = node.send(TRANSACTION)
    if outcome == "Unsure":
        assert isinstance(found, Unsure)
    elif isinstance(outcome, str):
        assert isinstance(found, Refused)
        assert found.code == outcome
        assert found.reason
    else:
        assert found == outcome
    assert len(server.asked) == 1


def test_control_a_read_in_the_same_place_goes_out_again(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(Reply(reset=True), rpc(OURS))
    node._call("sendTransaction")
    assert len(server.asked) == 2


def test_a_node_that_is_not_there_leaves_us_unsure() -> None:
    away = SolanaRpc(f"http://127.0.0.1:{canned_server.closed_port()}", timeout_seconds=(0.3, 0.3))
    assert isinstance(away.send(TRANSACTION), Unsure)


def test_a_send_says_how_it_shall_be_treated(server: CannedServer, node: SolanaRpc) -> None:
    server.answers(rpc(OURS))
    node.send(TRANSACTION)
    node.send(TRANSACTION, preflight_commitment="processed", skip_preflight=True, min_context_slot=9)
    first, second = (asked.json()["params"] for asked in server.asked)
    assert b64decode(first[0]) == TRANSACTION
    assert first[1] == {
        "encoding": "base64",
        "skipPreflight": False,
        "preflightCommitment": "confirmed",
        "maxRetries": 0,
    }
    assert second[1]["maxRetries"] == 0
    assert second[1]["minContextSlot"] == 9
    assert (second[1]["skipPreflight"], second[1]["preflightCommitment"]) == (True, "processed")


NOT_TO_BE_SENT = {
    "no transaction": b"\x00garbage",
    "not signed": bytes(VersionedTransaction.populate(signed().message, [Signature.default()])),
    "too large": TRANSACTION + bytes(1300),
    "nothing": b"",
}


@pytest.mark.parametrize("raw", NOT_TO_BE_SENT.values(), ids=NOT_TO_BE_SENT)
def test_what_is_no_signed_transaction_is_never_sent(server: CannedServer, node: SolanaRpc, raw: bytes) -> None:
    with pytest.raises(ValueError):
        node.send(raw)
    assert server.asked == []


def test_behind_an_open_breaker_nothing_is_sent_and_that_is_said(server: CannedServer) -> None:
    @contextmanager
    def shut() -> Iterator[None]:
        raise BreakerOpen("shut")
        yield

    with pytest.raises(BreakerOpen):
        SolanaRpc(server.url, guard=shut).send(TRANSACTION)
    assert server.asked == []


@pytest.mark.parametrize("reply", [rpc(OURS), Reply(reset=True), rpc(error=preflight("AlreadyProcessed"))])
def test_a_send_is_logged_by_its_signature_alone(
    server: CannedServer, caplog: pytest.LogCaptureFixture, reply: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.ERROR, logger="urllib3")
    server.answers(reply)
    keyed = SolanaRpc(f"{server.url}/{KEY}?api-key={KEY}", timeout_seconds=(0.3, 0.3))
    with structlog.testing.capture_logs() as events:
        outcome = keyed.send(TRANSACTION)
    said = json.dumps(events, default=str) + caplog.text + repr(keyed) + repr(outcome) + keyed.name
    assert server.asked[0].query == {"api-key": KEY}, "this looked for nothing"
    assert KEY not in said
    assert b64encode(TRANSACTION).decode() not in said
    assert events[-1]["signature"] == OURS
