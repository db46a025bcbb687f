"""Positions at average cost, and the equity measured at an interval."""

from decimal import Decimal
from typing import ClassVar

from django.db import models
from django.db.models import Q

from agents.models import Agent
from tradeco.common.fields import RawAmountField
from trading.models.ledger import Wallet
from trading.models.market import PRICE_DIGITS, PRICE_PLACES, Market
from trading.vocabulary import PositionStatus


class Position(models.Model):
    """What we hold of a market's base asset, and what it cost. Long only; one open a wallet and market."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="positions")
    market = models.ForeignKey(Market, on_delete=models.PROTECT, related_name="positions")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="positions")
    status = models.CharField(max_length=6, choices=PositionStatus, default=PositionStatus.OPEN)
    quantity = RawAmountField(help_text="Base asset held")
    cost = RawAmountField(help_text="Quote asset paid for what is held, fees inside")
    bought = RawAmountField(help_text="Quote asset paid in all, fees inside")
    realized = RawAmountField(default=0, help_text="Realised P&L in the quote asset, fees inside")
    fees = RawAmountField(default=0, help_text="Fees in the quote asset, in all")
    stop_price = models.DecimalField(max_digits=PRICE_DIGITS, decimal_places=PRICE_PLACES, null=True, blank=True)
    take_profit_price = models.DecimalField(max_digits=PRICE_DIGITS, decimal_places=PRICE_PLACES, null=True, blank=True)
    stop_loss = models.DecimalField(max_digits=8, decimal_places=6, help_text="Share of cost")
    take_profit = models.DecimalField(max_digits=8, decimal_places=6, help_text="Share of cost")
    hold_until = models.DateTimeField(null=True, blank=True, help_text="Market time")
    alarmed = models.BooleanField(default=False, help_text="Whether its open loss has raised the alarm")
    exits = models.PositiveSmallIntegerField(default=0, help_text="Protective exits asked for so far")
    opened_at = models.DateTimeField()
    opened_market_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_market_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="position_one_open_per_wallet_and_market",
                fields=["wallet", "market"],
                condition=Q(status="open"),
            ),
            models.CheckConstraint(
                name="position_closed_iff_empty",
                condition=Q(status="open", quantity__gt=0, closed_at__isnull=True)
                | Q(status="closed", quantity=0, closed_at__isnull=False),
            ),
        ]
        indexes: ClassVar = [models.Index(name="position_status_newest", fields=["status", "-id"])]

    def __str__(self) -> str:
        return f"{self.market_id} position #{self.pk}"

    @property
    def subject(self) -> str:
        return f"position:{self.pk}"

    def units(self, raw: int) -> Decimal:
        """Whole base tokens of a raw amount."""
        return Decimal(raw).scaleb(-self.market.base.decimals)


class EquitySnapshot(models.Model):
    """Cash plus marks at a moment. Amounts in the quote asset's smallest unit."""

    at = models.DateTimeField()
    market_at = models.DateTimeField(help_text="Market time: the axis of the equity line")
    cash = RawAmountField()
    positions = RawAmountField(help_text="Open positions at their marks")
    equity = RawAmountField()
    peak = RawAmountField(help_text="Highest equity so far")
    day_start = RawAmountField(null=True, help_text="What its UTC day began with; nothing: itself")
    realized = RawAmountField()
    unrealized = RawAmountField()

    class Meta:
        indexes: ClassVar = [models.Index(name="equity_newest", fields=["-at"])]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="equity_is_cash_plus_marks",
                condition=Q(equity=models.F("cash") + models.F("positions")),
            )
        ]

    def __str__(self) -> str:
        return f"Equity at {self.at:%Y-%m-%d %H:%M:%S}"
