"""What the chaos run did beside surviving: so that a run in which nothing happened is seen to be one."""

from collections import Counter
from typing import Any

from missions.models import Step
from tradeco.common.models import Event
from trading.models import Attempt, Fill, Finding, Order


def counts() -> dict[str, Any]:
    return {
        "steps_by_status": dict(Counter(Step.objects.values_list("status", flat=True))),
        "orders_by_status": dict(Counter(Order.objects.values_list("status", flat=True))),
        "order_codes": dict(Counter(Order.objects.exclude(code="").values_list("code", flat=True))),
        "attempts_by_status": dict(Counter(Attempt.objects.values_list("status", flat=True))),
        "sent_more_than_once": Attempt.objects.filter(sends__gt=1).count(),
        "recovered": Event.objects.filter(kind="step.recovered").count(),
        "settled": Event.objects.filter(kind="step.settled").count(),
        "reversed": Fill.objects.exclude(reversed_at=None).count(),
        "findings": dict(Counter(Finding.objects.filter(settled_at=None).values_list("kind", flat=True))),
    }
