"""How good an agent's forecasts turned out. What is forecast, and when it is settled, is the caller's affair, and
whether the record moves capital is policy's.

A probability p of what happened (o = 1) or didn't (o = 0) is scored (p − o)², which is best told honestly (Brier 1950,
"Verification of forecasts expressed in terms of probability", Monthly Weather Review 78), and −ln of what was given
to the truth, which punishes certainty in the wrong thing.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import Count, F, IntegerField, Q, QuerySet, Sum, Value
from django.db.models.functions import Floor, Least

from agents.models import Score
from tradeco.common import db

CLIP = Decimal("0.000001")  # least that counts as given to the truth: −ln of nothing has no end
BINS = 10
FORECASTS_MIN = 10  # fewer say nothing about an agent
FACTOR_LEAST = Decimal("0.5")
_PLACES = Decimal("0.000001")


@dataclass(frozen=True, slots=True)
class Bin:
    """Forecasts from `low` up to `high` (the last one's own end included): how sure, and which share happened."""

    low: Decimal
    high: Decimal
    n: int
    mean_probability: Decimal | None
    happened: Decimal | None


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """An agent's forecasts as one; what can't be said of none is None.

    `base_rate` is the share that happened. `skill` is 1 − Brier ÷ (base rate × (1 − base rate)): 1 is perfect, 0 no
    better than always saying the base rate, and None where only one thing ever happened.
    """

    forecasts: int
    mean_probability: Decimal | None
    base_rate: Decimal | None
    brier: Decimal | None
    log_score: Decimal | None
    skill: Decimal | None
    bins: list[Bin]


def score(*, agent: str, kind: str, cause: str, probability: Decimal, happened: bool, now: datetime) -> Score | None:
    """Score a forecast that met its horizon, in the caller's transaction; None where this cause was scored before.

    Raises:
        ValueError: the probability isn't one.
    """
    db.requires_transaction()
    if not (probability.is_finite() and 0 <= probability <= 1):
        raise ValueError(f"{probability} is no probability")
    stated = probability.quantize(Decimal("0.001"))
    scored, new = Score.objects.get_or_create(
        cause=cause,
        defaults={
            "agent_id": agent,
            "kind": kind,
            "probability": stated,
            "happened": happened,
            "brier": brier(stated, happened),
            "log_score": log_score(stated, happened),
            "at": now,
        },
    )
    return scored if new else None


def brier(probability: Decimal, happened: bool) -> Decimal:
    """(probability − happened)²: 0 is best, 1 worst."""
    return ((probability - int(happened)) ** 2).quantize(_PLACES)


def log_score(probability: Decimal, happened: bool) -> Decimal:
    """−ln of the probability given to what came true: 0 is best, 13.82 (what was clipped) worst."""
    given = max(probability if happened else 1 - probability, CLIP)
    return abs(given.ln()).quantize(_PLACES)


def record(*, agent: str, kind: str | None = None) -> TrackRecord:
    """An agent's forecasts of one kind, or of all; shares and scores to six places."""
    scores = Score.objects.filter(agent=agent)
    return _told(_by_bin(scores if kind is None else scores.filter(kind=kind)))


def capital_factor(*, agent: str) -> Decimal:
    """What share of its capital an agent's record leaves it: 1 down to 0.5.

    It is the Brier score of always saying the base rate over the agent's own, so 1 for whoever is no worse than that,
    and for whoever made fewer than ten forecasts.
    """
    told = record(agent=agent)
    if told.forecasts < FORECASTS_MIN or told.brier is None or told.base_rate is None:
        return Decimal(1)
    reference = _variance(told.base_rate)
    if told.brier <= reference:
        return Decimal(1)
    return max(reference / told.brier, FACTOR_LEAST).quantize(Decimal("0.001"))


@dataclass(frozen=True, slots=True)
class _Sums:
    """Of the forecasts of a bin, or of all."""

    n: int = 0
    probability: Decimal = Decimal(0)
    happened: int = 0
    brier: Decimal = Decimal(0)
    log_score: Decimal = Decimal(0)

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    def mean(self, name: str) -> Decimal | None:
        return (Decimal(getattr(self, name)) / self.n).quantize(_PLACES) if self.n else None


def _by_bin(scores: QuerySet[Score]) -> list[_Sums]:
    """Summed by the database, in one statement, so that the bins and what is told of all are of one moment."""
    place = Least(Floor(F("probability") * BINS), Value(BINS - 1), output_field=IntegerField())
    rows = scores.values(place=place).annotate(
        count=Count("pk"),
        said=Sum("probability"),
        came=Count("pk", filter=Q(happened=True)),
        square=Sum("brier"),
        log=Sum("log_score"),
    )
    found = {row["place"]: _Sums(row["count"], row["said"], row["came"], row["square"], row["log"]) for row in rows}
    return [found.get(number, _Sums()) for number in range(BINS)]


def _told(bins: list[_Sums]) -> TrackRecord:
    whole = sum(bins, start=_Sums())
    return TrackRecord(
        forecasts=whole.n,
        mean_probability=whole.mean("probability"),
        base_rate=whole.mean("happened"),
        brier=whole.mean("brier"),
        log_score=whole.mean("log_score"),
        skill=_skill(whole),
        bins=[_bin(number, sums) for number, sums in enumerate(bins)],
    )


def _skill(whole: _Sums) -> Decimal | None:
    if whole.happened in (0, whole.n):
        return None
    return (1 - whole.brier / whole.n / _variance(Decimal(whole.happened) / whole.n)).quantize(_PLACES)


def _variance(base_rate: Decimal) -> Decimal:
    """The Brier score of always saying the base rate."""
    return base_rate * (1 - base_rate)


def _bin(number: int, sums: _Sums) -> Bin:
    low, high = Decimal(number) / BINS, Decimal(number + 1) / BINS
    return Bin(low=low, high=high, n=sums.n, mean_probability=sums.mean("probability"), happened=sums.mean("happened"))
