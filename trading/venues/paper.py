"""The paper venue: exchanges at the market's price with a fee and slippage, in a book of its own.

It behaves as a real venue does toward the state machine: it knows an exchange by its reference alone, remembers
refusals too, and commits its book apart from ours.
"""

import uuid
from decimal import Decimal

from django.db import IntegrityError

from missions import policies
from tradeco.common import db
from tradeco.common.errors import DomainError
from trading import money
from trading.models import Market, PaperExecution
from trading.venues.base import Executed, Quote, Receipt, Refused, Signed, UnderWay
from trading.vocabulary import Side


class NoPrice(DomainError):
    code = "no_price"
    status = 503
    title = "The market has no price yet"


class PaperVenue:
    address = ""

    def quote(self, *, market: Market, side: str, amount_in: int, slippage_bps: int) -> Quote:
        """What the exchange would give at the newest price.

        Raises:
            NoPrice: there is none yet.
        """
        price, amount_out, fee = _exchange(market, side, amount_in)
        return Quote(
            market=market.name,
            side=side,
            amount_in=amount_in,
            amount_out=amount_out,
            least_out=amount_out - money.bps(amount_out, slippage_bps),
            fee_quote=fee,
            price=str(price),
        )

    def sign(self, quote: Quote) -> Signed:
        """A reference of our own making: paper needs no key."""
        return Signed(reference=uuid.uuid4().hex)

    def send(self, signed: Signed, quote: Quote) -> Refused | None:
        """Exchange at the price of this moment, unless it gives less than the quote's bound."""
        try:
            self._execute(signed.reference, quote)
        except IntegrityError:
            pass  # the same reference once more: the first one counts
        return None

    def look_up(self, signed: Signed, quote: Quote) -> Receipt:
        known = PaperExecution.objects.filter(reference=signed.reference).first()
        if known is None:
            return UnderWay("The paper venue hasn't seen it.")
        if known.refused:
            return Refused(code=known.refused, reason="The price moved beyond the slippage bound.")
        return Executed(
            amount_in=known.amount_in,
            amount_out=known.amount_out,
            fee_quote=known.fee_quote,
            price=known.price,
        )

    def _execute(self, reference: str, quote: Quote) -> None:
        market = Market.objects.select_related("base", "quote").get(name=quote.market)
        price, amount_out, fee = _exchange(market, quote.side, quote.amount_in)
        with db.transaction():
            PaperExecution.objects.create(
                reference=reference,
                market=market,
                side=quote.side,
                refused="slippage_exceeded" if amount_out < quote.least_out else "",
                amount_in=quote.amount_in,
                amount_out=amount_out,
                fee_quote=fee,
                price=price,
                at=db.now(),
            )


def _exchange(market: Market, side: str, amount_in: int) -> tuple[Decimal, int, int]:
    """Execution price, raw amount out and raw fee (in quote) at the newest price."""
    if market.price is None:
        raise NoPrice(f"{market.name} has no price yet.")
    _, policy = policies.current()
    slip = Decimal(policy.venue_slippage_bps) / 10_000
    decimals = {"base_decimals": market.base.decimals, "quote_decimals": market.quote.decimals}
    if side == Side.BUY:
        price = market.price * (1 + slip)
        fee = money.bps(amount_in, policy.venue_fee_bps)
        return price, money.quantity(amount_in - fee, price=price, **decimals), fee
    price = market.price * (1 - slip)
    gross = money.value(amount_in, price=price, **decimals)
    fee = money.bps(gross, policy.venue_fee_bps)
    return price, gross - fee, fee
