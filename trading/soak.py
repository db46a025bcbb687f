"""A company under fire for as long as asked, and a verdict from the chain's own ledger.

A real `manage.py up` runs in a folder of its own, on a sandbox chain of its own; proposals are handed in steadily; at
random its processes, the chain's and the signer's among them, are killed or stopped past their leases, its database
sessions ended, its database restarted, and the chain and Jupiter made to fail in every way that they can. In the end
everything must have come to an end, and the chain, which knows nothing of our books, must hold each filled order once.
"""

import os
import random
import shutil
import signal
import socket
import subprocess  # our own manage.py with fixed arguments  # nosec B404
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
import requests
from django.conf import settings
from django.db import connection

from missions import company
from missions.vocabulary import CompanyStatus
from tradeco.common import db, postgres
from trading import fire, verdict
from trading.verdict import Verdict

READY_SECONDS = 120.0
SETTLE_SECONDS = 240.0  # after the fire: leases run out, wedged workers are replaced, the queue empties
PROPOSE_EVERY_SECONDS = 0.15
STRIKE_EVERY_SECONDS = 2.0
PAUSE_SECONDS = fire.LEASE_SECONDS + 1.0  # a stopped process has lost its lease when it goes on
AWAY_SECONDS = 2.0
BACKLOG = 60  # steps under way or waiting
SESSIONS_SHARE = 0.5
SANDBOX_OPTIONS = "--control --slot-seconds 0.1 --finalized-after 16"


def run(*, minutes: float, seed: int, say: Callable[[str], None]) -> Verdict:
    """Burn a company for some minutes, let it settle, and judge.

    Args:
        minutes: how long proposals come in and strikes fall.
        seed: of what is proposed and struck.
        say: gets a line of progress now and then.
    """
    begun = time.monotonic()
    dice = random.Random(seed)  # chooses what to break, no secret  # nosec B311
    folder = Path(tempfile.mkdtemp(prefix="tradeco-soak-"))
    say(f"The company runs in {folder}, which is kept unless all is well.")
    with _running(folder) as place:
        fire.prepare()
        struck = _burn(place, dice, until=time.monotonic() + minutes * 60, say=say)
        say("The fire is out; waiting for everything to come to an end.")
        _settle(place, say)
        seen = verdict.read(place.url)
        found = verdict.judge(seen, strikes=struck, seconds=time.monotonic() - begun)
        for line in [] if found.ok else verdict.explain(seen):
            say(line)
    if found.ok:
        shutil.rmtree(folder)
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """Where the company runs: its supervisor, and the address of its chain."""

    up: psutil.Process
    url: str


# --- the company ----------------------------------------------------------------------------------


@contextmanager
def _running(home: Path) -> Iterator[Place]:
    """`manage.py up` in a folder of its own; this process's database connection is turned to it."""
    port = _free_port()
    environment = {key: value for key, value in os.environ.items() if key != "DATABASE_URL"}
    environment |= {
        "TRADECO_HOME": str(home),
        "TRADECO_NETWORK": "sandbox",
        "TRADECO_SANDBOX_OPTIONS": SANDBOX_OPTIONS,
        "TRADECO_SIGNER_SIGNATURES": "1000000",
        "TRADECO_SIGNER_SPEND_CAP": "1000000000",
        "TRADECO_WORKERS": "3",
        "PORT": str(port),
        "NO_COLOR": "1",
    }
    log = (home / "up.log").open("wb")
    command = [sys.executable, "manage.py", "up"]
    process = subprocess.Popen(  # nosec B603
        command, cwd=settings.BASE_DIR, env=environment, stdout=log, stderr=subprocess.STDOUT
    )
    try:
        _wait_until_ready(port, process)
        connection.close()
        connection.settings_dict.update(postgres.connection(home))
        yield Place(psutil.Process(process.pid), _url_of_chain(home))
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


def _url_of_chain(home: Path) -> str:
    return f"http://127.0.0.1:{(home / 'run' / 'sandbox-port').read_text()}"


