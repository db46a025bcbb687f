"""How a trade is decided by agents: by rule at once, or in a review whose vote resolves it always."""

from datetime import timedelta
from decimal import Decimal
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.models import Agent
from missions import deciding, gates, proposals, voting
from missions.gates import Known
from missions.models import Company, Proposal
from missions.policy_keys import VoteTier
from missions.proposals import VoteUnderWay
from missions.vocabulary import CompanyStatus, ConversationFormat, ProposalSource, ProposalStatus, StepKind
from roundtable import replay, votes
from roundtable.models import Conversation, ConversationStatus, Stance, Vote
from roundtable.voices import speaking
from roundtable.votes import Ballot
from tests import cast, talk
from tradeco.common import db, events
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind

pytestmark = pytest.mark.django_db

STANCES = st.sampled_from(list(Stance))
BALLOTS = st.lists(
    st.builds(Ballot, agent=st.sampled_from(votes.ORDER), stance=STANCES, reason=st.just("so"), turn=st.none()),
    min_size=1,
    max_size=5,
    unique_by=lambda ballot: ballot.agent,
)


def ballots(**stances: str) -> list[Ballot]:
    return [Ballot(agent, Stance(stance), f"{agent} says so.") for agent, stance in stances.items()]


# --- counting -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cast_so", "approve", "code"),
    [
        ({"sage": "agree", "atlas": "agree"}, True, ""),
        ({"sage": "agree", "atlas": "neutral"}, True, ""),
        ({"sage": "agree", "atlas": "disagree"}, False, "voted_down"),
        ({"sage": "disagree", "atlas": "agree"}, True, ""),
        ({"sage": "neutral", "atlas": "neutral"}, False, "voted_down"),
        ({"sage": "disagree", "atlas": "neutral"}, False, "voted_down"),
        ({"sage": "veto", "atlas": "agree", "observer": "agree"}, False, "vetoed"),
        ({"sage": "agree", "observer": "disagree", "atlas": "neutral"}, None, ""),
        ({"sage": "agree", "observer": "agree", "atlas": "disagree"}, True, ""),
    ],
)
def test_ballots_are_counted_by_the_rules(cast_so: dict[str, str], approve: bool | None, code: str) -> None:
    said = votes.count(ballots(**cast_so))
    assert (said.approve, said.code) == (approve, code)


@given(BALLOTS)
def test_a_veto_always_rejects_and_nothing_passes_without_a_voice_for_it(cast_so: list[Ballot]) -> None:
    said = votes.count(cast_so)
    stances = [ballot.stance for ballot in cast_so]
    if Stance.VETO in stances:
        assert said.approve is False
    if said.approve:
        assert Stance.AGREE in stances


@given(BALLOTS)
def test_the_order_of_the_ballots_changes_nothing(cast_so: list[Ballot]) -> None:
    said = {(votes.count(list(each)).approve, votes.count(list(each)).code) for each in permutations(cast_so)}
    assert len(said) == 1


# --- who votes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "voters"), [("20.00", 2), ("150.00", 3), ("350.00", 5)])
def test_the_more_a_trade_risks_the_more_agents_vote(company: None, size: str, voters: int) -> None:
    proposal = cast.submit(cast.buy(size_usd=size))
    assert Vote.objects.filter(proposal=proposal).count() == voters


def test_whoever_proposes_has_no_vote_and_an_absent_agent_neither(company: None) -> None:
    from agents.models import Agent

    Agent.objects.filter(key="observer").update(active=False)
    proposal = cast.submit(cast.buy(size_usd="350.00"))
    who = set(Vote.objects.filter(proposal=proposal).values_list("agent_id", flat=True))
    assert who == {"sage", "atlas", "growth", "intel"}


def test_a_tier_may_ask_for_more(company: None) -> None:
    cast.set_policy(vote_tiers=[{"from_share": "0", "voters": 4}])
    proposal = cast.submit(cast.buy(size_usd="20.00"))
    assert Vote.objects.filter(proposal=proposal).count() == 4
    assert VoteTier(from_share=Decimal(0), voters=4).voters == 4


