"""What the company owns and earned: cash, marks, exposure, P&L, equity and its drawdown."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from django.db.models import Subquery, Sum
from django.db.models.functions import Coalesce

from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind
from trading import money, positions
from trading.models import Account, EquitySnapshot, Feed, Order, Position, Wallet
from trading.models.order import LIVE_ORDER
from trading.vocabulary import AccountKind, PositionStatus, Side

WALLET = "main"


@dataclass(frozen=True, slots=True)
class Portfolio:
    """In USD (USDC counts as 1.00). Unpriced positions are named, counted at cost in no sum, never as zero gain."""

    cash_usd: Decimal
    free_cash_usd: Decimal
    positions_usd: Decimal
    equity_usd: Decimal
    exposure_usd: Decimal
    realized_pnl_usd: Decimal
    unrealized_pnl_usd: Decimal
    fees_usd: Decimal
    peak_usd: Decimal
    drawdown: Decimal
    day_start_usd: Decimal
    open_positions: int
    markets_in_use: list[str]
    unpriced: list[str] = field(default_factory=list)


def wallet() -> Wallet:
    """The company's wallet."""
    return Wallet.objects.get(name=WALLET)


def summary(*, now: datetime) -> Portfolio:
    """The portfolio at the newest prices, at one moment. Exposure counts money reserved for buys as spent."""
    with db.one_snapshot():
        return _summary(now)


def _summary(now: datetime) -> Portfolio:
    drawers = _drawers()
    cash = drawers[AccountKind.WALLET]
    held = list(Position.objects.filter(status=PositionStatus.OPEN).select_related("market__base", "market__quote"))
    worths = {position: positions.value(position) for position in held}
    priced = {position: worth for position, worth in worths.items() if worth is not None}
    marks = sum(priced.values())
    equity = cash.balance + marks
    orders = list(Order.objects.filter(side=Side.BUY, status__in=LIVE_ORDER).values_list("market", "amount_in"))
    peak, day_start = _measured(now=now)
    peak = max(peak or 0, equity)
    return Portfolio(
        cash_usd=money.usd(cash.balance),
        free_cash_usd=money.usd(cash.balance - cash.reserved),
        positions_usd=money.usd(marks),
        equity_usd=money.usd(equity),
        exposure_usd=money.usd(marks + sum(amount for _, amount in orders)),
        realized_pnl_usd=money.usd(_realized(drawers, held)),
        unrealized_pnl_usd=money.usd(sum(worth - position.cost for position, worth in priced.items())),
        fees_usd=money.usd(drawers[AccountKind.FEES].balance),
        peak_usd=money.usd(peak),
        drawdown=Decimal(peak - equity) / Decimal(peak) if peak else Decimal(0),
        day_start_usd=money.usd(day_start or equity),
        open_positions=len(held),
        markets_in_use=sorted({position.market_id for position in held} | {market for market, _ in orders}),
        unpriced=[position.market_id for position, worth in worths.items() if worth is None],
    )


def snapshot(*, now: datetime, limit: int) -> dict[str, Any]:
    """Measure equity; a phase of the heartbeat."""
    with db.one_snapshot():
        found = summary(now=now)
        cash, marks = _raw(found.cash_usd), _raw(found.positions_usd)
        EquitySnapshot.objects.create(
            at=now,
            market_at=market_time(now=now),
            cash=cash,
            positions=marks,
            equity=cash + marks,
            peak=_raw(found.peak_usd),
            realized=_raw(found.realized_pnl_usd),
            unrealized=_raw(found.unrealized_pnl_usd),
        )
        data = {
            "equity_usd": f"{found.equity_usd:.2f}",
            "cash_usd": f"{found.cash_usd:.2f}",
            "drawdown": f"{found.drawdown:.6f}",
        }
        events.emit(kind=EventKind.EQUITY_SNAPSHOT, subject="portfolio", now=now, data=data)
    return data


def equity_series(*, limit: int) -> list[dict[str, Any]]:
    """The newest snapshots, oldest first."""
    rows = reversed(EquitySnapshot.objects.order_by("-at")[:limit])
    return [
        {
            "at": row.at,
            "market_at": row.market_at,
            "equity_usd": money.usd(row.equity),
            "cash_usd": money.usd(row.cash),
            "drawdown": Decimal(row.peak - row.equity) / Decimal(row.peak) if row.peak else Decimal(0),
        }
        for row in rows
    ]


def fee_reserve() -> int:
    """Lamports that pay the network: what the wallet holds beyond its positions. No part of equity."""
    account = Account.objects.filter(wallet=WALLET, kind=AccountKind.WALLET, asset=money.NATIVE).first()
    held = Position.objects.filter(wallet=WALLET, market__base=money.NATIVE, status=PositionStatus.OPEN)
    positions_hold = held.aggregate(quantity=Sum("quantity"))["quantity"] or 0
    return (account.balance if account else 0) - int(positions_hold)


def market_time(*, now: datetime) -> datetime:
    """The feed's time; the wall's where the feed hasn't begun."""
    return Feed.objects.values_list("market_time", flat=True).first() or now


def _drawers() -> dict[AccountKind, Account]:
    """The wallet's USDC by drawer; empty ones before the books are open."""
    rows = Account.objects.filter(wallet=WALLET, asset__symbol="USDC")
    return defaultdict(Account, {AccountKind(row.kind): row for row in rows})


def _realized(drawers: Mapping[AccountKind, Account], held: list[Position]) -> int:
    """Realised P&L since the opening: cash, and the cost of what is held, beyond the capital paid in.

    Equal to the sum over all positions ever, which would be read whole at each look.
    """
    paid_in: int = -drawers[AccountKind.CAPITAL].balance
    cost: int = sum(position.cost for position in held)
    cash: int = drawers[AccountKind.WALLET].balance
    return cash + cost - paid_in


def _measured(*, now: datetime) -> tuple[int | None, int | None]:
    """The newest peak, and equity at the beginning of the UTC day: the last snapshot's before it, else the day's first.

    None where nothing was measured yet.
    """
    midnight = datetime.combine(now.astimezone(UTC).date(), time.min, tzinfo=UTC)
    before = EquitySnapshot.objects.filter(at__lt=midnight).order_by("-at").values("equity")[:1]
    first = EquitySnapshot.objects.filter(at__gte=midnight).order_by("at").values("equity")[:1]
    opening = Coalesce(Subquery(before), Subquery(first))
    return EquitySnapshot.objects.order_by("-at").values_list("peak", opening).first() or (None, None)


def _raw(amount: Decimal) -> int:
    return money.raw(amount, money.USDC_DECIMALS)
