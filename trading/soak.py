"""A company under fire for as long as asked, and a verdict from the venue's own book.

A real `manage.py up` runs in a folder of its own; proposals are handed in steadily; at random its processes are killed
or stopped past their leases, its database sessions ended, its database restarted. In the end everything must have
come to an end, and the venue's book, which knows nothing of ours, must hold each filled order once.
"""

import os
import random
import signal
import socket
import subprocess  # our own manage.py with fixed arguments  # nosec B404
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import requests
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DatabaseError, connection
from django.db.models import Count, F, Q, QuerySet, Sum

from missions import company, drafts, policies, proposals
from missions.models import Step
from missions.models.step import FINAL
from missions.vocabulary import CompanyStatus, ProposalSource, StepStatus
from tradeco.common import db, postgres
from trading.models import Account, LedgerEntry, Order, PaperExecution, Position
from trading.vocabulary import OrderStatus, PositionStatus

READY_SECONDS = 120.0
SETTLE_SECONDS = 240.0  # after the fire: leases run out, wedged workers are replaced, the queue empties
PROPOSE_EVERY_SECONDS = 0.15
STRIKE_EVERY_SECONDS = 2.0
LEASE_SECONDS = 2.0
PAUSE_SECONDS = LEASE_SECONDS + 1.0  # a stopped process has lost its lease when it goes on
AWAY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `make soak` prints last. `ok` asks that nothing is lost, doubled or stuck and that the books balance."""

    steps: int
    orders: int
    kills: int
    lost: int
    doubled: int
    stuck: int
    in_doubt: int
    unbalanced: int
    seconds: int

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.unbalanced)

    def as_json(self) -> dict[str, int]:
        return asdict(self)


def run(*, minutes: float, seed: int, say: Callable[[str], None]) -> Verdict:
    """Set a company on fire for some minutes, let it settle, and judge.

    Args:
        minutes: how long proposals come in and strikes fall.
        seed: of what is proposed and struck.
        say: gets a line of progress now and then.
    """
    begun = time.monotonic()
    dice = random.Random(seed)  # chooses what to break, no secret  # nosec B311
    with tempfile.TemporaryDirectory(prefix="tradeco-soak-") as folder, _running(Path(folder)) as up:
        say(f"The company runs in {folder}.")
        _prepare()
        struck = _burn(up, dice, until=time.monotonic() + minutes * 60, say=say)
        say("The fire is out; waiting for everything to come to an end.")
        _settle(say)
        return judge(kills=sum(struck.values()), seconds=round(time.monotonic() - begun))


def judge(*, kills: int, seconds: int) -> Verdict:
    """Compare our orders with the venue's book, which was written apart from them."""
    executed = PaperExecution.objects.filter(refused="")
    filled = Order.objects.filter(status=OrderStatus.FILLED)
    booked = set(filled.values_list("attempts__fill__attempt__reference", flat=True)) - {None}
    at_venue = set(executed.values_list("reference", flat=True))
    of_orders = Counter(Order.objects.filter(attempts__reference__in=at_venue).values_list("pk", flat=True))
    twice = sum(times - 1 for times in of_orders.values() if times > 1)
    fills_twice = filled.annotate(n=Count("fills")).filter(n__gt=1).count()
    return Verdict(
        steps=Step.objects.count(),
        orders=Order.objects.count(),
        kills=kills,
        lost=len(at_venue ^ booked),
        doubled=twice + fills_twice,
        stuck=_under_way().count(),
        in_doubt=Step.objects.in_doubt().count(),
        unbalanced=_unbalanced(),
        seconds=seconds,
    )


def _unbalanced() -> int:
    """Assets whose entries don't sum to zero, and accounts whose balance isn't the sum of their entries."""
    assets = LedgerEntry.objects.values("asset").annotate(total=Sum("amount")).exclude(total=0).count()
    accounts = Account.objects.annotate(total=Sum("entries__amount"))
    wrong = accounts.exclude(Q(total=F("balance")) | Q(total__isnull=True, balance=0)).count()
    open_orders = Order.objects.exclude(ended_at__isnull=False).exists()
    held = 0 if open_orders else Account.objects.exclude(reserved=0).count()
    return int(assets + wrong + held)


# --- the company ----------------------------------------------------------------------------------


@contextmanager
def _running(home: Path) -> Iterator[psutil.Process]:
    """`manage.py up` in a folder of its own; this process's database connection is turned to it."""
    port = _free_port()
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    environment |= {"TRADECO_HOME": str(home), "PORT": str(port), "TRADECO_WORKERS": "3", "NO_COLOR": "1"}
    log = (home / "up.log").open("wb")
    command = [sys.executable, "manage.py", "up"]
    process = subprocess.Popen(  # nosec B603
        command, cwd=settings.BASE_DIR, env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        _wait_until_ready(port, process)
        connection.close()
        connection.settings_dict.update(postgres.connection(home))
        yield psutil.Process(process.pid)
    finally:
        connection.close()
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, process: "subprocess.Popen[bytes]") -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"manage.py up ended with {process.returncode}")
        try:
            if requests.get(f"http://127.0.0.1:{port}/readyz", timeout=3).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"The company wasn't ready within {READY_SECONDS:.0f} s.")