# --- a review -------------------------------------------------------------------------------------


@pytest.fixture
def talking(company: None) -> None:
    cast.set_policy(roundtable_from_usd="0", turn_seconds=0.01)


def settled(proposal: Proposal) -> Proposal:
    """The proposal once the roundtable has come to its end."""
    for _ in range(40):
        cast.work()
        proposal.refresh_from_db()
        if proposal.vote_by is None or proposal.status != ProposalStatus.PENDING:
            break
    return proposal


def review_of(proposal: Proposal) -> Conversation:
    return Conversation.objects.get(decides=proposal)


def test_a_trade_that_policy_wants_talked_over_waits_for_its_review(talking: None) -> None:
    proposal = cast.submit(cast.buy())
    assert proposal.status == ProposalStatus.PENDING
    assert proposal.vote_by is not None
    review = review_of(proposal)
    assert (review.format, review.status) == (ConversationFormat.TRADE_REVIEW, ConversationStatus.PENDING)
    assert set(review.voters) >= {"sage", "atlas"}
    assert proposal.agent_id not in review.voters


@pytest.mark.parametrize(
    ("stance", "status"), [(Stance.AGREE, ProposalStatus.APPROVED), (Stance.DISAGREE, ProposalStatus.REJECTED)]
)
def test_a_review_decides_its_proposal_and_its_votes_name_the_turns(
    talking: None, monkeypatch: pytest.MonkeyPatch, stance: Stance, status: ProposalStatus
) -> None:
    monkeypatch.setattr(speaking, "speak", talk.saying(stance))
    proposal = settled(cast.submit(cast.buy()))
    assert (proposal.status, proposal.decided_by) == (status, "vote"), proposal.reason
    cast_votes = Vote.objects.filter(proposal=proposal)
    assert {vote.stance for vote in cast_votes} == {stance}
    assert {vote.agent_id for vote in cast_votes} == set(review_of(proposal).voters)
    assert all(vote.turn is not None and vote.turn.agent_id == vote.agent_id for vote in cast_votes)
    assert review_of(proposal).status == ConversationStatus.COMPLETED


def test_a_protective_exit_is_never_talked_over(talking: None) -> None:
    cast.set_policy(roundtable_from_usd=cast.TALKED_OVER_BY_NOBODY)
    position = cast.bought()
    cast.set_policy(roundtable_from_usd="0")
    exit_ = cast.submit(cast.close(position.pk), source=ProposalSource.PROTECTION, protective=True)
    assert exit_.status == ProposalStatus.APPROVED


def test_people_may_reject_what_is_talked_over_and_approve_it_only_afterwards(talking: None) -> None:
    admin = people("admin")
    proposal = cast.submit(cast.buy())
    with pytest.raises(VoteUnderWay):
        proposals.approve(proposal_id=proposal.pk, approver=admin, reason="at once", now=db.now())
    proposals.reject(proposal_id=proposal.pk, by=admin, reason="not today", now=db.now())
    for _ in range(10):
        cast.work()
    assert review_of(proposal).status == ConversationStatus.CANCELLED
    proposal.refresh_from_db()
    assert (proposal.status, proposal.code) == (ProposalStatus.REJECTED, "rejected_by_person")


def test_a_vote_that_comes_to_no_end_by_its_deadline_goes_to_people(talking: None) -> None:
    proposal = cast.submit(cast.buy())
    assert proposal.vote_by is not None
    assert voting.escalate(now=proposal.vote_by - timedelta(seconds=1), limit=10) == {"escalated": 0}
    assert voting.escalate(now=proposal.vote_by, limit=10) == {"escalated": 1}
    proposal.refresh_from_db()
    assert proposal.vote_by is None
    assert proposal.waits_for_people_since is not None
    assert Event.objects.filter(kind=EventKind.PROPOSAL_WAITING, subject=proposal.subject).exists()


