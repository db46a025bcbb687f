"""An order, its attempts at the venue, and its fill.

Intent is committed before effect: an attempt's reference stands in the database before anything is sent, and an
order whose outcome can't be known ends in doubt, never in a retry.
"""

from typing import ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from agents.models import Agent
from missions.models import Step
from tradeco.common.fields import RawAmountField
from trading.models.ledger import Wallet
from trading.models.market import PRICE_DIGITS, PRICE_PLACES, Asset, Market
from trading.models.position import Position
from trading.vocabulary import AttemptStatus, OrderStatus, Side

OPEN_ATTEMPT = (AttemptStatus.QUOTED, AttemptStatus.SIGNED, AttemptStatus.BROADCAST, AttemptStatus.IN_DOUBT)
SENT_ATTEMPT = (AttemptStatus.SIGNED, AttemptStatus.BROADCAST, AttemptStatus.IN_DOUBT)
"""Attempts that may have reached the venue: a signature stands, and nothing says what became of it."""
LIVE_ORDER = (OrderStatus.RESERVED, OrderStatus.SUBMITTED, OrderStatus.IN_DOUBT)


class Order(models.Model):
    MOVES: ClassVar = {
        OrderStatus.RESERVED: frozenset(
            {OrderStatus.SUBMITTED, OrderStatus.FAILED, OrderStatus.EXPIRED, OrderStatus.CANCELLED}
        ),
        OrderStatus.SUBMITTED: frozenset(
            {
                OrderStatus.FILLED,
                OrderStatus.FAILED,
                OrderStatus.EXPIRED,
                OrderStatus.IN_DOUBT,
                OrderStatus.RESERVED,
            }
        ),
        OrderStatus.IN_DOUBT: frozenset(
            {OrderStatus.FILLED, OrderStatus.FAILED, OrderStatus.EXPIRED, OrderStatus.RESERVED}
        ),
        OrderStatus.FILLED: frozenset({OrderStatus.FAILED}),  # what was confirmed vanished from the chain
    }

    step = models.OneToOneField(Step, on_delete=models.PROTECT, related_name="order")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+")
    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="+")
    market = models.ForeignKey(Market, on_delete=models.PROTECT, related_name="orders")
    position = models.ForeignKey(Position, on_delete=models.PROTECT, null=True, blank=True, related_name="orders")
    side = models.CharField(max_length=4, choices=Side)
    asset_in = models.ForeignKey(Asset, on_delete=models.PROTECT, related_name="+")
    amount_in = RawAmountField(help_text="What is given, fee included; reserved until the order ends")
    slippage_bps = models.PositiveIntegerField()
    stop_loss = models.DecimalField(max_digits=8, decimal_places=6, null=True, blank=True)
    take_profit = models.DecimalField(max_digits=8, decimal_places=6, null=True, blank=True)
    status = models.CharField(max_length=10, choices=OrderStatus, default=OrderStatus.RESERVED)
    code = models.CharField(max_length=60, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(name="order_gives_something", condition=Q(amount_in__gt=0)),
            models.CheckConstraint(
                name="order_ended_iff_not_live",
                condition=Q(status__in=LIVE_ORDER, ended_at__isnull=True)
                | (~Q(status__in=LIVE_ORDER) & Q(ended_at__isnull=False)),
            ),
        ]
        indexes: ClassVar = [
            models.Index(name="order_live", fields=["market"], condition=Q(status__in=[s.value for s in LIVE_ORDER])),
            models.Index(name="order_status_newest", fields=["status", "-id"]),
        ]

    def __str__(self) -> str:
        return f"{self.side} {self.market_id} (order #{self.pk})"

    @property
    def subject(self) -> str:
        return f"order:{self.pk}"


WITH_ORDER = (
    "order__wallet",
    "order__asset_in",
    "order__market__base",
    "order__market__quote",
    "order__step__mission__proposal",
)
"""What whoever settles an attempt reads with it."""

