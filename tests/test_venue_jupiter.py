"""Jupiter's quotes and transactions: used where they are the ones asked for, refused where they aren't."""

import json
import logging
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
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
from tests.canned_server import CannedServer, Reply
from trading.venues.http import BreakerOpen, Patience, VenueRefused, VenueUnavailable
from trading.venues.jupiter import JupiterV1, JupiterV2, SwapApi, SwapQuote, UnsignedSwap
from trading.venues.rpc import Accepted, Unsure

KEY = "k3y-CANARY-0123456789"
QUICK = Patience(tries=2, seconds=2, wait_first_seconds=0.001, wait_most_seconds=0.002)
SOL = "So11111111111111111111111111111111111111112"
USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
OURS = Keypair.from_seed(bytes([7] * 32))
WALLET = str(OURS.pubkey())
STRANGER = Keypair.from_seed(bytes([8] * 32))
ASKED: dict[str, Any] = {
    "input_mint": SOL, "output_mint": USDC, "amount": 1_000_000_000, "slippage_bps": 50, "taker": WALLET,
}  # fmt: skip


def swap(payer: Keypair = OURS, *, signed: bool = False) -> bytes:
    """A transaction that `payer` would pay for."""
    move = transfer(TransferParams(from_pubkey=payer.pubkey(), to_pubkey=Pubkey.from_string(USDC), lamports=1))
    message = MessageV0.try_compile(payer.pubkey(), [move], [], Hash(bytes([5] * 32)))
    if signed:
        return bytes(VersionedTransaction(message, [payer]))
    return bytes(VersionedTransaction.populate(message, [Signature.default()]))


def b64(raw: bytes) -> str:
    return b64encode(raw).decode()


def v1_quote(**fields: Any) -> dict[str, Any]:
    return {
        "inputMint": SOL,
        "inAmount": "1000000000",
        "outputMint": USDC,
        "outAmount": "148123456",
        "otherAmountThreshold": "147382838",
        "swapMode": "ExactIn",
        "slippageBps": 50,
        "platformFee": None,
        "priceImpactPct": "0.00123",
        "routePlan": [{"swapInfo": {"label": "Pool", "feeAmount": "1"}, "percent": 100}],
        "contextSlot": 312,
        "timeTaken": 0.0171,
        "somethingNew": {"in": ["2027", 1e-7]},
        **fields,
    }


def v2_order(**fields: Any) -> dict[str, Any]:
    order = {
        **v1_quote(),
        "priceImpactPct": "-0.00131",
        "priceImpact": -0.131,
        "requestId": "0199-abc",
        "transaction": b64(swap()),
        "router": "iris",
        "taker": WALLET,
        "signatureFeePayer": WALLET,
        "signatureFeeLamports": 5000,
        "prioritizationFeeLamports": 900,
        "errorCode": None,
    }
    del order["contextSlot"]
    return {**order, **fields}


def v1_swap(**fields: Any) -> dict[str, Any]:
    return {
        "swapTransaction": b64(swap()),
        "lastValidBlockHeight": 279632475,
        "prioritizationFeeLamports": 900,
        "computeUnitLimit": 1_400_000,
        "simulationError": None,
        **fields,
    }


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with canned_server.running() as running:
        yield running


@pytest.fixture
def v1(server: CannedServer) -> JupiterV1:
    return JupiterV1(server.url, api_key=KEY, timeout_seconds=(0.3, 0.3), patience=QUICK)


@pytest.fixture
def v2(server: CannedServer) -> JupiterV2:
    return JupiterV2(server.url, api_key=KEY, timeout_seconds=(0.3, 0.3), patience=QUICK)


@pytest.fixture(params=["v1", "v2"])
def either(request: pytest.FixtureRequest) -> tuple[SwapApi, Any]:
    """Each version, and what its quotes look like."""
    return request.getfixturevalue(request.param), {"v1": v1_quote, "v2": v2_order}[request.param]


# --- quotes ---------------------------------------------------------------------------------------


