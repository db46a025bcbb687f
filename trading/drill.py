"""The proof that a restored company repeats nothing: trade, back up, trade on, restore beside the living chain, boot.

All of it is real: a database, a sandbox chain, a signer and in the end the whole company, in a folder of its own. In
the dump one order is approved and not yet sent, and another is sent and not yet booked; both are carried out after it,
with as many further trades as asked. What the restored company must do: boot halted, find every trade that its books
don't know, book the one that it had signed, and send nothing. The judge is the chain.
"""

import os
import signal
import socket
import subprocess  # our own manage.py with fixed arguments  # nosec B404
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import DatabaseError, connection

from missions import claims, drafts, execution, policies, proposals
from missions.models import Company, Step
from missions.vocabulary import ProposalSource, ProposalStatus
from tradeco.common import backups, db, leases, postgres
from tradeco.common.errors import DomainError
from tradeco.common.outside import VenueUnavailable
from trading import feeds, market, network, reconciliation, safety
from trading.models import Attempt, Fill, Finding, Order, Position, Wallet
from trading.models.order import SENT_ATTEMPT
from trading.portfolio import WALLET
from trading.venues.rpc import ChainTransaction, SolanaRpc
from trading.vocabulary import AttemptStatus, FindingKind, OrderStatus, PositionStatus

BEGIN_SECONDS = 120.0
TRADE_SECONDS = 60.0  # for one; a quiet machine needs one
QUIET_SECONDS = 10.0  # that the restored company is watched doing nothing
SIZE_USD = "10.00"
TALKED_OVER_FROM = "1000000"  # USD
SLOT_SECONDS = "0.05"
SWEEP_SECONDS = 3600.0

Found = TypeVar("Found")


