"""What stops an order that was approved and isn't signed yet: asked at each visit, and once more with its signature."""

from datetime import datetime, timedelta

from django.db import connection

from missions import policies
from missions.vocabulary import CompanyStatus
from tradeco.common.errors import DomainError
from trading.models import Order
from trading.vocabulary import OrderStatus, Side

_READ = "SELECT status FROM missions_company"
_HELD = f"{_READ} FOR SHARE"


class Stopped(DomainError):
    """Nothing was sent and nothing will be; `code` of this instance says why."""

    title = "The order may not be sent any more"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]


def require_may_be_sent(order: Order, *, now: datetime) -> None:
    """Raises Stopped: restored, halted, reducing, order_in_doubt, approval_too_old, price_stale."""
    if set_back(order):
        raise Stopped("restored", "The books were set back since: it may have been carried out already.")
    require_switch_allows(order)
    doubtful = Order.objects.filter(wallet=order.wallet, market=order.market, status=OrderStatus.IN_DOUBT)
    if doubtful.exists():
        raise Stopped("order_in_doubt", "Another order on this market is in doubt; it must be settled first.")
    if order.side == Side.BUY:
        _require_fresh(order, now=now)


def require_switch_allows(order: Order) -> None:
    """HALTED stops everything, REDUCING buys. In a transaction, whoever turns the switch waits until it has ended.

    Raises:
        Stopped: halted, reducing.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HELD if connection.in_atomic_block else _READ)
        (status,) = cursor.fetchone()
    if status == CompanyStatus.HALTED:
        raise Stopped("halted", "Trading was halted before anything was sent.")
    if status == CompanyStatus.REDUCING and order.side == Side.BUY:
        raise Stopped("reducing", "Only exits are allowed now.")


def set_back(order: Order) -> bool:
    """Whether the books were restored to before this order's end: what it sent may be unknown to them."""
    return order.wallet.restored_at is not None and order.created_at <= order.wallet.restored_at


def _require_fresh(order: Order, *, now: datetime) -> None:
    """An approval was given on facts: it is no older than a proposal may be, and the price one that an entry takes."""
    _, policy = policies.current()
    if now - order.created_at > timedelta(minutes=policy.proposal_expires_minutes):
        raise Stopped("approval_too_old", "It was approved too long ago, and not sent since.")
    received = order.market.received_at
    if received is None or (now - received).total_seconds() > policy.price_stale_after_seconds:
        raise Stopped("price_stale", "The market's price is too old for an entry.")
