"""The sandbox as a whole: wires its parts, starts and stops them, and goes on from what its folder holds.

sandbox = Sandbox(folder=None, source=sources.seeded(7), clock=ManualClock(), control=True)
url = sandbox.start()
sandbox.fund(address, usdc=10_000_000_000, lamports=100_000_000)
"""

from __future__ import annotations

import fcntl
import os
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from solders.pubkey import Pubkey

from trading.sandbox import methods_accounts, methods_chain, methods_transactions
from trading.sandbox.bank import Bank
from trading.sandbox.catalogue import Catalogue
from trading.sandbox.chain import Chain
from trading.sandbox.clock import Clock
from trading.sandbox.control import Control
from trading.sandbox.desk import Desk
from trading.sandbox.errors import SandboxError
from trading.sandbox.faucet import Faucet
from trading.sandbox.faults import Faults
from trading.sandbox.journal import HeightFile, Journal
from trading.sandbox.jupiter import Jupiter
from trading.sandbox.ledger import Ledger
from trading.sandbox.pools import Pools
from trading.sandbox.prices import PriceBook
from trading.sandbox.rpc import Rpc
from trading.sandbox.server import Server
from trading.sandbox.store import Restored
from trading.sandbox.tokens import SOL, USDC, Token
from trading.sources import PriceSource

FUNDED = "fund:"


class Sandbox:
    def __init__(
        self,
        *,
        folder: Path | None,
        source: PriceSource,
        clock: Clock,
        finalized_after: int = 32,
        confirmed_after: int = 1,
        api_key: str | None = None,
        control: bool = False,
    ) -> None:
        """`folder` None: everything is forgotten at the end.

        Raises:
            SandboxError: another process has the folder, or its content can't be gone on from.
        """
        self.clock = clock
        self.faults = Faults()
        with ExitStack() as opened:
            _hold(folder, opened)
            self.prices = PriceBook(source, folder)
            opened.callback(self.prices.close)
            self.prices.advance(datetime.now(UTC))
            self._journal = Journal(folder / "chain.journal" if folder else None)
            opened.callback(self._journal.close)
            self._heights = HeightFile(folder / "height" if folder else None)
            opened.callback(self._heights.close)
            self._wire(finalized_after, confirmed_after, api_key=api_key, control=control)
            self._files = opened.pop_all()

    def _wire(self, finalized_after: int, confirmed_after: int, *, api_key: str | None, control: bool) -> None:
        pools = Pools(self.prices)
        tokens = list({token.mint: token for token in (SOL, *pools.tokens.values())}.values())
        bank, ledger = Bank(tokens), Ledger(self._journal)
        desk = Desk(pools, bank, lambda record: _append(self._journal, record))
        known_height = self._heights.read()
        self.chain = Chain(
            bank=bank,
            desk=desk,
            ledger=ledger,
            journal=self._journal,
            heights=self._heights,
            finalized_after=finalized_after,
            confirmed_after=confirmed_after,
        )
        self.faucet = Faucet(self.chain, tokens)
        self.faucet.fill(bank)
        desk.fill_vaults()
        restored = Restored(self._journal, bank=bank, ledger=ledger, desk=desk)
        self.chain.resume(max(known_height, restored.height))
        restored.compact(self.chain.height)
        self._notes = restored.notes
        methods = {**methods_chain.METHODS, **methods_accounts.METHODS, **methods_transactions.METHODS}
        self.jupiter = Jupiter(self.chain, self.faults, waits=not self.clock.manual)
        self.rpc = Rpc(self.chain, methods=methods, faucet=self.faucet, faults=self.faults)
        self._server = Server(
            rpc=self.rpc,
            jupiter=self.jupiter,
            catalogue=Catalogue(self.chain, self.prices),
            control=Control(self),
            faults=self.faults,
            api_key=api_key,
            controllable=control,
        )
        self.url = ""

    def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Begin the slots and answer requests; returns the base URL of everything."""
        self.url = self._server.start(host, port)
        self.clock.start(self._tick)
        return self.url

    def stop(self) -> None:
        """What was executed is on disk already; what waits in the mempool is lost, as with any node."""
        self._server.stop()
        self.clock.stop()
        with self.chain.lock:
            self._files.close()

    def advance(self, slots: int = 1) -> None:
        """Let slots pass now, whatever the clock says."""
        for _ in range(slots):
            self._tick()

    def fund(
        self,
        address: str,
        *,
        usdc: int = 0,
        lamports: int = 0,
        tokens: dict[Token, int] | None = None,
        name: str = "opening",
    ) -> str | None:
        """Money from nowhere, once an address and name for the sandbox's whole life; raw amounts.

        Lands in a block of its own at once; with a manual clock as many blocks pass as finalize it. Returns the
        signature, None where it was given before.

        Raises:
            SandboxError: it didn't land.
        """
        note = f"{FUNDED}{name}:{address}"
        with self.chain.lock:
            if note in self._notes:
                return None
            owed = {**({USDC: usdc} if usdc else {}), **(tokens or {})}
            signature = self.faucet.give(Pubkey.from_string(address), lamports=lamports, tokens=owed, note=note)
            self.advance(1 + (self.chain.finalized_after if self.clock.manual else 0))
            entry = self.chain.ledger.get(signature)
            if entry is None or entry.err is not None:
                raise SandboxError(f"{address} couldn't be funded: {entry.err if entry else 'it did not land'}")
            self._notes.add(note)
            return signature

    def ledger(self, *, after: int = 0, limit: int = 1_000_000) -> list[dict[str, Any]]:
        """Every executed transaction numbered above `after`, oldest first: what really happened."""
        with self.chain.lock:
            found = self.chain.ledger.after(after, limit=limit)
        return [{name: value for name, value in record.items() if name not in ("k", "changed")} for record in found]

    def _tick(self) -> None:
        self.prices.advance(datetime.now(UTC))
        self.chain.produce()


def _append(journal: Journal, record: dict[str, Any]) -> None:
    journal.append([record], sync=False)


def _hold(folder: Path | None, opened: ExitStack) -> None:
    """The folder for this process alone, until what is opened is closed. Raises SandboxError."""
    if folder is None:
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    number = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    opened.callback(os.close, number)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        raise SandboxError(f"Another sandbox runs in {folder}.") from exc
