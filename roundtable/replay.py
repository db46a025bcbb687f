"""A stored decision taken again: gates and policy (`missions.rejudging`), dice, votes by rule, and what was talked over
(`replay_talk`). Reads only, and asks nobody.

Inputs, taken as they were recorded, beside those of `rejudging`: which agents were there, whether a table was free, and
whether people or the deadline were before the vote.
"""

import random
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import Any

from missions import deciding, policies, rejudging, voting
from missions.mind import initiative
from missions.models import PolicyVersion, Proposal, Reaction, Verdict
from missions.policy_keys import Policy
from missions.rejudging import Compared
from missions.vocabulary import ProposalSource, ProposalStatus
from missions.voting import Decided
from roundtable import opinions, replay_talk, votes
from roundtable.models import Conversation, Stance, Vote
from roundtable.replay_talk import NotReplayable
from roundtable.votes import Ballot
from tradeco.common.errors import NotFound

OURS = "roundtable.votes.decide"  # the one decider that can be asked again
_STEP = Decimal("0.000001")  # as rolls are stored

Counted = Generator[Compared, None, tuple[Decided | None, Policy]]
"""Parts on the way to what a vote came to (None where none was counted), and the policy that it was counted by."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What came out: how many parts were compared, and the first that differs."""

    proposal: Proposal
    parts: int
    difference: Compared | None = None

    @property
    def equal(self) -> bool:
        return self.difference is None


def replay(proposal_id: int) -> Replayed:
    """Take a stored decision again, up to the first difference.

    Raises:
        NotFound: there is no such proposal.
        NotReplayable: what it was taken from isn't there any more.
    """
    proposal = Proposal.objects.filter(pk=proposal_id).first()
    if proposal is None:
        raise NotFound(f"There is no proposal #{proposal_id}.")
    number = 0
    for number, part in enumerate(parts(proposal), start=1):
        if not part.equal:
            return Replayed(proposal, number, part)
    return Replayed(proposal, number)


def newest(number: int) -> list[int]:
    """Ids of the newest decided proposals, oldest first."""
    decided = Proposal.objects.exclude(status=ProposalStatus.PENDING).order_by("-decided_at", "-pk")
    return list(decided.values_list("pk", flat=True)[:number])[::-1]


def parts(proposal: Proposal) -> Iterator[Compared]:
    """Everything about a decision that can be had again, in the order in which it came about."""
    yield from dice(proposal)
    yield from rejudging.memories(proposal)
    yield from rejudging.parts(proposal)
    said, policy = yield from _vote(proposal)
    yield from rejudging.decision(proposal, said, policy=policy)
    for held in Conversation.objects.filter(step__mission__proposal=proposal).select_related("decides"):
        yield from replay_talk.talk(held)


# --- dice -----------------------------------------------------------------------------------------


def dice(proposal: Proposal) -> Iterator[Compared]:
    """The rolls that called for a proposal: of an initiative, or of a reaction as long as that is kept."""
    if proposal.source == ProposalSource.INITIATIVE:
        rolled = random.Random(f"{proposal.cause}:{proposal.created_at.isoformat()}").random()
        yield Compared("the roll for an initiative", True, rolled < initiative.CHANCE)
    for reaction in Reaction.objects.filter(proposal=proposal):
        again = Decimal(random.Random(reaction.seed).random()).quantize(_STEP, rounding=ROUND_DOWN)
        yield Compared(
            "the roll for a reaction",
            {"rolled": reaction.rolled, "answered": reaction.answered},
            {"rolled": again, "answered": again < reaction.probability},
        )


# --- votes ----------------------------------------------------------------------------------------


