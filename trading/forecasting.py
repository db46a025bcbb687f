"""Which forecasts have met their end, and whether their trades ended in profit.

    a sale                            over with its fill: its own realised P&L
    a purchase, its position closed   by stop, take-profit or anybody: what the position earned since
    a purchase, its position open     at its horizon in market time: the same at the market's price, less what selling
                                      costs
    no trade, or one that vanished    void: there is nothing to score

What a position earned since a purchase is counted from just before it, at its price; of the purchase that opened the
position that is all the position earned. What follows from the answer is `missions.forecasts`' affair.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError
from django.db.models import DateTimeField, Exists, ExpressionWrapper, F, OuterRef, Q, QuerySet

from missions import forecasts
from missions.models import Forecast
from missions.vocabulary import ForecastStatus
from tradeco.common import db
from trading import money, positions
from trading.models import Fill, Position
from trading.vocabulary import PositionStatus, Side

log = structlog.get_logger(__name__)


def run(*, now: datetime, limit: int) -> dict[str, Any]:
    """Settle up to `limit` forecasts that are due, the oldest first; a phase of the heartbeat."""
    counts = {"scored": 0, "void": 0, "failed": 0}
    for key in due(limit=limit):
        try:
            word = db.patiently(_settle, key, now=now)
        except (OperationalError, InterfaceError):
            raise  # the database is away or busy: the next beat goes on
        except Exception:  # one that can't be settled must not keep all behind it open
            log.exception("A forecast can't be settled.", action="forecast_failed", forecast_id=key)
            word = "failed"
        if word:
            counts[word] += 1
    return counts


def due(*, limit: int) -> list[int]:
    """Open forecasts that can be settled by now, oldest first. Those that can't are none of them, so however many wait
    they hold nobody up.
    """
    found = {key for rows in (_ripe(), _untraded()) for key in rows.order_by("pk").values_list("pk", flat=True)[:limit]}
    return sorted(found)[:limit]


_ORDER = "proposal__mission__steps__order__"
_FILL = f"{_ORDER}fills__"


def _ripe() -> QuerySet[Forecast]:
    """Whose trade is over, or has met its horizon."""
    horizon = ExpressionWrapper(
        F(f"{_FILL}market_at") + F("horizon_minutes") * timedelta(minutes=1), output_field=DateTimeField()
    )
    sold = Q(**{f"{_ORDER}side": Side.SELL})
    closed = Q(**{f"{_ORDER}position__status": PositionStatus.CLOSED})
    met = Q(**{f"{_ORDER}market__price__isnull": False, f"{_ORDER}market__price_at__gte": horizon})
    filled = Q(**{f"{_FILL}id__isnull": False, f"{_FILL}reversed_at__isnull": True})
    return _open().filter(filled & (sold | closed | met)).distinct()


def _untraded() -> QuerySet[Forecast]:
    """Whose mission ended without a fill that stands."""
    filled = Fill.objects.filter(order__step__mission__proposal=OuterRef("proposal_id"), reversed_at__isnull=True)
    return _open().filter(~Exists(filled), proposal__mission__finished_at__isnull=False)


def _open() -> QuerySet[Forecast]:
    return Forecast.objects.filter(status=ForecastStatus.OPEN)


def _settle(key: int, *, now: datetime) -> str:
    """What became of one forecast: "scored", "void", or nothing where another was first."""
    with db.transaction():
        forecast = Forecast.objects.select_related("proposal__mission").get(pk=key)
        ended = _ended_in_profit(forecast)
        if ended is None:
            return "void" if forecasts.void_within(proposal=forecast.proposal, now=now) else ""
        return "scored" if forecasts.settle_within(forecast=forecast, happened=ended, now=now) else ""


def _ended_in_profit(forecast: Forecast) -> bool | None:
    """None where there was no trade, or nobody can know what it earned."""
    fill = (
        Fill.objects.select_related("order__position__market__base", "order__position__market__quote")
        .filter(order__step__mission__proposal=forecast.proposal_id, reversed_at__isnull=True)
        .order_by("pk")
        .first()
    )
    earned = None if fill is None else earned_since(fill)
    return None if earned is None else earned > 0


def earned_since(fill: Fill) -> int | None:
    """What a trade has earned since, in raw quote, fees inside; None where nobody can know.

    A sale: what it realised. A purchase: realised P&L and gain of its position since just before it, and while the
    position is open less what selling will cost, taken as what this purchase did.
    """
    order = fill.order
    if order.side == Side.SELL:
        return int(fill.realized_quote or 0)
    position = order.position
    assert position is not None, "a filled order has its position"
    since = int(position.realized) - _earned_before(fill, position)
    if position.status == PositionStatus.CLOSED:
        return since if _was_sold(position) else None
    worth = positions.value(position)
    assert worth is not None, "a market's price goes stale, but never away"
    return since + worth - int(position.cost) - int(fill.fee_quote) - int(fill.network_fee_quote)


def _was_sold(position: Position) -> bool:
    """Whether a sale closed it. What somebody moved away by hand earned what nobody knows."""
    fills = Fill.objects.filter(order__position=position, order__side=Side.SELL, reversed_at__isnull=True)
    return position.closed_at in fills.values_list("at", flat=True)


def _earned_before(fill: Fill, position: Position) -> int:
    """Realised P&L and gain of the position just before a purchase, at that purchase's price; raw quote."""
    quantity = cost = realized = 0
    earlier = Fill.objects.filter(order__position=position, reversed_at__isnull=True, pk__lt=fill.pk)
    for one in earlier.select_related("order").order_by("pk"):
        if one.order.side == Side.BUY:
            quantity, cost = quantity + one.amount_out, cost + one.amount_in + one.network_fee_quote
        else:
            quantity, cost = quantity - one.amount_in, cost - (one.cost_quote or 0)
            realized += one.realized_quote or 0
    return realized + _worth(quantity, position, fill.price) - cost


def _worth(quantity: int, position: Position, price: Decimal) -> int:
    market = position.market
    decimals = {"base_decimals": market.base.decimals, "quote_decimals": market.quote.decimals}
    return money.value(quantity, price=price, **decimals)
