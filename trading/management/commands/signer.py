"""manage.py signer: the process that holds the key, as `up` runs it."""

import signal
import threading
from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from tradeco.common.errors import DomainError
from trading import listing
from trading.signer import effects, hardening, keyfile, limits, networks, passphrase, place, quotes, transactions
from trading.signer.chain import RpcChain
from trading.signer.limits import Book, Limits
from trading.signer.networks import GENESIS, Network
from trading.signer.quotes import JupiterQuotes
from trading.signer.server import Server
from trading.signer.service import RightChain, Service
from trading.signer.transactions import Rules

log = structlog.get_logger(__name__)


class Command(BaseCommand):
    help = (
        "Runs the signer until SIGTERM: it alone holds the wallet's key, and signs within the limits given here. "
        "It asks the first node of TRADECO_RPC_URLS that answers; the market that sales are held against is asked at "
        "TRADECO_JUPITER_URL; the passphrase comes as for `wallet`."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--network", choices=list(Network), default=Network.SANDBOX)
        parser.add_argument(
            "--spend-cap",
            type=_usdc,
            default=_usdc(settings.SIGNER_SPEND_CAP),
            help="USDC a UTC day that buys may spend",
        )
        parser.add_argument(
            "--signatures", type=int, default=settings.SIGNER_SIGNATURES, help="signatures a UTC day for buys"
        )
        parser.add_argument("--sales", type=int, default=settings.SIGNER_SALES, help="signatures a UTC day for sales")
        parser.add_argument(
            "--slippage",
            type=_bps,
            default=_bps(settings.SIGNER_SLIPPAGE_MOST),
            help="basis points that a sale may go below the market",
        )
        parser.add_argument("--mint", action="append", default=[], help="a mint to allow beside the known ones")
        parser.add_argument("--priority-fee", type=int, default=transactions.PRIORITY_FEE_MOST, help="lamports at most")
        parser.add_argument("--rent", type=int, default=effects.RENT_MOST, help="lamports at most in new accounts")
        parser.add_argument("--socket", type=Path, help="where to listen (default: a short path made from the home)")

    def handle(self, *args: Any, **options: Any) -> None:
        hardening.harden()
        stopping = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
        try:
            self._run(stopping, **options)
        except (DomainError, ValueError) as refused:
            raise CommandError(str(refused)) from None

    def _run(self, stopping: threading.Event, *, network: str, **options: Any) -> None:
        chosen, home = Network(network), settings.TRADECO_HOME
        if not settings.RPC_URLS:
            raise CommandError("Set TRADECO_RPC_URLS to the address of a Solana node: https, or http on this machine.")
        state = place.state_path(home, chosen)
        key, genesis = keyfile.unlock(place.key_path(home, chosen), passphrase=passphrase.read(confirm=False))
        if genesis != GENESIS[chosen]:
            raise CommandError(f"The key of {chosen} is for another chain ({genesis}). Move it to where it belongs.")
        path = options["socket"] or place.socket_path(home)
        with limits.held(state):
            service = Service(
                key=key,
                rules=Rules(
                    wallet=key.address,
                    transfers_may_swap=chosen == Network.SANDBOX,
                    priority_fee_most=options["priority_fee"],
                ),
                book=Book(state, wallet=key.address, limits=_limits(options)),
                right_chain=RightChain(RpcChain(*settings.RPC_URLS), genesis=genesis),
                rent_most=options["rent"],
                market=JupiterQuotes(settings.JUPITER_URL, api=settings.JUPITER_API, api_key=settings.JUPITER_KEY),
                slippage_most_bps=options["slippage"],
            )
            log.info("The signer is up", action="signer_up", address=key.address, network=chosen, socket=str(path))
            Server(service, path=path).run(stopping)


def _limits(options: dict[str, Any]) -> Limits:
    return Limits(
        spend_cap=options["spend_cap"],
        signatures_a_day=options["signatures"],
        sales_a_day=options["sales"],
        mints=frozenset({*networks.MINTS, *_market_mints(), *options["mint"]}),
    )


def _market_mints() -> set[str]:
    """What this deployment trades: the markets that are set, or the one of its price file."""
    names = [settings.MARKET_NAME, *settings.MARKETS]
    return {listing.mint_of(name.upper().split("/")[0]) for name in names}


def _bps(text: str) -> int:
    """Basis points below the whole; argparse shows a ValueError as a wrong argument."""
    if not 0 <= (bps := int(text)) < quotes.BPS:
        raise ValueError(f"{text} basis points are no part of a price")
    return bps


def _usdc(text: str) -> int:
    """Raw units of a number of USDC; argparse shows a ValueError as a wrong argument."""
    try:
        return int(Decimal(text).scaleb(networks.USDC_DECIMALS))
    except (InvalidOperation, OverflowError):
        raise ValueError(f"{text} is no amount") from None
