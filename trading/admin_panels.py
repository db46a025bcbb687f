"""What trading adds to the pages of missions: a step's order with its attempts, a mission's orders, what waits."""

from typing import Any

from django.urls import reverse
from django.utils.html import format_html

from missions.models import Mission, Step
from tradeco.common import admin_show as show
from tradeco.common.admin_base import Rows
from trading.models import Finding, Order

SHOWN = 5  # of what waits; the list behind the link shows the rest


def findings_that_wait() -> dict[str, Any]:
    """What reconciliation found and nobody has settled yet."""
    waiting = Finding.objects.filter(settled_at=None).order_by("-id")
    number = waiting.count()
    return {
        "title": "Findings of reconciliation",
        "number": number,
        "says": "" if number else "Nothing that a person must settle.",
        "urgent": bool(number),
        "url": f"{reverse('admin:trading_finding_changelist')}?settled_at__isempty=1",
        "rows": [(f"#{row.pk}", row.what, show.change_url(Finding, row.pk)) for row in waiting[:SHOWN]],
    }


def order_of_step(step: Step) -> tuple[str, Rows]:
    """The step's order, and each try at the venue with its reference and quote."""
    order = Order.objects.filter(step=step).prefetch_related("attempts").first()
    if order is None:
        return "Order", []
    rows: Rows = [("Order", _line(order), show.change_url(Order, order.pk))]
    rows += [
        (
            f"Attempt {attempt.n}",
            format_html(
                "{} {}, sent {} times {}",
                show.pill(attempt.status, attempt.get_status_display()),
                attempt.reference,
                attempt.sends,
                show.folded("quote", attempt.quote),
            ),
            None,
        )
        for attempt in sorted(order.attempts.all(), key=lambda attempt: attempt.n)
    ]
    return "Order", rows


def orders_of_mission(mission: Mission) -> tuple[str, Rows]:
    orders = Order.objects.filter(step__mission=mission).select_related("step").order_by("step__place")
    return "Orders", [(str(order.step), _line(order), show.change_url(Order, order.pk)) for order in orders]


def _line(order: Order) -> str:
    return format_html("{} {}", show.pill(order.status, order.get_status_display()), order)
