"""Jupiter's HTTP: swap v1 and v2. Shapes, names and errors are Jupiter's; amounts travel as strings.

What a swap gives is the pools' affair, how its transaction looks the swaps', whether it lands the chain's.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from solders.message import to_bytes_versioned
from solders.pubkey import Pubkey
from solders.token.associated import get_associated_token_address
from solders.token.state import TokenAccount
from solders.transaction import VersionedTransaction

from trading.sandbox import sending
from trading.sandbox.bank import TOKEN_ACCOUNT_BYTES
from trading.sandbox.chain import Chain, slot
from trading.sandbox.desk import SLIPPAGE_EXCEEDED, Order
from trading.sandbox.faults import Faults
from trading.sandbox.ledger import Entry
from trading.sandbox.pools import BPS, Given, NoRoute
from trading.sandbox.swaps import Built, Plan
from trading.sandbox.tokens import SOL
from trading.sandbox.views import View

USUAL_SLIPPAGE_BPS = 50
USUAL_PRIORITY_LAMPORTS = 5_000
PRIORITY_LAMPORTS_MAX = 10**9
U64_MAX = 2**64 - 1
ROUTER = "iris"
EXECUTE_WAITS_SECONDS = 2.0
# What `/execute` says of an order that it didn't land; all of them are Jupiter's.
MISSING_ORDER, INVALID_TRANSACTION, INVALID_MESSAGE, MISSING_REQUEST_ID, MISSING_TRANSACTION = -1, -2, -3, -4, -5
FAILED_TO_LAND, EXPIRED, TIMED_OUT = -1000, -1005, -1006


class HttpError(Exception):
    """An answer with a status of 400 or above."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body


def refuse(message: str, code: str | None = None, *, status: int = 400) -> HttpError:
    return HttpError(status, {"error": message, **({} if code is None else {"errorCode": code})})


