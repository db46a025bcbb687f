"""Live events: one daphne with its hub, many listeners, beside a bare websocket server fed from the same table.

A listener counts what it gets and how old each event is then, by the one clock of this machine: from the insert,
before its commit, to the frame's arrival. The server's CPU is measured while events flow.
"""

import asyncio
import json
import socket
import time
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
from psycopg.types.json import Jsonb
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bench.crew import Crew, Member, crew
from bench.figures import Figure, Goal, itself, middle, percentile, ratio
from bench.servers import answers, running, until
from bench.stage import Address, Stage, free_port

NAME = "events"
TICK_SECONDS = 0.01  # the writer's rhythm
LATE_SECONDS = 5.0  # what hasn't come so long after the last insert is lost
CONNECTING_AT_ONCE = 20
SUBJECT = "bench:event"


@dataclass(frozen=True, slots=True)
class Heard:
    """What all listeners of one server heard in one round."""

    delivered: float  # share
    p50_ms: float
    p99_ms: float
    cores: float


@dataclass(frozen=True, slots=True)
class Source:
    """A server to listen to."""

    url: str
    pid: int
    secret: str = ""


def measure(stage: Stage) -> list[Figure]:
    figures = _size(stage, clients=stage.count(100, 5), rate=stage.count(100, 50))
    return figures + _size(stage, clients=500, rate=500) if stage.full else figures


def _size(stage: Stage, *, clients: int, rate: int) -> list[Figure]:
    ours, limit = [], []
    seconds = stage.count(10, 1)
    with stage.company() as address, crew(size=2, env=stage.env(address)) as pair:
        for number in range(stage.rounds):
            stage.tell(f"events: {clients} listeners × {rate} events/s, round {number + 1} of {stage.rounds}")
            given = {"clients": clients, "rate": rate, "seconds": seconds}
            ours.append(_from_daphne(stage, address, pair, **given))
            limit.append(_from_bare(stage, address, pair, **given))
    return _figures(ours, limit, load=f"{clients} listeners × {rate} events/s")


def _figures(ours: list[Heard], limit: list[Heard], *, load: str) -> list[Figure]:
    def figure(what: str, field: str, unit: str, goal: Goal | None = None, scale: float = 1) -> Figure:
        mine, bare = (middle([getattr(heard, field) * scale for heard in heards]) for heards in (ours, limit))
        return Figure(NAME, f"{load}: {what}", mine, unit, bare, "a bare server", goal)

    return [
        figure("delivered", "delivered", "%", itself(least=100), 100),
        figure("p50", "p50_ms", "ms"),
        figure("p99", "p99_ms", "ms", itself(most=150)),
        figure("the server's CPU", "cores", "cores", itself(most=0.25)),
        figure("the same, as a share of the bare server's", "cores", "cores", ratio(most=1.5)),
    ]


def _from_daphne(stage: Stage, address: Address, pair: Crew, **given: int) -> Heard:
    port = free_port()
    web = ["-m", "daphne", "--verbosity", "0", "-b", "127.0.0.1", "-p", str(port), "tradeco.asgi:application"]
    with running(web, env=stage.env(address, TRADECO_PROCESS="web")) as server:
        until(lambda: answers(port), what="daphne")
        secret = (stage.home / "api-token").read_text().strip()
        source = Source(f"ws://127.0.0.1:{port}/ws/events/", server.pid, secret)
        return _heard(pair, address, source, **given)


def _from_bare(stage: Stage, address: Address, pair: Crew, **given: int) -> Heard:
    from dashboard import hub

    cadence = {"look_seconds": hub.LOOK_SECONDS, "apart_seconds": hub.FRAMES_APART_SECONDS}
    port = free_port()
    told = json.dumps({"database": address.as_psycopg(), "port": port, **cadence})
    with running(["-m", "bench.bare", told], env=stage.env(address)) as server:
        until(lambda: _listens(port), what="the bare server")
        return _heard(pair, address, Source(f"ws://127.0.0.1:{port}/", server.pid), **given)


