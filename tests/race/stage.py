"""What race tests share: threads that start together, a deadline instead of sleeps, and processes of their own that
stop or die at a named point. What is raced, and what must hold, is each test's affair.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from django.db import connection
from django.db.models import F, Sum

from missions.models import Mission, Proposal, Step
from tests.race import child, warm
from tradeco.common import db
from trading.models import Account, Fill, LedgerEntry, Order, PaperExecution

ROOT = Path(__file__).resolve().parent.parent.parent
DEADLINE_SECONDS = 150  # far beyond what any wait here takes, however busy the machine; only a bug reaches it
LOOK_SECONDS = 0.02


def until(condition: Callable[[], Any], *, seconds: float = DEADLINE_SECONDS) -> Any:
    """Ask until the answer is true, and give it."""
    limit = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < limit, f"waited {seconds} s in vain"
        time.sleep(LOOK_SECONDS)
    return answer


def together(count: int, act: Callable[[int], Any]) -> list[Any]:
    """Run `act(place)` in as many threads, each with a connection of its own and all from the same moment on; what
    each returned or raised.
    """
    return rounds(count, 1, lambda place, _: act(place))[0]


def rounds(
    count: int, times: int, act: Callable[[int, int], Any], between: Callable[[int], None] = lambda _: None
) -> list[list[Any]]:
    """`act(place, round)` in the same threads over and over; `between(round)` runs alone before each round."""
    results: list[list[Any]] = [[None] * count for _ in range(times)]
    begin = threading.Barrier(count + 1, timeout=DEADLINE_SECONDS)
    end = threading.Barrier(count + 1, timeout=DEADLINE_SECONDS)

    def run(place: int) -> None:
        try:
            connection.ensure_connection()
            for number in range(times):
                begin.wait()
                try:
                    results[number][place] = act(place, number)
                except Exception as exc:  # noqa: BLE001  what a thread raised is its result
                    results[number][place] = exc
                end.wait()
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(place,), daemon=True) for place in range(count)]
    for thread in threads:
        thread.start()
    for number in range(times):
        between(number)
        begin.wait()
        end.wait()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    return results


class Fork:
    """A process of the company, forked from the warm one and so there in a moment; what it says, and how it goes on."""

    def __init__(self, folder: Path, act: str, **plan: Any) -> None:
        self.said = folder / f"fork-{uuid4().hex[:8]}.txt"
        self.output = folder / f"{self.said.stem}-output.txt"
        whole = {"act": act, "database": connection.settings_dict["NAME"], "said": str(self.said), **plan}
        self.process = warm.forks().Process(target=_forked, args=(str(self.output), whole), daemon=True)
        self.process.start()

    def lines(self) -> list[str]:
        return self.said.read_text().splitlines() if self.said.exists() else []

    def says(self, line: str) -> None:
        """Wait until it has said a line."""
        until(lambda: line in self.lines() or self._gone_without(line))

    def last_word(self) -> str:
        """How its act ended, once it has."""
        until(lambda: any(line.startswith("ended") for line in self.lines()) or self._gone_without("ended"))
        return self.lines()[-1]

    def goes_on(self) -> None:
        os.kill(self.pid(), signal.SIGCONT)

    def pid(self) -> int:
        assert self.process.pid is not None, "it was started"
        return self.process.pid

    def gone(self) -> bool:
        return self.process.exitcode is not None

    def ends(self) -> int:
        self.process.join(DEADLINE_SECONDS)
        assert self.process.exitcode is not None, "it neither ends nor dies"
        return self.process.exitcode

    def kill(self) -> None:
        if not self.gone():
            self.process.kill()
        self.ends()

    def words(self) -> str:
        """What it printed."""
        return self.output.read_text() if self.output.exists() else ""

    def _gone_without(self, line: str) -> bool:
        if self.gone() and not any(said.startswith(line) for said in self.lines()):
            raise AssertionError(f"the child ended ({self.ends()}) and never said {line!r}:\n{self.words()}")
        return False


def _forked(output: str, plan: dict[str, Any]) -> None:
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    child.main(plan)


@contextmanager
def children() -> Iterator[list[Fork]]:
    """Collects children, and leaves none behind."""
    born: list[Fork] = []
    try:
        yield born
    finally:
        for each in born:
            each.kill()


def queue_steps(count: int, *, kind: str = "reflect") -> list[int]:
    """Missions of one runnable step each, written at once; the steps' ids."""
    now = db.now()
    proposals = Proposal.objects.bulk_create(
        Proposal(
            agent_id="growth", source="trigger", title=f"Work {n}", steps=[{"kind": kind, "params": {}}],
            confidence=1, status="approved", revision=1, seed=n, created_at=now, expires_at=now, decided_at=now,
        )
        for n in range(count)
    )  # fmt: skip
    missions = Mission.objects.bulk_create(
        Mission(proposal=proposal, agent_id="growth", kind="analysis", created_at=now) for proposal in proposals
    )
    steps = Step.objects.bulk_create(
        Step(mission=mission, place=1, kind=kind, run_after=now, attempts_max=5, created_at=now) for mission in missions
    )
    return [step.pk for step in steps]


def assert_the_books_are_right(*, opening: int = 10_000_000_000) -> None:
    """Ours and the venue's agree: one execution an order, every asset sums to zero, balances are their entries."""
    executed = PaperExecution.objects.filter(refused="")
    filled = Order.objects.filter(status="filled")
    assert executed.count() == filled.count() == Fill.objects.count()
    assert set(executed.values_list("reference", flat=True)) == set(
        Fill.objects.values_list("attempt__reference", flat=True)
    )
    sums = LedgerEntry.objects.values("asset").annotate(total=Sum("amount"))
    assert all(row["total"] == 0 for row in sums)
    for account in Account.objects.annotate(entries_sum=Sum("entries__amount")):
        assert account.balance == (account.entries_sum or 0), account
    cash = Account.objects.get(kind="wallet", asset__symbol="USDC")
    spent = executed.filter(side="buy").aggregate(total=Sum("amount_in"))["total"] or 0
    came = executed.filter(side="sell").aggregate(total=Sum("amount_out"))["total"] or 0
    assert cash.balance == opening - spent + came
    live = Order.objects.filter(status__in=("reserved", "submitted", "in_doubt"), asset_in=F("market__quote"))
    assert cash.reserved == (live.aggregate(total=Sum("amount_in"))["total"] or 0)
