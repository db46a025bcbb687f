"""Moves by compare-and-set, and the tables that say which moves there are."""

import pytest

from missions.models import Mission, Proposal, Step
from tests import cast
from tradeco.common import states
from tradeco.common.errors import StaleRow
from trading.models import Attempt, Order


@pytest.fixture
def proposal(company: None) -> Proposal:
    cast.set_policy(human_from_usd="10")
    return cast.submit(cast.buy())


def test_a_move_writes_row_and_memory_together(proposal: Proposal) -> None:
    now = cast.later()
    states.move(proposal, to="cancelled", decided_at=now, code="withdrawn")
    assert (proposal.status, proposal.code, proposal.decided_at) == ("cancelled", "withdrawn", now)
    assert Proposal.objects.filter(status="cancelled", code="withdrawn", decided_at=now).exists()


def test_who_believes_in_an_old_state_moves_nothing(proposal: Proposal) -> None:
    believer = Proposal.objects.get(pk=proposal.pk)
    states.move(proposal, to="cancelled", decided_at=cast.later())
    with pytest.raises(StaleRow):
        states.move(believer, to="approved", decided_at=cast.later(), code="approved")
    assert believer.status == "pending"
    assert Proposal.objects.get().status == "cancelled"


def test_a_move_that_the_table_lacks_is_our_mistake(proposal: Proposal) -> None:
    with pytest.raises(AssertionError, match="pending → pending"):
        states.move(proposal, to="pending")


@pytest.mark.parametrize("model", [Proposal, Mission, Step, Order, Attempt])
def test_every_state_is_reached_from_the_first_and_known_to_its_field(model: type) -> None:
    field = model._meta.get_field("status")
    known = {value for value, _ in field.choices}
    reached, fringe = {str(field.default)}, {str(field.default)}
    while fringe:
        fringe = {str(to) for state in fringe for to in model.MOVES.get(state, ())} - reached
        reached |= fringe
    assert reached == known
    assert {str(state) for state in model.MOVES} <= known
