"""How numbers and times are written on pages. `static/dashboard/words.js` writes the same in the browser.

Amounts come in as Decimal, number or decimal string; what is unknown is a dash, never zero.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation, localcontext
from math import isfinite
from typing import Any

UNKNOWN = "–"
MINUS = "−"


def _number(value: Any) -> float | None:
    try:
        number = float(Decimal(str(value)))
    except (InvalidOperation, OverflowError):
        return None
    return number if isfinite(number) else None


def _signed(number: float, text: str, *, plus: bool) -> str:
    zero = not any(digit in text for digit in "123456789")  # what rounds to zero has no sign
    if zero:
        return text
    return f"{MINUS}{text}" if number < 0 else f"+{text}" if plus else text


def _fixed(size: float, places: int) -> str:
    """With thousands apart; ties go up, as in browsers."""
    with localcontext() as context:
        context.prec = 400  # any float
        return f"{Decimal(size).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,}"


def usd(value: Any) -> str:
    """$1,234.50"""
    number = _number(value)
    return UNKNOWN if number is None else _signed(number, f"${_fixed(abs(number), 2)}", plus=False)


def gain(value: Any) -> str:
    """+$1.20 or −$1.20"""
    number = _number(value)
    return UNKNOWN if number is None else _signed(number, f"${_fixed(abs(number), 2)}", plus=True)


def pct(value: Any) -> str:
    """+1.25 %, of a value that counts in percent"""
    number = _number(value)
    return UNKNOWN if number is None else _signed(number, f"{_fixed(abs(number), 2)} %", plus=True)


def share(value: Any) -> str:
    """12.5 %, of a value between 0 and 1"""
    number = _number(value)
    return UNKNOWN if number is None else _signed(number, f"{_fixed(abs(number) * 100, 1)} %", plus=False)


def price(value: Any) -> str:
    """A price with as many decimals as its size asks for"""
    number = _number(value)
    if number is None:
        return UNKNOWN
    size = abs(number)
    places = 2 if size >= 100 else 4 if size >= 1 else 6 if size >= 0.01 else 9
    return _signed(number, f"${_fixed(size, places)}", plus=False)


def count(value: Any) -> str:
    """1,234"""
    number = _number(value)
    return UNKNOWN if number is None else _signed(number, _fixed(abs(number), 0), plus=False)


def words(value: Any) -> str:
    """execute_trade → execute trade"""
    return str(value).replace("_", " ")


def short(value: Any) -> str:
    """At most 140 characters"""
    text = str(value)
    return text if len(text) <= 140 else text[:139].rstrip() + "…"


FORMATS: dict[str, Callable[[Any], str]] = {
    "usd": usd,
    "gain": gain,
    "pct": pct,
    "share": share,
    "price": price,
    "count": count,
    "words": words,
    "short": short,
}


def span(seconds: float) -> str:
    """12 s, 3 min, 5 h, 2 d: one unit, rounded down"""
    whole = max(0, int(seconds))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def ago(moment: datetime, *, now: datetime) -> str:
    """3 min ago"""
    return f"{span((now - moment).total_seconds())} ago"