# --- the fire -------------------------------------------------------------------------------------


def _burn(place: Place, dice: random.Random, *, until: float, say: Callable[[str], None]) -> Counter[str]:
    struck: Counter[str] = Counter()
    next_strike = time.monotonic() + STRIKE_EVERY_SECONDS
    next_word = time.monotonic() + 15
    while time.monotonic() < until:
        fire.patiently(lambda: _propose_within_reason(dice))
        if time.monotonic() >= next_strike:
            struck[_strike(place, dice)] += 1
            struck["fault"] += fire.add_fault(place.url, dice)
            next_strike = time.monotonic() + STRIKE_EVERY_SECONDS * dice.uniform(0.5, 1.5)
        if time.monotonic() >= next_word:
            say(f"{dict(struck)}, {max(0, until - time.monotonic()):.0f} s to go")
            next_word = time.monotonic() + 15
        time.sleep(PROPOSE_EVERY_SECONDS)
    return struck


def _propose_within_reason(dice: random.Random) -> None:
    """While everybody is dead or away, work would only pile up."""
    if verdict.under_way().count() < BACKLOG:
        fire.propose(dice)


def _strike(place: Place, dice: random.Random) -> str:
    """One blow; its name, or `missed` where whom we meant had just died."""
    blows = [_kill] * 10 + [_pause] * 4 + [_end_sessions] * 4 + [_restart_database]
    blow = dice.choice(blows)
    try:
        blow(place.up, dice)
    except (psutil.NoSuchProcess, IndexError):
        return "missed"
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
    fire.patiently(lambda: fire.end_sessions(SESSIONS_SHARE))


def _restart_database(up: psutil.Process, dice: random.Random) -> None:
    for child in up.children():
        if child.name() == "postgres":
            child.send_signal(signal.SIGQUIT)  # immediate: no checkpoint, recovery from the log
    time.sleep(AWAY_SECONDS)
    connection.close()


def _victim(up: psutil.Process, dice: random.Random) -> psutil.Process:
    """Any process of the company, the chain's and the signer's too, but the supervisor and the database; workers
    three times as often.
    """
    family = [child for child in up.children(recursive=True) if "postgres" not in child.name()]
    workers = [child for child in family if "qcluster" in " ".join(child.cmdline())]
    return dice.choice(family + workers * 2)


# --- the end --------------------------------------------------------------------------------------


def _settle(place: Place, say: Callable[[str], None]) -> None:
    """Wait until what was begun has ended, then halt, so that judging finds nothing half-way."""
    until = time.monotonic() + SETTLE_SECONDS
    _wait_for_steps(place, say, until, begun_before=db.now())
    while not fire.patiently(_halted) and time.monotonic() < until:
        say("The company isn't halted yet")
    _wait_for_steps(place, say, until, begun_before=None)


def _halted() -> bool:
    """Nothing new begins from here on: a trade of its own accord would be half-way while we judge."""
    halted = company.switch(to=CompanyStatus.HALTED, by=None, reason="soak judges", now=db.now())
    return halted.company.status == CompanyStatus.HALTED


def _wait_for_steps(place: Place, say: Callable[[str], None], until: float, *, begun_before: datetime | None) -> None:
    """Until all steps have ended that were begun before that moment (None: all), and nothing may still land."""
    while time.monotonic() < until:
        sound = fire.no_more_faults(place.url)  # the sandbox, which judges, may be away
        left = fire.patiently(lambda: _left(begun_before))
        if sound and left == (0, False):
            return
        say(f"{left[0]} steps are under way" if left else "The database is away")
        time.sleep(2)


def _left(begun_before: datetime | None) -> tuple[int, bool]:
    """How many steps are under way, and whether a transaction may still land."""
    steps = verdict.under_way()
    if begun_before is not None:
        steps = steps.filter(created_at__lt=begun_before)
    return steps.count(), verdict.unsettled()
