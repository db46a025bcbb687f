"""The order's state machine against a venue that refuses, keeps silent, or answers late."""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from missions import execution
from missions.models import CapCharge, Step
from tests import cast
from tradeco.common import db, wiring
from tradeco.common.models import Event
from tradeco.common.outside import VenueUnavailable
from trading import booking, money, portfolio
from trading.attempts import ATTEMPTS_MAX, UNANSWERED_MAX
from trading.models import Account, Attempt, Order, PaperExecution, Position
from trading.venues.base import NeverLanded, Quote, Receipt, Refused, Signed, Unknown
from trading.venues.paper import PaperVenue

pytestmark = pytest.mark.usefixtures("company")


class Scripted(PaperVenue):
    """The paper venue, whose sends and answers can be lost on their way."""

    script: list[Callable[..., Refused | None]] = []
    seen: list[str] = []
    answer: Callable[[], Receipt] | None = None

    def send(self, signed: Signed, quote: Quote) -> Refused | None:
        self.seen.append(signed.reference)
        act = self.script.pop(0) if self.script else PaperVenue.send
        return act(self, signed, quote)

    def look_up(self, signed: Signed, quote: Quote) -> Receipt:
        return type(self).answer() if type(self).answer else super().look_up(signed, quote)


def silence() -> Receipt:
    return Unknown("no answer", {"asked": "the venue"})


def crash() -> Receipt:
    raise RuntimeError("a bug in reading the answer")


def lost_before(venue: Any, signed: Signed, quote: Quote) -> None:
    """The request is lost."""


def lost_after(venue: Any, signed: Signed, quote: Quote) -> None:
    """Done, and the answer is lost."""
    PaperVenue.send(venue, signed, quote)
    raise VenueUnavailable("the answer was lost")


def crash_after(venue: Any, signed: Signed, quote: Quote) -> None:
    PaperVenue.send(venue, signed, quote)
    raise RuntimeError("a bug between the deed and its record")


def refuse(venue: Any, signed: Signed, quote: Quote) -> Receipt:
    return Refused("slippage_exceeded", "The price moved.")


@pytest.fixture
def venue(settings: Any) -> Any:
    settings.VENUE = f"{__name__}.Scripted"
    wiring.load.cache_clear()
    Scripted.script, Scripted.seen, Scripted.answer = [], [], None
    yield Scripted
    wiring.load.cache_clear()


def visit() -> str:
    Step.objects.filter(finished_at=None).update(run_after=cast.later(seconds=-1))
    return execution.run(cast.claim())


def work_until_ended(limit: int = 30) -> Step:
    for _ in range(limit):
        Step.objects.filter(finished_at=None).update(run_after=cast.later(seconds=-1))
        if not cast.work():
            break
    return Step.objects.get()


@pytest.mark.parametrize(("trouble", "sends"), [(lost_before, 4), (lost_after, 1), (crash_after, 1)])
def test_whatever_is_lost_on_the_way_one_reference_is_exchanged_once(venue: Any, trouble: Any, sends: int) -> None:
    venue.script = [trouble, trouble, trouble]
    cast.submit(cast.buy(size_usd="100"))
    step = work_until_ended()
    assert step.status == "succeeded"
    assert len(venue.seen) == sends
    assert len(set(venue.seen)) == 1
    assert PaperExecution.objects.count() == Attempt.objects.count() == 1
    assert Order.objects.get().status == "filled"
    assert Position.objects.get().cost == 100_000_000


@pytest.mark.parametrize(
    ("answer", "looks", "code"), [(silence, UNANSWERED_MAX, "venue_silent"), (crash, 5, "handler_error")]
)
def test_an_order_whose_fate_stays_unknown_is_put_before_a_person_and_keeps_the_money_held(
    venue: Any, answer: Any, looks: int, code: str
) -> None:
    venue.answer = answer
    cast.submit(cast.buy(size_usd="100"))
    said = [visit() for _ in range(looks)]
    assert said == ["park"] * (looks - 1) + ["indoubt"]
    step, order, attempt = Step.objects.get(), Order.objects.get(), Attempt.objects.get()
    assert (step.status, step.mission.status) == ("needs_reconciliation", "running")
    assert (order.status, order.code, attempt.status) == ("in_doubt", code, "in_doubt")
    assert len(venue.seen) == 1, "an answer that says nothing is no reason to send again"
    if answer is silence:
        assert step.result["evidence"]["reference"] == attempt.reference
        assert attempt.evidence == {"asked": "the venue"}
    assert Event.objects.filter(kind="order.in_doubt").count() == 1
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 100_000_000
    assert CapCharge.objects.get().returned_at is None
    # never a retry: nobody claims it any more, and the market takes no other order
    Step.objects.update(run_after=cast.later(seconds=-1))
    assert cast.work() == {}
    refused = cast.submit(cast.buy())
    assert (refused.status, refused.code) == ("rejected", "order_in_doubt")


def test_looks_that_tell_nothing_come_ever_more_seldom(venue: Any) -> None:
    venue.answer = silence
    cast.submit(cast.buy(size_usd="100"))
    waits = []
    for _ in range(7):
        visit()
        waits.append(round((Step.objects.get().run_after - db.now()).total_seconds()))
    assert waits == [1, 2, 4, 8, 16, 30, 30]


def never_landed() -> Receipt:
    return NeverLanded("height 200 is past 150", {"finalized_height": 200})


