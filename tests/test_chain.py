"""The whole chain: a proposal becomes a position, and a position is closed."""

from decimal import Decimal

import pytest

from missions.models import Mission, Outcome, Step
from tests import cast
from tradeco.common import db
from trading import stops
from trading.models import Fill, Order, Position

pytestmark = pytest.mark.usefixtures("company")


def test_a_small_buy_is_voted_for_executed_and_becomes_a_position() -> None:
    proposal = cast.submit(cast.buy(size_usd="100.00"))
    assert (proposal.status, proposal.decided_by) == ("approved", "vote")
    assert cast.work() == {"succeeded": 1}
    order = Order.objects.get()
    position = Position.objects.get()
    assert order.status == "filled"
    assert position.cost == 100_000_000
    assert Fill.objects.get().fee_quote == 100_000
    assert Mission.objects.get().status == "succeeded"


def test_a_stop_closes_the_position_and_realises_the_loss() -> None:
    position = cast.bought()
    cast.set_price("SOL/USDC", position.stop_price * Decimal("0.99"))
    assert stops.run(now=db.now(), limit=10) == {"exits": [position.pk]}
    assert cast.work() == {"succeeded": 1}
    position.refresh_from_db()
    assert position.status == "closed"
    assert position.realized < 0
    assert Outcome.objects.filter(kind="exit").get().pnl_usd == Decimal(position.realized).scaleb(-6)
    assert Step.objects.exclude(status="succeeded").count() == 0