def test_v1_asks_for_exactly_this_much(server: CannedServer, v1: JupiterV1) -> None:
    server.answers(Reply(v1_quote()))
    quote = v1.quote(**ASKED)
    assert (quote.input_mint, quote.output_mint, quote.in_amount) == (SOL, USDC, 1_000_000_000)
    assert (quote.out_amount, quote.least_out, quote.slippage_bps) == (148_123_456, 147_382_838, 50)
    assert (quote.price_impact, quote.context_slot) == (Decimal("0.00123"), 312)
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.headers["x-api-key"]) == ("GET", "/swap/v1/quote", KEY)
    assert asked.query == {
        "inputMint": SOL, "outputMint": USDC, "amount": "1000000000", "slippageBps": "50", "swapMode": "ExactIn",
        "restrictIntermediateTokens": "true", "instructionVersion": "V2",
    }  # fmt: skip


def test_v2_asks_for_an_order_that_our_wallet_pays_for(server: CannedServer, v2: JupiterV2) -> None:
    server.answers(Reply(v2_order()))
    quote = v2.quote(**ASKED)
    assert (quote.out_amount, quote.least_out, quote.context_slot) == (148_123_456, 147_382_838, None)
    assert quote.price_impact == Decimal("0.00131"), "points over there, a ratio here, and its size either way"
    (asked,) = server.asked
    assert (asked.method, asked.path, asked.headers["x-api-key"]) == ("GET", "/swap/v2/order", KEY)
    assert asked.query == {
        "inputMint": SOL, "outputMint": USDC, "amount": "1000000000", "slippageBps": "50", "taker": WALLET,
        "excludeRouters": "jupiterz",
    }  # fmt: skip


NOT_ASKED_FOR: dict[str, dict[str, Any]] = {
    "another input": {"inputMint": USDC},
    "another output": {"outputMint": SOL},
    "another amount": {"inAmount": "1000000001"},
    "more slippage": {"slippageBps": 51},
    "the other mode": {"swapMode": "ExactOut"},
    "less than the slippage allows": {"otherAmountThreshold": "147382837"},
    "a least amount above the amount": {"otherAmountThreshold": "148123457"},
    "no price impact": {"priceImpactPct": None, "priceImpact": None},
    "an amount that is a number": {"outAmount": 148123456},
    "an amount with a sign": {"outAmount": "+148123456"},
    "an amount with a point": {"outAmount": "148123456.0"},
    "an amount in other digits": {"outAmount": "١٤٨"},
    "an amount beyond u64": {"outAmount": str(2**64)},
    "no amount": {"outAmount": None},
    "slippage in text": {"slippageBps": "50"},
    "an impact that is no number": {"priceImpactPct": "a lot", "priceImpact": None},
    "an impact that is none": {"priceImpactPct": "NaN", "priceImpact": None},
    "a mint that is no address": {"outputMint": "USDC"},
    "text that can't be stored": {"somethingNew": "a\x00b"},
}


@pytest.mark.parametrize("fields", NOT_ASKED_FOR.values(), ids=NOT_ASKED_FOR)
def test_a_quote_that_is_not_the_one_asked_for_is_refused(
    server: CannedServer, either: tuple[SwapApi, Any], fields: dict[str, Any]
) -> None:
    api, quote = either
    server.answers(Reply(quote(**fields)))
    with pytest.raises(VenueRefused) as refused:
        api.quote(**ASKED)
    assert refused.value.why == "bad_answer"
    assert len(server.asked) == 1


def test_a_quote_of_less_slippage_is_welcome(server: CannedServer, either: tuple[SwapApi, Any]) -> None:
    api, quote = either
    server.answers(Reply(quote(slippageBps=26, otherAmountThreshold="147900000")))
    assert api.quote(**ASKED).slippage_bps == 26


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e400"])
def test_a_number_that_is_none_makes_no_quote(server: CannedServer, either: tuple[SwapApi, Any], number: str) -> None:
    api, quote = either
    server.answers(Reply(json.dumps(quote(timeTaken="HERE")).replace('"HERE"', number)))
    with pytest.raises((VenueRefused, VenueUnavailable)):
        api.quote(**ASKED)


