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
    QUOTED = "quoted", "Quoted, not signed"
    SIGNED = "signed", "Signed, about to be sent"
    BROADCAST = "broadcast", "Sent"
    CONFIRMED = "confirmed", "Confirmed"
    FINALIZED = "finalized", "Final"
    FAILED_ONCHAIN = "failed_onchain", "Failed at the venue"
    REFUSED = "refused", "Refused before it was taken"
    EXPIRED = "expired", "Proven not to have landed"
    IN_DOUBT = "in_doubt", "In doubt"


class PositionStatus(models.TextChoices):
    OPEN = "open", "Open"
    CLOSED = "closed", "Closed"


class AccountKind(models.TextChoices):
    WALLET = "wallet", "Wallet"
    CAPITAL = "capital", "Capital paid in"
    VENUE = "venue", "Exchanged at the venue"
    FEES = "fees", "Fees paid"
    NETWORK = "network", "Fees of the network"
    RENT = "rent", "Deposits for accounts on chain"
    DRIFT = "drift", "Moved by hand"


class LedgerKind(models.TextChoices):
    OPENING = "opening", "Opening cash"
    FILL = "fill", "Fill"
    FEE = "fee", "Fee of a failed transaction"
    REVERSAL = "reversal", "A fill that vanished"
    CORRECTION = "correction", "A fill that landed in another block"
    MOVEMENT = "movement", "Moved by hand"


class FindingKind(models.TextChoices):
    UNKNOWN_SIGNATURE = "unknown_signature", "Signed with our key, and not by us"
    MOVEMENT = "movement", "Moved by somebody else"
    BALANCE_DRIFT = "balance_drift", "The chain holds another amount than the books"
    VANISHED = "vanished", "A confirmed trade is gone from the chain"


class SignalKind(models.TextChoices):
    MOMENTUM = "momentum", "Momentum"
    MEAN_REVERSION = "mean_reversion", "Mean reversion"
    BREAKOUT = "breakout", "Breakout"
