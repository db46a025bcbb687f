"""A candle file in any usual dialect is read, and what isn't a candle is named by its line."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tradeco.common.errors import DomainError
from trading import csvfeed

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "SOLUSDT-15m-2026-04-to-05.csv"
MARKET = "SOL/USDC"
T0 = 1_775_020_500  # 2026-04-01 05:15 UTC
START = datetime.fromtimestamp(T0, UTC)
PLAIN = "time,open,high,low,close,volume"


def written(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "candles.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(tmp_path: Path, *lines: str) -> csvfeed.CsvFile:
    return csvfeed.read(written(tmp_path, "\n".join(lines)), market=MARKET)


def row(minute: int, prices: str = "10,12,9,11", volume: str = "5") -> str:
    return f"{T0 + 60 * minute},{prices},{volume}"


def assert_one_candle(file: csvfeed.CsvFile) -> None:
    bar = file.bars[0]
    assert (bar.market, bar.start) == (MARKET, START)
    assert [bar.open, bar.high, bar.low, bar.close] == [Decimal(price) for price in ("10", "12", "9", "11")]
    assert bar.volume == 5


def test_klines_without_a_header_are_read(tmp_path: Path) -> None:
    line = f"{T0 * 1000},10,12,9,11,5,{T0 * 1000 + 59999},55,3,1,2,0"
    file = read(tmp_path, line, line.replace(str(T0), str(T0 + 60)))
    assert_one_candle(file)
    assert (file.format, file.bar_seconds, len(file.bars)) == ("binance klines without a header", 60, 2)
    assert file.bad_rows == []


@pytest.mark.parametrize(
    ("header", "line", "name"),
    [
        (
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
            f"{T0 * 10**6},10,12,9,11,5,{T0 * 10**6 + 59},55,3,1,2,0",
            "binance",
        ),
        ("time,low,high,open,close,volume", f"{T0},9,12,10,11,5", "coinbase candles"),
        (
            "unix,date,symbol,open,high,low,close,Volume SOL,Volume USD",
            f"{T0},2026-04-01 05:15:00,SOL/USD,10,12,9,11,5,55",
            "coinbase export",
        ),
        (
            "Unix Timestamp,Date,Symbol,Open,High,Low,Close,Volume",
            f"{T0}.0,x,SOLUSD,10,12,9,11,5",
            "ohlcv",
        ),
        ("Volume USD,Volume SOL,CLOSE,Low,high,Open,Timestamp", f"55,5,11,9,12,10,{T0 * 1000}", "ohlcv"),
        (
            "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<VOL>",
            "2026.04.01\t05:15\t10\t12\t9\t11\t5",
            "ohlcv",
        ),
        ("Date;Open;High;Low;Close;Volume", "2026-04-01 05:15;10,0;12,0;9,0;11,0;5", "ohlcv"),
        (
            '"datetime","open","high","low","close","vol"',
            '"2026-04-01T05:15:00Z","10","12","9","11","5"',
            "ohlcv",
        ),
        ("t,o,h,l,c,v", "2026-04-01 13:15:00+08:00,10,12,9,11,5", "ohlcv"),
        ("t,o,h,l,c,v", f"{T0 * 10**9},10,12,9,11,5,", "ohlcv"),
    ],
)
def test_every_usual_dialect_says_the_same(tmp_path: Path, header: str, line: str, name: str) -> None:
    file = read(tmp_path, header, line)
    assert_one_candle(file)
    assert file.format == name


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_marks_and_line_ends_of_every_system_are_read(tmp_path: Path, encoding: str, ending: str) -> None:
    text = ending.join([PLAIN, row(0), "", row(1), ""])
    file = csvfeed.read(written(tmp_path, text.encode(encoding)), market=MARKET)
    assert_one_candle(file)
    assert (len(file.bars), file.bad_rows) == (2, [])


def test_a_time_without_an_offset_is_utc(tmp_path: Path) -> None:
    assert read(tmp_path, PLAIN, "2026-04-01 05:15,10,12,9,11,5").bars[0].start == START


def test_volume_may_be_missing(tmp_path: Path) -> None:
    assert read(tmp_path, "time,open,high,low,close", f"{T0},10,12,9,11").bars[0].volume == 0
    assert read(tmp_path, PLAIN, f"{T0},10,12,9,11,").bars[0].volume == 0


def test_a_title_above_the_header_is_passed_over_and_reported(tmp_path: Path) -> None:
    file = read(tmp_path, "candles of our exchange", PLAIN, row(0))
    assert_one_candle(file)
    assert [bad.line for bad in file.bad_rows] == [1]


def test_a_descending_file_is_turned_round(tmp_path: Path) -> None:
    file = read(tmp_path, PLAIN, row(2), row(1), row(0))
    assert [bar.start for bar in file.bars] == [START + timedelta(minutes=n) for n in range(3)]
    assert file.bad_rows == []


def test_gaps_are_allowed_and_the_usual_difference_is_the_bars_length(tmp_path: Path) -> None:
    file = read(tmp_path, PLAIN, *(row(minute) for minute in (0, 1, 2, 10, 11, 500)))
    assert (file.bar_seconds, len(file.bars), file.bad_rows) == (60, 6, [])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (f"{T0},10,12,9,11", "5 columns where there should be 6"),
        (f"{T0},10,12,9,11,5,6", "7 columns where there should be 6"),
        (row(0, "10,,9,11"), "high is missing"),
        (row(0, "10,NaN,9,11"), "high is 'NaN': not a number"),
        (row(0, "10,inf,9,11"), "high is 'inf': not a number"),
        (row(0, "10,1_2,9,11"), "high is '1_2': not a number"),
        (row(0, "10,12,0,11"), "low is '0': a price is above zero"),
        (row(0, "10,12,9,-11"), "close is '-11': a price is above zero"),
        (row(0, "10,1e99,9,11"), "high is '1e99': too large or too small to be believed"),
        (row(0, "10,10.5,9,11"), "high 10.5 is below another price of the candle"),
        (row(0, "10,12,10.5,11"), "low 10.5 is above another price of the candle"),
        (row(0, volume="-5"), "volume is '-5': it can't be below zero"),
        ("soon,10,12,9,11,5", "the time 'soon' is neither a number between 2000 and 2100 nor ISO 8601"),
        ("12,10,12,9,11,5", "the time '12' is neither a number between 2000 and 2100 nor ISO 8601"),
        ("0001-01-01T00:00+20:00,10,12,9,11,5", "is not between 2000 and 2100"),
        (",10,12,9,11,5", "the time is missing"),
        ("\x00,10,12,9,11,5", "neither a number"),
        (PLAIN, "neither a number"),
        ('"unclosed,10,12,9,11,5', "1 columns"),
    ],
)
def test_a_bad_row_is_skipped_and_named_by_its_line(tmp_path: Path, line: str, reason: str) -> None:
    file = read(tmp_path, PLAIN, row(-1), line, row(1))
    assert len(file.bars) == 2
    assert [bad.line for bad in file.bad_rows] == [3]
    assert reason in file.bad_rows[0].reason


def test_a_repeated_time_is_reported_and_the_first_is_kept(tmp_path: Path) -> None:
    file = read(tmp_path, PLAIN, row(0), row(1), row(1, "20,22,19,21"), row(2))
    assert [bar.close for bar in file.bars] == [11, 11, 11]
    assert file.bad_rows == [csvfeed.BadRow(4, "the time of line 3 again")]


def test_one_mad_time_does_not_cost_the_rows_after_it(tmp_path: Path) -> None:
    file = read(tmp_path, PLAIN, row(0), row(9_999_999), *(row(minute) for minute in range(1, 6)))
    assert len(file.bars) == 6
    assert file.bad_rows == [csvfeed.BadRow(3, "its time is out of order")]


@pytest.mark.parametrize(
    ("text", "first_problem"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("hello\nworld", "line 1: not a header"),
        ("time,open,high,low,volume\n1,2,3,4,5", "line 1: the header has no column for close"),
        (f"{PLAIN}\nnonsense", "line 2: 1 columns"),
        (f"{T0},10,12,9,11,5", "line 1: not a header"),
        (b"\x89PNG\r\n\x1a\n\x00\xff\xfe" * 99, "line 1"),
    ],
)
def test_a_file_with_nothing_usable_is_refused_with_its_first_problem(
    tmp_path: Path, text: str | bytes, first_problem: str
) -> None:
    with pytest.raises(csvfeed.UnusableCsv) as refused:
        csvfeed.read(written(tmp_path, text), market=MARKET)
    assert isinstance(refused.value, DomainError)
    assert refused.value.code == "market_csv_unusable"
    assert "expected a header" in refused.value.detail
    assert first_problem in refused.value.detail


def test_a_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(csvfeed.UnusableCsv, match="can't be read"):
            csvfeed.read(path, market=MARKET)


def test_a_file_beyond_the_bounds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvfeed, "MAX_ROWS", 3)
    assert len(read(tmp_path, PLAIN, *map(row, range(3))).bars) == 3
    with pytest.raises(csvfeed.UnusableCsv, match="more than 3 rows"):
        read(tmp_path, PLAIN, *map(row, range(4)))
    with pytest.raises(csvfeed.UnusableCsv, match="longer than"):
        read(tmp_path, PLAIN, "9" * (csvfeed.MAX_LINE + 1))


def test_bad_rows_beyond_those_kept_are_still_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csvfeed, "BAD_ROWS_KEPT", 2)
    file = read(tmp_path, PLAIN, row(0), *["nonsense"] * 5)
    assert ([bad.line for bad in file.bad_rows], file.bad_count) == ([3, 4], 5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(junk=st.lists(st.text(max_size=40) | st.binary(max_size=40).map(lambda raw: raw.decode("latin-1")), max_size=8))
def test_whatever_stands_in_a_file_it_is_read_or_refused(tmp_path: Path, junk: list[str]) -> None:
    path = written(tmp_path, "\n".join([PLAIN, row(0), *junk]).encode("utf-8", "surrogatepass"))
    for bar in csvfeed.read(path, market=MARKET).bars:
        assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high


@pytest.mark.skipif(not REAL.exists(), reason="the real market data isn't on this machine")
def test_the_real_file_is_read_whole() -> None:
    file = csvfeed.read(REAL, market=MARKET)
    assert (len(file.bars), file.bad_rows, file.bar_seconds) == (5760, [], 900)
    assert file.bars[0].start == START  # its own other column says 13:15 at +08:00
    assert file.bars[0].close == Decimal("84.03")
