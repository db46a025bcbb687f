"""Steps that look and risk nothing: signals from candles, the risk taken, open positions. Each is safe to repeat."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from missions import policies
from missions.claims import Claim
from missions.drafts import PARAMS, AnalyzeSignal
from missions.handlers import Ending, Handler, Succeeded
from missions.models import Step
from missions.policy_keys import Policy
from missions.vocabulary import StepKind
from tradeco.common import events
from tradeco.common.vocabulary import EventKind
from trading import intents, money, portfolio, positions, signals
from trading.models import Candle, Market, Position, Signal
from trading.pricepath import Bar
from trading.vocabulary import PositionStatus

CANDLES = 120  # what a signal looks back on


class Analyze(Handler):
    """Signals of the newest candles; strong ones wake scout by their event."""

    def visit(self, claim: Claim, *, now: datetime) -> Ending:
        params = PARAMS[StepKind.ANALYZE_SIGNAL].model_validate(claim.step.params)
        assert isinstance(params, AnalyzeSignal)
        markets = [intents.market_named(params.market)] if params.market else list(Market.objects.all())
        found = {market.name: signals.compute(newest_bars(market)) for market in markets}
        _, policy = policies.current()
        result = {
            name: [{"kind": s.kind, "direction": s.direction, "strength": round(s.strength, 3)} for s in seen]
            for name, seen in found.items()
        }
        return Succeeded(result={"signals": result}, book=lambda: _book(claim.step, markets, found, policy, now=now))


class AssessRisk(Handler):
    """Exposure, drawdown, and what is lost when every stop is hit."""

    def visit(self, claim: Claim, *, now: datetime) -> Ending:
        summary = portfolio.summary(now=now)
        at_stops = sum((_loss_at_stop(position) for position in _open()), Decimal(0))
        result = {
            "equity_usd": f"{summary.equity_usd:.2f}",
            "exposure_usd": f"{summary.exposure_usd:.2f}",
            "drawdown": f"{summary.drawdown:.6f}",
            "loss_at_stops_usd": f"{at_stops:.2f}",
        }
        return _told(claim, EventKind.RISK_ASSESSED, result, now=now)


class Monitor(Handler):
    """One open position, or all: what it holds, cost, is worth."""

    def visit(self, claim: Claim, *, now: datetime) -> Ending:
        wanted = claim.step.params.get("position")
        seen = [position for position in _open() if wanted in (None, position.pk)]
        result = {"positions": [_summary(position) for position in seen]}
        return _told(claim, EventKind.POSITIONS_REVIEWED, result, now=now)


def newest_bars(market: Market) -> list[Bar]:
    """The market's newest candles, oldest first."""
    rows = Candle.objects.filter(market=market).order_by("-start")[:CANDLES]
    return [
        Bar(
            market=market.name,
            start=row.start,
            seconds=row.seconds,
            open=row.open,
            high=row.high,
            low=row.low,
            close=row.close,
            volume=row.volume,
        )
        for row in reversed(rows)
    ]


def prune(*, now: datetime, limit: int, retention: timedelta) -> int:
    """Delete the oldest signals beyond their retention."""
    doomed = Signal.objects.filter(at__lt=now - retention).order_by("at")[:limit]
    deleted, _ = Signal.objects.filter(pk__in=list(doomed.values_list("pk", flat=True))).delete()
    return deleted


def _book(
    step: Step,
    markets: list[Market],
    found: dict[str, list[signals.Signal]],
    policy: Policy,
    *,
    now: datetime,
) -> None:
    agent = step.mission.agent_id
    for market in markets:
        seen = found[market.name]
        if not seen or market.price_at is None:
            continue
        Signal.objects.bulk_create(_row(step, market, signal, now=now) for signal in seen)
        for signal in _best_of_each_direction(seen):
            if signal.strength >= policy.signal_strong:
                events.emit(
                    kind=EventKind.SIGNAL_STRONG,
                    subject=f"market:{market.name}",
                    agent=agent,
                    now=now,
                    data={"market": market.name, "step": step.pk, **_plain(signal)},
                )
    strongest = max((s for seen in found.values() for s in seen), key=lambda s: s.strength, default=None)
    events.emit(
        kind=EventKind.SIGNAL_FOUND,
        subject=step.subject,
        agent=agent,
        now=now,
        data={
            "markets": len(markets),
            "signals": sum(map(len, found.values())),
            "strongest": _plain(strongest) if strongest else None,
        },
    )


def _best_of_each_direction(seen: list[signals.Signal]) -> list[signals.Signal]:
    """The strongest buy and the strongest sell; `seen` has the strongest first."""
    return list({signal.direction: signal for signal in reversed(seen)}.values())


def _row(step: Step, market: Market, signal: signals.Signal, *, now: datetime) -> Signal:
    assert market.price_at is not None
    return Signal(
        market=market,
        step=step,
        kind=signal.kind,
        direction=signal.direction,
        strength=Decimal(f"{signal.strength:.3f}"),
        confidence=Decimal(f"{signal.confidence:.3f}"),
        why=signal.why[:300],
        features=signal.features,
        at=now,
        market_at=market.price_at,
    )


def _plain(signal: signals.Signal) -> dict[str, Any]:
    return {
        "kind": signal.kind,
        "direction": signal.direction,
        "strength": f"{signal.strength:.3f}",
        "confidence": f"{signal.confidence:.3f}",
        "why": signal.why[:300],
    }


def _told(claim: Claim, kind: EventKind, result: dict[str, Any], *, now: datetime) -> Succeeded:
    """An ending whose event carries its result."""
    step = claim.step

    def book() -> None:
        events.emit(kind=kind, subject=step.subject, agent=step.mission.agent_id, now=now, data=result)

    return Succeeded(result=result, book=book)


def _open() -> list[Position]:
    rows = Position.objects.filter(status=PositionStatus.OPEN)
    return list(rows.select_related("market__base", "market__quote").order_by("pk"))


def _loss_at_stop(position: Position) -> Decimal:
    return money.usd(position.cost) * position.stop_loss


def _summary(position: Position) -> dict[str, Any]:
    seen = positions.view(position)
    return {
        "position": position.pk,
        "market": position.market_id,
        "cost_usd": f"{seen.cost_usd:.2f}",
        "value_usd": None if seen.value_usd is None else f"{seen.value_usd:.2f}",
        "gain": f"{positions.gain(position):.6f}",
    }
