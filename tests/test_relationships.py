"""How pairs move: within bounds, once per cause, in a ledger that adds up, whoever moves them at once."""

import threading
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import opening, relationships
from agents.models import AFFINITY_MAX, AFFINITY_MIN, DRIFT_MOST, Agent, Relationship, Shift
from agents.opening import FIRST_AFFINITIES
from tests.race import stage
from tradeco.common import db
from tradeco.common.errors import NotFound
from tradeco.common.models import Event

PROPERTIES = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
SIX = sorted({key for pair in FIRST_AFFINITIES for key in pair})


@pytest.fixture
def crew(db: None) -> None:
    """The six agents alone."""
    opening.hire()


def drift(
    delta: Decimal | str, cause: str = "conversation:1", a: str = "atlas", b: str = "sage", most: Decimal | str = "0.03"
) -> Shift | None:
    return relationships.drift(a=a, b=b, delta=Decimal(delta), cause=cause, most=Decimal(most), now=db.now())


def affinity(a: str = "atlas", b: str = "sage") -> Decimal:
    return Relationship.objects.get(a=a, b=b).affinity


def set_affinity(value: str, a: str = "atlas", b: str = "sage") -> None:
    Relationship.objects.filter(a=a, b=b).update(affinity=value)


def the_ledger_adds_up(first: dict[tuple[str, str], Decimal]) -> None:
    """Of every pair: the range holds, shifts sum to what it moved, and each begins where the last one ended."""
    for pair in Relationship.objects.all():
        start = first[pair.a_id, pair.b_id]
        moved = pair.shifts.aggregate(total=Sum("delta"))["total"] or 0
        assert pair.affinity == start + moved
        assert AFFINITY_MIN <= pair.affinity <= AFFINITY_MAX
        for shift in pair.shifts.order_by("pk"):
            assert shift.before == start
            assert abs(shift.delta) <= DRIFT_MOST
            start = shift.after


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("crew")
class TestReading:
    def test_affinities_are_of_the_named_alone_in_alphabetical_order(self) -> None:
        known = relationships.affinities(["sage", "atlas", "intel"])
        assert known == {
            ("atlas", "intel"): Decimal("0.35"),
            ("atlas", "sage"): Decimal("0.80"),
            ("intel", "sage"): Decimal("0.30"),
        }
        assert relationships.affinities([]) == {}
        assert len(relationships.affinities(SIX)) == 15

    def test_between_asks_nobody_for_the_order(self) -> None:
        known = relationships.affinities(["sage", "atlas"])
        assert relationships.between("sage", "atlas", known) == Decimal("0.80")
        assert relationships.between("atlas", "sage", known) == Decimal("0.80")
        assert relationships.between("atlas", "newcomer", known) == Decimal("0.50")
        with pytest.raises(AssertionError, match="itself"):
            relationships.between("sage", "sage", known)

    def test_the_farthest_apart_among_those_at_work(self) -> None:
        assert relationships.farthest() == ("intel", "sage", Decimal("0.30"))
        Agent.objects.filter(key="sage").update(active=False)
        assert relationships.farthest() == ("atlas", "intel", Decimal("0.35"))
        Agent.objects.exclude(key="atlas").update(active=False)
        with pytest.raises(NotFound):
            relationships.farthest()

    def test_of_two_pairs_as_far_apart_the_first_by_name(self) -> None:
        set_affinity("0.30")
        assert relationships.farthest() == ("atlas", "sage", Decimal("0.30"))


