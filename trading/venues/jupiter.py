"""Jupiter's swap API: what an exchange would give, and the transaction for it. Signing and sending are others' affair.

Two versions behind one Protocol. v1 quotes and builds in two requests and leaves sending to us. v2's order carries the
transaction already, made for the taker, and can be sent by Jupiter too (`execute`).
An answer is used only where it is for the mints, the amount and the slippage asked, and where the transaction's fee
payer is our wallet: only then is its signature ours to know before it is sent.
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from typing import Annotated, Any, Protocol

import structlog
from pydantic import Field, TypeAdapter
from solders.transaction import VersionedTransaction

from trading.venues.http import BreakerOpen, VenueRefused, VenueUnavailable
from trading.venues.http_answers import tree_of
from trading.venues.jupiter_api import REFUSALS, JupiterApi
from trading.venues.rpc import TRANSACTION_MOST_BYTES, signature_of
from trading.venues.rpc_sending import Accepted, Unsure
from trading.venues.shapes import U64, Address, Amount, NumberOrText, Shape, U64OrText, shaped

log = structlog.get_logger(__name__)

BPS = 10_000
NOT_OURS_TO_KNOW = "jupiterz"  # its market makers pay the fee, so the first signature would be theirs
ORDER_REFUSALS = {
    "1": "insufficient_funds",
    "2": "insufficient_sol",
    "3": "below_minimum",
}  # v2, answered with HTTP 200


@dataclass(frozen=True, slots=True)
class SwapQuote:
    """What an exchange would give now. Amounts are raw; `price_impact` is a ratio, its size either way (0.01 is 1 %).

    `verbatim` is the whole answer: v1 wants it back, v2's holds the transaction, and it is the evidence.
    """

    verbatim: dict[str, Any]
    input_mint: str
    output_mint: str
    in_amount: int
    out_amount: int
    least_out: int
    slippage_bps: int
    price_impact: Decimal
    context_slot: int | None
    at: datetime

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "price_impact": str(self.price_impact), "at": self.at.isoformat()}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "SwapQuote":
        """A quote that `as_json` made."""
        price_impact, at = Decimal(stored["price_impact"]), datetime.fromisoformat(stored["at"])
        return cls(**{**stored, "price_impact": price_impact, "at": at})


@dataclass(frozen=True, slots=True)
class UnsignedSwap:
    """A transaction that lacks our signature. Without `last_valid_block_height` ask the chain for its blockhash's."""

    transaction: bytes
    last_valid_block_height: int | None
    request_id: str | None


class SwapApi(Protocol):
    def quote(self, *, input_mint: str, output_mint: str, amount: int, slippage_bps: int, taker: str) -> SwapQuote:
        """Ask what an exchange of exactly `amount` would give; risks nothing.

        Raises:
            VenueRefused: `no_route`, `token_not_tradable`, `bad_answer`, …
            VenueUnavailable: no usable answer came in time.
        """

    def build(self, quote: SwapQuote, *, wallet: str, priority_fee_max_lamports: int) -> UnsignedSwap:
        """The transaction for a quote; nothing is sent.

        Raises:
            VenueRefused: `not_our_fee_payer`, `priority_fee_too_high`, `simulation_failed`, `bad_answer`, …
            VenueUnavailable: no usable answer came in time.
        """


_Filled = Annotated[str, Field(min_length=1)]


class _Quote(Shape):
    input_mint: Address
    output_mint: Address
    in_amount: Amount
    out_amount: Amount
    other_amount_threshold: Amount
    slippage_bps: U64
    swap_mode: str = "ExactIn"
    price_impact_pct: NumberOrText | None = None  # a ratio, whatever its name says
    price_impact: NumberOrText | None = None  # v2: in points, 1 is 1 %
    context_slot: U64 | None = None

    @property
    def impact(self) -> Decimal | None:
        if self.price_impact is not None:
            return abs(self.price_impact / 100)
        return None if self.price_impact_pct is None else abs(self.price_impact_pct)


class _Swap(Shape):
    swap_transaction: _Filled
    last_valid_block_height: U64
    prioritization_fee_lamports: U64 | None = None
    simulation_error: dict[str, Any] | None = None


class _Order(Shape):
    request_id: _Filled
    transaction: _Filled
    taker: Address | None = None
    router: str | None = None
    signature_fee_payer: Address | None = None
    prioritization_fee_lamports: U64 | None = None
    last_valid_block_height: U64OrText | None = None  # Ultra wrote a number, v2 writes text


