"""How each ending of a step is recorded, and what it means for its mission, its caps and its next try."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from missions import execution, handlers, outcomes
from missions.handlers import Ending, Failed, InDoubt, Park, Retry, Succeeded
from missions.models import CapUse, Mission, Outcome, Step
from missions.outcomes import MissionEnded, StepUnderWay
from tests import cast
from tests.race.handlers import Scripted
from tradeco.common import db
from tradeco.common.errors import DomainError, NotFound
from tradeco.common.models import Event
from trading.models import Account, Order

pytestmark = pytest.mark.usefixtures("company")

Script = Callable[[Any], Ending]


@pytest.fixture
def scripted(settings: Any) -> Iterator[Callable[..., Step]]:
    """A mission of reflect steps whose handler does what the test says."""
    settings.STEP_HANDLERS = {**settings.STEP_HANDLERS, "reflect": "tests.race.handlers.Scripted"}
    Scripted.released, Scripted.doubted = [], []

    def start(script: Script, *, sent: bool = False, steps: int = 1, attempts_max: int = 5) -> Step:
        Scripted.script, Scripted.sent = staticmethod(script), sent
        cast.set_policy(step_attempts_max=attempts_max)
        cast.submit(cast.draft(agent="growth", steps=[{"kind": "reflect"}] * steps))
        return Step.objects.earliest("pk")

    yield start
    Scripted.script, Scripted.sent = staticmethod(lambda claim: Succeeded()), False


def visit() -> str:
    """One visit of the next step, however long it should still wait."""
    Step.objects.filter(finished_at=None).update(run_after=db.now())
    return execution.run(cast.claim())


def kinds_of(step: Step) -> list[str]:
    return list(Event.objects.filter(subject=step.subject).order_by("key").values_list("kind", flat=True))


def raising(error: Exception) -> Script:
    def script(claim: Any) -> Ending:
        raise error

    return script


# --- done -----------------------------------------------------------------------------------------


def test_success_keeps_the_result_books_and_ends_the_mission(scripted: Callable[..., Step]) -> None:
    booked: list[str] = []
    step = scripted(
        lambda claim: Succeeded(result={"seen": 3}, book=lambda: booked.append("once"), pnl_usd=lambda: Decimal("1.5"))
    )
    assert visit() == "succeeded"
    step.refresh_from_db()
    assert (step.status, step.result, step.token, booked) == ("succeeded", {"seen": 3}, None, ["once"])
    outcome = Outcome.objects.get()
    assert (outcome.succeeded, outcome.pnl_usd, outcome.details, outcome.code) == (
        True,
        Decimal("1.5"),
        {"seen": 3},
        "",
    )
    assert kinds_of(step) == ["step.claimed", "step.succeeded"]
    assert list(Event.objects.filter(subject=step.mission.subject).values_list("kind", flat=True)) == [
        "mission.approved",
        "mission.running",
        "mission.succeeded",
    ]


def test_a_booking_that_fails_leaves_nothing_of_the_ending_and_the_step_is_tried_again(
    scripted: Callable[..., Step],
) -> None:
    step = scripted(lambda claim: Succeeded(book=lambda: 1 / 0))
    assert visit() == "retry"
    step.refresh_from_db()
    assert (step.status, step.finished_at, step.code) == ("queued", None, "handler_error")
    assert kinds_of(step) == ["step.claimed", "step.retried"]


# --- refused --------------------------------------------------------------------------------------


def test_failure_cancels_the_rest_releases_and_gives_the_caps_back(scripted: Callable[..., Step]) -> None:
    step = scripted(lambda claim: Failed(code="no_good", reason="It is no good."), steps=3)
    assert CapUse.objects.get().used == 3
    assert visit() == "failed"
    assert list(Step.objects.order_by("place").values_list("status", "code")) == [
        ("failed", "no_good"),
        ("cancelled", "cancelled"),
        ("cancelled", "cancelled"),
    ]
    assert Scripted.released == list(Step.objects.order_by("place").values_list("pk", flat=True))
    assert (Mission.objects.get().status, Outcome.objects.get().code) == ("failed", "no_good")
    assert CapUse.objects.get().used == 0
    assert kinds_of(step) == ["step.claimed", "step.failed"]


def test_a_failure_after_something_was_done_keeps_what_was_spent(scripted: Callable[..., Step]) -> None:
    endings = iter([Succeeded(), Failed(code="no_good", reason="Later.")])
    scripted(lambda claim: next(endings), steps=2)
    assert [visit(), visit()] == ["succeeded", "failed"]
    assert (CapUse.objects.get().used, Mission.objects.get().status) == (2, "failed")


def test_a_failure_that_sent_something_keeps_what_was_spent(scripted: Callable[..., Step]) -> None:
    scripted(lambda claim: Failed(code="paid_for_nothing", reason="The fee is gone.", nothing_sent=False))
    visit()
    assert CapUse.objects.get().used == 1


def test_a_domain_error_is_a_refusal_with_its_code(scripted: Callable[..., Step]) -> None:
    step = scripted(raising(NotFound("There is no such thing any more.")))
    assert visit() == "failed"
    step.refresh_from_db()
    assert (step.code, step.reason) == ("not_found", "There is no such thing any more.")


def test_a_kind_that_lost_its_handler_fails(settings: Any) -> None:
    cast.submit(cast.draft(agent="growth", steps=[{"kind": "reflect"}]))
    settings.STEP_HANDLERS = {}
    assert visit() == "failed"
    assert Step.objects.get().code == "kind_not_available"


# --- again ----------------------------------------------------------------------------------------


def test_a_passing_trouble_is_tried_again_later_and_no_oftener_than_allowed(scripted: Callable[..., Step]) -> None:
    step = scripted(lambda claim: Retry(code="busy", reason="Come back."), attempts_max=3)
    for attempts in (1, 2):
        before = db.now()
        assert visit() == "retry"
        step.refresh_from_db()
        assert (step.status, step.attempts, step.code, step.token) == ("queued", attempts, "busy", None)
        assert step.run_after > before
        assert CapUse.objects.get().used == 1
    visit()
    step.refresh_from_db()
    assert (step.status, step.attempts, step.code) == ("failed", 3, "attempts_used_up")
    assert "busy" in step.reason
    assert (Mission.objects.get().status, CapUse.objects.get().used) == ("failed", 0)
    assert kinds_of(step).count("step.retried") == 2


def test_a_bug_in_a_handler_is_tried_again_where_nothing_can_have_been_sent(scripted: Callable[..., Step]) -> None:
    step = scripted(raising(ZeroDivisionError("secret details")))
    assert visit() == "retry"
    step.refresh_from_db()
    assert (step.status, step.attempts, step.code) == ("queued", 1, "handler_error")
    assert "secret" not in step.reason
    Scripted.script = staticmethod(lambda claim: Succeeded())
    assert visit() == "succeeded"


@pytest.mark.parametrize("attempts", range(1, 12))
def test_back_off_doubles_up_to_its_bound_with_seeded_jitter(attempts: int) -> None:
    wait = outcomes.backoff(attempts, seed=f"7:{attempts}")
    base = min(60.0, 2.0 ** (attempts - 1))
    assert timedelta(seconds=base * 0.5) <= wait <= timedelta(seconds=base * 1.5)
    assert outcomes.backoff(attempts, seed=f"7:{attempts}") == wait
    assert outcomes.backoff(attempts, seed=f"8:{attempts}") != wait


# --- parked ---------------------------------------------------------------------------------------


def test_a_parked_step_frees_its_worker_and_is_visited_again_before_new_work(scripted: Callable[..., Step]) -> None:
    endings = iter([Park(delay=timedelta(hours=1)), Succeeded()])
    step = scripted(lambda claim: next(endings))
    assert execution.run(cast.claim()) == "park"
    step.refresh_from_db()
    assert (step.status, step.token, step.attempts) == ("executing", None, 0)
    assert cast.work() == {}, "its time hasn't come"
    cast.submit(cast.analysis_draft())
    Step.objects.filter(pk=step.pk).update(run_after=db.now())
    claim = cast.claim()
    assert (claim.step.pk, claim.resumed) == (step.pk, True)
    assert execution.run(claim) == "succeeded"
    assert kinds_of(step) == ["step.claimed", "step.succeeded"]


# --- in doubt -------------------------------------------------------------------------------------


def test_what_is_in_doubt_is_never_tried_again_and_keeps_its_slot(scripted: Callable[..., Step]) -> None:
    step = scripted(lambda claim: InDoubt(code="silence", reason="No answer.", evidence={"reference": "r"}), steps=2)
    assert visit() == "indoubt"
    step.refresh_from_db()
    assert (step.status, step.code, step.result) == (
        "needs_reconciliation",
        "silence",
        {"evidence": {"reference": "r"}},
    )
    assert Scripted.doubted == [step.pk]
    Step.objects.update(run_after=db.now())
    assert cast.work() == {}
    assert Mission.objects.get().status == "running"
    assert CapUse.objects.get().used == 2
    with pytest.raises(StepUnderWay):
        outcomes.cancel_mission(mission_id=step.mission_id, by="alice", reason="no", now=db.now())


@pytest.mark.parametrize("error", [ZeroDivisionError(), DomainError("The venue says something strange.")])
def test_trouble_after_something_may_have_been_sent_is_looked_at_again_then_a_person_is_asked(
    scripted: Callable[..., Step], error: Exception
) -> None:
    """Never failed, never requeued: both would let the same money move again."""
    step = scripted(raising(error), sent=True, attempts_max=3)
    assert [visit(), visit(), visit()] == ["park", "park", "indoubt"]
    step.refresh_from_db()
    assert (step.status, step.attempts) == ("needs_reconciliation", 3)
    assert Scripted.doubted == [step.pk]
    assert Scripted.released == []


# --- cancelling -----------------------------------------------------------------------------------


def test_cancelling_lets_go_of_everything_that_was_held() -> None:
    proposal = cast.submit(cast.buy(size_usd="100.00"))
    mission = outcomes.cancel_mission(
        mission_id=proposal.mission.pk, by="alice", reason="changed my mind", now=db.now()
    )
    assert mission.status == "cancelled"
    step, order = Step.objects.get(), Order.objects.get()
    assert (step.status, step.reason, order.status) == ("cancelled", "alice: changed my mind", "cancelled")
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 0
    assert CapUse.objects.get().used == 0
    assert cast.work() == {}
    with pytest.raises(MissionEnded):
        outcomes.cancel_mission(mission_id=mission.pk, by="alice", reason="again", now=db.now())


def test_what_is_under_way_cannot_be_cancelled() -> None:
    proposal = cast.submit(cast.buy())
    cast.claim()
    with pytest.raises(StepUnderWay):
        outcomes.cancel_mission(mission_id=proposal.mission.pk, by="alice", reason="no", now=db.now())
    assert Mission.objects.get().status == "approved"


def test_there_is_no_such_mission() -> None:
    with pytest.raises(NotFound):
        outcomes.cancel_mission(mission_id=404, by="alice", reason="no", now=db.now())


def test_halting_before_anything_is_sent_stops_it_and_frees_the_cash() -> None:
    from missions import company
    from missions.vocabulary import CompanyStatus

    cast.submit(cast.buy(size_usd="100.00"))
    company.switch(to=CompanyStatus.HALTED, by=None, reason="for a test", now=db.now())
    assert visit() == "failed"
    assert (Step.objects.get().code, Order.objects.get().status) == ("halted", "failed")
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 0
    assert CapUse.objects.get().used == 0


def test_the_default_handler_holds_and_marks_nothing() -> None:
    handler = handlers.Handler()
    step = Step()
    assert handler.may_have_sent(step) is False
    for act in (handler.release, handler.doubt):
        assert act(step, now=db.now()) is None  # type: ignore[func-returns-value]
    with pytest.raises(NotImplementedError):
        handler.visit(None, now=db.now())  # type: ignore[arg-type]
