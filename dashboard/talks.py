"""Conversations as pages and the API read them: turns, drift and votes of many at once, in a fixed number of queries.

A shift belongs to a conversation by its cause, since lower layers know no conversations. How a conversation goes on is
the roundtable's affair.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Prefetch, QuerySet

from agents.models import DRIFT_MOST, Agent, Memory, Shift
from dashboard import formats, queries
from roundtable.models import OPEN, Conversation, ConversationStatus, Stance, Turn

RUNNING_ROWS = 4  # one more than policy lets run at a time
ENDED_ROWS = 5

STANCE_ICONS = {Stance.AGREE: "check", Stance.NEUTRAL: "equal", Stance.DISAGREE: "cross", Stance.VETO: "stop"}
STATUS_ICONS = {
    ConversationStatus.PENDING: "clock",
    ConversationStatus.ACTIVE: "talk",
    ConversationStatus.COMPLETED: "check",
    ConversationStatus.FAILED: "alert",
    ConversationStatus.CANCELLED: "cross",
}


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation with the shifts that it caused."""

    row: Conversation
    shifts: list[Shift]


def with_everything() -> QuerySet[Conversation]:
    """Conversations with their turns, the memories named in them, and the votes they led to."""
    turns = (
        Turn.objects.defer("facts", "brief")
        .order_by("place")
        .prefetch_related(Prefetch("memories", queryset=Memory.objects.only("pk")))
    )
    return Conversation.objects.select_related("decides").prefetch_related(
        Prefetch("turns", queryset=turns), "decides__votes"
    )


def told(rows: Iterable[Conversation]) -> list[Talk]:
    """These conversations, each with its shifts, by one more query."""
    found = list(rows)
    by_cause = shifts_by_cause([row.subject for row in found])
    return [Talk(row=row, shifts=by_cause.get(row.subject, [])) for row in found]


def shifts_by_cause(causes: Iterable[str]) -> dict[str, list[Shift]]:
    """What each cause moved, with the pairs, in their order."""
    by_cause: dict[str, list[Shift]] = {}
    moved = Shift.objects.filter(cause__in=list(causes)).select_related("relationship")
    for shift in moved.order_by("relationship__a_id", "relationship__b_id"):
        by_cause.setdefault(shift.cause, []).append(shift)
    return by_cause


# --- for the page ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A turn as a line of a transcript."""

    turn: Turn
    agent: Agent
    to: Agent | None
    icon: str
    memories: list[int]


@dataclass(frozen=True, slots=True)
class Drift:
    """How far a pair moved; `at` is where that lies between the two caps, in percent."""

    a: str
    b: str
    text: str
    tone: str
    after: Decimal
    at: Decimal


@dataclass(frozen=True, slots=True)
class Table:
    """A conversation as the panel shows it."""

    row: Conversation
    icon: str
    lines: list[Line]
    drift: list[Drift]
    marks: list[tuple[str, str, str, int]]  # stance, its word, its icon, how many turns took it


def roundtable(*, now: datetime) -> dict[str, Any]:
    """What is being talked about and the last that ended, with what will start the next."""
    policy = queries.policy_in_force()
    cap = policy.drift_max if policy else DRIFT_MOST
    running = list(with_everything().filter(status__in=OPEN).order_by("pk")[:RUNNING_ROWS])
    ended = list(with_everything().exclude(status__in=OPEN).order_by("-pk")[:ENDED_ROWS])
    agents = Agent.objects.in_bulk()
    tables = {talk.row.pk: _table(talk, agents, cap) for talk in told([*running, *ended])}
    return {
        "running": [tables[row.pk] for row in running],
        "ended": [tables[row.pk] for row in ended],
        "cap": f"{cap:.2f}",
        "policy": policy,
    }


def _table(talk: Talk, agents: Mapping[str, Agent], cap: Decimal) -> Table:
    turns = list(talk.row.turns.all())
    stances = [turn.stance for turn in turns]
    return Table(
        row=talk.row,
        icon=STATUS_ICONS[ConversationStatus(talk.row.status)],
        lines=[_line(turn, agents) for turn in turns],
        drift=[_drift(shift, agents, cap) for shift in talk.shifts],
        marks=[
            (stance.value, stance.label, STANCE_ICONS[stance], stances.count(stance))
            for stance in Stance
            if stance in stances
        ],
    )


def _line(turn: Turn, agents: Mapping[str, Agent]) -> Line:
    return Line(
        turn=turn,
        agent=agents[turn.agent_id],
        to=agents[turn.to_id] if turn.to_id else None,
        icon=STANCE_ICONS[Stance(turn.stance)],
        memories=sorted(memory.pk for memory in turn.memories.all()),
    )


def _drift(shift: Shift, agents: Mapping[str, Agent], cap: Decimal) -> Drift:
    pair = shift.relationship
    text = f"{shift.delta:+.4f}".replace("-", formats.MINUS)
    share = shift.delta / cap if cap else Decimal(0)
    return Drift(
        a=agents[pair.a_id].name,
        b=agents[pair.b_id].name,
        text=text,
        tone="good" if shift.delta > 0 else "bad" if shift.delta < 0 else "quiet",
        after=shift.after,
        at=round((min(Decimal(1), max(Decimal(-1), share)) + 1) * 50, 1),
    )
