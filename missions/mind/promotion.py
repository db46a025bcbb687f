"""What one agent learnt and has proved itself, all agents know from then on. How agents recall it is agents' affair."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Case, DateTimeField, DecimalField, ExpressionWrapper, F, Func, QuerySet, Value, When
from django.db.models.expressions import Combinable
from django.db.models.functions import Cast, Greatest, Least

from agents import memory
from agents.models import Memory, MemoryType
from missions import policies
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind

CONFIDENCE_MIN = Decimal("0.80")
SCORE_ABOVE = Decimal("0.7")
CONFIRMATIONS_FULL = 3  # more prove nothing further
AGE_FULL = timedelta(days=7)  # older is no surer
BY_CONFIDENCE, BY_CONFIRMATIONS, BY_AGE = Decimal("0.4"), Decimal("0.3"), Decimal("0.2")
BY_TYPE = {MemoryType.STRATEGY: Decimal("0.1"), MemoryType.PATTERN: Decimal("0.05")}
PER_CONTRADICTION = Decimal("0.1")


def run(*, now: datetime, limit: int) -> dict[str, Any]:
    """Promote up to `limit` memories, the best proved first; a phase of the heartbeat."""
    _, policy = policies.current()
    if not policy.flag_learning:
        return {"off": "flag_learning"}
    return {"promoted": sum(_promote(found, now=now) for found in candidates(now=now)[:limit])}


def candidates(*, now: datetime) -> QuerySet[Memory]:
    """Live memories that aren't promoted and have proved themselves, with their `score`."""
    sure = memory.live().filter(promoted_at__isnull=True, superseded_by__isnull=True, confidence__gte=CONFIDENCE_MIN)
    return sure.annotate(score=score(now=now)).filter(score__gt=SCORE_ABOVE).order_by("-score", "pk")


def score(*, now: datetime) -> Combinable:
    """How well a memory has proved itself, as an expression over memories:

    0.4 × confidence ÷ the highest of its type + 0.3 × confirmations ÷ 3 (at most 1) + 0.2 × age ÷ 7 days (at most 1)
    + 0.1 for a strategy or 0.05 for a pattern − 0.1 × contradictions
    """
    share = DecimalField(max_digits=12, decimal_places=6)
    highest = Case(
        *(When(type=type, then=Value(most)) for type, (_, most) in memory.RANGES.items()), output_field=share
    )
    bonus = Case(
        *(When(type=type, then=Value(more)) for type, more in BY_TYPE.items()),
        default=Value(Decimal(0)),
        output_field=share,
    )
    lived = Value(now, output_field=DateTimeField()) - F("created_at")
    age = Func(lived, template="extract(epoch FROM %(expressions)s)", output_field=share)
    week = Value(Decimal(int(AGE_FULL.total_seconds())))
    return ExpressionWrapper(
        BY_CONFIDENCE * F("confidence") / highest
        + BY_CONFIRMATIONS * Least(Cast("confirmations", share) / CONFIRMATIONS_FULL, Value(Decimal(1)))
        + BY_AGE * Greatest(Value(Decimal(0)), Least(age / week, Value(Decimal(1))))
        + bonus
        - PER_CONTRADICTION * F("contradictions"),
        output_field=share,
    )


def _promote(found: Memory, *, now: datetime) -> bool:
    with db.transaction():
        standing = memory.live().filter(pk=found.pk, promoted_at__isnull=True)
        if standing.update(promoted_at=now) != 1:
            return False  # another beat was first, or it was laid aside meanwhile
        events.emit(
            kind=EventKind.MEMORY_PROMOTED,
            subject=found.subject,
            agent=found.agent_id,
            now=now,
            data={
                "type": found.type,
                "cause": found.cause,
                "text": found.text,
                "confidence": str(found.confidence),
                "score": f"{found.score:.6f}",  # type: ignore[attr-defined]  # annotated
            },
        )
    return True
