"""The books: balanced at every commit, append-only, never overdrawn."""

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.db.models import Sum

from tests import cast
from tradeco.common import db
from trading import ledger
from trading.models import Account, LedgerEntry, LedgerTransaction, Wallet
from trading.opening import USDC
from trading.vocabulary import AccountKind

pytestmark = pytest.mark.usefixtures("company")


def book(*lines: tuple[AccountKind, str, int], reference: str = "test") -> None:
    with transaction.atomic():
        ledger.book(
            reference=reference,
            kind="fill",
            wallet=Wallet.objects.get(),
            lines=lines,
            now=db.now(),
            market_at=None,
        )
        with connection.cursor() as cursor:  # the test's own transaction never commits: check now
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")


def test_the_opening_cash_is_an_entry_against_capital() -> None:
    amounts = dict(LedgerEntry.objects.values_list("account__kind", "amount"))
    assert amounts == {"wallet": 10_000_000_000, "capital": -10_000_000_000}


def test_an_unbalanced_booking_cannot_commit() -> None:
    with pytest.raises(IntegrityError, match="not balanced"):
        book((AccountKind.WALLET, USDC, 5), (AccountKind.VENUE, USDC, -4))
    assert LedgerTransaction.objects.filter(reference="test").count() == 0


def test_balance_is_asked_per_asset_not_over_all() -> None:
    sol = Account.objects.get(kind="wallet", asset__symbol="SOL").asset_id
    with pytest.raises(IntegrityError, match="not balanced"):
        book((AccountKind.WALLET, USDC, -5), (AccountKind.WALLET, sol, 5))


def test_a_reference_is_booked_once() -> None:
    book((AccountKind.WALLET, USDC, 5), (AccountKind.VENUE, USDC, -5))
    with pytest.raises(IntegrityError):
        book((AccountKind.WALLET, USDC, 5), (AccountKind.VENUE, USDC, -5))


def test_the_wallet_cannot_be_overdrawn() -> None:
    with pytest.raises(IntegrityError, match="wallet_is_never_overdrawn"):
        book((AccountKind.WALLET, USDC, -10_000_000_001), (AccountKind.VENUE, USDC, 10_000_000_001))


@pytest.mark.parametrize("model", [LedgerEntry, LedgerTransaction])
def test_the_application_can_neither_change_nor_delete_what_is_booked(model: type) -> None:
    for act in (
        lambda: model.objects.update(id=99),
        lambda: model.objects.all()._raw_delete("default"),
    ):
        with pytest.raises(ProgrammingError, match="Cannot update or delete"), transaction.atomic():
            act()


def test_what_is_reserved_cannot_be_reserved_again() -> None:
    wallet, asset = Wallet.objects.get(), Account.objects.get(kind="wallet", asset__symbol="USDC").asset
    with transaction.atomic():
        ledger.reserve(wallet=wallet, asset=asset, amount=9_000_000_000)
        with pytest.raises(ledger.FundsShort):
            ledger.reserve(wallet=wallet, asset=asset, amount=1_000_000_001)
        ledger.free(wallet=wallet, asset=asset, amount=9_000_000_000)
        ledger.reserve(wallet=wallet, asset=asset, amount=10_000_000_000)


def test_balances_are_the_sums_of_their_entries_after_trading() -> None:
    position = cast.bought("SOL/USDC", "300")
    cast.submit(cast.buy("BONK/USDC", "50"))
    cast.submit(cast.close(position.pk))
    cast.work()
    for account in Account.objects.annotate(total=Sum("entries__amount")):
        assert account.balance == int(account.total or 0), account
        assert account.reserved == 0
    assert LedgerEntry.objects.values("asset").annotate(n=Sum("amount")).exclude(n=0).count() == 0
