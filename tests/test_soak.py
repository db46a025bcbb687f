"""The soak's judge: it calls a sound company sound, and finds what is lost, doubled, stuck or unbalanced."""

from collections import Counter
from typing import Any

import pytest

from missions.models import Step
from tests import cast
from tests.chain_company import ChainCompany
from trading import verdict
from trading.models import Account, Attempt, Fill, Order
from trading.verdict import Verdict


@pytest.fixture
def traded(chain: ChainCompany) -> ChainCompany:
    """A company with one trade done."""
    cast.submit(cast.buy("JUP/USDC", "100.00"))
    assert chain.work()[-1] == "succeeded"
    chain.slots(40)
    return chain


def judged(chain: ChainCompany) -> Verdict:
    return verdict.judge(verdict.read(chain.sandbox.url), strikes=Counter(kill=3), seconds=1.4)


def done_beside_the_books(chain: ChainCompany) -> dict[str, Any]:
    """A swap that our key signed and no order asked for; its row in the chain's ledger."""
    from trading import network
    from trading.models import Market

    venue = network.venue()
    quote = venue.quote(
        market=Market.objects.select_related("base", "quote").get(name="JUP/USDC"),
        side="buy",
        amount_in=5_000_000,
        slippage_bps=100,
    )
    assert venue.send(venue.sign(quote), quote) is None
    chain.slots(40)
    return chain.landed()[-1]


def test_a_sound_company_is_called_sound(traded: ChainCompany) -> None:
    found = judged(traded)
    assert found.ok
    assert (found.steps, found.orders, found.swaps, found.kills, found.seconds) == (1, 1, 1, 3, 1)


def test_what_the_chain_did_and_we_did_not_book_is_lost(traded: ChainCompany) -> None:
    done_beside_the_books(traded)
    found = judged(traded)
    assert (found.lost, found.doubled, found.unbalanced > 0, found.ok) == (1, 0, True, False)


def test_what_we_booked_and_the_chain_never_did_is_lost(traded: ChainCompany) -> None:
    seen = verdict.read(traded.sandbox.url)
    without = verdict.Chain(swaps=[], held=seen.held)
    assert verdict.judge(without, strikes=Counter(), seconds=0).lost == 1


@pytest.mark.parametrize("name", ["amount_in", "amount_out", "network_fee", "rent"])
def test_what_we_booked_with_another_amount_is_lost(traded: ChainCompany, name: str) -> None:
    Fill.objects.update(**{name: 7})
    assert (judged(traded).lost, judged(traded).ok) == (1, False)


def test_a_second_swap_for_one_order_is_doubled(traded: ChainCompany) -> None:
    again = done_beside_the_books(traded)
    Attempt.objects.create(
        order=Order.objects.get(),
        n=2,
        reference=again["signature"],
        status="expired",
        quote={},
        created_at=Order.objects.get().created_at,
    )
    found = judged(traded)
    assert (found.lost, found.doubled, found.ok) == (1, 1, False)


def test_a_step_that_never_ended_is_stuck(traded: ChainCompany) -> None:
    cast.submit(cast.buy("JUP/USDC", "20.00"))
    assert (judged(traded).stuck, judged(traded).ok) == (1, False)


@pytest.mark.parametrize(("evidence", "stuck"), [({"looks": 10}, 0), ({}, 1)])
def test_a_step_before_a_person_has_come_to_an_end_if_it_brings_evidence(
    traded: ChainCompany, evidence: dict[str, int], stuck: int
) -> None:
    Step.objects.update(status="needs_reconciliation", finished_at=None, result={"evidence": evidence})
    found = judged(traded)
    assert (found.in_doubt, found.stuck) == (1, stuck)


def test_a_swap_of_an_order_in_doubt_is_not_lost_as_a_person_has_its_signature(traded: ChainCompany) -> None:
    again = done_beside_the_books(traded)
    order = Order.objects.get()
    Attempt.objects.create(
        order=order, n=2, reference=again["signature"], status="in_doubt", quote={}, created_at=order.created_at
    )
    assert judged(traded).lost == 0


def test_a_balance_that_is_not_the_sum_of_its_entries_is_found(traded: ChainCompany) -> None:
    Account.objects.filter(kind="wallet", asset__symbol="USDC").update(balance=1)
    assert (judged(traded).unbalanced, judged(traded).ok) == (2, False)  # nor is it what the chain holds


def test_a_reservation_that_nothing_holds_any_more_is_found(traded: ChainCompany) -> None:
    Account.objects.filter(kind="wallet", asset__symbol="USDC").update(reserved=1)
    assert judged(traded).unbalanced == 1
