"""What many memories of a kind do to a voice, and that it fades."""

from datetime import timedelta
from decimal import Decimal

import pytest

from agents import manner, opening
from agents.manner import Modifier
from agents.models import Memory
from tests import minds
from tradeco.common import db

CAREFUL = "has learnt {n} lessons about {tag}: careful there"
PATTERNS = "has seen {n} patterns: looks for what comes back"
STRATEGIES = "keeps {n} strategies that worked: sure of its ground"


@pytest.fixture(autouse=True)
def _crew(db: None) -> None:
    opening.hire()


def heard(agent: str = "sage", *, days: float = 0) -> list[str]:
    return [modifier.text for modifier in manner.modifiers(agent=agent, now=db.now() + timedelta(days=days))]


def test_who_knows_nothing_speaks_as_by_nature() -> None:
    assert manner.modifiers(agent="sage", now=db.now()) == ()


def test_from_the_eleventh_lesson_about_one_thing_on() -> None:
    minds.know_many(10, tags=["SOL/USDC"])
    minds.know_many(10, tags=["JUP/USDC"])
    assert heard() == []
    minds.know_many(4, tags=["SOL/USDC"])
    assert heard() == [CAREFUL.format(n=14, tag="SOL/USDC")]


def test_from_the_sixth_pattern_and_the_ninth_strategy_on() -> None:
    minds.know_many(5, type="pattern", confidence="0.8")
    minds.know_many(8, type="strategy", confidence="0.9")
    minds.know_many(50, type="insight", confidence="0.8")
    assert heard() == []
    minds.known(type="pattern", confidence="0.8")
    assert heard() == [PATTERNS.format(n=6)]
    minds.known(type="strategy", confidence="0.9")
    assert heard() == [STRATEGIES.format(n=9), PATTERNS.format(n=6)]


def test_the_strongest_three_are_heard_and_of_equals_the_first_by_name() -> None:
    minds.know_many(11, tags=["a", "d"], confidence="0.6")
    minds.know_many(11, tags=["c"], confidence="0.7")
    minds.know_many(11, tags=["b"], confidence="0.6")
    minds.know_many(6, type="pattern", confidence="0.8")
    expected = [PATTERNS.format(n=6), CAREFUL.format(n=11, tag="c"), CAREFUL.format(n=11, tag="a")]
    assert heard() == expected
    assert heard() == expected


def test_strength_is_the_mean_after_decay_and_what_faded_is_not_heard() -> None:
    now = db.now()
    minds.know_many(6, type="pattern", confidence="0.8", created_at=now)
    minds.know_many(6, type="pattern", confidence="0.7", created_at=now)
    assert manner.modifiers(agent="sage", now=now) == (Modifier(PATTERNS.format(n=12), Decimal("0.75")),)
    (later,) = manner.modifiers(agent="sage", now=now + timedelta(days=27))  # .75 / e^.9
    assert later.strength == Decimal("0.305")
    assert manner.modifiers(agent="sage", now=now + timedelta(days=28)) == ()  # .295


def test_only_live_memories_of_ones_own_count() -> None:
    now = db.now()
    minds.know_many(20, "intel", type="pattern", confidence="0.8", promoted_at=now)
    minds.know_many(20, type="pattern", confidence="0.8", archived_at=now)
    assert heard() == []
    assert heard("intel") == [PATTERNS.format(n=20)]
    assert Memory.objects.count() == 40


def test_a_lesson_without_a_tag_is_about_nothing() -> None:
    minds.know_many(20)
    assert heard() == []
