"""Swaps by Jupiter's v1 and v2 against the sandbox: quoted, built, signed, landed, and never twice."""

import threading
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import requests
from solders.keypair import Keypair
from solders.message import Message

from tests.sandbox_chain import (
    BONK,
    DOLLAR,
    JUP,
    LAMPORTS,
    SOL,
    USDC,
    WIF,
    built,
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
from trading.sandbox.clock import RunningClock
from trading.sandbox.main import Sandbox

RENT = 2_039_280  # lamports of a token account
FEE = 15_000  # two signatures and the usual priority fee


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox() as running:
        yield running


@pytest.fixture
def wallet(sandbox: Sandbox) -> Keypair:
    return funded(sandbox)


def order(sandbox: Sandbox, **query: Any) -> dict[str, Any]:
    asked = {"inputMint": USDC, "outputMint": SOL, "amount": 100 * DOLLAR, "slippageBps": 50, **query}
    answer = requests.get(f"{sandbox.url}/swap/v2/order", params=asked, timeout=10)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def execute(sandbox: Sandbox, transaction: str, request_id: str) -> tuple[int, dict[str, Any]]:
    body = {"signedTransaction": transaction, "requestId": request_id}
    answer = requests.post(f"{sandbox.url}/swap/v2/execute", json=body, timeout=10)
    return answer.status_code, answer.json()


def test_a_swap_by_v1_moves_exactly_what_was_quoted(sandbox: Sandbox, wallet: Keypair) -> None:
    quoted = quote(sandbox, USDC, JUP, 100 * DOLLAR)
    made = built(sandbox, wallet, quoted)
    transaction = signed(wallet, made["swapTransaction"])
    assert send(sandbox, transaction)["result"] == str(transaction.signatures[0])
    assert held(sandbox, wallet, JUP) == 0
    sandbox.advance()
    assert held(sandbox, wallet, USDC) == 9_900 * DOLLAR
    assert held(sandbox, wallet, JUP) == int(quoted["outAmount"])
    assert held(sandbox, wallet, SOL) == LAMPORTS - RENT - FEE
    done = sandbox.ledger()[-1]["swap"]
    assert (done["side"], done["market"], done["wallet"]) == ("buy", "JUP/USDC", str(wallet.pubkey()))
    assert (done["fee"], done["rent"]) == (FEE, RENT)


@pytest.mark.parametrize("legacy", [False, True])
def test_native_sol_is_wrapped_and_its_account_closed(sandbox: Sandbox, wallet: Keypair, legacy: bool) -> None:
    for mint_in, mint_out, amount in ((USDC, SOL, 100 * DOLLAR), (SOL, USDC, LAMPORTS // 10)):
        quoted = quote(sandbox, mint_in, mint_out, amount)
        before = held(sandbox, wallet, SOL)
        made = built(sandbox, wallet, quoted, asLegacyTransaction=legacy)
        transaction = signed(wallet, made["swapTransaction"])
        assert isinstance(transaction.message, Message) is legacy
        send(sandbox, transaction)
        sandbox.advance()
        change = int(quoted["outAmount"]) if mint_out == SOL else -amount
        assert held(sandbox, wallet, SOL) == before + change - FEE
        options = {"encoding": "jsonParsed", "commitment": "processed"}
        accounts = rpc(sandbox, "getTokenAccountsByOwner", str(wallet.pubkey()), {"mint": SOL}, options)
        assert accounts["value"] == []


def test_without_wrapping_sol_stays_a_token(sandbox: Sandbox, wallet: Keypair) -> None:
    quoted = quote(sandbox, USDC, SOL, 100 * DOLLAR)
    send(sandbox, signed(wallet, built(sandbox, wallet, quoted, wrapAndUnwrapSol=False)["swapTransaction"]))
    sandbox.advance()
    options = {"encoding": "jsonParsed", "commitment": "processed"}
    (account,) = rpc(sandbox, "getTokenAccountsByOwner", str(wallet.pubkey()), {"mint": SOL}, options)["value"]
    info = account["account"]["data"]["parsed"]["info"]
    assert info["isNative"] is True
    assert info["tokenAmount"]["amount"] == quoted["outAmount"]
    assert sandbox.ledger()[-1]["swap"]["rent"] == RENT


def test_the_priority_fee_is_what_was_asked_and_answered(sandbox: Sandbox, wallet: Keypair) -> None:
    quoted = quote(sandbox, USDC, WIF, DOLLAR)
    for asked, most in (
        (50_000, 50_000),
        ({"priorityLevelWithMaxLamports": {"priorityLevel": "high", "maxLamports": 700}}, 700),
    ):
        made = built(sandbox, wallet, quoted, prioritizationFeeLamports=asked)
        assert most * 0.99 <= made["prioritizationFeeLamports"] <= most
        send(sandbox, signed(wallet, made["swapTransaction"]))
        sandbox.advance()
        assert sandbox.ledger()[-1]["fee"] == 10_000 + made["prioritizationFeeLamports"]


def test_impact_grows_with_the_amount_and_the_fee_stays_in_the_pool(sandbox: Sandbox) -> None:
    small, large = (quote(sandbox, USDC, SOL, amount * DOLLAR) for amount in (1, 100_000))
    assert Decimal(small["priceImpactPct"]) < Decimal("0.00001") < Decimal("0.04") < Decimal(large["priceImpactPct"])
    fair = LAMPORTS / Decimal(150)
    assert Decimal("0.99899") < int(small["outAmount"]) / fair < Decimal("0.9991")
    there = int(quote(sandbox, USDC, SOL, 1_000 * DOLLAR)["outAmount"])
    back = int(quote(sandbox, SOL, USDC, there)["outAmount"])
    assert 0.996 * 1_000 * DOLLAR < back < 0.998 * 1_000 * DOLLAR


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"inputMint": JUP, "outputMint": BONK}, "COULD_NOT_FIND_ANY_ROUTE"),
        ({"amount": 0}, "COULD_NOT_FIND_ANY_ROUTE"),
        ({"amount": 1}, "COULD_NOT_FIND_ANY_ROUTE"),
        ({"outputMint": str(Keypair().pubkey())}, "TOKEN_NOT_TRADABLE"),
        ({"outputMint": USDC}, "CIRCULAR_ARBITRAGE_IS_DISABLED"),
        ({"outputMint": "nonsense"}, None),
        ({"amount": "1.5"}, None),
        ({"amount": -1}, None),
        ({"amount": 2**64}, None),
        ({"slippageBps": 10_001}, None),
    ],
)
def test_what_cant_be_quoted_is_refused_in_jupiters_words(
    sandbox: Sandbox, query: dict[str, Any], code: str | None
) -> None:
    asked = {"inputMint": USDC, "outputMint": SOL, "amount": 100, **query}
    answer = requests.get(f"{sandbox.url}/swap/v1/quote", params=asked, timeout=10)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert answer.json().get("errorCode") == code


