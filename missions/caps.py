"""Daily caps are spent, not read. Which caps a proposal spends follows from its steps.

One conditional upsert takes a slot or refuses; it runs last in the approving transaction, since a hot counter
is held until commit. A slot is charged to its UTC day and given back to that day when nothing was sent.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection
from django.db.models import F

from missions.models import CapCharge, CapUse, Mission
from missions.policy_keys import Policy
from missions.vocabulary import CAP_OF_KIND, CapKey, StepKind
from tradeco.common import db
from tradeco.common.errors import DomainError


class CapReached(DomainError):
    code = "cap_reached"
    title = "The day's cap is reached"


def needed(kinds: Iterable[StepKind]) -> Counter[CapKey]:
    """How many slots of each cap these steps spend."""
    return Counter(CAP_OF_KIND[kind] for kind in kinds)


def spend(*, mission: Mission, kinds: Iterable[StepKind], policy: Policy, now: datetime) -> None:
    """Spend the caps of a mission in the approving transaction, in one order for all, so that no two deadlock.

    Raises:
        CapReached: nothing is spent; the caller's transaction (or savepoint) must be undone.
    """
    db.requires_transaction()
    for cap, amount in sorted(needed(kinds).items()):
        limit: int = getattr(policy, cap)
        if not _spend_one(mission_id=mission.pk, cap=cap, amount=amount, limit=limit, now=now):
            raise CapReached(f"{CapKey(cap).label}: all {limit} of {utc_day(now)} are spent.")


# One statement spends the counter and writes the charge: the counter's row is locked once, for as little time
# as can be. On a new day the first spender inserts the row; `%(amount)s <= %(limit)s` guards that insert.
_SPEND = """
WITH spent AS (
  INSERT INTO missions_capuse AS use (cap, day, used)
  SELECT %(cap)s, %(day)s, %(amount)s WHERE %(amount)s <= %(limit)s
  ON CONFLICT (cap, day) DO UPDATE SET used = use.used + EXCLUDED.used
    WHERE use.used + EXCLUDED.used <= %(limit)s
  RETURNING used
)
INSERT INTO missions_capcharge (mission_id, cap, day, amount, charged_at)
SELECT %(mission)s, %(cap)s, %(day)s, %(amount)s, %(now)s FROM spent
RETURNING id
"""


def _spend_one(*, mission_id: int, cap: str, amount: int, limit: int, now: datetime) -> bool:
    day = utc_day(now)
    with connection.cursor() as cursor:
        cursor.execute(
            _SPEND,
            {
                "cap": cap,
                "day": day,
                "amount": amount,
                "limit": limit,
                "mission": mission_id,
                "now": now,
            },
        )
        return cursor.fetchone() is not None


def give_back(*, mission: Mission, now: datetime) -> None:
    """Return a mission's charges to their days, each at most once; only where nothing was sent."""
    db.requires_transaction()
    for charge in CapCharge.objects.filter(mission=mission, returned_at__isnull=True).order_by("cap"):
        mine = CapCharge.objects.filter(pk=charge.pk, returned_at__isnull=True).update(returned_at=now)
        if mine:
            CapUse.objects.filter(cap=charge.cap, day=charge.day).update(used=F("used") - charge.amount)


def utc_day(now: datetime) -> date:
    return now.astimezone(UTC).date()


def resets_at(now: datetime) -> datetime:
    """When the caps of this moment's UTC day start anew."""
    return datetime.combine(utc_day(now) + timedelta(days=1), time.min, tzinfo=UTC)


def overview(*, policy: Policy, now: datetime) -> list[dict[str, object]]:
    """Limit, used and left of each cap today, for gates, pages and the API. A look, not a promise."""
    used = dict(CapUse.objects.filter(day=utc_day(now)).values_list("cap", "used"))
    return [
        {
            "key": cap.value,
            "limit": (limit := int(getattr(policy, cap))),
            "used": (spent := used.get(cap.value, 0)),
            "left": max(0, limit - spent),
            "resets_at": resets_at(now),
        }
        for cap in CapKey
    ]


def ahead_of_pace(*, cap: CapKey, policy: Policy, now: datetime) -> bool:
    """Whether the company has spent so much of the day's cap that its own routine should wait.

    Allowed by now: limit × elapsed share of the UTC day + burst. People and API clients aren't paced.
    """
    limit: int = getattr(policy, cap)
    used = CapUse.objects.filter(cap=cap, day=utc_day(now)).values_list("used", flat=True).first() or 0
    begun = datetime.combine(utc_day(now), time.min, tzinfo=UTC)
    elapsed = (now - begun) / timedelta(days=1)
    return used >= limit * elapsed + policy.pace_burst
