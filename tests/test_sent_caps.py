"""A cap stays spent once anything left for outside, however the order ends later."""

import pytest

from missions import company, outcomes
from missions.models import CapUse, Step
from missions.vocabulary import CompanyStatus
from tests import cast
from tests.chain_company import ChainCompany
from tests.chain_weather import PAST_EXPIRY, SEND, buy, statuses
from tradeco.common import db

pytestmark = pytest.mark.usefixtures("impatient")


def expired_then_halted(chain: ChainCompany) -> int:
    """One transaction was sent and never landed; the halt comes before the next. The trades that count today."""
    chain.sandbox.faults.add("drop_transaction", route=SEND)
    buy()
    chain.visit()
    chain.slots(PAST_EXPIRY)
    chain.visit()
    assert statuses() == ["expired"]
    company.switch(to=CompanyStatus.HALTED, by=None, reason="x", now=db.now())
    chain.visit()
    assert (Step.objects.get().status, Step.objects.get().code) == ("failed", "halted")
    return CapUse.objects.get(cap="trades_per_day").used


def test_a_cap_is_not_given_back_for_an_order_that_was_sent(chain: ChainCompany) -> None:
    assert expired_then_halted(chain) == 1
    assert Step.objects.get().sent


def test_control_it_would_be_where_nobody_remembers_the_send(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "_has_sent", lambda step: False)
    assert expired_then_halted(chain) == 0


def test_a_cap_is_given_back_where_the_halt_came_before_the_send(chain: ChainCompany) -> None:
    buy()
    company.switch(to=CompanyStatus.HALTED, by=None, reason="x", now=db.now())
    cast.work()
    assert (Step.objects.get().status, CapUse.objects.get(cap="trades_per_day").used) == ("failed", 0)
