"""The soak's judge: it calls a sound company sound, and finds what is lost, doubled, stuck or unbalanced."""

import pytest

from tests import cast
from tradeco.common import db
from trading import soak
from trading.models import Account, Attempt, Order, PaperExecution

pytestmark = pytest.mark.usefixtures("company")


def judged() -> soak.Verdict:
    return soak.judge(kills=0, seconds=0)


def executed(reference: str) -> None:
    PaperExecution.objects.create(
        reference=reference,
        market_id="SOL/USDC",
        side="buy",
        amount_in=1,
        amount_out=1,
        fee_quote=0,
        price=1,
        at=db.now(),
    )


def test_a_sound_company_is_called_sound() -> None:
    cast.bought()
    verdict = judged()
    assert verdict.ok
    assert (verdict.steps, verdict.orders) == (1, 1)


def test_what_the_venue_did_and_we_did_not_book_is_lost() -> None:
    cast.bought()
    executed("nobody booked this")
    assert (judged().lost, judged().ok) == (1, False)


def test_a_second_execution_for_one_order_is_doubled() -> None:
    cast.bought()
    attempt = Attempt.objects.create(
        order=Order.objects.get(), n=2, reference="again", status="failed", quote={}, created_at=db.now()
    )
    executed(attempt.reference)
    assert (judged().doubled, judged().ok) == (1, False)


def test_a_step_that_never_ended_is_stuck() -> None:
    cast.submit(cast.buy())
    assert (judged().stuck, judged().ok) == (1, False)


def test_a_balance_that_is_not_the_sum_of_its_entries_is_found() -> None:
    Account.objects.filter(kind="wallet", asset__symbol="USDC").update(balance=1)
    assert (judged().unbalanced, judged().ok) == (1, False)
