"""The venue on chain: Jupiter quotes and builds, our signer signs, Solana's nodes carry and judge.

Whatever became of a signature is read from the chain by proof: landed from the transaction's own balances, never
landed from the nodes' finalized height. With several nodes, all of them must agree; one that is silent or says
otherwise leaves the outcome unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar

from solders.transaction import VersionedTransaction

from tradeco.common.errors import DomainError
from tradeco.common.outside import VenueUnavailable
from trading import money
from trading.models import Asset, Market
from trading.signer.client import SignerClient, SignerRefused, SignerUnavailable
from trading.signer.protocol import Intent
from trading.venues.base import Executed, NeverLanded, Quote, Receipt, Refused, Signed, UnderWay, Unknown
from trading.venues.http import VenueRefused
from trading.venues.jupiter import SwapApi, SwapQuote
from trading.venues.rpc import ChainTransaction, SignatureStatus, SolanaRpc
from trading.venues.rpc import Refused as SendRefused
from trading.venues.rpc_sending import SLIPPAGE_EXCEEDED
from trading.vocabulary import Side

BLOCKHASH_BLOCKS = 151  # a blockhash lives so long; counted from now it is never too short


class SwapRefused(DomainError):
    """Definitely not to be had; `code` of this instance says why in the venue's stable words."""

    code: ClassVar[str] = "swap_refused"
    title: ClassVar[str] = "The venue won't exchange this"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code  # type: ignore[misc]  # the venue's own, such as no_route


