"""Taking back what a lost worker held: requeued, visited again, or failed, as far as it had got."""

from collections.abc import Iterator
from typing import Any

import pytest

from missions import claims, rescue
from missions.handlers import Succeeded
from missions.models import CapUse, Mission, Step
from tests import cast
from tests.race.handlers import Scripted
from tradeco.common import db
from tradeco.common.models import Event

pytestmark = pytest.mark.usefixtures("company")


@pytest.fixture(autouse=True)
def scripted(settings: Any) -> Iterator[None]:
    settings.STEP_HANDLERS = {**settings.STEP_HANDLERS, "reflect": "tests.race.handlers.Scripted"}
    Scripted.sent, Scripted.script = False, staticmethod(lambda claim: Succeeded())
    yield
    Scripted.sent = False


def lost(*, begun: bool, steps: int = 1) -> Step:
    """A step whose worker's lease has run out."""
    for _ in range(steps):
        cast.submit(cast.draft(agent="growth", steps=[{"kind": "reflect"}]))
        claim = cast.claim(worker="the lost one")
        if begun:
            claims.begin(claim)
    Step.objects.update(lease_expires_at=cast.later(seconds=-1))
    return Step.objects.latest("pk")


def sweep(limit: int = 100) -> dict[str, int]:
    return rescue.run(now=db.now(), limit=limit)


def test_what_was_claimed_and_not_begun_goes_back_as_it_was() -> None:
    step = lost(begun=False)
    assert sweep() == {"recovered": 1, "failed": 0}
    step.refresh_from_db()
    assert (step.status, step.attempts, step.token) == ("queued", 0, None)
    event = Event.objects.get(kind="step.recovered")
    assert (event.subject, event.data["worker"], event.data["was"]) == (step.subject, "the lost one", "claimed")
    assert cast.work() == {"succeeded": 1}


def test_what_was_begun_and_sent_nothing_goes_back_one_attempt_poorer_after_a_while() -> None:
    step = lost(begun=True)
    sweep()
    step.refresh_from_db()
    assert (step.status, step.attempts, step.code) == ("queued", 1, "lease_lost")
    assert step.run_after > db.now()


def test_what_may_have_sent_something_is_visited_again_and_never_requeued() -> None:
    Scripted.sent = True
    step = lost(begun=True)
    sweep()
    step.refresh_from_db()
    assert (step.status, step.attempts, step.token) == ("executing", 1, None)
    assert cast.claim().resumed


def test_what_is_lost_again_and_again_fails_in_the_end_and_gives_its_slot_back() -> None:
    step = lost(begun=True)
    for attempts in range(1, 6):
        sweep()
        step.refresh_from_db()
        assert step.attempts == attempts
        if step.status == "queued":
            Step.objects.update(run_after=db.now())
            claims.begin(cast.claim())
            Step.objects.update(lease_expires_at=cast.later(seconds=-1))
    assert (step.status, step.code) == ("failed", "attempts_used_up")
    assert (Mission.objects.get().status, CapUse.objects.get().used) == ("failed", 0)


def test_whose_lease_still_runs_is_left_alone() -> None:
    cast.submit(cast.draft(agent="growth", steps=[{"kind": "reflect"}]))
    cast.claim(lease_seconds=30)
    assert sweep() == {"recovered": 0, "failed": 0}


def test_a_sweep_takes_no_more_than_its_limit() -> None:
    lost(begun=False, steps=3)
    assert [sweep(limit=2)["recovered"] for _ in range(3)] == [2, 1, 0]


def test_one_that_cannot_be_taken_back_does_not_keep_the_others_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    poisoned = lost(begun=True).pk
    lost(begun=True, steps=2)
    Step.objects.filter(pk=poisoned).update(lease_expires_at=cast.later(hours=-1))

    def may_have_sent(self: Scripted, step: Step) -> bool:
        if step.pk == poisoned:
            raise ZeroDivisionError
        return False

    monkeypatch.setattr(Scripted, "may_have_sent", may_have_sent)
    assert sweep() == {"recovered": 2, "failed": 1}
    assert sweep() == {"recovered": 0, "failed": 1}
    assert Step.objects.get(pk=poisoned).status == "executing"
