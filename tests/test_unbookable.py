"""A trade that landed and can't be booked, by a bug of ours: it comes before a person, and is booked once it can be."""

import pytest

from missions.models import Step
from tests import cast
from tests.chain_company import ChainCompany
from trading import booking
from trading.models import Fill, Order


def test_what_cannot_be_booked_comes_before_a_person_and_is_booked_by_evidence_later(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise AssertionError("a bug in booking")

    cast.submit(cast.buy("JUP/USDC", "100.00"))
    with monkeypatch.context() as bug:
        bug.setattr(booking, "fill", broken)
        said = chain.work(visits=12)
    assert said[-1] == "indoubt"
    assert len(said) < 12, "it comes round for ever"
    step, order = Step.objects.get(), Order.objects.get()
    assert (step.status, order.status) == ("needs_reconciliation", "in_doubt")
    assert "AssertionError" in step.reason
    assert step.result["evidence"]
    assert len(chain.landed()) == 1
    assert not Fill.objects.exists()
    chain.slots(40)
    assert chain.reconcile()["settled"] == 1
    assert Order.objects.get().status == "filled"
    assert chain.books() == chain.held()
    assert len(chain.landed()) == 1
