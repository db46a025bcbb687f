"""Scores as their formulas say, each once, and what they tell of an agent."""

import math
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import opening, track_record
from agents.models import Score
from agents.track_record import TrackRecord
from tests import minds
from tests.race import stage
from tradeco.common import db

probabilities = st.decimals("0", "1", places=3)
forecasts = st.lists(st.tuples(probabilities, st.booleans()), min_size=1, max_size=30)
PROPERTIES = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def crew(db: None) -> None:
    """The six agents alone."""
    opening.hire()


def score(probability: str = "0.7", *, happened: bool = True, cause: str = "forecast:1", **other: Any) -> Score | None:
    values = {"agent": "scout", "kind": "entry", "now": db.now(), **other}
    return track_record.score(probability=Decimal(probability), happened=happened, cause=cause, **values)


def record(**asked: Any) -> TrackRecord:
    return track_record.record(**{"agent": "scout", **asked})


# --- one forecast ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("crew")
class TestScoring:
    @pytest.mark.parametrize(
        ("probability", "happened", "brier", "log_score"),
        [
            ("0.7", True, "0.09", "0.356675"),
            ("0.7", False, "0.49", "1.203973"),
            ("0.5", True, "0.25", "0.693147"),
            ("1", True, "0", "0"),
            ("0", False, "0", "0"),
            ("0", True, "1", "13.815511"),
            ("1", False, "1", "13.815511"),
            ("0.123", False, "0.015129", "0.131248"),
        ],
    )
    def test_as_the_formulas_say(self, probability: str, happened: bool, brier: str, log_score: str) -> None:
        scored = score(probability, happened=happened)
        assert scored
        scored.refresh_from_db()
        assert (scored.brier, scored.log_score) == (Decimal(brier), Decimal(log_score))
        assert not scored.log_score.is_signed()
        assert (scored.agent_id, scored.kind, scored.happened) == ("scout", "entry", happened)

    def test_what_is_scored_is_what_is_stored(self) -> None:
        scored = score("0.66666")
        assert scored
        assert scored.brier == (1 - Decimal("0.667")) ** 2

    def test_a_cause_is_scored_once(self) -> None:
        assert score("0.7", cause="forecast:1")
        assert score("0.2", cause="forecast:1", happened=False, agent="sage") is None
        assert Score.objects.get().probability == Decimal("0.7")

    @pytest.mark.parametrize("probability", ["NaN", "sNaN", "Infinity", "-Infinity", "-0.001", "1.001", "1e9"])
    def test_what_is_no_probability_is_refused(self, probability: str) -> None:
        with pytest.raises(ValueError, match="no probability"):
            score(probability)
        assert not Score.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_scoring_asks_for_a_transaction() -> None:
    opening.hire()
    with pytest.raises(AssertionError, match="inside a transaction"):
        score()


@pytest.mark.race
@pytest.mark.django_db(transaction=True)
def test_of_many_that_score_the_same_at_once_one_does() -> None:
    opening.hire()

    def score_alone(_: int) -> str:
        with db.transaction():
            return "scored" if score() else "known"

    assert sorted(map(str, stage.together(8, score_alone))) == ["known"] * 7 + ["scored"]
    assert Score.objects.count() == 1


def test_honesty_pays() -> None:
    """What makes both scores proper: nobody expects a better one by stating what he doesn't believe."""
    for score_of in (track_record.brier, track_record.log_score):
        for believed in (Decimal(step) / 20 for step in range(21)):

            def expected(stated: Decimal, believed: Decimal = believed, score_of: Any = score_of) -> Decimal:
                return believed * score_of(stated, True) + (1 - believed) * score_of(stated, False)

            assert min((Decimal(step) / 20 for step in range(21)), key=expected) == believed


# --- all of an agent ------------------------------------------------------------------------------


