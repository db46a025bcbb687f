"""What Jupiter knows of a token, for the gate that decides whether it may be traded at all.

What isn't said counts against the token: an authority that isn't known to be disabled is not disabled.
"""

import threading
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from trading.venues.http import VenueRefused
from trading.venues.jupiter_api import JupiterApi
from trading.venues.shapes import Address, Number, Shape, shaped

KEPT_SECONDS = 600.0
UNKNOWN_KEPT_SECONDS = 60.0  # a new token may become known soon
KEPT_MOST = 256


@dataclass(frozen=True, slots=True)
class TokenInfo:
    mint: str
    symbol: str
    decimals: int
    verified: bool
    liquidity_usd: Decimal | None
    mint_authority_disabled: bool
    freeze_authority_disabled: bool


class _Audit(Shape):
    mint_authority_disabled: bool | None = None
    freeze_authority_disabled: bool | None = None


class _Token(Shape):
    id: Address
    symbol: Annotated[str, Field(max_length=100)]
    decimals: Annotated[int, Field(ge=0, le=18)]
    is_verified: bool | None = None
    liquidity: Annotated[Number, Field(ge=0)] | None = None
    audit: _Audit | None = None


_TOKEN = TypeAdapter(_Token)


class JupiterTokens(JupiterApi):
    """GET /tokens/v2/search. Remembers answers for some minutes, in this process, for all its threads."""

    def __init__(self, base_url: str, **options: Any) -> None:
        super().__init__(base_url, **options)
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[float, TokenInfo | None]] = {}

    def info(self, mint: str) -> TokenInfo | None:
        """What is known of exactly this mint; None where nothing is.

        Raises:
            VenueUnavailable, VenueRefused: see `HttpClient.read`; nothing is remembered then.
        """
        with self._lock:
            until, known = self._kept.get(mint, (0.0, None))
        if time.monotonic() < until:
            return known
        found = self._ask(mint)
        kept_seconds = UNKNOWN_KEPT_SECONDS if found is None else KEPT_SECONDS
        with self._lock:
            self._kept.pop(mint, None)
            self._kept[mint] = time.monotonic() + kept_seconds, found
            if len(self._kept) > KEPT_MOST:
                del self._kept[next(iter(self._kept))]  # the one that was asked for longest ago
        return found

    def _ask(self, mint: str) -> TokenInfo | None:
        tree: Any = self._http.read("GET", "/tokens/v2/search", params={"query": mint})
        if not isinstance(tree, list):
            raise VenueRefused("bad_answer", "The tokens aren't a list.")
        exact = next((each for each in tree if isinstance(each, dict) and each.get("id") == mint), None)
        if exact is None:
            return None
        token = shaped(_TOKEN, exact, what="token")
        audit = token.audit or _Audit()
        return TokenInfo(
            mint=token.id,
            symbol=token.symbol,
            decimals=token.decimals,
            verified=token.is_verified is True,
            liquidity_usd=token.liquidity,
            mint_authority_disabled=audit.mint_authority_disabled is True,
            freeze_authority_disabled=audit.freeze_authority_disabled is True,
        )
