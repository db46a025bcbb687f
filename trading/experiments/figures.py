"""What a simulated company came to, read from its books: how it traded, what it earned, how well it forecast."""

import hashlib
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db.models import Avg, Count, Q

from agents.models import Memory, Score
from missions.models import Beat, BeatPhase, Influence, Outcome, Proposal, Step
from missions.vocabulary import PhaseStatus, ProposalStatus, StepKind, StepStatus
from trading import portfolio
from trading.models import Candle, EquitySnapshot, Fill


@dataclass(frozen=True, slots=True)
class Figures:
    """Money in USD, shares as shares of the opening equity. What can't be said (no forecast, no trade) is None.

    `conversations` counts those that were held to their end, by format. `hit_rate` is wins as a share of wins and
    losses. Brier and log score are means over forecasts, 0 is best. `market` names the candles: equal where two
    companies saw the same prices. `failed` counts steps and phases of the heartbeat that failed.
    """

    market: str
    beats: int
    trades: int
    refusals: int
    left_to_people: int
    conversations: dict[str, int]
    memories: int
    influenced: int
    pnl_usd: float
    pnl_share: float
    realized_usd: float
    unrealized_usd: float
    fees_usd: float
    max_drawdown: float
    forecasts: int
    brier: float | None
    log_score: float | None
    hit_rate: float | None
    failed: dict[str, int]

    @property
    def talks(self) -> int:
        return sum(self.conversations.values())

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def read(*, now: datetime) -> Figures:
    """Of this process's database. Open positions count at the newest prices, without what selling them would cost."""
    found = portfolio.summary(now=now)
    earned = found.realized_pnl_usd + found.unrealized_pnl_usd
    opening = found.equity_usd - earned
    scores = Score.objects.aggregate(n=Count("pk"), brier=Avg("brier"), log=Avg("log_score"))
    return Figures(
        market=_digest(),
        beats=Beat.objects.count(),
        trades=Fill.objects.filter(reversed_at=None).count(),
        refusals=Proposal.objects.filter(status=ProposalStatus.REJECTED).count(),
        left_to_people=Proposal.objects.filter(waits_for_people_since__isnull=False).count(),
        conversations=_conversations(),
        memories=Memory.objects.count(),
        influenced=Influence.objects.aggregate(n=Count("proposal", distinct=True))["n"],
        pnl_usd=float(earned),
        pnl_share=float(earned / opening) if opening else 0.0,
        realized_usd=float(found.realized_pnl_usd),
        unrealized_usd=float(found.unrealized_pnl_usd),
        fees_usd=float(found.fees_usd),
        max_drawdown=_max_drawdown(),
        forecasts=scores["n"],
        brier=_number(scores["brier"]),
        log_score=_number(scores["log"]),
        hit_rate=_hit_rate(),
        failed=_failed(),
    )


def _digest() -> str:
    """A hash over every candle: the same prices give the same."""
    rows = Candle.objects.order_by("market_id", "start").values_list("market_id", "start", "high", "low", "close")
    digest = hashlib.blake2b(digest_size=8)
    for name, start, *prices in rows.iterator():
        digest.update(f"{name}|{start.isoformat()}|{'|'.join(f'{price:f}' for price in prices)}\n".encode())
    return digest.hexdigest()


def _conversations() -> dict[str, int]:
    held = Step.objects.filter(kind=StepKind.HOLD_ROUNDTABLE, status=StepStatus.SUCCEEDED)
    ended = (step.params["format"] for step in held if "called_off" not in step.result)
    return dict(sorted(Counter(ended).items()))


def _max_drawdown() -> float:
    """The deepest equity below its peak until then, as a share of the peak, over all snapshots: one a beat."""
    rows = EquitySnapshot.objects.filter(peak__gt=0).values_list("equity", "peak")
    return max((1 - equity / peak for equity, peak in rows.iterator()), default=0.0)


def _hit_rate() -> float | None:
    found = Outcome.objects.aggregate(wins=Count("pk", filter=Q(pnl_usd__gt=0)), losses=_losses())
    ended = found["wins"] + found["losses"]
    return found["wins"] / ended if ended else None


def _losses() -> Count:
    return Count("pk", filter=Q(pnl_usd__lt=0))


def _failed() -> dict[str, int]:
    phases = BeatPhase.objects.exclude(status__in=[PhaseStatus.SUCCESS, PhaseStatus.SKIPPED])
    steps = Step.objects.filter(status__in=[StepStatus.FAILED, StepStatus.NEEDS_RECONCILIATION])
    return {"phases": phases.count(), "steps": steps.count()}


def _number(value: Any) -> float | None:
    return None if value is None else float(value)
