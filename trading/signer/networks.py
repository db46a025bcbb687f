"""The chains that a key can be for, and what the signer holds to on each."""

import hashlib
from enum import StrEnum

from solders.hash import Hash


class Network(StrEnum):
    SANDBOX = "sandbox"
    MAINNET = "mainnet"


GENESIS = {
    Network.SANDBOX: str(Hash.from_bytes(hashlib.sha256(b"tradeco sandbox chain").digest())),
    Network.MAINNET: "5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d",
}
"""The hash of each chain's first block, which names the chain."""

USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
USDC_DECIMALS = 6
WRAPPED_SOL = "So11111111111111111111111111111111111111112"

MINTS = (
    USDC,
    WRAPPED_SOL,
    "JUPyiwrYJFskUPiHa7hkeR8VUtAeFoSYbKedZNsDvCN",
    "DezXAZ8z7PnrnRJjz3wXBoRgixCa6xjnB7YaB1pPB263",
    "EKpQGSJtjMFqKZ9KQanSqYXRcF8fBopzLHYxdM65zcjm",
)
"""What may be traded unless other mints are given: USDC, SOL, JUP, BONK, WIF."""

COMPUTE_BUDGET = "ComputeBudget111111111111111111111111111111"
SYSTEM = "11111111111111111111111111111111"
TOKEN = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"  # a program's public address  # nosec B105
TOKEN_2022 = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"  # a program's public address  # nosec B105
ASSOCIATED_TOKEN = "ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL"  # a program's public address  # nosec B105
MEMO = "MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr"
LOOKUP_TABLES = "AddressLookupTab1e1111111111111111111111111"
JUPITER = "JUP6LkbZbjS1jKKwapdHNy74zcZ3tLUZoi5QNyVTaV4"

PROGRAMS = frozenset({COMPUTE_BUDGET, SYSTEM, TOKEN, TOKEN_2022, ASSOCIATED_TOKEN, MEMO, JUPITER})
"""What a transaction may call. Other routers (JupiterZ among them) are left out: nothing bounds their price."""


def network_of(genesis: str) -> Network | None:
    """Whose genesis hash this is; None for a chain that we don't know."""
    return next((network for network, known in GENESIS.items() if known == genesis), None)
