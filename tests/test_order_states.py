"""The order's state machine against a venue that refuses, keeps silent, or answers late."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from missions.models import CapCharge, Step
from tests import cast
from tradeco.common import wiring
from trading.models import Account, Attempt, Order, PaperExecution, Position
from trading.venues.base import Quote, Receipt, Refused, Unknown
from trading.venues.paper import PaperVenue

pytestmark = pytest.mark.usefixtures("company")


class Scripted(PaperVenue):
    """The paper venue, whose answers can be lost on their way, before or after the deed."""

    script: list[Callable[..., Receipt | None]] = []
    seen: list[str] = []

    def submit(self, *, reference: str, quote: Quote) -> Receipt:
        self.seen.append(reference)
        act = self.script.pop(0) if self.script else None
        answer = act(self, reference, quote) if act else None
        return answer or super().submit(reference=reference, quote=quote)


def lost_before(venue: Any, reference: str, quote: Quote) -> Receipt:
    return Unknown("the request was lost")


def lost_after(venue: Any, reference: str, quote: Quote) -> Receipt:
    PaperVenue.submit(venue, reference=reference, quote=quote)
    return Unknown("the answer was lost")


def crash_after(venue: Any, reference: str, quote: Quote) -> Receipt:
    PaperVenue.submit(venue, reference=reference, quote=quote)
    raise RuntimeError("a bug between the deed and its record")


def refuse(venue: Any, reference: str, quote: Quote) -> Receipt:
    return Refused("slippage_exceeded", "The price moved.")


@pytest.fixture
def venue(settings: Any) -> Any:
    settings.VENUE = f"{__name__}.Scripted"
    wiring.load.cache_clear()
    Scripted.script, Scripted.seen = [], []
    yield Scripted
    wiring.load.cache_clear()


def work_until_ended(limit: int = 30) -> Step:
    for _ in range(limit):
        Step.objects.filter(finished_at=None).update(run_after=cast.later(seconds=-1))
        if not cast.work():
            break
    return Step.objects.get()


@pytest.mark.parametrize("trouble", [lost_before, lost_after, crash_after])
def test_whatever_is_lost_on_the_way_one_reference_is_exchanged_once(venue: Any, trouble: Any) -> None:
    venue.script = [trouble, trouble, trouble]
    cast.submit(cast.buy(size_usd="100"))
    step = work_until_ended()
    assert step.status == "succeeded"
    assert len(venue.seen) == 4
    assert len(set(venue.seen)) == 1
    assert PaperExecution.objects.count() == Attempt.objects.count() == 1
    assert Order.objects.get().status == "filled"
    assert Position.objects.get().cost == 100_000_000


def test_a_venue_that_keeps_silent_puts_the_order_before_a_person_and_keeps_the_money_held(venue: Any) -> None:
    venue.script = [lost_after] * 50
    cast.submit(cast.buy(size_usd="100"))
    step = work_until_ended(limit=60)
    assert step.status == "needs_reconciliation"
    assert step.result["evidence"]["reference"] == Attempt.objects.get().reference
    assert Order.objects.get().status == "in_doubt"
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 100_000_000
    assert CapCharge.objects.get().returned_at is None
    assert step.mission.status == "running"
    # never a retry: nobody claims it any more
    Step.objects.update(run_after=cast.later(seconds=-1))
    assert cast.work() == {}


def test_a_handler_that_keeps_failing_after_the_deed_ends_in_doubt_not_in_a_retry(venue: Any) -> None:
    venue.script = [crash_after] * 50
    cast.submit(cast.buy(size_usd="100"))
    step = work_until_ended()
    assert (step.status, step.code) == ("needs_reconciliation", "handler_error")
    assert Order.objects.get().status == "in_doubt"
    assert PaperExecution.objects.count() == 1


def test_a_refusal_gives_back_the_money_and_the_cap(venue: Any) -> None:
    venue.script = [refuse]
    cast.submit(cast.buy(size_usd="100"))
    step = work_until_ended()
    assert (step.status, step.code) == ("failed", "slippage_exceeded")
    assert Order.objects.get().status == "failed"
    account = Account.objects.get(kind="wallet", asset__symbol="USDC")
    assert (account.balance, account.reserved) == (10_000_000_000, 0)
    assert CapCharge.objects.get().returned_at is not None


def test_the_venue_refuses_when_the_price_has_run_away_and_remembers_it(venue: Any) -> None:
    def run_away(self: Any, reference: str, quote: Quote) -> None:
        cast.set_price("SOL/USDC", Decimal(quote.price) * Decimal("1.05"))

    def come_back(self: Any, reference: str, quote: Quote) -> Receipt:
        cast.set_price("SOL/USDC", Decimal(quote.price))
        return PaperVenue.submit(self, reference=reference, quote=quote)

    venue.script = [run_away]
    cast.submit(cast.buy(size_usd="100"))
    assert work_until_ended().code == "slippage_exceeded"
    attempt = Attempt.objects.get()
    again = come_back(PaperVenue(), attempt.reference, Quote(**attempt.quote))
    assert isinstance(again, Refused)


def test_a_halt_between_approval_and_sending_sends_nothing(venue: Any) -> None:
    from missions import company
    from missions.vocabulary import CompanyStatus
    from tradeco.common import db

    cast.submit(cast.buy(size_usd="100"))
    company.switch(to=CompanyStatus.HALTED, by=None, reason="test", now=db.now())
    step = work_until_ended()
    assert (step.status, step.code, venue.seen) == ("failed", "halted", [])
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 0