def test_v2_names_its_own_code_where_there_is_no_route(sandbox: Sandbox) -> None:
    for query in ({"inputMint": JUP, "outputMint": BONK}, {"excludeRouters": "jupiterz,iris"}):
        asked = {"inputMint": USDC, "outputMint": SOL, "amount": 100 * DOLLAR, **query}
        answer = requests.get(f"{sandbox.url}/swap/v2/order", params=asked, timeout=10)
        assert (answer.status_code, answer.json()["errorCode"]) == (400, "NO_ROUTES_FOUND")


def test_a_swap_by_v2_is_executed_and_executing_it_again_tells_the_same(sandbox: Sandbox, wallet: Keypair) -> None:
    made = order(sandbox, taker=str(wallet.pubkey()), excludeRouters="jupiterz")
    assert made["signatureFeePayer"] == str(wallet.pubkey())
    assert made["priceImpact"] < 0
    transaction = encoded(signed(wallet, made["transaction"]))
    _, waiting = execute(sandbox, transaction, made["requestId"])
    assert (waiting["status"], waiting["code"]) == ("Failed", -1006)
    sandbox.advance()
    _, done = execute(sandbox, transaction, made["requestId"])
    assert (done["status"], done["code"], done["outputAmountResult"]) == ("Success", 0, made["outAmount"])
    sandbox.advance(3)
    assert execute(sandbox, transaction, made["requestId"]) == (200, done)
    assert held(sandbox, wallet, USDC) == 9_900 * DOLLAR


def test_v2_without_a_taker_or_without_money_gives_no_transaction(sandbox: Sandbox, wallet: Keypair) -> None:
    assert order(sandbox)["transaction"] is None
    poor = order(sandbox, taker=str(Keypair().pubkey()))
    assert (poor["transaction"], poor["errorCode"]) == ("", 1)
    beggar = funded(sandbox, lamports=1_000_000)
    assert order(sandbox, outputMint=JUP, taker=str(beggar.pubkey()))["errorCode"] == 2
    assert order(sandbox, taker=str(wallet.pubkey()))["transaction"]


def test_v2_refuses_what_isnt_its_order(sandbox: Sandbox, wallet: Keypair) -> None:
    made = order(sandbox, taker=str(wallet.pubkey()))
    other = order(sandbox, taker=str(wallet.pubkey()))
    good = encoded(signed(wallet, made["transaction"]))
    refused = {
        -1: execute(sandbox, good, "unknown"),
        -2: execute(sandbox, encoded(signed(Keypair(), made["transaction"])), made["requestId"]),
        -3: execute(sandbox, good, other["requestId"]),
        -4: execute(sandbox, good, ""),
        -5: execute(sandbox, "", made["requestId"]),
    }
    assert {code: (answer[0], answer[1]["code"]) for code, answer in refused.items()} == {
        code: (400, code) for code in refused
    }
    sandbox.advance()
    assert held(sandbox, wallet, USDC) == 10_000 * DOLLAR


