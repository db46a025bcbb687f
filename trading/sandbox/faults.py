"""What goes wrong, on demand or by schedule. When a fault fires is decided here; what it does, where it is asked.

A fault waits on a route (a JSON-RPC method, the beginning of an HTTP path, or "*") and fires `times` times or for
ever, after letting `skip` requests pass, each time or with a probability of its own seeded dice.
"""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass, field, fields
from typing import Any

from trading.sandbox.errors import BadFault
from trading.sandbox.mempool import Fate

TRANSPORT = {
    "drop": "not performed, the connection is closed",
    "lost_reply": "performed, the connection is closed without an answer",
    "truncated": "performed, the answer's JSON is cut off",
    "delay": "answered `seconds` later",
    "status_429": "not performed; Retry-After and x-ratelimit-reset say `seconds`",
    "status_5xx": "answered with `status`, performed or not",
}
READING = {
    "stale": "answers as of `blocks` ago: heights, statuses, balances",
    "forget_history": "statuses are only found by searching the history",
}
SENDING = {
    "duplicate": "the transaction is delivered twice",
    "drop_transaction": "accepted, never executed, until it is sent again",
    "delay_transaction": "executed `blocks` later than it would be",
    "fail_transaction": "fails on chain with 6001, the fee charged",
    "reorg": "vanishes `blocks` after it landed; lands again `again_after` blocks later, or never",
}
KINDS = {**TRANSPORT, **READING, **SENDING}


@dataclass(slots=True)
class Fault:
    kind: str
    route: str = "*"
    times: int | None = None  # None: for ever
    skip: int = 0  # requests that pass first
    probability: float = 1.0
    seed: int = 0  # of the dice
    seconds: float = 1.0
    status: int = 503
    performed: bool = False  # of status_5xx: whether the request was performed all the same
    blocks: int = 2
    again_after: int | None = None
    id: int = field(default=0, init=False)
    fired: int = field(default=0, init=False)
    _dice: random.Random = field(default_factory=random.Random, init=False, repr=False)

    def __post_init__(self) -> None:
        """Raises BadFault."""
        self._dice.seed(self.seed)
        if self.kind not in KINDS:
            raise BadFault(f"{self.kind!r} is none of {', '.join(KINDS)}.")
        counts = (self.skip, self.blocks, self.status, self.seed, self.times or 0, self.again_after or 0)
        if not all(isinstance(count, int) and count >= 0 for count in counts):
            raise BadFault("times, skip, blocks, status, seed and again_after are whole numbers, 0 or above.")
        if not 0 < self.probability <= 1:
            raise BadFault(f"A probability of {self.probability} is never or nonsense.")
        if self.seconds < 0 or not 500 <= self.status <= 599:
            raise BadFault("seconds is 0 or above, status is 500 to 599.")

    def fires(self, route: str) -> bool:
        if self.route not in ("*", route) and not (self.route.startswith("/") and route.startswith(self.route)):
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self._dice.random() >= self.probability:
            return False
        self.fired += 1
        return True

    def as_json(self) -> dict[str, Any]:
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "_dice"}


class Faults:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._count = 0

    def add(self, kind: str, *, route: str = "*", times: int | None = None, **details: Any) -> Fault:
        """Switch a fault on; the one returned counts how often it `fired`.

        Raises:
            BadFault: no such kind, or parameters that make no sense.
        """
        try:
            fault = Fault(kind=kind, route=route, times=times, **details)
        except TypeError as exc:
            raise BadFault(str(exc)) from exc
        with self._lock:
            self._count += 1
            fault.id = self._count
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._faults.clear()

    def remove(self, fault_id: int) -> None:
        with self._lock:
            self._faults = [fault for fault in self._faults if fault.id != fault_id]

    def transport(self, route: str) -> list[Fault]:
        """What befalls this request on its way, in the order in which faults were added."""
        return self._firing(route, TRANSPORT)

    def reading(self, route: str) -> tuple[int, bool]:
        """How many blocks behind this request is answered, and whether statuses are forgotten."""
        firing = self._firing(route, READING)
        lag = max((fault.blocks for fault in firing if fault.kind == "stale"), default=0)
        return lag, any(fault.kind == "forget_history" for fault in firing)

    def fate(self, route: str) -> Fate:
        """What becomes of the transaction that this request sends."""
        firing = {fault.kind: fault for fault in self._firing(route, SENDING)}
        reorg = firing.get("reorg")
        return Fate(
            delay_blocks=firing["delay_transaction"].blocks if "delay_transaction" in firing else 0,
            dropped="drop_transaction" in firing,
            fails="fail_transaction" in firing,
            copies=2 if "duplicate" in firing else 1,
            reorg_after=reorg.blocks if reorg else None,
            again_after=reorg.again_after if reorg else None,
        )

    def as_json(self) -> list[dict[str, Any]]:
        with self._lock:
            return [fault.as_json() for fault in self._faults]

    def _firing(self, route: str, kinds: dict[str, str]) -> list[Fault]:
        if not self._faults:
            return []
        with self._lock:
            return [fault for fault in self._faults if fault.kind in kinds and fault.fires(route)]