def _heard(pair: Crew, address: Address, source: Source, **given: int) -> Heard:
    found = pair.run(listen_or_write, source=source, database=address.as_psycopg(), **given)
    return next(heard for heard in found if heard is not None)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# --- in the crew's processes ------------------------------------------------------------------------


def listen_or_write(
    member: Member, *, source: Source, database: dict[str, Any], clients: int, rate: int, seconds: int
) -> Heard | None:
    """One member is all the listeners, the other writes; they begin together."""
    if member.number == 0:
        return asyncio.run(_listen(member, source, clients=clients, total=rate * seconds, seconds=seconds))
    member.start()
    _write(database, rate=rate, seconds=seconds)
    return None


def _write(database: dict[str, Any], *, rate: int, seconds: int) -> None:
    """Insert at an even pace, each tick's events in one transaction, as one busy company would."""
    with psycopg.connect(**database, autocommit=True) as connection:
        begun, written, total = time.monotonic(), 0, rate * seconds
        while written < total:
            due = min(total, int((time.monotonic() - begun) * rate) + 1)
            if due > written:
                with connection.transaction(), connection.cursor() as cursor:
                    cursor.executemany(_INSERT, [(SUBJECT, Jsonb({"sent": time.time()}))] * (due - written))
                written = due
            time.sleep(TICK_SECONDS)


_INSERT = """
INSERT INTO common_event (kind, subject, agent, data, at, request_id)
VALUES ('step.claimed', %s, 'intel', %s, clock_timestamp(), '')
"""


async def _listen(member: Member, source: Source, *, clients: int, total: int, seconds: int) -> Heard:
    ages = _Ages()
    opening = asyncio.Semaphore(CONNECTING_AT_ONCE)
    listeners = await asyncio.gather(*(_open(source, opening) for _ in range(clients)))
    server = psutil.Process(source.pid)
    await asyncio.to_thread(member.start)
    before, begun = _cpu_seconds(server), time.monotonic()
    hearing = asyncio.gather(
        *(_hear(client, ages, total, until=begun + seconds + LATE_SECONDS) for client in listeners)
    )
    await asyncio.sleep(seconds)
    cores = (_cpu_seconds(server) - before) / (time.monotonic() - begun)
    counts = await hearing
    await asyncio.gather(*(client.close() for client in listeners))
    p50, p99 = (percentile(ages.milliseconds, share) for share in (0.5, 0.99))
    return Heard(sum(counts) / (clients * total), p50, p99, cores)


async def _open(source: Source, opening: asyncio.Semaphore) -> ClientConnection:
    """Connect, and wait for the first frame: from then on nothing may be missed."""
    headers = {"Authorization": f"Bearer {source.secret}"} if source.secret else {}
    async with opening:
        client = await connect(
            source.url, additional_headers=headers, compression=None, max_size=None, proxy=None, open_timeout=60
        )
        await client.recv()
    return client


async def _hear(client: ClientConnection, ages: "_Ages", total: int, *, until: float) -> int:
    """How many of the round's events this listener got, each once."""
    seen: set[int] = set()
    try:
        async with asyncio.timeout(until - time.monotonic()):
            while len(seen) < total:
                seen.update(ages.take(str(await client.recv())))
    except (TimeoutError, ConnectionClosed):
        pass  # what is missing by now counts as lost
    return len(seen)


class _Ages:
    """The ages of all events in all frames. Listeners mostly get the same text: it is read once."""

    def __init__(self) -> None:
        self.milliseconds: list[float] = []
        self._read: dict[str, list[tuple[int, float]]] = {}

    def take(self, text: str) -> list[int]:
        """Note how old this frame's events are; their ids."""
        now = time.time()
        found = self._read.get(text)
        if found is None:
            if len(self._read) > 100:
                self._read.clear()
            events = json.loads(text)["events"]
            found = [(event["id"], event["data"]["sent"]) for event in events if event["subject"] == SUBJECT]
            self._read[text] = found
        self.milliseconds += [(now - sent) * 1000 for _, sent in found]
        return [number for number, _ in found]


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
