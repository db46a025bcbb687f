"""Trading's words: sides, states of orders, attempts and positions, accounts of the ledger."""

from django.db import models


class Side(models.TextChoices):
    BUY = "buy", "Buy"
    SELL = "sell", "Sell"


class OrderStatus(models.TextChoices):
    RESERVED = "reserved", "Reserved"
    SUBMITTED = "submitted", "Submitted"
    FILLED = "filled", "Filled"
    FAILED = "failed", "Failed"
    EXPIRED = "expired", "Expired"
    IN_DOUBT = "in_doubt", "In doubt"
    CANCELLED = "cancelled", "Cancelled"


class AttemptStatus(models.TextChoices):
    QUOTED = "quoted", "Quoted"
    SENT = "sent", "Sent, or about to be"
    CONFIRMED = "confirmed", "Confirmed"
    FAILED = "failed", "Refused by the venue"
    EXPIRED = "expired", "Proven unsent"
    IN_DOUBT = "in_doubt", "In doubt"


class PositionStatus(models.TextChoices):
    OPEN = "open", "Open"
    CLOSED = "closed", "Closed"


class AccountKind(models.TextChoices):
    WALLET = "wallet", "Wallet"
    CAPITAL = "capital", "Capital paid in"
    VENUE = "venue", "Exchanged at the venue"
    FEES = "fees", "Fees paid"


class LedgerKind(models.TextChoices):
    OPENING = "opening", "Opening cash"
    FILL = "fill", "Fill"


class SignalKind(models.TextChoices):
    MOMENTUM = "momentum", "Momentum"
    MEAN_REVERSION = "mean_reversion", "Mean reversion"
    BREAKOUT = "breakout", "Breakout"
