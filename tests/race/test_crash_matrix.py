"""Every crash point of a trade × every way to be lost, on a real chain with a real signer: one swap, one fill, and
not a write of the worker that lost its step. Then the same without a guard each, which must fail.

A trade is visited three times: it is quoted, signed and sent; what didn't land is sent again; what landed is booked.
A worker of its own process is lost at a point of one of these visits, and another finishes the trade.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from missions import claims, execution, rescue
from missions.claims import Claim
from missions.models import Step
from tests import cast
from tests.chain_company import ChainCompany
from tests.race import old_way, stage
from tradeco.common import db
from tradeco.common.models import Event
from trading import verdict
from trading.models import Attempt, Fill, LedgerEntry, Order, Position

pytestmark = pytest.mark.race

LEASE_SECONDS = 0.1
LAST = "step.recorded"  # all is written: whoever is lost here leaves nothing to take over
POINTS = {
    "sent for the first time": [
        "step.claimed",
        "step.begun",
        "attempts.quote_came",
        "attempts.quoted",
        "attempts.signed",
        "execution.intent_committed",
        "attempts.sending",
        "execution.sent",
        "attempts.looked_up",
        "step.visited",
        "outcomes.before_commit",
        "step.recorded",
    ],
    "sent again": [
        "step.claimed",
        "attempts.looked_up",
        "attempts.sending",
        "execution.sent",
        "outcomes.before_commit",
        "step.recorded",
    ],
    "landed": [
        "step.claimed",
        "attempts.looked_up",
        "step.visited",
        "booking.entries_written",
        "outcomes.before_commit",
        "step.recorded",
    ],
}


@pytest.fixture
def stand(committed_chain: ChainCompany, tmp_path: Path) -> Iterator["Stand"]:
    with stage.children() as born:
        yield Stand(committed_chain, tmp_path, born)


class Stand:
    """One approved buy after another on a chain, the worker that is lost with it, and the one that takes over."""

    def __init__(self, chain: ChainCompany, folder: Path, born: list[stage.Fork]) -> None:
        self.chain, self.folder, self.born = chain, folder, born
        cast.set_policy(position_usd_max="5000", position_max="1", exposure_max="1", price_stale_after_seconds=3600)

    def bring_to(self, visit: str) -> None:
        """A new trade, and everything up to the visit in which somebody will be lost."""
        if visit == "sent again":
            self.chain.sandbox.faults.add("drop_transaction", route="sendTransaction", times=1)
        proposal = cast.submit(cast.buy("JUP/USDC", "100.00"))
        assert proposal.status == "approved", proposal.reason
        if visit != "sent for the first time":
            assert self.chain.visit() == "park"
        if visit == "landed":
            self.chain.slots(2)
        Step.objects.filter(finished_at=None).update(run_after=db.now())

    def worker(self, **plan: Any) -> stage.Fork:
        """A process that visits the step once."""
        here = ("NETWORK", "TRADECO_HOME", "RPC_URLS", "JUPITER_URL", "CANDLES_URL", "VENUE", "FEED")
        born = stage.Fork(
            self.folder,
            "one_step",
            lease_seconds=LEASE_SECONDS,
            settings={name: getattr(settings, name) for name in here},
            **plan,
        )
        self.born.append(born)
        return born

    def taken_back(self) -> None:
        """Wait until the lost worker's lease has run out, and its step is anybody's."""
        stage.until(lambda: rescue.run(now=db.now(), limit=10)["recovered"])

    def take_over(self) -> Claim:
        Step.objects.filter(finished_at=None).update(run_after=db.now())
        mine = cast.claim()
        claims.begin(mine)
        return replace(mine, resumed=True)

    def finish(self) -> None:
        self.chain.work()

    def assert_one_trade_each(self, point: str) -> None:
        """Of each order one swap on the chain's ledger, booked once; and the books hold what the chain holds."""
        landed = {row["signature"]: row["swap"] for row in self.chain.landed()}
        orders = Order.objects.select_related("step__mission").order_by("pk")
        assert len(landed) == len(orders), f"{point}: {len(landed)} swaps of {len(orders)} orders"
        for order in orders:
            assert (order.status, order.step.status, order.step.mission.status) == ("filled", "succeeded", "succeeded")
            fill = order.fills.select_related("attempt").get()
            swap = landed[fill.attempt.reference or ""]
            assert (fill.amount_in, fill.amount_out) == (swap["amount_in"], swap["amount_out"])
            assert order.attempts.filter(reference__isnull=False).count() == 1, point
            assert Event.objects.filter(kind="step.succeeded", subject=order.step.subject).count() == 1, point
        assert self.chain.books() == self.chain.held(), point

    def rows(self) -> list[Any]:
        """Everything that a stale worker might write."""
        return [
            list(model.objects.order_by("pk").values_list())
            for model in (Step, Order, Attempt, Fill, LedgerEntry, Position, Event)
        ]


# --- the matrix -----------------------------------------------------------------------------------


@pytest.mark.parametrize("visit", POINTS)
def test_killed(stand: Stand, visit: str) -> None:
    for point in POINTS[visit]:
        stand.bring_to(visit)
        worker = stand.worker(die_at=point)
        assert worker.ends() == -9, worker.words()
        if point != LAST:
            stand.taken_back()
        stand.finish()
        stand.assert_one_trade_each(point)