class DrillFailed(DomainError):
    code = "drill_failed"
    title = "The drill could not be carried out"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`traded` since the dump; `found` of them by the restored company; `repeated`: transactions that it sent."""

    traded: int
    found: int
    repeated: int
    looked_up: bool
    let_go: bool
    status: str

    @property
    def ok(self) -> bool:
        found_all = self.found == self.traded > 0
        return found_all and self.repeated == 0 and self.looked_up and self.let_go and self.status == "halted"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "ok": self.ok}


def run(*, before: int, after: int, say: Callable[[str], None]) -> Verdict:
    """The whole drill in this process's TRADECO_HOME, which must be an empty folder, with nothing running.

    Raises:
        DrillFailed: it couldn't be carried out, which says nothing about restoring.
    """
    home: Path = settings.TRADECO_HOME
    with ExitStack() as running:
        server = postgres.EmbeddedServer(home)
        server.start()
        running.callback(server.stop)
        running.callback(connection.close)
        call_command("bootstrap", verbosity=0, stdout=open(os.devnull, "w"))  # noqa: SIM115  as long as we live
        _decide_at_once()
        _begin_trading(running)
        trader = _Trader()
        trader.trade(before)
        reserved, sent = trader.leave_unfinished()
        call_command("backup", verbosity=0, stdout=open(os.devnull, "w"))  # noqa: SIM115
        known = set(Attempt.objects.exclude(reference=None).values_list("reference", flat=True))
        say(f"{before} trades, then a dump with one order approved and another one sent.")
        execution.drain(budget_seconds=TRADE_SECONDS)  # the two that the dump holds unfinished
        trader.trade(after - 1)
        landed = _landed()
        traded = len(landed - known)
        say(f"{traded} trades since the dump. Restoring it beside the chain.")
        connection.close()
        call_command("restore", _newest_dump(home), yes=True, verbosity=0)
        connection.close()
    with _company(home):
        say("The company runs on the restored books.")
        _until(_reconciled, seconds=BEGIN_SECONDS, what="the restored company to compare books and chain")
        time.sleep(QUIET_SECONDS)
        return Verdict(
            traded=traded,
            found=_strangers().filter(key__in=landed - known).count(),
            repeated=len(_landed() - landed) + _strangers().exclude(key__in=landed).count(),
            looked_up=Order.objects.filter(pk=sent, status=OrderStatus.FILLED).exists(),
            let_go=Order.objects.filter(pk=reserved, status=OrderStatus.CANCELLED).exists(),
            status=Company.objects.get().status,
        )


# --- trading --------------------------------------------------------------------------------------


def _decide_at_once() -> None:
    """The drill proposes and carries out in one breath: nothing is talked over."""
    admin = get_user_model().objects.get(username="admin")
    policies.change(key="roundtable_from_usd", value=TALKED_OVER_FROM, author=admin, reason="drill", now=db.now())


def _begin_trading(running: ExitStack) -> None:
    home: Path = settings.TRADECO_HOME
    kept = home / "run" / "sandbox-port"  # where `up` finds the port again, and so do we
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    kept.write_text(str(settings.SANDBOX_PORT))
    quick = ("--slot-seconds", SLOT_SECONDS, "--port", str(settings.SANDBOX_PORT))
    running.enter_context(_child("sandbox", *quick))
    _until(lambda: _node().genesis_hash(), seconds=BEGIN_SECONDS, what="the chain")
    passphrase = {"TRADECO_WALLET_PASSPHRASE_FILE": str(home / "wallet" / "sandbox.passphrase")}
    running.enter_context(_child("signer", "--network", "sandbox", **passphrase))
    _until(lambda: network.signer().status().ready, seconds=BEGIN_SECONDS, what="the signer")
    _until(_opened, seconds=BEGIN_SECONDS, what="the wallet's money on the chain")
    safety.run(now=db.now(), limit=20)


def _opened() -> bool:
    reconciliation.run(now=db.now(), limit=100)
    return Wallet.objects.filter(reconciled_at__isnull=False).exclude(newest_signature="").exists()


class _Trader:
    """Buys a little here and sells it there, by proposals, and works the queue itself."""

    def __init__(self) -> None:
        held = leases.acquire(market.LEASE, holder="drill", seconds=SWEEP_SECONDS)
        assert held is not None, "nobody else runs here"
        self._loop = market.Loop(feeds.open_feed(), held)
        self._markets = cycle(self._loop.feed.markets)

    def trade(self, count: int) -> None:
        """Until so many more orders are filled."""
        goal = Fill.objects.count() + count
        deadline = time.monotonic() + count * TRADE_SECONDS
        while (missing := goal - Fill.objects.count()) > 0:
            if time.monotonic() > deadline:
                raise DrillFailed(f"{missing} of {count} trades didn't come about.")
            for _ in range(min(missing, len(self._loop.feed.markets))):
                self.propose()
            execution.drain(budget_seconds=TRADE_SECONDS)

    def propose(self) -> int:
        """The next market's position is closed, or one is opened; the order.

        Raises:
            DrillFailed: it was refused.
        """
        self.look()
        name = next(self._markets)
        position = Position.objects.filter(market=name, status=PositionStatus.OPEN).first()
        params: dict[str, object] = (
            {"position": position.pk} if position else {"side": "buy", "market": name, "size_usd": SIZE_USD}
        )
        step = {"kind": "close_position" if position else "execute_trade", "params": params}
        draft = drafts.read({"agent": "scout", "title": "Drill", "confidence": "0.9", "steps": [step]})
        proposal = proposals.submit(draft=draft, source=ProposalSource.PERSON, now=db.now())
        if proposal.status != ProposalStatus.APPROVED:
            raise DrillFailed(f"A trade on {name} is {proposal.status}: {proposal.reason}")
        return Order.objects.get(step__mission__proposal=proposal).pk

    def look(self) -> None:
        """What the market process does, as far as gates ask for it."""
        now = db.now()
        self._loop.store(now=now)
        reconciliation.run(now=now, limit=100)

    def leave_unfinished(self) -> tuple[int, int]:
        """An order that is approved, and one that is sent; both will end after the dump."""
        sent = self.propose()
        execution.run(claims.claim_next(worker="drill", lease_seconds=60)[0])
        if not Attempt.objects.filter(order=sent, status__in=SENT_ATTEMPT).exists():
            raise DrillFailed(f"Order #{sent} was over before the dump: {Order.objects.get(pk=sent).status}")
        return self.propose(), sent


# --- the restored company -------------------------------------------------------------------------


def _reconciled() -> bool:
    try:
        unsettled = (*SENT_ATTEMPT, AttemptStatus.CONFIRMED)
        compared = Wallet.objects.filter(reconciled_at__isnull=False).exists()
        under_way = Step.objects.filter(status__in=("claimed", "executing", "needs_reconciliation")).exists()
        return compared and not under_way and not Attempt.objects.filter(status__in=unsettled).exists()
    except DatabaseError:
        connection.close()
        return False  # it is still starting


def _strangers() -> Any:
    return Finding.objects.filter(kind=FindingKind.UNKNOWN_SIGNATURE)


def _landed() -> set[str]:
    """The signatures of all transactions that our wallet paid for, the chain says."""
    address, node = Wallet.objects.get(name=WALLET).address, _node()
    found: list[str] = []
    while True:
        page = node.signatures_for(address, before=found[-1] if found else None)
        found += [info.signature for info in page]
        if not page:
            return {one for one in found if _paid_by(address, node.transaction(one))}


def _paid_by(address: str, transaction: ChainTransaction | None) -> bool:
    return transaction is not None and transaction.account_keys[:1] == [address]


def _node() -> SolanaRpc:
    """Asked apart from the company: no breaker of its opens."""
    return SolanaRpc(settings.RPC_URLS[0])


def _newest_dump(home: Path) -> str:
    return str(max((home / backups.FOLDER).glob("*.dump")))


# --- processes ------------------------------------------------------------------------------------


@contextmanager
def _company(home: Path) -> Iterator[None]:
    with _child("up"):
        try:
            yield
        finally:
            connection.close()


@contextmanager
def _child(*command: str, **environment: str) -> Iterator[None]:
    """A `manage.py` command until the end of the block; its words go into the log folder."""
    logs: Path = settings.TRADECO_HOME / "logs"
    logs.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (logs / f"drill-{command[0]}.log").open("ab") as output:
        process = subprocess.Popen(  # nosec B603
            [sys.executable, "manage.py", *command],
            cwd=settings.BASE_DIR, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield
        if process.poll() is not None:
            raise DrillFailed(f"manage.py {command[0]} ended with {process.returncode}; see {output.name}")
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _until(true: Callable[[], Found], *, seconds: float, what: str) -> Found:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := true():
                return found
        except (VenueUnavailable, DomainError):
            pass  # it is still starting
        if time.monotonic() > deadline:
            raise DrillFailed(f"Waited {seconds:.0f} s for {what}.")
        time.sleep(0.2)
