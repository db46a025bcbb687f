"""What agents keep, what comes back to them and in which order, and that none keeps too much."""

import math
import threading
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import memory as memories
from agents import opening
from agents.models import Memory, MemoryType
from tests import minds
from tests.race import stage
from tradeco.common import db
from tradeco.common.models import Event

NASTY = (
    "",
    "   ",
    "\x00",
    "sol\x00spike",
    "\ud800",
    "'; DROP TABLE agents_memory; --",
    "& | ! <-> :* ( ) \\ '",
    '"unclosed -',
    "-",
    "or",
    "the",
    "%s %(x)s %",
    "x" * 5_000,
    "spike " * 100_000,
    "ß é 狐 🦊 \u202e",
)


@pytest.fixture
def crew(db: None) -> None:
    """The six agents alone."""
    opening.hire()


def found(**asked: Any) -> list[Memory]:
    values: dict[str, Any] = {"agent": "sage", "now": db.now(), "limit": 10, **asked}
    return [recalled.memory for recalled in memories.recall(**values)]


def events_of(kind: str) -> list[dict[str, Any]]:
    return list(Event.objects.filter(kind=kind).order_by("key").values_list("data", flat=True))


# --- keeping --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("crew")
class TestKeeping:
    @pytest.mark.parametrize(
        ("type", "lowest", "highest"),
        [
            ("insight", "0.65", "0.85"),
            ("pattern", "0.70", "0.90"),
            ("strategy", "0.75", "0.90"),
            ("preference", "0.60", "0.80"),
            ("lesson", "0.55", "0.75"),
        ],
    )
    def test_each_type_has_its_range(self, type: str, lowest: str, highest: str) -> None:
        middle = (Decimal(lowest) + Decimal(highest)) / 2
        for given_, kept in (("0.55", lowest), ("1", highest), ("9e30", highest), (middle, middle)):
            memory = minds.remember(type=MemoryType(type), confidence=Decimal(given_))
            assert memory
            memory.refresh_from_db()
            assert memory.confidence == Decimal(kept), given_

    def test_what_is_below_the_floor_is_dropped(self) -> None:
        assert minds.remember(confidence=Decimal("0.549")) is None
        assert minds.remember(confidence=Decimal("0.7"), floor=Decimal("0.8")) is None
        assert not Memory.objects.exists()
        assert not Event.objects.exists()

    @pytest.mark.parametrize("confidence", ["NaN", "Infinity", "-Infinity", "sNaN"])
    def test_what_is_no_number_is_refused(self, confidence: str) -> None:
        with pytest.raises(ValueError, match="no confidence"):
            minds.remember(confidence=Decimal(confidence))

    def test_a_cause_teaches_an_agent_one_memory_of_a_type(self) -> None:
        assert minds.remember(cause="outcome:1")
        assert minds.remember(cause="outcome:1", text="Something else", confidence=Decimal("0.6")) is None
        assert Memory.objects.get().text == "Buying SOL after a spike lost money."
        assert len(events_of("memory.kept")) == 1
        assert minds.remember(cause="outcome:1", type=MemoryType.PATTERN)
        assert minds.remember(agent="scout", cause="outcome:1")

    def test_keeping_tells_what_and_whose(self) -> None:
        memory = minds.remember(cause="outcome:1", tags=["SOL/USDC"], confidence=Decimal("0.6"))
        assert memory
        event = Event.objects.get()
        assert (event.kind, event.subject, event.agent) == ("memory.kept", f"memory:{memory.pk}", "sage")
        assert event.data == {
            "type": "lesson",
            "cause": "outcome:1",
            "text": "Buying SOL after a spike lost money.",
            "confidence": "0.600",
            "tags": ["SOL/USDC"],
        }

    def test_what_can_not_be_stored_is_made_fit(self) -> None:
        memory = minds.remember(text="a\x00b\n\ud800c " + "x" * 600, tags=["t\x00", "t", "", "y" * 90])
        assert memory
        memory.refresh_from_db()
        assert memory.text.startswith("a b c xxx")
        assert len(memory.text) == 500
        assert memory.tags == ["t", "y" * 39 + "…"]
        assert minds.remember(text=" \n\x00") is None

    def test_a_newer_memory_takes_the_place_of_an_older(self) -> None:
        older, other = minds.remember(cause="outcome:1"), minds.remember(cause="outcome:2")
        newer = minds.remember(cause="outcome:3", supersedes=older)
        assert older
        assert newer
        older.refresh_from_db()
        assert older.superseded_by == newer
        assert older.archived_at == newer.created_at
        assert set(found()) == {newer, other}
        (told,) = events_of("memory.archived")
        assert (told["why"], told["by"]) == ("superseded", f"memory:{newer.pk}")

    def test_of_two_that_supersede_the_same_the_first_did(self) -> None:
        older = minds.remember()
        first, second = minds.remember(supersedes=older), minds.remember(supersedes=older)
        assert older
        older.refresh_from_db()
        assert older.superseded_by == first
        assert set(found()) == {first, second}
        assert len(events_of("memory.archived")) == 1

    def test_a_repeated_cause_supersedes_nothing(self) -> None:
        minds.remember(cause="outcome:1")
        live = minds.remember(cause="outcome:2")
        assert minds.remember(cause="outcome:1", supersedes=live) is None
        assert live in found()

    def test_nobody_supersedes_what_another_holds(self) -> None:
        with pytest.raises(AssertionError, match="another holds"):
            minds.remember(agent="scout", supersedes=minds.remember(agent="sage"))

    def test_confirming_and_contradicting_count_and_tell(self) -> None:
        memory = minds.known()
        memories.confirm(memory_id=memory.pk, cause="outcome:7", now=db.now())
        memories.confirm(memory_id=memory.pk, cause="outcome:8", now=db.now())
        memories.contradict(memory_id=memory.pk, cause="outcome:9", now=db.now())
        memory.refresh_from_db()
        assert (memory.confirmations, memory.contradictions) == (2, 1)
        assert [told["confirmations"] for told in events_of("memory.confirmed")] == [1, 2]
        (told,) = events_of("memory.contradicted")
        assert (told["cause"], told["contradictions"]) == ("outcome:9", 1)

    def test_laying_aside_happens_once(self) -> None:
        memory = minds.known()
        assert memories.archive(memory_id=memory.pk, why="of no use", now=db.now()) is True
        assert memories.archive(memory_id=memory.pk, why="of no use", now=db.now()) is False
        assert memories.archive(memory_id=0, why="of no use", now=db.now()) is False
        assert [told["why"] for told in events_of("memory.archived")] == ["of no use"]
        assert found() == []


