"""What is compared: companies with debate or memory switched off, by policy alone.

Where nothing is switched off, everything is as the demo's policies have it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tradeco.common.errors import InvalidInput

NO_DEBATE: Mapping[str, Any] = {
    "roundtable_from_usd": "1000000000",  # every trade is voted on by rule, at once
    "flag_talks": False,
}
NO_MEMORY: Mapping[str, Any] = {
    "memory_influence": "0",
    "flag_learning": False,
    "initiative_on": False,
    "memories_per_conversation_max": 0,
}


@dataclass(frozen=True, slots=True)
class Arm:
    """One way in which the company may think."""

    name: str
    debate: bool
    memory: bool

    @property
    def policies(self) -> dict[str, Any]:
        """What it changes of the demo's policies."""
        return {**({} if self.debate else NO_DEBATE), **({} if self.memory else NO_MEMORY)}


ARMS = {
    arm.name: arm
    for arm in (
        Arm("neither", debate=False, memory=False),
        Arm("debate", debate=True, memory=False),
        Arm("memory", debate=False, memory=True),
        Arm("both", debate=True, memory=True),
    )
}


def read(text: str) -> list[Arm]:
    """Arms by their names, separated by commas; the first is what the others are compared with.

    Raises:
        InvalidInput: there is no such arm, or one is named twice.
    """
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in ARMS:
            raise InvalidInput(f"There is no arm {name!r}. There are: {', '.join(ARMS)}.")
    if len(set(names)) < len(names):
        raise InvalidInput("Each arm is run once.")
    return [ARMS[name] for name in names]
