"""Facts that trading provides to gates, voices and pages. JSON, stored with the verdicts: decimals as strings."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings

from missions.drafts import Params
from missions.gates import Case, Known
from missions.vocabulary import TRADING_KINDS
from tradeco.common.errors import DomainError
from trading import intents, money, positions
from trading import portfolio as portfolios
from trading.intents import Intent
from trading.models import Finding, Market, Order, Position, Signal, Wallet
from trading.models.order import LIVE_ORDER
from trading.vocabulary import FindingKind, OrderStatus, PositionStatus, Side

SIGNAL_BARS = 24  # older signals say nothing about now


def market(known: Known) -> dict[str, Any]:
    """The market that the case concerns: known, open, its price and the price's age, orders in doubt on it."""
    found = known.once(_market)
    if found is None:
        return {"known": False}
    # a price that came while we were looking is no second old, and JSON knows no negative zero
    age = max(0.0, (known.now - found.received_at).total_seconds()) if found.received_at else None
    return {
        "known": True,
        "name": found.name,
        "open": found.open,
        "price": None if found.price is None else f"{found.price:f}",
        "age_seconds": None if age is None else round(age, 1),
        "in_doubt": Order.objects.filter(market=found, status=OrderStatus.IN_DOUBT).count(),
    }


def trade(known: Known) -> dict[str, Any]:
    """What the case would do: side, value in USD, and its position's value, cost and gain where one stands."""
    try:
        intent = known.once(_intent)
    except DomainError as refused:
        return {"possible": False, "code": refused.code, "reason": refused.detail}
    if intent is None:
        return {"possible": False, "code": "no_trade", "reason": "It moves no money."}
    held = intent.position or _held(intent.market)
    return {
        "possible": True,
        "side": intent.side.value,
        "market": intent.market.name,
        "value_usd": str(_value(intent)),
        "slippage_bps": getattr(_params(known.case), "slippage_bps", None),
        "position": held.pk if held else None,
        "position_cost_usd": str(money.usd(held.cost)) if held else "0",
        "position_gain": f"{positions.gain(held):.6f}" if held else None,
        "reserved_usd": str(_reserved(intent.market)),
    }


def portfolio(known: Known) -> dict[str, Any]:
    """Equity, free cash, exposure, drawdown, the day's loss and which markets are in use."""
    found = portfolios.summary(now=known.now)
    lost = found.day_start_usd - found.equity_usd
    return {
        "equity_usd": str(found.equity_usd),
        "free_cash_usd": str(found.free_cash_usd),
        "exposure_usd": str(found.exposure_usd),
        "drawdown": f"{found.drawdown:.6f}",
        "day_loss": f"{lost / found.day_start_usd:.6f}" if found.day_start_usd else "0",
        "markets_in_use": found.markets_in_use,
        "unpriced": found.unpriced,
    }


def reconciliation(known: Known) -> dict[str, Any]:
    """When books and chain were last compared, and of which of this trade's assets less (`short`) or more lies there.

    Paper has no chain.
    """
    owner = Wallet.objects.filter(name=portfolios.WALLET).first() if _on_chain() else None
    if owner is None:
        return {"needed": False}
    found = known.once(_market)
    mints = [found.base_id, found.quote_id] if found else []
    findings = Finding.objects.filter(wallet=owner, settled_at=None)
    drifts = list(findings.filter(kind=FindingKind.BALANCE_DRIFT, key__in=mints))
    age = None if owner.reconciled_at is None else (known.now - owner.reconciled_at).total_seconds()
    return {
        "needed": True,
        "age_seconds": None if age is None else round(age, 1),
        "base": found.base_id if found else None,
        "short": [drift.key for drift in drifts if _surplus(drift) < 0],
        "surplus_usd": {drift.key: _worth(found, drift) for drift in drifts if _surplus(drift) >= 0},
        "strangers": findings.filter(kind=FindingKind.UNKNOWN_SIGNATURE).count(),
    }


def _surplus(drift: Finding) -> int:
    """The raw amount that the chain holds beyond the books; below zero: that is missing there."""
    return int(drift.evidence["on_chain"]) - int(drift.evidence["in_books"])


def _worth(market: Market | None, drift: Finding) -> str | None:
    """A surplus in USD; None where it has no price here."""
    if drift.key == money.USDC:
        return str(money.usd(_surplus(drift)))
    if market is None or market.price is None:
        return None
    return f"{money.units(_surplus(drift), market.base.decimals) * market.price:f}"


def reserve(known: Known) -> dict[str, Any]:
    """SOL for the network's fees: what the wallet holds beyond its positions. Paper pays none."""
    if not _on_chain():
        return {"needed": False}
    return {"needed": True, "sol": str(money.units(portfolios.fee_reserve(), 9))}


def token(known: Known) -> dict[str, Any]:
    """What is known of the safety of the case's token, as it was last asked; stored, never asked over the network."""
    if not _on_chain():
        return {"needed": False}
    found = known.once(_market)
    if found is None:
        return {"needed": True, "known": False}
    base = found.base
    return {
        "known": base.checked_at is not None,
        "needed": True,
        "verified": base.verified,
        "mint_authority_disabled": base.mint_authority_disabled,
        "freeze_authority_disabled": base.freeze_authority_disabled,
        "liquidity_usd": None if base.liquidity_usd is None else str(base.liquidity_usd),
        "age_seconds": None if base.checked_at is None else round((known.now - base.checked_at).total_seconds()),
    }


def _on_chain() -> bool:
    """From the settings, not the database: gates judge while the wallet is locked."""
    return bool(settings.NETWORK != "paper")


def signals(known: Known) -> list[dict[str, Any]]:
    """The newest signal of each kind on the case's market, of the last few candles."""
    found = known.once(_market)
    if found is None or found.price_at is None:
        return []
    newest = found.candles.order_by("-start").values_list("seconds", flat=True).first() or 60
    recent = Signal.objects.filter(
        market=found, market_at__gte=found.price_at - timedelta(seconds=newest * SIGNAL_BARS)
    )
    rows = recent.order_by("kind", "-at").distinct("kind")
    return [
        {
            "kind": row.kind,
            "direction": row.direction,
            "strength": str(row.strength),
            "confidence": str(row.confidence),
            "why": row.why,
        }
        for row in rows
    ]


def worth(known: Known) -> str:
    """What the case's trades move, in USD; what can't be read yet is worth what it says it is."""
    try:
        intent = known.once(_intent)
    except DomainError:
        return str(getattr(_params(known.case), "size_usd", 0))
    return str(_value(intent).quantize(Decimal("0.01"))) if intent else "0"


def _params(case: Case) -> Params | None:
    return next((step.typed for step in case.draft.steps if step.kind in TRADING_KINDS), None)


def _intent(case: Case) -> Intent | None:
    """Raises DomainError: what it asks for isn't there."""
    params = _params(case)
    return intents.read(params) if params else None


def _market(case: Case) -> Market | None:
    params = _params(case)
    return intents.market_of(params) if params else None


def _value(intent: Intent) -> Decimal:
    if intent.side == Side.BUY:
        return money.usd(intent.amount_in)
    if intent.market.price is None:
        return Decimal(0)
    return money.units(intent.amount_in, intent.market.base.decimals) * intent.market.price


def _held(market: Market) -> Position | None:
    return (
        Position.objects.filter(market=market, status=PositionStatus.OPEN)
        .select_related("market__base", "market__quote")
        .first()
    )


def _reserved(market: Market) -> Decimal:
    live = Order.objects.filter(market=market, side=Side.BUY, status__in=LIVE_ORDER)
    return money.usd(sum(live.values_list("amount_in", flat=True)))
