"""The mind's phases of the heartbeat beside 10,000 memories and 100,000 outcomes: they ask as many questions as a young
company's do, read nothing that grows from end to end, and work as they do in a small one. How long they take,
`python -m bench --only mind` measures beside their budgets.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents import manner, memory, track_record
from agents.models import Memory, Score
from bench import mind
from missions import influence, policies
from missions.mind import groups, initiative, learning, promotion
from missions.models import Forecast, Influence, Outcome
from tests import cast, other_database, test_plans
from tests.test_plans import seen
from tradeco.common import db
from tradeco.common.models import Event
from tradeco.common.wiring import load

GROWN = {
    "agents_memory", "agents_score", "missions_influence", "missions_forecast", "missions_outcome",
    "missions_proposal", "missions_mission", "missions_step", "common_event",
}  # fmt: skip
"""Tables that are large here. Orders, fills and turns are few, and `test_plans` looks after those of trading."""
FEW, MANY = 4_000, 100_000  # outcomes
MEMORIES_FEW, MEMORIES_MANY = 1_400, 10_000
BEATS = 3


def at_most(few: int) -> float:
    """Queries that an old company's phase may make: what it happens to find costs some more or less. The old one has 25
    times as many outcomes, so what grows with them shows.
    """
    return 1.5 * few + 8


pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("an old company"),  # which one process makes
]


@dataclass
class Grown:
    """Queries of each phase, the most in some beats, of a company with few rows and of the same with many."""

    few: dict[str, int] = field(default_factory=dict)
    many: dict[str, int] = field(default_factory=dict)
    did: dict[str, Any] = field(default_factory=dict)


@pytest.fixture(scope="module")
def loaded(django_db_setup: None, django_db_blocker: Any) -> Iterator[Grown]:
    """A young company, whose queries are counted; then, in the same database, an old one, left for the tests."""
    grown = Grown()
    with django_db_blocker.unblock(), pytest.MonkeyPatch.context() as certain:
        certain.setattr(initiative, "CHANCE", Decimal(1))  # else the dice say how many take the initiative
        with other_database.opened("tradeco_mind_few"):
            fill(memories=MEMORIES_FEW, outcomes=FEW)
            grown.few, _ = queries()
        with other_database.opened("tradeco_mind"):
            fill(memories=MEMORIES_MANY, outcomes=MANY)
            grown.many, grown.did = queries()
            yield grown


@pytest.fixture
def old(loaded: Grown, django_db_blocker: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Grown]:
    monkeypatch.setattr(test_plans, "BIG", GROWN)
    with django_db_blocker.unblock():
        yield loaded
        connection.close()


def fill(*, memories: int, outcomes: int) -> None:
    cast.open_company()
    cast.force_policy(initiatives_apart_hours=0)
    with other_database.connect(str(connection.settings_dict["NAME"]), autocommit=True) as loader:
        mind.fill(loader, memories=memories, outcomes=outcomes)


def phases() -> list[tuple[str, str, int]]:
    return [(name, path, limit) for name, path, _, limit in settings.HEARTBEAT if name in mind.PHASES]


def queries() -> tuple[dict[str, int], dict[str, Any]]:
    """The most queries that each phase made in some beats, and what it did in the last of them."""
    now, most, did = db.now(), dict[str, int](), dict[str, Any]()
    for number in range(BEATS + 1):  # the first meets the opening's own work
        for name, path, limit in phases():
            with CaptureQueriesContext(connection) as asked:
                did[name] = load(path)(now=now + number * mind.BEATS_APART, limit=limit)
            if number:
                most[name] = max(most.get(name, 0), len(asked))
    return most, did


# --- what was loaded ------------------------------------------------------------------------------


def test_it_is_the_size_that_it_is_called(old: Grown) -> None:
    assert Memory.objects.count() >= MEMORIES_MANY
    live = memory.live().count()
    assert mind.LIVE - 60 <= live <= mind.LIVE, "as many as policy lets live"
    assert Outcome.objects.count() >= MANY
    assert Event.objects.count() > 1.5 * MANY
    for kind in (Influence, Forecast, Score):
        assert kind.objects.count() > MANY / 9


def test_no_beat_was_idle(old: Grown) -> None:
    assert (old.did["learn"]["outcomes"], old.did["learn"]["failed"]) == (5, 0)
    assert old.did["learn"]["judged"] > 0
    assert old.did["promote"] == {"promoted": 5}
    assert old.did["forecasts"]["failed"] == 0
    assert old.did["forecasts"]["void"] == next(limit for name, _, limit in phases() if name == "forecasts")


# --- the same questions ---------------------------------------------------------------------------


def test_every_phase_of_the_mind_is_counted(old: Grown) -> None:
    assert set(old.many) == set(old.few) == set(mind.PHASES)


@pytest.mark.parametrize("name", mind.PHASES)
def test_a_phase_asks_no_more_questions_of_an_old_company_than_of_a_young_one(old: Grown, name: str) -> None:
    assert old.many[name] <= at_most(old.few[name]), (old.few, old.many)


# --- and none that reads everything ---------------------------------------------------------------

ROWS_MOST = 12_000
"""Looked at by one statement: a window of 48 h holds some 6,700 outcomes; nothing else comes near."""


@pytest.mark.parametrize("name", mind.PHASES)
def test_a_phase_reads_no_growing_table_from_end_to_end(old: Grown, name: str) -> None:
    path, limit = next((path, limit) for each, path, limit in phases() if each == name)
    found = seen(lambda: load(path)(now=db.now() + timedelta(minutes=1), limit=limit))
    assert found.scanned == []
    assert found.rows <= ROWS_MOST, found.worst


def recalls() -> None:
    for way in ({}, {"tags": ["SOL/USDC"]}, {"words": "momentum or paid"}, {"types": ["lesson", "strategy"]}):
        assert memory.recall(agent="scout", now=db.now(), limit=5, **way)


def considers() -> None:
    _, policy = policies.current()
    always = policy.model_copy(update={"memory_influence": 1})
    assert influence.consider(cast.buy(), seed="1", policy=always, now=db.now()).memories


ACTS = {
    "recalling": recalls,
    "considering": considers,
    "what may be promoted": lambda: list(promotion.candidates(now=db.now())[:5]),
    "manners": lambda: manner.modifiers(agent="scout", now=db.now()),
    "comparing groups": lambda: groups.measure(since=db.now() - timedelta(hours=48), samples_min=3),
}


@pytest.mark.parametrize("name", ACTS)
def test_what_agents_do_with_their_memories_reads_none_that_was_laid_aside_but_for_words_and_tags(
    old: Grown, name: str
) -> None:
    found = seen(ACTS[name])
    assert found.scanned == []
    assert found.rows <= ROWS_MOST, found.worst


def test_an_agent_s_record_reads_that_agent_s_scores_alone(old: Grown) -> None:
    found = seen(lambda: track_record.record(agent="scout"))
    assert found.rows <= Score.objects.filter(agent="scout").count() * 1.2 + 100, found.worst


# --- controls -------------------------------------------------------------------------------------


def test_control_a_question_without_an_index_is_found_out(old: Grown) -> None:
    found = seen(lambda: Memory.objects.filter(text="nobody made an index for this").first())
    assert [scan.split(":")[0] for scan in found.scanned] == ["agents_memory"]


def test_control_a_phase_that_asks_for_each_outcome_is_found_out(old: Grown) -> None:
    def ask(number: int) -> int:
        with CaptureQueriesContext(connection) as asked:
            for pk in Outcome.objects.order_by("-pk").values_list("pk", flat=True)[:number]:
                Outcome.objects.get(pk=pk)
        return len(asked)

    assert ask(30 * MANY // FEW) > at_most(ask(30))


def test_the_learning_phase_still_teaches_each_outcome_once(old: Grown) -> None:
    kept = Memory.objects.count()
    first = learning.run(now=db.now() + timedelta(minutes=2), limit=5)
    assert first["outcomes"] == 5
    assert Memory.objects.count() == kept + first["kept"] + first["groups"]
