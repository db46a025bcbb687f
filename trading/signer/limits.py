"""How much the signer signs a UTC day, by its own count, whatever anybody else's books say.

A charge is on disk, synced, before its signature exists: a kill costs at most some unused allowance. The
count outlives restarts, and a clock that is set back doesn't bring a day again. The same message is charged
once, since its signature is always the same.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tradeco.common import crashpoints
from tradeco.common.errors import DomainError
from trading.signer import networks
from trading.signer.keyfile import sync_folder
from trading.signer.protocol import Intent
from trading.signer.refusals import Refusal


class StateUnusable(DomainError):
    code: ClassVar[str] = "signer_state_unusable"
    title: ClassVar[str] = "The signer's own count can't be used"


class SignerRuns(DomainError):
    code: ClassVar[str] = "signer_runs_already"
    title: ClassVar[str] = "Another signer uses this key already"


SALES_A_DAY = 1_000  # an exit that fails is asked for again some 15 s later: four hours of that


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be signed.

    Args:
        spend_cap: raw units of the quote asset that buys may give out a UTC day.
        signatures_a_day: for buys.
        sales_a_day: signatures for sales. A count of their own, and a large one: exits that fail and are asked for
            again must not use up those of the next exit, nor may buys. What a sale is worth is quotes' affair.
    """

    spend_cap: int
    signatures_a_day: int
    sales_a_day: int = SALES_A_DAY
    mints: frozenset[str] = frozenset(networks.MINTS)
    quote: str = networks.USDC

    def check(self, intent: Intent) -> None:
        """Trades are between the quote asset and an allowed mint, so that nothing is spent past the cap.

        Raises:
            Refusal: mint_not_allowed, not_a_trade.
        """
        for mint in (intent.mint_in, intent.mint_out):
            if mint not in self.mints:
                raise Refusal("mint_not_allowed", f"{mint} isn't among the mints that may be traded.")
        if intent.mint_in == intent.mint_out or self.quote not in (intent.mint_in, intent.mint_out):
            raise Refusal("not_a_trade", f"A trade gives or receives {self.quote}, against something else.")

    def sells(self, intent: Intent) -> bool:
        return intent.mint_out == self.quote

    def spent_by(self, intent: Intent) -> int:
        return 0 if self.sells(intent) else intent.amount_in


class Charge(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    day: date
    digest: str
    """SHA-256 of the message, in hex."""
    spent: int

    @property
    def of_sale(self) -> bool:
        return self.spent == 0  # a buy gives out one raw unit at least


class State(BaseModel):
    """The file: the latest day seen, and the charges of it and of the day before."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    wallet: str
    day: date
    charges: tuple[Charge, ...] = ()

    @property
    def todays(self) -> list[Charge]:
        return [charge for charge in self.charges if charge.day == self.day]

    @property
    def spent(self) -> int:
        return sum(charge.spent for charge in self.todays)

    @property
    def buys(self) -> int:
        """Signatures of today for buys."""
        return sum(not charge.of_sale for charge in self.todays)

    @property
    def sales(self) -> int:
        """Signatures of today for sales."""
        return sum(charge.of_sale for charge in self.todays)


class Book:
    """The count of one wallet. One object a wallet (see `held`), any number of threads.

    Args:
        lock: what keeps two threads from charging at once; given by the test that shows what it is for.
    """

    def __init__(
        self,
        path: Path,
        *,
        wallet: str,
        limits: Limits,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self.path = path
        self.limits = limits
        self._now = now
        self._lock = lock or threading.Lock()
        self._state = _read(path, wallet) or State(wallet=wallet, day=self._today())

    def today(self) -> State:
        """The count as of now."""
        return _opened(self._state, self._today())

    def charged(self, digest: str) -> bool:
        return any(charge.digest == digest for charge in self._state.charges)

    def charge(self, digest: str, *, intent: Intent) -> None:
        """Count a message, once; when this returns it is on disk.

        Raises:
            Refusal: spend_cap, signature_cap, sale_cap, state_unwritable; nothing was counted.
        """
        with self._lock:
            state = self.today()
            if self.charged(digest):
                return
            spent = self.limits.spent_by(intent)
            self._refuse_beyond_caps(state, spent, sale=self.limits.sells(intent))
            charge = Charge(day=state.day, digest=digest, spent=spent)
            new = state.model_copy(update={"charges": (*state.charges, charge)})
            crashpoints.reach("signer.charging")
            try:
                _write(self.path, new)
            except OSError as exc:
                raise Refusal("state_unwritable", f"The signer's count can't be written: {exc.strerror}.") from exc
            self._state = new
        crashpoints.reach("signer.charged")

    def _refuse_beyond_caps(self, state: State, spent: int, *, sale: bool) -> None:
        if sale:
            if state.sales >= (most := self.limits.sales_a_day):
                raise Refusal("sale_cap", f"All {most} signatures for sales of {state.day} are given.")
            return
        if state.spent + spent > self.limits.spend_cap:
            left = self.limits.spend_cap - state.spent
            raise Refusal("spend_cap", f"{left} raw units are left to spend on {state.day}; this would spend {spent}.")
        if state.buys >= (most := self.limits.signatures_a_day):
            raise Refusal("signature_cap", f"All {most} signatures for buys of {state.day} are given.")

    def _today(self) -> date:
        return self._now().astimezone(UTC).date()


def _opened(state: State, today: date) -> State:
    """The state on its own day or, if it is past that, on today. A day once seen never comes back."""
    if today <= state.day:
        return state
    kept = tuple(charge for charge in state.charges if charge.day >= today - timedelta(days=1))
    return state.model_copy(update={"day": today, "charges": kept})


def _read(path: Path, wallet: str) -> State | None:
    try:
        state = State.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        raise StateUnusable(
            f"{path} can't be read, so what was spent today is unknown. Look at it; if you move it away, "
            "the count begins anew."
        ) from None
    if state.wallet != wallet:
        raise StateUnusable(f"{path} is the count of {state.wallet}, not of {wallet}. Move it away with its key.")
    return state


def _write(path: Path, state: State) -> None:
    draft = path.with_name(f".{path.name}.new")
    with open(draft, "wb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(state.model_dump_json().encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """This count is ours alone while we run: two signers would each spend the whole cap.

    Raises:
        SignerRuns.
    """
    lock = path.with_name(f"{path.name}.lock")
    with open(lock, "ab", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SignerRuns(f"Another signer holds {lock}. Stop that one first.") from None
        yield
