"""Each fault does what it says, once and to whom it was meant; and without it nothing of the kind happens."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from solders.keypair import Keypair

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
from trading.sandbox.errors import BadFault, NotReorganisable
from trading.sandbox.faults import KINDS
from trading.sandbox.ledger import Ledger
from trading.sandbox.main import Sandbox


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def wallet(sandbox: Sandbox) -> Keypair:
    return funded(sandbox)


def landed(sandbox: Sandbox) -> list[str]:
    return [record["signature"] for record in sandbox.ledger() if record["swap"]]


def post(sandbox: Sandbox, path: str, body: dict[str, Any]) -> requests.Response:
    return requests.post(sandbox.url + path, json=body, timeout=10)


def test_a_dropped_request_is_not_performed(sandbox: Sandbox, wallet: Keypair) -> None:
    transaction = prepared(sandbox, wallet)
    fault = sandbox.faults.add("drop", route="sendTransaction", times=1)
    with pytest.raises(requests.ConnectionError):
        send(sandbox, transaction)
    sandbox.advance()
    assert (landed(sandbox), fault.fired) == ([], 1)
    assert "result" in send(sandbox, transaction)


def test_a_lost_reply_was_performed(sandbox: Sandbox, wallet: Keypair) -> None:
    transaction = prepared(sandbox, wallet)
    sandbox.faults.add("lost_reply", route="sendTransaction", times=1)
    with pytest.raises(requests.ConnectionError):
        send(sandbox, transaction)
    sandbox.advance()
    assert landed(sandbox) == [str(transaction.signatures[0])]
    assert send(sandbox, transaction)["error"]["data"]["err"] == "AlreadyProcessed"


def test_a_truncated_answer_was_performed(sandbox: Sandbox, wallet: Keypair) -> None:
    transaction = prepared(sandbox, wallet)
    sandbox.faults.add("truncated", route="sendTransaction", times=1)
    with pytest.raises(requests.JSONDecodeError):
        send(sandbox, transaction)
    sandbox.advance()
    assert landed(sandbox) == [str(transaction.signatures[0])]


@pytest.mark.parametrize("performed", [False, True])
def test_a_5xx_may_have_been_performed(sandbox: Sandbox, wallet: Keypair, performed: bool) -> None:
    transaction = prepared(sandbox, wallet)
    sandbox.faults.add("status_5xx", route="sendTransaction", times=1, status=502, performed=performed)
    body = {"jsonrpc": "2.0", "id": 1, "method": "sendTransaction"}
    options = {"encoding": "base64", "preflightCommitment": "confirmed"}
    answer = post(sandbox, "/", {**body, "params": [encoded(transaction), options]})
    assert answer.status_code == 502
    sandbox.advance()
    assert (len(landed(sandbox)) == 1) is performed


def test_a_429_says_when_to_come_back(sandbox: Sandbox) -> None:
    sandbox.faults.add("status_429", route="/price", times=1, seconds=7)
    answer = requests.get(f"{sandbox.url}/price/v3", params={"ids": SOL}, timeout=10)
    assert answer.status_code == 429
    assert answer.headers["Retry-After"] == "7"
    assert 5 <= int(answer.headers["x-ratelimit-reset"]) - time.time() <= 7
    assert requests.get(f"{sandbox.url}/price/v3", params={"ids": SOL}, timeout=10).status_code == 200


def test_a_delayed_answer_comes_later(sandbox: Sandbox) -> None:
    sandbox.faults.add("delay", route="getHealth", times=1, seconds=0.3)
    begun = time.monotonic()
    assert rpc(sandbox, "getHealth") == "ok"
    assert time.monotonic() - begun >= 0.3


def test_a_stale_node_answers_as_of_before(sandbox: Sandbox, wallet: Keypair) -> None:
    signature = swap(sandbox, wallet)
    sandbox.advance(2)
    newest = rpc(sandbox, "getBlockHeight", {"commitment": "processed"})
    assert status(sandbox, signature) is not None
    sandbox.faults.add("stale", blocks=5)
    assert rpc(sandbox, "getBlockHeight", {"commitment": "processed"}) == newest - 5
    assert status(sandbox, signature) is None
    assert held(sandbox, wallet, USDC) == 10_000 * DOLLAR
    assert rpc_answer(sandbox, "getSlot", {"commitment": "processed", "minContextSlot": newest + 1_000})["error"][
        "data"
    ] == {"contextSlot": newest - 5 + 1_000}
    assert rpc(sandbox, "getHealth") == "ok"


def test_a_node_far_behind_calls_itself_unhealthy(sandbox: Sandbox, wallet: Keypair) -> None:
    transaction = prepared(sandbox, wallet)
    sandbox.faults.add("stale", blocks=130)
    assert rpc_answer(sandbox, "getHealth")["error"] == {
        "code": -32005,
        "message": "Node is behind by 130 slots",
        "data": {"numSlotsBehind": 130},
    }
    assert send(sandbox, transaction)["error"]["code"] == -32005


def test_a_forgetful_node_has_to_be_asked_for_its_history(sandbox: Sandbox, wallet: Keypair) -> None:
    signature = swap(sandbox, wallet)
    sandbox.advance(2)
    sandbox.faults.add("forget_history", route="getSignatureStatuses")
    assert status(sandbox, signature, search=False) is None
    assert status(sandbox, signature, search=True) is not None


def test_a_transaction_delivered_twice_lands_once(sandbox: Sandbox, wallet: Keypair) -> None:
    sandbox.faults.add("duplicate", route="sendTransaction", times=1)
    swap(sandbox, wallet)
    sandbox.advance(3)
    assert held(sandbox, wallet, USDC) == 9_900 * DOLLAR


def test_control_without_the_memory_of_signatures_it_lands_twice(
    sandbox: Sandbox, wallet: Keypair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ledger, "__contains__", lambda self, signature: False)
    sandbox.faults.add("duplicate", route="sendTransaction", times=1)
    swap(sandbox, wallet)
    sandbox.advance(3)
    assert held(sandbox, wallet, USDC) == 9_800 * DOLLAR


def test_a_dropped_transaction_was_accepted_and_never_executed(sandbox: Sandbox, wallet: Keypair) -> None:
    transaction = prepared(sandbox, wallet)
    sandbox.faults.add("drop_transaction", times=1)
    assert "result" in send(sandbox, transaction)
    sandbox.advance(5)
    assert landed(sandbox) == []
    assert "result" in send(sandbox, transaction)
    sandbox.advance()
    assert landed(sandbox) == [str(transaction.signatures[0])]


def test_a_delayed_transaction_lands_later_whatever_is_sent_meanwhile(sandbox: Sandbox, wallet: Keypair) -> None:
    transaction = prepared(sandbox, wallet)
    sandbox.faults.add("delay_transaction", times=1, blocks=10)
    send(sandbox, transaction)
    sandbox.advance(5)
    assert "result" in send(sandbox, transaction)
    sandbox.advance(5)
    assert landed(sandbox) == []
    sandbox.advance()
    assert landed(sandbox) == [str(transaction.signatures[0])]


def test_a_transaction_delayed_beyond_its_blockhash_never_lands(sandbox: Sandbox, wallet: Keypair) -> None:
    sandbox.faults.add("delay_transaction", times=1, blocks=160)
    swap(sandbox, wallet)
    sandbox.advance(200)
    assert landed(sandbox) == []
    assert len(sandbox.chain.mempool) == 0


def test_a_failing_transaction_costs_its_fee(sandbox: Sandbox, wallet: Keypair) -> None:
    sandbox.faults.add("fail_transaction", times=1)
    failed = swap(sandbox, wallet)
    sandbox.advance()
    good = swap(sandbox, wallet)
    sandbox.advance()
    found = status(sandbox, failed)
    assert found is not None
    assert found["err"]["InstructionError"][1] == {"Custom": 6001}
    assert status(sandbox, good)["err"] is None  # type: ignore[index]
    assert held(sandbox, wallet, USDC) == 9_900 * DOLLAR
    fees = [record["fee"] for record in sandbox.ledger() if record["swap"]]
    assert fees == [15_000, 15_000]


def test_a_reorganisation_takes_back_one_and_keeps_the_others(sandbox: Sandbox, wallet: Keypair) -> None:
    other = funded(sandbox)
    vanishing = swap(sandbox, wallet)
    sandbox.advance()
    before = swap(sandbox, other)
    sandbox.advance(2)
    assert status(sandbox, vanishing)["confirmationStatus"] == "confirmed"  # type: ignore[index]
    bystander = held(sandbox, other, SOL)
    assert sandbox.chain.reorganise(vanishing) == [vanishing, before]
    assert status(sandbox, vanishing) is None
    assert held(sandbox, wallet, USDC) == 10_000 * DOLLAR
    assert held(sandbox, wallet, SOL) == LAMPORTS
    assert status(sandbox, before)["confirmationStatus"] == "confirmed"  # type: ignore[index]
    assert held(sandbox, other, SOL) == bystander
    assert landed(sandbox) == [before]
    assert rpc(sandbox, "getTransaction", vanishing, {"maxSupportedTransactionVersion": 0}) is None
    sandbox.advance(60)
    assert landed(sandbox) == [before]


def test_what_vanished_may_land_again(sandbox: Sandbox, wallet: Keypair) -> None:
    fault = sandbox.faults.add("reorg", times=1, blocks=3, again_after=4)
    signature = swap(sandbox, wallet)
    sandbox.advance(3)
    assert landed(sandbox) == [signature]
    sandbox.advance()
    assert (landed(sandbox), fault.fired) == ([], 1)
    sandbox.advance(4)
    assert landed(sandbox) == [signature]
    assert held(sandbox, wallet, USDC) == 9_900 * DOLLAR


def test_what_vanished_may_be_sent_again(sandbox: Sandbox, wallet: Keypair) -> None:
    transaction = prepared(sandbox, wallet)
    send(sandbox, transaction)
    sandbox.advance(2)
    sandbox.chain.reorganise(str(transaction.signatures[0]))
    assert "result" in send(sandbox, transaction)
    sandbox.advance()
    assert landed(sandbox) == [str(transaction.signatures[0])]


def test_what_depends_on_the_vanished_lands_otherwise(sandbox: Sandbox) -> None:
    """The second needs the money of the first; without it the other fork has it fail."""
    wallet = funded(sandbox, usdc=100 * DOLLAR, lamports=LAMPORTS)
    first = swap(sandbox, wallet, amount=100 * DOLLAR)
    sandbox.advance()
    second = swap(sandbox, wallet, mint_in=SOL, mint_out=USDC, amount=LAMPORTS * 3 // 2)
    sandbox.advance()
    assert status(sandbox, second)["err"] is None  # type: ignore[index]
    sandbox.chain.reorganise(first)
    found = status(sandbox, second)
    assert found is None or found["err"] is not None
    assert held(sandbox, wallet, USDC) == 100 * DOLLAR


def test_the_finalized_cant_be_reorganised(sandbox: Sandbox, wallet: Keypair) -> None:
    signature = swap(sandbox, wallet)
    sandbox.advance(32)
    assert landed(sandbox) == [signature]
    sandbox.advance()
    with pytest.raises(NotReorganisable):
        sandbox.chain.reorganise(signature)


def test_a_fault_waits_its_turn_and_stops(sandbox: Sandbox) -> None:
    fault = sandbox.faults.add("status_5xx", route="getHealth", skip=2, times=2)

    def code() -> int:
        return post(sandbox, "/", {"jsonrpc": "2.0", "id": 1, "method": "getHealth"}).status_code

    assert [code() for _ in range(6)] == [200, 200, 503, 503, 200, 200]
    assert fault.fired == 2
    sandbox.faults.clear()


def test_a_fault_with_a_probability_rolls_its_own_dice(sandbox: Sandbox) -> None:
    rolls = []
    for _ in range(2):
        fault = sandbox.faults.add("stale", route="getSlot", probability=0.3, seed=5)
        rolls.append([fault.fires("getSlot") for _ in range(200)])
    assert rolls[0] == rolls[1]
    assert 30 <= sum(rolls[0]) <= 90


@pytest.mark.parametrize(
    "nonsense",
    [{"kind": "gremlin"}, {"kind": "delay", "seconds": -1}, {"kind": "drop", "times": "x"}, {"kind": "drop", "id": 5}],
)
def test_a_fault_that_makes_no_sense_is_refused(sandbox: Sandbox, nonsense: dict[str, Any]) -> None:
    with pytest.raises(BadFault):
        sandbox.faults.add(**nonsense)
    assert post(sandbox, "/sandbox/faults", nonsense).status_code == 400


def test_every_kind_of_fault_is_tested_here() -> None:
    """A new kind needs its test: names are looked for in this file."""
    text = Path(__file__).read_text()
    assert [kind for kind in KINDS if f'"{kind}"' not in text] == []


def test_control_over_http(sandbox: Sandbox, wallet: Keypair) -> None:
    assert post(sandbox, "/sandbox/faults", {"kind": "stale", "route": "getSlot", "blocks": 3}).json()["id"] == 1
    height = requests.get(f"{sandbox.url}/sandbox/state", timeout=10).json()["height"]
    assert rpc(sandbox, "getSlot", {"commitment": "processed"}) == height + 1_000 - 3
    assert requests.delete(f"{sandbox.url}/sandbox/faults", timeout=10).json() == {"faults": []}
    assert post(sandbox, "/sandbox/advance", {"slots": 4}).json() == {"height": height + 4}
    assert post(sandbox, "/sandbox/price", {"market": "SOL/USDC", "price": "99"}).json()["price"] == "99"
    assert requests.get(f"{sandbox.url}/price/v3", params={"ids": SOL}, timeout=10).json()[SOL]["usdPrice"] == 99
    assert post(sandbox, "/sandbox/price", {"market": "SOL/USDC", "price": "-1"}).status_code == 400
    assert post(sandbox, "/sandbox/price", {"market": "X/USDC", "price": "1"}).status_code == 400
    signature = swap(sandbox, wallet)
    sandbox.advance()
    assert post(sandbox, "/sandbox/reorg", {"signature": signature}).json() == {"undone": [signature]}
    assert post(sandbox, "/sandbox/reorg", {"signature": signature}).status_code == 409
    found = requests.get(f"{sandbox.url}/sandbox/ledger", timeout=10).json()
    assert found["undone"] == [signature]
    assert signature not in [record["signature"] for record in found["transactions"]]
    address = str(Keypair().pubkey())
    post(sandbox, "/sandbox/fund", {"address": address, "mint": "SOL", "amount": 5 * LAMPORTS})
    assert rpc(sandbox, "getBalance", address)["value"] == 5 * LAMPORTS


def test_money_moves_by_hand_as_a_transaction_that_is_nobodys_order(sandbox: Sandbox, wallet: Keypair) -> None:
    address = str(wallet.pubkey())
    came = post(sandbox, "/sandbox/transfer", {"to": address, "mint": USDC, "amount": 5 * DOLLAR}).json()["signature"]
    sandbox.advance()
    assert held(sandbox, wallet, USDC) == 10_005 * DOLLAR
    left = post(sandbox, "/sandbox/transfer", {"from": address, "mint": USDC, "amount": 7 * DOLLAR}).json()["signature"]
    spent = post(sandbox, "/sandbox/transfer", {"from": address, "mint": "SOL", "amount": 1_000}).json()["signature"]
    sandbox.advance(2)
    assert held(sandbox, wallet, USDC) == 9_998 * DOLLAR
    history = [
        item["signature"] for item in rpc(sandbox, "getSignaturesForAddress", address, {"commitment": "confirmed"})
    ]
    assert history[:3] == [spent, left, came]
    assert [record["swap"] for record in sandbox.ledger()[-3:]] == [None] * 3
    for record in sandbox.ledger()[-3:]:
        assert status(sandbox, record["signature"])["err"] is None  # type: ignore[index]


def test_without_control_only_reading_is_allowed() -> None:
    with running_sandbox(control=False) as sandbox:
        for path in ("faults", "advance", "reorg", "price", "fund", "transfer"):
            assert post(sandbox, f"/sandbox/{path}", {}).status_code == 403
        assert requests.delete(f"{sandbox.url}/sandbox/faults", timeout=10).status_code == 403
        assert requests.get(f"{sandbox.url}/sandbox/ledger", timeout=10).status_code == 200
        assert requests.get(f"{sandbox.url}/sandbox/state", timeout=10).status_code == 200


def test_jupiter_asks_for_its_key_where_it_has_one() -> None:
    with running_sandbox(api_key="right") as sandbox:
        url, query = f"{sandbox.url}/price/v3", {"ids": SOL}
        assert requests.get(url, params=query, timeout=10).status_code == 401
        assert requests.get(url, params=query, headers={"x-api-key": "wrong"}, timeout=10).status_code == 401
        assert requests.get(url, params=query, headers={"x-api-key": "right"}, timeout=10).status_code == 200
        assert rpc(sandbox, "getHealth") == "ok"
        assert requests.get(f"{sandbox.url}/candles", timeout=10).status_code == 200
