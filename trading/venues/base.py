"""What a venue is to the state machine: a quote that risks nothing, a signature that binds, a send that may be repeated
with the same bytes, and a look at what became of it.

    quote     asks; may be repeated freely
    sign      makes what would be sent, and the reference by which it is known; nothing leaves yet
    send      hands it over. Sent again it is the same: a venue does at most one exchange per reference
    look_up   what became of the reference, with proof: done, failed, never landed, under way, or unknown

Which venue a deployment trades on is settings' affair.
"""

from dataclasses import asdict, dataclass, field
from decimal import Decimal
from typing import Any, Protocol

from trading.models import Market


@dataclass(frozen=True, slots=True)
class Quote:
    """What the venue would give now. Raw integer amounts; `least_out` is the bound that slippage sets.

    `price` is whole quote per whole base, `impact` what our own order moves it, as a share; both decimal strings.
    `verbatim` is the venue's own answer, from which the transaction is made.
    """

    market: str
    side: str
    amount_in: int
    amount_out: int
    least_out: int
    fee_quote: int
    price: str
    impact: str = "0"
    verbatim: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Signed:
    """What is sent, byte for byte, however often. It is void once the venue's height has passed `valid_until`."""

    reference: str
    payload: bytes = b""
    valid_until: int | None = None


@dataclass(frozen=True, slots=True)
class Executed:
    """Landed: what left and what came, in raw amounts of the venue's own record, never of the quote.

    `network_fee` and `rent` are lamports on top: the chain's fee, and deposits for accounts that it opened.
    """

    amount_in: int
    amount_out: int
    fee_quote: int
    price: Decimal
    network_fee: int = 0
    rent: int = 0
    slot: int | None = None
    final: bool = True


@dataclass(frozen=True, slots=True)
class Refused:
    """Not done, now and for this reference for ever. `network_fee`: lamports that the refusal cost all the same."""

    code: str
    reason: str
    network_fee: int = 0
    slot: int | None = None


@dataclass(frozen=True, slots=True)
class UnderWay:
    """Not known to have landed, and it still may: the same bytes may be sent again."""

    reason: str


@dataclass(frozen=True, slots=True)
class NeverLanded:
    """Proven: it didn't land and no longer can. Only now may another attempt be signed."""

    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown:
    """The venue didn't say, or says two things. Never a reason to sign anew."""

    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)


Receipt = Executed | Refused | UnderWay | NeverLanded | Unknown


class Venue(Protocol):
    """Every method may raise VenueUnavailable where no usable answer came, and a DomainError where it can't be done."""

    address: str
    """Of the wallet that trades here; empty on paper."""

    def quote(self, *, market: Market, side: str, amount_in: int, slippage_bps: int) -> Quote: ...

    def sign(self, quote: Quote) -> Signed: ...

    def send(self, signed: Signed, quote: Quote) -> Refused | None:
        """Hand it over once. None where it may have been taken; Refused proves that *this* send was not."""

    def look_up(self, signed: Signed, quote: Quote) -> Receipt: ...
