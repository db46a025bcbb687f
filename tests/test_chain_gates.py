"""What gates refuse because of what the chain says, and what they don't."""

from datetime import timedelta
from decimal import Decimal

import pytest

from missions.models import Proposal
from tests import cast
from tests.chain_company import ChainCompany
from tests.chain_strangers import plain_transfer
from tests.chain_weather import buy
from tradeco.common import db
from trading import money, stops
from trading.models import Account, Asset, Position

pytestmark = pytest.mark.usefixtures("impatient")


@pytest.fixture
def holding(chain: ChainCompany) -> ChainCompany:
    buy()
    chain.work()
    chain.slots(40)
    chain.reconcile()
    return chain


def stopped(chain: ChainCompany) -> Proposal:
    """What becomes of the exit, once the price is below the stop."""
    position = Position.objects.get()
    assert position.stop_price is not None
    chain.price("JUP/USDC", position.stop_price * Decimal("0.97"))
    assert stops.run(now=db.now(), limit=10) == {"exits": [position.pk]}
    return Proposal.objects.get(protective=True)


@pytest.mark.parametrize(("symbol", "amount"), [("USDC", 1), ("USDC", 5_000_000_000), ("JUP", 1)])
def test_what_somebody_sends_us_stops_no_stop(holding: ChainCompany, symbol: str, amount: int) -> None:
    plain_transfer(holding, symbol, amount)
    holding.slots(40)
    assert holding.reconcile()["drift"] == [symbol]
    exit_ = stopped(holding)
    assert exit_.status == "approved", exit_.reason
    holding.work()
    assert Position.objects.get().status == "closed"


def test_an_exit_is_refused_where_less_lies_there_than_the_books_would_sell(holding: ChainCompany) -> None:
    base = Position.objects.get().market.base_id
    held = Account.objects.get(kind="wallet", asset=base)
    Account.objects.filter(pk=held.pk).update(balance=held.balance + 1)
    assert holding.reconcile()["drift"] == ["JUP"]
    assert stopped(holding).code == "books_differ"


def test_an_exit_is_not_refused_for_what_is_missing_of_what_it_brings(holding: ChainCompany) -> None:
    Account.objects.filter(kind="wallet", asset=money.USDC).update(balance=10_000_000_000)
    assert holding.reconcile()["drift"] == ["USDC"]
    assert stopped(holding).status == "approved"
    assert cast.submit(cast.buy("WIF/USDC", "50.00")).code == "books_differ"


@pytest.mark.parametrize(("symbol", "amount", "code"), [
    ("USDC", 999_999, "approved"),
    ("USDC", 1_000_000, "books_differ"),
    ("JUP", 500_000, "approved"),
    ("JUP", 50_000_000, "books_differ"),
])  # fmt: skip
def test_dust_holds_up_no_entry_and_a_deposit_does(holding: ChainCompany, symbol: str, amount: int, code: str) -> None:
    plain_transfer(holding, symbol, amount)
    holding.slots(40)
    assert holding.reconcile()["drift"] == [symbol]
    assert cast.submit(cast.buy("JUP/USDC", "100.00")).code == code


@pytest.mark.parametrize(("seconds", "code"), [(7100, "approved"), (7300, "token_stale")])
def test_what_was_known_of_a_token_hours_ago_says_nothing_now(chain: ChainCompany, seconds: int, code: str) -> None:
    Asset.objects.update(checked_at=db.now() - timedelta(seconds=seconds))
    assert cast.submit(cast.buy("JUP/USDC", "50.00")).code == code