# --- moving ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("crew")
class TestMoving:
    def test_a_shift_moves_writes_down_and_tells(self) -> None:
        now = db.now()
        shift = relationships.drift(
            a="sage", b="atlas", delta=Decimal("-0.015"), cause="conversation:7", most=Decimal("0.03"), now=now
        )
        assert shift
        pair = Relationship.objects.get(a="atlas", b="sage")
        assert (pair.affinity, pair.updated_at) == (Decimal("0.7850"), now)
        shift.refresh_from_db()
        assert (shift.relationship, shift.cause, shift.at) == (pair, "conversation:7", now)
        assert (shift.before, shift.delta, shift.after) == (Decimal("0.8"), Decimal("-0.015"), Decimal("0.785"))
        event = Event.objects.get()
        assert (event.kind, event.subject) == ("relationship.shifted", f"relationship:{pair.pk}")
        assert {key: event.data[key] for key in ("a", "b", "cause")} == {
            "a": "atlas", "b": "sage", "cause": "conversation:7",
        }  # fmt: skip
        assert (Decimal(event.data["delta"]), Decimal(event.data["affinity"])) == (Decimal("-0.015"), Decimal("0.785"))

    def test_a_cause_moves_a_pair_once_and_other_pairs_too(self) -> None:
        assert drift("0.02")
        assert drift("0.02") is None
        assert drift("-0.03") is None
        assert affinity() == Decimal("0.82")
        assert drift("0.02", a="scout", b="sage")
        assert (Shift.objects.count(), Event.objects.count()) == (2, 2)

    @pytest.mark.parametrize(
        ("delta", "most", "moved"),
        [
            ("0.02", "0.03", "0.02"),
            ("0.5", "0.03", "0.03"),
            ("-0.5", "0.03", "-0.03"),
            ("0.5", "9", "0.03"),
            ("1e400", "9", "0.03"),
            ("-0.5", "0.01", "-0.01"),
            ("0.01", "0", "0"),
            ("0.01", "-1", "0"),
            ("0.02999", "0.03", "0.0299"),
            ("0.5", "0.00019", "0.0001"),
            ("-0.5", "0.00019", "-0.0001"),
            ("0.0001", "0.03", "0.0001"),
            ("1e-400", "0.03", "0"),
        ],
    )
    def test_no_cause_moves_further_than_allowed(self, delta: str, most: str, moved: str) -> None:
        shift = drift(delta, most=most)
        assert shift
        assert shift.delta == Decimal(moved)
        assert affinity() == Decimal("0.8") + Decimal(moved)

    @pytest.mark.parametrize(("first", "delta", "last"), [("0.94", "0.03", "0.95"), ("0.11", "-0.03", "0.10")])
    def test_at_the_end_of_the_range_only_the_rest_is_applied(self, first: str, delta: str, last: str) -> None:
        set_affinity(first)
        shift = drift(delta)
        assert shift
        assert affinity() == Decimal(last)
        assert shift.delta == Decimal(last) - Decimal(first)

    def test_a_cause_that_could_not_move_is_used_up_in_silence(self) -> None:
        set_affinity("0.95")
        shift = drift("0.02")
        assert shift
        assert shift.delta == 0
        assert not Event.objects.exists()
        set_affinity("0.50")
        assert drift("0.02") is None
        assert affinity() == Decimal("0.50")

    @pytest.mark.parametrize("figure", ["NaN", "sNaN", "Infinity", "-Infinity"])
    def test_what_is_no_number_moves_nothing(self, figure: str) -> None:
        with pytest.raises(ValueError, match="no drift"):
            drift(figure)
        with pytest.raises(ValueError, match="no drift"):
            drift("0.01", most=figure)
        assert not Shift.objects.exists()
        assert affinity() == Decimal("0.8")

    def test_who_was_never_introduced_starts_in_the_middle(self) -> None:
        Relationship.objects.filter(a="atlas", b="sage").delete()
        assert drift("0.01")
        assert affinity() == Decimal("0.51")

    def test_the_database_refuses_what_the_code_would_have_to_prevent(self) -> None:
        pair = Relationship.objects.get(a="atlas", b="sage")
        wrong: Sequence[tuple[str, dict[str, Any]]] = (
            ("drift_within_cap", {"delta": Decimal("0.0301"), "after": Decimal("0.8301")}),
            ("shift_adds_up", {"delta": Decimal("0.02"), "after": Decimal("0.83")}),
        )
        for name, values in wrong:
            with pytest.raises(IntegrityError, match=name), transaction.atomic():
                Shift.objects.create(relationship=pair, cause="x", before=pair.affinity, at=db.now(), **values)
        for beyond in ("0.0999", "0.9501"):
            with pytest.raises(IntegrityError, match="affinity_within_range"), transaction.atomic():
                set_affinity(beyond)


