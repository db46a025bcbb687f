"""Orders: which swaps the sandbox has built, and whether a transaction that arrives may still have its price.

An order is known by its message, so the chain can say of a landed transaction which swap it was, and lets one
fail with Jupiter's own error where the pool gives less by then than the order's least.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from solders.hash import Hash

from trading.sandbox.bank import Bank
from trading.sandbox.pools import NoRoute, Pools
from trading.sandbox.swaps import Built, Plan, build

SLIPPAGE_EXCEEDED = 6001  # Jupiter's SlippageToleranceExceeded
REMEMBERED_BLOCKS = 150  # beyond its last valid height, for those who ask late


@dataclass(frozen=True, slots=True)
class Order:
    id: str
    message: str  # sha256, hex
    wallet: str
    market: str
    side: str
    mint_in: str
    mint_out: str
    amount_in: int  # raw
    amount_out: int
    least_out: int
    paying_out: int  # index of the instruction that fails where the price is gone
    last_valid_height: int


class Desk:
    """Not for several threads: the chain's lock guards it."""

    def __init__(self, pools: Pools, bank: Bank, journal: Callable[[dict[str, Any]], None]) -> None:
        self.pools = pools
        self._bank = bank
        self._journal = journal
        self._by_message: dict[str, Order] = {}
        self._by_id: dict[str, Order] = {}
        self._order_of_age: deque[Order] = deque()
        self._count = 0

    @property
    def next_number(self) -> int:
        return self._count + 1

    def take(self, plan: Plan, *, least_out: int, blockhash: Hash, last_valid_height: int) -> tuple[Order, Built]:
        """Build the transaction of a plan and remember it as an order."""
        built = build(plan, blockhash)
        digest = sha256(built.message).hexdigest()
        order = Order(
            id=f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}",
            message=digest,
            wallet=str(plan.user),
            market=plan.pool.name,
            side="buy" if plan.token_out == plan.pool.base else "sell",
            mint_in=str(plan.token_in.mint),
            mint_out=str(plan.token_out.mint),
            amount_in=plan.amount_in,
            amount_out=plan.amount_out,
            least_out=least_out,
            paying_out=built.paying_out,
            last_valid_height=last_valid_height,
        )
        self.remember(order)
        self._journal(record(order))
        return order, built

    def remember(self, order: Order) -> None:
        self._count += 1
        self._by_message[order.message] = order
        self._by_id[order.id] = order
        self._order_of_age.append(order)

    def find(self, message: bytes) -> Order | None:
        return self._by_message.get(sha256(message).hexdigest())

    def by_id(self, request_id: str) -> Order | None:
        return self._by_id.get(request_id)

    def refuses(self, order: Order | None) -> bool:
        """Whether the pool gives less by now than the order's least; never for what isn't a swap of ours."""
        if order is None:
            return False
        try:
            given = self.pools.give(order.mint_in, order.mint_out, order.amount_in)
        except NoRoute:
            return True
        return given.amount_out < order.least_out

    def fill_vaults(self) -> None:
        self.pools.fill(self._bank)

    def forget(self, height: int) -> None:
        """Let go of orders that expired long ago."""
        while self._order_of_age and self._order_of_age[0].last_valid_height + REMEMBERED_BLOCKS < height:
            order = self._order_of_age.popleft()
            self._by_message.pop(order.message, None)
            self._by_id.pop(order.id, None)

    def orders(self) -> Iterator[Order]:
        return iter(self._order_of_age)


def record(order: Order) -> dict[str, Any]:
    return {"k": "order", **asdict(order)}


def recalled(found: dict[str, Any]) -> Order:
    return Order(**{name: value for name, value in found.items() if name != "k"})
