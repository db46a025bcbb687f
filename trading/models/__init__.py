"""The rows of trading, a file a subject."""

from trading.models.finding import Agreement, Finding
from trading.models.ledger import Account, LedgerEntry, LedgerTransaction, Wallet
from trading.models.lot import Lot, LotSale, LotWithdrawal
from trading.models.market import Asset, Candle, Feed, Market, Signal
from trading.models.order import Attempt, Fill, Order
from trading.models.paper import PaperExecution
from trading.models.position import EquitySnapshot, Position

__all__ = [
    "Account",
    "Agreement",
    "Asset",
    "Attempt",
    "Candle",
    "EquitySnapshot",
    "Feed",
    "Fill",
    "Finding",
    "LedgerEntry",
    "LedgerTransaction",
    "Lot",
    "LotSale",
    "LotWithdrawal",
    "Market",
    "Order",
    "PaperExecution",
    "Position",
    "Signal",
    "Wallet",
]
