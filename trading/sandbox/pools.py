"""What a swap gives: one pool a market, a constant product over virtual reserves at the world's price.

The reserves follow the price, as if arbitrage restored the pool at once: a trade has impact, but leaves none. The
vaults are bottomless, they are filled up outside of any transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from hashlib import sha256

from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.token.associated import get_associated_token_address
from solders.token.state import TokenAccount

from trading.sandbox.bank import Bank, token_account
from trading.sandbox.errors import SandboxError, UnknownMarket
from trading.sandbox.prices import PriceBook
from trading.sandbox.tokens import USDC, Token, token
from trading.sources import LIQUIDITY_USD, USUAL_LIQUIDITY_USD

FEE_BPS = 10  # stays in the pool
BPS = 10_000
VAULT_FULL = 10**17  # raw units; filled up again below a half, emptied to it above the double


class NoRoute(SandboxError):
    """Nothing trades these tokens against each other, or the amount gives nothing."""


@dataclass(frozen=True, slots=True)
class Pool:
    """One market's pool. `liquidity_usd` lies on each side."""

    name: str
    base: Token
    quote: Token
    liquidity_usd: int
    authority: Keypair
    base_vault: Pubkey
    quote_vault: Pubkey

    @property
    def address(self) -> Pubkey:
        return self.authority.pubkey()

    def vault(self, token: Token) -> Pubkey:
        return self.base_vault if token == self.base else self.quote_vault

    def reserves(self, price: Decimal) -> tuple[int, int]:
        """Virtual raw amounts of base and quote at a price in USD per whole token."""
        base = Decimal(self.liquidity_usd) / price * 10**self.base.decimals
        return max(1, int(base)), self.liquidity_usd * 10**self.quote.decimals


@dataclass(frozen=True, slots=True)
class Given:
    """What a pool gives for `amount_in`; all amounts raw. `fee` is of the token that comes in."""

    amount_in: int
    amount_out: int
    fee: int
    impact: Decimal  # ratio, 0 or above
    price: Decimal


class Pools:
    def __init__(self, book: PriceBook) -> None:
        """Raises SandboxError: a market isn't quoted in USDC."""
        self._book = book
        self.all = [_pool(name) for name in book.source.markets]
        self.tokens: dict[str, Token] = {str(USDC.mint): USDC}
        self._by_mint: dict[str, Pool] = {}
        self.vaults = {vault for pool in self.all for vault in (pool.base_vault, pool.quote_vault)}
        for pool in self.all:
            self.tokens[str(pool.base.mint)] = pool.base
            self._by_mint[str(pool.base.mint)] = pool

    def between(self, mint_in: str, mint_out: str) -> tuple[Pool, str]:
        """The pool of two mints, and the side of the one who swaps: buy or sell.

        Raises:
            NoRoute: no pool has both.
        """
        if mint_in == str(USDC.mint) and mint_out in self._by_mint:
            return self._by_mint[mint_out], "buy"
        if mint_out == str(USDC.mint) and mint_in in self._by_mint:
            return self._by_mint[mint_in], "sell"
        raise NoRoute(f"{mint_in} → {mint_out}")

    def of_mint(self, mint: str) -> Pool | None:
        return self._by_mint.get(mint)

    def give(self, mint_in: str, mint_out: str, amount_in: int) -> Given:
        """What the pool would give now.

        Raises:
            NoRoute: no pool has both, or the amount gives nothing.
        """
        pool, side = self.between(mint_in, mint_out)
        try:
            price = self._book.price(pool.name)
        except UnknownMarket as exc:
            raise NoRoute(f"{pool.name} has no price yet") from exc
        base, quote = pool.reserves(price)
        into, out_of = (quote, base) if side == "buy" else (base, quote)
        fee = -(-amount_in * FEE_BPS // BPS)
        worked = amount_in - fee
        amount_out = out_of * worked // (into + worked) if worked > 0 else 0
        if amount_out <= 0:
            raise NoRoute(f"{amount_in} gives nothing")
        return Given(amount_in, amount_out, fee, Decimal(worked) / (into + worked), price)

    def usd(self, mint: str) -> Decimal | None:
        """USD per whole token; None where it has no price."""
        if mint == str(USDC.mint):
            return Decimal(1)
        pool = self._by_mint.get(mint)
        if pool is None:
            return None
        try:
            return self._book.price(pool.name)
        except UnknownMarket:
            return None

    def fill(self, bank: Bank) -> None:
        """Fill up what is low; at the start, everything."""
        for pool in self.all:
            fill_vault(bank, pool.base_vault, owner=pool.address, mint=pool.base.mint)
            fill_vault(bank, pool.quote_vault, owner=pool.address, mint=pool.quote.mint)


def fill_vault(bank: Bank, vault: Pubkey, *, owner: Pubkey, mint: Pubkey) -> None:
    account = bank.account(vault)
    held = TokenAccount.from_bytes(bytes(account.data)).amount if account else 0
    if not VAULT_FULL // 2 <= held <= VAULT_FULL * 2:
        bank.put(vault, token_account(bank, mint=mint, owner=owner, amount=VAULT_FULL))


def _pool(name: str) -> Pool:
    base, _, quote = name.partition("/")
    if quote != "USDC" or not base or base == "USDC":
        raise SandboxError(f"The market is {name}; write it as {base or 'SOL'}/USDC.")
    authority = Keypair.from_seed(sha256(b"tradeco sandbox pool " + name.encode()).digest())
    traded = token(base)
    return Pool(
        name=name,
        base=traded,
        quote=USDC,
        liquidity_usd=LIQUIDITY_USD.get(name, USUAL_LIQUIDITY_USD),
        authority=authority,
        base_vault=get_associated_token_address(authority.pubkey(), traded.mint),
        quote_vault=get_associated_token_address(authority.pubkey(), USDC.mint),
    )