# --- whatever happens -----------------------------------------------------------------------------

pairs = st.sampled_from(sorted(FIRST_AFFINITIES))
deltas = st.decimals(allow_nan=False, allow_infinity=False) | st.decimals("-0.05", "0.05", places=4)
caps = st.decimals("0", "0.03") | st.decimals("-1", "2")
happenings = st.lists(st.tuples(pairs, deltas, caps, st.integers(1, 6), st.booleans()), max_size=12)
odd = st.sampled_from([Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("-Infinity")])


@pytest.mark.usefixtures("crew")
class TestWhateverHappens:
    @given(happened=happenings)
    @PROPERTIES
    def test_the_ledger_adds_up_and_a_cause_counts_once(self, happened: list[Any]) -> None:
        first = start_over()
        seen = set()
        for (a, b), delta, most, cause, turned in happened:
            shift = drift(delta, f"conversation:{cause}", *((b, a) if turned else (a, b)), most=most)
            assert (shift is None) == ((a, b, cause) in seen)
            seen.add((a, b, cause))
            if shift is not None:
                assert abs(shift.delta) <= min(max(most, 0), DRIFT_MOST)
                assert shift.delta * delta >= 0, "it went the other way"
        assert Shift.objects.count() == len(seen)
        the_ledger_adds_up(first)

    @given(happened=happenings, order=st.randoms(use_true_random=False), times=st.integers(1, 3))
    @PROPERTIES
    def test_told_again_in_any_order_nothing_more_moves(self, happened: list[Any], order: Any, times: int) -> None:
        first = start_over()
        for (a, b), delta, most, cause, _ in happened:
            drift(delta, f"conversation:{cause}", a, b, most=most)
        after = relationships.affinities(SIX)
        again = happened * times
        order.shuffle(again)
        for (a, b), delta, most, cause, _ in again:
            assert drift(delta, f"conversation:{cause}", a, b, most=most) is None
        assert relationships.affinities(SIX) == after
        the_ledger_adds_up(first)

    @given(moves=st.lists(st.decimals("-0.03", "0.03", places=4), max_size=8), order=st.randoms(use_true_random=False))
    @PROPERTIES
    def test_away_from_the_ends_order_does_not_matter(self, moves: list[Decimal], order: Any) -> None:
        ended = []
        for causes in (list(enumerate(moves)), order.sample(list(enumerate(moves)), len(moves))):
            start_over()
            set_affinity("0.50")
            for cause, delta in causes:
                drift(delta, f"conversation:{cause}")
            ended.append(affinity())
        assert ended == [Decimal("0.50") + sum(moves, Decimal(0))] * 2

    @given(happened=happenings, wrong=odd, as_cap=st.booleans())
    @PROPERTIES
    def test_amid_anything_what_is_no_number_is_refused(
        self, happened: list[Any], wrong: Decimal, as_cap: bool
    ) -> None:
        first = start_over()
        for (a, b), delta, most, cause, _ in happened:
            drift(delta, f"conversation:{cause}", a, b, most=most)
            with pytest.raises(ValueError, match="no drift"):
                drift(delta if as_cap else wrong, "conversation:odd", a, b, most=wrong if as_cap else most)
        assert not Shift.objects.filter(cause="conversation:odd").exists()
        the_ledger_adds_up(first)


def start_over() -> dict[tuple[str, str], Decimal]:
    """As on the first day, for the next example of a property; the first affinities."""
    Shift.objects.all().delete()
    first = {pair: Decimal(value) for pair, value in FIRST_AFFINITIES.items()}
    pairs = list(Relationship.objects.all())
    for pair in pairs:
        pair.affinity = first[pair.a_id, pair.b_id]
    Relationship.objects.bulk_update(pairs, ["affinity"])
    return first


