"""Tokens as the sandbox handles them: symbol, mint and decimals."""

from dataclasses import dataclass

from solders.pubkey import Pubkey

from trading.listing import decimals_of, mint_of


@dataclass(frozen=True, slots=True)
class Token:
    symbol: str
    mint: Pubkey
    decimals: int

    def as_json(self) -> dict[str, object]:
        return {"mint": str(self.mint), "symbol": self.symbol, "decimals": self.decimals}


def token(symbol: str) -> Token:
    return Token(symbol, Pubkey.from_string(mint_of(symbol)), decimals_of(symbol))


USDC = token("USDC")
SOL = token("SOL")  # as a token: wrapped