def test_a_transaction_that_provably_never_landed_is_signed_anew_and_at_last_given_up(venue: Any) -> None:
    venue.script = [lost_before] * ATTEMPTS_MAX
    venue.answer = never_landed
    cast.submit(cast.buy(size_usd="100"))
    for n in range(1, ATTEMPTS_MAX):
        assert visit() == "park"
        assert Order.objects.get().status == "reserved"
        attempt = Attempt.objects.get(n=n)
        assert (attempt.status, attempt.evidence) == ("expired", {"finalized_height": 200})
    assert visit() == "failed"
    assert Order.objects.get().status == "expired"
    assert len(set(venue.seen)) == ATTEMPTS_MAX, "each with a signature of its own"
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 0
    assert not Position.objects.exists()


def test_after_a_proof_that_it_never_landed_the_next_attempt_may_fill(venue: Any) -> None:
    venue.script = [lost_before]
    venue.answer = never_landed
    cast.submit(cast.buy(size_usd="100"))
    assert visit() == "park"
    venue.answer = None
    assert visit() == "succeeded"
    assert list(Attempt.objects.order_by("n").values_list("status", flat=True)) == ["expired", "finalized"]
    assert PaperExecution.objects.count() == 1


def test_a_later_send_that_is_refused_proves_nothing(venue: Any) -> None:
    """The first one may have landed; only a look says what became of it."""
    venue.script = [lost_before, refuse, PaperVenue.send]
    cast.submit(cast.buy(size_usd="100"))
    assert [visit(), visit(), visit()] == ["park", "park", "succeeded"]
    assert Attempt.objects.get().status == "finalized"


def test_a_failure_at_the_venue_costs_its_fee_and_keeps_the_cap(venue: Any) -> None:
    cast.give_sol(1_000_000)
    venue.script = [lost_before]
    venue.answer = lambda: Refused("slippage_exceeded", "6001", network_fee=5_000, slot=77)
    cast.submit(cast.buy(size_usd="100"))
    assert visit() == "failed"
    attempt = Attempt.objects.get()
    assert (attempt.status, attempt.slot, Order.objects.get().status) == ("failed_onchain", 77, "failed")
    assert CapCharge.objects.get().returned_at is None, "something was sent"
    balances = {
        (account.kind, account.asset.symbol): account.balance
        for account in Account.objects.select_related("asset").exclude(balance=0)
    }
    fee = booking.in_quote(5_000)
    assert fee > 0
    assert balances[("wallet", "SOL")] == 995_000
    assert balances[("network", "SOL")] == 5_000
    assert (balances[("wallet", "USDC")], balances[("fees", "USDC")]) == (10_000_000_000, fee)
    assert portfolio.summary(now=db.now()).realized_pnl_usd == -money.usd(fee)


@pytest.mark.parametrize(("field", "value", "code"), [
    ("impact", "0.0501", "impact_too_large"),
    ("amount_out", 0, "too_small"),
    ("amount_in", 1, "quote_of_another_amount"),
    ("price", "200", "quote_off_market"),
])  # fmt: skip
def test_a_quote_that_is_unfit_is_never_signed(
    venue: Any, monkeypatch: pytest.MonkeyPatch, field: str, value: Any, code: str
) -> None:
    plain = PaperVenue.quote
    monkeypatch.setattr(venue, "quote", lambda self, **asked: replace(plain(self, **asked), **{field: value}))
    cast.submit(cast.buy(size_usd="100"))
    assert visit() == "failed"
    assert (Step.objects.get().code, Attempt.objects.count(), venue.seen) == (code, 0, [])
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 0


def test_a_venue_that_is_away_before_anything_is_signed_is_asked_again_later(
    venue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(self: Any, *given: Any, **asked: Any) -> Any:
        raise VenueUnavailable("down for a minute")

    with monkeypatch.context() as patched:
        patched.setattr(venue, "sign", away)
        cast.submit(cast.buy(size_usd="100"))
        assert visit() == "retry"
    assert Attempt.objects.get().status == "quoted"
    assert visit() == "succeeded"
    statuses = Attempt.objects.order_by("n").values_list("status", "code")
    assert list(statuses) == [("expired", "never_signed"), ("finalized", "")]


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
    def run_away(self: Any, signed: Signed, quote: Quote) -> None:
        cast.set_price("SOL/USDC", Decimal(quote.price) * Decimal("1.05"))
        PaperVenue.send(self, signed, quote)

    venue.script = [run_away]
    cast.submit(cast.buy(size_usd="100"))
    assert work_until_ended().code == "slippage_exceeded"
    attempt = Attempt.objects.get()
    quote, signed = Quote(**attempt.quote), Signed(attempt.reference)
    cast.set_price("SOL/USDC", Decimal(quote.price))
    paper = PaperVenue()
    paper.send(signed, quote)
    assert isinstance(paper.look_up(signed, quote), Refused)


def test_a_halt_between_approval_and_sending_sends_nothing(venue: Any) -> None:
    from missions import company
    from missions.vocabulary import CompanyStatus
    from tradeco.common import db

    cast.submit(cast.buy(size_usd="100"))
    company.switch(to=CompanyStatus.HALTED, by=None, reason="test", now=db.now())
    step = work_until_ended()
    assert (step.status, step.code, venue.seen) == ("failed", "halted", [])
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 0
