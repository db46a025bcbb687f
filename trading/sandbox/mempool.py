"""Transactions that were sent and haven't been executed: when each is due, and what is to become of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from solders.transaction import VersionedTransaction


@dataclass(frozen=True, slots=True)
class Fate:
    """What faults have decided about one transaction. The usual fate is the next block, once."""

    delay_blocks: int = 0
    dropped: bool = False  # accepted, never executed, until it is sent again
    fails: bool = False  # on chain, with the fee charged
    copies: int = 1  # how often it is delivered, each a block later
    reorg_after: int | None = None  # blocks after landing it vanishes
    again_after: int | None = None  # blocks after vanishing it lands again; None: never


USUAL = Fate()


@dataclass(frozen=True, slots=True)
class Pending:
    transaction: VersionedTransaction
    signature: str
    due: int  # height of the block that executes it
    fate: Fate
    note: str = ""  # of whom it is where it is no client's
    as_owner: bool = False


class Mempool:
    """In order of arrival. Not for several threads: the chain's lock guards it."""

    def __init__(self) -> None:
        self._pending: list[Pending] = []

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, pending: Pending) -> None:
        """The same transaction again changes nothing while it waits."""
        if pending.fate.dropped or any(other.signature == pending.signature for other in self._pending):
            return
        self._pending += [replace(pending, due=pending.due + late) for late in range(pending.fate.copies)]

    def take(self, height: int) -> list[Pending]:
        """What the block of that height executes."""
        due = [pending for pending in self._pending if pending.due <= height]
        if due:
            self._pending = [pending for pending in self._pending if pending.due > height]
        return due
