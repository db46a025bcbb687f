"""What agents propose about events: entries and exits on strong signals, reviews after wins and losses; what they
answer to each other's doings; and what they propose of their own accord, from what they remember.

An idea is a draft's data or None. Whether it may happen is the gates' and the voters' affair.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import ROUND_DOWN, Decimal
from typing import Any

from agents import relationships, track_record
from agents.memory import Recalled
from agents.models import MemoryType
from missions import influence
from missions.models import Proposal
from missions.policy_keys import Policy
from missions.vocabulary import ProposalStatus, StepKind
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind
from trading import money, portfolio, positions
from trading.facts import SIGNAL_BARS
from trading.models import Feed, Market, Position, Signal
from trading.vocabulary import PositionStatus, Side

LEAST_USD = Decimal(10)  # a smaller trade is eaten by its fees
ROOM = Decimal("0.95")  # of what limits leave: prices move between the idea and the approval
HORIZON = timedelta(hours=4)  # of a forecast where holding has no limit
SCALE_SHARE = Decimal("0.25")  # a winner is enlarged by this share of its cost
REDUCE_SHARE = Decimal("0.5")  # a loser that a lesson speaks of is reduced by this share of its value
OWN_CONFIDENCE = Decimal("0.6")  # in a trade that rests on a memory, before the memory adds to it

Idea = dict[str, Any]


def respond(agent: str, found: Sequence[Event], *, policy: Policy, now: datetime, does: str = "") -> Idea | None:
    """What `agent` proposes about these events of one kind, oldest first; None where it has no idea.

    Beside a draft's data the idea holds `event`, the number of the one that it is about, unless `does` asks for it.

    Args:
        does: what a reaction of the matrix asks of it; empty where the event itself does.
    """
    think = _ANSWERS.get(does) if does else _THOUGHTS.get(EventKind(found[0].kind))
    return think(agent, found, policy, now) if think else None


def initiate(agent: str, memories: Sequence[Recalled], *, policy: Policy, now: datetime) -> Idea | None:
    """What `agent` proposes of its own accord from these memories, those it would rather use first; None where nothing.

    Beside a draft's data the idea holds `memories`: the id of each that it rests on, with what it added to the
    confidence.
    """
    think = _INITIATIVES.get(agent)
    return think(agent, memories, policy, now) if think and memories else None


def _trade_signal(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea | None:
    """Enter on the strongest buy whose market is neither held nor asked for already; else take the profit that a strong
    sell endangers.
    """
    held = {position.market_id: position for position in _open()}
    newest = {(event.data["market"], event.data["direction"]): event for event in found}
    sure = [event for event in newest.values() if Decimal(event.data["confidence"]) >= policy.confidence_min]
    ranked = sorted(sure, key=lambda event: Decimal(event.data["strength"]), reverse=True)
    for event in ranked:
        signal = event.data
        if signal["direction"] == "buy" and signal["market"] not in held and not _is_asked_for(signal["market"]):
            return _about(event, _entry(agent, signal, policy, now=now))
    for event in ranked:
        signal = event.data
        position = held.get(signal["market"])
        if signal["direction"] == "sell" and position is not None and positions.gain(position) > 0:
            return _about(event, _exit(agent, position, signal["why"], Decimal(signal["confidence"])))
    return None


def _about(event: Event, idea: Idea | None) -> Idea | None:
    return {**idea, "event": event.number} if idea else None


def _is_asked_for(market: str) -> bool:
    """Whether an entry waits for people there: asking again only adds to what they must turn down."""
    return _is_pending(StepKind.EXECUTE_TRADE, side="buy", market=market)


def _is_pending(kind: StepKind, **params: Any) -> bool:
    step = [{"kind": kind.value, "params": params}]
    return Proposal.objects.filter(status=ProposalStatus.PENDING, steps__contains=step).exists()


def _entry(agent: str, signal: Mapping[str, Any], policy: Policy, *, now: datetime) -> Idea | None:
    confidence = Decimal(signal["confidence"])
    size = _size(agent, confidence, policy, now=now)
    if size < LEAST_USD:
        return None
    horizon = positions.longest_holding(policy) or HORIZON
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
            "horizon_minutes": max(1, round(horizon / timedelta(minutes=1))),
        },
    }


def _size(agent: str, confidence: Decimal, policy: Policy, *, now: datetime) -> Decimal:
    """USD: the smaller of the limits on one position, scaled by confidence and, where the flag says so, by the agent's
    record, within exposure and cash left.
    """
    summary = portfolio.summary(now=now)
    most = min(policy.position_usd_max, policy.position_max * summary.equity_usd)
    if policy.flag_capital_by_record:
        most *= track_record.capital_factor(agent=agent)
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
    best = _best_winner()
    if not policy.flag_scaling or best is None:
        return _look_back(agent, found, policy, now)
    return _about(found[-1], _enlarge(agent, best, "and we have just won elsewhere"))


def _best_winner() -> Position | None:
    winners = [position for position in _open() if positions.gain(position) > 0]
    return max(winners, key=positions.gain, default=None)


def _enlarge(agent: str, best: Position, why: str) -> Idea | None:
    size = (money.usd(best.cost) * SCALE_SHARE).quantize(Decimal("0.01"), rounding=ROUND_DOWN)
    if size < LEAST_USD:
        return None
    return {
        "agent": agent,
        "title": f"Scale {best.market_id} up by {size} USD",
        "rationale": f"It stands at {positions.gain(best):+.2%}, {why}.",
        "steps": [
            {
                "kind": "scale_position",
                "params": {"position": best.pk, "direction": "up", "size_usd": str(size)},
            }
        ],
        "confidence": str(OWN_CONFIDENCE),
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
        "title": f"{title} {_in_words(event.kind)}",
        "rationale": f"Called for by event #{event.number} about {event.subject}.",
        "steps": [{"kind": kind, "params": params}],
        "confidence": "0.9",
        "event": event.number,
    }


def _in_words(name: str) -> str:
    return name.replace(".", " ").replace("_", " ")


# --- answers to each other's doings ---------------------------------------------------------------


def _diagnose(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea:
    where = _where(found[-1])
    return _answer(agent, found[-1], "reflect", {"topic": f"loss on {where}"}, f"Diagnose the loss on {where}")


def _evaluate(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea | None:
    """Look again at the market that the analysis says most about; a signal there that is strong still says enough."""
    market = _most_spoken_of(found[-1])
    if market is None or any(signal.strength >= policy.signal_strong for signal in _fresh_signals(market)):
        return None
    title = f"Evaluate what {found[-1].agent.capitalize()} found on {market.name}"
    return _answer(agent, found[-1], "analyze_signal", {"market": market.name}, title)


def _most_spoken_of(event: Event) -> Market | None:
    """The market of the strongest signal that an analysis found."""
    kind, _, step = event.subject.partition(":")
    found = Signal.objects.filter(step_id=int(step)) if kind == "step" else Signal.objects.none()
    strongest = found.order_by("-strength", "pk").select_related("market").first()
    return strongest.market if strongest else None


def _analyze(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea:
    where = _where(found[-1])
    return _answer(agent, found[-1], "reflect", {"topic": f"entry on {where}"}, f"Analyse the entry on {where}")


def _review_positions(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea:
    return _answer(agent, found[-1], "monitor_position", {}, "Review the positions that are at risk")


def _propose_strategy(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea:
    topic = _in_words(found[-1].data.get("topic", "")) or "what worked"
    title = f"Strategy after {found[-1].agent.capitalize()} looked back on {topic}"
    if not policy.flag_talks:
        return _answer(agent, found[-1], "reflect", {"topic": "strategy"}, title)
    return _answer(agent, found[-1], "hold_roundtable", _talk("strategy_session", title), title)


def _alert(agent: str, found: Sequence[Event], policy: Policy, now: datetime) -> Idea:
    return _answer(agent, found[-1], "calculate_risk", {}, f"Measure the risk after {found[-1].agent}'s audit")


def _where(event: Event) -> str:
    return str(event.data.get("market") or event.subject)


def _answer(agent: str, event: Event, kind: str, params: dict[str, Any], title: str) -> Idea:
    what = _in_words(event.kind)
    return {
        "agent": agent,
        "title": title,
        "rationale": f"Answers {event.agent or 'the company'}: event #{event.number}, {what}, about {event.subject}.",
        "steps": [{"kind": kind, "params": params}],
        "confidence": "0.9",
    }


def _talk(format: str, topic: str, about: str = "") -> dict[str, str]:
    return {"format": format, "topic": topic[:200], "about": about}


# --- ideas of their own, from what they remember --------------------------------------------------


def _enter_where_it_worked(agent: str, memories: Sequence[Recalled], policy: Policy, now: datetime) -> Idea | None:
    """Enter the market of a strategy or pattern where the fresh signals say buy, and nobody holds or asks for any."""
    known = [each for each in memories if _encourages(each)]
    held = {position.market_id for position in _open()}
    tagged = Market.objects.filter(open=True, name__in={tag for each in known for tag in each.memory.tags})
    free = [market for market in tagged if market.name not in held and not _is_asked_for(market.name)]
    ready = {market.name: signal for market in free if (signal := _fresh_buy(market, policy))}
    for each in known:
        for market in filter(ready.__contains__, each.memory.tags):
            idea = _entry(agent, ready[market], policy, now=now)
            return _remembering(idea, each, adds=True) if idea else None
    return None


def _fresh_buy(market: Market, policy: Policy) -> dict[str, str] | None:
    """The strongest fresh signal, as events tell it, where it says buy and is sure enough."""
    best = max(_fresh_signals(market), key=lambda signal: signal.strength, default=None)
    if best is None or best.direction != Side.BUY or best.confidence < policy.confidence_min:
        return None
    told = {name: str(getattr(best, name)) for name in ("kind", "direction", "strength", "confidence", "why")}
    return {"market": market.name, **told}


def _fresh_signals(market: Market) -> list[Signal]:
    """The newest signal of each kind, of the last few candles."""
    if market.price_at is None:
        return []
    bar = Feed.objects.values_list("bar_seconds", flat=True).first() or 60
    since = market.price_at - timedelta(seconds=bar * SIGNAL_BARS)
    recent = Signal.objects.filter(market=market, market_at__gte=since)
    return list(recent.order_by("kind", "-at", "-pk").distinct("kind"))


def _reduce_the_worst(agent: str, memories: Sequence[Recalled], policy: Policy, now: datetime) -> Idea | None:
    """Make the worst loser smaller where a lesson speaks of its market; what is too small for that is closed."""
    losers = [position for position in _open() if positions.gain(position) < 0]
    worst = min(losers, key=positions.gain, default=None)
    lesson = next((each for each in memories if worst and _is_lesson_on(each, worst.market_id)), None)
    if worst is None or lesson is None or _is_being_left(worst):
        return None
    return _remembering(_reduce(agent, worst), lesson, adds=True)


def _is_lesson_on(each: Recalled, market: str) -> bool:
    return each.memory.type == MemoryType.LESSON and market in each.memory.tags


def _is_being_left(position: Position) -> bool:
    return _is_pending(StepKind.CLOSE_POSITION, position=position.pk) or _is_pending(
        StepKind.SCALE_POSITION, position=position.pk, direction="down"
    )


def _reduce(agent: str, worst: Position) -> Idea:
    size = (money.usd(positions.value(worst) or 0) * REDUCE_SHARE).quantize(Decimal("0.01"), rounding=ROUND_DOWN)
    if size < LEAST_USD:
        return _exit(agent, worst, "the worst of what we hold", OWN_CONFIDENCE)
    params = {"position": worst.pk, "direction": "down", "size_usd": str(size)}
    return {
        "agent": agent,
        "title": f"Scale {worst.market_id} down by {size} USD",
        "rationale": f"It stands at {positions.gain(worst):+.2%}, the worst of what we hold.",
        "steps": [{"kind": "scale_position", "params": params}],
        "confidence": str(OWN_CONFIDENCE),
    }


def _scale_what_works(agent: str, memories: Sequence[Recalled], policy: Policy, now: datetime) -> Idea | None:
    """Enlarge the best winner where a strategy or pattern speaks of its market and the flag allows; else look back."""
    best = _best_winner() if policy.flag_scaling else None
    known = next((each for each in memories if best and _encourages(each) and best.market_id in each.memory.tags), None)
    if best is None or known is None:
        return _of_itself(agent, memories[0], "reflect", {"topic": "performance"}, "Look back on what worked")
    if _is_pending(StepKind.SCALE_POSITION, position=best.pk, direction="up"):
        return None
    idea = _enlarge(agent, best, "and what we know speaks for more")
    return _remembering(idea, known, adds=True) if idea else None


def _study_the_unknown(agent: str, memories: Sequence[Recalled], policy: Policy, now: datetime) -> Idea | None:
    """Analyse the market that its memories say least of; of several, one by the dice."""
    markets = Market.objects.filter(open=True).order_by("name").values_list("name", flat=True)
    said = Counter(tag for each in memories for tag in each.memory.tags)
    fewest = min((said[market] for market in markets), default=0)
    least = [market for market in markets if said[market] == fewest]
    if not least:
        return None
    market = random.Random(f"study:{memories[0].memory.pk}:{now.isoformat()}").choice(least)
    return _of_itself(agent, memories[0], "analyze_signal", {"market": market}, f"Study {market}, which we know least")


def _call_a_talk(agent: str, memories: Sequence[Recalled], policy: Policy, now: datetime) -> Idea | None:
    """A lesson is debated where two stand far apart; all else is a matter of strategy."""
    if not policy.flag_talks:
        return None
    first = memories[0]
    debated = first.memory.type == MemoryType.LESSON and relationships.farthest()[2] < policy.debate_below
    params = _talk("debate" if debated else "strategy_session", influence.words(first.memory), first.memory.subject)
    title = "Debate a lesson" if debated else "Talk over our strategy"
    return _of_itself(agent, first, "hold_roundtable", params, title)


def _audit(agent: str, memories: Sequence[Recalled], policy: Policy, now: datetime) -> Idea:
    return _of_itself(agent, memories[0], "reflect", {"topic": "audit"}, "Audit what was promised and done")


def _of_itself(agent: str, each: Recalled, kind: str, params: dict[str, Any], title: str) -> Idea:
    """Work without risk that a memory brought up; it adds nothing to the confidence."""
    steps = [{"kind": kind, "params": params}]
    return _remembering({"agent": agent, "title": title, "rationale": "", "steps": steps, "confidence": "0.9"}, each)


def _remembering(idea: Idea, each: Recalled, *, adds: bool = False) -> Idea:
    """The idea as one that rests on a memory, named in title and rationale, which may add to its confidence."""
    before = Decimal(idea["confidence"])
    effect = min(influence.weight(each.strength), 1 - before) if adds else Decimal(0)
    return {
        **idea,
        "title": f"{idea['title']} (remembers #{each.memory.pk})",
        "rationale": influence.remembering(idea["rationale"], [each.memory]),
        "confidence": str(before + effect),
        "memories": [(each.memory.pk, effect)],
    }


def _encourages(each: Recalled) -> bool:
    return influence.SIGN.get(MemoryType(each.memory.type), 0) > 0


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
_ANSWERS: Mapping[str, Callable[[str, Sequence[Event], Policy, datetime], Idea | None]] = {
    "diagnose": _diagnose,
    "evaluate": _evaluate,
    "analyze": _analyze,
    "review": _review_positions,
    "propose_strategy": _propose_strategy,
    "alert": _alert,
}
_INITIATIVES: Mapping[str, Callable[[str, Sequence[Recalled], Policy, datetime], Idea | None]] = {
    "scout": _enter_where_it_worked,
    "sage": _reduce_the_worst,
    "growth": _scale_what_works,
    "intel": _study_the_unknown,
    "atlas": _call_a_talk,
    "observer": _audit,
}
