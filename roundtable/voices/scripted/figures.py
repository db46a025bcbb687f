"""Numbers as people say them. Whatever isn't a usable number is None, never a guess."""

import re
from decimal import Decimal, InvalidOperation
from typing import Any

MOST = Decimal(10) ** 15  # beyond it a figure is a mistake
_DIGITS = 4  # significant ones of a price below one


def number(value: Any) -> Decimal | None:
    """A finite number out of JSON; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        found = Decimal(str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found) < MOST else None


def price(value: Decimal) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 1 or not value:
        return f"{value:.2f}"
    return f"{value:.{min(15, _DIGITS - 1 - value.adjusted())}f}"


def usd(value: Decimal) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"


def signed_usd(value: Decimal) -> str:
    return f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.2f}"


def share(value: Decimal) -> str:
    """A share as per cent, with two decimals where it is small."""
    return f"{value:.2%}" if abs(value) < Decimal("0.01") else f"{value:.1%}"


def signed_share(value: Decimal) -> str:
    return f"{value:+.2%}" if abs(value) < Decimal("0.01") else f"{value:+.1%}"


def strength(value: Decimal) -> str:
    return f"{value:.2f}"


def span(minutes: Decimal) -> str:
    if minutes < 1:
        return "less than a minute"
    if minutes < 2:
        return "a minute"
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"


def words(value: Any, most: int) -> str:
    """A text on one line without control characters; empty where it isn't one or is longer than `most`."""
    if not isinstance(value, str):
        return ""
    line = " ".join("".join(character if character.isprintable() else " " for character in value).split())
    return line if len(line) <= most else ""


def figures_in(text: str) -> set[str]:
    """The numbers that a text names, as written."""
    return set(re.findall(r"\d+(?:[.,]\d+)*", text))
