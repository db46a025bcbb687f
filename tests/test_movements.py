"""What people's words about a finding book, whose words count, and that nothing is booked twice."""

import pytest
from django.contrib.auth.models import AbstractUser
from django.db.models import Sum

from missions.models import Company, Step
from tests import cast
from tests.chain_company import ChainCompany
from tests.chain_strangers import plain_transfer
from tests.chain_weather import agreed, buy, come_back, into_doubt, paid_in, sent, taken_out
from tradeco.common import db
from trading import agreeing, late, lots, money, movements, portfolio, settling
from trading.attempts import UNANSWERED_MAX
from trading.models import Account, Agreement, Finding, Lot, Order, Position
from trading.movements import Verb

pytestmark = pytest.mark.usefixtures("impatient")

LATE_INDEX = "getSignaturesForAddress"


def open_finding(kind: str) -> Finding:
    return Finding.objects.get(kind=kind, settled_at=None)


def say(found: Finding, by: AbstractUser, verb: Verb = Verb.BOOK) -> movements.Settled:
    return movements.settle(finding_id=found.pk, verb=verb, by=by, reason="I looked.", now=db.now())


def seen(chain: ChainCompany, kind: str) -> Finding:
    """What a pass finds of what happened before, final by now."""
    chain.slots(40)
    chain.reconcile()
    return open_finding(kind)


# --- what is booked -------------------------------------------------------------------------------


def test_a_plain_deposit_into_the_token_account_is_no_gain(
    chain: ChainCompany, alice: AbstractUser, bob: AbstractUser
) -> None:
    plain_transfer(chain, "USDC", 5_000_000_000)
    found = seen(chain, "balance_drift")
    assert say(found, alice).missing == 1
    say(found, bob)
    assert chain.books() == chain.held()
    after = portfolio.summary(now=db.now())
    assert after.cash_usd == 15_000
    assert after.realized_pnl_usd == 0


def test_what_is_missing_for_no_reason_is_a_loss(chain: ChainCompany, alice: AbstractUser) -> None:
    Account.objects.filter(kind="wallet", asset=money.USDC).update(balance=10_005_000_000)
    Account.objects.filter(kind="capital", asset=money.USDC).update(balance=-10_005_000_000)
    say(seen(chain, "balance_drift"), alice)
    assert portfolio.summary(now=db.now()).realized_pnl_usd == -5


def test_a_difference_that_an_order_in_doubt_may_explain_waits_for_it(chain: ChainCompany, alice: AbstractUser) -> None:
    plain_transfer(chain, "USDC", 5_000_000)
    found = seen(chain, "balance_drift")
    cast.force_policy(surplus_ignored_usd="6")
    sent(chain)
    into_doubt(chain)
    with pytest.raises(movements.NotBookable, match="in doubt"):
        say(found, alice)


@pytest.fixture
def booked_as_difference(chain: ChainCompany, alice: AbstractUser) -> Finding:
    """A deposit was booked as a difference, because the node's index lagged; the finding of it that came later."""
    paid_in(chain, USDC=50_000_000)
    chain.slots(40)
    chain.sandbox.faults.add("stale", route=LATE_INDEX, blocks=60)
    chain.reconcile()
    say(open_finding("balance_drift"), alice)
    chain.sandbox.faults.clear()
    assert chain.books() == chain.held()
    return seen(chain, "movement")


def test_a_deposit_that_was_booked_as_a_difference_is_not_booked_again(
    chain: ChainCompany, booked_as_difference: Finding, alice: AbstractUser
) -> None:
    with pytest.raises(movements.NotBookable, match="booked already"):
        say(booked_as_difference, alice)
    say(booked_as_difference, alice, Verb.DISMISS)
    assert chain.books() == chain.held()


def test_control_without_looking_at_the_slots_it_would_be(
    chain: ChainCompany, booked_as_difference: Finding, alice: AbstractUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movements, "_in_booked_differences", lambda finding, slot: set())
    say(booked_as_difference, alice)
    assert chain.books()[money.USDC] - chain.held()[money.USDC] == 50_000_000


def test_a_deposit_after_a_difference_was_booked_is_booked_too(
    chain: ChainCompany, booked_as_difference: Finding, alice: AbstractUser
) -> None:
    say(booked_as_difference, alice, Verb.DISMISS)
    paid_in(chain, USDC=7_000_000)
    say(seen(chain, "movement"), alice)
    assert chain.books() == chain.held()


