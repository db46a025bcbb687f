"""Orders on a real chain: quote, sign, send, land, book; the chain's own ledger is the judge."""

from decimal import Decimal

import pytest
from django.test import Client

from dashboard import queries
from missions.models import Step
from tests import cast
from tests.chain_company import ChainCompany
from tests.sandbox_chain import PRICES
from tradeco.common import db
from tradeco.common.outside import VenueUnavailable
from trading import feeds, money, network, portfolio
from trading.models import Attempt, Feed, Fill, Finding, Order, Position, Wallet
from trading.sources import still


def test_a_buy_and_its_sale_land_once_each_and_the_books_hold_what_the_chain_holds(chain: ChainCompany) -> None:
    assert chain.held() == chain.books()
    assert cast.submit(cast.buy("JUP/USDC", "100.00")).status == "approved"
    assert chain.work() == ["park", "park", "succeeded"]
    position = Position.objects.get()
    assert chain.held() == chain.books()
    assert cast.submit(cast.close(position.pk)).status == "approved"
    assert chain.work() == ["park", "park", "succeeded"]
    assert len(chain.landed()) == 2
    assert chain.held() == chain.books()
    found = portfolio.summary(now=db.now())
    assert found.equity_usd - Decimal(10_000) == found.realized_pnl_usd + _network_fees()
    assert list(Order.objects.values_list("status", flat=True)) == ["filled", "filled"]
    chain.slots(40)
    assert chain.reconcile()["final"] == 2
    assert set(Attempt.objects.values_list("status", flat=True)) == {"finalized"}
    assert not Finding.objects.exists()
    assert chain.reconcile() == {
        "settled": 0, "final": 0, "vanished": 0, "hurried": 0, "failed": 0, "opened": False, "strangers": 0, "drift": []
    }  # fmt: skip


def test_sol_itself_is_bought_and_sold_apart_from_what_pays_the_fees(chain: ChainCompany) -> None:
    reserve = portfolio.fee_reserve()
    cast.submit(cast.buy("SOL/USDC", "150.00"))
    assert chain.work()[-1] == "succeeded"
    fee = Fill.objects.get().network_fee
    assert fee > 0
    assert portfolio.fee_reserve() == reserve - fee
    cast.submit(cast.close(Position.objects.get().pk))
    assert chain.work()[-1] == "succeeded"
    assert portfolio.fee_reserve() == reserve - sum(Fill.objects.values_list("network_fee", flat=True))
    assert chain.held() == chain.books()


def test_a_first_buy_pays_a_deposit_that_is_no_fee(chain: ChainCompany) -> None:
    cast.submit(cast.buy("WIF/USDC", "50.00"))
    chain.work()
    fill = Fill.objects.get()
    assert fill.rent == 2_039_280
    assert fill.network_fee_quote == money.raw(Decimal(fill.network_fee) / 10**9 * 150, 6) + 1
    assert Position.objects.get().cost == 50_000_000 + fill.network_fee_quote


def test_the_signature_stands_in_the_database_before_the_chain_has_seen_it(chain: ChainCompany) -> None:
    chain.sandbox.faults.add("drop", route="sendTransaction")
    cast.submit(cast.buy("JUP/USDC", "100.00"))
    assert chain.visit() == "park"
    attempt = Attempt.objects.get()
    assert (attempt.status, attempt.sends, bool(attempt.payload), chain.landed()) == ("broadcast", 1, True, [])
    assert Step.objects.get().status == "executing"


def _network_fees() -> Decimal:
    return money.usd(sum(Fill.objects.values_list("network_fee_quote", flat=True)))


def test_candles_of_another_chain_than_the_books_are_no_prices(chain: ChainCompany) -> None:
    feed, row = feeds.Served(feeds.Computed(still(PRICES)), network.candles()), Feed.objects.get()
    row.read = 10**6
    with pytest.raises(VenueUnavailable, match="another chain"):
        feed.news(row, now=db.now())


def test_what_reconciliation_found_waits_on_both_first_pages(chain: ChainCompany, admin_client: Client) -> None:
    assert queries.attention()["all"] == 0
    found = Finding.objects.create(
        wallet=Wallet.objects.get(), kind="vanished", key="signature", what="A trade is gone.", opened_at=db.now()
    )
    assert queries.attention() == {"proposals": 0, "steps": 0, "orders": 0, "findings": 1, "all": 1}
    assert found.what in admin_client.get("/admin/").text
    assert "SANDBOX" in admin_client.get("/dashboard/").text
