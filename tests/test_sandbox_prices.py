"""The world's prices: the seeded path, a replayed file, pins; numbered candles, and what Jupiter tells of them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from solders.pubkey import Pubkey

from tests.sandbox_chain import BONK, DOLLAR, SOL, USDC, funded, held, quote, running_sandbox, swap
from trading.pricepath import DEMO_MARKETS
from trading.sandbox import tokens
from trading.sandbox.errors import SandboxError, UnknownMarket
from trading.sandbox.main import Sandbox
from trading.sandbox.prices import BARS_KEPT, PriceBook
from trading.sources import CATCH_UP_BARS, WARM_UP_BARS, Replay, seeded, still

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
BARS_A_MINUTE = 12
MARKETS = len(DEMO_MARKETS)


def get(sandbox: Sandbox, path: str, **query: Any) -> Any:
    answer = requests.get(sandbox.url + path, params=query, timeout=10)
    assert answer.status_code == 200, answer.text
    return answer.json()


def candle_file(folder: Path, *, rows: int) -> Path:
    path = folder / "candles.csv"
    lines = ["time,open,high,low,close,volume"]
    for number in range(rows):
        price = 100 + number
        lines.append(f"{1_780_000_000 + 60 * number},{price},{price + 1},{price - 1},{price},5")
    path.write_text("\n".join(lines))
    return path


def test_the_seeded_world_opens_with_a_history_and_goes_on() -> None:
    book = PriceBook(seeded(7))
    assert book.advance(NOON) == WARM_UP_BARS * MARKETS
    assert book.advance(NOON) == 0
    assert book.advance(NOON + timedelta(minutes=1)) == BARS_A_MINUTE * MARKETS
    page, ended = book.page(after=0, limit=1_000)
    assert not ended
    assert [item.number for item in page] == list(range(1, len(page) + 1))
    for market in DEMO_MARKETS:
        bars = [item.bar for item in page if item.bar.market == market.name]
        assert [bar.start for bar in bars] == sorted({bar.start for bar in bars})
        assert all(after.open == before.close for before, after in pairwise(bars))
        assert book.price(market.name) == bars[-1].close
    book.close()


def test_the_same_seed_is_the_same_world() -> None:
    worlds = []
    for seed in (7, 7, 8):
        book = PriceBook(seeded(seed))
        book.advance(NOON)
        worlds.append([item.bar for item in book.page(after=0, limit=1_000)[0]])
        book.close()
    assert worlds[0] == worlds[1] != worlds[2]


def test_after_a_rest_it_goes_on_from_the_last_close(tmp_path: Path) -> None:
    book = PriceBook(seeded(7), tmp_path)
    book.advance(NOON)
    closes = {market.name: book.price(market.name) for market in DEMO_MARKETS}
    last = book.last_number
    book.close()
    book = PriceBook(seeded(7), tmp_path)
    assert {name: book.price(name) for name in closes} == closes
    assert book.advance(NOON + timedelta(days=1)) == CATCH_UP_BARS * MARKETS
    page, _ = book.page(after=last, limit=1_000)
    first = {item.bar.market: item.bar.open for item in reversed(page)}
    assert first == closes
    book.close()


def test_only_the_newest_candles_are_kept(tmp_path: Path) -> None:
    book = PriceBook(seeded(7), tmp_path)
    now = NOON
    for _ in range(45):
        now += timedelta(minutes=10)
        book.advance(now)
    last = book.last_number
    assert last > 4 * BARS_KEPT
    page, _ = book.page(after=0, limit=1_000)
    assert page[0].number == last - BARS_KEPT + 1
    assert (tmp_path / "prices.journal").stat().st_size < 5_000_000
    prices = {market.name: book.price(market.name) for market in DEMO_MARKETS}
    book.close()
    book = PriceBook(seeded(7), tmp_path)
    assert book.last_number == last
    assert {name: book.price(name) for name in prices} == prices
    assert book.page(after=0, limit=1_000)[0] == page
    book.close()


def test_a_pinned_price_holds_until_it_is_let_go(tmp_path: Path) -> None:
    book = PriceBook(seeded(7), tmp_path)
    book.advance(NOON)
    book.pin("SOL/USDC", Decimal("99"))
    assert book.price("SOL/USDC") == 99
    last = book.last_number
    book.advance(NOON + timedelta(seconds=5))
    (bar,) = [item.bar for item in book.page(after=last, limit=10)[0] if item.bar.market == "SOL/USDC"]
    assert (bar.close, bar.low, bar.high) == (99, 99, bar.open)
    book.close()
    book = PriceBook(seeded(7), tmp_path)
    assert book.price("SOL/USDC") == 99
    book.pin("SOL/USDC", None)
    book.advance(NOON + timedelta(seconds=10))
    assert book.price("SOL/USDC") != 99
    with pytest.raises(UnknownMarket):
        book.pin("X/USDC", Decimal(1))
    book.close()


def test_a_replay_goes_on_where_it_was_and_ends(tmp_path: Path) -> None:
    path = candle_file(tmp_path, rows=200)
    book = PriceBook(Replay(path, market="SOL/USDC", speed=0.001), tmp_path)
    assert book.advance(NOON) == WARM_UP_BARS
    assert (book.advance(NOON), book.ended) == (0, False)
    book.close()
    book = PriceBook(Replay(path, market="SOL/USDC", speed=1e9), tmp_path)
    assert book.price("SOL/USDC") == 100 + WARM_UP_BARS - 1
    book.advance(NOON)
    book.advance(NOON)
    assert book.ended
    assert (book.last_number, book.price("SOL/USDC")) == (200, 299)
    book.close()


def test_positions_can_be_closed_after_the_files_end(tmp_path: Path) -> None:
    source = Replay(candle_file(tmp_path, rows=20), market="ABC/USDC", speed=1e9)
    mint = tokens.mint_of("ABC")
    with running_sandbox(source=source) as sandbox:
        sandbox.advance(2)
        page = get(sandbox, "/candles", after=0)
        assert (page["source"], page["bar_seconds"], page["ended"]) == ("csv:candles.csv:20", 60, True)
        assert page["markets"][0]["base"] == {"mint": mint, "symbol": "ABC", "decimals": 9}
        assert len(page["candles"]) == 20
        wallet = funded(sandbox)
        swap(sandbox, wallet, mint_out=mint, amount=119 * DOLLAR)
        sandbox.advance()
        bought = held(sandbox, wallet, mint)
        assert 0.998 * 10**9 < bought < 10**9
        swap(sandbox, wallet, mint_in=mint, mint_out=USDC, amount=bought)
        sandbox.advance()
        assert held(sandbox, wallet, mint) == 0


def test_ended_is_only_said_with_the_last_candle(tmp_path: Path) -> None:
    source = Replay(candle_file(tmp_path, rows=20), market="SOL/USDC", speed=1e9)
    with running_sandbox(source=source) as sandbox:
        assert get(sandbox, "/candles", after=0, limit=19)["ended"] is False
        assert get(sandbox, "/candles", after=10, limit=19)["ended"] is True
        assert get(sandbox, "/candles", after=20)["ended"] is True


def test_candles_are_read_page_by_page() -> None:
    with running_sandbox(source=seeded(7)) as sandbox:
        seen: list[int] = []
        while page := get(sandbox, "/candles", after=seen[-1] if seen else 0, limit=100)["candles"]:
            assert len(page) <= 100
            seen += [candle["number"] for candle in page]
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) >= WARM_UP_BARS * MARKETS
        candle = get(sandbox, "/candles", after=0, limit=1)["candles"][0]
        assert datetime.fromisoformat(candle["start"]).tzinfo is not None
        assert all(isinstance(candle[name], str) for name in ("open", "high", "low", "close", "volume"))
        for query in ({"limit": 1001}, {"limit": 0}, {"after": "x"}):
            assert requests.get(f"{sandbox.url}/candles", params=query, timeout=10).status_code == 400


def test_prices_of_jupiter_omit_what_they_dont_know() -> None:
    with running_sandbox() as sandbox:
        stranger = str(Pubkey.new_unique())
        found = get(sandbox, "/price/v3", ids=f"{SOL},{USDC},{BONK},{stranger}")
        assert {mint: item["usdPrice"] for mint, item in found.items()} == {SOL: 150, USDC: 1, BONK: 0.000025}
        assert (found[SOL]["decimals"], found[BONK]["decimals"]) == (9, 5)
        assert found[SOL]["blockId"] > 0
        assert found[SOL]["liquidity"] > 0
        many = ",".join([SOL] * 51)
        assert requests.get(f"{sandbox.url}/price/v3", params={"ids": many}, timeout=10).status_code == 400


def test_tokens_of_jupiter_say_what_the_token_gate_asks() -> None:
    with running_sandbox() as sandbox:
        found = get(sandbox, "/tokens/v2/search", query=f"{SOL},jup,{Pubkey.new_unique()}")
        assert [(item["symbol"], item["decimals"], item["isVerified"]) for item in found] == [
            ("SOL", 9, True),
            ("JUP", 6, True),
        ]
        assert found[0]["audit"] == {"mintAuthorityDisabled": True, "freezeAuthorityDisabled": True}


def test_the_pool_trades_at_the_price_that_is_told() -> None:
    with running_sandbox(source=seeded(7)) as sandbox:
        told = Decimal(str(get(sandbox, "/price/v3", ids=SOL)[SOL]["usdPrice"]))
        given = Decimal(quote(sandbox, USDC, SOL, DOLLAR)["outAmount"]) / 10**9
        assert abs(1 / given / told - Decimal("1.001")) < Decimal("0.0001")


def test_every_mint_is_an_address_and_the_same_every_time() -> None:
    for symbol in ("USDC", "SOL", "JUP", "BONK", "WIF", "ABC"):
        assert str(Pubkey.from_string(tokens.mint_of(symbol))) == tokens.mint_of(symbol)
    assert tokens.mint_of("ABC") == tokens.mint_of("ABC") != tokens.mint_of("ABD")
    assert (tokens.decimals_of("BONK"), tokens.decimals_of("ABC")) == (5, 9)


def test_a_market_that_isnt_quoted_in_usdc_is_refused() -> None:
    with pytest.raises(SandboxError, match="SOL/USDC"), running_sandbox(source=still({"SOL/EUR": Decimal(1)})):
        pass