_QUOTE, _SWAP, _ORDER = TypeAdapter(_Quote), TypeAdapter(_Swap), TypeAdapter(_Order)


class _Jupiter(JupiterApi):
    """What both versions share: how a quote is checked."""

    def _checked(self, tree: Any, asked: Mapping[str, str]) -> SwapQuote:
        found = shaped(_QUOTE, tree, what="quote")
        out, least, impact = found.out_amount, found.other_amount_threshold, found.impact
        slippage = int(asked["slippageBps"])
        wrong = {
            "other mints": [found.input_mint, found.output_mint] != [asked["inputMint"], asked["outputMint"]],
            "another amount": found.in_amount != int(asked["amount"]),
            "more slippage": found.slippage_bps > slippage,
            "another mode": found.swap_mode != "ExactIn",
            "a least amount beyond the slippage": not out * (BPS - slippage) // BPS <= least <= out,
            "no price impact": impact is None,
        }
        if impact is None or any(wrong.values()):
            what = ", ".join(name for name, is_so in wrong.items() if is_so)
            raise VenueRefused("bad_answer", f"The quote isn't the one asked for: {what}.")
        return SwapQuote(
            verbatim=_storable(tree),
            input_mint=found.input_mint,
            output_mint=found.output_mint,
            in_amount=found.in_amount,
            out_amount=out,
            least_out=least,
            slippage_bps=found.slippage_bps,
            price_impact=impact,
            context_slot=found.context_slot,
            at=datetime.now(UTC),
        )


class JupiterV1(_Jupiter):
    """GET /swap/v1/quote, POST /swap/v1/swap."""

    def quote(self, *, input_mint: str, output_mint: str, amount: int, slippage_bps: int, taker: str) -> SwapQuote:
        """See `SwapApi`. A quote of this version is for anybody: `taker` isn't asked for."""
        asked = _question(input_mint, output_mint, amount, slippage_bps)
        params = {**asked, "swapMode": "ExactIn", "restrictIntermediateTokens": "true", "instructionVersion": "V2"}
        return self._checked(self._http.read("GET", "/swap/v1/quote", params=params), asked)

    def build(self, quote: SwapQuote, *, wallet: str, priority_fee_max_lamports: int) -> UnsignedSwap:
        level = {"priorityLevel": "high", "maxLamports": priority_fee_max_lamports, "global": False}
        body = {
            "quoteResponse": quote.verbatim,
            "userPublicKey": wallet,
            "wrapAndUnwrapSol": True,
            "dynamicComputeUnitLimit": True,
            "prioritizationFeeLamports": {"priorityLevelWithMaxLamports": level},
        }
        found = shaped(_SWAP, self._http.read("POST", "/swap/v1/swap", body=body), what="swap")
        if found.simulation_error is not None:
            words = self._http.clean(str(found.simulation_error.get("error", "")))
            raise VenueRefused("simulation_failed", f"Jupiter's own simulation of the swap failed. {words}".strip())
        _bound(found.prioritization_fee_lamports, priority_fee_max_lamports)
        return UnsignedSwap(
            transaction=_ours(found.swap_transaction, wallet),
            last_valid_block_height=found.last_valid_block_height,
            request_id=None,
        )


