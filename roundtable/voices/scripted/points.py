"""What may be said about the facts: points, each with its kind, its figures in words, and whether it is good news.

Facts are read with suspicion: what is missing, of another type or beyond all sense makes no point.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any

from roundtable.voices.scripted import figures
from roundtable.voices.scripted.figures import number, words

STILL = Decimal("0.003")  # a market that moved less stands still
TENSE = Decimal("0.03")  # drawdown from which the mood is tense
HALF = Decimal("0.5")
ROWS_MOST = 12
REFUSALS_MOST = 3  # the most frequent
NAME_MOST, WORDS_MOST = 25, 60


@dataclass(frozen=True, slots=True)
class Point:
    """`kind` names a section of lines, `mood` is 1 good news, -1 bad, 0 neither; `urgent` is what was called about."""

    kind: str
    slots: Mapping[str, str]
    mood: int = 0
    market: str = ""
    urgent: bool = field(default=False)


def of(facts: Mapping[str, Any]) -> list[Point]:
    """Every point that these facts make."""
    makers = (_prices, _spread, _signals, _positions, _against_signals, _risk, _record, _refusals, _peers, _trade)
    points = [point for make in makers for point in make(facts)]
    return [*_matter(facts), *points]


def part(facts: Any, *path: str) -> Mapping[str, Any]:
    """A mapping inside the facts; an empty one where there is none."""
    found = facts
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def rows(facts: Any, *path: str) -> list[Mapping[str, Any]]:
    """A list of mappings inside the facts."""
    found = part(facts, *path[:-1]).get(path[-1])
    return [row for row in found[:ROWS_MOST] if isinstance(row, Mapping)] if isinstance(found, list) else []


def _named(facts: Mapping[str, Any], fact: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows by market."""
    for name, row in islice(part(facts, fact).items(), ROWS_MOST):
        if (market := words(name, NAME_MOST)) and isinstance(row, Mapping):
            yield market, row


def _market(name: str) -> dict[str, str]:
    return {"market": name, "base": name.split("/")[0]}


def _mood(value: Decimal, still: Decimal = Decimal(0)) -> int:
    return 0 if abs(value) <= still else (1 if value > 0 else -1)


# --- the market -----------------------------------------------------------------------------------


def _prices(facts: Mapping[str, Any]) -> Iterator[Point]:
    for market, row in _named(facts, "prices"):
        price, change, bars = number(row.get("price")), number(row.get("change")), number(row.get("bars"))
        high, low = number(row.get("high")), number(row.get("low"))
        if price is None or change is None or not bars or high is None or low is None:
            continue
        mood = _mood(change, STILL)
        slots = {
            **_market(market),
            "price": figures.price(price),
            "change": figures.signed_share(change),
            "move": figures.share(abs(change)),
            "bars": f"{bars:.0f}",
            "high": figures.price(max(high, price)),
            "low": figures.price(min(low, price)),
        }
        yield Point(("price.flat", "price.up", "price.down")[mood], slots, mood, market)


def _spread(facts: Mapping[str, Any]) -> Iterator[Point]:
    changes = [(change, market) for market, row in _named(facts, "prices") if (change := number(row.get("change")))]
    if len(changes) < 2:
        return
    (least, worst), (most, best) = min(changes), max(changes)
    if most - least > STILL:
        slots = {"best": best, "worst": worst}
        told = {"best_change": figures.signed_share(most), "worst_change": figures.signed_share(least)}
        yield Point("spread", {**slots, **told})


def _signals(facts: Mapping[str, Any]) -> Iterator[Point]:
    for market, row in _named(facts, "outlook"):
        if slots := _signal(market, row):
            yield Point(f"signal.{row['direction']}", slots, 1 if row["direction"] == "buy" else -1, market)


def _signal(market: str, row: Mapping[str, Any]) -> dict[str, str]:
    strength, confidence = number(row.get("strength")), number(row.get("confidence"))
    kind = words(row.get("kind"), 20).replace("_", " ")
    if strength is None or confidence is None or not kind or row.get("direction") not in ("buy", "sell"):
        return {}
    return {
        **_market(market),
        "kind": kind,
        "strength": figures.strength(strength),
        "confidence": figures.strength(confidence),
        "chance": f"{(HALF + confidence) / 2:.0%}",
    }


# --- what we hold and held ------------------------------------------------------------------------


def _positions(facts: Mapping[str, Any]) -> Iterator[Point]:
    held = rows(facts, "positions", "open")
    yield from (point for row in held if (point := _held(row)))
    yield from (point for row in rows(facts, "positions", "closed") if (point := _closed(row)))
    portfolio = part(facts, "portfolio")
    cash, equity = number(portfolio.get("free_cash_usd")), number(portfolio.get("equity_usd"))
    if "open" in part(facts, "positions") and not held and cash is not None and equity is not None:
        yield Point("idle", {"cash": figures.usd(cash), "equity": figures.usd(equity)})


def _held(row: Mapping[str, Any], *, urgent: bool = False) -> Point | None:
    market, gain = words(row.get("market"), NAME_MOST), number(row.get("gain"))
    cost, value, held = (number(row.get(name)) for name in ("cost_usd", "value_usd", "minutes_held"))
    if not market or gain is None or cost is None or value is None or held is None:
        return None
    slots = {
        **_market(market),
        "gain": figures.signed_share(gain),
        "cost": figures.usd(cost),
        "value": figures.usd(value),
        "held": figures.span(held),
    }
    return Point("held.up" if gain > 0 else "held.down", slots, _mood(gain), market, urgent)


