"""The rows of trading, a file a subject."""

from trading.models.ledger import Account, LedgerEntry, LedgerTransaction, Wallet
from trading.models.market import Asset, Candle, Feed, Market, Signal
from trading.models.order import Attempt, Fill, Order
from trading.models.paper import PaperExecution
from trading.models.position import EquitySnapshot, Position

__all__ = [
    "Account",
    "Asset",
    "Attempt",
    "Candle",
    "EquitySnapshot",
    "Feed",
    "Fill",
    "LedgerEntry",
    "LedgerTransaction",
    "Market",
    "Order",
    "PaperExecution",
    "Position",
    "Signal",
    "Wallet",
]
