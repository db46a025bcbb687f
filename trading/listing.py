"""Which tokens are known by symbol, with their addresses on mainnet; pure, so that a sandbox lists the same."""

from hashlib import sha256

from solders.pubkey import Pubkey

from trading.money import NATIVE, USDC, USDC_DECIMALS

KNOWN = {  # symbol: mint, decimals
    "USDC": (USDC, USDC_DECIMALS),
    "SOL": (NATIVE, 9),
    "JUP": ("JUPyiwrYJFskUPiHa7hkeR8VUtAeFoSYbKedZNsDvCN", 6),
    "BONK": ("DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263", 5),
    "WIF": ("EKpQGSJtjMFqKZ9KQanSqYXRcF8fBopzLHYxdM65zcjm", 6),
}
UNKNOWN_DECIMALS = 9  # of a token that only a price file names


def mint_of(symbol: str) -> str:
    """The mint's address. A token that only a price file names gets one of its own, the same on every machine."""
    if symbol in KNOWN:
        return KNOWN[symbol][0]
    return str(Pubkey(sha256(b"tradeco sandbox mint " + symbol.encode()).digest()))


def decimals_of(symbol: str) -> int:
    return KNOWN[symbol][1] if symbol in KNOWN else UNKNOWN_DECIMALS
