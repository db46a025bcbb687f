"""How tests give agents something to remember and a record of forecasts."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any

from agents import memory as memories
from agents import track_record
from agents.models import Memory, MemoryType, Score
from tradeco.common import db

_causes = count(1)


def memory(agent: str = "sage", **changes: Any) -> Memory:
    """A lesson, written past `remember`: for what reads memories. `days_old` says when it was learnt."""
    now = changes.pop("now", None) or db.now()
    values: dict[str, Any] = {
        "type": MemoryType.LESSON,
        "text": "Buying SOL after a spike lost money.",
        "confidence": Decimal("0.700"),
        "tags": [],
        "cause": f"test:{next(_causes)}",
        "created_at": now - timedelta(days=changes.pop("days_old", 0)),
    }
    return Memory(agent_id=agent, **{**values, **changes})


def known(agent: str = "sage", **changes: Any) -> Memory:
    """The same, stored."""
    stored = memory(agent, **changes)
    stored.save()
    return stored


def know_many(number: int, agent: str = "sage", **changes: Any) -> list[Memory]:
    """So many, all alike."""
    now = db.now()
    return Memory.objects.bulk_create([memory(agent, now=now, **changes) for _ in range(number)])


def remember(agent: str = "sage", **changes: Any) -> Memory | None:
    """`memory.remember` in a transaction of its own, or in the test's."""
    values: dict[str, Any] = {
        "type": MemoryType.LESSON,
        "text": "Buying SOL after a spike lost money.",
        "confidence": Decimal("0.70"),
        "cause": f"outcome:{next(_causes)}",
        "now": changes.get("now") or db.now(),
        "floor": Decimal("0.55"),
        "most": 200,
    }
    return memories.remember(agent=agent, **{**values, **changes})


def scored(forecasts: Sequence[tuple[str, bool]], agent: str = "scout", kind: str = "entry") -> list[Score | None]:
    """Forecasts (probability, what came) as scored ones."""
    return [
        track_record.score(
            agent=agent,
            kind=kind,
            cause=f"forecast:{next(_causes)}",
            probability=Decimal(probability),
            happened=happened,
            now=db.now(),
        )
        for probability, happened in forecasts
    ]