@pytest.mark.django_db(transaction=True)
def test_everything_that_writes_asks_for_a_transaction() -> None:
    opening.hire()
    memory = minds.known()
    for act in (
        minds.remember,
        lambda: memories.confirm(memory_id=memory.pk, cause="x", now=db.now()),
        lambda: memories.contradict(memory_id=memory.pk, cause="x", now=db.now()),
        lambda: memories.archive(memory_id=memory.pk, why="x", now=db.now()),
    ):
        with pytest.raises(AssertionError, match="inside a transaction"):
            act()


# --- not too many ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("crew")
class TestRoom:
    def test_the_weakest_goes_first_and_strength_fades(self) -> None:
        sure_but_old = minds.known(confidence="0.75", days_old=10)  # 0.537
        unsure_but_new = minds.known(confidence="0.60")
        newest = minds.remember(confidence=Decimal("0.70"), most=2)
        assert found() == [newest, unsure_but_new]
        sure_but_old.refresh_from_db()
        assert sure_but_old.archived_at
        assert [told["why"] for told in events_of("memory.archived")] == ["weakest"]

    def test_of_two_as_strong_the_older_goes(self) -> None:
        now = db.now()
        second, first, third = (minds.known(now=now + timedelta(days=day)) for day in (-1, -2, 0))
        kept = minds.remember(most=3, now=now)
        assert set(found()) == {second, third, kept}
        first.refresh_from_db()
        assert first.archived_at == now

    def test_what_is_weakest_itself_is_laid_aside_at_once(self) -> None:
        strong = [minds.known(type="strategy", confidence="0.9") for _ in range(2)]
        kept = minds.remember(confidence=Decimal("0.55"), most=2)
        assert kept
        assert kept.archived_at
        assert set(found()) == set(strong)

    def test_a_lower_bound_empties_down_to_it_and_others_keep_theirs(self) -> None:
        minds.know_many(20)
        minds.know_many(20, agent="scout")
        minds.remember(most=5)
        assert memories.live().filter(agent="sage").count() == 5
        assert memories.live().filter(agent="scout").count() == 20

    def test_two_hundred_stay(self) -> None:
        minds.know_many(200, days_old=1)
        for _ in range(3):
            minds.remember()
        assert memories.live().count() == 200
        assert Memory.objects.count() == 203


MOST, THREADS = 5, 8


@pytest.fixture
def full(transactional_db: None) -> None:
    """An agent that knows as much as it may, all committed."""
    opening.hire()
    minds.know_many(MOST, days_old=1)