@dataclass(frozen=True, slots=True)
class ChainVenue:
    """Everything needed to trade on one chain with one wallet."""

    address: str
    genesis: str
    swaps: SwapApi
    nodes: Sequence[SolanaRpc]
    signer: SignerClient
    priority_fee_most: int

    def quote(self, *, market: Market, side: str, amount_in: int, slippage_bps: int) -> Quote:
        mint_in, mint_out = _mints(market, side)
        try:
            found = self.swaps.quote(
                input_mint=mint_in.mint,
                output_mint=mint_out.mint,
                amount=amount_in,
                slippage_bps=slippage_bps,
                taker=self.address,
            )
        except VenueRefused as refused:
            raise SwapRefused(refused.why, refused.detail) from refused
        return Quote(
            market=market.name,
            side=side,
            amount_in=found.in_amount,
            amount_out=found.out_amount,
            least_out=found.least_out,
            fee_quote=_fee_in_quote(found, market, side),
            price=str(_price(market, side, found.in_amount, found.out_amount)),
            impact=str(found.price_impact),
            verbatim=found.as_json(),
        )

    def sign(self, quote: Quote) -> Signed:
        """Build the transaction and have it verified and signed; nothing is sent."""
        found = SwapQuote.from_json(quote.verbatim)
        try:
            unsigned = self.swaps.build(found, wallet=self.address, priority_fee_max_lamports=self.priority_fee_most)
        except VenueRefused as refused:
            raise SwapRefused(refused.why, refused.detail) from refused
        until = unsigned.last_valid_block_height
        latest = self._latest_end()
        if until is not None and until > latest + BLOCKHASH_BLOCKS:
            raise SwapRefused("bad_answer", "It would be valid for longer than any transaction is.")
        intent = Intent(
            mint_in=found.input_mint,
            amount_in=quote.amount_in,
            mint_out=found.output_mint,
            least_out=quote.least_out,
        )
        try:
            signed = self.signer.sign(unsigned.transaction, intent=intent, genesis=self.genesis)
        except SignerUnavailable as away:
            raise VenueUnavailable(away.detail) from away
        except SignerRefused as refused:
            raise SwapRefused(f"signer_{refused.refusal}"[:60], refused.reason) from refused
        return Signed(signed.signature, signed.transaction, max(until or 0, latest, self._latest_end()))

    def send(self, signed: Signed, quote: Quote) -> Refused | None:
        """To every node. Only where all of them prove that they didn't take it, it is refused."""
        told = [node.send(signed.payload) for node in self.nodes]
        refusals = [each for each in told if isinstance(each, SendRefused)]
        if len(refusals) == len(told):
            return Refused(refusals[0].code, refusals[0].reason)
        return None

    def _latest_end(self) -> int:
        """No blockhash that is known by now is valid above this height. The highest answer counts: a lagging one would
        end a transaction that can still land.

        Raises:
            VenueUnavailable: no node answers.
        """
        heights, away = [], VenueUnavailable("There is no node.")
        for node in self.nodes:
            try:
                heights.append(node.block_height("processed"))
            except VenueUnavailable as silent:
                away = silent
        if not heights:
            raise away
        return max(heights) + BLOCKHASH_BLOCKS

    def look_up(self, signed: Signed, quote: Quote) -> Receipt:
        seen = [self._ask(node, signed) for node in self.nodes]
        evidence = {"nodes": [view.evidence for view in seen], "valid_until": signed.valid_until}
        landed = [view for view in seen if view.status is not None and view.status.confirmation != "processed"]
        if landed:
            return self._landed(landed, signed, quote, evidence)
        if any(view.silent for view in seen):
            return Unknown("A node doesn't answer.", evidence)
        if any(view.status is not None for view in seen):
            return UnderWay("It is in a block that isn't confirmed yet.")
        if all(view.proves_absence for view in seen):
            return NeverLanded(f"Every node is past height {signed.valid_until} and knows nothing of it.", evidence)
        return UnderWay("No node has seen it land, and it still may.")

    def as_told(self, signed: Signed, quote: Quote) -> Executed | None:
        """What a landed transaction did by the chain's own balances, even where that isn't what was quoted.

        None unless every node has it, without an error, and it took what is given and brought what was asked for.
        """
        found = [node.transaction(signed.reference) for node in self.nodes]
        if any(each is None or each.err is not None for each in found) or found[0] is None:
            return None
        return _executed(found[0], self.address, quote, final=False, exact=False)

    def _ask(self, node: SolanaRpc, signed: Signed) -> "_View":
        """What the node knows of it; where that is nothing, whether it can still land there."""
        proven, evidence = False, dict[str, Any](node=node.name)
        try:
            _, (status,) = node.signature_statuses_at([signed.reference], search_history=True)
            if status is None:
                slot, height = node.slot_and_height("finalized")
                evidence["finalized_height"] = height
                if signed.valid_until is not None and height > signed.valid_until:
                    # both asked after the slot, and of a moment no earlier: they can't miss what landed up to there
                    dead_at, alive = node.is_blockhash_valid_at(_blockhash(signed), "finalized")
                    at, (status,) = node.signature_statuses_at([signed.reference], search_history=True)
                    proven = status is None and not alive and min(at, dead_at) >= slot
        except (VenueUnavailable, VenueRefused) as away:
            return _View(node, silent=True, evidence={"node": node.name, "says": away.detail})
        told = None if status is None else {"slot": status.slot, "is": status.confirmation, "err": status.err}
        return _View(node, status=status, proves_absence=proven, evidence=evidence | {"status": told})

    def _landed(
        self, views: Sequence["_View"], signed: Signed, quote: Quote, evidence: dict[str, Any]
    ) -> Executed | Refused | UnderWay | Unknown:
        statuses = [view.status for view in views if view.status is not None]
        if len({status.err is None for status in statuses}) > 1:
            return Unknown("One node says that it landed, another that it failed.", evidence)
        try:
            found = views[0].node.transaction(signed.reference)
        except (VenueUnavailable, VenueRefused) as away:
            return Unknown(away.detail, evidence)
        if found is None:
            return Unknown("It landed, but no node gives the transaction yet.", evidence)
        final = all(status.confirmation == "finalized" for status in statuses)
        if found.err is not None and not final:
            return UnderWay("It failed on chain, but its block may still be replaced by one in which it doesn't.")
        if found.err is not None:
            return Refused(
                _code_of(found.err), f"It failed on chain: {found.err}", network_fee=found.fee, slot=found.slot
            )
        return _executed(found, self.address, quote, final=final) or Unknown(
            "It landed, but its balances are not those of this exchange.", evidence | {"transaction": _told(found)}
        )


