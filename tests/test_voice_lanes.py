"""A language model that is slow never keeps every worker waiting: one is left for a stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection

from roundtable.models import Conversation, Stance
from roundtable.voices import lanes, speaking
from tests import cast, other_database, talk
from tradeco.common import db

pytestmark = pytest.mark.usefixtures("company")


@contextmanager
def another_worker_asks() -> Iterator[None]:
    """Another connection holds the first lane, as a worker does that waits for its answer."""
    with other_database.connect(str(connection.settings_dict["NAME"]), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s, 0)", [lanes._LOCKS])
        yield


@pytest.fixture
def talking(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Conversation:
    settings.VOICE = "openai"
    monkeypatch.setattr(speaking, "speak", talk.saying(Stance.AGREE))
    talk.quickly()
    held = talk.held("watercooler", topic="How the day felt")
    talk.visit(of=held)  # the table
    return held


def test_of_two_workers_one_may_ask_at_a_time(talking: Conversation) -> None:
    with another_worker_asks():
        assert talk.visit(of=talking) == ["park"]
        assert talking.turns.count() == 0
    talk.visit(of=talking)
    assert talking.turns.count() == 1


def test_of_three_two_may(talking: Conversation, settings: Any) -> None:
    settings.Q_CLUSTER = {**settings.Q_CLUSTER, "workers": 3}
    with another_worker_asks():
        talk.visit(of=talking)
    assert talking.turns.count() == 1


def test_a_lane_is_left_when_the_voice_fails(talking: Conversation, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no words")

    with monkeypatch.context() as broken:
        broken.setattr(speaking, "speak", fails)
        assert talk.visit(of=talking) == ["retry"]
    talk.visit(of=talking)
    assert talking.turns.count() == 1


def test_the_script_needs_no_lane(talking: Conversation, settings: Any) -> None:
    settings.VOICE = "scripted"
    with another_worker_asks():
        talk.visit(of=talking)
    assert talking.turns.count() == 1


def test_many_that_wait_for_a_table_ask_together_as_often_as_one(talking: Conversation) -> None:
    cast.force_policy(turn_seconds=2, roundtables_at_once=1)
    waiting = [talk.held("watercooler", topic="Later") for _ in range(5)]
    talk.visit(of=waiting[0])
    step = waiting[0].step
    step.refresh_from_db()
    assert 9 < (step.run_after - db.now()).total_seconds() <= 10
