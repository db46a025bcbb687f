"""How two agents stand to each other, and how what happens moves them. What happened between them, and how much that
counts, is the caller's to say; here it is kept within bounds and written down, once per cause.

Every shift is a row of a ledger: their sum is what separates a pair's affinity from its first.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal

from agents.models import AFFINITY_MAX, AFFINITY_MIN, DRIFT_MOST, Relationship, Shift
from tradeco.common import db, events
from tradeco.common.errors import NotFound
from tradeco.common.vocabulary import EventKind

STRANGERS = Decimal("0.50")  # where a pair stands that nobody introduced
_STEP = Decimal("0.0001")  # coarser steps would round small drifts away

Pair = tuple[str, str]


def affinities(keys: Sequence[str]) -> dict[Pair, Decimal]:
    """How the agents of these keys stand to each other, by pair in alphabetical order; 0.10 to 0.95."""
    rows = Relationship.objects.filter(a__in=keys, b__in=keys)
    return {(a, b): affinity for a, b, affinity in rows.values_list("a_id", "b_id", "affinity")}


def between(a: str, b: str, known: Mapping[Pair, Decimal]) -> Decimal:
    """How two agents stand to each other, whichever is named first, of what `affinities` told."""
    return known.get(_pair(a, b), STRANGERS)


def farthest() -> tuple[str, str, Decimal]:
    """The two active agents that stand farthest apart, and how far: the lowest affinity.

    Raises:
        NotFound: fewer than two agents are active.
    """
    active = Relationship.objects.filter(a__active=True, b__active=True).order_by("affinity", "a", "b")
    found = active.values_list("a_id", "b_id", "affinity").first()
    if found is None:
        raise NotFound("Fewer than two agents are active.")
    return found


def drift(*, a: str, b: str, delta: Decimal, cause: str, most: Decimal, now: datetime) -> Shift | None:
    """Move a pair by `delta`, in the caller's transaction, and write down what of it was applied.

    The pair stays locked until the commit: who moves several does so in alphabetical order.

    Args:
        delta: of affinity; kept within ±`most`, ±DRIFT_MOST and the range of affinities, in steps of 0.0001.
        cause: what moved them, such as `conversation:12`.

    Returns:
        The shift, of zero where nothing of the delta could be applied; None where this cause moved the pair before.

    Raises:
        ValueError: a figure isn't a finite number.
    """
    db.requires_transaction()
    if not (delta.is_finite() and most.is_finite()):
        raise ValueError(f"{delta} within {most} is no drift")
    pair = _locked(*_pair(a, b))
    if Shift.objects.filter(relationship=pair, cause=cause).exists():
        return None
    after = _kept_within(pair.affinity + _allowed(delta, most), AFFINITY_MIN, AFFINITY_MAX)
    shift = Shift(
        relationship=pair, cause=cause, before=pair.affinity, after=after, delta=after - pair.affinity, at=now
    )
    return _write(shift, now=now)


def _write(shift: Shift, *, now: datetime) -> Shift:
    shift.save(force_insert=True)
    if shift.delta:
        pair = shift.relationship
        Relationship.objects.filter(pk=pair.pk).update(affinity=shift.after, updated_at=now)
        told = {
            "a": pair.a_id,
            "b": pair.b_id,
            "delta": str(shift.delta),
            "affinity": str(shift.after),
            "cause": shift.cause,
        }
        events.emit(kind=EventKind.RELATIONSHIP_SHIFTED, subject=f"relationship:{pair.pk}", now=now, data=told)
    return shift


def _locked(a: str, b: str) -> Relationship:
    """The pair, for one at a time; introduced now if nobody did."""
    pairs = Relationship.objects.select_for_update(no_key=True)
    return pairs.get_or_create(a_id=a, b_id=b, defaults={"affinity": STRANGERS})[0]


def _allowed(delta: Decimal, most: Decimal) -> Decimal:
    """What one cause may move, rounded towards zero: rounding must not pass the cap."""
    cap = min(max(most, Decimal(0)), DRIFT_MOST)
    return _kept_within(delta, -cap, cap).quantize(_STEP, rounding=ROUND_DOWN)


def _kept_within(value: Decimal, lowest: Decimal, highest: Decimal) -> Decimal:
    return min(max(value, lowest), highest)


def _pair(a: str, b: str) -> Pair:
    assert a != b, "nobody stands to itself"
    return (a, b) if a < b else (b, a)
