"""The signer's own count: a cap holds through threads, restarts, kills and clocks that are set back."""

import contextlib
import hashlib
import json
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.signing import BONK, BUYS_SOL, SELLS_SOL, SOL, THIEF, US, USDC
from tradeco.common import crashpoints
from trading.signer import limits
from trading.signer.limits import Book, Limits, SignerRuns, StateUnusable
from trading.signer.protocol import Intent
from trading.signer.refusals import Refusal

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
TEN = Limits(spend_cap=10, signatures_a_day=1000)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


@pytest.fixture
def seam() -> Iterator[None]:
    """Ends a test's watch at the crash points."""
    yield
    crashpoints.watch(None)


def book(path: Path, clock: Clock, of: Limits = TEN, *, lock: AbstractContextManager[object] | None = None) -> Book:
    return Book(path, wallet=str(US), limits=of, now=clock, lock=lock)


def spends(amount: int) -> Intent:
    return BUYS_SOL.model_copy(update={"amount_in": amount})


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def code_of(kept: Book, number: int, intent: Intent) -> str | None:
    try:
        kept.charge(digest(number), intent=intent)
    except Refusal as refused:
        return refused.code
    return None


# --- caps -----------------------------------------------------------------------------------------


def test_buys_spend_up_to_the_cap_and_not_one_unit_beyond(path: Path, clock: Clock) -> None:
    kept = book(path, clock)
    assert code_of(kept, 1, spends(7)) is None
    assert code_of(kept, 2, spends(4)) == "spend_cap"
    assert code_of(kept, 3, spends(3)) is None
    assert code_of(kept, 4, spends(1)) == "spend_cap"
    assert kept.today().spent == 10


def test_buys_have_a_number_too(path: Path, clock: Clock) -> None:
    kept = book(path, clock, Limits(spend_cap=10, signatures_a_day=2))
    assert [code_of(kept, number, spends(1)) for number in range(3)] == [None, None, "signature_cap"]


def test_sales_spend_nothing_but_have_a_number(path: Path, clock: Clock) -> None:
    of = Limits(spend_cap=0, signatures_a_day=0, sales_a_day=2)
    kept = book(path, clock, of)
    assert [code_of(kept, number, SELLS_SOL) for number in range(3)] == [None, None, "sale_cap"]
    assert kept.today().spent == 0
    assert code_of(book(path, clock, of), 4, SELLS_SOL) == "sale_cap", "after a restart too"


def test_neither_buys_nor_sales_use_up_the_others_number(path: Path, clock: Clock) -> None:
    kept = book(path, clock, Limits(spend_cap=10, signatures_a_day=2, sales_a_day=2))
    assert [code_of(kept, number, spends(1)) for number in range(3)] == [None, None, "signature_cap"]
    assert [code_of(kept, number, SELLS_SOL) for number in range(3, 6)] == [None, None, "sale_cap"]
    clock.now += timedelta(days=1)
    assert [code_of(kept, number, SELLS_SOL) for number in range(6, 9)] == [None, None, "sale_cap"]
    assert [code_of(kept, number, spends(1)) for number in range(9, 12)] == [None, None, "signature_cap"]
    assert (kept.today().buys, kept.today().sales) == (2, 2)


def test_the_same_message_is_charged_once(path: Path, clock: Clock) -> None:
    kept = book(path, clock)
    for _ in range(5):
        assert code_of(kept, 1, spends(6)) is None
    assert (kept.today().spent, len(kept.today().todays)) == (6, 1)


@pytest.mark.parametrize(
    ("mint_in", "mint_out", "code"),
    [
        (USDC, THIEF.pubkey(), "mint_not_allowed"),
        (THIEF.pubkey(), USDC, "mint_not_allowed"),
        (USDC, USDC, "not_a_trade"),
        (SOL, BONK, "not_a_trade"),
    ],
)
def test_only_trades_of_allowed_mints_against_the_quote_are_signed(
    mint_in: object, mint_out: object, code: str
) -> None:
    intent = Intent(mint_in=str(mint_in), amount_in=1, mint_out=str(mint_out), least_out=1)
    with pytest.raises(Refusal) as refused:
        TEN.check(intent)
    assert refused.value.code == code
    TEN.check(BUYS_SOL)
    TEN.check(SELLS_SOL)


# --- days -----------------------------------------------------------------------------------------


def test_a_new_utc_day_begins_anew(path: Path, clock: Clock) -> None:
    kept = book(path, clock)
    clock.now = NOON.replace(hour=23, minute=59, second=59)
    assert code_of(kept, 1, spends(10)) is None
    clock.now += timedelta(seconds=1)
    assert kept.today().spent == 0
    assert code_of(kept, 2, spends(10)) is None


