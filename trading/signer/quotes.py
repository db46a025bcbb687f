"""What a sale is worth by the signer's own question to the market, whatever the worker that asks for it says.

The bound has no memory, so neither a restart nor a retry loosens or uses it up: an exit that the market has left
behind is refused once, and the next one, quoted anew, passes.
"""

from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trading.signer.http import Endpoint, Unanswered
from trading.signer.protocol import Intent
from trading.signer.refusals import Refusal

BPS = 10_000
SLIPPAGE_MOST_BPS = 500
"""How far below the market a sale may go. Wider than any slippage that policy should allow (its default is 100), since
prices move between the worker's quote and ours; what a thief could gain by it is this part of what is sold."""
PATHS = {"v1": "/swap/v1/quote", "v2": "/swap/v2/order"}
AS_WE_TRADE = {
    "v1": {"swapMode": "ExactIn", "restrictIntermediateTokens": "true"},
    "v2": {"excludeRouters": "jupiterz"},  # whose transactions we never sign
}


class QuoteUnavailable(Exception):
    """The market didn't answer, or not as it should. Holds no address, since that may hold a key."""


class Quotes(Protocol):
    def out_for(self, *, mint_in: str, amount_in: int, mint_out: str) -> int:
        """Raw units that the market gives for exactly `amount_in` now.

        Raises:
            QuoteUnavailable.
        """


class _Quote(BaseModel):
    """What we read of an answer; Jupiter writes amounts as text."""

    model_config = ConfigDict(frozen=True)

    mint_in: str = Field(alias="inputMint")
    amount_in: int = Field(alias="inAmount")
    mint_out: str = Field(alias="outputMint")
    amount_out: Annotated[int, Field(alias="outAmount", gt=0)]


class JupiterQuotes:
    """`Quotes` of Jupiter's swap API.

    Args:
        api: v1 or v2, as the workers use.
    """

    def __init__(self, url: str, *, api: str, api_key: str = "") -> None:
        if api not in PATHS:
            raise ValueError(f"Jupiter's API is v1 or v2, not {api!r}.")
        self._api = api
        self._endpoint = Endpoint(url, name="Jupiter", headers={"x-api-key": api_key} if api_key else None)

    def out_for(self, *, mint_in: str, amount_in: int, mint_out: str) -> int:
        asked = {"inputMint": mint_in, "outputMint": mint_out, "amount": str(amount_in)}
        try:
            found = _Quote.model_validate(self._endpoint.get(PATHS[self._api], params=asked | AS_WE_TRADE[self._api]))
        except Unanswered as exc:
            raise QuoteUnavailable(str(exc)) from None
        except ValidationError:
            raise QuoteUnavailable("the answer isn't shaped as a quote should be") from None
        if (found.mint_in, found.amount_in, found.mint_out) != (mint_in, amount_in, mint_out):
            raise QuoteUnavailable("the quote isn't the one asked for")
        return found.amount_out


def check_sale(intent: Intent, *, quotes: Quotes, slippage_most_bps: int) -> None:
    """A sale brings nearly what the market gives: its least amount is what the transaction holds to on chain.

    Raises:
        Refusal: sold_too_low.
        QuoteUnavailable.
    """
    quoted = quotes.out_for(mint_in=intent.mint_in, amount_in=intent.amount_in, mint_out=intent.mint_out)
    least = quoted * (BPS - slippage_most_bps) // BPS
    if intent.least_out < least:
        raise Refusal(
            "sold_too_low",
            f"It would be content with {intent.least_out} raw units; the market gives {quoted}, and a sale may bring "
            f"{least} at least.",
        )