def test_what_was_withdrawn_leaves_the_lots_too_and_stays_away(chain: ChainCompany, alice: AbstractUser) -> None:
    buy()
    chain.work()
    quantity = Position.objects.get().quantity
    taken_out(chain, symbol="JUP", amount=quantity // 2)
    say(seen(chain, "unknown_signature"), alice)
    left = Position.objects.get().quantity
    lot = Lot.objects.get()
    assert (lot.remaining, lot.quantity) == (left, quantity)
    assert lot.cost_remaining == lot.cost - lot.cost * (quantity - left) // quantity
    lots.retell(Order.objects.get().fills.get())
    again = Lot.objects.get()
    assert (again.remaining, again.cost_remaining) == (lot.remaining, lot.cost_remaining)


def test_what_was_bought_after_a_withdrawal_is_untouched_by_it(chain: ChainCompany, alice: AbstractUser) -> None:
    buy()
    chain.work()
    taken_out(chain, symbol="JUP", amount=Position.objects.get().quantity)
    say(seen(chain, "unknown_signature"), alice)
    assert Lot.objects.aggregate(left=Sum("remaining"))["left"] == 0
    Company.objects.update(status="active")
    chain.reconcile()
    buy()
    chain.work()
    held = Position.objects.get(status="open").quantity
    assert Lot.objects.aggregate(left=Sum("remaining"))["left"] == held
    lots.retell(Order.objects.latest("pk").fills.get())
    assert Lot.objects.aggregate(left=Sum("remaining"))["left"] == held


# --- a trade of ours that landed after it was given up --------------------------------------------


@pytest.fixture
def late_sale(chain: ChainCompany, alice: AbstractUser) -> Finding:
    """A sale was given up while the nodes kept silent; it landed."""
    buy()
    chain.work()
    chain.slots(40)
    chain.reconcile()
    assert cast.submit(cast.close(Position.objects.get().pk)).status == "approved"
    for method in ("getSignatureStatuses", "getTransaction"):
        chain.sandbox.faults.add("drop", route=method)
    chain.work(visits=UNANSWERED_MAX + 2)
    come_back()
    step = Step.objects.in_doubt().get()
    settling.settle(step_id=step.pk, verb=settling.Verb.FAIL, by=alice, reason="Gone.", now=db.now())
    chain.sandbox.faults.clear()
    come_back()
    return seen(chain, "movement")


def test_a_late_sale_closes_its_position_and_earns_what_it_brought(
    chain: ChainCompany, late_sale: Finding, alice: AbstractUser
) -> None:
    say(late_sale, alice)
    agreed(chain)
    position = Position.objects.get()
    assert (position.status, position.realized) == ("closed", Order.objects.latest("pk").fills.get().realized_quote)
    assert money.usd(position.realized) == portfolio.summary(now=db.now()).realized_pnl_usd
    assert not Lot.objects.filter(remaining__gt=0).exists()


def test_control_booked_as_a_movement_it_would_have_been_no_sale(
    late_sale: Finding, alice: AbstractUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "book", lambda *given, **asked: False)
    say(late_sale, alice)
    assert not Order.objects.latest("pk").fills.exists()


def test_a_late_trade_waits_for_another_attempt_of_its_order(
    chain: ChainCompany, late_sale: Finding, alice: AbstractUser
) -> None:
    order = Order.objects.latest("pk")
    Order.objects.filter(pk=order.pk).update(status="in_doubt", ended_at=None)
    with pytest.raises(late.StillUnderWay):
        say(late_sale, alice)
    assert chain.books() != chain.held()


# --- whose words count ----------------------------------------------------------------------------


def test_one_person_does_not_dismiss_a_theft_above_the_four_eyes_threshold(
    chain: ChainCompany, alice: AbstractUser, bob: AbstractUser
) -> None:
    taken_out(chain, symbol="USDC", amount=3_000_000_000)
    found = seen(chain, "unknown_signature")
    assert say(found, alice, Verb.DISMISS).missing == 1
    assert say(found, bob, Verb.DISMISS).missing == 0


@pytest.fixture
def grown(chain: ChainCompany, alice: AbstractUser) -> Finding:
    """Alice gave her word for 100 USDC; it is 5,100 by now."""
    cast.force_policy(quorum=2)
    plain_transfer(chain, "USDC", 100_000_000)
    found = seen(chain, "balance_drift")
    assert say(found, alice).missing == 1
    plain_transfer(chain, "USDC", 5_000_000_000)
    return seen(chain, "balance_drift")


def test_a_word_given_for_a_small_difference_does_not_count_for_a_large_one(
    chain: ChainCompany, grown: Finding, alice: AbstractUser, bob: AbstractUser
) -> None:
    assert say(grown, bob).missing == 1
    assert say(grown, alice).missing == 0, "she may say so again"
    assert chain.books() == chain.held()
    assert Agreement.objects.count() == 2


def test_control_whatever_it_was_given_for_it_would(
    grown: Finding, bob: AbstractUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreeing, "_about_the_same", lambda said, seen: True)
    assert say(grown, bob).missing == 0


def test_dust_between_two_words_does_not_keep_people_from_agreeing(
    chain: ChainCompany, alice: AbstractUser, bob: AbstractUser
) -> None:
    cast.force_policy(quorum=2)
    plain_transfer(chain, "USDC", 100_000_000)
    found = seen(chain, "balance_drift")
    assert say(found, alice).missing == 1
    plain_transfer(chain, "USDC", 1)
    chain.slots(40)
    with pytest.raises(agreeing.AgreedAlready):
        say(found, alice)
    assert say(found, bob).missing == 0
    assert chain.books() == chain.held()
