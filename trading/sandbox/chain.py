"""Blocks: heights and commitments, blockhashes and their window, the mempool's execution, reorganisations.

One lock guards everything behind it (LiteSVM, mempool, ledger, orders): a block is executed and written to the
journal before anybody can see it. Slots run ahead of block heights, as on the real chain, so that nobody who
mixes the two up finds it out there.
"""

from __future__ import annotations

import base64
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from solders.account import Account
from solders.hash import Hash
from solders.message import to_bytes_versioned
from solders.pubkey import Pubkey
from solders.transaction import VersionedTransaction

from trading.sandbox.bank import Bank, Effects
from trading.sandbox.desk import SLIPPAGE_EXCEEDED, Desk, Order
from trading.sandbox.errors import NotReorganisable
from trading.sandbox.journal import HeightFile, Journal
from trading.sandbox.ledger import Entry, Ledger
from trading.sandbox.mempool import USUAL, Fate, Mempool, Pending
from trading.sandbox.tokens import SOL

GENESIS = Hash(sha256(b"tradeco sandbox chain").digest())
SKIPPED_SLOTS = 1_000  # a slot's number is that much above its block's height
BLOCKHASH_BLOCKS = 150  # after its own block; with it a window of 151
FIRST_HEIGHT = 200  # so that commitments look back on blocks from the first on
BLOCK_TIMES_KEPT = 1_000


@dataclass(frozen=True, slots=True)
class Landed:
    """A transaction that a reorganisation could still take back."""

    pending: Pending
    height: int
    mark: int  # the bank's, before it


