"""The paper venue's own book: what it executed, by the reference it was sent. The judge of what happened."""

from typing import ClassVar

from django.db import models

from tradeco.common.fields import RawAmountField
from trading.models.market import PRICE_DIGITS, PRICE_PLACES, Market
from trading.vocabulary import Side


class PaperExecution(models.Model):
    """One execution or refusal. The reference is unique: sent again, the same answer is given, whatever the price."""

    reference = models.CharField(max_length=100, unique=True)
    market = models.ForeignKey(Market, on_delete=models.PROTECT, related_name="+")
    side = models.CharField(max_length=4, choices=Side)
    refused = models.CharField(max_length=60, blank=True, help_text="Code of the refusal, if it was one")
    amount_in = RawAmountField()
    amount_out = RawAmountField()
    fee_quote = RawAmountField()
    price = models.DecimalField(max_digits=PRICE_DIGITS, decimal_places=PRICE_PLACES)
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        return self.reference
