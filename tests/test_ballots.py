"""What a ballot keeps of a voter's turn, and what becomes of a vote that comes late."""

from datetime import timedelta
from typing import Any

import pytest

from missions import policies
from missions.models import Proposal
from roundtable import votes
from roundtable.models import Conversation, Stance, Vote
from tests import admin_rows
from tests.test_opinions import facts
from tradeco.common import db
from tradeco.common.models import Event

pytestmark = pytest.mark.usefixtures("company")


def review(**changes: Any) -> Conversation:
    """A trade review under way, in which sage has the only vote."""
    until = db.now() + timedelta(minutes=3)
    proposal = admin_rows.proposal(**{"vote_by": until, "waits_for_people_since": None, **changes})
    return admin_rows.conversation(format="trade_review", decides=proposal, voters=["sage"])


def test_who_agrees_with_its_rule_votes_for_the_rule_s_reason_and_who_doubts_it_for_its_own_words() -> None:
    held, (_, policy) = review(), policies.current()
    admin_rows.turn(held, 1, "sage", stance="disagree", text="I don't like it.", facts=facts())
    (doubt,) = votes.ballots_of(held, policy=policy)
    assert (doubt.stance, doubt.reason) == (Stance.DISAGREE, "I don't like it.")
    admin_rows.turn(held, 2, "sage", stance="agree", text="It is 42.", facts=facts())
    (vote,) = votes.ballots_of(held, policy=policy)
    assert (vote.stance, vote.reason) == (Stance.AGREE, "Exposure would be 11.0% of equity; 30% is allowed.")


@pytest.mark.parametrize("over", ["vote_by", "expires_at"])
def test_a_vote_that_comes_late_leaves_its_proposal_to_people_at_once(over: str) -> None:
    now = db.now()
    held, (_, policy) = review(**{over: now}), policies.current()
    admin_rows.turn(held, 1, "sage", facts=facts())
    with db.transaction():
        assert votes.conclude_within(held, now=now, policy=policy) is None
    proposal = Proposal.objects.get(pk=held.decides_id)
    assert (proposal.status, proposal.vote_by) == ("pending", None)
    assert proposal.waits_for_people_since == now
    assert Event.objects.filter(kind="proposal.waiting", subject=proposal.subject).count() == 1
    assert not Vote.objects.exists()


def test_control_the_same_vote_in_time_decides() -> None:
    held, (_, policy) = review(), policies.current()
    admin_rows.turn(held, 1, "sage", stance="disagree", text="No.", facts=facts())
    with db.transaction():
        votes.conclude_within(held, now=db.now(), policy=policy)
    assert Proposal.objects.get(pk=held.decides_id).code == "voted_down"
