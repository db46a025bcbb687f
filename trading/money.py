"""Between raw integers of a smallest unit and decimals at the edges. Never float.

USDC counts as 1.00 USD: an assumption that pages state.
"""

from decimal import ROUND_DOWN, Decimal, localcontext

USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
USDC_DECIMALS = 6
NATIVE = "So11111111111111111111111111111111111111112"
"""SOL by the mint of its wrapped form; amounts are lamports. What the network takes is paid in it."""
LAMPORTS = 10**9  # a SOL


def units(raw: int, decimals: int) -> Decimal:
    """Whole tokens of a raw amount, exactly."""
    return Decimal(raw).scaleb(-decimals)


def usd(raw: int) -> Decimal:
    """US dollars of raw USDC, exactly."""
    return units(raw, USDC_DECIMALS)


def raw(amount: Decimal, decimals: int) -> int:
    """The raw amount of whole tokens, rounded down to the smallest unit."""
    with localcontext() as context:
        context.prec = 60
        return int(amount.scaleb(decimals).to_integral_value(rounding=ROUND_DOWN))


def value(quantity: int, *, price: Decimal, base_decimals: int, quote_decimals: int) -> int:
    """What a raw quantity of base is worth in raw quote at a price, rounded down."""
    with localcontext() as context:
        context.prec = 60
        return raw(units(quantity, base_decimals) * price, quote_decimals)


def quantity(spent: int, *, price: Decimal, base_decimals: int, quote_decimals: int) -> int:
    """How much raw base a raw amount of quote buys at a price, rounded down."""
    with localcontext() as context:
        context.prec = 60
        return raw(units(spent, quote_decimals) / price, base_decimals)


def bps(amount: int, basis_points: int) -> int:
    """A share of an amount in basis points, rounded up: fees never round to nothing."""
    return -(-amount * basis_points // 10_000)
