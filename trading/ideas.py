"""What agents propose about events: entries and exits on strong signals, reviews after wins and losses.

An idea is a draft's data or None. Whether it may happen is the gates' and the voters' affair.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any

from missions.models import Proposal
from missions.policy_keys import Policy
from missions.vocabulary import ProposalStatus, StepKind
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind
from trading import money, portfolio, positions
from trading.models import Position
from trading.vocabulary import PositionStatus

LEAST_USD = Decimal(10)  # a smaller trade is eaten by its fees
ROOM = Decimal("0.95")  # of what limits leave: prices move between the idea and the approval
HORIZON_MINUTES = 240  # of a forecast where holding has no limit
SCALE_SHARE = Decimal("0.25")  # a winner is enlarged by this share of its cost

Idea = dict[str, Any]


def respond(agent: str, found: Sequence[Event], *, policy: Policy, now: datetime) -> Idea | None:
    """What `agent` proposes about these events of one kind, oldest first; None where it has no idea."""
    think = _THOUGHTS.get(EventKind(found[0].kind))
    return think(agent, found, policy, now) if think else None


def _trade_signal(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea | None:
    """Enter on the strongest buy whose market is neither held nor asked for already; else take the profit that a strong
    sell endangers.
    """
    held = {position.market_id: position for position in _open()}
    newest = {(event.data["market"], event.data["direction"]): event.data for event in found}
    sure = [data for data in newest.values() if Decimal(data["confidence"]) >= policy.confidence_min]
    ranked = sorted(sure, key=lambda data: Decimal(data["strength"]), reverse=True)
    for signal in ranked:
        if signal["direction"] == "buy" and signal["market"] not in held and not _is_asked_for(signal["market"]):
            return _entry(agent, signal, policy, now=now)
    for signal in ranked:
        position = held.get(signal["market"])
        if signal["direction"] == "sell" and position is not None and positions.gain(position) > 0:
            return _exit(agent, position, signal["why"], Decimal(signal["confidence"]))
    return None


def _is_asked_for(market: str) -> bool:
    """Whether an entry waits for people there: asking again only adds to what they must turn down."""
    entry = [{"kind": StepKind.EXECUTE_TRADE.value, "params": {"side": "buy", "market": market}}]
    return Proposal.objects.filter(status=ProposalStatus.PENDING, steps__contains=entry).exists()


def _entry(agent: str, signal: Mapping[str, Any], policy: Policy, *, now: datetime) -> Idea | None:
    confidence = Decimal(signal["confidence"])
    size = _size(confidence, policy, now=now)
    if size < LEAST_USD:
        return None
    horizon = policy.max_hold_minutes or HORIZON_MINUTES
    return {
        "agent": agent,
        "title": f"Buy {signal['market']} for {size} USD on {signal['kind'].replace('_', ' ')}",
        "rationale": f"Signal of strength {signal['strength']}: {signal['why']}.",
        "steps": [
            {
                "kind": "execute_trade",
                "params": {
                    "side": "buy",
                    "market": signal["market"],
                    "size_usd": str(size),
                    "stop_loss_pct": str(policy.stop_loss * 100),
                    "take_profit_pct": str(policy.take_profit * 100),
                },
            }
        ],
        "confidence": str(confidence),
        "forecast": {
            # half way between a coin and the signal's confidence: signals aren't calibrated yet
            "probability": str((Decimal("0.5") + confidence) / 2),
            "horizon_minutes": max(1, round(horizon)),
        },
    }


def _size(confidence: Decimal, policy: Policy, *, now: datetime) -> Decimal:
    """USD: the smaller of the limits on one position, scaled by confidence, within exposure and cash left."""
    summary = portfolio.summary(now=now)
    most = min(policy.position_usd_max, policy.position_max * summary.equity_usd)
    left = policy.exposure_max * summary.equity_usd - summary.exposure_usd
    size = min(most * (1 + confidence) / 2, left, summary.free_cash_usd) * ROOM
    return max(Decimal(0), size.quantize(Decimal("0.01"), rounding=ROUND_DOWN))


def _exit(agent: str, position: Position, why: str, confidence: Decimal) -> Idea:
    return {
        "agent": agent,
        "title": f"Close {position.market_id} at {positions.gain(position):+.2%}",
        "rationale": f"A strong sell signal: {why}.",
        "steps": [{"kind": "close_position", "params": {"position": position.pk, "reason": why[:200]}}],
        "confidence": str(confidence),
    }


def _scale_winner(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea | None:
    """After a win: enlarge the open position that stands best, where the flag allows; else look back."""
    winners = [position for position in _open() if positions.gain(position) > 0]
    if not policy.flag_scaling or not winners:
        return _look_back(agent, found, policy, now)
    best = max(winners, key=positions.gain)
    size = (money.usd(best.cost) * SCALE_SHARE).quantize(Decimal("0.01"), rounding=ROUND_DOWN)
    if size < LEAST_USD:
        return None
    return {
        "agent": agent,
        "title": f"Scale {best.market_id} up by {size} USD",
        "rationale": f"It stands at {positions.gain(best):+.2%}, and we have just won elsewhere.",
        "steps": [
            {
                "kind": "scale_position",
                "params": {"position": best.pk, "direction": "up", "size_usd": str(size)},
            }
        ],
        "confidence": "0.6",
    }


def _look_back(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea:
    return _review(agent, found, "reflect", {"topic": found[-1].kind}, "Look back after")


def _measure_risk(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea:
    return _review(agent, found, "calculate_risk", {}, "Measure the risk after")


def _look_at_positions(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea:
    return _review(agent, found, "monitor_position", {}, "Look at the positions after")


def _review(agent: str, found: Sequence[Event], kind: str, params: dict[str, Any], title: str) -> Idea:
    event = found[-1]
    return {
        "agent": agent,
        "title": f"{title} {event.kind.replace('.', ' ').replace('_', ' ')}",
        "rationale": f"Called for by event #{event.number} about {event.subject}.",
        "steps": [{"kind": kind, "params": params}],
        "confidence": "0.9",
    }


def _open() -> list[Position]:
    rows = Position.objects.filter(status=PositionStatus.OPEN)
    return list(rows.select_related("market__base", "market__quote"))


_THOUGHTS: Mapping[EventKind, Callable[[str, Sequence[Event], Policy, datetime], Idea | None]] = {
    EventKind.SIGNAL_STRONG: _trade_signal,
    EventKind.POSITION_WIN: _scale_winner,
    EventKind.POSITION_LOSS: _measure_risk,
    EventKind.POSITION_ALARM: _look_at_positions,
    EventKind.POSITIONS_MANY: _look_at_positions,
    EventKind.STOP_HIT: _look_back,
}
