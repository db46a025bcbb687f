"""What the pages show, read for them: one function a panel, each with few queries however much there is.

Numbers are Decimal or None where nothing is known; how they are written is formats' affair.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Count, OuterRef, Subquery

from agents.models import Agent
from dashboard import sentences
from missions import caps, policies, watch
from missions.models import Beat, Company, Mission, Outcome, Proposal, Step
from missions.policies import NoPolicy
from missions.policy_keys import Policy
from missions.vocabulary import MissionStatus, ProposalStatus, StepStatus
from roundtable.models import Turn
from tradeco.common.models import Event
from tradeco.common.wiring import load
from trading import money, portfolio, positions
from trading.models import Candle, Feed, Finding, Market, Order, Position
from trading.vocabulary import OrderStatus, PositionStatus

EVENT_ROWS = 50  # the page's list never grows beyond it
EQUITY_POINTS = 400  # a line on a screen shows no more
SPARK_CANDLES = 48
CLOSED_ROWS = 6
ORDER_ROWS = 6


def company(*, now: datetime) -> dict[str, Any]:
    """The switch, the policy set, and how much waits for people."""
    return {"company": Company.objects.first(), "attention": attention(), "network": settings.NETWORK}


def attention() -> dict[str, int]:
    """What waits for people: proposals, steps and orders whose outcome nobody knows, and what reconciliation found."""
    pending = Proposal.objects.filter(status=ProposalStatus.PENDING, waits_for_people_since__isnull=False)
    found = {
        "proposals": pending.count(),
        "steps": Step.objects.in_doubt().count(),
        "orders": Order.objects.filter(status=OrderStatus.IN_DOUBT).count(),
        "findings": Finding.objects.filter(settled_at=None).count(),
    }
    return {**found, "all": sum(found.values())}


def portfolio_now(*, now: datetime) -> dict[str, Any]:
    """Cash, equity and P&L at the newest prices, the day's change among them."""
    found = portfolio.summary(now=now)
    change = found.equity_usd - found.day_start_usd
    return {
        "portfolio": found,
        "day_usd": change,
        "day_pct": change / found.day_start_usd * 100 if found.day_start_usd else None,
        "exposure": found.exposure_usd / found.equity_usd if found.equity_usd else None,
    }


def equity(*, now: datetime) -> dict[str, Any]:
    """The equity line over market time: newest point of each moment, oldest first."""
    by_moment = {row["market_at"]: row for row in portfolio.equity_series(limit=EQUITY_POINTS)}
    rows = [by_moment[moment] for moment in sorted(by_moment)]
    points = [(row["market_at"].timestamp(), float(row["equity_usd"])) for row in rows]
    return {
        "rows": list(reversed(rows[-20:])),
        "points": " ".join(f"{at:.0f},{value:.2f}" for at, value in points),
        "static": spark([value for _, value in points], width=800, height=220),
        "first": rows[0] if rows else None,
        "last": rows[-1] if rows else None,
        "low_usd": min((row["equity_usd"] for row in rows), default=None),
        "high_usd": max((row["equity_usd"] for row in rows), default=None),
    }


@dataclass(frozen=True, slots=True)
class PriceRow:
    market: Market
    stale: bool
    change_pct: Decimal | None
    spark: str


def prices(*, now: datetime) -> dict[str, Any]:
    """Each market's price, its change over the last candles and their line."""
    policy = policy_in_force()
    feed = Feed.objects.first()
    rows = []
    for market in Market.objects.all():
        newest = Candle.objects.filter(market=market).order_by("-start").values_list("close", flat=True)
        closes = list(newest[:SPARK_CANDLES])[::-1]
        age = (now - market.received_at).total_seconds() if market.received_at else None
        rows.append(
            PriceRow(
                market=market,
                stale=age is None or policy is None or age > policy.price_stale_after_seconds,
                change_pct=(closes[-1] / closes[0] - 1) * 100 if len(closes) > 1 else None,
                spark=spark([float(close) for close in closes], width=120, height=32),
            )
        )
    seconds = feed.bar_seconds * SPARK_CANDLES if feed else None
    return {"rows": rows, "feed": feed, "spark_seconds": seconds}


def spark(values: list[float], *, width: int, height: int) -> str:
    """The points of an SVG polyline through these values, left to right; empty below two."""
    if len(values) < 2:
        return ""
    low, high = min(values), max(values)
    scale = (height - 4) / (high - low) if high > low else 0.0
    step = width / (len(values) - 1)
    return " ".join(f"{n * step:.1f},{height - 2 - (value - low) * scale:.1f}" for n, value in enumerate(values))


@dataclass(frozen=True, slots=True)
class OpenRow:
    position: Position
    view: positions.PositionView
    mark_at: Decimal | None  # where the mark lies between stop and take-profit, in percent
    entry_at: Decimal | None


@dataclass(frozen=True, slots=True)
class ClosedRow:
    position: Position
    realized_usd: Decimal
    realized_pct: Decimal | None


def open_and_closed(*, now: datetime) -> dict[str, Any]:
    """What is held, with its exits, and what was closed last."""
    rows = Position.objects.select_related("market__base", "market__quote", "agent")
    held = rows.filter(status=PositionStatus.OPEN).order_by("-id")
    closed = rows.filter(status=PositionStatus.CLOSED).order_by("-id")[:CLOSED_ROWS]
    return {
        "open": [_open_row(position) for position in held],
        "closed": [
            ClosedRow(
                position=position,
                realized_usd=money.usd(position.realized),
                realized_pct=Decimal(position.realized) / Decimal(position.bought) * 100 if position.bought else None,
            )
            for position in closed
        ],
    }


