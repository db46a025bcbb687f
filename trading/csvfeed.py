"""Which candles a CSV file holds and what is wrong with the rest. Replaying them is the market's affair.

Every row that can't be a candle is reported by its line and left out; a file that has none is refused.
Nothing is guessed about prices: a row is taken as it stands or not at all. How columns and times are written
is `csvdialect`'s affair.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from tradeco.common.errors import DomainError
from trading.csvdialect import BadCell, Columns, cells_of, delimiter_of, headed, headerless, read_time
from trading.pricepath import EPOCH, Bar

MAX_ROWS = 2_000_000  # some 1.7 GB as bars; nearly four years of one-minute candles
MAX_LINE = 65_536  # characters; a longer line is no candle, and a file without line ends must not fill the memory
BAD_ROWS_KEPT = 10_000  # enough to repair a file by; the rest are only counted
PREAMBLE_LINES = 5  # a title or an address may stand above the header
DEFAULT_BAR_SECONDS = 60  # of a file with one candle, where no difference tells
EXPECTED = (
    "expected a header that names time, open, high, low and close (volume optional; Binance, Coinbase and "
    "plain OHLCV are known) or Binance's 12 columns of klines without a header"
)
NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
LONGEST = 40  # characters of a number; more digits than any price has
SMALLEST, LARGEST = -18, 15  # powers of ten between which a price or a volume is believed


class UnusableCsv(DomainError):
    """No candle could be read, or too many rows to hold."""

    code: ClassVar[str] = "market_csv_unusable"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "The market CSV can't be used"


@dataclass(frozen=True, slots=True)
class BadRow:
    """A line, counted from 1, that was left out, and why."""

    line: int
    reason: str


@dataclass(frozen=True, slots=True)
class CsvFile:
    """What a file held. `bars` ascend in time without duplicates; gaps are allowed."""

    bars: list[Bar]
    bad_rows: list[BadRow]  # by line; at most BAD_ROWS_KEPT of them
    bad_count: int  # of all
    format: str
    bar_seconds: int  # the most common difference


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    time: int  # microseconds since 1970, UTC
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class Faults:
    """The bad rows so far: the first ones kept, all of them counted."""

    def __init__(self) -> None:
        self.kept: list[BadRow] = []
        self.count = 0

    def add(self, line: int, reason: str) -> None:
        self.count += 1
        if len(self.kept) < BAD_ROWS_KEPT:
            self.kept.append(BadRow(line, reason))

    def first(self) -> str:
        worst = min(self.kept, key=lambda bad: bad.line, default=None)
        return "the file is empty" if worst is None else f"line {worst.line}: {worst.reason}"


def read(path: Path, *, market: str) -> CsvFile:
    """The candles of the file as bars of `market`. Raises UnusableCsv: none, too many, or unreadable."""
    faults = Faults()
    lines = numbered(path)
    columns, first = opening(lines, market, faults)
    rows = ascending(usable(first, lines, columns, faults), faults)
    if not rows:
        raise UnusableCsv(f"No usable candle: {EXPECTED}. First problem: {faults.first()}")
    seconds = usual_seconds(rows)
    bad_rows = sorted(faults.kept, key=lambda bad: bad.line)
    return CsvFile([bar(row, market, seconds) for row in rows], bad_rows, faults.count, columns.format, seconds)


def numbered(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that aren't blank, with their numbers from 1."""
    try:
        with path.open(encoding=encoding_of(path), errors="replace") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE + 1), ""), start=1):
                if len(line) > MAX_LINE:
                    raise UnusableCsv(f"Line {number} is longer than {MAX_LINE} characters: {EXPECTED}")
                if line.strip():
                    yield number, line
    except OSError as exc:
        raise UnusableCsv(f"{path} can't be read: {exc.strerror or exc}") from exc


def encoding_of(path: Path) -> str:
    """UTF-16 where its mark says so (spreadsheets write it), else UTF-8 with or without a mark."""
    with path.open("rb") as file:
        return "utf-16" if file.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def opening(lines: Iterator[tuple[int, str]], market: str, faults: Faults) -> tuple[Columns, list[tuple[int, str]]]:
    """How the file is written, and the lines looked at that hold a candle already. Raises UnusableCsv."""
    for (number, line), _ in zip(lines, range(PREAMBLE_LINES), strict=False):
        delimiter = delimiter_of(line)
        cells = cells_of(line, delimiter)
        columns = headed(cells, delimiter, base=market.partition("/")[0])
        if isinstance(columns, Columns):
            return columns, []
        if headerless(cells):
            return Columns.klines(delimiter), [(number, line)]
        faults.add(number, columns)
    raise UnusableCsv(f"No candles were found: {EXPECTED}. First problem: {faults.first()}")


