"""Writing the books: double entry in integers, once per reference; and reserving what orders will spend.

That entries balance per asset at commit is held by the database; that they can't be changed, too.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db.models import F

from tradeco.common import db
from tradeco.common.errors import DomainError
from trading.models import Account, Asset, LedgerEntry, LedgerTransaction, Wallet
from trading.vocabulary import AccountKind


class FundsShort(DomainError):
    code = "funds_short"
    title = "There is not enough free in the wallet"


Line = tuple[AccountKind, str, int]
"""Account kind, asset's mint, signed raw amount."""


def lock(wallet: Wallet | str, mints: Sequence[str]) -> dict[str, Account]:
    """Lock the wallet's accounts of these assets, in one order for all, so that no two deadlock."""
    db.requires_transaction()
    rows = Account.objects.select_for_update().filter(wallet=wallet, kind=AccountKind.WALLET, asset__in=mints)
    return {account.asset_id: account for account in rows.order_by("pk")}


def book(
    *,
    reference: str,
    kind: str,
    wallet: Wallet,
    lines: Sequence[Line],
    now: datetime,
    market_at: datetime | None,
    memo: str = "",
) -> LedgerTransaction:
    """Book lines that balance per asset. The unique reference makes it happen once.

    Raises:
        IntegrityError: at once for a reference booked before or an overdrawn wallet, at commit when unbalanced.
    """
    db.requires_transaction()
    transaction = LedgerTransaction.objects.create(
        reference=reference, kind=kind, memo=memo, at=now, market_at=market_at
    )
    accounts = {(account.kind, account.asset_id): account for account in Account.objects.filter(wallet=wallet)}
    entries = [
        LedgerEntry(transaction=transaction, account=accounts[account, mint], asset_id=mint, amount=amount)
        for account, mint, amount in lines
        if amount
    ]
    LedgerEntry.objects.bulk_create(entries)
    for entry in sorted(entries, key=lambda entry: entry.account_id):
        Account.objects.filter(pk=entry.account_id).update(balance=F("balance") + entry.amount)
    return transaction


def reserve(*, wallet: Wallet, asset: Asset, amount: int) -> None:
    """Set an amount of the wallet aside for an order.

    Raises:
        FundsShort: less than that is free.
    """
    db.requires_transaction()
    taken = Account.objects.filter(
        wallet=wallet, kind=AccountKind.WALLET, asset=asset, balance__gte=F("reserved") + amount
    ).update(reserved=F("reserved") + amount)
    if taken != 1:
        raise FundsShort(f"Less than the needed {asset.symbol} is free in the wallet.")


def free(*, wallet: Wallet, asset: Asset, amount: int) -> None:
    """Give back what was reserved for an order that has ended."""
    db.requires_transaction()
    Account.objects.filter(wallet=wallet, kind=AccountKind.WALLET, asset=asset).update(reserved=F("reserved") - amount)
