"""What trading adds to the pages of missions: a step's order with its attempts, a mission's orders."""

from django.utils.html import format_html

from missions.models import Mission, Step
from tradeco.common import admin_show as show
from tradeco.common.admin_base import Rows
from trading.models import Order


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