@pytest.mark.parametrize("said", [[], "quote", None, 7])
def test_what_is_no_object_is_no_quote(server: CannedServer, either: tuple[SwapApi, Any], said: Any) -> None:
    api, _ = either
    server.answers(Reply(json.dumps(said)))
    with pytest.raises(VenueRefused):
        api.quote(**ASKED)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("NO_ROUTES_FOUND", "no_route"),
        ("COULD_NOT_FIND_ANY_ROUTE", "no_route"),
        ("TOKEN_NOT_TRADABLE", "token_not_tradable"),
        ("MARKET_NOT_FOUND", "market_not_found"),
        ("NEW_IN_2027", "http_400"),
    ],
)
def test_a_known_refusal_has_our_word(server: CannedServer, either: tuple[SwapApi, Any], code: str, why: str) -> None:
    api, _ = either
    server.answers(Reply({"error": "No such thing", "errorCode": code}, status=400))
    with pytest.raises(VenueRefused, match=f"{code}: No such thing") as refused:
        api.quote(**ASKED)
    assert refused.value.why == why


@pytest.mark.parametrize(
    ("code", "why"),
    [(1, "insufficient_funds"), (2, "insufficient_sol"), ("NO_ROUTES_FOUND", "no_route"), (99, "order_refused")],
)
def test_an_order_that_cannot_be_signed_says_why(server: CannedServer, v2: JupiterV2, code: Any, why: str) -> None:
    server.answers(Reply(v2_order(errorCode=code, errorMessage="Insufficient funds", transaction="")))
    with pytest.raises(VenueRefused, match="Insufficient funds") as refused:
        v2.quote(**ASKED)
    assert refused.value.why == why


@pytest.mark.parametrize(
    "fields",
    [
        {"transaction": None},
        {"transaction": ""},
        {"requestId": ""},
        {"requestId": None},
        {"router": "jupiterz"},
        {"taker": str(STRANGER.pubkey())},
    ],
)
def test_an_order_that_is_not_for_us_to_sign_is_refused(
    server: CannedServer, v2: JupiterV2, fields: dict[str, Any]
) -> None:
    server.answers(Reply(v2_order(**fields)))
    with pytest.raises(VenueRefused) as refused:
        v2.quote(**ASKED)
    assert refused.value.why == "bad_answer"


def test_quotes_are_asked_again(server: CannedServer, either: tuple[SwapApi, Any]) -> None:
    api, quote = either
    server.answers(Reply(reset=True), Reply(quote()))
    assert api.quote(**ASKED).in_amount == 1_000_000_000
    assert len(server.asked) == 2


# --- from quotes to transactions ------------------------------------------------------------------


def quoted(api: SwapApi, server: CannedServer, answer: dict[str, Any]) -> SwapQuote:
    server.answers(Reply(answer))
    return api.quote(**ASKED)


def build(api: SwapApi, quote: SwapQuote, *, most: int = 1000) -> UnsignedSwap:
    return api.build(quote, wallet=WALLET, priority_fee_max_lamports=most)


def test_v1_sends_the_quote_back_as_it_came(server: CannedServer, v1: JupiterV1) -> None:
    quote = quoted(v1, server, v1_quote())
    server.answers(Reply(v1_swap()))
    assert build(v1, quote) == UnsignedSwap(transaction=swap(), last_valid_block_height=279632475, request_id=None)
    asked = server.asked[-1]
    assert (asked.method, asked.path, asked.headers["x-api-key"]) == ("POST", "/swap/v1/swap", KEY)
    assert asked.json() == {
        "quoteResponse": v1_quote(),
        "userPublicKey": WALLET,
        "wrapAndUnwrapSol": True,
        "dynamicComputeUnitLimit": True,
        "prioritizationFeeLamports": {
            "priorityLevelWithMaxLamports": {"priorityLevel": "high", "maxLamports": 1000, "global": False}
        },
    }


def test_v2_builds_without_asking_again(server: CannedServer, v2: JupiterV2) -> None:
    quote = quoted(v2, server, v2_order())
    assert build(v2, quote) == UnsignedSwap(transaction=swap(), last_valid_block_height=None, request_id="0199-abc")
    assert len(server.asked) == 1


