"""How well the company did: daily returns of its equity, and what they say. Statistics, so floats; the books aren't.

A day is a UTC day that is over, its close the last snapshot of it. Its return is the change of the profit, realised
and unrealised, from the close before to its own, as a share of the equity at the close before: money paid in or taken
out is no gain, and the network's fees are a loss. A day without a snapshot has no close, and no return is formed across
it. An unpriced position counts for nothing on both sides until it has a price.
"""

import math
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

from django.db import connection
from django.db.models import Sum

from trading.models import Fill, LedgerEntry
from trading.vocabulary import AccountKind, LedgerKind

DAYS_LEAST = 10  # returns below which a ratio says nothing
DAYS_MOST = 365
YEAR_DAYS = 365  # these markets never close


@dataclass(frozen=True, slots=True)
class Performance:
    """Of the last DAYS_MOST days. Ratios are None with fewer than DAYS_LEAST returns, or where nothing varied."""

    days: int
    sharpe: float | None
    sortino: float | None
    max_drawdown: float | None


@dataclass(frozen=True, slots=True)
class Close:
    """The last snapshot of a day; raw quote."""

    day: date
    equity: int
    peak: int
    profit: int


def summary(*, now: datetime) -> Performance:
    found = closes(now=now)
    returns = daily_returns(found)
    return Performance(
        days=len(returns), sharpe=sharpe(returns), sortino=sortino(returns), max_drawdown=max_drawdown(found)
    )


def closes(*, now: datetime) -> list[Close]:
    """The closes of the days before today, oldest first. One look into the index a day, however many snapshots."""
    today = now.astimezone(UTC).date()
    with connection.cursor() as cursor:
        cursor.execute(_CLOSES, {"first": today - timedelta(days=DAYS_MOST), "last": today - timedelta(days=1)})
        return [Close(*row) for row in cursor.fetchall()]


_CLOSES = """
SELECT day::date, equity::bigint, peak::bigint, (realized + unrealized)::bigint
FROM generate_series(%(first)s::timestamp, %(last)s::timestamp, '1 day') AS day
CROSS JOIN LATERAL (
  SELECT equity, peak, realized, unrealized FROM trading_equitysnapshot
  WHERE at >= day AT TIME ZONE 'UTC' AND at < (day + interval '1 day') AT TIME ZONE 'UTC' ORDER BY at DESC LIMIT 1
) AS newest ORDER BY day
"""


def daily_returns(found: list[Close]) -> list[float]:
    return [
        (later.profit - earlier.profit) / earlier.equity
        for earlier, later in pairwise(found)
        if later.day - earlier.day == timedelta(days=1) and earlier.equity > 0
    ]


def sharpe(returns: list[float]) -> float | None:
    """Mean over standard deviation (of a sample), × √365; the riskless rate is taken as 0.

    Sharpe, "The Sharpe Ratio", Journal of Portfolio Management 21 (1994), annualised for days that are independent.
    """
    if len(returns) < DAYS_LEAST:
        return None
    mean = math.fsum(returns) / len(returns)
    deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in returns) / (len(returns) - 1))
    return _ratio(mean, deviation)


def sortino(returns: list[float]) -> float | None:
    """Mean over downside deviation, × √365, with 0 as the least acceptable return.

    The deviation is the root of the mean square of the losses over all days, gains counting as 0: Sortino and Price,
    "Performance Measurement in a Downside Risk Framework", Journal of Investing 3 (1994).
    """
    if len(returns) < DAYS_LEAST:
        return None
    deviation = math.sqrt(math.fsum(min(each, 0.0) ** 2 for each in returns) / len(returns))
    return _ratio(math.fsum(returns) / len(returns), deviation)


def max_drawdown(found: list[Close]) -> float | None:
    """The deepest close below the equity peak of its time, as a share of the peak."""
    return max((1 - each.equity / each.peak for each in found if each.peak > 0), default=None)


def network_fees() -> int:
    """What the network took, in raw quote at SOL's price of each moment; of trades that stand and of failed ones."""
    stand = Fill.objects.filter(reversed_at=None).aggregate(fees=Sum("network_fee_quote"))["fees"]
    failed = LedgerEntry.objects.filter(transaction__kind=LedgerKind.FEE, account__kind=AccountKind.FEES)
    return int(stand or 0) + int(failed.aggregate(fees=Sum("amount"))["fees"] or 0)


def _ratio(mean: float, deviation: float) -> float | None:
    return mean / deviation * math.sqrt(YEAR_DAYS) if deviation > 1e-12 else None
