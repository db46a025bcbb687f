"""Opening the books: assets, markets, the wallet with its accounts, opening cash as a ledger entry. Runs again
without effect; refuses when the settings ask for other prices than the company was opened with.
"""

from django.conf import settings

from missions import policies
from tradeco.common import db
from tradeco.common.errors import DomainError
from trading import feeds, ledger, money
from trading.feeds import Candles
from trading.models import Account, Asset, Feed, LedgerTransaction, Market, Wallet
from trading.portfolio import WALLET
from trading.vocabulary import AccountKind, LedgerKind

USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8wEGGkZwyTDt1v"
KNOWN = {  # symbol: mint, decimals
    "USDC": (USDC, 6),
    "SOL": ("So11111111111111111111111111111111111111112", 9),
    "JUP": ("JUPyiwrYJFskUPiHa7hkeR8VUtAeFoSYbKedZNsDvCN", 6),
    "BONK": ("DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263", 5),
    "WIF": ("EKpQGSJtjMFqKZ9KQanSqYXRcF8fBopzLHYxdM65zcjm", 6),
}
UNKNOWN_DECIMALS = 9  # of a token that only a price file names
OPENING = "opening"


class QuoteNotUsdc(DomainError):
    code = "quote_not_usdc"
    title = "Markets are quoted in USDC"


def open_books() -> None:
    """Make what is missing.

    Raises:
        FeedChanged: the company's prices come from another source than the settings name.
        UnusableCsv: the price file has no usable candle.
        QuoteNotUsdc: TRADECO_MARKET is quoted in something else.
    """
    candles = feeds.open_feed(
        seed=settings.MARKET_SEED,
        csv=settings.MARKET_CSV,
        market=settings.MARKET_NAME,
        speed=settings.MARKET_SPEED,
    )
    now = db.now()
    with db.transaction():
        feed, _ = Feed.objects.get_or_create(
            id=1, defaults={"source": candles.source, "bar_seconds": candles.bar_seconds}
        )
        feeds.require_same(candles, feed)
        _list_markets(candles)
        wallet, _ = Wallet.objects.get_or_create(name=WALLET)
        _open_accounts(wallet)
        _, policy = policies.current()
        cash = money.raw(policy.starting_cash_usd, money.USDC_DECIMALS)
        if cash and not LedgerTransaction.objects.filter(reference=OPENING).exists():
            ledger.book(
                reference=OPENING,
                kind=LedgerKind.OPENING,
                wallet=wallet,
                lines=[(AccountKind.WALLET, USDC, cash), (AccountKind.CAPITAL, USDC, -cash)],
                now=now,
                market_at=None,
                memo="Paper money to begin with",
            )


def _list_markets(candles: Candles) -> None:
    for name in candles.markets:
        base, quote = name.split("/")
        if quote != "USDC":
            raise QuoteNotUsdc(f"TRADECO_MARKET is {name}; write it as {base}/USDC.")
        for symbol in (quote, base):
            mint, decimals = KNOWN.get(symbol, (f"demo:{symbol}", UNKNOWN_DECIMALS))
            Asset.objects.get_or_create(mint=mint, defaults={"symbol": symbol, "decimals": decimals})
        Market.objects.get_or_create(
            name=name,
            defaults={
                "base": Asset.objects.get(symbol=base),
                "quote": Asset.objects.get(symbol=quote),
            },
        )


def _open_accounts(wallet: Wallet) -> None:
    """Every drawer for every asset; the quote's first, since locks are taken in the order of keys."""
    assets = sorted(Asset.objects.all(), key=lambda asset: (asset.mint != USDC, asset.mint))
    Account.objects.bulk_create(
        [Account(wallet=wallet, kind=kind, asset=asset) for asset in assets for kind in AccountKind],
        ignore_conflicts=True,
    )