def _prepare() -> None:
    """Short leases, and caps that a long night doesn't reach."""
    admin = get_user_model().objects.get(username="admin")
    for key, value in {
        "step_lease_seconds": LEASE_SECONDS,
        "trades_per_day": 1_000_000,
        "analyses_per_day": 1_000_000,
        "exposure_max": "0.9",
        "position_max": "0.3",
        "position_usd_max": "2000",
        "daily_loss_halt": "1",
        "drawdown_halt": "1",
        "step_attempts_max": 50,
    }.items():
        policies.change(key=key, value=value, author=admin, reason="soak", now=db.now())


# --- the fire -------------------------------------------------------------------------------------


def _burn(up: psutil.Process, dice: random.Random, *, until: float, say: Callable[[str], None]) -> Counter[str]:
    struck: Counter[str] = Counter()
    next_strike = time.monotonic() + STRIKE_EVERY_SECONDS
    next_word = time.monotonic() + 15
    while time.monotonic() < until:
        _patiently(lambda: _propose(dice))
        if time.monotonic() >= next_strike:
            struck[_strike(up, dice)] += 1
            next_strike = time.monotonic() + STRIKE_EVERY_SECONDS * dice.uniform(0.5, 1.5)
        if time.monotonic() >= next_word:
            say(f"{sum(struck.values())} strikes, {max(0, until - time.monotonic()):.0f} s to go")
            next_word = time.monotonic() + 15
        time.sleep(PROPOSE_EVERY_SECONDS)
    return struck


def _propose(dice: random.Random) -> None:
    """A small buy, a close, or an analysis."""
    held = list(Position.objects.filter(status=PositionStatus.OPEN).values_list("pk", flat=True))
    roll = dice.random()
    if roll < 0.5:
        market = dice.choice(["SOL/USDC", "JUP/USDC", "BONK/USDC", "WIF/USDC"])
        params: dict[str, object] = {"side": "buy", "market": market, "size_usd": str(dice.randint(5, 40))}
        kind = "execute_trade"
    elif roll < 0.75 and held:
        kind, params = "close_position", {"position": dice.choice(held)}
    else:
        kind, params = "analyze_signal", {}
    draft = drafts.read(
        {"agent": "scout", "title": "soak", "confidence": "0.9", "steps": [{"kind": kind, "params": params}]}
    )
    proposals.submit(draft=draft, source=ProposalSource.PERSON, now=db.now())


def _strike(up: psutil.Process, dice: random.Random) -> str:
    """One blow; its name."""
    blows = [_kill] * 10 + [_pause] * 4 + [_end_sessions] * 4 + [_restart_database]
    blow = dice.choice(blows)
    try:
        blow(up, dice)
    except (psutil.NoSuchProcess, IndexError):
        pass  # whom we meant has just died
    return blow.__name__.strip("_")


def _kill(up: psutil.Process, dice: random.Random) -> None:
    _victim(up, dice).kill()


def _pause(up: psutil.Process, dice: random.Random) -> None:
    """Stop a process until its leases have run out, then let it go on and try to write."""
    victim = _victim(up, dice)
    victim.suspend()
    time.sleep(PAUSE_SECONDS)
    victim.resume()


def _end_sessions(up: psutil.Process, dice: random.Random) -> None:
    def end() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user"
                " AND pid <> pg_backend_pid() AND random() < 0.5"
            )

    _patiently(end)


def _restart_database(up: psutil.Process, dice: random.Random) -> None:
    for child in up.children():
        if child.name() == "postgres":
            child.send_signal(signal.SIGQUIT)  # immediate: no checkpoint, recovery from the log
    time.sleep(AWAY_SECONDS)
    connection.close()


def _victim(up: psutil.Process, dice: random.Random) -> psutil.Process:
    """Any process of the company but the supervisor and the database: workers three times as often."""
    family = [child for child in up.children(recursive=True) if "postgres" not in child.name()]
    workers = [child for child in family if "qcluster" in " ".join(child.cmdline())]
    return dice.choice(family + workers * 2)


def _patiently(act: Callable[[], object]) -> None:
    """Our own session may be hit too: then this one act is let go."""
    try:
        act()
    except DatabaseError:
        connection.close()


def _settle(say: Callable[[str], None]) -> None:
    """Wait until what was begun has ended, then halt, so that judging finds nothing half-way."""
    until = time.monotonic() + SETTLE_SECONDS
    _wait_for_steps(say, until)
    _patiently(lambda: company.switch(to=CompanyStatus.HALTED, by=None, reason="soak judges", now=db.now()))
    _wait_for_steps(say, until)


def _wait_for_steps(say: Callable[[str], None], until: float) -> None:
    before = db.now()
    while time.monotonic() < until:
        left = _under_way().filter(created_at__lt=before).count()
        if not left:
            return
        say(f"{left} steps are under way")
        time.sleep(2)


def _under_way() -> QuerySet[Step]:
    return Step.objects.exclude(status__in=[*FINAL, StepStatus.NEEDS_RECONCILIATION])