def test_a_quote_that_was_stored_builds_the_same(server: CannedServer, either: tuple[SwapApi, Any]) -> None:
    api, answer = either
    quote = quoted(api, server, answer())
    server.answers(Reply(v1_swap()))
    again = SwapQuote.from_json(json.loads(json.dumps(quote.as_json(), allow_nan=False)))
    assert again == quote
    assert build(api, again) == build(api, quote)


@pytest.mark.parametrize("height", ["279632475", 279632475])
def test_an_orders_end_may_be_a_number_or_text(server: CannedServer, v2: JupiterV2, height: Any) -> None:
    assert build(v2, quoted(v2, server, v2_order(lastValidBlockHeight=height))).last_valid_block_height == 279632475


@pytest.mark.parametrize("height", ["soon", -1, "-1", 1.5, str(2**64), True])
def test_an_order_with_an_end_that_is_none_is_refused(server: CannedServer, v2: JupiterV2, height: Any) -> None:
    with pytest.raises(VenueRefused):
        quoted(v2, server, v2_order(lastValidBlockHeight=height))


BAD_TRANSACTIONS = {
    "no base64": ("!!", "bad_answer"),
    "no transaction": (b64(b"\x01abc"), "bad_answer"),
    "too large": (b64(swap() + bytes(1300)), "bad_answer"),
    "empty": ("", "bad_answer"),
    "of a stranger": (b64(swap(STRANGER)), "not_our_fee_payer"),
}


@pytest.mark.parametrize(("encoded", "why"), BAD_TRANSACTIONS.values(), ids=BAD_TRANSACTIONS)
def test_v1_refuses_what_our_wallet_would_not_sign(server: CannedServer, v1: JupiterV1, encoded: str, why: str) -> None:
    quote = quoted(v1, server, v1_quote())
    server.answers(Reply(v1_swap(swapTransaction=encoded)))
    with pytest.raises(VenueRefused) as refused:
        build(v1, quote)
    assert refused.value.why == why


@pytest.mark.parametrize(("encoded", "why"), BAD_TRANSACTIONS.values(), ids=BAD_TRANSACTIONS)
def test_v2_refuses_what_our_wallet_would_not_sign(server: CannedServer, v2: JupiterV2, encoded: str, why: str) -> None:
    with pytest.raises(VenueRefused) as refused:
        build(v2, quoted(v2, server, v2_order(transaction=encoded)))
    assert refused.value.why == why


def test_v2_refuses_a_fee_that_somebody_else_would_pay(server: CannedServer, v2: JupiterV2) -> None:
    quote = quoted(v2, server, v2_order(signatureFeePayer=str(STRANGER.pubkey())))
    with pytest.raises(VenueRefused) as refused:
        build(v2, quote)
    assert refused.value.why == "not_our_fee_payer"


@pytest.mark.parametrize("most", [899, 0])
def test_a_priority_fee_above_the_cap_is_refused(server: CannedServer, either: tuple[SwapApi, Any], most: int) -> None:
    api, answer = either
    quote = quoted(api, server, answer())
    server.answers(Reply(v1_swap()))
    with pytest.raises(VenueRefused) as refused:
        build(api, quote, most=most)
    assert refused.value.why == "priority_fee_too_high"
    assert build(api, quote, most=900)


def test_v1_refuses_what_jupiter_saw_fail(server: CannedServer, v1: JupiterV1) -> None:
    quote = quoted(v1, server, v1_quote())
    server.answers(Reply(v1_swap(simulationError={"errorCode": "TRANSACTION_ERROR", "error": "custom error 0x1771"})))
    with pytest.raises(VenueRefused, match="0x1771") as refused:
        build(v1, quote)
    assert refused.value.why == "simulation_failed"


@pytest.mark.parametrize("height", [None, "279632475", -1, 1.5])
def test_v1_refuses_a_transaction_without_an_end(server: CannedServer, v1: JupiterV1, height: Any) -> None:
    quote = quoted(v1, server, v1_quote())
    server.answers(Reply(v1_swap(lastValidBlockHeight=height)))
    with pytest.raises(VenueRefused):
        build(v1, quote)


