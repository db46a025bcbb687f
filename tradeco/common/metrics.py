"""What Prometheus sees of the event log."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from tradeco.common import db, events
from tradeco.common.models import Event


def collect() -> Iterator[Metric]:
    """How many events there are, and how long the oldest unnumbered one has waited for its number."""
    yield CounterMetricFamily("tradeco_events", "Numbered events", value=events.newest_number())
    waiting = Event.objects.filter(number__isnull=True).order_by("key").values_list("at", flat=True).first()
    lag = (db.now() - waiting).total_seconds() if waiting else 0.0
    yield GaugeMetricFamily("tradeco_event_tail_lag_seconds", "Oldest event without number", value=lag)
