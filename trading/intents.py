"""From a step's parameters to what the order gives: side, position, raw amount. Reads only; reserving is orders'."""

from dataclasses import dataclass
from decimal import Decimal

from django.conf import settings
from django.db.models import QuerySet

from missions.drafts import ClosePosition, ExecuteTrade, Params, ScalePosition
from tradeco.common.errors import DomainError
from trading import money
from trading.models import Account, Asset, Market, Position
from trading.portfolio import WALLET
from trading.vocabulary import AccountKind, PositionStatus, Side

KEPT_LAMPORTS = 5_000_000  # a transaction's fee and deposits, with room
ALL_OF_IT = Decimal("0.98")  # a sale of nearly the whole position sells all: dust can't be sold later


class MarketUnknown(DomainError):
    code = "market_unknown"
    title = "There is no such market"


class PositionMissing(DomainError):
    code = "position_missing"
    title = "There is no such open position"


class NothingToSell(DomainError):
    code = "nothing_to_sell"
    title = "All of this position is being sold already"


@dataclass(frozen=True, slots=True)
class Intent:
    """What an order would give: raw `amount_in` of `asset_in`, and the position that it concerns, if one stands."""

    market: Market
    side: Side
    position: Position | None
    asset_in: Asset
    amount_in: int


def read(params: Params) -> Intent:
    """What these parameters ask for, at the newest price.

    Raises:
        MarketUnknown, PositionMissing, NothingToSell
    """
    match params:
        case ExecuteTrade(side="buy"):
            return _buy(market_named(params.market), params.size_usd)
        case ExecuteTrade(side="sell"):
            return _sell(_position_on(market_named(params.market)), params.size_usd)
        case ClosePosition():
            return _sell(_position_of(params.position), None)
        case ScalePosition(direction="up"):
            return _buy(_position_of(params.position).market, params.size_usd)
        case ScalePosition():
            return _sell(_position_of(params.position), params.size_usd)
    raise AssertionError(f"{type(params).__name__} moves no money")


def market_of(params: Params) -> Market | None:
    """The market that the parameters concern, None where it doesn't exist."""
    if isinstance(params, ExecuteTrade):
        return _markets().filter(name=params.market.upper()).first()
    if isinstance(params, (ClosePosition, ScalePosition)):
        return _markets().filter(positions__pk=params.position).first()
    return None


def market_named(name: str) -> Market:
    market = _markets().filter(name=name.upper()).first()
    if market is None:
        raise MarketUnknown(f"There is no market {name}; GET /api/v1/prices/ lists them.")
    return market


def _markets() -> QuerySet[Market]:
    return Market.objects.select_related("base", "quote")


def _buy(market: Market, size_usd: Decimal) -> Intent:
    amount = money.raw(size_usd, market.quote.decimals)
    return Intent(market=market, side=Side.BUY, position=None, asset_in=market.quote, amount_in=amount)


def _sell(position: Position, size_usd: Decimal | None) -> Intent:
    """Sell a value out of a position, or all of what isn't reserved for another sale."""
    market = position.market
    account = Account.objects.get(wallet=WALLET, kind=AccountKind.WALLET, asset=market.base)
    # of SOL the wallet holds more than the position, for fees: that is nothing to sell a second time; and where the
    # reserve is gone, what a sale costs must be left
    kept = KEPT_LAMPORTS if market.base_id == money.NATIVE and settings.NETWORK != "paper" else 0
    unreserved = min(position.quantity, account.balance - kept) - account.reserved
    if unreserved <= 0:
        raise NothingToSell
    amount = unreserved
    if size_usd is not None and market.price is not None:
        asked = money.quantity(
            money.raw(size_usd, market.quote.decimals),
            price=market.price,
            base_decimals=market.base.decimals,
            quote_decimals=market.quote.decimals,
        )
        amount = unreserved if asked >= position.quantity * ALL_OF_IT else min(asked, unreserved)
    if amount <= 0:
        raise NothingToSell
    return Intent(market=market, side=Side.SELL, position=position, asset_in=market.base, amount_in=amount)


def _position_of(key: int) -> Position:
    return _require(_open().filter(pk=key).first(), f"There is no open position #{key}.")


def _position_on(market: Market) -> Position:
    return _require(_open().filter(market=market).first(), f"No position is open in {market.name}.")


def _open() -> QuerySet[Position]:
    return Position.objects.filter(wallet=WALLET, status=PositionStatus.OPEN).select_related(
        "market__base", "market__quote"
    )


def _require(position: Position | None, message: str) -> Position:
    if position is None:
        raise PositionMissing(message)
    return position