# --- execution by Jupiter -------------------------------------------------------------------------

SIGNED = swap(signed=True)
SIGNATURE = str(VersionedTransaction.from_bytes(SIGNED).signatures[0])
UNSURE = {
    "failed": Reply({"status": "Failed", "code": -1000, "signature": SIGNATURE}),
    "expired": Reply({"status": "Failed", "code": -1005}),
    "timed out": Reply({"status": "Failed", "code": -1006}),
    "invalid": Reply({"status": "Failed", "code": -2, "error": "Invalid signed transaction"}),
    "success of another": Reply({"status": "Success", "code": 0, "signature": str(Signature(bytes([9] * 64)))}),
    "success without a signature": Reply({"status": "Success", "code": 0}),
    "success with a wrong status": Reply({"status": "Success", "signature": SIGNATURE}, status=400),
    "400": Reply({"error": "no"}, status=400),
    "401": Reply(status=401),
    "429": Reply(status=429),
    "500": Reply(status=500),
    "no JSON": Reply("<html>"),
    "a list": Reply("[]"),
    "cut off": Reply({"status": "Success", "signature": SIGNATURE}, cut_to=20),
    "reset": Reply(reset=True),
    "time-out": Reply(hang=True),
}


def test_what_jupiter_executed_is_accepted(server: CannedServer, v2: JupiterV2) -> None:
    server.answers(Reply({"status": "Success", "code": 0, "signature": SIGNATURE, "slot": "5"}))
    assert v2.execute(SIGNED, request_id="0199-abc") == Accepted(SIGNATURE)
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/swap/v2/execute")
    assert asked.json()["requestId"] == "0199-abc"
    assert b64decode(asked.json()["signedTransaction"]) == SIGNED


@pytest.mark.parametrize("reply", UNSURE.values(), ids=UNSURE)
def test_all_else_leaves_us_unsure_and_is_sent_once(server: CannedServer, v2: JupiterV2, reply: Reply) -> None:
    server.answers(reply, Reply({"status": "Success", "code": 0, "signature": SIGNATURE}))
    found = v2.execute(SIGNED, request_id="0199-abc")
    assert isinstance(found, Unsure)
    assert found.reason
    assert len(server.asked) == 1


def test_what_is_not_signed_is_not_handed_over(server: CannedServer, v2: JupiterV2) -> None:
    with pytest.raises(ValueError, match="isn't signed"):
        v2.execute(swap(), request_id="0199-abc")
    assert server.asked == []


def test_behind_an_open_breaker_nothing_is_handed_over(server: CannedServer) -> None:
    @contextmanager
    def shut() -> Iterator[None]:
        raise BreakerOpen("shut")
        yield

    with pytest.raises(BreakerOpen):
        JupiterV2(server.url, guard=shut).execute(SIGNED, request_id="x")
    assert server.asked == []


@pytest.mark.parametrize("reply", [*UNSURE.values(), Reply({"error": KEY, "errorCode": KEY}, status=403)])
def test_the_key_is_in_no_log_and_no_error(
    server: CannedServer, v2: JupiterV2, caplog: pytest.LogCaptureFixture, reply: Reply
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.ERROR, logger="urllib3")
    server.answers(reply)
    said: list[object] = [repr(v2), v2.name]
    with structlog.testing.capture_logs() as events:
        said.append(v2.execute(SIGNED, request_id="0199-abc"))
        try:
            said.append(v2.quote(**ASKED))
        except (VenueRefused, VenueUnavailable) as exc:
            said += [repr(exc), exc.detail]
    assert {asked.headers["x-api-key"] for asked in server.asked} == {KEY}, "this looked for nothing"
    assert KEY not in repr(said) + repr(events) + caplog.text
    assert b64(SIGNED) not in repr(events) + caplog.text


def test_without_a_key_no_header_is_sent(server: CannedServer) -> None:
    server.answers(Reply(v1_quote()))
    JupiterV1(server.url).quote(**ASKED)
    assert "x-api-key" not in server.asked[0].headers