class JupiterV2(_Jupiter):
    """GET /swap/v2/order, and POST /swap/v2/execute where Jupiter shall send."""

    def quote(self, *, input_mint: str, output_mint: str, amount: int, slippage_bps: int, taker: str) -> SwapQuote:
        """See `SwapApi`. The order is made for `taker`, and refused where that wallet couldn't pay for it."""
        asked = _question(input_mint, output_mint, amount, slippage_bps)
        params = {**asked, "taker": taker, "excludeRouters": NOT_OURS_TO_KNOW}
        tree = self._http.read("GET", "/swap/v2/order", params=params)
        self._refuse_errors(tree)
        quote = self._checked(tree, asked)
        order = shaped(_ORDER, tree, what="order")
        if order.router == NOT_OURS_TO_KNOW:
            raise VenueRefused("bad_answer", "The order is of a router that was excluded.")
        if order.taker not in (None, taker):
            raise VenueRefused("bad_answer", "The order is for another taker.")
        return quote

    def build(self, quote: SwapQuote, *, wallet: str, priority_fee_max_lamports: int) -> UnsignedSwap:
        """The transaction that the order carries; asks nobody."""
        order = shaped(_ORDER, quote.verbatim, what="order")
        if order.signature_fee_payer not in (None, wallet):
            raise VenueRefused("not_our_fee_payer", "Somebody else would pay the fee and sign first.")
        _bound(order.prioritization_fee_lamports, priority_fee_max_lamports)
        return UnsignedSwap(
            transaction=_ours(order.transaction, wallet),
            last_valid_block_height=order.last_valid_block_height,
            request_id=order.request_id,
        )

    def execute(self, transaction: bytes, *, request_id: str) -> Accepted | Unsure:
        """Let Jupiter send a signed order, once. Whatever isn't success with our signature leaves us unsure.

        Even its "expired", "failed to land" or "invalid" are its view of one node: only the chain can prove it.

        Raises:
            BreakerOpen: nothing was sent.
            ValueError: these bytes aren't a signed transaction; nothing was sent.
        """
        signature = signature_of(transaction)
        outcome = self._execute(transaction, request_id, signature)
        log.info(
            "A swap was handed to Jupiter.",
            action="swap_executed",
            venue=self.name,
            signature=signature,
            outcome=type(outcome).__name__,
            reason=getattr(outcome, "reason", ""),
        )
        return outcome

    def _execute(self, transaction: bytes, request_id: str, signature: str) -> Accepted | Unsure:
        body = {"signedTransaction": b64encode(transaction).decode(), "requestId": request_id}
        try:
            answer = self._http.send("POST", "/swap/v2/execute", body=body)
        except BreakerOpen:
            raise
        except VenueUnavailable as exc:
            return Unsure(exc.detail)
        tree = tree_of(answer)
        said = tree.value if tree and isinstance(tree.value, dict) else {}
        if answer.status == 200 and said.get("status") == "Success" and said.get("signature") == signature:
            return Accepted(signature=signature)
        code = said.get("code")
        return Unsure(f"jupiter_{code}" if type(code) is int else f"http_{answer.status}")

    def _refuse_errors(self, tree: Any) -> None:
        """An order that can't be signed still holds a quote; its errorCode says why."""
        error = tree.get("errorCode") if isinstance(tree, dict) else None
        if error in (None, "", 0) or not isinstance(error, str | int):
            return
        words = tree.get("errorMessage")
        why = ORDER_REFUSALS.get(str(error)) or REFUSALS.get(str(error)) or "order_refused"
        raise VenueRefused(why, self._http.clean(f"Jupiter refused the order ({error}). {words or ''}"))


def _question(input_mint: str, output_mint: str, amount: int, slippage_bps: int) -> dict[str, str]:
    assert amount > 0, "an exchange gives something"
    assert 0 <= slippage_bps < BPS, "slippage is a part of what comes out"
    return {
        "inputMint": input_mint,
        "outputMint": output_mint,
        "amount": str(amount),
        "slippageBps": str(slippage_bps),
    }


def _bound(fee_lamports: int | None, most: int) -> None:
    if fee_lamports is not None and fee_lamports > most:
        raise VenueRefused("priority_fee_too_high", f"It would pay {fee_lamports} lamports to be first, above {most}.")


def _ours(encoded: str, wallet: str) -> bytes:
    """The bytes of a transaction whose fee payer is our wallet. All else about it is the signer's to check."""
    try:
        raw = b64decode(encoded, validate=True)
        keys = VersionedTransaction.from_bytes(raw).message.account_keys
    except (NotBase64, ValueError):
        raise VenueRefused("bad_answer", "The answer holds no transaction.") from None
    if len(raw) > TRANSACTION_MOST_BYTES:
        raise VenueRefused("bad_answer", f"A transaction of {len(raw)} bytes can't be sent.")
    if not keys or str(keys[0]) != wallet:
        raise VenueRefused("not_our_fee_payer", "Somebody else would pay the fee and sign first.")
    return raw


def _storable(tree: Any) -> Any:
    """The same JSON with floats for Decimals: storable, and the same number to whoever reads it as a double."""
    match tree:
        case dict():
            return {name: _storable(value) for name, value in tree.items()}
        case list():
            return [_storable(value) for value in tree]
        case str() if not re.fullmatch(r"[^\x00\ud800-\udfff]*", tree):
            raise VenueRefused("bad_answer", "The quote holds text that PostgreSQL can't.")
        case Decimal() if not isfinite(float(tree)):
            raise VenueRefused("bad_answer", "The quote holds a number that is none.")
        case Decimal():
            return float(tree)
    return tree
