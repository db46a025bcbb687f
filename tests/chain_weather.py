"""What tests of the money path do to a company on a chain, and what must hold whatever happened."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.test import override_settings
from solders.pubkey import Pubkey

from missions.models import Step
from tests import cast
from tests.chain_company import ChainCompany
from tradeco.common import breakers, wiring
from tradeco.common.models import Breaker
from trading import network
from trading.attempts import UNANSWERED_MAX
from trading.models import Attempt, Fill, Order
from trading.sandbox import methods_accounts, methods_chain, methods_transactions
from trading.sandbox.catalogue import Catalogue
from trading.sandbox.control import Control
from trading.sandbox.faults import Faults
from trading.sandbox.jupiter import Jupiter
from trading.sandbox.rpc import Rpc
from trading.sandbox.server import Server

SEND = "sendTransaction"
PAST_EXPIRY = 151 + 34  # slots after which a blockhash of now is provably over, and finalized


def agreed(chain: ChainCompany) -> None:
    """Every swap on the chain's own ledger is a fill that stands, once and with its amounts; balances agree."""
    swaps = Counter((row["signature"], row["swap"]["amount_in"], row["swap"]["amount_out"]) for row in chain.landed())
    fills = Counter(Fill.objects.filter(reversed_at=None).values_list("attempt__reference", "amount_in", "amount_out"))
    assert swaps == fills
    assert chain.held() == chain.books()


def under_way() -> bool:
    return Step.objects.filter(status__in=("queued", "claimed", "executing")).exists()


def come_back() -> None:
    """The breakers' waiting time is over."""
    Breaker.objects.all().delete()
    breakers.forget()


@contextmanager
def second_node(chain: ChainCompany) -> Iterator[Faults]:
    """The company asks two nodes from now on; the second one serves the same chain, with faults of its own."""
    sandbox, faults = chain.sandbox, Faults()
    methods = {**methods_chain.METHODS, **methods_accounts.METHODS, **methods_transactions.METHODS}
    server = Server(
        rpc=Rpc(sandbox.chain, methods=methods, faucet=sandbox.faucet, faults=faults),
        jupiter=Jupiter(sandbox.chain, faults, waits=False),
        catalogue=Catalogue(sandbox.chain, sandbox.prices),
        control=Control(sandbox),
        faults=faults,
        api_key=None,
        controllable=False,
    )
    url = server.start("127.0.0.1", 0)
    try:
        with override_settings(RPC_URLS=[sandbox.url, url]):
            _anew()
            yield faults
    finally:
        server.stop()
        _anew()


def _anew() -> None:
    network.forget()
    wiring.load.cache_clear()


def paid_in(chain: ChainCompany, *, lamports: int = 0, **tokens: int) -> str:
    """Somebody sends the wallet money, by symbols' raw amounts; it lands in the next slot."""
    owed = {_token(chain, symbol): amount for symbol, amount in tokens.items()}
    return chain.sandbox.faucet.give(Pubkey.from_string(chain.address), lamports=lamports, tokens=owed, note="somebody")


def taken_out(chain: ChainCompany, *, symbol: str | None = None, amount: int) -> str:
    """The wallet's owner moves money away by hand; `symbol` None: lamports."""
    token = None if symbol is None else _token(chain, symbol)
    return chain.sandbox.faucet.take(
        Pubkey.from_string(chain.address), None, token=token, amount=amount, note="by hand"
    )


def _token(chain: ChainCompany, symbol: str) -> Any:
    from trading.sandbox import tokens

    return chain.sandbox.chain.desk.pools.tokens[tokens.mint_of(symbol)]


def buy() -> None:
    proposal = cast.submit(cast.buy("JUP/USDC", "100.00"))
    assert proposal.status == "approved", proposal.reason


def statuses() -> list[str]:
    return list(Attempt.objects.order_by("n").values_list("status", flat=True))


def into_doubt(chain: ChainCompany) -> None:
    """The node is away for so long that a person is asked."""
    for method in ("getEpochInfo", "getBlockHeight", "getSignatureStatuses"):
        chain.sandbox.faults.add("drop", route=method)
    said = ""
    for _ in range(UNANSWERED_MAX + 1):
        if said != "indoubt":
            said = chain.visit()
    assert said == "indoubt"
    assert (Step.objects.get().status, Order.objects.get().status) == ("needs_reconciliation", "in_doubt")
    chain.sandbox.faults.clear()
    come_back()


def sent(chain: ChainCompany) -> None:
    buy()
    chain.sandbox.faults.add("drop", route="getSignatureStatuses")  # sent, and the look afterwards fails
    assert chain.visit() == "park"
    chain.sandbox.faults.clear()
    come_back()
