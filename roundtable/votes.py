"""How agents decide a trade: a small one by rule at once, one that policy wants talked over in a trade review.

The more of the equity a trade moves, the more agents vote (`vote_tiers`); none of them proposed it. Sage's veto
rejects. More for than against approves, more against rejects; a tie is the coordinator's to break, and where it won't,
people decide. What a voter thinks is a rule over facts (`opinions`); a language model that speaks for it may doubt what
the rule allows, never allow what the rule doubts.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from agents.models import Agent
from missions import deciding, proposals, voting
from missions.gates import Known
from missions.models import Proposal
from missions.policy_keys import Policy
from missions.vocabulary import ConversationFormat, ProposalSource, ProposalStatus
from missions.voting import Decided
from roundtable import asking, opinions
from roundtable.formats import COORDINATOR, RISK
from roundtable.models import OPEN, Conversation, Stance, Turn, Vote
from roundtable.voices.port import Opinion
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind

ORDER = (RISK, COORDINATOR, "observer", "growth", "intel", "scout")
"""Who is asked first; each tier asks as many of them as it needs, leaving the proposer out."""
REASON_MOST = 480


class Ballot(NamedTuple):
    agent: str
    stance: Stance
    reason: str
    turn: Turn | None = None


def decide(proposal: Proposal, known: Known, *, policy: Policy) -> Decided:
    """Vote at once, or open the review whose vote will decide; a decider of `settings.DECIDERS`."""
    db.requires_transaction()
    if proposal.agent_id == RISK and (veto := _veto_of_its_own(proposal, known, policy=policy)):
        return veto
    if proposal.value_usd >= policy.roundtable_from_usd and _tables_are_left(policy):
        until = known.now + timedelta(minutes=policy.vote_deadline_minutes)
        if _open_review(proposal, until=until, now=known.now):
            return Decided(approve=None, reason="The agents talk it over.", by=until)
    return _vote_by_rule(proposal, known, policy=policy)


def voters_of(proposal: Proposal, known: Known, *, policy: Policy) -> tuple[str, ...]:
    """Keys of who votes on it: as many active agents as its tier asks for, without the proposer."""
    active = set(Agent.objects.filter(active=True).values_list("key", flat=True)) - {proposal.agent_id}
    equity = Decimal(known["portfolio"]["equity_usd"])
    return tuple(key for key in ORDER if key in active)[: voters_needed(proposal.value_usd, equity, policy=policy)]


def conclude_within(conversation: Conversation, *, now: datetime, policy: Policy) -> Decided | None:
    """Count what was said in a trade review and let it decide, in the transaction that ends the conversation.

    Each voter's last turn is its vote. None where the proposal is no longer the vote's to decide.
    """
    proposal = conversation.decides
    assert proposal is not None, "only a trade review decides"
    if not voting.is_awaited(Proposal.objects.select_for_update().get(pk=proposal.pk), now=now):
        give_up_within(conversation, now=now, policy=policy)  # late: people decide, and need wait for no beat
        return None
    ballots = ballots_of(conversation, policy=policy)
    for ballot in ballots:
        _cast(proposal, ballot, ballot.turn.facts if ballot.turn else {}, now=now)
    said = count(ballots)
    voting.conclude_within(proposal_id=proposal.pk, said=said, policy=policy, now=now)
    return said


def give_up_within(conversation: Conversation, *, now: datetime, policy: Policy) -> None:
    """A review that came to no end leaves its proposal to people."""
    if conversation.decides_id is not None:
        said = Decided(approve=None, reason="The roundtable came to no end.")
        voting.conclude_within(proposal_id=conversation.decides_id, said=said, policy=policy, now=now)


def count(ballots: Sequence[Ballot]) -> Decided:
    """What the ballots come to."""
    said = " ".join(f"{ballot.agent.capitalize()}: {ballot.reason}" for ballot in ballots)[:REASON_MOST]
    if not ballots:
        return Decided(approve=None, reason="Nobody is left to vote.")
    stances = [ballot.stance for ballot in ballots]
    if Stance.VETO in stances:
        return Decided(approve=False, code="vetoed", reason=said)
    for_it, against = stances.count(Stance.AGREE), stances.count(Stance.DISAGREE)
    if for_it == against:
        return _break_tie(ballots, said)
    return Decided(approve=True, reason=said) if for_it > against else Decided(False, code="voted_down", reason=said)


def _break_tie(ballots: Sequence[Ballot], said: str) -> Decided:
    """The coordinator's stance counts; nobody for it is a no; else people decide."""
    coordinator = next((ballot.stance for ballot in ballots if ballot.agent == COORDINATOR), Stance.NEUTRAL)
    if coordinator == Stance.AGREE:
        return Decided(approve=True, reason=said)
    if coordinator == Stance.DISAGREE or all(ballot.stance != Stance.AGREE for ballot in ballots):
        return Decided(approve=False, code="voted_down", reason=said)
    return Decided(approve=None, reason=f"The vote is tied. {said}"[:REASON_MOST])


