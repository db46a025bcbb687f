"""What a chain goes on from: its journal read again at the start, and compacted where that is worth it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey

from trading.sandbox import desk as orders
from trading.sandbox.bank import Bank
from trading.sandbox.chain import FIRST_HEIGHT
from trading.sandbox.desk import Desk
from trading.sandbox.journal import Journal
from trading.sandbox.ledger import Ledger

COMPACT_AFTER = 1_000  # records since the last time; rewriting a few at each start isn't worth it


class Restored:
    """The state that a journal's records add up to, given to bank, ledger and desk."""

    def __init__(self, journal: Journal, *, bank: Bank, ledger: Ledger, desk: Desk) -> None:
        self.height = FIRST_HEIGHT
        self.notes: set[str] = set()
        self._journal = journal
        self._ledger = ledger
        self._desk = desk
        self._accounts: dict[str, Any] = {}
        self._since = 0
        self._read()
        for address, state in self._accounts.items():
            bank.put(Pubkey.from_string(address), _account(state))

    def compact(self, height: int) -> bool:
        """Leave out how accounts stood in between, and orders that expired; whether it was worth it."""
        if self._since < COMPACT_AFTER:
            return False
        self._desk.forget(height)
        places = self._journal.rewrite(self._essence())
        self._ledger.move(places[1 : 1 + len(self._ledger)])
        return True

    def _read(self) -> None:
        for place, record in self._journal.records():
            self._since += 1
            match record["k"]:
                case "state":
                    self._since = 0
                    self._accounts = record["accounts"]
                    self._ledger.undone.extend(record["undone"])
                    self._ledger.last_number = record["number"]
                case "transaction":
                    self._ledger.add(record, place)
                    self._accounts.update(record["changed"])
                    self.height = max(self.height, record["height"])
                    if record["note"]:
                        self.notes.add(record["note"])
                    self._since -= not record["changed"]
                case "reorg":
                    self._ledger.take_back(record["undone"])
                    self._accounts.update(record["changed"])
                case "order":
                    self._desk.remember(orders.recalled(record))

    def _essence(self) -> Iterator[dict[str, Any]]:
        yield {
            "k": "state",
            "accounts": self._accounts,
            "undone": list(self._ledger.undone),
            "number": self._ledger.last_number,
        }
        for entry in self._ledger.entries():
            yield {**self._ledger.record(entry), "changed": {}}
        for order in self._desk.orders():
            yield orders.record(order)


def _account(state: Any) -> Account | None:
    if state is None:
        return None
    lamports, data, owner = state
    return Account(lamports, base64.b64decode(data), Pubkey.from_string(owner))