def test_an_order_of_v2_expires(sandbox: Sandbox, wallet: Keypair) -> None:
    made = order(sandbox, taker=str(wallet.pubkey()))
    transaction = encoded(signed(wallet, made["transaction"]))
    sandbox.advance(200)
    assert execute(sandbox, transaction, made["requestId"])[1]["code"] == -1005
    sandbox.advance(2)
    assert status(sandbox, str(signed(wallet, made["transaction"]).signatures[0])) is None


def test_a_price_that_is_gone_fails_on_chain_with_the_fee_charged(sandbox: Sandbox, wallet: Keypair) -> None:
    transaction = prepared(sandbox, wallet)
    assert "result" in send(sandbox, transaction)
    sandbox.prices.pin("SOL/USDC", Decimal("151"))
    sandbox.advance()
    found = status(sandbox, str(transaction.signatures[0]))
    assert found is not None
    index, reason = found["err"]["InstructionError"]
    assert reason == {"Custom": 6001}
    assert index == len(transaction.message.instructions) - 2  # the pool's payment; closing comes after
    assert held(sandbox, wallet, USDC) == 10_000 * DOLLAR
    assert held(sandbox, wallet, SOL) == LAMPORTS - FEE
    done = sandbox.ledger()[-1]["swap"]
    assert (done["amount_in"], done["amount_out"], done["fee"]) == (0, 0, FEE)


def test_a_price_within_the_slippage_still_lands_as_quoted(sandbox: Sandbox, wallet: Keypair) -> None:
    transaction = prepared(sandbox, wallet)
    sandbox.prices.pin("SOL/USDC", Decimal("150.6"))
    send(sandbox, transaction)
    sandbox.advance()
    assert status(sandbox, str(transaction.signatures[0]))["err"] is None  # type: ignore[index]


def test_preflight_foresees_a_price_that_is_gone(sandbox: Sandbox, wallet: Keypair) -> None:
    transaction = prepared(sandbox, wallet)
    sandbox.prices.pin("SOL/USDC", Decimal("151"))
    error = send(sandbox, transaction)["error"]
    assert error["code"] == -32002
    assert error["data"]["err"]["InstructionError"][1] == {"Custom": 6001}
    sandbox.advance()
    assert status(sandbox, str(transaction.signatures[0])) is None


def test_no_two_orders_are_the_same_transaction(sandbox: Sandbox, wallet: Keypair) -> None:
    quoted = quote(sandbox, USDC, SOL, DOLLAR)
    made = [built(sandbox, wallet, quoted)["swapTransaction"] for _ in range(20)]
    assert len(set(made)) == 20


@pytest.mark.race
def test_swaps_of_eight_threads_land_exactly_once_and_the_ledger_adds_up() -> None:
    with running_sandbox(clock=RunningClock(0.02)) as sandbox:
        wallets = [funded(sandbox, usdc=1_000 * DOLLAR) for _ in range(8)]
        signatures: list[str] = []
        barrier = threading.Barrier(8)

        def trade(wallet: Keypair) -> None:
            barrier.wait()
            mine = []
            for number in range(25):
                mint = (SOL, JUP, BONK, WIF)[number % 4]
                mine.append(swap(sandbox, wallet, mint_in=USDC, mint_out=mint, amount=10 * DOLLAR + number))
            signatures.extend(mine)

        threads = [threading.Thread(target=trade, args=(wallet,)) for wallet in wallets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for signature in signatures:
            assert sandbox.chain.wait_for(signature, seconds=5) is not None
        landed = Counter(record["signature"] for record in sandbox.ledger() if record["swap"])
        assert len(signatures) == 200
        assert landed == Counter(signatures)
        for wallet in wallets:
            assert_books_agree(sandbox, wallet, usdc=1_000 * DOLLAR)


def assert_books_agree(sandbox: Sandbox, wallet: Keypair, *, usdc: int) -> None:
    """What the ledger's swaps add up to is what the chain holds."""
    expected = Counter({USDC: usdc, SOL: LAMPORTS})
    for record in sandbox.ledger():
        done = record["swap"]
        if done and done["wallet"] == str(wallet.pubkey()):
            expected[done["mint_in"]] -= done["amount_in"]
            expected[done["mint_out"]] += done["amount_out"]
            expected[SOL] -= done["fee"] + done["rent"]
    assert {mint: held(sandbox, wallet, mint) for mint in expected} == expected
