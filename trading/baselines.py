"""What equity is compared with: its peak, and what the UTC day began with; each carried over what the owner moves.

A snapshot's equity less its P&L is the capital that had been paid in by then. Where that changes from one snapshot to
the next, the baselines are scaled with equity: the share lost before stays the share lost, so that a withdrawal is no
loss and a deposit hides none. Each snapshot keeps both, so only the newest one is read.
"""

from datetime import UTC, datetime, time

from trading.models import EquitySnapshot


def peak_and_day_start(*, equity: int, earned: int, now: datetime) -> tuple[int, int]:
    """Both in raw quote, for this equity, of which `earned` is P&L; the equity itself where nothing was measured yet.

    The day begins with the last snapshot before it, else with its first.
    """
    newest = EquitySnapshot.objects.order_by("-at").first()
    if newest is None:
        return equity, equity
    midnight = datetime.combine(now.astimezone(UTC).date(), time.min, tzinfo=UTC)
    before_today = newest.at < midnight or newest.day_start is None
    opening = newest.equity if before_today else newest.day_start
    flow = equity - earned - _paid_in(newest)
    return max(_carried(newest.peak, equity=equity, flow=flow), equity), _carried(opening, equity=equity, flow=flow)


def _carried(base: int, *, equity: int, flow: int) -> int:
    """A baseline after capital came or went, given the equity after it; anew where there was none before."""
    if not flow:
        return base
    before = equity - flow
    return base * equity // before if before > 0 and equity > 0 else max(equity, 0)


def _paid_in(row: EquitySnapshot) -> int:
    paid_in: int = row.equity - row.realized - row.unrealized
    return paid_in