def test_the_day_is_utcs_whatever_the_clocks_zone(path: Path, clock: Clock) -> None:
    clock.now = datetime(2026, 11, 24, 1, tzinfo=timezone(timedelta(hours=2)))
    assert book(path, clock).today().day.isoformat() == "2026-11-23"


def test_a_clock_that_is_set_back_brings_no_day_again(path: Path, clock: Clock) -> None:
    kept = book(path, clock)
    assert code_of(kept, 1, spends(10)) is None
    for days in (1, 2, 400):
        clock.now = NOON - timedelta(days=days)
        assert code_of(kept, 2, spends(1)) == "spend_cap"
        assert code_of(book(path, clock), 2, spends(1)) == "spend_cap", "after a restart too"


def test_a_message_of_yesterday_isnt_charged_again_today(path: Path, clock: Clock) -> None:
    """It may be asked for again on the other side of midnight."""
    kept = book(path, clock)
    assert code_of(kept, 1, spends(10)) is None
    clock.now += timedelta(days=1)
    assert code_of(kept, 2, spends(10)) is None
    assert code_of(kept, 1, spends(10)) is None
    assert kept.today().spent == 10


def test_what_is_older_than_yesterday_is_forgotten(path: Path, clock: Clock) -> None:
    kept = book(path, clock)
    for day in range(5):
        clock.now = NOON + timedelta(days=day)
        for number in range(3):
            kept.charge(digest(10 * day + number), intent=spends(1))
    assert len(json.loads(path.read_text())["charges"]) == 6


# --- the file -------------------------------------------------------------------------------------


def test_a_restart_goes_on_counting(path: Path, clock: Clock) -> None:
    assert code_of(book(path, clock), 1, spends(6)) is None
    again = book(path, clock)
    assert again.today().spent == 6
    assert again.charged(digest(1))
    assert code_of(again, 2, spends(5)) == "spend_cap"


def test_the_count_is_on_disk_before_anybody_learns_of_the_charge(path: Path, clock: Clock, seam: None) -> None:
    seen: list[int] = []

    def look(name: str) -> None:
        if name == "signer.charged":
            seen.append(book(path, clock).today().spent)

    crashpoints.watch(look)
    book(path, clock).charge(digest(1), intent=spends(6))
    assert seen == [6]


def test_only_its_owner_may_read_the_count(path: Path, clock: Clock) -> None:
    book(path, clock).charge(digest(1), intent=spends(1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [left.name for left in path.parent.iterdir()] == [path.name]


def test_a_count_that_cant_be_written_charges_nothing(path: Path, clock: Clock) -> None:
    kept = book(path, clock)
    (path.parent / f".{path.name}.new").mkdir()
    assert code_of(kept, 1, spends(6)) == "state_unwritable"
    assert kept.today().spent == 0
    assert not kept.charged(digest(1))


def test_a_count_of_another_wallet_is_refused(path: Path, clock: Clock) -> None:
    Book(path, wallet=str(THIEF.pubkey()), limits=TEN, now=clock).charge(digest(1), intent=spends(1))
    with pytest.raises(StateUnusable, match="Move it away"):
        book(path, clock)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.binary(max_size=200))
def test_a_count_that_cant_be_read_is_never_taken_for_none(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StateUnusable):
        book(path, Clock())


def test_two_signers_dont_share_a_key(path: Path) -> None:
    with limits.held(path), pytest.raises(SignerRuns), limits.held(path):
        raise AssertionError("both got in")
    with limits.held(path):
        pass


# --- threads --------------------------------------------------------------------------------------


def twenty_at_once(kept: Book) -> int:
    """How many of twenty threads, each spending 3, got through."""
    start, charged = threading.Barrier(20), []

    def charge(number: int) -> None:
        start.wait()
        if code_of(kept, number, spends(3)) is None:
            charged.append(number)

    threads = [threading.Thread(target=charge, args=[number]) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(charged)


def test_without_its_lock_the_count_would_be_overrun(path: Path, clock: Clock, seam: None) -> None:
    """The control: all twenty pass the check before the first is counted."""
    together, passed = threading.Barrier(20), []

    def wait_for_the_others(name: str) -> None:
        if name == "signer.charging":
            together.wait(10)
            passed.append(name)

    crashpoints.watch(wait_for_the_others)
    twenty_at_once(book(path, clock, lock=contextlib.nullcontext()))
    assert len(passed) == 20


def test_twenty_threads_at_once_never_spend_beyond_the_cap(path: Path, clock: Clock) -> None:
    for round_ in range(10):
        where = path.with_name(f"{round_}.json")
        kept = book(where, clock)
        assert twenty_at_once(kept) == 3
        assert kept.today().spent == book(where, clock).today().spent == 9
