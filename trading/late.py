"""An attempt of ours that landed after it was given up: a person books it as the trade that it is.

Booked as money that came and went, what it bought would have no position: no stop, and no part in equity.
"""

from dataclasses import replace
from datetime import datetime

from django.db.models import QuerySet

from missions import policies
from tradeco.common import db
from tradeco.common.errors import DomainError
from trading import booking, ledger, settling
from trading.models import Attempt, Finding, Order, Position
from trading.models.order import LIVE_ORDER, WITH_ORDER
from trading.venues.base import Executed
from trading.vocabulary import AttemptStatus, OrderStatus, Side

GIVEN_UP = (AttemptStatus.EXPIRED, AttemptStatus.REFUSED)


class StillUnderWay(DomainError):
    code = "attempt_under_way"
    title = "Another attempt of the same order may land"


def executed(finding: Finding) -> Executed | None:
    """What it exchanged by the chain's own balances; None where it is no attempt of ours, or did nothing.

    The caller has seen that it is final on every node. Reads only.
    """
    attempt = _attempts(finding).first()
    told = None if attempt is None else settling.as_told(attempt)
    return None if told is None else replace(told, final=True)


def book(finding: Finding, trade: Executed | None, *, now: datetime) -> bool:
    """Book it as a fill; False where there is none, or where its position no longer holds what it sold.

    Raises:
        StillUnderWay: another attempt of its order may land too.
        FundsShort: what it gave is reserved for other orders.
    """
    db.requires_transaction()
    attempt = _attempts(finding).first()
    if trade is None or attempt is None or trade.amount_in != attempt.order.amount_in:
        return False
    order = attempt.order
    ledger.lock(order.wallet, [order.market.base_id, order.market.quote_id, order.asset_in_id])
    order.refresh_from_db(fields=["status"])
    if order.status in LIVE_ORDER:
        raise StillUnderWay("Another attempt of its order is under way: wait until that has ended.")
    if order.side == Side.SELL and not _holds(order, trade.amount_in):
        return False
    ledger.reserve(wallet=order.wallet, asset=order.asset_in, amount=order.amount_in)
    _reopen(order, attempt)
    _, policy = policies.current()
    booking.fill(order, attempt, trade, policy=policy, now=now)
    return True


def _attempts(finding: Finding) -> QuerySet[Attempt]:
    return Attempt.objects.filter(reference=finding.key, status__in=GIVEN_UP).select_related(*WITH_ORDER)


def _holds(order: Order, amount: int) -> bool:
    held = Position.objects.select_for_update(of=("self",)).filter(pk=order.position_id or 0, quantity__gte=amount)
    return held.exists()


def _reopen(order: Order, attempt: Attempt) -> None:
    """Put both in doubt once more, for the booking that follows in this transaction to end them.

    No move of their tables leads back from an ending, and none shall: nothing but a person's word comes here.
    """
    Order.objects.filter(pk=order.pk).update(status=OrderStatus.IN_DOUBT, ended_at=None, code="", reason="")
    Attempt.objects.filter(pk=attempt.pk).update(status=AttemptStatus.IN_DOUBT, ended_at=None, code="")
    order.refresh_from_db(fields=["status", "code", "reason"])
    attempt.refresh_from_db(fields=["status", "code"])
