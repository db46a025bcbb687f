"""What one agent learnt, all know once it has proved itself: the score, to the digit, and each memory once."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import memory
from agents.models import Memory, MemoryType
from missions.mind import promotion
from tests import cast, minds
from tests.race import stage
from tradeco.common import db
from tradeco.common.models import Event

pytestmark = pytest.mark.usefixtures("company")
NOW = db.now


def proved(agent: str = "sage", **changes: Any) -> Memory:
    """A strategy that three outcomes bore out."""
    values: dict[str, Any] = {"type": MemoryType.STRATEGY, "confidence": Decimal("0.850"), "confirmations": 3}
    return minds.known(agent, **{**values, **changes})


def run(limit: int = 5, **later: float) -> dict[str, Any]:
    return promotion.run(now=db.now() + timedelta(**later), limit=limit)


def test_what_has_proved_itself_all_agents_recall_from_then_on() -> None:
    kept = proved(tags=["SOL/USDC"])
    assert memory.recall(agent="scout", now=db.now(), limit=5) == []
    assert run() == {"promoted": 1}
    assert [found.memory.pk for found in memory.recall(agent="scout", now=db.now(), limit=5)] == [kept.pk]
    told = Event.objects.get(kind="memory.promoted")
    assert (told.subject, told.agent, told.data["score"]) == (kept.subject, "sage", "0.777778")  # .4 × .85/.9 + .3 + .1
    assert run() == {"promoted": 0}


@pytest.mark.parametrize(
    ("changes", "promoted"),
    [
        ({}, True),
        ({"confidence": Decimal("0.800")}, True),  # .4 × .8/.9 + .3 + .1 = .7556
        ({"confidence": Decimal("0.799")}, False),
        ({"contradictions": 1}, False),  # .7778 − .1
        ({"confirmations": 2}, False),
        ({"confirmations": 2, "days_old": 1}, True),  # .7778 − .1 + .0286 = .7063
        ({"confirmations": 0, "days_old": 700}, False),  # .3778 + .2 + .1: age alone proves nothing
        ({"confirmations": 99, "contradictions": 3}, False),
        ({"type": MemoryType.PATTERN}, True),  # .3778 + .3 + .05
        ({"type": MemoryType.INSIGHT}, False),  # .4 + .3 isn't above .7
        ({"type": MemoryType.INSIGHT, "days_old": 0.01}, True),
        ({"archived_at": "now"}, False),
    ],
)
def test_the_score_decides_to_the_digit(changes: dict[str, Any], promoted: bool) -> None:
    if "archived_at" in changes:
        changes = {"archived_at": db.now()}
    proved(**{"now": db.now() + timedelta(minutes=1), **changes})  # of age 0 unless its days are given
    assert promotion.run(now=db.now() + timedelta(seconds=1), limit=5) == {"promoted": int(promoted)}


def test_what_a_newer_memory_took_the_place_of_is_not_promoted() -> None:
    proved(superseded_by=proved(agent="scout", confirmations=0))
    assert run() == {"promoted": 0}


def test_a_beat_promotes_no_more_than_its_limit_the_best_proved_first() -> None:
    weaker, best = proved(), proved(agent="scout", days_old=9)
    assert run(limit=1) == {"promoted": 1}
    best.refresh_from_db()
    weaker.refresh_from_db()
    assert best.promoted_at is not None
    assert weaker.promoted_at is None
    assert run(limit=1) == {"promoted": 1}


def test_the_flag_switches_it_off() -> None:
    proved()
    cast.set_policy(flag_learning=False)
    assert run() == {"off": "flag_learning"}
    assert not Memory.objects.filter(promoted_at__isnull=False).exists()


def test_a_memory_laid_aside_since_it_was_looked_at_stays_aside() -> None:
    proved()
    seen = promotion.candidates(now=db.now()).get()
    with db.transaction():
        memory.archive(memory_id=seen.pk, why="for a test", now=db.now())
    assert not promotion._promote(seen, now=db.now())
    assert not Event.objects.filter(kind="memory.promoted").exists()


def test_a_memory_is_promoted_with_its_event_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = proved()

    def dies(**_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(promotion.events, "emit", dies)
        with pytest.raises(KeyboardInterrupt):
            run()
    kept.refresh_from_db()
    assert kept.promoted_at is None
    assert run() == {"promoted": 1}


@pytest.mark.race
def test_two_beats_side_by_side_promote_each_once(committed_company: None) -> None:
    for agent in ("sage", "scout", "intel"):
        proved(agent)
    told = stage.together(4, lambda _: run())
    assert sum(each["promoted"] for each in told) == 3, told
    assert Event.objects.filter(kind="memory.promoted").count() == 3


@given(
    type=st.sampled_from(list(MemoryType)),
    confidence=st.integers(0, 1000),
    confirmations=st.integers(0, 9),
    contradictions=st.integers(0, 9),
    hours=st.integers(0, 24 * 30),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_database_scores_as_the_formula_says(
    type: MemoryType, confidence: int, confirmations: int, contradictions: int, hours: int
) -> None:
    now = db.now()
    kept = minds.known(
        type=type, confidence=Decimal(confidence) / 1000, confirmations=confirmations, contradictions=contradictions,
        now=now - timedelta(hours=hours),
    )  # fmt: skip
    told = Memory.objects.annotate(score=promotion.score(now=now)).get(pk=kept.pk).score
    said = (
        Decimal("0.4") * kept.confidence / memory.RANGES[type][1]
        + Decimal("0.3") * min(Decimal(confirmations) / 3, Decimal(1))
        + Decimal("0.2") * min(Decimal(hours) / (7 * 24), Decimal(1))
        + {"strategy": Decimal("0.1"), "pattern": Decimal("0.05")}.get(type.value, Decimal(0))
        - Decimal("0.1") * contradictions
    )
    assert abs(told - said) < Decimal("0.000002")
