"""Where the company trades: the one place that turns settings into clients, once a process."""

import os
from contextlib import AbstractContextManager
from functools import lru_cache
from pathlib import Path

from django.conf import settings

from missions import policies
from tradeco.common import breakers
from trading.signer import keyfile, place
from trading.signer.client import SignerClient
from trading.signer.networks import GENESIS, Network
from trading.venues.chain import ChainVenue
from trading.venues.http import Guard
from trading.venues.jupiter import JupiterV1, JupiterV2, SwapApi
from trading.venues.prices import Candles, JupiterPrices
from trading.venues.rpc import SolanaRpc
from trading.venues.tokens import JupiterTokens


def venue() -> ChainVenue:
    """The venue on chain, with its clients; `settings.VENUE`."""
    return _venue(os.getpid())


def nodes() -> list[SolanaRpc]:
    """The Solana nodes that are asked; all of them must agree on what landed."""
    return _nodes(os.getpid())


def candles() -> Candles:
    return Candles(settings.CANDLES_URL, guard=guard("candles"))


def prices() -> JupiterPrices:
    return JupiterPrices(settings.JUPITER_URL, api_key=settings.JUPITER_KEY, guard=guard("prices"))


def tokens() -> JupiterTokens:
    return _tokens(os.getpid())


def signer() -> SignerClient:
    return SignerClient(place.socket_path(settings.TRADECO_HOME))


def genesis() -> str:
    """The hash that names the chain; a signature made for one is worth nothing on another."""
    return GENESIS[Network(settings.NETWORK)]


def key_file() -> Path:
    return place.key_path(settings.TRADECO_HOME, Network(settings.NETWORK))


def passphrase_file() -> Path:
    """Where the sandbox's passphrase is kept; a wallet with real money has its own from its owner."""
    return place.key_path(settings.TRADECO_HOME, Network.SANDBOX).with_suffix(".passphrase")


def address() -> str:
    """The public key of the wallet, from its key file; no secret is read."""
    return keyfile.describe(key_file()).address


def guard(name: str) -> Guard:
    """The breaker of that name, with the limits of the policy in force."""

    def make() -> AbstractContextManager[None]:
        return breakers.guard(name, _limits)

    return make


def _limits() -> breakers.Limits:
    _, policy = policies.current()
    return breakers.Limits(
        failures=policy.breaker_failures,
        window_seconds=policy.breaker_window_seconds,
        probe_after_seconds=policy.breaker_probe_after_seconds,
    )


# One set a process: a worker is forked, and connections must not be shared with its parent.


@lru_cache(maxsize=1)
def _venue(pid: int) -> ChainVenue:
    return ChainVenue(
        address=address(),
        genesis=genesis(),
        swaps=_swaps(),
        nodes=_nodes(pid),
        signer=signer(),
        priority_fee_most=settings.PRIORITY_FEE_MOST,
    )


@lru_cache(maxsize=1)
def _nodes(pid: int) -> list[SolanaRpc]:
    return [SolanaRpc(url, guard=guard(f"rpc_{n}")) for n, url in enumerate(settings.RPC_URLS, 1)]


@lru_cache(maxsize=1)
def _tokens(pid: int) -> JupiterTokens:
    return JupiterTokens(settings.JUPITER_URL, api_key=settings.JUPITER_KEY, guard=guard("tokens"))


def _swaps() -> SwapApi:
    made = JupiterV1 if settings.JUPITER_API == "v1" else JupiterV2
    return made(settings.JUPITER_URL, api_key=settings.JUPITER_KEY, guard=guard("jupiter"))


def forget() -> None:
    """Drop this process's clients, so that the next use makes them from the settings anew."""
    for made in (_venue, _nodes, _tokens):
        made.cache_clear()
