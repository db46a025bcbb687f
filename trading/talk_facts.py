"""Facts for talk: prices, what is held and was closed, what signals say, and the rows that called for a conversation.

JSON that voices speak from and turns are stored with: decimals as strings, nothing unbounded.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from missions.gates import Known
from trading import money, portfolio, positions
from trading.facts import SIGNAL_BARS
from trading.models import Candle, Feed, Market, Order, Position, Signal
from trading.vocabulary import OrderStatus, PositionStatus, Side

MARKETS_MOST = 12  # a speaker who knows more of them says nothing clearer
POSITIONS_MOST = 12
CLOSED_MOST = 5
BARS = 24  # over which a price's change is told
TEXT_MOST = 200


def prices(known: Known) -> dict[str, dict[str, Any]]:
    """By market: price, its change over the last 24 candles as a share, their range, and the price's age in seconds."""
    return {market.name: _priced(market, now=known.now) for market in _markets()}


def _markets() -> list[Market]:
    return list(Market.objects.filter(open=True, price__isnull=False).order_by("name")[:MARKETS_MOST])


def _priced(market: Market, *, now: datetime) -> dict[str, Any]:
    assert market.price is not None
    bars = list(Candle.objects.filter(market=market).order_by("-start")[:BARS])
    age = (now - market.received_at).total_seconds() if market.received_at else None
    return {
        "price": f"{market.price:f}",
        "change": f"{market.price / bars[-1].open - 1:.6f}" if bars and bars[-1].open else None,
        "high": f"{max(bar.high for bar in bars):f}" if bars else None,
        "low": f"{min(bar.low for bar in bars):f}" if bars else None,
        "bars": len(bars),
        "age_seconds": None if age is None else round(age, 1),
    }


def held(known: Known) -> dict[str, list[dict[str, Any]]]:
    """The fact `positions`: what is open, and the last five that were closed, newest first."""
    market_now = portfolio.market_time(now=known.now)
    with_assets = Position.objects.select_related("market__base", "market__quote")
    still = with_assets.filter(status=PositionStatus.OPEN).order_by("pk")[:POSITIONS_MOST]
    # ordered by id as its index is; a long holding that closed late may be missed, which talk can bear
    over = with_assets.filter(status=PositionStatus.CLOSED).order_by("-pk")[:CLOSED_MOST]
    closed = sorted(over, key=lambda position: position.closed_at or known.now, reverse=True)
    whys = _whys(closed)
    return {
        "open": [_open(position, market_now=market_now) for position in still],
        "closed": [_closed(position, whys.get(position.pk, "")) for position in closed],
    }


def _open(position: Position, *, market_now: datetime) -> dict[str, Any]:
    worth = positions.value(position)
    return {
        "id": position.pk,
        "market": position.market_id,
        "agent": position.agent_id,
        "cost_usd": _usd(position.cost),
        "value_usd": None if worth is None else _usd(worth),
        "gain": None if worth is None else f"{positions.gain(position):.6f}",
        "minutes_held": max(0, round((market_now - position.opened_market_at).total_seconds() / 60)),
    }


def _closed(position: Position, why: str) -> dict[str, Any]:
    return {
        "id": position.pk,
        "market": position.market_id,
        "agent": position.agent_id,
        "pnl_usd": _usd(position.realized),
        "gain": f"{Decimal(position.realized) / Decimal(position.bought):.6f}" if position.bought else None,
        "why": why,
        "at": position.closed_at.isoformat() if position.closed_at else None,
    }


def _whys(closed: list[Position]) -> Mapping[int, str]:
    """Why each was closed: what the step of its last sale gave as the reason."""
    sales = Order.objects.filter(position__in=closed, side=Side.SELL, status=OrderStatus.FILLED)
    rows = sales.order_by("pk").values_list("position_id", "step__params")
    return {pk: str(params.get("reason", ""))[:TEXT_MOST] for pk, params in rows if pk is not None}


def outlook(known: Known) -> dict[str, dict[str, Any]]:
    """By market: the strongest of the newest signals of each kind, of the last 24 candles; others are silent."""
    bar = Feed.objects.values_list("bar_seconds", flat=True).first() or 60
    found = {market.name: _strongest(market, timedelta(seconds=bar * SIGNAL_BARS)) for market in _markets()}
    return {name: said for name, said in found.items() if said is not None}


def _strongest(market: Market, fresh: timedelta) -> dict[str, Any] | None:
    if market.price_at is None:
        return None
    recent = Signal.objects.filter(market=market, market_at__gte=market.price_at - fresh)
    newest = list(recent.order_by("kind", "-at").distinct("kind"))
    if not newest:
        return None
    best = max(newest, key=lambda signal: signal.strength)
    return {
        "kind": best.kind,
        "direction": best.direction,
        "strength": str(best.strength),
        "confidence": str(best.confidence),
        "why": best.why[:TEXT_MOST],
    }


# --- the rows that call for a conversation --------------------------------------------------------


def position(known: Known, row_id: int) -> dict[str, Any]:
    """A position as its fact tells it, with its state; {} where there is none."""
    found = Position.objects.select_related("market__base", "market__quote").filter(pk=row_id).first()
    if found is None:
        return {}
    if found.status == PositionStatus.CLOSED:
        return {"status": "closed", **_closed(found, _whys([found]).get(found.pk, ""))}
    return {"status": "open", **_open(found, market_now=portfolio.market_time(now=known.now))}


def order(known: Known, row_id: int) -> dict[str, Any]:
    """An order: side, market and how it ended; {} where there is none."""
    found = Order.objects.filter(pk=row_id).select_related("asset_in").first()
    if found is None:
        return {}
    return {
        "id": found.pk,
        "market": found.market_id,
        "agent": found.agent_id,
        "side": found.side,
        "status": found.status,
        "gives": f"{money.units(found.amount_in, found.asset_in.decimals):f} {found.asset_in.symbol}",
        "code": found.code,
        "reason": found.reason[:TEXT_MOST],
    }


def _usd(raw: int) -> str:
    return f"{money.usd(raw):.6f}"