def remember_alone(place: int, **changes: Any) -> str:
    with db.transaction():
        return "kept" if minds.remember(most=MOST, **{"cause": f"outcome:{place}", **changes}) else "known"


@pytest.mark.race
@pytest.mark.usefixtures("full")
class TestAtOnce:
    def test_control_without_the_lock_an_agent_knows_too_much(self, monkeypatch: pytest.MonkeyPatch) -> None:
        looked = threading.Barrier(THREADS, timeout=10)
        lay_aside = memories._lay_aside

        def lay_aside_once_all_have_looked(*args: Any, **kwargs: Any) -> bool:
            looked.wait()  # all have written and looked, and none has committed
            return lay_aside(*args, **kwargs)

        monkeypatch.setattr(memories, "_lock", lambda _: None)
        monkeypatch.setattr(memories, "_lay_aside", lay_aside_once_all_have_looked)
        assert stage.together(THREADS, remember_alone) == ["kept"] * THREADS
        assert memories.live().count() == MOST + THREADS - 1  # all laid the same one aside

    def test_no_agent_ever_knows_too_much(self) -> None:
        assert stage.together(THREADS, remember_alone) == ["kept"] * THREADS
        assert memories.live().count() == MOST
        assert Memory.objects.count() == MOST + THREADS

    def test_of_many_that_tell_the_same_one_is_heard(self) -> None:
        told = stage.together(THREADS, lambda place: remember_alone(place, cause="outcome:1"))
        assert sorted(map(str, told)) == ["kept"] + ["known"] * (THREADS - 1)
        assert Memory.objects.filter(cause="outcome:1").count() == 1
        assert Event.objects.filter(kind="memory.kept").count() == 1

    def test_the_database_holds_one_per_cause_even_past_the_lock(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memories, "_lock", lambda _: None)
        told = stage.together(THREADS, lambda place: remember_alone(place, cause="outcome:1"))
        assert sorted(map(str, told)) == ["kept"] + ["known"] * (THREADS - 1)

    def test_who_merely_refers_to_the_agent_is_not_held_up(self) -> None:
        with db.transaction():
            minds.remember(most=MOST)
            (other,) = stage.together(1, lambda _: minds.known(agent="sage").pk)
        assert isinstance(other, int)


# --- recalling ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("crew")
class TestRecalling:
    def test_strongest_first_ones_own_and_what_all_know(self) -> None:
        now = db.now()
        own = minds.known(confidence="0.70")
        faded = minds.known(confidence="0.75", days_old=20)
        shared = minds.known("intel", confidence="0.90", promoted_at=now)
        minds.known("intel", confidence="0.95")
        minds.known(confidence="0.95", archived_at=now)
        minds.known("intel", confidence="0.95", archived_at=now, promoted_at=now)
        assert found() == [shared, own, faded]
        assert found(limit=2) == [shared, own]
        assert found(limit=0) == []
        assert found(agent="growth") == [shared]

    @pytest.mark.parametrize("days", [0, 1, 15, 30, 365])
    def test_strength_is_confidence_times_e_to_the_minus_age_over_thirty_days(self, days: int) -> None:
        now = db.now()
        minds.known(confidence="0.8", days_old=days, now=now)
        (recalled,) = memories.recall(agent="sage", now=now, limit=1)
        assert float(recalled.strength) == pytest.approx(0.8 * math.exp(-days / 30), abs=1e-6)
        assert recalled.strength == recalled.strength.quantize(Decimal("0.000001"))

    def test_centuries_fade_to_nothing_and_the_future_is_merely_new(self) -> None:
        now = db.now()
        minds.known(days_old=300_000)
        minds.known(confidence="0.7", now=now + timedelta(days=9))
        strengths = [recalled.strength for recalled in memories.recall(agent="sage", now=now, limit=9)]
        assert strengths == [Decimal("0.7"), Decimal(0)]

    def test_the_least_asked_for_is_what_is_left_after_decay(self) -> None:
        minds.known(confidence="0.75", days_old=20)  # 0.385
        assert found(confidence_min=Decimal("0.39")) == []
        assert len(found(confidence_min=Decimal("0.38"))) == 1

    def test_by_type_and_by_any_of_some_tags(self) -> None:
        lesson = minds.known(tags=["SOL/USDC", "entry"])
        pattern = minds.known(type="pattern", confidence="0.8", tags=["JUP/USDC"])
        assert found(types=[MemoryType.LESSON]) == [lesson]
        assert found(types=[MemoryType.PATTERN, MemoryType.LESSON]) == [pattern, lesson]
        assert found(tags=["SOL/USDC", "BONK/USDC"]) == [lesson]
        assert found(tags=["entry", "JUP/USDC"]) == [pattern, lesson]
        assert found(tags=["sol/usdc"]) == []
        assert found(tags=["entry"], types=[MemoryType.PATTERN]) == []

    def test_by_words_in_any_form(self) -> None:
        spike = minds.known(text="Buying SOL after a spike lost money.", confidence="0.7")
        quiet = minds.known(text="Quiet markets reward patience on SOL/USDC.", confidence="0.6")
        assert found(words="spikes") == [spike]
        assert found(words="BUY spike") == [spike]
        assert found(words="spike patience") == []
        assert found(words="spike or patience") == [spike, quiet]
        assert found(words='"reward patience"') == [quiet]
        assert found(words='"patience reward"') == []
        assert found(words="SOL/USDC") == [quiet]
        assert found(words="markets -sol/usdc") == []
        assert found(words="the") == []
        assert found(words="  ") == [spike, quiet]

    @pytest.mark.parametrize("words", NASTY, ids=range(len(NASTY)))
    def test_any_words_may_be_asked_for(self, words: str) -> None:
        minds.known()
        found(words=words, tags=[words])
        assert len(found()) == 1

    @given(words=st.text(alphabet=st.characters(), max_size=80) | st.text("ab \"'&|!():*<->\\\x00-", max_size=30))
    @settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
    def test_whatever_the_words(self, words: str) -> None:
        assert len(found(words=words)) <= 10


