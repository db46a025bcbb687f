"""Facts for talk that missions knows: how work turned out, and the row that a conversation is about.

JSON that voices speak from and turns are stored with: decimals as strings, nothing unbounded.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import Count, Q, Sum

from agents.models import Agent, Memory
from missions import policies
from missions.drafts import HoldRoundtable
from missions.gates import Known
from missions.models import Mission, Outcome, Proposal
from missions.vocabulary import ProposalStatus
from tradeco.common.wiring import load

CODES_MOST = 8  # most frequent codes of failures and refusals
TEXT_MOST = 200
_COUNTED = ("missions", "succeeded", "wins", "losses")


def outcomes(known: Known) -> dict[str, Any]:
    """What ended in the learning window: missions, wins, losses and P&L in USD, in all, by agent and by kind; the codes
    of what failed, and of the proposals that were refused.
    """
    _, policy = policies.current()
    since = known.now - timedelta(hours=policy.learning_window_hours)
    # by agent, as the index is
    recent = Outcome.objects.filter(agent__in=list(Agent.objects.values_list("pk", flat=True)), at__gte=since)
    rows: list[Any] = list(recent.values("agent", "kind").annotate(**_COUNTS))
    refused = Proposal.objects.filter(decided_at__gte=since, status=ProposalStatus.REJECTED)
    return {
        "hours": policy.learning_window_hours,
        **_together(rows),
        "by_agent": _by(rows, "agent"),
        "by_kind": _by(rows, "kind"),
        "failures": _codes(recent.filter(succeeded=False)),
        "refusals": _codes(refused),
    }


_COUNTS = {
    "missions": Count("pk"),
    "succeeded": Count("pk", filter=Q(succeeded=True)),
    "wins": Count("pk", filter=Q(pnl_usd__gt=0)),
    "losses": Count("pk", filter=Q(pnl_usd__lt=0)),
    "pnl": Sum("pnl_usd"),
}


def _by(rows: list[dict[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    parts: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        parts[row[key]].append(row)
    return {name: _together(part) for name, part in sorted(parts.items())}


def _together(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    rows = list(rows)
    earned = sum((row["pnl"] for row in rows if row["pnl"] is not None), Decimal(0))
    return {**{name: sum(row[name] for row in rows) for name in _COUNTED}, "pnl_usd": f"{earned:.6f}"}


def _codes(rows: Any) -> dict[str, int]:
    counted = rows.exclude(code="").values("code").annotate(times=Count("pk")).order_by("-times", "code")
    return {row["code"]: row["times"] for row in counted[:CODES_MOST]}


# --- the rows that call for a conversation --------------------------------------------------------


def talked_of(known: Known) -> dict[str, Any]:
    """The row that `about` of the case's conversation names, as JSON; {} where it names none that can be told.

    `settings.TALKED_OF` says who tells which kind of row.
    """
    about = next((step.typed.about for step in known.case.draft.steps if isinstance(step.typed, HoldRoundtable)), "")
    name, _, row_id = about.partition(":")
    path = settings.TALKED_OF.get(name)
    if path is None:
        return {}
    told: dict[str, Any] = load(path)(known, int(row_id))
    return {"about": about, **told} if told else {}


def proposal(known: Known, row_id: int) -> dict[str, Any]:
    """A proposal: what it asks for and what became of it; {} where there is none."""
    found = Proposal.objects.filter(pk=row_id).first()
    if found is None:
        return {}
    return {
        "id": found.pk,
        "agent": found.agent_id,
        "title": found.title,
        "value_usd": str(found.value_usd),
        "confidence": str(found.confidence),
        "status": found.status,
        "code": found.code,
        "reason": found.reason[:TEXT_MOST],
    }


def mission(known: Known, row_id: int) -> dict[str, Any]:
    """A mission and its outcome; {} where there is none."""
    found = Mission.objects.select_related("proposal", "outcome").filter(pk=row_id).first()
    if found is None:
        return {}
    told = {"id": found.pk, "agent": found.agent_id, "kind": found.kind, "status": found.status}
    outcome: Outcome | None = getattr(found, "outcome", None)
    earned = None if outcome is None or outcome.pnl_usd is None else str(outcome.pnl_usd)
    return {**told, "title": found.proposal.title, "code": outcome.code if outcome else "", "pnl_usd": earned}


def memory(known: Known, row_id: int) -> dict[str, Any]:
    """A memory: whose it is, what it says, how it has held; {} where there is none."""
    found = Memory.objects.filter(pk=row_id).first()
    if found is None:
        return {}
    return {
        "id": found.pk,
        "agent": found.agent_id,
        "type": found.type,
        "text": found.text[:TEXT_MOST],
        "confidence": str(found.confidence),
        "confirmations": found.confirmations,
        "contradictions": found.contradictions,
        "tags": found.tags,
    }
