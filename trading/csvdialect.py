"""How a line of a candle file is written: separators, columns, times. Judging rows is csvfeed's affair."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Self

SEPARATORS = (",", ";", "\t")
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# A bare number is a time when one of these units puts it between 2000 and 2100: the ranges don't overlap.
EARLIEST, LATEST = 946_684_800, 4_102_444_800  # seconds
UNITS = {1: 1_000_000, 1_000: 1_000, 1_000_000: 1}  # parts a second → microseconds each; nanoseconds divide
PLAIN_NUMBER = re.compile(r"[0-9]{1,20}(?:\.[0-9]*)?")
DOTTED_DATE = re.compile(r"([0-9]{4})[./]([0-9]{2})[./]([0-9]{2})")

# Names by preference, after `plain`: numbers before texts, and never a closing time.
TIME_NAMES = (
    "open_time",
    "opentime",
    "unix",
    "unix_timestamp",
    "unix_time",
    "epoch",
    "timestamp",
    "timestamp_ms",
    "start",
    "start_time",
    "time",
    "ts",
    "datetime",
    "date_time",
    "date",
    "candle_begin_time",
    "time_utc",
    "date_utc",
    "datetime_utc",
    "timestamp_utc",
    "time_period_start",
    "gmt_time",
    "local_time",
    "t",
)
OPEN_NAMES = ("open", "open_price", "opening", "price_open", "first", "o")
HIGH_NAMES = ("high", "high_price", "highest", "price_high", "max", "h")
LOW_NAMES = ("low", "low_price", "lowest", "price_low", "min", "l")
CLOSE_NAMES = ("close", "close_price", "closing", "price_close", "last", "close_last", "c")
VOLUME_NAMES = (
    "volume",
    "vol",
    "base_volume",
    "volume_base",
    "basevolume",
    "volume_traded",
    "qty",
    "amount",
    "tickvol",
    "v",
)
CLOCK_TIME = re.compile(r"[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?")


class BadCell(ValueError):
    """A cell, or its line, can't be what its column says; the message is the reason for people."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Where each thing stands in a line of `width` cells; `time` is two places where day and hour part."""

    format: str
    delimiter: str
    width: int
    time: tuple[int, ...]
    open: int
    high: int
    low: int
    close: int
    volume: int | None

    @classmethod
    def klines(cls, delimiter: str) -> Self:
        """The exchange's own 12 columns, which come without a header."""
        return cls("binance klines without a header", delimiter, 12, (0,), 1, 2, 3, 4, 5)


def delimiter_of(line: str) -> str:
    """The separator that stands most often in the line; the comma where none does."""
    return max(SEPARATORS, key=line.count)


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line without blanks and quotes; a candle never spans lines, so neither do quotes."""
    if '"' not in line:
        return [cell.strip() for cell in line.split(delimiter)]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter), [])]
    except csv.Error:
        return [line]  # one cell: no candle, and reported as such


def plain(name: str) -> str:
    """A column's name in one spelling: `Open Time` and `<OPEN>` become `open_time` and `open`."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def headed(cells: Sequence[str], delimiter: str, *, base: str) -> Columns | str:
    """The columns that a header names, or why it isn't one. `base` is the token whose volume is meant."""
    names = [plain(cell) for cell in cells]
    while names and not names[-1]:
        names.pop()
    place = {name: at for at, name in reversed(list(enumerate(names)))}  # of two columns of a name the first
    wanted = {
        "time": TIME_NAMES,
        "open": OPEN_NAMES,
        "high": HIGH_NAMES,
        "low": LOW_NAMES,
        "close": CLOSE_NAMES,
    }
    at = {key: pick(place, known) for key, known in wanted.items()}
    found = {key: column for key, column in at.items() if column is not None}
    missing = [key for key in wanted if key not in found]
    if len(found) < 2:
        return "not a header, and not 12 columns of klines"
    if missing:
        return f"the header has no column for {', '.join(missing)}"
    return Columns(
        format=dialect(names),
        delimiter=delimiter,
        width=len(names),
        time=(place["date"], place["time"]) if split_time(place, found["time"]) else (found["time"],),
        open=found["open"],
        high=found["high"],
        low=found["low"],
        close=found["close"],
        volume=pick(place, (f"volume_{plain(base)}", *VOLUME_NAMES)),
    )


def headerless(cells: Sequence[str]) -> bool:
    """Whether the line can be one of klines: 12 cells that begin with a number, most of them numbers."""
    if len(cells) != 12:
        return False
    return sum(PLAIN_NUMBER.fullmatch(cell) is not None for cell in cells) >= 6


def pick(place: dict[str, int], known: Sequence[str]) -> int | None:
    return next((place[name] for name in known if name in place), None)


def split_time(place: dict[str, int], chosen: int) -> bool:
    """Whether day and hour may stand apart: there is a day, and the column chosen as time may be the hour."""
    return "date" in place and place.get("time") == chosen


def dialect(names: Sequence[str]) -> str:
    """Whose file it is, by its names; the reading doesn't depend on it."""
    if "open_time" in names and "close_time" in names:
        return "binance"
    if list(names[:5]) == ["time", "low", "high", "open", "close"]:
        return "coinbase candles"
    if list(names[:3]) == ["unix", "date", "symbol"]:
        return "coinbase export"
    return "ohlcv"


def read_time(first: str, clock: str = "") -> int:
    """Microseconds since 1970 of a time as s, ms, µs, ns or ISO 8601 (no offset = UTC). Raises BadCell.

    `clock` is the second of two columns: an hour, or else the whole time, and then `first` is ignored.
    """
    text = first if not clock else f"{first} {clock}" if CLOCK_TIME.fullmatch(clock) else clock
    if not text:
        raise BadCell("the time is missing")
    moment = epoch_time(text)
    if moment is None:
        moment = iso_time(text)
    if not EARLIEST * 1_000_000 <= moment < LATEST * 1_000_000:
        raise BadCell(f"the time {text[:40]!r} is not between 2000 and 2100")
    return moment


def epoch_time(text: str) -> int | None:
    """Microseconds of a bare number in whichever unit puts it between 2000 and 2100; None where none does."""
    if PLAIN_NUMBER.fullmatch(text) is None:
        return None
    value = Decimal(text)
    for parts, micros in UNITS.items():
        if EARLIEST * parts <= value < LATEST * parts:
            return int(value * micros)
    return int(value / 1_000) if EARLIEST * 10**9 <= value < LATEST * 10**9 else None


def iso_time(text: str) -> int:
    """Microseconds of an ISO 8601 time; `2026.04.01` and `2026/04/01` are days too, ` UTC` is an offset."""
    spelt = DOTTED_DATE.sub(r"\1-\2-\3", text.removesuffix(" UTC").removesuffix(" GMT"))
    try:
        moment = datetime.fromisoformat(spelt)
    except ValueError as exc:
        raise BadCell(f"the time {text[:40]!r} is neither a number between 2000 and 2100 nor ISO 8601") from exc
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // MICROSECOND