def _blockhash(signed: Signed) -> str:
    return str(VersionedTransaction.from_bytes(signed.payload).message.recent_blockhash)


@dataclass(frozen=True, slots=True)
class _View:
    """What one node says of a signature."""

    node: SolanaRpc
    evidence: dict[str, Any]
    status: SignatureStatus | None = None
    silent: bool = False
    proves_absence: bool = False


def _executed(
    found: ChainTransaction, address: str, quote: Quote, *, final: bool, exact: bool = True
) -> Executed | None:
    """The exchange as the chain's balances tell it; None where they tell of something else.

    An exchange gives an exact amount in. Lamports beyond it and the fee are deposits for accounts that it opened; below
    zero where it closed one that somebody else had paid for.
    `exact` off: whatever was given counts, as a person may say who looked at it.
    """
    market = Market.objects.select_related("base", "quote").get(name=quote.market)
    given, got = _mints(market, quote.side)
    lamports = found.lamports_delta(address) + found.fee
    rent = 0
    if given.mint == money.NATIVE:
        amount_in, amount_out = quote.amount_in, found.token_delta(address, got.mint)
        rent = -lamports - amount_in
    elif got.mint == money.NATIVE:
        amount_in, amount_out = -found.token_delta(address, given.mint), lamports
    else:
        amount_in, amount_out = -found.token_delta(address, given.mint), found.token_delta(address, got.mint)
        rent = -lamports
    if (exact and amount_in != quote.amount_in) or amount_in <= 0 or amount_out <= 0:
        return None
    return Executed(
        amount_in=amount_in,
        amount_out=amount_out,
        fee_quote=quote.fee_quote,
        price=_price(market, quote.side, amount_in, amount_out),
        network_fee=found.fee,
        rent=rent,
        slot=found.slot,
        final=final,
    )


def _mints(market: Market, side: str) -> tuple[Asset, Asset]:
    """What is given and what is got."""
    return (market.quote, market.base) if side == Side.BUY else (market.base, market.quote)


def _price(market: Market, side: str, amount_in: int, amount_out: int) -> Decimal:
    """Whole quote per whole base."""
    given, got = _mints(market, side)
    there, here = money.units(amount_in, given.decimals), money.units(amount_out, got.decimals)
    price = (there / here if side == Side.BUY else here / there) if here else Decimal(0)
    return price.quantize(Decimal(1).scaleb(-12))


def _fee_in_quote(found: SwapQuote, market: Market, side: str) -> int:
    """What the pools on the way take, in raw quote, as far as the quote says so; it is inside the price."""
    fee = 0
    for leg in found.verbatim.get("routePlan") or []:
        info = leg.get("swapInfo", {}) if isinstance(leg, dict) else {}
        amount, mint = str(info.get("feeAmount", "")), info.get("feeMint")
        if not amount.isdecimal():
            continue
        if mint == market.quote.mint:
            fee += int(amount)
        elif mint == market.base.mint:
            fee += money.value(
                int(amount),
                price=_price(market, side, found.in_amount, found.out_amount),
                base_decimals=market.base.decimals,
                quote_decimals=market.quote.decimals,
            )
    moved = found.in_amount if side == Side.BUY else found.out_amount
    return fee if fee <= moved else 0  # nobody checks this figure but us


def _code_of(err: object) -> str:
    """The chain's own error in a stable word; the swap program's 6001 is slippage."""
    match err:
        case {"InstructionError": [_, {"Custom": number}]} if number == SLIPPAGE_EXCEEDED:
            return "slippage_exceeded"
    return "failed_onchain"


def _told(found: ChainTransaction) -> dict[str, Any]:
    return {"slot": found.slot, "fee": found.fee, "pre": found.pre_lamports, "post": found.post_lamports}