def _closed(row: Mapping[str, Any], *, urgent: bool = False) -> Point | None:
    market, pnl, gain = words(row.get("market"), NAME_MOST), number(row.get("pnl_usd")), number(row.get("gain"))
    if not market or pnl is None or gain is None:
        return None
    slots = {
        **_market(market),
        "pnl": figures.signed_usd(pnl),
        "amount": figures.usd(abs(pnl)),
        "gain": figures.signed_share(gain),
    }
    if why := words(row.get("why"), WORDS_MOST):
        slots["why"] = why
    return Point("closed.win" if pnl > 0 else "closed.loss", slots, _mood(pnl), market, urgent)


def _against_signals(facts: Mapping[str, Any]) -> Iterator[Point]:
    """Where what we hold and what signals say meet."""
    said = dict(_named(facts, "outlook"))
    for row in rows(facts, "positions", "open"):
        market, gain = words(row.get("market"), NAME_MOST), number(row.get("gain"))
        signal = _signal(market, said[market]) if market in said else {}
        if gain is not None and signal:
            kind = "support" if said[market]["direction"] == "buy" else "conflict"
            yield Point(kind, {**signal, "gain": figures.signed_share(gain)}, 1 if kind == "support" else -1, market)


# --- the company ----------------------------------------------------------------------------------


def _risk(facts: Mapping[str, Any]) -> Iterator[Point]:
    found = part(facts, "portfolio")
    names = ("equity_usd", "exposure_usd", "drawdown", "free_cash_usd")
    equity, exposure, drawdown, cash = (number(found.get(name)) for name in names)
    if not equity or exposure is None or drawdown is None or cash is None:
        return
    slots = {
        "equity": figures.usd(equity),
        "exposure": figures.share(exposure / equity),
        "exposure_usd": figures.usd(exposure),
        "drawdown": figures.share(drawdown),
        "cash": figures.usd(cash),
    }
    tense = drawdown >= TENSE
    yield Point("risk.tense" if tense else "risk.calm", slots, -1 if tense else 1)


def _record(facts: Mapping[str, Any]) -> Iterator[Point]:
    found = part(facts, "outcomes")
    wins, losses, pnl, hours = (number(found.get(name)) for name in ("wins", "losses", "pnl_usd", "hours"))
    if wins is None or losses is None or pnl is None or not hours or wins + losses < 1:
        return
    slots = {
        "wins": f"{wins:.0f}",
        "losses": f"{losses:.0f}",
        "closed": f"{wins + losses:.0f}",
        "rate": f"{wins / (wins + losses):.0%}",
        "pnl": figures.signed_usd(pnl),
        "amount": figures.usd(abs(pnl)),
        "hours": f"{hours:.0f}",
    }
    yield Point("record.good" if pnl > 0 else "record.bad", slots, _mood(pnl))


_BY = {"voted_down": "the vote", "vetoed": "the veto", "rejected_by_person": "our people"}


def _refusals(facts: Mapping[str, Any]) -> Iterator[Point]:
    hours = number(part(facts, "outcomes").get("hours"))
    counted = [(number(times), code) for code, times in part(facts, "outcomes", "refusals").items()]
    often = sorted((count, code) for count, code in counted if count is not None and count >= 2)[-REFUSALS_MOST:]
    for count, code in reversed(often):
        if hours and (said := _BY.get(str(code)) or words(code, 40).replace("_", " ")):
            yield Point("refusals", {"code": said, "times": f"{count:.0f}", "hours": f"{hours:.0f}"}, -1)


def _peers(facts: Mapping[str, Any]) -> Iterator[Point]:
    hours = number(part(facts, "outcomes").get("hours"))
    for agent, row in islice(part(facts, "outcomes", "by_agent").items(), ROWS_MOST):
        wins, losses, pnl = (number(part({"row": row}, "row").get(name)) for name in ("wins", "losses", "pnl_usd"))
        name = words(agent, 20).capitalize()
        if not name or not hours or wins is None or losses is None or not pnl:
            continue
        slots = {"peer": name, "hours": f"{hours:.0f}", "peer_pnl": figures.signed_usd(pnl)}
        counts = {"peer_wins": f"{wins:.0f}", "peer_losses": f"{losses:.0f}"}
        yield Point("peer.good" if pnl > 0 else "peer.bad", {**slots, **counts}, _mood(pnl))


def _trade(facts: Mapping[str, Any]) -> Iterator[Point]:
    found = part(facts, "trade")
    market, side, value = words(found.get("market"), NAME_MOST), found.get("side"), number(found.get("value_usd"))
    equity = number(part(facts, "portfolio").get("equity_usd"))
    if market and side in ("buy", "sell") and value and equity:
        slots = {**_market(market), "side": side, "value": figures.usd(value), "share": figures.share(value / equity)}
        yield Point("trade", slots, 0, market)


def _matter(facts: Mapping[str, Any]) -> Iterator[Point]:
    """The row that called for the conversation, as a point of its own."""
    row = part(facts, "talked_of")
    made = _closed(row, urgent=True) or _held(row, urgent=True)
    if made is not None:
        yield made
    if (title := words(row.get("title"), WORDS_MOST)) and (status := words(row.get("status"), 20)):
        yield Point("matter", {"title": title.rstrip(".!?"), "status": status}, urgent=True)
