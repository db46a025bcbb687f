"""What the company owns and earned: cash, marks, exposure, P&L, equity and its drawdown."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Sum

from missions import heartbeat, policies, words
from tradeco.common import db, events, leases
from tradeco.common.errors import DomainError
from tradeco.common.vocabulary import EventKind
from trading import baselines, money, positions
from trading.models import Account, EquitySnapshot, Feed, Order, Position, Wallet
from trading.models.order import LIVE_ORDER
from trading.vocabulary import AccountKind, PositionStatus, Side

WALLET = "main"
SUBJECT = "portfolio"
RESET_SECONDS = 10.0  # no beat measures meanwhile: it would write the old peak again


class BeatRuns(DomainError):
    code = "beat_runs"
    title = "A heartbeat measures equity right now"


@dataclass(frozen=True, slots=True)
class Portfolio:
    """In USD (USDC counts as 1.00). Unpriced positions are named, counted at cost in no sum, never as zero gain.

    `peak_usd`, `drawdown` and `day_start_usd` are net of what the owner paid in or took out since.
    """

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
    realized, unrealized = _realized(drawers, held), sum(worth - position.cost for position, worth in priced.items())
    peak, day_start = baselines.peak_and_day_start(equity=equity, earned=realized + unrealized, now=now)
    return Portfolio(
        cash_usd=money.usd(cash.balance),
        free_cash_usd=money.usd(cash.balance - cash.reserved),
        positions_usd=money.usd(marks),
        equity_usd=money.usd(equity),
        exposure_usd=money.usd(marks + sum(amount for _, amount in orders)),
        realized_pnl_usd=money.usd(realized),
        unrealized_pnl_usd=money.usd(unrealized),
        fees_usd=money.usd(drawers[AccountKind.FEES].balance),
        peak_usd=money.usd(peak),
        drawdown=Decimal(peak - equity) / Decimal(peak) if peak else Decimal(0),
        day_start_usd=money.usd(day_start),
        open_positions=len(held),
        markets_in_use=sorted({position.market_id for position in held} | {market for market, _ in orders}),
        unpriced=[position.market_id for position, worth in worths.items() if worth is None],
    )


def snapshot(*, now: datetime, limit: int) -> dict[str, Any]:
    """Measure equity; a phase of the heartbeat."""
    with db.one_snapshot():
        found = summary(now=now)
        _store(found, peak_usd=found.peak_usd, now=now)
        data = {
            "equity_usd": f"{found.equity_usd:.2f}",
            "cash_usd": f"{found.cash_usd:.2f}",
            "drawdown": f"{found.drawdown:.6f}",
        }
        events.emit(kind=EventKind.EQUITY_SNAPSHOT, subject=SUBJECT, now=now, data=data)
    return data


def reset_peak(*, by: AbstractBaseUser, reason: str) -> int:
    """Let the peak be what equity is now: a wrong price had raised it.

    Returns:
        How many more people must say the same, as policy's `quorum` asks.

    Raises:
        BeatRuns: a heartbeat is measuring equity.
    """
    held = leases.acquire(heartbeat.LEASE, holder="reset of the peak", seconds=RESET_SECONDS)
    if held is None:
        raise BeatRuns("Say it again in a few seconds.")
    try:
        with db.transaction():
            leases.fence(held)
            return _reset_peak(by, reason, now=db.now())
    finally:
        leases.release(held)


def _reset_peak(by: AbstractBaseUser, reason: str, *, now: datetime) -> int:
    policies.lock_company()
    needed, asked = policies.current()[1].quorum, {"peak": "as of now"}
    heard = words.give(subject=SUBJECT, asked=asked, by=by, reason=reason, needed=needed, since=None, now=now)
    if heard.missing:
        return heard.missing
    found = summary(now=now)
    _store(found, peak_usd=found.equity_usd, now=now)
    data = {"from_usd": f"{found.peak_usd:.2f}", "to_usd": f"{found.equity_usd:.2f}", "by": heard.by, "reason": reason}
    events.emit(kind=EventKind.EQUITY_PEAK_RESET, subject=SUBJECT, now=now, data=data)
    return 0


def _store(found: Portfolio, *, peak_usd: Decimal, now: datetime) -> None:
    cash, marks = _raw(found.cash_usd), _raw(found.positions_usd)
    EquitySnapshot.objects.create(
        at=now,
        market_at=market_time(now=now),
        cash=cash,
        positions=marks,
        equity=cash + marks,
        peak=_raw(peak_usd),
        day_start=_raw(found.day_start_usd),
        realized=_raw(found.realized_pnl_usd),
        unrealized=_raw(found.unrealized_pnl_usd),
    )


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


def _raw(amount: Decimal) -> int:
    return money.raw(amount, money.USDC_DECIMALS)
