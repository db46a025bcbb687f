"""What a company under fire is asked to do, and the blows that need no more than its database and its chain.

The soak and the chaos run of the tests share it; processes are killed and stopped by them.
"""

import random
from collections.abc import Callable
from typing import Any

import requests
from django.contrib.auth import get_user_model
from django.db import DatabaseError, InterfaceError, connection

from missions import drafts, policies, proposals
from missions.vocabulary import ProposalSource
from tradeco.common import db
from trading.models import Market, Position
from trading.vocabulary import PositionStatus

LEASE_SECONDS = 1.0
ANSWER_SECONDS = 3
FAULTS: list[tuple[str, list[str], dict[str, Any]]] = [  # kind, where, details
    ("drop", ["sendTransaction", "getSignatureStatuses", "getTransaction", "getEpochInfo", "/swap/"], {}),
    ("lost_reply", ["sendTransaction", "/swap/"], {}),
    ("truncated", ["sendTransaction", "getSignatureStatuses", "getTransaction", "/swap/"], {}),
    ("delay", ["sendTransaction", "getSignatureStatuses", "/swap/"], {"seconds": 0.5}),
    ("status_429", ["sendTransaction", "getSignatureStatuses", "/swap/"], {"seconds": 1.0}),
    ("status_5xx", ["sendTransaction", "getTransaction", "/swap/"], {}),
    ("status_5xx", ["sendTransaction"], {"performed": True}),
    ("stale", ["getSignatureStatuses", "getBlockHeight", "getEpochInfo", "isBlockhashValid"], {"blocks": 4}),
    ("forget_history", ["getSignatureStatuses"], {}),
    ("duplicate", ["sendTransaction"], {}),
    ("drop_transaction", ["sendTransaction"], {}),
    ("delay_transaction", ["sendTransaction"], {"blocks": 10}),
    ("fail_transaction", ["sendTransaction"], {}),
    ("reorg", ["sendTransaction"], {"blocks": 5, "again_after": 2}),
    ("reorg", ["sendTransaction"], {"blocks": 5}),
]


def prepare() -> None:
    """Short leases, and caps that a long night doesn't reach."""
    admin = get_user_model().objects.get(username="admin")
    for key, value in {
        "step_lease_seconds": LEASE_SECONDS,
        "trades_per_day": 1_000_000,
        "analyses_per_day": 1_000_000,
        "conversations_per_day": 1_000_000,
        "turn_seconds": 0.2,  # some of the trades are talked over, under the same fire
        "reviews_waiting_max": 2,
        "exposure_max": "0.9",
        "position_max": "0.3",
        "position_usd_max": "2000",
        "daily_loss_halt": "1",
        "drawdown_halt": "1",
        "step_attempts_max": 50,
        "four_eyes_from_usd": "10000",
        "human_from_usd": "10000",
        "open_positions_max": 20,
        "scale_refused_below": "-1",
        "slippage_max_bps": 300,
        "reconciled_after_seconds": 86_000.0,
        "breaker_failures": 20,
        "breaker_probe_after_seconds": 1.0,
    }.items():
        policies.change(key=key, value=value, author=admin, reason="soak", now=db.now())


def propose(dice: random.Random, *, analyses: float = 0.25) -> None:
    """A small buy, a close, or an analysis, which have this share."""
    held = list(Position.objects.filter(status=PositionStatus.OPEN).values_list("pk", flat=True))
    roll = dice.random()
    kind, params = "analyze_signal", dict[str, object]()
    if roll >= analyses and held and dice.random() < 0.4:
        kind, params = "close_position", {"position": dice.choice(held)}
    elif roll >= analyses:
        markets = list(Market.objects.order_by("name").values_list("name", flat=True))
        kind = "execute_trade"
        params = {"side": "buy", "market": dice.choice(markets), "size_usd": str(dice.randint(5, 40))}
    draft = drafts.read(
        {"agent": "scout", "title": "Under fire", "confidence": "0.9", "steps": [{"kind": kind, "params": params}]}
    )
    proposals.submit(draft=draft, source=ProposalSource.PERSON, now=db.now())


def end_sessions(share: float) -> None:
    """End this share of the database's sessions but ours, as an administrator's command does."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = current_user"
            " AND pid <> pg_backend_pid() AND random() < %s",
            [share],
        )


def add_fault(url: str, dice: random.Random) -> bool:
    """Let the sandbox fail in some way at its next one to three chances; False where it is away itself."""
    kind, routes, details = dice.choice(FAULTS)
    return ask_for_fault(url, {"kind": kind, "route": dice.choice(routes), "times": dice.randint(1, 3), **details})


def ask_for_fault(url: str, fault: dict[str, Any]) -> bool:
    """Switch a fault of the sandbox on, as `trading.sandbox.faults` names it; False where the sandbox is away."""
    try:
        requests.post(f"{url}/sandbox/faults", json=fault, timeout=ANSWER_SECONDS).raise_for_status()
    except requests.RequestException:
        return False
    return True


def no_more_faults(url: str) -> bool:
    """Let the sandbox be sound from now on; False where it is away."""
    try:
        return requests.delete(f"{url}/sandbox/faults", timeout=ANSWER_SECONDS).ok
    except requests.RequestException:
        return False


def patiently(act: Callable[[], Any]) -> Any:
    """Our own session is hit too: then this one act is let go, and None."""
    try:
        return act()
    except (DatabaseError, InterfaceError):
        connection.close()
        return None
