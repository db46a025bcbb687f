"""The reflect step: an agent looks back on the outcomes of its missions. What is learnt of each is `learning`'s affair,
whenever anybody looks back.
"""

from datetime import datetime, timedelta
from typing import Any

from django.db.models import Avg, Count, Q, Sum

from missions.claims import Claim
from missions.drafts import Reflect as ReflectParams
from missions.handlers import Ending, Handler, Succeeded
from missions.models import Outcome
from tradeco.common import events
from tradeco.common.vocabulary import EventKind


class Reflect(Handler):
    """Counts, P&L and the reasons of failure over the window, by mission kind, for the whole company."""

    def visit(self, claim: Claim, *, now: datetime) -> Ending:
        step = claim.step
        params = ReflectParams.model_validate(step.params)
        result = look_back(since=now - timedelta(hours=params.window_hours))

        def book() -> None:
            events.emit(
                kind=EventKind.REFLECTED,
                subject=step.subject,
                agent=step.mission.agent_id,
                now=now,
                data={"topic": params.topic, **result},
            )

        return Succeeded(result=result, book=book)


def look_back(*, since: datetime) -> dict[str, Any]:
    """Outcomes since a moment: missions, successes, wins, losses and P&L in USD, in all and by kind."""
    recent = Outcome.objects.filter(at__gte=since)
    by_kind = recent.values("kind").annotate(
        missions=Count("pk"),
        succeeded=Count("pk", filter=Q(succeeded=True)),
        wins=Count("pk", filter=Q(pnl_usd__gt=0)),
        losses=Count("pk", filter=Q(pnl_usd__lt=0)),
        total_pnl_usd=Sum("pnl_usd"),
        mean_pnl_usd=Avg("pnl_usd"),
    )
    failures = recent.filter(succeeded=False).values("code").annotate(times=Count("pk")).order_by("-times", "code")
    return {
        "since": since.isoformat(),
        "by_kind": {row["kind"]: {k: _plain(v) for k, v in row.items() if k != "kind"} for row in by_kind},
        "failures": {row["code"]: row["times"] for row in failures[:10]},
    }


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, int) else f"{value:.6f}"
