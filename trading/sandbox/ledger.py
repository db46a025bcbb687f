"""Every transaction that landed: the judge's book. Records stand in the journal, memory holds where.

What a reorganisation took back leaves the book; the journal keeps it, and `undone` names it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from trading.sandbox.journal import Journal, Place

UNDONE_KEPT = 1_000  # reorganisations come by hand or by fault, never in such numbers


@dataclass(slots=True)
class Entry:
    """A landed transaction, as much of it as statuses and searches need."""

    number: int
    signature: str
    height: int
    time: int  # seconds since 1970
    err: Any
    place: Place


class Ledger:
    """Not for several threads: the chain's lock guards it."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._entries: list[Entry] = []
        self._by_signature: dict[str, Entry] = {}
        self._by_address: dict[str, list[Entry]] = {}
        self.undone: deque[str] = deque(maxlen=UNDONE_KEPT)
        self.last_number = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, signature: str) -> bool:
        return signature in self._by_signature

    def get(self, signature: str) -> Entry | None:
        return self._by_signature.get(signature)

    def add(self, record: dict[str, Any], place: Place) -> Entry:
        """Note a journal's record of a landed transaction; numbers ascend."""
        entry = Entry(record["number"], record["signature"], record["height"], record["time"], record["err"], place)
        self._entries.append(entry)
        self._by_signature[entry.signature] = entry
        for address in record["keys"]:
            self._by_address.setdefault(address, []).append(entry)
        self.last_number = entry.number
        return entry

    def take_back(self, signatures: list[str]) -> None:
        """The newest transactions, in the order in which they landed, never happened."""
        for signature in reversed(signatures):
            entry = self._by_signature.pop(signature)
            assert self._entries[-1] is entry, "only the newest can be taken back"
            self._entries.pop()
            for address in self.record(entry)["keys"]:
                self._by_address[address].pop()
        self.undone.extend(signatures)

    def move(self, places: list[Place]) -> None:
        """The records stand elsewhere now, in the same order."""
        for entry, place in zip(self._entries, places, strict=True):
            entry.place = place

    def record(self, entry: Entry) -> dict[str, Any]:
        return self._journal.read(entry.place)

    def after(self, number: int, *, limit: int) -> list[dict[str, Any]]:
        """Records numbered above `number`, oldest first."""
        first = bisect_right(self._entries, number, key=lambda entry: entry.number)
        return [self.record(entry) for entry in self._entries[first : first + limit]]

    def of_address(self, address: str, *, up_to_height: int) -> Iterator[Entry]:
        """Newest first."""
        for entry in reversed(self._by_address.get(address, [])):
            if entry.height <= up_to_height:
                yield entry

    def entries(self) -> Iterator[Entry]:
        return iter(self._entries)
