"""What Prometheus sees of trading."""

from collections.abc import Iterator

from django.db.models import Count
from prometheus_client.core import GaugeMetricFamily, Metric

from tradeco.common import db
from trading import portfolio
from trading.models import Market, Order
from trading.models.order import LIVE_ORDER


def collect() -> Iterator[Metric]:
    """Equity, exposure and drawdown; live orders by status; each price's age."""
    now = db.now()
    found = portfolio.summary(now=now)
    for name, value in (
        ("equity_usd", found.equity_usd),
        ("cash_usd", found.cash_usd),
        ("exposure_usd", found.exposure_usd),
        ("realized_pnl_usd", found.realized_pnl_usd),
        ("drawdown_share", found.drawdown),
    ):
        text = name.replace("_", " ").capitalize()
        yield GaugeMetricFamily(f"tradeco_{name}", text, value=float(value))
    orders = GaugeMetricFamily("tradeco_orders_live", "Orders that haven't ended", labels=["status"])
    counted = dict(Order.objects.filter(status__in=LIVE_ORDER).values_list("status").annotate(n=Count("pk")).order_by())
    for status in LIVE_ORDER:
        orders.add_metric([status.value], counted.get(status.value, 0))
    yield orders
    ages = GaugeMetricFamily("tradeco_price_age_seconds", "Since a market's last price", labels=["market"])
    for market in Market.objects.exclude(received_at=None):
        assert market.received_at is not None
        ages.add_metric([market.name], (now - market.received_at).total_seconds())
    yield ages
