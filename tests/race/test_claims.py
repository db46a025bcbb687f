"""Who gets a step, and who may end it: real processes, and each guard with the damage that it prevents."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from missions import claims, execution, outcomes, rescue
from missions.claims import LostClaim
from missions.handlers import Succeeded
from missions.models import Step
from tests import cast
from tests.race import handlers, stage
from tradeco.common import db
from tradeco.common.models import Event
from trading.models import Attempt, Fill, Order, PaperExecution

pytestmark = [pytest.mark.race, pytest.mark.usefixtures("committed_company")]

WORKERS, STEPS = 4, 200
COUNTS = {"reflect": "tests.race.handlers.Counts"}


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    """Where handlers leave a line for each time that they ran."""
    path = tmp_path / "effects.txt"
    path.touch()
    return path


def race(folder: Path, act: str, effects: Path) -> Counter[str]:
    """How often each step was really run when so many processes worked at once."""
    stage.queue_steps(STEPS)
    with stage.children() as born:
        for _ in range(WORKERS):
            born.append(stage.Fork(folder, act, handlers=COUNTS, environ={handlers.EFFECTS: str(effects)}))
        for child in born:
            assert child.ends() == 0, child.words()
    return Counter(effects.read_text().split())


def test_control_select_then_update_runs_steps_twice(tmp_path: Path, effects: Path) -> None:
    assert max(race(tmp_path, "select_then_update", effects).values()) > 1


def test_processes_that_race_for_steps_run_each_exactly_once(tmp_path: Path, effects: Path) -> None:
    ran = race(tmp_path, "work", effects)
    assert len(ran) == STEPS
    assert set(ran.values()) == {1}
    assert set(Step.objects.values_list("status", "attempts")) == {("succeeded", 0)}
    assert Step.objects.values("worker").distinct().count() > 1, "only one process worked: this was no race"


def test_threads_that_claim_in_batches_share_no_step() -> None:
    steps = stage.queue_steps(200)

    def take(place: int) -> list[int]:
        mine: list[int] = []
        while found := claims.claim_next(worker=f"worker {place}", lease_seconds=60, limit=7):
            mine += [claim.step.pk for claim in found]
        return mine

    taken = stage.together(16, take)
    assert sorted(key for mine in taken for key in mine) == sorted(steps)


def test_the_queue_is_claimed_in_its_order() -> None:
    first, second, urgent, later = stage.queue_steps(4)
    Step.objects.filter(pk=urgent).update(priority=10)
    Step.objects.filter(pk=later).update(run_after=cast.later(hours=1))
    claimed = [claims.claim_next(worker="w", lease_seconds=60)[0].step.pk for _ in range(3)]
    assert claimed == [urgent, first, second]
    assert claims.claim_next(worker="w", lease_seconds=60) == []


# --- fencing --------------------------------------------------------------------------------------


def stopped_child(folder: Path, born: list[stage.Fork], point: str, **plan: Any) -> stage.Fork:
    """A worker that stands still at a point until its lease is lost."""
    child = stage.Fork(folder, "one_step", stop_at=point, lease_seconds=1.0, **plan)
    born.append(child)
    child.says(f"reached {point}")
    stage.until(lambda: rescue.run(now=db.now(), limit=10)["recovered"])
    return child


@pytest.mark.parametrize("point", ["step.claimed", "step.begun", "execution.intent_committed", "step.visited"])
def test_a_worker_paused_past_its_lease_finishes_nothing_and_another_does(tmp_path: Path, point: str) -> None:
    assert cast.submit(cast.buy(size_usd="100.00")).status == "approved"
    with stage.children() as born:
        child = stopped_child(tmp_path, born, point)
        Step.objects.update(run_after=db.now())  # its back-off isn't what is tested
        assert cast.work() == {"succeeded": 1}
        events = Event.objects.count()
        child.goes_on()
        child.says("ended lost")
    assert Event.objects.count() == events, "the paused worker wrote something"
    assert (PaperExecution.objects.count(), Fill.objects.count(), Attempt.objects.count()) == (1, 1, 1)
    stage.assert_the_books_are_right()


def finish_what_another_holds(folder: Path, **plan: Any) -> tuple[str, str]:
    """A worker is paused past its lease, another takes the step and holds it, the first goes on: how the first ended,
    and what state the step of the second is in.
    """
    stage.queue_steps(1)
    with stage.children() as born:
        child = stopped_child(folder, born, "step.visited", **plan)
        Step.objects.update(run_after=db.now())
        mine = cast.claim()
        claims.begin(mine)
        child.goes_on()
        stage.until(lambda: any(line.startswith("ended") for line in child.lines()))
        step = Step.objects.get()
        if step.token == mine.token:
            outcomes.record(mine, Succeeded(), now=db.now())
        return child.lines()[-1], step.status


def test_control_without_the_fence_a_stale_worker_finishes_another_s_run(tmp_path: Path) -> None:
    assert finish_what_another_holds(tmp_path, fenced=False) == ("ended succeeded", "succeeded")


def test_a_stale_worker_cannot_finish_another_s_run(tmp_path: Path) -> None:
    assert finish_what_another_holds(tmp_path) == ("ended lost", "executing")
    assert Step.objects.get().status == "succeeded"  # by its holder


def test_a_stale_claim_can_neither_begin_nor_renew_nor_record() -> None:
    stage.queue_steps(1)
    stale = cast.claim(lease_seconds=0.01)
    stage.until(lambda: rescue.run(now=db.now(), limit=10)["recovered"])
    mine = cast.claim()
    for act in (
        lambda: claims.begin(stale),
        lambda: claims.renew(stale),
        lambda: outcomes.record(stale, Succeeded(), now=db.now()),
    ):
        with pytest.raises(LostClaim):
            act()
    assert execution.run(mine) == "succeeded"


def test_a_renewed_claim_is_not_stale() -> None:
    stage.queue_steps(1)
    claim = cast.claim(lease_seconds=0.2)
    claims.begin(claim)
    before = Step.objects.get().lease_expires_at
    claims.renew(claim)
    after = Step.objects.get().lease_expires_at
    assert before is not None
    assert after is not None
    assert after > before


# --- killed at every point ------------------------------------------------------------------------

POINTS = [
    "step.claimed",
    "step.begun",
    "execution.intent_committed",
    "execution.sent",
    "step.visited",
    "booking.entries_written",
    "outcomes.before_commit",
    "step.recorded",
]


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_killed_at_any_point_loses_and_doubles_no_trade(tmp_path: Path, point: str) -> None:
    assert cast.submit(cast.buy(size_usd="100.00")).status == "approved"
    with stage.children() as born:
        born.append(stage.Fork(tmp_path, "one_step", die_at=point, lease_seconds=0.5))
        assert born[0].ends() == -9, born[0].words()
    if point != "step.recorded":
        stage.until(lambda: rescue.run(now=db.now(), limit=10)["recovered"])
        Step.objects.update(run_after=db.now())
        assert cast.work() == {"succeeded": 1}
    order = Order.objects.get()
    assert (order.status, order.step.status, order.step.mission.status) == ("filled", "succeeded", "succeeded")
    assert PaperExecution.objects.count() == Attempt.objects.count() == Fill.objects.count() == 1
    assert order.step.attempts == (0 if point in {"step.claimed", "step.recorded"} else 1)
    stage.assert_the_books_are_right()
    assert rescue.run(now=db.now(), limit=10) == {"recovered": 0, "failed": 0}