def _vote(proposal: Proposal) -> Counted:
    policy = policies.at(proposal.revision)
    cast = list(Vote.objects.filter(proposal=proposal).order_by("pk").select_related("turn"))
    review = Conversation.objects.filter(decides=proposal).select_related("decides").first()
    if rejudging.refused(proposal) or rejudging.needs_nobody(proposal):
        yield Compared("who is asked", _asked(cast, review), [])
        return None, policy
    deciders = voting.deciders(deciding.case_of(proposal), policy=policy)
    if not deciders:
        yield Compared("who is asked", _asked(cast, review), [])
        return Decided(approve=None), policy
    if deciders != [OURS]:
        raise NotReplayable(f"{', '.join(deciders)} decided it, and can't be asked again.")
    if review is None:
        return (yield from _by_rule(proposal, cast, policy))
    return (yield from _talked_over(proposal, cast, review, policy))


def _asked(cast: Sequence[Vote], review: Conversation | None) -> list[str]:
    return [*(vote.agent_id for vote in cast), *([review.subject] if review else [])]


def _by_rule(proposal: Proposal, cast: Sequence[Vote], policy: Policy) -> Counted:
    yield _voters(proposal, cast, policy)
    ballots = []
    for vote in cast:
        opinion = opinions.of(
            vote.agent_id,
            case=deciding.case_of(proposal),
            facts=vote.facts,
            policy=policy,
            source=proposal.source,
        )
        ballots.append(Ballot(vote.agent_id, opinion.stance, opinion.reason))
        yield Compared(f"{vote.agent_id}'s vote", _told(vote), _ballot_told(ballots[-1]))
    return votes.count(ballots), policy


def _voters(proposal: Proposal, cast: Sequence[Vote], policy: Policy) -> Compared:
    """Which agents were there isn't kept: of those who voted, who may, in their order, and as many as asked for."""
    judged = proposal.verdicts.filter(stage=Verdict.Stage.SUBMISSION, facts__has_key="portfolio").first()
    most = len(votes.ORDER)
    if judged is not None:
        equity = Decimal(judged.facts["portfolio"]["equity_usd"])
        most = votes.voters_needed(proposal.value_usd, equity, policy=policy)
    voted = [vote.agent_id for vote in cast]
    vetoed = {
        vote.agent_id for vote in cast if vote.stance == Stance.VETO
    }  # its own as well, as the risk manager's rule
    may = [key for key in votes.ORDER if key in voted and (key != proposal.agent_id or key in vetoed)]
    return Compared("voters", voted, may[:most])


def _told(vote: Vote) -> dict[str, Any]:
    place = vote.turn.place if vote.turn else None
    return {"stance": str(vote.stance), "reason": vote.reason, "turn": place}


def _ballot_told(ballot: Ballot) -> dict[str, Any]:
    place = ballot.turn.place if ballot.turn else None
    return {"stance": str(Stance(ballot.stance)), "reason": ballot.reason[:300], "turn": place}


# --- what was talked over -------------------------------------------------------------------------


def _talked_over(proposal: Proposal, cast: Sequence[Vote], review: Conversation, policy: Policy) -> Counted:
    yield Compared("talked over", True, proposal.value_usd >= policy.roundtable_from_usd)
    yield from replay_talk.talk(review)
    if not cast:  # people or the deadline were first, or it came to no end
        return None, policy
    counted_by = _policy_at_its_end(proposal, review)
    ballots = votes.ballots_of(review, policy=counted_by)
    again = {ballot.agent: ballot for ballot in ballots}
    yield Compared("voters", [vote.agent_id for vote in cast], list(again))
    for vote in cast:
        yield Compared(f"{vote.agent_id}'s vote", _told(vote), _ballot_told(again[vote.agent_id]))
    return votes.count(ballots), counted_by


def _policy_at_its_end(proposal: Proposal, review: Conversation) -> Policy:
    """By which policy the vote was counted: that of the approval that it led to, else the one in force by the clock."""
    judged = proposal.verdicts.filter(stage=Verdict.Stage.APPROVAL).order_by("pk").first()
    if judged is not None and proposal.waits_for_people_since is None:
        return policies.at(judged.revision)
    in_force = PolicyVersion.objects.filter(created_at__lte=review.ended_at).order_by("-revision").first()
    return policies.at(in_force.revision if in_force else proposal.revision)
