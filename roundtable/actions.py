"""What a formal conversation asks to be done: a few proposals by the one door, each with the turn that called for it.

None of them moves money: whoever wants a trade proposes it, and states a forecast. How many a day is policy, counted
for the whole company.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any

from agents.models import Agent
from missions import caps, drafts, proposals
from missions.drafts import Draft
from missions.models import Proposal
from missions.policy_keys import Policy
from missions.vocabulary import ConversationFormat, ProposalSource, ProposalStatus, StepKind
from roundtable import said
from roundtable.formats import FORMATS, RISK
from roundtable.models import Conversation, Stance, Tone, Turn
from tradeco.common import crashpoints, db

ITEMS_MOST = 3  # of one conversation: what asks for everything asks for nothing
DOUBTS_MANY = 2  # from so many on the risk is measured
LOOKS_BACK = (ConversationFormat.POST_MORTEM, ConversationFormat.STRATEGY_SESSION)
CONFIDENCE = "0.9"  # that the work is worth doing, as of the company's own routines
_LOCK = 0x6974_656D  # "item": the advisory lock under which the day's items are counted


@dataclass(frozen=True, slots=True)
class Item:
    """Work for an agent, and the turn that called for it."""

    agent: str
    kind: StepKind
    title: str
    turn: Turn
    params: dict[str, Any] = field(default_factory=dict)


def propose_within(
    conversation: Conversation, turns: Sequence[Turn], *, policy: Policy, now: datetime
) -> list[Proposal]:
    """Hand in what the conversation asks for, as far as the day allows, in the caller's transaction."""
    db.requires_transaction()
    if not FORMATS[ConversationFormat(conversation.format)].formal:
        return []
    active = set(Agent.objects.filter(active=True).values_list("key", flat=True))
    wanted = [item for item in items(conversation, turns) if item.agent in active][:ITEMS_MOST]
    left = _left_today(policy, now=now) if wanted else 0
    crashpoints.reach("actions.counted")
    return [
        proposals.submit_within(
            draft=_draft(conversation, item),
            source=ProposalSource.CONVERSATION,
            cause=f"{conversation.subject}:action:{n}",
            now=now,
        )
        for n, item in enumerate(wanted[:left], start=1)
    ]


def items(conversation: Conversation, turns: Sequence[Turn]) -> Iterator[Item]:
    """What was said calls for, most urgent first: doubts are looked into, risks measured, positions watched."""
    doubts = [turn for turn in turns if _doubts(turn)]
    in_doubt = next(((turn, name) for turn in doubts for name in said.markets(turn)), None)
    if in_doubt:
        turn, name = in_doubt
        yield Item("intel", StepKind.ANALYZE_SIGNAL, f"Look again at {name}", turn, {"market": name})
    if len(doubts) >= DOUBTS_MANY or any(turn.agent_id == RISK for turn in doubts):
        about = {"market": in_doubt[1]} if in_doubt else {}
        yield Item(RISK, StepKind.CALCULATE_RISK, "Measure the risk that was argued about", doubts[-1], about)
    watched = next(((turn, row) for turn in reversed(turns) for row in _held(turn)), None)
    if watched:
        turn, row = watched
        title = f"Keep an eye on {row['market']}"
        yield Item("scout", StepKind.MONITOR_POSITION, title, turn, {"position": row["id"]})
    if conversation.format in LOOKS_BACK and turns:
        about = {"topic": (conversation.topic or conversation.get_format_display())[:80]}
        yield Item("growth", StepKind.REFLECT, "Look back on what we said", turns[-1], about)


def _doubts(turn: Turn) -> bool:
    return turn.stance in (Stance.DISAGREE, Stance.VETO) or turn.tone == Tone.CHALLENGE


def _held(turn: Turn) -> list[dict[str, Any]]:
    """Open positions on the markets that a turn names."""
    named = said.markets(turn)
    rows: list[dict[str, Any]] = turn.facts.get("positions", {}).get("open", [])
    return [row for row in rows if row["market"] in named]


def _draft(conversation: Conversation, item: Item) -> Draft:
    turn = item.turn
    return drafts.read(
        {
            "agent": item.agent,
            "title": item.title,
            "rationale": f"{conversation}, turn {turn.place}, {turn.agent_id.capitalize()}: “{turn.text}”",
            "steps": [{"kind": item.kind.value, "params": item.params}],
            "confidence": CONFIDENCE,
        }
    )


def _left_today(policy: Policy, *, now: datetime) -> int:
    """How many items the UTC day has left; nobody else counts until the caller's commit."""
    db.advisory_lock(_LOCK)
    begun = datetime.combine(caps.utc_day(now), time.min, tzinfo=UTC)
    # by status, as the index is
    today = Proposal.objects.filter(status__in=ProposalStatus.values, created_at__gte=begun)
    made = today.filter(source=ProposalSource.CONVERSATION, cause__contains=":action:").count()
    return max(0, policy.action_items_per_day - made)
