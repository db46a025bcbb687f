"""A hundred spend what is left of a cap at once: exactly as many get it."""

import threading
from collections import Counter
from typing import Any

import pytest
from django.contrib.auth import get_user_model

from missions import caps, outcomes, policies, proposals
from missions.caps import CapReached
from missions.models import CapCharge, CapUse, Mission, Proposal
from missions.outcomes import MissionEnded
from missions.vocabulary import StepKind
from tests import cast
from tests.race import stage
from tradeco.common import db

pytestmark = [pytest.mark.race, pytest.mark.usefixtures("committed_company")]

PEOPLE, CAP = 100, 3


def charged() -> int:
    return CapCharge.objects.filter(returned_at__isnull=True).count()


def used() -> int:
    return sum(CapUse.objects.values_list("used", flat=True))


def race_for_the_cap(times: int) -> list[Counter[str]]:
    """Rounds of a hundred transactions that spend one slot of three each; how each ended."""
    cast.set_policy(analyses_per_day=CAP)
    _, policy = policies.current()
    stage.queue_steps(PEOPLE)
    missions = list(Mission.objects.all())

    def spend(place: int, _: int) -> str:
        try:
            with db.transaction():
                caps.spend(mission=missions[place], kinds=[StepKind.REFLECT], policy=policy, now=db.now())
        except CapReached:
            return "refused"
        return "spent"

    found: list[Counter[str]] = []

    def check_and_clean(number: int) -> None:
        if number:
            found.append(Counter({"charged": charged(), "used": used()}))
        CapCharge.objects.all().delete()
        CapUse.objects.all().delete()

    results = stage.rounds(PEOPLE, times, spend, between=check_and_clean)
    check_and_clean(times)
    return [Counter(map(str, result)) + counted for result, counted in zip(results, found, strict=True)]


EXACTLY = Counter({"spent": CAP, "refused": PEOPLE - CAP, "charged": CAP, "used": CAP})


def test_control_count_then_insert_overruns_the_cap() -> None:
    stage.queue_steps(20)
    missions = list(Mission.objects.all())
    counted = threading.Barrier(20, timeout=stage.DEADLINE_SECONDS)

    def count_then_insert(place: int) -> None:
        now = db.now()
        if charged() < CAP:
            counted.wait()  # all have looked and none has written: the interleaving that a cap must survive
            CapCharge.objects.create(
                mission=missions[place], cap="analyses_per_day", day=now.date(), amount=1, charged_at=now
            )

    stage.together(20, count_then_insert)
    assert charged() == 20


def test_a_hundred_at_once_spend_exactly_the_cap() -> None:
    assert race_for_the_cap(10) == [EXACTLY] * 10


@pytest.mark.slow
def test_two_hundred_rounds_of_a_hundred_spend_exactly_the_cap_each_time() -> None:
    assert race_for_the_cap(200) == [EXACTLY] * 200


def test_a_hundred_people_who_approve_at_once_get_exactly_the_cap() -> None:
    cast.set_policy(analyses_per_day=CAP, auto_approve_kinds=[])
    admin = get_user_model().objects.get(username="admin")
    waiting = [
        cast.submit(cast.draft(agent="growth", steps=[{"kind": "reflect"}], title=f"Look back {n}")).pk
        for n in range(PEOPLE)
    ]
    assert set(Proposal.objects.values_list("status", flat=True)) == {"pending"}

    def approve(place: int) -> str:
        decided = db.patiently(
            proposals.approve, proposal_id=waiting[place], approver=admin, reason="yes", now=db.now()
        )
        return f"{decided.status}: {decided.code}"

    assert Counter(stage.together(PEOPLE, approve)) == {
        "approved: approved": CAP,
        "rejected: cap_reached": PEOPLE - CAP,
    }
    assert (Mission.objects.count(), charged(), used()) == (CAP, CAP, CAP)
    assert set(Proposal.objects.values_list("status", "code")) == {
        ("approved", "approved"),
        ("rejected", "cap_reached"),
    }


def test_twenty_who_cancel_the_same_mission_give_its_slot_back_once() -> None:
    cast.submit(cast.buy())
    cast.submit(cast.buy())
    mission = Mission.objects.earliest("pk")
    assert used() == 2

    def cancel(place: int) -> Any:
        return db.patiently(
            outcomes.cancel_mission, mission_id=mission.pk, by=f"person {place}", reason="no", now=db.now()
        )

    results = stage.together(20, cancel)
    assert sum(isinstance(result, Mission) for result in results) == 1
    assert sum(isinstance(result, MissionEnded) for result in results) == 19
    assert (used(), charged()) == (1, 1)
    assert CapCharge.objects.exclude(returned_at=None).get().mission_id == mission.pk
    stage.assert_the_books_are_right()


def test_cancelling_and_ending_a_mission_at_once_never_deadlock() -> None:
    """Both lock step and mission; one order for both, so none waits for the other in a circle."""
    from missions import claims
    from missions.handlers import Failed
    from tradeco.common.errors import DomainError

    def end(claim: Any) -> None:
        outcomes.record(claim, Failed(code="test", reason="test"), now=db.now())

    def cancel(mission_id: int) -> None:
        outcomes.cancel_mission(mission_id=mission_id, by="alice", reason="no", now=db.now())

    plan = {"kind": "reflect", "params": {}}
    for _ in range(15):
        cast.submit(cast.draft(agent="growth", steps=[plan, plan, plan]))
    held = [cast.claim() for _ in range(15)]
    for claim in held:
        claims.begin(claim)
    acts = [(end, claim) for claim in held] + [(cancel, claim.step.mission_id) for claim in held]
    results = stage.together(30, lambda place: acts[place][0](acts[place][1]))
    wrong = [result for result in results if isinstance(result, Exception) and not isinstance(result, DomainError)]
    assert wrong == []
    assert set(Mission.objects.values_list("status", flat=True)) == {"failed"}
    assert used() == 0