_ENDINGS = (
    AttemptStatus.CONFIRMED,
    AttemptStatus.FINALIZED,
    AttemptStatus.FAILED_ONCHAIN,
    AttemptStatus.REFUSED,
    AttemptStatus.EXPIRED,
    AttemptStatus.IN_DOUBT,
)


class Attempt(models.Model):
    """One try at the venue. What is sent, and the `reference` it is known by, stand here before it is sent."""

    MOVES: ClassVar = {
        AttemptStatus.QUOTED: frozenset({AttemptStatus.SIGNED, AttemptStatus.REFUSED, AttemptStatus.EXPIRED}),
        AttemptStatus.SIGNED: frozenset({AttemptStatus.BROADCAST, *_ENDINGS}),
        AttemptStatus.BROADCAST: frozenset(_ENDINGS),
        AttemptStatus.IN_DOUBT: frozenset(_ENDINGS) - {AttemptStatus.IN_DOUBT},
        AttemptStatus.CONFIRMED: frozenset(
            {AttemptStatus.FINALIZED, AttemptStatus.EXPIRED, AttemptStatus.FAILED_ONCHAIN}
        ),
    }

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="attempts")
    n = models.PositiveSmallIntegerField()
    reference = models.CharField(max_length=100, unique=True, null=True, blank=True, help_text="The signature on chain")
    payload = models.BinaryField(null=True, blank=True, help_text="The signed transaction, sent as it is")
    valid_until = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Last block height at which it can land"
    )
    status = models.CharField(max_length=14, choices=AttemptStatus, default=AttemptStatus.QUOTED)
    quote = models.JSONField(encoder=DjangoJSONEncoder)
    sends = models.PositiveSmallIntegerField(default=0)
    unanswered = models.PositiveSmallIntegerField(default=0, help_text="Looks in a row that told nothing")
    slot = models.PositiveBigIntegerField(null=True, blank=True, help_text="Where it landed")
    evidence = models.JSONField(default=dict, blank=True, encoder=DjangoJSONEncoder)
    code = models.CharField(max_length=60, blank=True)
    created_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="attempt_numbered_once", fields=["order", "n"]),
            models.UniqueConstraint(
                name="order_one_open_attempt",
                fields=["order"],
                condition=Q(status__in=[s.value for s in OPEN_ATTEMPT]),
            ),
            models.CheckConstraint(
                name="attempt_signed_before_sent", condition=Q(sends=0) | Q(reference__isnull=False)
            ),
        ]
        indexes: ClassVar = [
            # reconciliation: what isn't final yet
            models.Index(
                name="attempt_unsettled",
                fields=["id"],
                condition=Q(status__in=[s.value for s in (*OPEN_ATTEMPT, AttemptStatus.CONFIRMED)]),
            ),
        ]

    def __str__(self) -> str:
        return f"Attempt {self.n} of order #{self.order_id}"


class Fill(models.Model):
    """What the venue gave, in raw amounts; once per attempt."""

    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="fills")
    attempt = models.OneToOneField(Attempt, on_delete=models.PROTECT, related_name="fill")
    amount_in = RawAmountField(help_text="Left the wallet, fee included")
    amount_out = RawAmountField(help_text="Came into the wallet, fee deducted")
    fee_quote = RawAmountField(help_text="Fee in the quote asset")
    price = models.DecimalField(max_digits=PRICE_DIGITS, decimal_places=PRICE_PLACES)
    network_fee = RawAmountField(default=0, help_text="Lamports that the network took")
    rent = RawAmountField(default=0, help_text="Lamports deposited for accounts that it opened")
    network_fee_quote = RawAmountField(default=0, help_text="The network's fee in the quote asset, at SOL's price then")
    cost_quote = RawAmountField(null=True, blank=True, help_text="Cost of what a sale gave away")
    realized_quote = RawAmountField(null=True, blank=True, help_text="Realised P&L of a sale, fees inside")
    reversed_at = models.DateTimeField(null=True, blank=True, help_text="When it turned out to have vanished")
    at = models.DateTimeField()
    market_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(name="fill_newest", fields=["-at"])]

    def __str__(self) -> str:
        return f"Fill of order #{self.order_id}"
