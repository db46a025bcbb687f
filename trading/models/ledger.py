"""The books: integer double entry, append-only, balanced per asset at every commit.

An account's balance and what is reserved of it are kept beside the entries, so that cash can be locked and
checked in one row; that balance = sum of entries is an invariant with a test.
"""

from typing import ClassVar

import pgtrigger
from django.db import models
from django.db.models import F, Q

from tradeco.common.fields import RawAmountField
from trading.models.market import Asset
from trading.vocabulary import AccountKind, LedgerKind


class Wallet(models.Model):
    name = models.CharField(max_length=40, primary_key=True)
    network = models.CharField(max_length=10, default="paper", help_text="Where it lives; a company never changes it")
    address = models.CharField(max_length=44, blank=True, help_text="Public key on chain")
    newest_signature = models.CharField(max_length=100, blank=True, help_text="How far its transactions were looked at")
    reconciled_at = models.DateTimeField(null=True, blank=True, help_text="When books and chain were last compared")
    restored_at = models.DateTimeField(
        null=True, blank=True, help_text="When the books were set back; orders from before are never attempted anew"
    )

    def __str__(self) -> str:
        return self.name


class Account(models.Model):
    """One asset in one drawer. Of a wallet's balance a part may be reserved for orders."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="accounts")
    kind = models.CharField(max_length=10, choices=AccountKind)
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    balance = RawAmountField(default=0)
    reserved = RawAmountField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="account_once", fields=["wallet", "kind", "asset"]),
            models.CheckConstraint(
                name="wallet_is_never_overdrawn",
                condition=~Q(kind=AccountKind.WALLET) | Q(balance__gte=0),
            ),
            models.CheckConstraint(
                name="reserved_is_covered",
                condition=Q(reserved=0) | Q(reserved__gt=0, reserved__lte=F("balance")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.asset.symbol}"


class LedgerTransaction(models.Model):
    """Entries that belong together; `reference` makes a booking happen once."""

    reference = models.CharField(max_length=120, unique=True)
    kind = models.CharField(max_length=10, choices=LedgerKind)
    memo = models.CharField(max_length=200, blank=True)
    at = models.DateTimeField()
    market_at = models.DateTimeField(null=True)

    class Meta:
        triggers: ClassVar = [pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"Booking #{self.pk}"


class LedgerEntry(models.Model):
    transaction = models.ForeignKey(LedgerTransaction, on_delete=models.PROTECT, related_name="entries")
    account = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="entries")
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    amount = RawAmountField(help_text="Smallest units; positive comes in")

    class Meta:
        verbose_name_plural = "ledger entries"
        constraints: ClassVar = [
            models.CheckConstraint(name="entry_moves_something", condition=~Q(amount=0)),
        ]
        indexes: ClassVar = [models.Index(name="entry_of_account", fields=["account", "id"])]
        triggers: ClassVar = [
            pgtrigger.Protect(name="append_only", operation=pgtrigger.Update | pgtrigger.Delete),
            pgtrigger.Trigger(
                name="books_balance",
                operation=pgtrigger.Insert,
                when=pgtrigger.After,
                timing=pgtrigger.Deferred,
                func=(
                    "IF (SELECT sum(amount) FROM trading_ledgerentry"
                    " WHERE transaction_id = NEW.transaction_id AND asset_id = NEW.asset_id) <> 0 THEN"
                    " RAISE EXCEPTION 'ledger transaction % is not balanced in %',"
                    " NEW.transaction_id, NEW.asset_id USING ERRCODE = 'check_violation'; END IF;"
                    " RETURN NULL;"
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"Entry #{self.pk}"
