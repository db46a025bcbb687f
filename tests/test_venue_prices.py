"""Prices, candles and tokens from outside: what can't be trusted is left out or refused, never guessed."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from tests import canned_server
from tests.canned_server import Asked, CannedServer, Reply
from trading.pricepath import Bar
from trading.venues import tokens
from trading.venues.http import Patience, VenueRefused, VenueUnavailable
from trading.venues.prices import Candles, JupiterPrices, ListedAsset, ListedMarket, NumberedBar, Price
from trading.venues.tokens import JupiterTokens, TokenInfo

KEY = "k3y-CANARY-0123456789"
QUICK = Patience(tries=2, seconds=2, wait_first_seconds=0.001, wait_most_seconds=0.002)
SOL = "So11111111111111111111111111111111111111112"
USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
JUP = "JUPyiwrYJFskUPiHa7hkeR8VUtAeFoSYbKedZNsDvCN"


@pytest.fixture
def server() -> Iterator[CannedServer]:
    with canned_server.running() as running:
        yield running


# --- prices ---------------------------------------------------------------------------------------


@pytest.fixture
def prices(server: CannedServer) -> JupiterPrices:
    return JupiterPrices(server.url, api_key=KEY, timeout_seconds=(0.3, 0.3), patience=QUICK)


def test_prices_are_exact(server: CannedServer, prices: JupiterPrices) -> None:
    server.answers(
        Reply(
            f'{{"{SOL}": {{"createdAt": "2024-06-05T08:55:25.527Z", "liquidity": 621679197.67,'
            f' "usdPrice": 147.4789380346003, "blockId": 348004023, "decimals": 9, "priceChange24h": 1.29}},'
            f' "{USDC}": {{"usdPrice": 1, "decimals": 6}}}}'
        )
    )
    assert prices.usd([SOL, USDC, SOL]) == {
        SOL: Price(Decimal("147.4789380346003"), 9, 348004023, Decimal("621679197.67")),
        USDC: Price(Decimal(1), 6, None, None),
    }
    (asked,) = server.asked
    assert (asked.path, asked.query) == ("/price/v3", {"ids": f"{SOL},{USDC}"})
    assert asked.headers["x-api-key"] == KEY


UNPRICED = ["0", "0.0", "-1", "NaN", "Infinity", "-Infinity", "null", '"147.5"', "true", "[1]"]


@pytest.mark.parametrize("number", UNPRICED)
def test_what_is_no_price_is_left_out_and_the_others_stay(
    server: CannedServer, prices: JupiterPrices, number: str
) -> None:
    good = '{"usdPrice": 0.9999, "decimals": 6}'
    server.answers(Reply(f'{{"{SOL}": {{"usdPrice": {number}, "decimals": 9}}, "{USDC}": {good}}}'))
    assert prices.usd([SOL, USDC]) == {USDC: Price(Decimal("0.9999"), 6, None, None)}


@pytest.mark.parametrize("entry", [None, {}, [], "1", {"usdPrice": 1}, {"usdPrice": 1, "decimals": "9"}])
def test_an_entry_that_cannot_be_read_is_left_out(server: CannedServer, prices: JupiterPrices, entry: Any) -> None:
    server.answers(Reply({SOL: entry, USDC: {"usdPrice": 1, "decimals": 6}}))
    assert list(prices.usd([SOL, USDC])) == [USDC]


def test_what_was_not_asked_for_is_not_given(server: CannedServer, prices: JupiterPrices) -> None:
    server.answers(Reply({USDC: {"usdPrice": 1, "decimals": 6}, JUP: {"usdPrice": 1, "decimals": 6}}))
    assert list(prices.usd([SOL, USDC])) == [USDC]


def test_many_mints_are_asked_fifty_at_a_time(server: CannedServer, prices: JupiterPrices) -> None:
    def priced(asked: Asked) -> Reply:
        return Reply({mint: {"usdPrice": int(mint[1:]) + 1, "decimals": 6} for mint in asked.query["ids"].split(",")})

    server.answers(priced)
    found = prices.usd([f"m{n}" for n in range(120)])
    assert [price.usd for price in found.values()] == [Decimal(n + 1) for n in range(120)]
    assert [len(asked.query["ids"].split(",")) for asked in server.asked] == [50, 50, 20]


def test_nothing_asked_is_nothing_sent(server: CannedServer, prices: JupiterPrices) -> None:
    assert prices.usd([]) == {}
    assert server.asked == []


@pytest.mark.parametrize("said", [[], "no", 1])
def test_prices_that_are_no_object_are_refused(server: CannedServer, prices: JupiterPrices, said: Any) -> None:
    server.answers(Reply(json.dumps(said)))
    with pytest.raises(VenueRefused):
        prices.usd([SOL])


def test_prices_are_asked_again_and_given_up(server: CannedServer, prices: JupiterPrices) -> None:
    server.answers(Reply(status=500))
    with pytest.raises(VenueUnavailable):
        prices.usd([SOL])
    assert len(server.asked) == 2


# --- candles --------------------------------------------------------------------------------------


@pytest.fixture
def candles(server: CannedServer) -> Candles:
    return Candles(server.url, timeout_seconds=(0.3, 0.3), patience=QUICK)


def candle(number: int = 8, **fields: Any) -> dict[str, Any]:
    return {
        "number": number,
        "market": "SOL/USDC",
        "start": "2026-11-23T10:00:05Z",
        "seconds": 5,
        "open": "150.1",
        "high": "151",
        "low": "149.95",
        "close": "150.20",
        "volume": "0",
        **fields,
    }


def page(*found: dict[str, Any], **fields: Any) -> dict[str, Any]:
    sol, usdc = ({"mint": m, "symbol": s, "decimals": d} for m, s, d in ((SOL, "SOL", 9), (USDC, "USDC", 6)))
    return {
        "source": "seeded:7",
        "bar_seconds": 5,
        "markets": [{"name": "SOL/USDC", "base": sol, "quote": usdc}],
        "candles": list(found),
        "last": 10**6,
        "ended": False,
        **fields,
    }


def test_candles_come_with_their_numbers_and_markets(server: CannedServer, candles: Candles) -> None:
    server.answers(Reply(page(candle(8), candle(9, start="2026-11-23T10:00:10+00:00"))))
    found = candles.page(after=7, limit=500)
    assert (server.asked[0].path, server.asked[0].query) == ("/candles", {"after": "7", "limit": "500"})
    assert (found.source, found.bar_seconds, found.ended) == ("seeded:7", 5, False)
    assert found.markets == (ListedMarket("SOL/USDC", ListedAsset(SOL, "SOL", 9), ListedAsset(USDC, "USDC", 6)),)
    assert found.candles[0] == NumberedBar(
        number=8,
        bar=Bar(
            market="SOL/USDC",
            start=datetime(2026, 11, 23, 10, 0, 5, tzinfo=UTC),
            seconds=5,
            open=Decimal("150.1"),
            high=Decimal("151"),
            low=Decimal("149.95"),
            close=Decimal("150.20"),
            volume=Decimal(0),
        ),
    )
    assert [each.number for each in found.candles] == [8, 9]


def test_a_page_may_be_empty_and_the_last(server: CannedServer, candles: Candles) -> None:
    server.answers(Reply(page(ended=True)))
    assert (candles.page(after=7).candles, candles.page(after=7).ended) == ((), True)


BAD_PAGES = {
    "a price that is a number": page(candle(open=150.1)),
    "a price of zero": page(candle(low="0")),
    "a price below zero": page(candle(low="-1")),
    "no price": page(candle(close="NaN")),
    "an endless price": page(candle(high="Infinity")),
    "a high below the close": page(candle(high="150.15")),
    "a low above the open": page(candle(low="150.15")),
    "a volume below zero": page(candle(volume="-1")),
    "a moment without a zone": page(candle(start="2026-11-23T10:00:05")),
    "a moment of another zone": page(candle(start="2026-11-23T10:00:05+02:00")),
    "no moment": page(candle(start=1_700_000_000)),
    "another length": page(candle(seconds=60)),
    "a market that isn't listed": page(candle(market="JUP/USDC")),
    "a number that isn't after": page(candle(7)),
    "numbers in disorder": page(candle(9), candle(8)),
    "a number twice": page(candle(8), candle(8)),
    "more than asked for": page(*(candle(8 + n) for n in range(4))),
    "no markets": page(markets=[]),
    "a mint that is no address": page(
        markets=[{"name": "x", "base": {"mint": "SOL", "symbol": "SOL", "decimals": 9}, "quote": {}}]
    ),
    "bars of no length": page(bar_seconds=0),
    "an end that is no truth": page(ended="false"),
    "a last number that is none": page(last="8"),
    "no source": page(source=""),
    "a list": [],
}


@pytest.mark.parametrize("bad", BAD_PAGES.values(), ids=BAD_PAGES)
def test_a_page_with_a_hole_is_no_page(server: CannedServer, candles: Candles, bad: Any) -> None:
    server.answers(Reply(json.dumps(bad)))
    with pytest.raises(VenueRefused) as refused:
        candles.page(after=7, limit=3)
    assert refused.value.why == "bad_answer"


# --- tokens ---------------------------------------------------------------------------------------


@pytest.fixture
def known(server: CannedServer) -> JupiterTokens:
    return JupiterTokens(server.url, api_key=KEY, timeout_seconds=(0.3, 0.3), patience=QUICK)


def token(mint: str = JUP, **fields: Any) -> dict[str, Any]:
    return {
        "id": mint,
        "name": "Jupiter",
        "symbol": "JUP",
        "decimals": 6,
        "isVerified": True,
        "liquidity": 8_123_456.78,
        "audit": {"mintAuthorityDisabled": True, "freezeAuthorityDisabled": True, "topHoldersPercentage": 12.1},
        "organicScore": 98.08,
        **fields,
    }


def test_a_token_is_found_by_exactly_its_mint(server: CannedServer, known: JupiterTokens) -> None:
    server.answers(Reply([token(SOL, symbol="JUP"), token()]))
    assert known.info(JUP) == TokenInfo(
        mint=JUP,
        symbol="JUP",
        decimals=6,
        verified=True,
        liquidity_usd=Decimal("8123456.78"),
        mint_authority_disabled=True,
        freeze_authority_disabled=True,
    )
    (asked,) = server.asked
    assert (asked.path, asked.query, asked.headers["x-api-key"]) == ("/tokens/v2/search", {"query": JUP}, KEY)


@pytest.mark.parametrize(
    "silent",
    [
        {"isVerified": None, "audit": None, "liquidity": None},
        {"isVerified": False, "audit": {}, "liquidity": None},
        {"isVerified": False, "audit": {"mintAuthorityDisabled": False, "freezeAuthorityDisabled": None}},
    ],
)
def test_what_is_not_said_counts_against_a_token(
    server: CannedServer, known: JupiterTokens, silent: dict[str, Any]
) -> None:
    server.answers(Reply([token(**silent)]))
    found = known.info(JUP)
    assert found is not None
    assert (found.verified, found.mint_authority_disabled, found.freeze_authority_disabled) == (False, False, False)


@pytest.mark.parametrize("found", [[], [token(SOL)], [None, 7]])
def test_a_token_that_nobody_knows_is_none(server: CannedServer, known: JupiterTokens, found: Any) -> None:
    server.answers(Reply(json.dumps(found)))
    assert known.info(JUP) is None


@pytest.mark.parametrize("fields", [{"isVerified": "true"}, {"decimals": "6"}, {"liquidity": -1}, {"audit": []}])
def test_a_token_that_cannot_be_read_is_refused(
    server: CannedServer, known: JupiterTokens, fields: dict[str, Any]
) -> None:
    server.answers(Reply([token(**fields)]))
    with pytest.raises(VenueRefused):
        known.info(JUP)


@pytest.mark.parametrize("said", [{}, "no", 1])
def test_tokens_that_are_no_list_are_refused(server: CannedServer, known: JupiterTokens, said: Any) -> None:
    server.answers(Reply(json.dumps(said)))
    with pytest.raises(VenueRefused):
        known.info(JUP)


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(tokens, "time", clock)
    return clock


@pytest.mark.parametrize(("said", "kept"), [([token()], tokens.KEPT_SECONDS), ([], tokens.UNKNOWN_KEPT_SECONDS)])
def test_an_answer_is_remembered_for_a_while(
    server: CannedServer, known: JupiterTokens, clock: Clock, said: Any, kept: float
) -> None:
    server.answers(Reply(json.dumps(said)))
    first = known.info(JUP)
    clock.now += kept - 1
    assert known.info(JUP) == first
    assert len(server.asked) == 1
    clock.now += 2
    assert known.info(JUP) == first
    assert len(server.asked) == 2


def test_a_failure_is_not_remembered(server: CannedServer, known: JupiterTokens) -> None:
    server.answers(Reply(status=404), Reply([token()]))
    with pytest.raises(VenueRefused):
        known.info(JUP)
    assert known.info(JUP)


def test_memory_is_bounded(server: CannedServer, known: JupiterTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "KEPT_MOST", 2)
    server.answers(lambda asked: Reply([token(asked.query["query"])]))
    for mint in (SOL, USDC, JUP, JUP, USDC, SOL):
        known.info(mint)
    assert [asked.query["query"] for asked in server.asked] == [SOL, USDC, JUP, SOL]
    assert len(known._kept) == 2
