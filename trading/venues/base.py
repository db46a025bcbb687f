"""What a venue is to the state machine: a quote that risks nothing, and a submission with three endings.

`submit` may be called again with the same reference and quote: a venue does at most one exchange per reference, and
answers the same as the first time. Which venue is used is settings' affair.
"""

from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any, Protocol

from trading.models import Market


@dataclass(frozen=True, slots=True)
class Quote:
    """What the venue would give now. Raw integer amounts; `least_out` is the bound that slippage sets."""

    market: str
    side: str
    amount_in: int
    amount_out: int
    least_out: int
    fee_quote: int
    price: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Executed:
    """Landed: what left and what came, in raw amounts."""

    amount_in: int
    amount_out: int
    fee_quote: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class Refused:
    """Provably not done, now and for this reference for ever."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The venue didn't say. Ask again with the same reference; never with another."""

    reason: str


Receipt = Executed | Refused | Unknown


class Venue(Protocol):
    def quote(self, *, market: Market, side: str, amount_in: int, slippage_bps: int) -> Quote:
        """Ask what an exchange would give. May be retried freely."""

    def submit(self, *, reference: str, quote: Quote) -> Receipt:
        """Exchange, at most once per reference."""
