"""What a turn was about: the markets that it names, and whether it rests on a figure. Read from its words and from the
facts that its speaker had; what follows from it is `distil`'s and `actions`' affair.
"""

import re
from collections.abc import Iterator
from typing import Any

from roundtable.models import Turn

_MARKET = re.compile(r"[A-Za-z0-9]{2,12}/[A-Za-z0-9]{2,12}")


def markets(turn: Turn) -> list[str]:
    """Markets that the turn names, by their whole name or by what is traded there, such as SOL for SOL/USDC."""
    return [name for name in sorted(markets_of(turn.facts)) if _names(turn.text, name)]


def markets_of(facts: Any) -> set[str]:
    """Every market that these facts tell of."""
    return {text for text in _texts(facts) if _MARKET.fullmatch(text)}


def has_a_figure(turn: Turn) -> bool:
    return any(character.isdigit() for character in turn.text)


def _names(text: str, market: str) -> bool:
    base = market.partition("/")[0]
    return market in text or re.search(rf"\b{re.escape(base)}\b", text) is not None


def _texts(facts: Any) -> Iterator[str]:
    if isinstance(facts, str):
        yield facts
    elif isinstance(facts, dict):
        for key, value in facts.items():
            yield str(key)
            yield from _texts(value)
    elif isinstance(facts, list):
        for value in facts:
            yield from _texts(value)
