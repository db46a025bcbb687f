"""What equity is compared with: its peak, and what the UTC day began with; each carried over what the owner moves.

A snapshot's equity less its P&L is the capital that had been paid in by then. Where that changes from one snapshot to
the next, the baselines are scaled with equity: the share lost before stays the share lost, so that a withdrawal is no
loss and a deposit hides none.
"""

from datetime import UTC, datetime, time

from django.db.models import ExpressionWrapper, F, Q, QuerySet, Subquery, Window
from django.db.models.functions import Coalesce, Lag

from tradeco.common.fields import RawAmountField
from trading.models import EquitySnapshot


def peak_and_day_start(*, equity: int, earned: int, now: datetime) -> tuple[int, int]:
    """Both in raw quote, for this equity, of which `earned` is P&L; the equity itself where nothing was measured yet.

    The day begins with the last snapshot before it, else with its first.
    """
    newest, opening = _newest_and_opening(now)
    if newest is None or opening is None:
        return equity, equity
    paid_in = equity - earned
    peak = _carried(newest.peak, equity=equity, flow=paid_in - _paid_in(newest))
    base, before = opening.equity, _paid_in(opening)
    if paid_in != before:
        for then, paid in [*_movements_since(opening.at), (equity, paid_in)]:
            base, before = _carried(base, equity=then, flow=paid - before), paid
    return max(peak, equity), base


def _carried(base: int, *, equity: int, flow: int) -> int:
    """A baseline after capital came or went, given the equity after it; anew where there was none before."""
    if not flow:
        return base
    before = equity - flow
    return base * equity // before if before > 0 and equity > 0 else max(equity, 0)


def _paid_in(row: EquitySnapshot) -> int:
    paid_in: int = row.equity - row.realized - row.unrealized
    return paid_in


def _newest_and_opening(now: datetime) -> tuple[EquitySnapshot | None, EquitySnapshot | None]:
    midnight = datetime.combine(now.astimezone(UTC).date(), time.min, tzinfo=UTC)
    newest = EquitySnapshot.objects.order_by("-at").values("pk")[:1]
    before = EquitySnapshot.objects.filter(at__lt=midnight).order_by("-at").values("pk")[:1]
    first = EquitySnapshot.objects.filter(at__gte=midnight).order_by("at").values("pk")[:1]
    opening = Coalesce(Subquery(before), Subquery(first))
    rows = EquitySnapshot.objects.filter(Q(pk=Subquery(newest)) | Q(pk=opening)).order_by("at")
    found = list(rows)
    return (found[-1], found[0]) if found else (None, None)


def _movements_since(moment: datetime) -> QuerySet[EquitySnapshot, tuple[int, int]]:
    """Equity and the capital paid in of each snapshot that saw another capital than the one before it."""
    paid_in = ExpressionWrapper(F("equity") - F("realized") - F("unrealized"), output_field=RawAmountField())
    rows = EquitySnapshot.objects.filter(at__gte=moment).annotate(paid_in=paid_in)
    rows = rows.annotate(before=Window(Lag("paid_in"), order_by="at", output_field=RawAmountField()))
    return rows.exclude(before=F("paid_in")).order_by("at").values_list("equity", "paid_in")
