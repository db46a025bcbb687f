"""Moving a row from one state to the next, by compare-and-set.

Which moves a model allows stands beside its states, as data (`MOVES`). A move names the state it believes in;
when another process was first, nothing is written and StaleRow is raised.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

from django.db import models

from tradeco.common.errors import StaleRow

MoveTable = Mapping[str, frozenset[str]]


class Movable(Protocol):
    MOVES: ClassVar[MoveTable]


def move(row: models.Model, *, to: str, **changes: Any) -> None:
    """Move `row` from the status it has in memory to `to`, and set `changes` with it, in one UPDATE.

    Raises:
        StaleRow: the row no longer has that status.
    """
    believed: str = row.status  # type: ignore[attr-defined]
    table: MoveTable = row.MOVES  # type: ignore[attr-defined]
    assert to in table[believed], f"{type(row).__name__} has no move {believed} → {to}"
    changed = type(row)._default_manager.filter(pk=row.pk, status=believed).update(status=to, **changes)
    if changed != 1:
        name = type(row).__name__.lower()
        raise StaleRow(f"This {name} is no longer {believed}: someone else decided first. Load it again.")
    row.status = to  # type: ignore[attr-defined]
    for field, value in changes.items():
        setattr(row, field, value)