@pytest.mark.usefixtures("crew")
class TestRecord:
    def test_of_none_nothing_is_told(self) -> None:
        none = record()
        assert (none.forecasts, none.mean_probability, none.base_rate) == (0, None, None)
        assert (none.brier, none.log_score, none.skill) == (None, None, None)
        assert [(found.n, found.mean_probability, found.happened) for found in none.bins] == [(0, None, None)] * 10

    def test_means_base_rate_and_skill(self) -> None:
        minds.scored([("0.8", True), ("0.6", True), ("0.6", False), ("0.2", False)])
        told = record()
        assert (told.forecasts, told.mean_probability, told.base_rate) == (4, Decimal("0.55"), Decimal("0.5"))
        assert told.brier == Decimal("0.15")  # (.04 + .16 + .36 + .04) / 4
        assert told.skill == Decimal("0.4")  # 1 − .15 / .25
        logs = -(math.log(0.8) + math.log(0.6) + math.log(0.4) + math.log(0.8)) / 4
        assert float(told.log_score or 0) == pytest.approx(logs, abs=1e-5)

    def test_always_saying_the_base_rate_is_no_skill_and_knowing_is_all(self) -> None:
        minds.scored([("0.25", False)] * 3 + [("0.25", True)])
        assert record().skill == 0
        minds.scored([("0", False)] * 3 + [("1", True)], agent="intel")
        assert record(agent="intel").skill == 1
        minds.scored([("1", False)] * 2 + [("0", True)] * 2, agent="sage")
        assert record(agent="sage").skill == -3

    @pytest.mark.parametrize("happened", [True, False])
    def test_where_only_one_thing_happened_there_is_no_telling_skill(self, happened: bool) -> None:
        minds.scored([("0.7", happened)] * 3)
        assert record().skill is None
        assert record().base_rate == int(happened)

    def test_each_forecast_lies_in_one_of_ten_bins(self) -> None:
        minds.scored([("0", False), ("0.099", True), ("0.1", False), ("0.55", True), ("0.9", True), ("1", True)])
        bins = record().bins
        assert [(found.low, found.high) for found in bins][::9] == [
            (Decimal(0), Decimal("0.1")), (Decimal("0.9"), Decimal(1)),
        ]  # fmt: skip
        assert [found.n for found in bins] == [2, 1, 0, 0, 0, 1, 0, 0, 0, 2]
        assert (bins[0].mean_probability, bins[0].happened) == (Decimal("0.0495"), Decimal("0.5"))
        assert (bins[9].mean_probability, bins[9].happened) == (Decimal("0.95"), Decimal(1))

    def test_of_one_agent_and_one_kind(self) -> None:
        minds.scored([("0.8", True)])
        minds.scored([("0.4", True)], kind="exit")
        minds.scored([("0.1", True)], agent="intel")
        assert record().forecasts == 2
        assert record(kind="exit").mean_probability == Decimal("0.4")
        assert record(kind="hedge").forecasts == 0

    @given(made=forecasts)
    @PROPERTIES
    def test_whatever_was_forecast_it_adds_up(self, made: list[tuple[Decimal, bool]]) -> None:
        Score.objects.all().delete()
        minds.scored([(str(probability), happened) for probability, happened in made])
        told, n = record(), len(made)
        assert told.forecasts == n == sum(found.n for found in told.bins)
        for probability, _ in made:
            assert any(found.low <= probability <= found.high and found.n for found in told.bins)
        squares = sum((probability - int(happened)) ** 2 for probability, happened in made)
        assert told.brier is not None
        assert abs(told.brier - squares / n) < Decimal("0.000001")
        base = Decimal(sum(happened for _, happened in made)) / n
        if told.skill is None:
            assert base in (0, 1)
        else:
            assert abs(told.skill - (1 - squares / n / (base * (1 - base)))) < Decimal("0.00001")
        assert Decimal("0.5") <= track_record.capital_factor(agent="scout") <= 1

    def test_a_record_is_one_query_however_long(self) -> None:
        minds.scored([("0.7", True)] * 30)
        with CaptureQueriesContext(connection) as asked:
            record()
        assert len(asked) == 1
        assert "GROUP BY" in asked[0]["sql"]


# --- what it leaves of one's capital ----------------------------------------------------------------


@pytest.mark.usefixtures("crew")
class TestCapital:
    def test_fewer_than_ten_say_nothing(self) -> None:
        bad = [("1", False), ("0", True), ("1", False)] * 3
        minds.scored(bad)
        assert track_record.capital_factor(agent="scout") == 1
        minds.scored([("1", False)])
        assert track_record.capital_factor(agent="scout") == Decimal("0.5")

    def test_who_is_no_worse_than_the_base_rate_keeps_all(self) -> None:
        minds.scored([("0.5", True), ("0.5", False)] * 10)
        assert track_record.capital_factor(agent="scout") == 1
        minds.scored([("0.9", True), ("0.1", False)] * 10, agent="intel")
        assert track_record.capital_factor(agent="intel") == 1

    def test_the_worse_the_less_down_to_half(self) -> None:
        minds.scored([("0.6", False), ("0.4", True)] * 10)  # Brier .36 against .25
        assert track_record.capital_factor(agent="scout") == Decimal("0.694")
        minds.scored([("0.7", False), ("0.3", True)] * 10, agent="intel")  # .49
        assert track_record.capital_factor(agent="intel") == Decimal("0.51")
        minds.scored([("0.9", False), ("0.1", True)] * 10, agent="sage")  # .81
        assert track_record.capital_factor(agent="sage") == Decimal("0.5")

    def test_who_expected_what_never_came_has_half(self) -> None:
        minds.scored([("0.7", False)] * 10)
        assert track_record.capital_factor(agent="scout") == Decimal("0.5")
        minds.scored([("0", False)] * 10, agent="intel")
        assert track_record.capital_factor(agent="intel") == 1


# --- at the desk ----------------------------------------------------------------------------------


def test_staff_read_scores_and_change_none(client: Client, company: None, admin_user: AbstractUser) -> None:
    minds.scored([("0.7", True), ("0.2", False)])
    client.force_login(admin_user)
    newest = Score.objects.latest("pk")
    rows = client.get("/admin/agents/score/", {"q": newest.cause}).context["cl"].result_list
    assert list(rows) == [newest]
    page = client.get(f"/admin/agents/score/{newest.pk}/change/").text
    assert "0.200" in page
    assert newest.cause in page
    assert client.post(f"/admin/agents/score/{newest.pk}/change/", {"brier": "0"}).status_code == 403
