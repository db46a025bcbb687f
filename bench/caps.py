"""Caps: a hundred proposers spend one daily cap at once, by ours and by the ORM's two steps.

Each round gives every proposer as many tries as it wants until the cap refuses it; then all try on against the
full cap. Whatever the speed, exactly the cap must have been taken: that is a figure too.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Barrier

from django.db import connection, transaction

from bench import rows
from bench.crew import Crew, Member, Span, crew, rate
from bench.figures import Figure, middle, ratio
from bench.stage import Address, Stage
from missions import caps
from missions.models import CapCharge, CapUse

NAME = "caps"
PROCESSES, THREADS = 4, 25
PROPOSERS = PROCESSES * THREADS
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)  # a cap of that day, which nobody else spends

_Spend = Callable[[int, str, int], bool]


@dataclass(frozen=True, slots=True)
class Order:
    """One cap to be spent: how, how much of it, and with whose missions."""

    way: str
    cap: str
    limit: int
    first: int
    refusals: int
    asynchronous: bool


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one cap: approvals and refusals a second, and how much was taken."""

    approvals: float
    refusals: float
    taken: int


def measure(stage: Stage) -> list[Figure]:
    with stage.company() as address, crew(size=PROCESSES, env=stage.env(address)) as proposers:
        figures = []
        for asynchronous in (True, False):
            figures += _figures(stage, address, proposers, asynchronous=asynchronous)
    return figures


def _figures(stage: Stage, address: Address, proposers: Crew, *, asynchronous: bool) -> list[Figure]:
    commit = "asynchronous" if asynchronous else "synchronous"
    stage.tell(f"caps: {PROPOSERS} proposers, {commit} commit")
    quick, slow = stage.count(2_000, 120), stage.count(300, 60)
    first = rows.missions(address, PROCESSES * (quick + PROPOSERS))
    ours: list[Run] = []
    orm: list[Run] = []
    for number in range(stage.rounds):
        for way, limit, refusals, runs in (
            ("ours", quick, stage.count(40, 2), ours),
            ("orm", slow, stage.count(8, 2), orm),
        ):
            order = Order(way, f"bench_{way}_{commit[0]}{number}", limit, first, refusals, asynchronous)
            runs.append(_run(address, proposers, order))
    the_orm = f"the ORM's two steps, {commit}"
    return [
        Figure(
            NAME, f"approvals by {PROPOSERS} proposers, {commit} commit", middle([run.approvals for run in ours]),
            "a second", middle([run.approvals for run in orm]), the_orm, ratio(least=10) if asynchronous else None,
        ),
        Figure(
            NAME, f"refusals of a full cap, {commit} commit", middle([run.refusals for run in ours]),
            "a second", middle([run.refusals for run in orm]), the_orm, ratio(least=6) if asynchronous else None,
        ),
        Figure(
            NAME, f"most that was taken of a cap of {quick:,}, {commit} commit", max(run.taken for run in ours),
            "slots", quick, "the cap", ratio(least=1, most=1),
        ),
    ]  # fmt: skip


def _run(address: Address, proposers: Crew, order: Order) -> Run:
    with address.connect() as database:
        database.execute("INSERT INTO missions_capuse (cap, day, used) VALUES (%s, %s, 0)", [order.cap, NOW.date()])
    found = proposers.run(propose, order=order)
    approved, refused = zip(*[pair for member in found for pair in member], strict=True)
    with address.connect() as database:
        taken = database.execute(
            "SELECT used, (SELECT count(*) FROM missions_capcharge WHERE cap = %s) FROM missions_capuse WHERE cap = %s",
            [order.cap, order.cap],
        ).fetchone()
    assert taken is not None
    assert taken[0] == taken[1] == sum(span.done for span in approved), "counter, charges and answers must agree"
    return Run(rate(approved), rate(refused), taken[0])


# --- in the crew's processes ------------------------------------------------------------------------


def propose(member: Member, *, order: Order) -> list[tuple[Span, Span]]:
    """Spend the cap from many threads until it is full, then try on; what each thread did.

    A mission pays a cap once. So each process has missions of its own, enough to take the whole cap alone.
    """
    missions = itertools.count(order.first + member.number * (order.limit + PROPOSERS))
    spend = {"ours": _ours, "orm": _orm}[order.way]

    def one(_: int, barrier: Barrier) -> tuple[Span, Span]:
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"SET synchronous_commit TO {'off' if order.asynchronous else 'on'}")
            barrier.wait()
            approved = _until_refused(spend, order, missions)
            barrier.wait()
            begun = time.monotonic()
            for _ in range(order.refusals):
                assert not spend(order.first, order.cap, order.limit), "a full cap must refuse"
            return approved, Span(begun, time.monotonic(), order.refusals)
        finally:
            connection.close()

    return member.in_threads(THREADS, one)


def _until_refused(spend: _Spend, order: Order, missions: Iterator[int]) -> Span:
    """The span ends with the last approval: refusals are another figure."""
    begun = last = time.monotonic()
    done = 0
    while spend(next(missions), order.cap, order.limit):
        done += 1
        last = time.monotonic()
    return Span(begun, last, done)


def _ours(mission: int, cap: str, limit: int) -> bool:
    return caps._spend_one(mission_id=mission, cap=cap, amount=1, limit=limit, now=NOW)


def _orm(mission: int, cap: str, limit: int) -> bool:
    """What Django's documentation would have one write: lock the counter, look, save, insert."""
    with transaction.atomic():
        use = CapUse.objects.select_for_update().get(cap=cap, day=NOW.date())
        if use.used >= limit:
            return False
        use.used += 1
        use.save()
        CapCharge.objects.create(mission_id=mission, cap=cap, day=NOW.date(), amount=1, charged_at=NOW)
    return True
