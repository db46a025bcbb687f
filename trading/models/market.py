"""Assets, markets with their last price, candles, the feed's place, and signals computed from candles."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from missions.models import Step
from trading.vocabulary import Side, SignalKind

PRICE_DIGITS, PRICE_PLACES = 30, 12


class Asset(models.Model):
    """A token. Amounts of it are integers of 10^-decimals."""

    mint = models.CharField(max_length=44, primary_key=True)
    symbol = models.CharField(max_length=12, unique=True)
    decimals = models.PositiveSmallIntegerField()
    checked_at = models.DateTimeField(null=True, blank=True, help_text="When its safety was last asked for")
    verified = models.BooleanField(default=False)
    mint_authority_disabled = models.BooleanField(default=False, help_text="Nobody can make more of it")
    freeze_authority_disabled = models.BooleanField(default=False, help_text="Nobody can freeze what we hold")
    liquidity_usd = models.DecimalField(max_digits=20, decimal_places=2, null=True, blank=True)

    def __str__(self) -> str:
        return self.symbol


class Market(models.Model):
    """A base token against a quote token, with the newest price in whole quote per whole base token."""

    name = models.CharField(max_length=25, primary_key=True)
    base = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="market_bases")
    quote = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    price = models.DecimalField(max_digits=PRICE_DIGITS, decimal_places=PRICE_PLACES, null=True)
    price_at = models.DateTimeField(null=True, help_text="Market time of the price")
    received_at = models.DateTimeField(null=True, help_text="Wall time at which we had it")
    open = models.BooleanField(default=True, help_text="Whether entries are possible")

    class Meta:
        ordering: ClassVar = ["name"]
        constraints: ClassVar = [
            models.CheckConstraint(name="market_price_is_positive", condition=Q(price__isnull=True) | Q(price__gt=0))
        ]

    def __str__(self) -> str:
        return self.name


class Candle(models.Model):
    market = models.ForeignKey(Market, on_delete=models.PROTECT, related_name="candles")
    start = models.DateTimeField(help_text="Market time")
    seconds = models.PositiveIntegerField()
    open = models.DecimalField(max_digits=PRICE_DIGITS, decimal_places=PRICE_PLACES)
    high = models.DecimalField(max_digits=PRICE_DIGITS, decimal_places=PRICE_PLACES)
    low = models.DecimalField(max_digits=PRICE_DIGITS, decimal_places=PRICE_PLACES)
    close = models.DecimalField(max_digits=PRICE_DIGITS, decimal_places=PRICE_PLACES)
    volume = models.DecimalField(max_digits=PRICE_DIGITS, decimal_places=PRICE_PLACES, default=0)
    received_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(name="candle_once_per_start", fields=["market", "start"])]
        indexes: ClassVar = [
            models.Index(name="candle_newest", fields=["market", "-start"]),
            models.Index(name="candle_received", fields=["received_at"]),
        ]

    def __str__(self) -> str:
        return f"{self.market_id} {self.start:%Y-%m-%d %H:%M:%S}"


class Feed(models.Model):
    """One row: where prices come from and how far they have been read, so that a restart goes on from here."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    source = models.CharField(max_length=300)
    bar_seconds = models.PositiveIntegerField()
    read = models.PositiveBigIntegerField(default=0, help_text="Candles read of a file")
    market_time = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(name="feed_is_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return self.source


class Signal(models.Model):
    """What an agent's analysis computed from candles."""

    market = models.ForeignKey(Market, on_delete=models.PROTECT, related_name="signals")
    step = models.ForeignKey(Step, on_delete=models.PROTECT, related_name="+")
    kind = models.CharField(max_length=16, choices=SignalKind)
    direction = models.CharField(max_length=4, choices=Side)
    strength = models.DecimalField(max_digits=4, decimal_places=3)
    confidence = models.DecimalField(max_digits=4, decimal_places=3)
    why = models.CharField(max_length=300)
    features = models.JSONField(default=dict)
    at = models.DateTimeField()
    market_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="signal_in_range",
                condition=Q(strength__gte=0, strength__lte=1, confidence__gte=0, confidence__lte=1),
            )
        ]
        indexes: ClassVar = [
            # facts: a market's signals of the last few candles
            models.Index(name="signal_of_market_newest", fields=["market", "-market_at"]),
            models.Index(name="signal_at", fields=["at"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.direction} {self.market_id}"
