"""What tests may do to the world over HTTP, and what anybody may read of it: the ledger and the state."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

from solders.pubkey import Pubkey

from trading.sandbox.chain import GENESIS, slot
from trading.sandbox.errors import SandboxError
from trading.sandbox.jupiter import HttpError, refuse
from trading.sandbox.tokens import Token

if TYPE_CHECKING:
    from trading.sandbox.main import Sandbox

LEDGER_PAGE = 1_000
SLOTS_MAX = 100_000
NATIVE = "SOL"  # lamports, where a mint would stand


class Control:
    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    # --- reading: always allowed -----------------------------------------------------------------

    def ledger(self, query: Mapping[str, str]) -> dict[str, Any]:
        after = query.get("after", "0")
        if not after.isdigit():
            raise refuse("after is a number of the ledger")
        found = self._sandbox.ledger(after=int(after), limit=LEDGER_PAGE)
        with self._sandbox.chain.lock:
            return {
                "transactions": found,
                "undone": list(self._sandbox.chain.ledger.undone),
                "last": self._sandbox.chain.ledger.last_number,
                "height": self._sandbox.chain.height,
            }

    def state(self) -> dict[str, Any]:
        chain, book = self._sandbox.chain, self._sandbox.prices
        with chain.lock:
            return {
                "genesis": str(GENESIS),
                "height": chain.height,
                "slot": slot(chain.height),
                "finalized_height": chain.height_at("finalized"),
                "pending": len(chain.mempool),
                "transactions": len(chain.ledger),
                "source": book.source.name,
                "ended": book.ended,
                "candles": book.last_number,
                "prices": {name: str(book.price(name)) for name in book.source.markets},
                "faults": self._sandbox.faults.as_json(),
            }

    # --- changing: only where control was allowed ------------------------------------------------

    def add_fault(self, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return self._sandbox.faults.add(**body).as_json()
        except (SandboxError, TypeError, ValueError) as exc:
            raise refuse(str(exc)) from exc

    def clear_faults(self, query: Mapping[str, str]) -> dict[str, Any]:
        if query.get("id", "").isdigit():
            self._sandbox.faults.remove(int(query["id"]))
        elif "id" in query:
            raise refuse("id is a number")
        else:
            self._sandbox.faults.clear()
        return {"faults": self._sandbox.faults.as_json()}

    def advance(self, body: Mapping[str, Any]) -> dict[str, Any]:
        slots = body.get("slots", 1)
        if not isinstance(slots, int) or not 0 <= slots <= SLOTS_MAX:
            raise refuse(f"slots is a whole number up to {SLOTS_MAX}")
        self._sandbox.advance(slots)
        return {"height": self._sandbox.chain.height}

    def reorg(self, body: Mapping[str, Any]) -> dict[str, Any]:
        again_after = body.get("again_after")
        if again_after is not None and not isinstance(again_after, int):
            raise refuse("again_after is a number of blocks")
        try:
            undone = self._sandbox.chain.reorganise(str(body.get("signature")), again_after=again_after)
        except SandboxError as exc:
            raise refuse(str(exc), status=409) from exc
        return {"undone": undone}

    def price(self, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            price = None if body.get("price") is None else Decimal(str(body["price"]))
            if price is not None and not (price.is_finite() and price > 0):
                raise refuse("a price is above zero")
            self._sandbox.prices.pin(str(body.get("market")), price)
        except (SandboxError, InvalidOperation) as exc:
            raise refuse(f"not a market or not a price: {exc}") from exc
        return {"market": body["market"], "price": None if price is None else str(price)}

    def fund(self, body: Mapping[str, Any]) -> dict[str, Any]:
        address, amount, token = self._address(body, "address"), self._amount(body), self._token(body)
        name = str(body.get("name") or secrets.token_hex(8))
        signature = self._sandbox.fund(
            str(address),
            lamports=amount if token is None else 0,
            tokens=None if token is None else {token: amount},
            name=name,
        )
        return {"signature": signature}

    def transfer(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Money moves by hand: `from` a wallet (its owner's own doing) or from nowhere, `to` a wallet or away."""
        token, amount = self._token(body), self._amount(body)
        faucet = self._sandbox.faucet
        dest = self._address(body, "to") if body.get("to") else None
        if body.get("from"):
            source = self._address(body, "from")
            return {"signature": faucet.take(source, dest, token=token, amount=amount, note="transfer")}
        if dest is None:
            raise refuse("a transfer is from a wallet, to a wallet, or both")
        lamports, tokens = (amount, None) if token is None else (0, {token: amount})
        return {"signature": faucet.give(dest, lamports=lamports, tokens=tokens, note="transfer")}

    def _token(self, body: Mapping[str, Any]) -> Token | None:
        """None for native SOL."""
        mint = str(body.get("mint", NATIVE))
        if mint == NATIVE:
            return None
        found = self._sandbox.chain.desk.pools.tokens.get(mint)
        if found is None:
            raise refuse(f"{mint} is no mint of this sandbox")
        return found

    def _amount(self, body: Mapping[str, Any]) -> int:
        amount = body.get("amount")
        if not str(amount).isdigit() or not 0 < int(str(amount)) <= 10**17:
            raise refuse("amount is a whole number of raw units above 0")
        return int(str(amount))

    def _address(self, body: Mapping[str, Any], name: str) -> Pubkey:
        try:
            return Pubkey.from_string(str(body.get(name)))
        except ValueError as exc:
            raise HttpError(400, {"error": f"{name} is no address"}) from exc
