"""Running what is due: a worker waits for a step that wants its next visit soon, but keeps no other task waiting."""

import pytest
from django.test import TestCase
from django_q.models import OrmQ

from missions import execution, tasks
from missions.models import Step
from roundtable.models import Conversation
from tests import cast, talk
from tradeco.common import db, doorbell

pytestmark = pytest.mark.usefixtures("company")


@pytest.fixture
def talking() -> Conversation:
    cast.force_policy(turn_seconds=0.3)
    return talk.held("watercooler", topic="How the day felt")


def test_a_conversation_is_held_in_one_go_with_its_pauses(talking: Conversation) -> None:
    began = db.now()
    assert execution.drain(budget_seconds=30) == {"park": 1 + talking.turns_planned, "succeeded": 1}
    talking.refresh_from_db()
    assert talking.status == "completed"
    assert (db.now() - began).total_seconds() > 0.3 * (talking.turns_planned - 1)


def test_who_only_waits_leaves_for_another_task(talking: Conversation) -> None:
    OrmQ.objects.create(key="tradeco", payload="a beat", lock=db.now())
    done = execution.drain(budget_seconds=30, is_wanted=doorbell.is_rung)
    assert "succeeded" not in done
    assert talking.turns.count() == 1
    OrmQ.objects.all().delete()
    talk.quickly()
    assert execution.drain(budget_seconds=30, is_wanted=doorbell.is_rung)["succeeded"] == 1


def test_what_is_due_is_done_before_another_task_is_let_in(talking: Conversation) -> None:
    OrmQ.objects.create(key="tradeco", payload="a beat", lock=db.now())
    cast.submit(cast.analysis_draft())
    assert execution.drain(budget_seconds=30, is_wanted=doorbell.is_rung)["succeeded"] == 1


def test_where_no_worker_is_woken_by_tasks_none_holds_it_up(talking: Conversation) -> None:
    OrmQ.objects.create(key="tradeco", payload="a beat", lock=db.now())
    assert execution.drain(budget_seconds=30)["succeeded"] == 1


@pytest.mark.parametrize(("seconds", "rings"), [(0.0, 1), (5.0, 0)], ids=["used up", "all done"])
def test_a_drain_that_used_its_time_rings_for_what_it_left(
    monkeypatch: pytest.MonkeyPatch, seconds: float, rings: int
) -> None:
    monkeypatch.setattr(tasks, "DRAIN_SECONDS", seconds)
    cast.submit(cast.analysis_draft())
    with TestCase.captureOnCommitCallbacks(execute=True):
        done = tasks.drain()
    assert done == ({} if rings else {"succeeded": 1})
    assert OrmQ.objects.count() == rings


def test_a_protective_exit_goes_before_talk_that_is_under_way(company: None) -> None:
    position = cast.bought()
    talking = talk.held("watercooler", topic="How the day felt")
    talk.visit(of=talking)
    Step.objects.filter(pk=talking.step_id).update(run_after=cast.later(seconds=-60))
    leaving = cast.submit(cast.close(position.pk), protective=True, source="protection")
    assert cast.claim().step.mission.proposal == leaving
    assert cast.claim().step == talking.step, "and then the next turn"


def test_other_work_waits_for_a_turn_that_is_due(talking: Conversation) -> None:
    talk.visit(of=talking)
    cast.submit(cast.analysis_draft())
    Step.objects.filter(pk=talking.step_id).update(run_after=cast.later(seconds=-60))
    assert cast.claim().step == talking.step