# --- by its indexes -------------------------------------------------------------------------------

ASKED: dict[str, dict[str, Any]] = {
    "all": {},
    "types": {"types": [MemoryType.LESSON, MemoryType.STRATEGY]},
    "tags": {"tags": ["SOL/USDC"]},
    "words": {"words": "spike"},
    "everything": {"types": [MemoryType.LESSON], "tags": ["SOL/USDC"], "words": "spike", "confidence_min": "0.6"},
}


def plan_of(act: Any) -> str:
    """How PostgreSQL goes about the last query that `act` asks."""
    with CaptureQueriesContext(connection) as asked:
        act()
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + asked[-1]["sql"])
        return "\n".join(row[0] for row in cursor.fetchall())


@pytest.fixture
def ten_thousand(crew: None) -> None:
    """Each of six with 200 live memories, five of them known to all, and what was laid aside over the years."""
    now = db.now()
    for agent in ("atlas", "sage", "scout", "growth", "intel", "observer"):
        minds.know_many(195, agent, tags=["SOL/USDC"])
        minds.know_many(5, agent, promoted_at=now)
        rest = [
            minds.memory(agent, now=now, archived_at=now, text=f"Word{n % 500} came after event {n}.", tags=[f"t{n}"])
            for n in range(1467)
        ]
        Memory.objects.bulk_create(rest)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE agents_memory")


@pytest.mark.usefixtures("ten_thousand")
def test_recalling_from_ten_thousand_reads_by_index() -> None:
    assert Memory.objects.count() > 10_000
    for name, asked in ASKED.items():
        plan = plan_of(lambda asked=asked: found(**asked))
        assert "Seq Scan" not in plan, (name, plan)
        assert "memory_" in plan, (name, plan)
    search = plan_of(lambda: list(memories.saying(Memory.objects.all(), "word7")))
    assert "memory_words" in search, search


@pytest.mark.usefixtures("ten_thousand")
def test_control_without_the_indexes_all_are_read() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DROP INDEX memory_recall, memory_promoted, memory_words, memory_tags")
    assert "Seq Scan" in plan_of(lambda: list(memories.saying(Memory.objects.all(), "word7")))
    assert "Seq Scan" in plan_of(found)


# --- at the desk ----------------------------------------------------------------------------------


def test_staff_find_memories_by_words_cause_and_number(client: Client, company: None, admin_user: AbstractUser) -> None:
    client.force_login(admin_user)
    spike = minds.known(text="Spikes were followed by losses.", cause="outcome:77")
    quiet = minds.known(text="Quiet markets reward patience.", promoted_at=db.now())

    def shown(**asked: str) -> list[Memory]:
        answer = client.get("/admin/agents/memory/", asked)
        assert answer.status_code == 200
        return list(answer.context["cl"].result_list)

    assert shown(q="spike loss") == [spike]
    assert shown(q="outcome:77") == [spike]
    assert shown(q="outcome:7") == []
    assert shown(q=f"#{quiet.pk}") == [quiet]
    assert shown(promoted_at__isempty="0") == [quiet]
    assert shown(promoted_at__isempty="1") == [spike]
    assert "Promoted at" in client.get(f"/admin/agents/memory/{quiet.pk}/change/").text