def voters_needed(value_usd: Decimal, equity_usd: Decimal, *, policy: Policy) -> int:
    """How many the tier of a trade of this value asks for."""
    share = value_usd / equity_usd if equity_usd > 0 else Decimal(1)
    reached = [tier.voters for tier in policy.vote_tiers if share >= tier.from_share]
    return max(reached, default=min(tier.voters for tier in policy.vote_tiers))


# --- a trade review -------------------------------------------------------------------------------


def _tables_are_left(policy: Policy) -> bool:
    """Whether a review opened now would be held soon enough: other talk gives way to reviews. A look: one more than
    that waits a little longer.
    """
    reviews = Conversation.objects.filter(status__in=OPEN, format=ConversationFormat.TRADE_REVIEW)
    return reviews.count() < policy.reviews_waiting_max


def _open_review(proposal: Proposal, *, until: datetime, now: datetime) -> bool:
    """Ask for the review by the one door; False where none may be held, such as when the day's cap is reached."""
    draft = asking.draft(
        ConversationFormat.TRADE_REVIEW,
        proposal.title,
        about=proposal.subject,
        title=f"Talk over #{proposal.pk}: {proposal.title}",
        rationale=f"Policy has trades of {proposal.value_usd} USD talked over.",
    )
    if draft is None:
        return False
    proposal.vote_by = until
    proposal.save(update_fields=["vote_by"])
    review = proposals.submit_within(
        draft=draft, source=ProposalSource.CONVERSATION, cause=f"review:{proposal.pk}", now=now
    )
    if review.status == ProposalStatus.APPROVED:
        return True
    proposal.vote_by = None
    proposal.save(update_fields=["vote_by"])
    return False


def ballots_of(conversation: Conversation, *, policy: Policy) -> list[Ballot]:
    """Each voter's last turn, with the reason that its rule has by the facts it spoke from; sage's may veto by them."""
    last = {turn.agent_id: turn for turn in conversation.turns.order_by("place")}
    return [_ballot(last[key], conversation, policy) for key in conversation.voters if key in last]


def _ballot(turn: Turn, conversation: Conversation, policy: Policy) -> Ballot:
    assert conversation.decides is not None
    opinion = opinion_of(turn.agent_id, conversation.decides, turn.facts, policy=policy)
    if opinion.stance in (Stance.VETO, turn.stance):
        return Ballot(turn.agent_id, opinion.stance, opinion.reason, turn)
    return Ballot(turn.agent_id, Stance(turn.stance), turn.text, turn)  # a language model doubts what the rule allows


def opinion_of(agent: str, proposal: Proposal, facts: Mapping[str, Any], *, policy: Policy) -> Opinion:
    """What the rule has an agent think of a stored proposal, by these facts."""
    return opinions.of(agent, case=deciding.case_of(proposal), facts=facts, policy=policy, source=proposal.source)


# --- a vote by rule -------------------------------------------------------------------------------


def _vote_by_rule(proposal: Proposal, known: Known, *, policy: Policy) -> Decided:
    ballots = []
    for key in voters_of(proposal, known, policy=policy):
        facts = {name: known[name] for name in opinions.FACTS_OF[key]}
        opinion = opinions.of(key, case=known.case, facts=facts, policy=policy, source=proposal.source)
        ballots.append(Ballot(key, opinion.stance, opinion.reason))
        _cast(proposal, ballots[-1], facts, now=known.now)
    return count(ballots)


def _veto_of_its_own(proposal: Proposal, known: Known, *, policy: Policy) -> Decided | None:
    """What the risk manager proposes it has no vote on, but what its rule would veto isn't let through by its name."""
    facts = {name: known[name] for name in opinions.FACTS_OF[RISK]}
    opinion = opinions.of(RISK, case=known.case, facts=facts, policy=policy, source=proposal.source)
    if opinion.stance != Stance.VETO:
        return None
    ballot = Ballot(RISK, opinion.stance, opinion.reason)
    _cast(proposal, ballot, facts, now=known.now)
    return count([ballot])


def _cast(proposal: Proposal, ballot: Ballot, facts: Mapping[str, Any], *, now: datetime) -> None:
    Vote.objects.create(
        proposal=proposal,
        agent_id=ballot.agent,
        turn=ballot.turn,
        stance=ballot.stance,
        reason=ballot.reason[:300],
        facts=dict(facts),
        at=now,
    )
    events.emit(
        kind=EventKind.VOTE_CAST,
        subject=proposal.subject,
        agent=ballot.agent,
        now=now,
        data={"stance": ballot.stance.value, "reason": ballot.reason[:300], "title": proposal.title},
    )
