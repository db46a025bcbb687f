"""FIFO lots, for whoever must say which purchase a sale gave away. Positions go by average cost, apart from these."""

from typing import ClassVar

from django.db import models
from django.db.models import F, Q

from tradeco.common.fields import RawAmountField
from trading.models.finding import Finding
from trading.models.ledger import Wallet
from trading.models.market import Asset
from trading.models.order import Fill


class Lot(models.Model):
    """What one purchase brought, and what of it is left. First in, first out, by wallet and asset."""

    fill = models.OneToOneField(Fill, on_delete=models.PROTECT, related_name="lot")
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+")
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    quantity = RawAmountField(help_text="Bought")
    cost = RawAmountField(help_text="Quote asset paid, fees and the network's fee inside")
    remaining = RawAmountField(help_text="Not sold yet")
    cost_remaining = RawAmountField(help_text="Cost of what isn't sold yet")

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="lot_remaining_within_quantity",
                condition=Q(remaining__gte=0, remaining__lte=F("quantity"), quantity__gt=0),
            ),
            models.CheckConstraint(
                name="lot_cost_remaining_within_cost",
                condition=Q(cost_remaining__gte=0, cost_remaining__lte=F("cost")),
            ),
        ]
        indexes: ClassVar = [
            # lots.book: what a sale takes, oldest purchase first
            models.Index(name="lot_unsold", fields=["wallet", "asset", "fill"], condition=Q(remaining__gt=0)),
        ]

    def __str__(self) -> str:
        return f"Lot of {self.fill}"


class LotSale(models.Model):
    """A sale's share of one lot. Without a lot: what was sold came into the wallet otherwise, at an unknown cost."""

    lot = models.ForeignKey(Lot, on_delete=models.PROTECT, null=True, related_name="sales")
    fill = models.ForeignKey(Fill, on_delete=models.PROTECT, related_name="lot_sales")
    quantity = RawAmountField(help_text="Sold of this lot")
    cost = RawAmountField(help_text="Quote asset that it had cost")
    proceeds = RawAmountField(help_text="Quote asset that it brought, fees and the network's fee deducted")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="lot_once_a_sale", fields=["fill", "lot"]),
            models.CheckConstraint(name="lot_sale_is_of_something", condition=Q(quantity__gt=0)),
        ]

    def __str__(self) -> str:
        return f"Sale of {self.quantity} by {self.fill}"


class LotWithdrawal(models.Model):
    """What left the wallet otherwise than by a sale, oldest purchase first: no disposal, and no lot any more."""

    finding = models.ForeignKey(Finding, on_delete=models.PROTECT, related_name="+")
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+")
    asset = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    quantity = RawAmountField(help_text="Taken from lots")
    after = models.ForeignKey(
        Fill, on_delete=models.PROTECT, related_name="+", help_text="The asset's newest fill then: its place among them"
    )
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="lot_withdrawal_once_a_finding", fields=["finding", "asset"]),
            models.CheckConstraint(name="lot_withdrawal_is_of_something", condition=Q(quantity__gt=0)),
        ]

    def __str__(self) -> str:
        return f"Withdrawal of {self.quantity} by finding #{self.finding_id}"