class Jupiter:
    def __init__(self, chain: Chain, faults: Faults, *, waits: bool) -> None:
        """`waits`: whether `/execute` waits for the landing, as long as EXECUTE_WAITS_SECONDS."""
        self._chain = chain
        self._faults = faults
        self._waits = waits

    # --- v1 ------------------------------------------------------------------------------------

    def quote(self, query: Mapping[str, str]) -> dict[str, Any]:
        asked = _Asked(self._chain, query, no_route="COULD_NOT_FIND_ANY_ROUTE")
        with self._chain.lock:
            return self._quote(asked)

    def swap(self, body: Mapping[str, Any]) -> dict[str, Any]:
        quote = body.get("quoteResponse")
        if not isinstance(quote, dict):
            raise refuse("Failed to deserialize the JSON body into the target type: missing field `quoteResponse`")
        asked = _Asked(self._chain, {**quote, "amount": quote.get("inAmount")}, no_route="COULD_NOT_FIND_ANY_ROUTE")
        with self._chain.lock:
            order, built = self._take(
                asked,
                user=_pubkey(body.get("userPublicKey"), "userPublicKey"),
                amount_out=_amount(quote.get("outAmount"), "outAmount"),
                priority_lamports=_priority(body),
                wrap=body.get("wrapAndUnwrapSol", True) is not False,
                legacy=bool(body.get("asLegacyTransaction")),
            )
            unit_price = built.priority_lamports * 1_000_000 // built.unit_limit
            return {
                "swapTransaction": base64.b64encode(built.transaction).decode(),
                "lastValidBlockHeight": order.last_valid_height,
                "prioritizationFeeLamports": built.priority_lamports,
                "computeUnitLimit": built.unit_limit,
                "prioritizationType": {
                    "computeBudget": {"microLamports": unit_price, "estimatedMicroLamports": unit_price}
                },
                "dynamicSlippageReport": None,
                "simulationError": self._foreseen(built) if body.get("dynamicComputeUnitLimit") else None,
            }

    # --- v2 ------------------------------------------------------------------------------------

    def order(self, query: Mapping[str, str]) -> dict[str, Any]:
        asked = _Asked(self._chain, query, no_route="NO_ROUTES_FOUND")
        if ROUTER in query.get("excludeRouters", "").split(","):
            raise refuse("No routes found", "NO_ROUTES_FOUND")
        taker = query.get("taker")
        with self._chain.lock:
            quote = self._quote(asked)
            shown = self._order_json(quote, taker)
            if not taker:
                return shown
            user = _pubkey(taker, "taker")
            short = self._cannot_pay(user, asked)
            if short is not None:
                return {**shown, "transaction": "", "errorCode": short[0], "errorMessage": short[1], "error": short[1]}
            order, built = self._take(
                asked, user=user, amount_out=int(quote["outAmount"]), priority_lamports=USUAL_PRIORITY_LAMPORTS
            )
            return {
                **shown,
                "transaction": base64.b64encode(built.transaction).decode(),
                "requestId": order.id,
                "lastValidBlockHeight": str(order.last_valid_height),
                "signatureFeeLamports": 10_000,  # the user's signature and the pool's
                "prioritizationFeeLamports": built.priority_lamports,
                "rentFeeLamports": self._rent(user, asked),
            }

    def execute(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a signed order and say what came of it. Sending it again changes nothing and answers the same."""
        order, transaction = self._signed(body)
        with self._chain.lock:
            signature = str(transaction.signatures[0])
            if self._chain.ledger.get(signature) is None and self._chain.height < order.last_valid_height:
                self._chain.submit(transaction, fate=self._faults.fate("/swap/v2/execute"))
        entry = self._chain.wait_for(signature, seconds=EXECUTE_WAITS_SECONDS if self._waits else 0.0)
        return self._outcome(order, signature, entry)

    # --- inside --------------------------------------------------------------------------------

    def _quote(self, asked: _Asked) -> dict[str, Any]:
        given = asked.give()
        pool, _ = self._chain.desk.pools.between(asked.mint_in, asked.mint_out)
        usd = Decimal(given.amount_in).scaleb(-asked.token_in.decimals) * (
            self._chain.desk.pools.usd(asked.mint_in) or Decimal(0)
        )
        return {
            "inputMint": asked.mint_in,
            "inAmount": str(given.amount_in),
            "outputMint": asked.mint_out,
            "outAmount": str(given.amount_out),
            "otherAmountThreshold": str(_least(given.amount_out, asked.slippage_bps)),
            "swapMode": "ExactIn",
            "slippageBps": asked.slippage_bps,
            "platformFee": None,
            "priceImpactPct": f"{given.impact:.18f}",
            "routePlan": [
                {
                    "swapInfo": {
                        "ammKey": str(pool.address),
                        "label": "Sandbox",
                        "inputMint": asked.mint_in,
                        "outputMint": asked.mint_out,
                        "inAmount": str(given.amount_in),
                        "outAmount": str(given.amount_out),
                        "feeAmount": str(given.fee),
                        "feeMint": asked.mint_in,
                    },
                    "percent": 100,
                    "bps": BPS,
                }
            ],
            "contextSlot": slot(self._chain.height),
            "timeTaken": 0.001,
            "swapUsdValue": f"{usd:f}",
        }

    def _order_json(self, quote: dict[str, Any], taker: str | None) -> dict[str, Any]:
        impact = Decimal(quote["priceImpactPct"])
        return {
            **quote,
            "mode": "manual",
            "swapType": "aggregator",
            "router": ROUTER,
            "priceImpactPct": f"{-impact:f}",
            "priceImpact": float(-impact * 100),
            "feeMint": quote["inputMint"],
            "feeBps": 0,
            "taker": taker,
            "gasless": False,
            "requestId": "",
            "transaction": None,
            "signatureFeeLamports": 0,
            "signatureFeePayer": taker,
            "prioritizationFeeLamports": 0,
            "prioritizationFeePayer": taker,
            "rentFeeLamports": 0,
            "rentFeePayer": taker,
            "totalTime": 1,
        }

    def _take(
        self,
        asked: _Asked,
        *,
        user: Pubkey,
        amount_out: int,
        priority_lamports: int,
        wrap: bool = True,
        legacy: bool = False,
    ) -> tuple[Order, Built]:
        pool, _ = asked.pool()
        plan = Plan(
            pool=pool,
            user=user,
            token_in=asked.token_in,
            token_out=asked.token_out,
            amount_in=asked.amount,
            amount_out=amount_out,
            priority_lamports=priority_lamports,
            wrap=wrap,
            legacy=legacy,
            number=self._chain.desk.next_number,
        )
        blockhash, last_valid_height = self._chain.latest_blockhash("confirmed")
        return self._chain.desk.take(
            plan,
            least_out=_least(amount_out, asked.slippage_bps),
            blockhash=blockhash,
            last_valid_height=last_valid_height,
        )

    def _foreseen(self, built: Built) -> dict[str, str] | None:
        found = sending.preflight(
            View(self._chain), VersionedTransaction.from_bytes(built.transaction), commitment="confirmed"
        )
        if found.err is None:
            return None
        return {"errorCode": "TRANSACTION_ERROR", "error": sending.sentence(found.err)}

    def _cannot_pay(self, user: Pubkey, asked: _Asked) -> tuple[int, str] | None:
        """Why no transaction is built: Jupiter's code and words."""
        account = self._chain.bank.account(user)
        lamports = account.lamports if account else 0
        needed = 10_000 + USUAL_PRIORITY_LAMPORTS + self._rent(user, asked)
        held = lamports - needed if asked.token_in == SOL else self._held(user, asked)
        if held < asked.amount:
            return 1, "Insufficient funds"
        return (2, "Top up SOL for gas") if lamports < needed else None

    def _held(self, user: Pubkey, asked: _Asked) -> int:
        account = self._chain.bank.account(get_associated_token_address(user, asked.token_in.mint))
        return TokenAccount.from_bytes(bytes(account.data)).amount if account else 0

    def _rent(self, user: Pubkey, asked: _Asked) -> int:
        """Lamports that stay in a new account of what comes out."""
        into = get_associated_token_address(user, asked.token_out.mint)
        if asked.token_out == SOL or self._chain.bank.account(into) is not None:
            return 0
        return self._chain.bank.rent(TOKEN_ACCOUNT_BYTES)

    def _signed(self, body: Mapping[str, Any]) -> tuple[Order, VersionedTransaction]:
        request_id, text = body.get("requestId"), body.get("signedTransaction")
        if not isinstance(request_id, str) or not request_id:
            raise _failed(MISSING_REQUEST_ID, "Missing request id")
        if not isinstance(text, str) or not text:
            raise _failed(MISSING_TRANSACTION, "Missing signed transaction")
        with self._chain.lock:
            order = self._chain.desk.by_id(request_id)
        if order is None:
            raise _failed(MISSING_ORDER, "Missing cached order")
        try:
            transaction = VersionedTransaction.from_bytes(base64.b64decode(text, validate=True))
            signed = all(transaction.verify_with_results())
        except (binascii.Error, ValueError) as exc:
            raise _failed(INVALID_TRANSACTION, "Invalid signed transaction") from exc
        if not signed:
            raise _failed(INVALID_TRANSACTION, "Invalid signed transaction")
        with self._chain.lock:
            if self._chain.desk.find(to_bytes_versioned(transaction.message)) != order:
                raise _failed(INVALID_MESSAGE, "Invalid message bytes")
        return order, transaction

    def _outcome(self, order: Order, signature: str, entry: Entry | None) -> dict[str, Any]:
        if entry is None:
            expired = self._chain.height >= order.last_valid_height
            code, error = (EXPIRED, "Expired") if expired else (TIMED_OUT, "Timed out")
            return {"status": "Failed", "signature": signature, "slot": None, "code": code, "error": error}
        found = {"signature": signature, "slot": str(slot(entry.height))}
        if entry.err is not None:
            code, error = _program_error(entry.err)
            return {"status": "Failed", **found, "code": code, "error": error}
        amount_in, amount_out = str(order.amount_in), str(order.amount_out)
        return {
            "status": "Success",
            **found,
            "code": 0,
            "totalInputAmount": amount_in,
            "totalOutputAmount": amount_out,
            "inputAmountResult": amount_in,
            "outputAmountResult": amount_out,
            "swapEvents": [
                {
                    "inputMint": order.mint_in,
                    "inputAmount": amount_in,
                    "outputMint": order.mint_out,
                    "outputAmount": amount_out,
                }
            ],
        }


class _Asked:
    """What a request for a quote names, checked."""

    def __init__(self, chain: Chain, query: Mapping[str, Any], *, no_route: str) -> None:
        """Raises HttpError 400 with Jupiter's code."""
        if query.get("swapMode") not in (None, "ExactIn"):
            raise refuse("Only ExactIn is traded here", no_route)
        self._pools = chain.desk.pools
        self._no_route = no_route
        self.mint_in = str(_pubkey(query.get("inputMint"), "inputMint"))
        self.mint_out = str(_pubkey(query.get("outputMint"), "outputMint"))
        self.amount = _amount(query.get("amount"), "amount")
        self.slippage_bps = _amount(query.get("slippageBps", USUAL_SLIPPAGE_BPS), "slippageBps")
        if self.slippage_bps > BPS:
            raise refuse(f"slippageBps must be between 0 and {BPS}")
        if self.mint_in == self.mint_out:
            raise refuse("Input and output mints are not allowed to be equal", "CIRCULAR_ARBITRAGE_IS_DISABLED")
        for mint in (self.mint_in, self.mint_out):
            if mint not in self._pools.tokens:
                raise refuse(f"The token {mint} is not tradable", "TOKEN_NOT_TRADABLE")
        self.token_in = self._pools.tokens[self.mint_in]
        self.token_out = self._pools.tokens[self.mint_out]

    def give(self) -> Given:
        try:
            return self._pools.give(self.mint_in, self.mint_out, self.amount)
        except NoRoute as exc:
            raise self._refused() from exc

    def pool(self) -> tuple[Any, str]:
        try:
            return self._pools.between(self.mint_in, self.mint_out)
        except NoRoute as exc:
            raise self._refused() from exc

    def _refused(self) -> HttpError:
        return refuse("Could not find any route", self._no_route)


def _least(amount_out: int, slippage_bps: int) -> int:
    return amount_out * (BPS - slippage_bps) // BPS


def _pubkey(text: Any, name: str) -> Pubkey:
    try:
        return Pubkey.from_string(text)
    except (ValueError, TypeError) as exc:
        raise refuse(f"Query parameter {name} cannot be parsed: Invalid") from exc


def _amount(value: Any, name: str) -> int:
    """A whole number of 64 bits, as a string of digits or as a number."""
    text = str(value)
    if isinstance(value, bool) or not text.isascii() or not text.isdigit() or int(text) > U64_MAX:
        raise refuse(f"Query parameter {name} cannot be parsed: invalid digit found in string")
    return int(text)


def _priority(body: Mapping[str, Any]) -> int:
    """Lamports of priority fee, as v1's body asks for them: a number, "auto", or a level with a maximum."""
    wanted = body.get("prioritizationFeeLamports")
    if isinstance(wanted, dict):
        level = wanted.get("priorityLevelWithMaxLamports")
        most = level.get("maxLamports") if isinstance(level, dict) else None
        return USUAL_PRIORITY_LAMPORTS if most is None else min(USUAL_PRIORITY_LAMPORTS, _amount(most, "maxLamports"))
    if wanted is None or wanted == "auto":
        return USUAL_PRIORITY_LAMPORTS
    return min(PRIORITY_LAMPORTS_MAX, _amount(wanted, "prioritizationFeeLamports"))


def _failed(code: int, error: str) -> HttpError:
    return HttpError(400, {"status": "Failed", "code": code, "error": error})


def _program_error(err: Any) -> tuple[int, str]:
    if isinstance(err, dict) and "InstructionError" in err:
        reason = err["InstructionError"][1]
        if isinstance(reason, dict) and "Custom" in reason:
            code = int(reason["Custom"])
            return code, "Slippage tolerance exceeded" if code == SLIPPAGE_EXCEEDED else f"custom program error: {code}"
    return FAILED_TO_LAND, sending.sentence(err)