# --- at once --------------------------------------------------------------------------------------

THREADS = 8


@pytest.fixture
def committed_crew(transactional_db: None) -> None:
    opening.hire()


def drift_alone(place: int, cause: str = "") -> str:
    with db.transaction():
        return "moved" if drift("0.01", cause or f"conversation:{place}") else "known"


@pytest.mark.django_db(transaction=True)
def test_drifting_asks_for_a_transaction() -> None:
    opening.hire()
    with pytest.raises(AssertionError, match="inside a transaction"):
        drift("0.01")


@pytest.mark.race
@pytest.mark.usefixtures("committed_crew")
class TestAtOnce:
    def test_control_without_the_row_lock_updates_are_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        read = threading.Barrier(THREADS, timeout=10)

        def read_without_lock(a: str, b: str) -> Relationship:
            pair = Relationship.objects.get(a=a, b=b)
            read.wait()  # all have read and none has written
            return pair

        monkeypatch.setattr(relationships, "_locked", read_without_lock)
        assert stage.together(THREADS, drift_alone) == ["moved"] * THREADS
        assert affinity() == Decimal("0.81")
        with pytest.raises(AssertionError):
            the_ledger_adds_up(first=relationships.affinities(SIX) | {("atlas", "sage"): Decimal("0.80")})

    def test_every_one_of_many_at_once_counts(self) -> None:
        first = relationships.affinities(SIX)
        assert stage.together(THREADS, drift_alone) == ["moved"] * THREADS
        assert affinity() == Decimal("0.88")
        the_ledger_adds_up(first)

    def test_of_many_with_one_cause_one_counts(self) -> None:
        first = relationships.affinities(SIX)
        told = stage.together(THREADS, lambda place: drift_alone(place, cause="conversation:1"))
        assert sorted(map(str, told)) == ["known"] * (THREADS - 1) + ["moved"]
        assert affinity() == Decimal("0.81")
        the_ledger_adds_up(first)

    def test_many_pairs_in_alphabetical_order_never_deadlock(self) -> None:
        first = relationships.affinities(SIX)

        def distil(place: int) -> int:
            with db.transaction():
                return sum(
                    drift("0.005", f"conversation:{place}", a, b) is not None for a, b in sorted(FIRST_AFFINITIES)
                )

        assert stage.together(THREADS, distil) == [15] * THREADS
        the_ledger_adds_up(first)

    def test_who_merely_refers_to_the_pair_is_not_held_up(self) -> None:
        """The lock is one on the pair alone: an agent's other pairs and rows go on."""
        with db.transaction():
            drift("0.01")
            (other,) = stage.together(1, lambda _: _drift_hurried("atlas", "scout"))
        assert other == "moved"


def _drift_hurried(a: str, b: str) -> str:
    with db.transaction(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '5s'")
        return "moved" if drift("0.01", a=a, b=b) else "known"


# --- at the desk ----------------------------------------------------------------------------------


def test_a_pairs_page_shows_its_last_twenty_shifts(client: Client, company: None, admin_user: AbstractUser) -> None:
    for number in range(25):
        drift("0.001" if number % 2 else "-0.002", f"conversation:{1000 + number}")
    client.force_login(admin_user)
    pair = Relationship.objects.get(a="atlas", b="sage")
    page = client.get(f"/admin/agents/relationship/{pair.pk}/change/").text
    shown = [number for number in range(25) if f"conversation:{1000 + number}" in page]
    assert shown == list(range(5, 25))
    assert page.index("conversation:1024") < page.index("conversation:1005")
    assert "-0.0020" in page
    assert "+0.0010" in page
    listed = client.get("/admin/agents/shift/", {"q": "conversation:1003"})
    assert [shift.cause for shift in listed.context["cl"].result_list] == ["conversation:1003"]
    newest = Shift.objects.latest("pk")
    assert client.get(f"/admin/agents/shift/{newest.pk}/change/").status_code == 200
    assert client.post(f"/admin/agents/shift/{newest.pk}/change/", {"delta": "0"}).status_code == 403