def _open_row(position: Position) -> OpenRow:
    view = positions.view(position)
    return OpenRow(
        position=position,
        view=view,
        mark_at=_between(position.stop_price, view.mark_price, position.take_profit_price),
        entry_at=_between(position.stop_price, view.entry_price, position.take_profit_price),
    )


def _between(low: Decimal | None, value: Decimal | None, high: Decimal | None) -> Decimal | None:
    """Where a value lies between two others, 0 to 100."""
    if low is None or value is None or high is None or high <= low:
        return None
    return round(min(Decimal(1), max(Decimal(0), (value - low) / (high - low))) * 100, 1)


def pipeline(*, now: datetime) -> dict[str, Any]:
    """What is on its way, what ended today (UTC), and the last orders."""
    pending = Proposal.objects.filter(status=ProposalStatus.PENDING)
    unfinished = [StepStatus.QUEUED, StepStatus.CLAIMED, StepStatus.EXECUTING, StepStatus.NEEDS_RECONCILIATION]
    counted = Step.objects.filter(status__in=unfinished).values_list("status").annotate(n=Count("pk"))
    steps = dict(counted.order_by())
    running = Mission.objects.filter(status__in=[MissionStatus.APPROVED, MissionStatus.RUNNING])
    ended = _ended_today(now)
    last = Order.objects.select_related("agent", "market__base", "market__quote").prefetch_related("fills")
    return {
        "pending": pending.count(),
        "waiting": pending.filter(waits_for_people_since__isnull=False).count(),
        "missions": running.count(),
        "queued": steps.get(StepStatus.QUEUED, 0),
        "executing": steps.get(StepStatus.CLAIMED, 0) + steps.get(StepStatus.EXECUTING, 0),
        "in_doubt": steps.get(StepStatus.NEEDS_RECONCILIATION, 0),
        "succeeded": ended.get(True, 0),
        "failed": ended.get(False, 0),
        "orders": [(order, order.fills.all()[:1]) for order in last.order_by("-id")[:ORDER_ROWS]],
    }


def _ended_today(now: datetime) -> dict[bool, int]:
    """Missions that ended since midnight UTC; by agent, since that is how outcomes are indexed."""
    midnight = datetime.combine(now.astimezone(UTC).date(), time.min, tzinfo=UTC)
    ended = Outcome.objects.filter(agent__in=Agent.objects.values("key"), at__gte=midnight)
    return dict(ended.values_list("succeeded").annotate(n=Count("pk")).order_by())


def last_events(*, now: datetime) -> dict[str, Any]:
    """The newest events but for the routine ones, newest first."""
    names = sentences.agent_names()
    newest = Event.objects.filter(number__isnull=False).exclude(kind__in=sentences.ROUTINE).order_by("-number")
    return {"rows": [sentences.tell(event, names=names) for event in newest[:EVENT_ROWS]]}


@dataclass(frozen=True, slots=True)
class AgentCard:
    agent: Agent
    last: sentences.Told | None
    words: Turn | None


def agents(*, now: datetime) -> dict[str, Any]:
    """Each agent with its last act and its last words: its last event and turn, and nothing that neither says."""
    names = sentences.agent_names()
    words = _last_words()
    cards = []
    for agent in Agent.objects.all():
        acts = Event.objects.filter(agent=agent.key, number__isnull=False).order_by("-number")
        last = acts.first()
        told = sentences.tell(last, names=names) if last else None
        cards.append(AgentCard(agent=agent, last=told, words=words.get(agent.key)))
    return {"cards": cards}


def _last_words() -> dict[str, Turn]:
    """What each agent said last, by its key; two queries however much was said."""
    newest = Turn.objects.filter(agent=OuterRef("pk")).order_by("-pk").values("pk")[:1]
    keys = Agent.objects.annotate(newest_turn=Subquery(newest)).values_list("newest_turn", flat=True)
    return {turn.agent_id: turn for turn in Turn.objects.filter(pk__in=[key for key in keys if key])}


def health(*, now: datetime) -> dict[str, Any]:
    """The last beat against its budgets, whether each part lives, and the caps' headroom."""
    beat = Beat.objects.filter(finished_at__isnull=False).order_by("-started_at").prefetch_related("phases").first()
    waiting = Event.objects.filter(number__isnull=True).order_by("key").values_list("at", flat=True).first()
    policy = policy_in_force()
    return {
        "beat": beat,
        "phases": list(beat.phases.all()) if beat else [],
        "parts": [(name, *load(path)()) for name, path in settings.READINESS.items()],
        "oldest_step_seconds": watch.oldest_step_seconds(now=now),
        "event_lag_seconds": (now - waiting).total_seconds() if waiting else 0.0,
        "caps": [_headroom(cap) for cap in caps.overview(policy=policy, now=now)] if policy else [],
    }


def policy_in_force() -> Policy | None:
    """The policy in force; None before the company is opened, when pages are empty but whole."""
    try:
        return policies.current()[1]
    except NoPolicy:
        return None


def _headroom(cap: dict[str, Any]) -> dict[str, Any]:
    used = Decimal(cap["used"]) / cap["limit"] * 100 if cap["limit"] else Decimal(100)
    return {**cap, "used_pct": round(min(used, Decimal(100)), 1)}
