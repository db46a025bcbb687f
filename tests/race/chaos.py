"""The chaos run: `python -m tests.race.chaos --home FOLDER --steps 600 --kills 60 …` prints a verdict as JSON.

A whole company on one machine: a PostgreSQL of its own, a sandbox chain, the signer, workers, beat and market, all of
them processes. Trades are proposed without pause; spread over the steps that end, processes are killed and stopped
past their leases, database sessions ended, the database restarted at once, and every fault of Jupiter and the nodes
switched on. Then all must come to an end, and the chain's ledger is the judge.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
SLOT_SECONDS, FINALIZED_AFTER = "0.03", "8"
READY_SECONDS, SETTLE_SECONDS = 90.0, 90.0
PAUSE_SECONDS = 2.0  # twice the lease of a step
BACKLOG = 24  # steps that wait or are under way
SESSIONS_SHARE = 0.5
SENDING_SECONDS = 0.15  # what a node far away needs; whoever is killed meanwhile never hears that it sent
FORKS = {"worker": 4, "beat": 1, "market": 1}
SERVERS = ("sandbox", "signer")
VICTIMS = ["worker"] * 32 + ["beat"] * 3 + ["market"] * 2 + list(SERVERS)


def main() -> None:
    asked = arguments()
    os.environ.pop("DATABASE_URL", None)
    os.environ |= {
        "TRADECO_HOME": str(asked.home),
        "TRADECO_NETWORK": "sandbox",
        "TRADECO_SANDBOX_PORT": str(free_port()),
        "TRADECO_SIGNER_SIGNATURES": "1000000",
        "TRADECO_SIGNER_SPEND_CAP": "1000000000",
        "TRADECO_LOG_LEVEL": "WARNING",
        "DJANGO_SETTINGS_MODULE": "tradeco.settings",
    }
    import django

    django.setup()
    begun = time.monotonic()
    with running(asked) as house:
        strikes, reached = fire(house, asked)
        settle(house)
        found = judge(house, strikes, seconds=time.monotonic() - begun)
    sys.stdout.write(
        json.dumps({**found, "seed": asked.seed, "all_strikes_fell": reached, "fire": dict(strikes)}) + "\n"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=600, help="that must end before the fire goes out")
    parser.add_argument("--seconds", type=float, default=150, help="after which the fire goes out in any case")
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--pauses", type=int, default=18)
    parser.add_argument("--sessions", type=int, default=18)
    parser.add_argument("--restarts", type=int, default=2)
    parser.add_argument("--faults", type=int, default=120)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--analyses", type=float, default=0.6, help="share of steps that move no money")
    parser.add_argument("--guard-off", default="")
    return parser.parse_args()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- the house ------------------------------------------------------------------------------------


class House:
    """All processes, and how each is begun again when it is gone."""

    def __init__(self, home: Path, guard_off: str) -> None:
        from tradeco.common.postgres import EmbeddedServer
        from trading import network

        self.home, self.guard_off = home, guard_off
        self.logs = home / "chaos-logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.database = EmbeddedServer(home)
        self.url = f"http://127.0.0.1:{os.environ['TRADECO_SANDBOX_PORT']}"
        self.passphrase = network.passphrase_file()
        self.servers: dict[str, subprocess.Popen[bytes]] = {}
        self.forks: dict[str, BaseProcess] = {}
        self.paused: deque[tuple[float, int]] = deque()
        self._far_away = 0  # which process of the sandbox has been told to be

    def tend(self) -> None:
        """Begin again what is gone; let go on what was stopped for long enough."""
        for name in SERVERS:
            if name not in self.servers or self.servers[name].poll() is not None:
                self.servers[name] = self._server(name)
        for role, count in FORKS.items():
            for n in range(count):
                name = f"{role}-{n}"
                if name not in self.forks or self.forks[name].exitcode is not None:
                    self.forks[name] = self._fork(role, name)
        while self.paused and self.paused[0][0] <= time.monotonic():
            self._signal(self.paused.popleft()[1], signal.SIGCONT)

    def far_away(self) -> None:
        """Let each send take as long as it would on a real network; a sandbox that was killed is told anew."""
        from trading import fire as fires

        pid = self.servers["sandbox"].pid
        fault = {"kind": "delay", "route": "sendTransaction", "seconds": SENDING_SECONDS}
        if pid != self._far_away and fires.ask_for_fault(self.url, fault):
            self._far_away = pid

    def pid_of(self, role: str, dice: random.Random) -> int:
        if role in SERVERS:
            return self.servers[role].pid
        return self.forks[f"{role}-{dice.randrange(FORKS[role])}"].pid or 0

    def kill(self, pid: int) -> None:
        self._signal(pid, signal.SIGKILL)

    def pause(self, pid: int) -> None:
        self._signal(pid, signal.SIGSTOP)
        self.paused.append((time.monotonic() + PAUSE_SECONDS, pid))

    def restart_database(self) -> None:
        from django.db import connection

        assert self.database.process is not None
        self.database.process.send_signal(signal.SIGQUIT)  # immediate: no checkpoint, recovery from the log
        self.database.process.wait(timeout=30)
        connection.close()
        self.database.start()

    def end(self) -> None:
        from django.db import connection

        connection.close()
        for fork in self.forks.values():
            fork.kill()
            fork.join(10)
        for server in self.servers.values():
            server.kill()
            server.wait(timeout=10)
        self.database.stop()

    def _server(self, name: str) -> subprocess.Popen[bytes]:
        options = {
            "sandbox": ["--control", "--slot-seconds", SLOT_SECONDS, "--finalized-after", FINALIZED_AFTER],
            "signer": ["--network", "sandbox"],
        }[name]
        environment = {**os.environ, "TRADECO_WALLET_PASSPHRASE_FILE": str(self.passphrase)}
        with (self.logs / f"{name}.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "manage.py", name, *options],
                cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def _fork(self, role: str, name: str) -> BaseProcess:
        from tests.race import chaos_roles, warm

        plan = {"log": str(self.logs / f"{name}.txt"), "guard_off": self.guard_off}
        process = warm.forks().Process(target=chaos_roles.run, args=(role, plan), daemon=True)
        process.start()
        return process

    @staticmethod
    def _signal(pid: int, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def running(asked: argparse.Namespace) -> Iterator[House]:
    from django.core.management import call_command
    from django.db import connection

    from trading import fire as fires
    from trading.models import Asset, LedgerTransaction

    house = House(asked.home, asked.guard_off)
    house.database.start()
    try:
        call_command("bootstrap", stdout=sys.stderr)
        fires.prepare()
        connection.close()
        wait_for(house, lambda: LedgerTransaction.objects.exists(), "the books aren't opened")
        traded = Asset.objects.filter(market_bases__isnull=False)
        wait_for(house, lambda: not traded.filter(checked_at=None).exists(), "the tokens aren't known")
        yield house
    finally:
        house.end()


def wait_for(house: House, condition: Callable[[], bool], complaint: str, seconds: float = READY_SECONDS) -> None:
    from trading import fire as fires

    until = time.monotonic() + seconds
    while not fires.patiently(condition):
        if time.monotonic() > until:
            raise RuntimeError(f"{complaint} after {seconds:.0f} s; {house.logs} says more")
        house.tend()
        time.sleep(0.1)


# --- the fire -------------------------------------------------------------------------------------


def fire(house: House, asked: argparse.Namespace) -> tuple[Counter[str], bool]:
    """Propose, and strike each time so many more steps have ended; what fell, and whether all of it did."""
    from missions.models import Step
    from trading import fire as fires
    from trading import verdict

    dice = random.Random(asked.seed)
    left = plan(asked, dice)
    steps_a_strike = asked.steps / max(1, len(left))
    fell: Counter[str] = Counter()
    until = time.monotonic() + asked.seconds
    ended = 0
    while time.monotonic() < until and (ended < asked.steps or left):
        house.tend()
        house.far_away()
        waiting = fires.patiently(verdict.under_way().count)
        total = fires.patiently(Step.objects.count)
        if waiting is not None and total is not None:
            ended = total - waiting
            for _ in range(min(4, BACKLOG - waiting)):
                fires.patiently(lambda: fires.propose(dice, analyses=asked.analyses))
        while left and sum(fell.values()) * steps_a_strike <= ended:
            blow = left.pop()
            if strike(house, blow, dice):
                fell[blow] += 1
            else:
                left.insert(0, blow)
                break
        time.sleep(0.02)
    return fell, not left and ended >= asked.steps


def plan(asked: argparse.Namespace, dice: random.Random) -> list[str]:
    """All blows, the last one first; each kind spread evenly, so that a run cut short has had some of each."""
    counts = {
        "kill": asked.kills,
        "pause": asked.pauses,
        "end_sessions": asked.sessions,
        "restart_database": asked.restarts,
        "fault": asked.faults,
    }
    placed = [((n + dice.random()) / count, blow) for blow, count in counts.items() for n in range(count)]
    return [blow for _, blow in sorted(placed, reverse=True)]


def strike(house: House, blow: str, dice: random.Random) -> bool:
    """Whether it fell."""
    from trading import fire as fires

    match blow:
        case "kill":
            house.kill(house.pid_of(dice.choice(VICTIMS), dice))
        case "pause":
            house.pause(house.pid_of(dice.choice(VICTIMS), dice))
        case "end_sessions":
            fires.patiently(lambda: fires.end_sessions(SESSIONS_SHARE))
        case "restart_database":
            house.restart_database()
        case "fault":
            return fires.add_fault(house.url, dice)
    return True


# --- the end --------------------------------------------------------------------------------------


def settle(house: House) -> None:
    """No more faults; everybody goes on until nothing is left to do."""
    from missions import company
    from missions.vocabulary import CompanyStatus
    from tradeco.common import db
    from trading import fire as fires
    from trading import verdict

    while house.paused:
        house._signal(house.paused.popleft()[1], signal.SIGCONT)
    until = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < until and not fires.patiently(
        lambda: company.switch(to=CompanyStatus.HALTED, by=None, reason="chaos judges", now=db.now())
    ):
        house.tend()  # protective exits would go on for ever
    while time.monotonic() < until:
        house.tend()
        sound = fires.no_more_faults(house.url)  # the sandbox, which judges, may have been killed last
        if sound and fires.patiently(lambda: not verdict.unsettled() and not verdict.under_way().exists()):
            return
        time.sleep(0.2)


def judge(house: House, strikes: Counter[str], *, seconds: float) -> dict[str, Any]:
    from missions.models import Company
    from tests.race import chaos_report
    from trading import verdict

    seen = verdict.read(house.url)
    found = verdict.judge(seen, strikes=strikes, seconds=seconds)
    return {
        **found.as_json(),
        "ok": found.ok,
        "why": [] if found.ok else verdict.explain(seen),
        "company": Company.objects.get().reason,
        **chaos_report.counts(),
    }


if __name__ == "__main__":
    main()
