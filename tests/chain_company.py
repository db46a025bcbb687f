"""A company on a chain: a sandbox in a thread, the real signer with a key of its own, the books opened from the chain.

    def test_…(chain: ChainCompany):
        proposal = cast.submit(cast.buy())
        chain.work()                      # visits and slots in turn, until nothing is left to do
        chain.sandbox.ledger()            # what really happened

The sandbox's clock stands still but for `chain.slots(n)` and `chain.work()`; its prices stand but for `chain.price()`.
"""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.conf import settings
from django.test import override_settings
from pydantic import SecretStr

from missions import execution
from missions.models import Step
from tests import cast
from tests.sandbox_chain import DOLLAR, LAMPORTS, PRICES, running_sandbox
from tradeco.common import breakers, db, wiring
from trading import network, reconciliation, safety
from trading.models import Account, Wallet
from trading.sandbox.main import Sandbox
from trading.signer import keyfile, networks, place
from trading.signer.chain import RpcChain
from trading.signer.limits import Book, Limits
from trading.signer.quotes import JupiterQuotes
from trading.signer.server import Server
from trading.signer.service import RightChain, Service
from trading.signer.transactions import Rules

PASSPHRASE = SecretStr("a passphrase of the tests")
CHEAP = 2**10  # of scrypt: the key protects nothing here


@dataclass
class ChainCompany:
    sandbox: Sandbox
    address: str

    def slots(self, count: int = 1) -> None:
        self.sandbox.advance(count)

    def price(self, market: str, price: Decimal | str) -> None:
        """The pools' price, and the one that the company knows."""
        self.sandbox.prices.pin(market, Decimal(price))
        cast.set_price(market, price)

    def visit(self) -> str:
        """One visit of the next step that is under way or waiting, whenever it would be due."""
        Step.objects.filter(finished_at=None).update(run_after=cast.later(seconds=-1))
        return execution.run(cast.claim())

    def work(self, *, visits: int = 40) -> list[str]:
        """Visit and let a slot pass, until no step is left under way; how each visit ended."""
        said = []
        while Step.objects.filter(status__in=("queued", "claimed", "executing")).exists() and len(said) < visits:
            said.append(self.visit())
            self.slots()
        return said

    def reconcile(self) -> dict[str, Any]:
        return reconciliation.run(now=db.now(), limit=100)

    def held(self) -> dict[str, int]:
        """Raw amounts on chain by mint, of everything that the company lists."""
        from trading import stocktaking

        return stocktaking.holdings(network.nodes()[0], Wallet.objects.get())

    def books(self) -> dict[str, int]:
        rows = Account.objects.filter(kind="wallet").values_list("asset_id", "balance")
        return dict(rows)

    def landed(self) -> list[dict[str, Any]]:
        """Swaps of our wallet that the chain's own ledger holds, failed ones left out."""
        return [row for row in self.sandbox.ledger() if row.get("swap") and row["err"] is None]


@contextlib.contextmanager
def opened(folder: Path, **options: Any) -> Iterator[ChainCompany]:
    """The company of `cast`, whose wallet is on a sandbox of its own; `options` are the sandbox's."""
    with running_sandbox(**options) as sandbox, _configured(folder, sandbox.url), _signing(folder) as address:
        sandbox.fund(address, usdc=10_000 * DOLLAR, lamports=LAMPORTS)
        cast.open_company()
        for market, price in PRICES.items():
            cast.set_price(market, price)
        assert reconciliation.run(now=db.now(), limit=100)["opened"]
        safety.run(now=db.now(), limit=10)
        yield ChainCompany(sandbox, address)


@contextlib.contextmanager
def _configured(folder: Path, url: str) -> Iterator[None]:
    with override_settings(
        NETWORK="sandbox",
        TRADECO_HOME=folder,
        RPC_URLS=[url],
        JUPITER_URL=url,
        CANDLES_URL=url,
        VENUE="trading.network.venue",
        FEED="trading.feeds.served",
    ):
        _forget()
        try:
            yield
        finally:
            _forget()


def _forget() -> None:
    network.forget()
    wiring.load.cache_clear()
    breakers.forget()


@contextlib.contextmanager
def _signing(folder: Path) -> Iterator[str]:
    """The real signer on its real socket, in a thread of this process."""
    home: Path = settings.TRADECO_HOME
    path = place.key_path(home, networks.Network.SANDBOX)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    keyfile.create(path, genesis=network.genesis(), passphrase=PASSPHRASE, cost=CHEAP)
    key, genesis = keyfile.unlock(path, passphrase=PASSPHRASE)
    limits = Limits(spend_cap=10**15, signatures_a_day=100_000, mints=frozenset(networks.MINTS))
    service = Service(
        key=key,
        rules=Rules(wallet=key.address, transfers_may_swap=True, priority_fee_most=settings.PRIORITY_FEE_MOST),
        book=Book(place.state_path(home, networks.Network.SANDBOX), wallet=key.address, limits=limits),
        right_chain=RightChain(RpcChain(settings.RPC_URLS[0]), genesis=genesis),
        market=JupiterQuotes(settings.JUPITER_URL, api=settings.JUPITER_API),
        rent_most=3_000_000,
    )
    stopping = threading.Event()
    socket = place.socket_path(home)
    thread = threading.Thread(target=Server(service, path=socket).run, args=[stopping], daemon=True)
    thread.start()
    try:
        yield key.address
    finally:
        stopping.set()
        thread.join(10)
        with contextlib.suppress(OSError):
            socket.parent.rmdir()
