"""Conversations under fire: workers killed or held up in a turn and in the distillation, many that want a table at
once. Real processes with the real voice, real threads; and each guard with the harm that it prevents.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from agents.models import Memory, Shift
from missions import claims, execution, policies, rescue
from missions.models import Proposal, Step
from roundtable import actions
from roundtable.models import Conversation, Stance, Tone, Turn
from tests import cast, talk
from tests.race import stage
from tradeco.common import crashpoints, db
from tradeco.common.models import Event

pytestmark = [pytest.mark.race, pytest.mark.usefixtures("committed_company")]

LEASE_SECONDS = 0.1
LAST = "step.recorded"  # all is written
IN_A_TURN = [
    "step.claimed",
    "step.begun",
    "conversation.spoken",
    "step.visited",
    "conversation.turn_written",
    "outcomes.before_commit",
    LAST,
]
IN_THE_DISTILLATION = [
    "step.claimed",
    "step.visited",
    "distil.shifted",
    "distil.remembered",
    "actions.counted",
    "outcomes.before_commit",
    LAST,
]


@pytest.fixture(autouse=True)
def quick(committed_company: None) -> None:
    talk.quickly(conversations_per_day=1000, action_items_per_day=1000)


@pytest.fixture
def born() -> Iterator[list[stage.Fork]]:
    with stage.children() as each:
        yield each


def worker(folder: Path, born: list[stage.Fork], **plan: Any) -> stage.Fork:
    """A process that visits the one step that is due."""
    born.append(stage.Fork(folder, "one_step", lease_seconds=LEASE_SECONDS, **plan))
    return born[-1]


def due(held: Conversation) -> None:
    Step.objects.filter(finished_at=None).exclude(pk=held.step_id).update(run_after=cast.later(hours=1))
    Step.objects.filter(pk=held.step_id).update(run_after=db.now())


def taken_back() -> None:
    stage.until(lambda: rescue.run(now=db.now(), limit=10)["recovered"])


def finish(held: Conversation) -> None:
    """Another worker holds it to its end."""
    while Step.objects.get(pk=held.step_id).finished_at is None:
        talk.visit(of=held)


def assert_held_once(held: Conversation, point: str) -> None:
    """Each turn once, told once; each pair moved once, each memory kept once, one end."""
    held.refresh_from_db()
    turns = talk.said_of(held)
    assert held.status == "completed", point
    assert [turn.place for turn in turns] == list(range(1, held.turns_planned + 1)), point
    told = Event.objects.filter(kind="conversation.turn", subject=held.subject).order_by("key")
    assert [event.data["place"] for event in told] == [turn.place for turn in turns], point
    over = Event.objects.get(kind="conversation.completed", subject=held.subject).data
    shifts = Shift.objects.filter(cause=held.subject)
    assert len(over["shifts"]) == shifts.count(), point
    assert Event.objects.filter(kind="relationship.shifted", data__cause=held.subject).count() == len(
        [shift for shift in shifts if shift.delta]
    ), point
    causes = list(Memory.objects.filter(cause__startswith=f"{held.subject}:").values_list("cause", flat=True))
    assert len(causes) == len(set(causes)) == over["memories"], point
    items = Proposal.objects.filter(cause__startswith=f"{held.subject}:action:")
    assert sorted(items.values_list("pk", flat=True)) == sorted(over["actions"]), point


# --- killed ---------------------------------------------------------------------------------------


def test_a_worker_killed_at_any_point_of_a_turn_repeats_and_loses_none(tmp_path: Path, born: list[stage.Fork]) -> None:
    for point in IN_A_TURN:
        held = talk.held("position_review", topic="What we hold")
        talk.visit(3, of=held)
        due(held)
        killed = worker(tmp_path, born, die_at=point)
        assert killed.ends() == -9, killed.words()
        spoken = 3 if point == LAST else 2
        assert held.turns.count() == spoken, point
        if point != LAST:
            taken_back()
        finish(held)
        assert_held_once(held, point)


def test_a_worker_killed_at_any_point_of_a_distillation_doubles_no_drift_and_no_memory(
    tmp_path: Path, born: list[stage.Fork]
) -> None:
    drifted = remembered = 0
    for point in IN_THE_DISTILLATION:
        held = talk.held("strategy_session", topic="What worked")
        talk.visit(1 + held.turns_planned, of=held)
        due(held)
        killed = worker(tmp_path, born, die_at=point)
        assert killed.ends() == -9, killed.words()
        assert Shift.objects.filter(cause=held.subject).exists() == (point == LAST), point
        if point != LAST:
            taken_back()
        finish(held)
        assert_held_once(held, point)
        drifted += Shift.objects.filter(cause=held.subject).count()
        remembered += Memory.objects.filter(cause__startswith=f"{held.subject}:").count()
    assert drifted > len(IN_THE_DISTILLATION)
    assert remembered > len(IN_THE_DISTILLATION), "nothing was remembered that could have been doubled"


# --- held up --------------------------------------------------------------------------------------


def held_up(folder: Path, born: list[stage.Fork], **plan: Any) -> tuple[Conversation, bool]:
    """A worker is held up in its turn past its lease, another speaks that turn, the first goes on: whether the first
    noticed.
    """
    held = talk.held("position_review", topic="What we hold")
    talk.visit(3, of=held)
    due(held)
    slow = worker(folder, born, stop_at="conversation.spoken", **plan)
    slow.says("reached conversation.spoken")
    taken_back()
    assert talk.visit(of=held) == ["park"]
    slow.goes_on()
    return held, slow.last_word() == "ended lost"


def places(held: Conversation) -> list[int]:
    return list(held.turns.order_by("place", "pk").values_list("place", flat=True))


def test_a_worker_that_was_held_up_writes_no_turn_that_another_has_spoken(
    tmp_path: Path, born: list[stage.Fork]
) -> None:
    held, noticed = held_up(tmp_path, born)
    assert (noticed, places(held)) == (True, [1, 2, 3])
    finish(held)
    assert_held_once(held, "held up")


def test_without_the_fence_the_place_still_holds_one_turn(tmp_path: Path, born: list[stage.Fork]) -> None:
    held, noticed = held_up(tmp_path, born, fenced=False)
    assert (noticed, places(held)) == (False, [1, 2, 3])


def test_control_without_fence_and_unique_place_a_turn_is_spoken_twice(tmp_path: Path, born: list[stage.Fork]) -> None:
    with without_unique_place():
        held, noticed = held_up(tmp_path, born, fenced=False)
        assert (noticed, places(held)) == (False, [1, 2, 3, 3])


@contextmanager
def without_unique_place() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE roundtable_turn DROP CONSTRAINT turn_once_per_place")
    try:
        yield
    finally:
        Turn.memories.through.objects.all().delete()
        Turn.objects.all().delete()
        with connection.cursor() as cursor:
            cursor.execute(
                "ALTER TABLE roundtable_turn ADD CONSTRAINT turn_once_per_place UNIQUE (conversation_id, place)"
            )


def test_a_distillation_that_was_held_up_moves_nobody_after_another_s(tmp_path: Path, born: list[stage.Fork]) -> None:
    held = talk.held("strategy_session", topic="What worked")
    talk.visit(1 + held.turns_planned, of=held)
    due(held)
    slow = worker(tmp_path, born, stop_at="step.visited")
    slow.says("reached step.visited")
    taken_back()
    finish(held)
    events = Event.objects.count()
    slow.goes_on()
    assert slow.last_word() == "ended lost"
    assert Event.objects.count() == events
    assert_held_once(held, "held up")


# --- many at once ---------------------------------------------------------------------------------

MANY = 6


@contextmanager
def all_meet_at(point: str, number: int) -> Iterator[None]:
    """Whoever reaches the point waits a moment for the others: those who can be there together, are."""
    meeting = threading.Barrier(number)

    def hook(name: str) -> None:
        if name == point:
            try:
                meeting.wait(0.5)
            except threading.BrokenBarrierError:
                pass

    crashpoints.watch(hook)
    try:
        yield
    finally:
        crashpoints.watch(None)


def tables_taken() -> int:
    """How many conversations run when so many want a table at the same moment."""
    waiting = [talk.held() for _ in range(MANY)]
    mine = claims.claim_next(worker="test", lease_seconds=60, limit=MANY)
    assert len(mine) == len(waiting)
    with all_meet_at("tables.counted", MANY):
        assert stage.together(MANY, lambda place: execution.run(mine[place])) == ["park"] * MANY
    return Conversation.objects.filter(status="active").count()


def test_of_many_that_want_a_table_at_once_three_get_one() -> None:
    assert tables_taken() == 3


def test_control_without_the_lock_all_count_the_same_free_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "advisory_lock", lambda number: None)
    assert tables_taken() == MANY


def test_a_lock_that_no_transaction_would_hold_is_not_taken() -> None:
    for take in (db.advisory_lock, db.try_advisory_lock):
        with pytest.raises(AssertionError, match="inside a transaction"):
            take(1)
        with db.transaction():
            take(1)  # the control


def items_made() -> int:
    """How many action items are made where the day has two left and three conversations end at once."""
    cast.force_policy(action_items_per_day=2)
    _, policy = policies.current()
    ending = [argued() for _ in range(3)]

    def end(place: int) -> int:
        with db.transaction():
            turns = talk.said_of(ending[place])
            return len(actions.propose_within(ending[place], turns, policy=policy, now=db.now()))

    with all_meet_at("actions.counted", 3):
        made: list[Any] = stage.together(3, end)
    assert Proposal.objects.filter(cause__contains=":action:").count() == sum(made)
    return sum(made)


def argued() -> Conversation:
    held = talk.held("strategy_session")
    for place, agent in enumerate(("atlas", "sage"), start=1):
        Turn.objects.create(
            conversation=held, place=place, agent_id=agent, to_id=None, text="SOL fell 2 %", stance=Stance.DISAGREE,
            tone=Tone.PLAIN, voice="test", facts={"prices": {"SOL/USDC": {}}}, at=db.now(),
        )  # fmt: skip
    return held


def test_a_day_s_items_are_counted_one_conversation_at_a_time() -> None:
    assert items_made() == 2


def test_control_without_the_lock_each_conversation_finds_the_day_untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db, "advisory_lock", lambda number: None)
    assert items_made() == 6