def test_a_vote_after_the_deadline_decides_nothing(talking: None) -> None:
    proposal = cast.submit(cast.buy())
    voting.escalate(now=cast.later(hours=1), limit=10)
    for _ in range(10):
        cast.work()
    proposal.refresh_from_db()
    assert proposal.status == ProposalStatus.PENDING, "people decide now"
    assert not Vote.objects.filter(proposal=proposal).exists()


def test_without_the_check_a_late_vote_would_decide_over_people_s_heads(
    talking: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test above."""
    monkeypatch.setattr(voting, "is_awaited", lambda proposal, *, now: proposal.status == ProposalStatus.PENDING)
    proposal = cast.submit(cast.buy())
    voting.escalate(now=cast.later(hours=1), limit=10)
    review = review_of(proposal)
    with db.transaction():
        said = voting.Decided(approve=True, reason="too late")
        voting.conclude_within(proposal_id=proposal.pk, said=said, policy=current(), now=db.now())
    proposal.refresh_from_db()
    assert proposal.status != ProposalStatus.PENDING
    assert review is not None


def test_where_the_tables_are_taken_the_rule_votes_at_once(talking: None) -> None:
    cast.set_policy(reviews_waiting_max=0)
    proposal = cast.submit(cast.buy())
    assert proposal.vote_by is None
    assert proposal.decided_by in {"vote", "a gate"}


def test_where_the_day_s_conversations_are_spent_the_rule_votes_at_once(talking: None) -> None:
    cast.set_policy(conversations_per_day=0)
    proposal = cast.submit(cast.buy())
    assert proposal.vote_by is None
    assert proposal.decided_by in {"vote", "a gate"}
    assert not Conversation.objects.exists()


def test_a_review_that_is_cancelled_leaves_its_proposal_to_people(talking: None) -> None:
    from missions import outcomes

    proposal = cast.submit(cast.buy())
    mission = review_of(proposal).step.mission_id
    outcomes.cancel_mission(mission_id=mission, by="admin", reason="no time", now=db.now())
    proposal.refresh_from_db()
    assert proposal.waits_for_people_since is not None
    assert review_of(proposal).status == ConversationStatus.CANCELLED


def test_a_review_that_nobody_asked_for_is_refused(company: None) -> None:
    """Whoever could open one would have a vote called on what people were asked."""
    waiting = cast.submit(cast.buy(size_usd="20.00"))
    uninvited = cast.submit(
        cast.draft(
            agent="atlas",
            steps=[
                {
                    "kind": StepKind.HOLD_ROUNDTABLE.value,
                    "params": {"format": "trade_review", "about": waiting.subject},
                }
            ],
        )
    )
    assert uninvited.status == ProposalStatus.REJECTED
    assert not Conversation.objects.exists()


def test_a_yes_of_the_table_is_still_judged_by_the_gates(talking: None) -> None:
    proposal = cast.submit(cast.buy())
    Company.objects.update(status=CompanyStatus.HALTED, reason="a test")
    proposal = settled(proposal)
    assert (proposal.status, proposal.code) == (ProposalStatus.REJECTED, "halted")


def test_a_yes_leaves_what_is_large_to_people(talking: None, all_for_it: None) -> None:
    cast.set_policy(human_from_usd="10")
    proposal = settled(cast.submit(cast.buy()))
    assert set(Vote.objects.filter(proposal=proposal).values_list("stance", flat=True)) == {Stance.AGREE}
    assert proposal.status == ProposalStatus.PENDING
    assert proposal.waits_for_people_since is not None


def test_each_vote_is_told_once(talking: None) -> None:
    proposal = settled(cast.submit(cast.buy()))
    events.number_new()
    told = [event.agent for event in Event.objects.filter(kind=EventKind.VOTE_CAST, subject=proposal.subject)]
    assert sorted(told) == sorted(review_of(proposal).voters)


def test_a_vote_keeps_the_facts_that_it_rests_on(talking: None) -> None:
    proposal = settled(cast.submit(cast.buy()))
    for vote in Vote.objects.filter(proposal=proposal):
        opinion = votes.opinion_of(vote.agent_id, proposal, vote.facts, policy=current())
        assert opinion.stance in {vote.stance, Stance.VETO}
    assert deciding.case_of(proposal).draft.agent == proposal.agent_id


def people(username: str) -> Any:
    from django.contrib.auth import get_user_model

    return get_user_model().objects.get(username=username)


def current() -> Any:
    from missions import policies

    return policies.current()[1]


# --- what changes while they talk -----------------------------------------------------------------


@pytest.fixture
def all_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speaking, "speak", talk.saying(Stance.AGREE))


@pytest.mark.parametrize("over", ["vote_by", "expires_at"])
def test_a_vote_after_its_deadline_decides_nothing_even_before_a_beat_has_looked(
    talking: None, all_for_it: None, over: str
) -> None:
    proposal = cast.submit(cast.buy())
    Proposal.objects.filter(pk=proposal.pk).update(**{over: db.now() - timedelta(minutes=1)})
    assert settled(proposal).status == ProposalStatus.PENDING


def test_control_within_its_deadline_the_same_vote_approves(talking: None, all_for_it: None) -> None:
    assert settled(cast.submit(cast.buy())).status == ProposalStatus.APPROVED


@pytest.mark.parametrize("gone", [["sage"], ["atlas"], ["scout"]])
def test_who_is_switched_off_while_they_talk_leaves_the_trade_to_people(
    talking: None, all_for_it: None, gone: list[str]
) -> None:
    proposal = cast.submit(cast.buy())
    Agent.objects.filter(key__in=gone).update(active=False)
    proposal = settled(proposal)
    assert proposal.status == ProposalStatus.PENDING
    assert proposal.waits_for_people_since is not None
    assert not Vote.objects.filter(proposal=proposal).exists()


def test_without_the_coordinator_reviews_are_held_all_the_same(talking: None, all_for_it: None) -> None:
    Agent.objects.filter(key="atlas").update(active=False)
    proposal = cast.submit(cast.buy())
    assert review_of(proposal).participants[0] != "atlas"
    assert settled(proposal).status == ProposalStatus.APPROVED


def test_what_grows_beyond_what_agents_may_decide_goes_to_people(talking: None, all_for_it: None) -> None:
    cast.set_policy(roundtable_from_usd=cast.TALKED_OVER_BY_NOBODY)
    cast.set_price("SOL/USDC", "100")
    position = cast.bought(size_usd="100.00")
    cast.force_policy(
        roundtable_from_usd="0",
        human_from_usd="150",
        four_eyes_from_usd="300",
        take_profit="0.9",
        max_hold_minutes=None,
    )
    proposal = cast.submit(cast.close(position.pk))
    assert proposal.vote_by is not None
    cast.set_price("SOL/USDC", "400")
    proposal = settled(proposal)
    assert proposal.status == ProposalStatus.PENDING
    assert proposal.value_usd > 300


def test_other_talk_keeps_no_trade_from_being_talked_over(talking: None) -> None:
    for _ in range(current().reviews_waiting_max):
        talk.held("watercooler")
    assert cast.submit(cast.buy()).vote_by is not None


def test_sage_s_veto_can_t_be_dodged_by_naming_sage(company: None, monkeypatch: pytest.MonkeyPatch) -> None:
    cast.set_policy(drawdown_halt="0.40")
    real = gates.Known.__getitem__

    def drawn_down(self: Known, name: str) -> Any:
        return {**real(self, name), "drawdown": "0.25"} if name == "portfolio" else real(self, name)

    monkeypatch.setattr(gates.Known, "__getitem__", drawn_down)
    said = [cast.submit(cast.draft(agent=agent)) for agent in ("scout", "sage")]
    assert [(proposal.status, proposal.code) for proposal in said] == [("rejected", "vetoed")] * 2
    monkeypatch.undo()
    assert replay.replay(said[1].pk).difference is None


def test_where_nobody_is_left_to_vote_people_decide() -> None:
    assert votes.count([]).approve is None
