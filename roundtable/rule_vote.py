"""The vote on small trades: sage judges the risk, atlas the agreement of signals, by rule and with reasons.

A vote needs no veto, at least one voice for it, and more for than against. People's proposals aren't judged by our
signals: there atlas stays neutral. Conversations take this rule's place where policy sends a proposal to one.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

from missions.drafts import is_exit
from missions.gates import Case, Known
from missions.models import Proposal
from missions.policy_keys import Policy
from missions.proposals import Decided
from missions.vocabulary import ProposalSource
from roundtable.models import Stance, Vote
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind

TIGHT = Decimal("0.9")  # above this share of a limit sage disagrees
AGREEING_MIN = Decimal("0.5")  # share of signal strength that must point the same way

Ballot = tuple[str, Stance, str]


def vote(proposal: Proposal, known: Known, *, policy: Policy) -> Decided:
    """Sage and atlas vote; each vote is stored with the facts that it rests on."""
    db.requires_transaction()
    case, facts = known.case, {name: known[name] for name in ("trade", "portfolio", "signals")}
    ballots: list[Ballot] = [
        ("sage", *_sage(case, facts, policy)),
        ("atlas", *_atlas(proposal, case, facts)),
    ]
    for agent, stance, reason in ballots:
        _cast(proposal, agent, stance, reason, facts, now=known.now)
    return _count(ballots)


def _sage(case: Case, facts: dict[str, Any], policy: Policy) -> tuple[Stance, str]:
    """Exits shrink risk; entries must leave room below the limits and lose little at their stop."""
    if is_exit(case.draft):
        return Stance.AGREE, "An exit makes our risk smaller."
    portfolio = facts["portfolio"]
    equity = Decimal(portfolio["equity_usd"])
    if not equity:
        return Stance.VETO, "We have no equity to risk."
    exposure = (Decimal(portfolio["exposure_usd"]) + Decimal(facts["trade"]["value_usd"])) / equity
    if Decimal(portfolio["drawdown"]) > policy.drawdown_halt / 2:
        return Stance.VETO, f"Drawdown is {Decimal(portfolio['drawdown']):.1%}, half way to the halt."
    if exposure > policy.exposure_max * TIGHT:
        return Stance.DISAGREE, f"Exposure would be {exposure:.1%} of {policy.exposure_max:.0%} allowed."
    return Stance.AGREE, f"Exposure would be {exposure:.1%} of equity; {policy.exposure_max:.0%} is allowed."


def _atlas(proposal: Proposal, case: Case, facts: dict[str, Any]) -> tuple[Stance, str]:
    """Do the signals point the way the trade goes?"""
    direction = facts["trade"].get("side")
    signals = facts["signals"]
    total = sum(Decimal(signal["strength"]) for signal in signals)
    agreeing = sum(Decimal(s["strength"]) for s in signals if s["direction"] == direction)
    if not total:
        return Stance.NEUTRAL, "No recent signal speaks for or against it."
    share = agreeing / total
    if share >= AGREEING_MIN:
        names = ", ".join(s["kind"].replace("_", " ") for s in signals if s["direction"] == direction)
        return Stance.AGREE, f"{share:.0%} of signal strength says {direction}: {names}."
    if proposal.source == ProposalSource.PERSON or is_exit(case.draft):
        return Stance.NEUTRAL, f"Only {share:.0%} of signal strength says {direction}; I abstain."
    return Stance.DISAGREE, f"Only {share:.0%} of signal strength says {direction}."


def _count(ballots: list[Ballot]) -> Decided:
    said = " ".join(f"{agent.capitalize()}: {reason}" for agent, _, reason in ballots)[:480]
    stances = [stance for _, stance, _ in ballots]
    if Stance.VETO in stances:
        return Decided(approve=False, code="vetoed", reason=said)
    if stances.count(Stance.AGREE) > stances.count(Stance.DISAGREE):
        return Decided(approve=True, reason=said)
    return Decided(approve=False, code="voted_down", reason=said)


def _cast(proposal: Proposal, agent: str, stance: Stance, reason: str, facts: dict[str, Any], *, now: datetime) -> None:
    Vote.objects.create(proposal=proposal, agent_id=agent, stance=stance, reason=reason[:300], facts=facts, at=now)
    events.emit(
        kind=EventKind.VOTE_CAST,
        subject=proposal.subject,
        agent=agent,
        now=now,
        data={"stance": stance.value, "reason": reason[:300], "title": proposal.title},
    )
