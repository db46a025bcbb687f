"""What one request gets to see: the chain as of a commitment, perhaps some blocks late, perhaps forgetful."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey

from trading.sandbox.chain import BLOCKHASH_BLOCKS, Chain, blockhash, slot
from trading.sandbox.ledger import Entry

STATUS_CACHE_BLOCKS = 150  # older statuses are only found by searching the history


class View:
    """Hold the chain's lock while using one."""

    def __init__(self, chain: Chain, *, lag: int = 0, forgetful: bool = False) -> None:
        """`lag`: blocks that this node is behind; `forgetful`: statuses are only found by searching the history."""
        self.chain = chain
        self.lag = min(lag, BLOCKHASH_BLOCKS)
        self.forgetful = forgetful

    def height(self, commitment: str = "processed") -> int:
        return max(0, self.chain.height_at(commitment) - self.lag)

    def slot(self, commitment: str = "processed") -> int:
        return slot(self.height(commitment))

    def latest_blockhash(self, commitment: str) -> tuple[str, int]:
        height = self.height(commitment)
        return str(blockhash(height)), height + BLOCKHASH_BLOCKS

    def account(self, address: Pubkey, commitment: str) -> Account | None:
        return self.chain.bank.account(address, self.height(commitment))

    def token_accounts(self, owner: Pubkey, commitment: str) -> Iterator[tuple[Pubkey, Account]]:
        return self.chain.bank.token_accounts(owner, self.height(commitment))

    def entry(self, signature: str, commitment: str = "processed") -> Entry | None:
        """The landed transaction, if this view's blocks have it."""
        entry = self.chain.ledger.get(signature)
        return entry if entry is not None and entry.height <= self.height(commitment) else None

    def status(self, signature: str, *, search: bool) -> dict[str, Any] | None:
        entry = self.entry(signature)
        if entry is None:
            return None
        if not search and (self.forgetful or entry.height < self.height() - STATUS_CACHE_BLOCKS):
            return None
        confirmation = self.confirmation(entry)
        return {
            "slot": slot(entry.height),
            "confirmations": None if confirmation == "finalized" else self.height() - entry.height,
            "err": entry.err,
            "status": {"Ok": None} if entry.err is None else {"Err": entry.err},
            "confirmationStatus": confirmation,
        }

    def confirmation(self, entry: Entry) -> str:
        for commitment in ("finalized", "confirmed"):
            if entry.height <= self.height(commitment):
                return commitment
        return "processed"