def usable(
    first: Iterable[tuple[int, str]], lines: Iterable[tuple[int, str]], columns: Columns, faults: Faults
) -> Iterator[Row]:
    count = 0
    for source in (first, lines):
        for number, line in source:
            count += 1
            if count > MAX_ROWS:
                raise UnusableCsv(f"The file has more than {MAX_ROWS:,} rows: split it or use longer candles")
            try:
                yield row_of(number, cells_of(line, columns.delimiter), columns)
            except BadCell as exc:
                faults.add(number, str(exc))


def row_of(line: int, cells: list[str], columns: Columns) -> Row:
    """The candle of one line. Raises BadCell with the reason where it isn't one."""
    while len(cells) > columns.width and not cells[-1]:
        cells.pop()  # a separator at the end of the line
    if len(cells) != columns.width:
        raise BadCell(f"{len(cells)} columns where there should be {columns.width}")
    time = read_time(*(cells[at] for at in columns.time))
    opened, high, low, close = (
        price(name, cells[at], columns)
        for name, at in (
            ("open", columns.open),
            ("high", columns.high),
            ("low", columns.low),
            ("close", columns.close),
        )
    )
    if high < max(opened, close, low):
        raise BadCell(f"high {high} is below another price of the candle")
    if low > min(opened, close):
        raise BadCell(f"low {low} is above another price of the candle")
    return Row(line, time, opened, high, low, close, volume(cells, columns))


def price(name: str, text: str, columns: Columns) -> Decimal:
    value = number(name, text, columns)
    if value <= 0:
        raise BadCell(f"{name} is {text!r}: a price is above zero")
    return value


def volume(cells: list[str], columns: Columns) -> Decimal:
    if columns.volume is None or not cells[columns.volume]:
        return Decimal(0)
    value = number("volume", cells[columns.volume], columns)
    if value < 0:
        raise BadCell(f"volume is {cells[columns.volume]!r}: it can't be below zero")
    return value


def number(name: str, text: str, columns: Columns) -> Decimal:
    """A finite decimal of a believable size; a comma that separates no columns may be its decimal point."""
    plain = text.replace(",", ".") if columns.delimiter != "," and text.count(",") == 1 and "." not in text else text
    if not plain:
        raise BadCell(f"{name} is missing")
    if len(plain) > LONGEST or NUMBER.fullmatch(plain) is None:
        raise BadCell(f"{name} is {text[:LONGEST]!r}: not a number")
    value = Decimal(plain)
    if value and not SMALLEST <= value.adjusted() <= LARGEST:
        raise BadCell(f"{name} is {text[:LONGEST]!r}: too large or too small to be believed")
    return value


def ascending(rows: Iterable[Row], faults: Faults) -> list[Row]:
    """The most rows that ascend in time as the file stands, or backwards; the others are reported.

    The longest increasing subsequence (Fredman 1975), so that one mad time doesn't cost all the rows after
    it.
    """
    found = list(rows)
    if len(found) > 1 and sum((b.time > a.time) - (b.time < a.time) for a, b in pairs(found)) < 0:
        found.reverse()
    if all(a.time < b.time for a, b in pairs(found)):
        return found
    kept = longest_ascent([row.time for row in found])
    chosen = {found[at].time: found[at].line for at in kept}
    lines = set(chosen.values())
    for row in found:
        if row.line not in lines:
            twin = chosen.get(row.time)
            faults.add(row.line, "its time is out of order" if twin is None else f"the time of line {twin} again")
    return [found[at] for at in kept]


def longest_ascent(times: list[int]) -> list[int]:
    """Positions of a longest strictly increasing subsequence; of equal times the first is kept."""
    tails: list[int] = []  # the smallest last time of an ascent of each length
    ends: list[int] = []  # where it stands
    before = [-1] * len(times)
    for at, time in enumerate(times):
        length = bisect_left(tails, time)
        before[at] = ends[length - 1] if length else -1
        if length == len(tails):
            tails.append(time)
            ends.append(at)
        elif tails[length] != time:
            tails[length], ends[length] = time, at
    chain: list[int] = []
    at = ends[-1] if ends else -1
    while at >= 0:
        chain.append(at)
        at = before[at]
    return chain[::-1]


def usual_seconds(rows: list[Row]) -> int:
    """The most common difference of neighbours, the smaller where two are equally common."""
    differences = Counter(b.time - a.time for a, b in pairs(rows))
    if not differences:
        return DEFAULT_BAR_SECONDS
    usual = min(differences, key=lambda difference: (-differences[difference], difference))
    return max(1, round(usual / 1_000_000))


def pairs(rows: list[Row]) -> Iterator[tuple[Row, Row]]:
    return pairwise(rows)


def bar(row: Row, market: str, seconds: int) -> Bar:
    return Bar(
        market=market,
        start=EPOCH + timedelta(microseconds=row.time),
        seconds=seconds,
        open=row.open,
        high=row.high,
        low=row.low,
        close=row.close,
        volume=row.volume,
    )