@pytest.mark.parametrize("visit", POINTS)
def test_cut_off_from_the_database(stand: Stand, visit: str) -> None:
    for point in POINTS[visit]:
        stand.bring_to(visit)
        last_word = stand.worker(cut_at=point).last_word()
        if point != LAST:
            assert last_word == "ended cut off", point
            stand.taken_back()
        stand.finish()
        stand.assert_one_trade_each(point)


@pytest.mark.parametrize("visit", POINTS)
def test_stopped_past_its_lease_while_another_holds_the_step(stand: Stand, visit: str) -> None:
    for point in POINTS[visit]:
        if point != LAST:
            stand.bring_to(visit)
            assert stopped(stand, point) == (True, False), point
            stand.finish()
            stand.assert_one_trade_each(point)


@pytest.mark.parametrize("visit", POINTS)
def test_stopped_past_its_lease_until_another_has_finished(stand: Stand, visit: str) -> None:
    for point in POINTS[visit]:
        stand.bring_to(visit)
        worker = stand.worker(stop_at=point)
        worker.says(f"reached {point}")
        if point != LAST:
            stand.taken_back()
        stand.finish()
        before = stand.rows()
        worker.goes_on()
        worker.last_word()
        stand.chain.slots(3)
        assert stand.rows() == before, f"{point}: the stopped worker wrote something"
        stand.assert_one_trade_each(point)


def stopped(stand: Stand, point: str, **plan: Any) -> tuple[bool, bool]:
    """A worker is stopped past its lease, another takes the step and holds it, the first goes on: whether it noticed
    that it had lost the step, and whether it wrote anything. Then the holder makes its visit.
    """
    worker = stand.worker(stop_at=point, **plan)
    worker.says(f"reached {point}")
    stand.taken_back()
    mine = stand.take_over()
    before = stand.rows()
    worker.goes_on()
    noticed = worker.last_word() in ("ended lost", "ended cut off")
    wrote = stand.rows() != before
    execution.run(mine)
    return noticed, wrote


# --- without a guard ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("visit", "point"),
    [
        ("sent for the first time", "attempts.quote_came"),
        ("sent for the first time", "attempts.signed"),
        ("sent for the first time", "execution.sent"),
        ("sent again", "attempts.looked_up"),
        ("landed", "step.visited"),
    ],
)
def test_control_without_the_fence_the_stale_worker_writes(stand: Stand, visit: str, point: str) -> None:
    stand.bring_to(visit)
    assert stopped(stand, point, fenced=False) == (False, True)


def test_control_without_intent_before_effect_a_killed_worker_s_trade_is_done_twice(stand: Stand) -> None:
    stand.bring_to("sent for the first time")
    assert stand.worker(die_at="execution.sent", guard_off="intent").ends() == -9
    stand.taken_back()
    stand.finish()
    assert len(stand.chain.landed()) == 2
    with pytest.raises(AssertionError, match="2 swaps of 1 orders"):
        stand.assert_one_trade_each("")


def test_control_without_proof_of_expiry_what_is_late_is_done_twice(stand: Stand) -> None:
    assert late(stand, guard_off="proof") > 1


def test_with_proof_of_expiry_what_is_late_is_done_once(stand: Stand) -> None:
    assert late(stand, guard_off="") == 1
    stand.assert_one_trade_each("")


def late(stand: Stand, *, guard_off: str) -> int:
    """How many swaps land of one order whose first transaction the chain takes up late."""
    stand.chain.sandbox.faults.add("delay_transaction", route="sendTransaction", times=1, blocks=6)
    stand.bring_to("sent for the first time")
    put_back = old_way.take_away(guard_off)
    try:
        stand.finish()
    finally:
        put_back()
    stand.chain.slots(10)
    return len(stand.chain.landed())


# --- the seed's own way ---------------------------------------------------------------------------


def swaps_of_one_order(stand: Stand, *, die_at: str, way: str) -> int:
    stand.bring_to("sent for the first time")
    assert stand.worker(die_at=die_at, guard_off=way).ends() == -9
    stand.taken_back()
    stand.finish()
    return len(stand.chain.landed())


@pytest.mark.parametrize(("way", "swaps"), [("old_way", 2), ("", 1)])
def test_control_marking_sending_and_updating_afterwards_doubles_what_a_kill_interrupts(
    stand: Stand, way: str, swaps: int
) -> None:
    assert swaps_of_one_order(stand, die_at="execution.sent", way=way) == swaps
    found = verdict.judge(_seen(stand), strikes=Counter(), seconds=0)
    assert (found.lost, bool(found.unbalanced), found.ok) == (swaps - 1, swaps > 1, swaps == 1)


@pytest.mark.parametrize(("way", "ok"), [("old_way", False), ("", True)])
def test_control_marking_sending_and_updating_afterwards_loses_what_nobody_takes_up(
    stand: Stand, way: str, ok: bool
) -> None:
    """The seed gave up on a step that stood still for long: the trade has happened, and no book knows of it."""
    stand.bring_to("sent for the first time")
    assert stand.worker(die_at="execution.sent", guard_off=way).ends() == -9
    Step.objects.update(attempts=99)  # what was lost once too often isn't tried again
    stand.taken_back()
    stand.finish()
    stand.chain.slots(2)
    found = verdict.judge(_seen(stand), strikes=Counter(), seconds=0)
    assert len(stand.chain.landed()) == 1
    assert (found.lost == 0, found.ok) == (ok, ok)


def _seen(stand: Stand) -> verdict.Chain:
    return verdict.Chain(swaps=stand.chain.landed(), held=stand.chain.held())
