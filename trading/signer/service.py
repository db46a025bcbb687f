"""What the signer does with a request: every check in its order, then the charge, then the signature.

How a request arrives is server's affair.
"""

import base64
import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from solders.signature import Signature

from trading.signer import effects, networks, quotes, transactions
from trading.signer.effects import Chain, ChainUnavailable
from trading.signer.keys import SigningKey
from trading.signer.limits import Book
from trading.signer.protocol import Intent, SignedAnswer, SignRequest, Status
from trading.signer.quotes import Quotes, QuoteUnavailable
from trading.signer.refusals import Refusal
from trading.signer.transactions import Rules, Unsigned

log = structlog.get_logger(__name__)

CONFIRMED_FOR_SECONDS = 60.0  # how long an RPC is believed to be the chain that it said
ASK_AGAIN_SECONDS = 1.0


class RightChain:
    """Whether the RPC serves the chain that the key is for."""

    def __init__(self, chain: Chain, *, genesis: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.chain = chain
        self.genesis = genesis
        self.doubt = "The chain hasn't been asked yet."
        self._clock = clock
        self._confirmed: float | None = None

    def confirm(self) -> None:
        """Ask, unless it said so within CONFIRMED_FOR_SECONDS.

        Raises:
            Refusal: wrong_chain.
            ChainUnavailable.
        """
        if self._confirmed is not None and self._clock() - self._confirmed < CONFIRMED_FOR_SECONDS:
            return
        self._confirmed = None
        try:
            said = self.chain.genesis_hash()
        except ChainUnavailable as exc:
            self.doubt = f"The chain doesn't answer: {exc}"
            raise
        if said != self.genesis:
            self.doubt = f"The RPC serves the chain {said[:44]}, but the key is for {self.genesis}."
            raise Refusal("wrong_chain", self.doubt)
        self.doubt = ""
        self._confirmed = self._clock()

    def confirm_at_last(self, stopping: threading.Event) -> None:
        """Ask until it is confirmed: at a start the RPC may not be up yet."""
        told = ""
        while not stopping.is_set():
            try:
                self.confirm()
                break
            except (ChainUnavailable, Refusal) as exc:
                if str(exc) != told:
                    log.warning("The chain isn't confirmed yet", action="signer_not_ready", why=self.doubt)
                told = str(exc)
            stopping.wait(ASK_AGAIN_SECONDS)


@dataclass(frozen=True, slots=True)
class Service:
    """A key with everything that stands before it.

    Args:
        market: what sales are held against.
        slippage_most_bps: how far below it a sale may go.
    """

    key: SigningKey
    rules: Rules
    book: Book
    right_chain: RightChain
    market: Quotes
    rent_most: int = effects.RENT_MOST
    slippage_most_bps: int = quotes.SLIPPAGE_MOST_BPS

    def status(self) -> Status:
        genesis, today, limits = self.right_chain.genesis, self.book.today(), self.book.limits
        return Status(
            address=self.key.address,
            network=networks.network_of(genesis) or "unknown",
            genesis=genesis,
            ready=not self.right_chain.doubt,
            reason=self.right_chain.doubt,
            day=today.day.isoformat(),
            spent=today.spent,
            spend_cap=limits.spend_cap,
            signatures=today.buys,
            signatures_a_day=limits.signatures_a_day,
            sales=today.sales,
            sales_a_day=limits.sales_a_day,
            slippage_most_bps=self.slippage_most_bps,
            priority_fee_most=self.rules.priority_fee_most,
            rent_most=self.rent_most,
            mints=sorted(limits.mints),
        )

    def sign(self, request: SignRequest) -> SignedAnswer:
        """Sign what passes every check. Asking again for the same message gives the same answer, charged once.

        Raises:
            Refusal: nothing was signed.
        """
        if request.genesis != self.right_chain.genesis:
            raise Refusal("wrong_genesis", f"This key is for the chain {self.right_chain.genesis}.")
        self.book.limits.check(request.intent)
        unsigned = transactions.decode(base64.b64decode(request.transaction))
        transactions.check(unsigned, rules=self.rules, intent=request.intent)
        digest = hashlib.sha256(unsigned.message_bytes).hexdigest()
        try:
            self.right_chain.confirm()
            if not self.book.charged(digest):  # a charged message passed before, and may have landed since
                self._check_effects(unsigned, request.intent)
        except ChainUnavailable as exc:
            raise Refusal("rpc_unavailable", f"The chain can't be asked: {exc}") from None
        except QuoteUnavailable as exc:
            raise Refusal("quote_unavailable", f"What a sale should bring can't be asked: {exc}") from None
        self.book.charge(digest, intent=request.intent)
        signature = self.key.sign(unsigned.message_bytes)
        return SignedAnswer(
            signature=str(Signature.from_bytes(signature)),
            transaction=base64.b64encode(unsigned.signed(wallet=self.key.address, signature=signature)).decode(),
        )

    def _check_effects(self, unsigned: Unsigned, intent: Intent) -> None:
        """What it does on the chain as it stands and, last since it costs a question, whether a sale is a fair one."""
        effects.check(
            unsigned, wallet=self.key.address, intent=intent, chain=self.right_chain.chain, rent_most=self.rent_most
        )
        if self.book.limits.sells(intent):
            quotes.check_sale(intent, quotes=self.market, slippage_most_bps=self.slippage_most_bps)
