"""Jupiter's prices (v3) and tokens (v2), and the page of candles that only the sandbox has."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from trading.sandbox import prices
from trading.sandbox.chain import Chain, slot
from trading.sandbox.jupiter import refuse
from trading.sandbox.prices import PAGE_MAX, PriceBook
from trading.sandbox.tokens import Token

PRICES_MAX = 50
TOKENS_MAX = 100
USDC_LIQUIDITY_USD = 500_000_000
BEGAN = datetime(2024, 6, 5, tzinfo=UTC).isoformat().replace("+00:00", "Z")


class Catalogue:
    def __init__(self, chain: Chain, book: PriceBook) -> None:
        self._chain = chain
        self._pools = chain.desk.pools
        self._book = book

    def prices(self, query: Mapping[str, str]) -> dict[str, Any]:
        """By mint; what has no price is omitted, as Jupiter does it."""
        mints = _listed(query.get("ids"), "ids", PRICES_MAX)
        found: dict[str, Any] = {}
        for mint in mints:
            usd = self._pools.usd(mint)
            if usd is not None:
                found[mint] = {
                    "createdAt": BEGAN,
                    "liquidity": float(self._liquidity(mint)),
                    "usdPrice": float(usd),
                    "blockId": slot(self._chain.height),
                    "decimals": self._pools.tokens[mint].decimals,
                    "priceChange24h": self._change(mint),
                }
        return found

    def tokens(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Tokens by mint or symbol; unknown ones are omitted."""
        wanted = _listed(query.get("query"), "query", TOKENS_MAX)
        known = self._pools.tokens
        symbols = {token.symbol.lower(): token for token in known.values()}
        found = {text: known.get(text) or symbols.get(text.lower()) for text in wanted}
        return [self._token(token) for token in dict.fromkeys(found.values()) if token is not None]

    def candles(self, query: Mapping[str, str]) -> dict[str, Any]:
        after, limit = _whole(query.get("after", "0"), "after"), _whole(query.get("limit", "1000"), "limit")
        if not 1 <= limit <= PAGE_MAX:
            raise refuse(f"limit is 1 to {PAGE_MAX}")
        page, ended = self._book.page(after=after, limit=limit)
        return {
            "source": self._book.source.name,
            "bar_seconds": self._book.source.bar_seconds,
            "markets": [
                {"name": pool.name, "base": pool.base.as_json(), "quote": pool.quote.as_json()}
                for pool in self._pools.all
            ],
            "candles": [prices.as_json(item) for item in page],
            "last": self._book.last_number,
            "ended": ended and (not page or page[-1].number == self._book.last_number),
        }

    def _token(self, token: Token) -> dict[str, Any]:
        mint = str(token.mint)
        usd = self._pools.usd(mint)
        return {
            "id": mint,
            "name": token.symbol,
            "symbol": token.symbol,
            "icon": None,
            "decimals": token.decimals,
            "tokenProgram": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
            "isVerified": True,
            "liquidity": float(self._liquidity(mint)),
            "usdPrice": None if usd is None else float(usd),
            "tags": ["verified"],
            "audit": {"mintAuthorityDisabled": True, "freezeAuthorityDisabled": True},
        }

    def _liquidity(self, mint: str) -> int:
        pool = self._pools.of_mint(mint)
        return USDC_LIQUIDITY_USD if pool is None else 2 * pool.liquidity_usd

    def _change(self, mint: str) -> float:
        pool = self._pools.of_mint(mint)
        return 0.0 if pool is None else self._book.change(pool.name)


def _listed(text: str | None, name: str, most: int) -> list[str]:
    found = [item.strip() for item in (text or "").split(",") if item.strip()]
    if not 1 <= len(found) <= most:
        raise refuse(f"Query parameter {name} names 1 to {most} of them")
    return found


def _whole(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise refuse(f"{name} is a whole number, 0 or above")
    return int(text)
