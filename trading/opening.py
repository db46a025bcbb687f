"""Opening the books: assets, markets, the wallet with its accounts. Runs again without effect, and needs no network.

Paper money is an opening entry of the policy's amount; what a wallet on chain holds is booked by `reconciliation`, from
the chain itself. Refuses where the settings ask for another network, other prices or another wallet than before.
"""

import secrets

from django.conf import settings
from pydantic import SecretStr

from missions import policies
from tradeco.common import db
from tradeco.common.errors import DomainError
from trading import feeds, ledger, listing, money, network
from trading.feeds import Feed
from trading.models import Account, Asset, LedgerTransaction, Market, Wallet
from trading.models import Feed as FeedRow
from trading.money import USDC
from trading.portfolio import WALLET
from trading.signer import keyfile
from trading.vocabulary import AccountKind, LedgerKind

OPENING = "opening"
PAPER = "paper"


class QuoteNotUsdc(DomainError):
    code = "quote_not_usdc"
    title = "Markets are quoted in USDC"


class NetworkChanged(DomainError):
    code = "network_changed"
    title = "This company trades somewhere else"


class WalletMissing(DomainError):
    code = "wallet_missing"
    title = "There is no wallet to trade with"


def open_books() -> None:
    """Make what is missing.

    Raises:
        NetworkChanged: the company's wallet is on another network, or another one than the key file's.
        WalletMissing: no key was made for this network yet.
        FeedChanged: the company's prices come from another source than the settings name.
        UnusableCsv: the price file has no usable candle.
        QuoteNotUsdc: a market is quoted in something else.
    """
    feed = feeds.open_feed()
    address = _address()
    with db.transaction():
        row, _ = FeedRow.objects.get_or_create(id=1, defaults={"source": feed.source, "bar_seconds": feed.bar_seconds})
        wallet, _ = Wallet.objects.get_or_create(
            name=WALLET, defaults={"network": settings.NETWORK, "address": address}
        )
        _require_same_wallet(wallet, address)
        feeds.require_same(feed, row)
        _list_markets(feed)
        _open_accounts(wallet)
        if settings.NETWORK == PAPER:
            _pay_in(wallet)


def make_demo_wallet() -> None:
    """A key for the sandbox's play money, with a passphrase kept beside it; never for a network with real money.

    None where the books have a wallet already, as after a restore into another folder: its own key must be put there.
    """
    if not network.key_file().exists() and Wallet.objects.exclude(address="").exists():
        return
    passphrase, file = network.passphrase_file(), network.key_file()
    if not passphrase.exists():
        passphrase.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        passphrase.touch(mode=0o600)
        passphrase.write_text(secrets.token_urlsafe(32))
    if not file.exists():
        keyfile.create(file, genesis=network.genesis(), passphrase=SecretStr(passphrase.read_text()))


def _address() -> str:
    if settings.NETWORK == PAPER:
        return ""
    if not network.key_file().exists():
        ours = Wallet.objects.exclude(address="").values_list("address", flat=True).first()
        make = f"Make one: manage.py wallet create --network {settings.NETWORK}"
        back = f"The books are those of {ours}: put its key file and passphrase there."
        raise WalletMissing(f"There is no key at {network.key_file()}. {back if ours else make}")
    return network.address()


def _require_same_wallet(wallet: Wallet, address: str) -> None:
    if wallet.network != settings.NETWORK:
        raise NetworkChanged(
            f"This company trades on {wallet.network}, but TRADECO_NETWORK is {settings.NETWORK}."
            f" Set TRADECO_NETWORK={wallet.network}, or start another company with its own folder: set TRADECO_HOME."
        )
    if wallet.address != address:
        raise NetworkChanged(
            f"This company's wallet is {wallet.address}, but {network.key_file()} is for {address}."
            " Put the right key back."
        )


def _pay_in(wallet: Wallet) -> None:
    _, policy = policies.current()
    cash = money.raw(policy.starting_cash_usd, money.USDC_DECIMALS)
    if cash and not LedgerTransaction.objects.filter(reference=OPENING).exists():
        ledger.book(
            reference=OPENING,
            kind=LedgerKind.OPENING,
            wallet=wallet,
            lines=[(AccountKind.WALLET, USDC, cash), (AccountKind.CAPITAL, USDC, -cash)],
            now=db.now(),
            market_at=None,
            memo="Paper money to begin with",
        )


def _list_markets(feed: Feed) -> None:
    _list_asset("USDC")
    _list_asset("SOL")  # what the network takes is paid in it
    for name in feed.markets:
        base, quote = name.split("/")
        if quote != "USDC":
            raise QuoteNotUsdc(f"{name} is quoted in {quote}; write it as {base}/USDC.")
        Market.objects.get_or_create(
            name=name, defaults={"base": _list_asset(base), "quote": Asset.objects.get(mint=USDC)}
        )


def _list_asset(symbol: str) -> Asset:
    asset, _ = Asset.objects.get_or_create(
        mint=listing.mint_of(symbol), defaults={"symbol": symbol, "decimals": listing.decimals_of(symbol)}
    )
    return asset


def _open_accounts(wallet: Wallet) -> None:
    """Every drawer for every asset; the quote's first, since locks are taken in the order of keys."""
    assets = sorted(Asset.objects.all(), key=lambda asset: (asset.mint != USDC, asset.mint))
    Account.objects.bulk_create(
        [Account(wallet=wallet, kind=kind, asset=asset) for asset in assets for kind in AccountKind],
        ignore_conflicts=True,
    )