class Chain:
    def __init__(
        self,
        *,
        bank: Bank,
        desk: Desk,
        ledger: Ledger,
        journal: Journal,
        heights: HeightFile,
        finalized_after: int = 32,
        confirmed_after: int = 1,
        now: Callable[[], float] = time.time,
    ) -> None:
        if not 0 <= confirmed_after <= finalized_after:
            raise ValueError("what is finalized was confirmed before")
        self.bank = bank
        self.desk = desk
        self.ledger = ledger
        self.finalized_after = finalized_after
        self.confirmed_after = confirmed_after
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.mempool = Mempool()
        self._journal = journal
        self._heights = heights
        self._now = now
        self._height = FIRST_HEIGHT
        self._looking_back = finalized_after + BLOCKHASH_BLOCKS  # blocks that commitments, stale answers, reorgs need
        self._blockhashes: dict[str, int] = {}
        self._times: dict[int, int] = {}
        self._recent: deque[Landed] = deque()
        self._reorgs: list[tuple[int, str, int | None]] = []
        self.resume(FIRST_HEIGHT)

    # --- heights ---------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        return self._height

    def resume(self, height: int) -> None:
        """Go on from `height`: blockhashes follow from heights alone, so they are those of before."""
        with self.lock:
            self._height = height
            first = max(0, height - self._looking_back)
            self._blockhashes = {str(blockhash(number)): number for number in range(first, height + 1)}
            self._times.setdefault(height, int(self._now()))
            self._heights.write(height)

    def height_at(self, commitment: str) -> int:
        behind = {"processed": 0, "confirmed": self.confirmed_after, "finalized": self.finalized_after}[commitment]
        return max(0, self._height - behind)

    def is_valid(self, text: str, height: int) -> bool:
        """Whether a blockhash is one of the 151 newest, seen from a height."""
        born = self._blockhashes.get(text)
        return born is not None and born <= height <= born + BLOCKHASH_BLOCKS

    def time_of(self, height: int) -> int | None:
        return self._times.get(height)

    # --- transactions ----------------------------------------------------------------------------

    def submit(
        self, transaction: VersionedTransaction, *, fate: Fate = USUAL, note: str = "", as_owner: bool = False
    ) -> str:
        """Accept a transaction for the next block, or for its fate; returns its signature."""
        with self.lock:
            signature = str(transaction.signatures[0])
            if signature not in self.ledger:
                due = self._height + 1 + fate.delay_blocks
                self.mempool.add(Pending(transaction, signature, due, fate, note, as_owner))
            return signature

    def produce(self) -> None:
        """One block: execute what is due, write it down, and only then show it."""
        with self.changed:
            self._height += 1
            self._blockhashes[str(blockhash(self._height))] = self._height
            self._times[self._height] = int(self._now())
            self._execute(self.mempool.take(self._height))
            self._reorganise_due()
            self._heights.write(self._height)
            self._forget()
            self.changed.notify_all()

    def reorganise(self, signature: str, *, again_after: int | None = None) -> list[str]:
        """The transaction vanishes, with all that landed after it; the others land again where they stood.

        `again_after`: blocks after which the vanished one lands once more, if its blockhash allows it. Returns the
        signatures that were taken back, the vanished one first.

        Raises:
            NotReorganisable: it isn't there, is finalized, or landed before this process began.
        """
        with self.changed:
            place = next((n for n, landed in enumerate(self._recent) if landed.pending.signature == signature), None)
            if place is None:
                raise NotReorganisable(f"{signature} isn't among the transactions that aren't finalized.")
            undone = [self._recent.pop() for _ in range(len(self._recent) - place)][::-1]
            restored = self.bank.undo(undone[0].mark)
            signatures = [landed.pending.signature for landed in undone]
            self._journal.append([{"k": "reorg", "undone": signatures, "changed": _accounts(restored)}])
            self.ledger.take_back(signatures)
            for landed in undone[1:]:
                self._execute([landed.pending], height=landed.height)
            if again_after is not None:
                vanished = undone[0].pending
                due = self._height + max(1, again_after)
                self.mempool.add(replace(vanished, due=due, fate=USUAL))
            self.changed.notify_all()
            return signatures

    def wait_for(self, signature: str, *, seconds: float) -> Entry | None:
        """The landed transaction, as soon as a block has it; None where the time is up."""
        with self.changed:
            self.changed.wait_for(lambda: signature in self.ledger, timeout=seconds)
            return self.ledger.get(signature)

    def latest_blockhash(self, commitment: str) -> tuple[Hash, int]:
        """A blockhash and the last block height at which it is valid."""
        height = self.height_at(commitment)
        return blockhash(height), height + BLOCKHASH_BLOCKS

    # --- inside ----------------------------------------------------------------------------------

    def _execute(self, due: list[Pending], *, height: int | None = None) -> None:
        if not due:
            return
        at = self._height if height is None else height
        self.desk.fill_vaults()
        records: list[dict[str, Any]] = []
        numbers = self.ledger.last_number
        executed: set[str] = set()
        for pending in due:
            if pending.signature in executed or pending.signature in self.ledger:
                continue
            mark = self.bank.mark()
            found = self._land(pending, height=at)
            if found is None:
                continue
            executed.add(pending.signature)
            numbers += 1
            records.append(self._record(pending, *found, number=numbers, height=at))
            self._recent.append(Landed(pending, at, mark))
            if pending.fate.reorg_after is not None:
                self._reorgs.append((at + pending.fate.reorg_after, pending.signature, pending.fate.again_after))
        for record, place in zip(records, self._journal.append(records), strict=True):
            self.ledger.add(record, place)

    def _land(self, pending: Pending, *, height: int) -> tuple[Effects, Order | None] | None:
        """None: it didn't land, and nothing changed."""
        message = pending.transaction.message
        if not self.is_valid(str(message.recent_blockhash), height):
            return None
        order = self.desk.find(to_bytes_versioned(message))
        if pending.fate.fails or self.desk.refuses(order):
            where = order.paying_out if order else len(message.instructions) - 1
            effects = self.bank.fail(pending.transaction, height=height, instruction=where, code=SLIPPAGE_EXCEEDED)
        else:
            effects = self.bank.execute(pending.transaction, height=height, as_owner=pending.as_owner)
        return None if effects is None else (effects, order)

    def _record(
        self, pending: Pending, effects: Effects, order: Order | None, *, number: int, height: int
    ) -> dict[str, Any]:
        return {
            "k": "transaction",
            "number": number,
            "signature": pending.signature,
            "height": height,
            "slot": slot(height),
            "time": self._times.get(height, int(self._now())),
            "err": effects.err,
            "fee": effects.fee,
            "units": effects.units,
            "logs": effects.logs,
            "keys": effects.keys,
            "before": effects.before,
            "after": effects.after,
            "tokens_before": [balance.as_json() for balance in effects.tokens_before],
            "tokens_after": [balance.as_json() for balance in effects.tokens_after],
            "swap": None if order is None else _swap(order, effects),
            "note": pending.note,
            "transaction": base64.b64encode(bytes(pending.transaction)).decode(),
            "changed": _accounts(self._worth_keeping(effects)),
        }

    def _worth_keeping(self, effects: Effects) -> dict[Pubkey, Account | None]:
        """All but the vaults, which are filled up at every start."""
        return {key: account for key, account in effects.changed.items() if key not in self.desk.pools.vaults}

    def _reorganise_due(self) -> None:
        due = [reorg for reorg in self._reorgs if reorg[0] <= self._height]
        self._reorgs = [reorg for reorg in self._reorgs if reorg[0] > self._height]
        for _, signature, again_after in due:
            if any(landed.pending.signature == signature for landed in self._recent):
                self.reorganise(signature, again_after=again_after)

    def _forget(self) -> None:
        self._blockhashes.pop(str(blockhash(self._height - self._looking_back - 1)), None)
        self._times.pop(self._height - BLOCK_TIMES_KEPT, None)
        while self._recent and self._recent[0].height <= self._height - self.finalized_after:
            self._recent.popleft()
        self.bank.forget(self._height - self._looking_back)
        self.desk.forget(self._height)


def blockhash(height: int) -> Hash:
    return Hash(sha256(bytes(GENESIS) + height.to_bytes(8, "big", signed=True)).digest())


def slot(height: int) -> int:
    return height + SKIPPED_SLOTS


def _swap(order: Order, effects: Effects) -> dict[str, Any]:
    """Which order it was and what became of it: amounts raw, 0 where it failed; fee and rent in lamports."""
    done = effects.err is None
    return {
        "wallet": order.wallet,
        "market": order.market,
        "side": order.side,
        "mint_in": order.mint_in,
        "mint_out": order.mint_out,
        "amount_in": order.amount_in if done else 0,
        "amount_out": order.amount_out if done else 0,
        "fee": effects.fee,
        "rent": _rent(order.wallet, effects),
    }


def _rent(wallet: str, effects: Effects) -> int:
    """Lamports that went into new token accounts of the wallet."""
    return sum(
        effects.after[balance.index] - (balance.amount if balance.mint == str(SOL.mint) else 0)
        for balance in effects.tokens_after
        if balance.owner == wallet and effects.before[balance.index] == 0
    )


def _accounts(changed: dict[Pubkey, Account | None]) -> dict[str, Any]:
    return {
        str(key): None
        if account is None
        else [account.lamports, base64.b64encode(bytes(account.data)).decode(), str(account.owner)]
        for key, account in changed.items()
    }
