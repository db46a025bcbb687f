"""What somebody said that the facts contradict, and whether what he said was good news. Only plain claims are judged:
a direction of one market, drawdown, exposure, whether we earn.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from roundtable.voices.scripted import figures
from roundtable.voices.scripted.figures import number
from roundtable.voices.scripted.points import STILL, part

OFF = {"drawdown": Decimal("0.01"), "exposure": Decimal("0.05")}  # shares by which a figure may be off: time passes
_UP = re.compile(r"\b(?:up|rose|risen|gained|rising|climb\w*|running|ralli\w*)\b", re.IGNORECASE)
_DOWN = re.compile(r"\b(?:down|fell|fallen|lost|falling|slip\w*|dropp\w*|sinking)\b", re.IGNORECASE)
_GOOD = re.compile(r"\b(?:(?:says?|still|to) buys?|for buying|won|win|earned|gain|hits)\b", re.IGNORECASE)
_BAD = re.compile(
    r"\b(?:says? sell|for selling|sell by|a sell|falling|against us|loss|losses|drawdown)\b", re.IGNORECASE
)
_MOVED = re.compile(r"(?:\b(?:is|has|are) |^|\W)(up|down|rising|falling|rose|fell|risen|fallen)\b", re.IGNORECASE)
_EARNING = re.compile(r"\bwe(?:'re| are) (?:winning|earning|in profit|making money)", re.IGNORECASE)
_LOSING = re.compile(r"\bwe(?:'re| are) (?:losing|in the red|burning money)", re.IGNORECASE)
_SAID = r"\b{name}(?: is| of| at| stands at)? (\d{{1,3}}(?:\.\d{{1,4}})?) ?%"


def mood(text: str) -> int:
    """1 for good news, -1 for bad, 0 where it can't be told: by signs of figures and plain words."""
    good = len(re.findall(r"\+\d", text)) + len(_UP.findall(text)) + len(_GOOD.findall(text))
    bad = len(re.findall(r"(?:^|\s)-\d", text)) + len(_DOWN.findall(text)) + len(_BAD.findall(text))
    return (good > bad) - (good < bad)


def contradicted(text: str, facts: Mapping[str, Any]) -> str:
    """The truth that what was said is at odds with; empty where nothing is."""
    return _direction(text, facts) or _share_off(text, facts) or _earnings(text, facts)


def _direction(text: str, facts: Mapping[str, Any]) -> str:
    """One market named, said to move one way, while it moved the other."""
    named = [market for market in part(facts, "prices") if _names(text, market)]
    words = {word.lower() for word in _MOVED.findall(text)}
    rises, falls = words & {"up", "rising", "rose", "risen"}, words & {"down", "falling", "fell", "fallen"}
    if len(named) != 1 or bool(rises) == bool(falls):
        return ""
    change = number(part(facts, "prices", named[0]).get("change"))
    if change is None or abs(change) <= STILL or (change > 0) == bool(rises):
        return ""
    return f"{named[0]} is {'up' if change > 0 else 'down'} {figures.share(abs(change))}"


def _names(text: str, market: str) -> bool:
    base = re.escape(market.split("/")[0])
    return bool(base) and re.search(rf"(?<!\w){base}(?!\w)", text) is not None


def _share_off(text: str, facts: Mapping[str, Any]) -> str:
    for name, true in _shares(facts).items():
        said = re.search(_SAID.format(name=name), text, re.IGNORECASE)
        if said and abs(Decimal(said[1]) / 100 - true) > OFF[name]:
            return f"{name} is {figures.share(true)}"
    return ""


def _shares(facts: Mapping[str, Any]) -> dict[str, Decimal]:
    found = part(facts, "portfolio")
    equity, exposure, drawdown = (number(found.get(name)) for name in ("equity_usd", "exposure_usd", "drawdown"))
    shares = {} if drawdown is None else {"drawdown": drawdown}
    return {**shares, "exposure": exposure / equity} if equity and exposure is not None else shares


def _earnings(text: str, facts: Mapping[str, Any]) -> str:
    found = part(facts, "outcomes")
    pnl, hours = number(found.get("pnl_usd")), number(found.get("hours"))
    if not pnl or not hours:
        return ""
    if (pnl < 0 and _EARNING.search(text)) or (pnl > 0 and _LOSING.search(text)):
        return f"we stand at {figures.signed_usd(pnl)} USD in {hours:.0f} h"
    return ""
