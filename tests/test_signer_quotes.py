"""A sale brings nearly what the market gives, by the signer's own question and whatever its asker says."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import sandbox_chain
from tests.signing import BUYS_SOL, SELLS_SOL, SOL, USDC, Ground, Signing, buy, request, rpc_of, sell, unsigned
from trading.signer import http, quotes
from trading.signer.client import LATER
from trading.signer.limits import Limits
from trading.signer.protocol import Intent
from trading.signer.quotes import SLIPPAGE_MOST_BPS, JupiterQuotes, QuoteUnavailable
from trading.signer.refusals import Refusal


@pytest.fixture
def signing(tmp_path: Path) -> Signing:
    return Signing(tmp_path)


def sale(*, sol: int = 1_000_000_000, brings: int, least: int | None = None, number: int = 0) -> dict[str, Any]:
    """A sale of SOL that the chain lets pass, as a worker asks for it; the market gives 150 USDC a SOL."""
    intent = Intent(mint_in=str(SOL), amount_in=sol, mint_out=str(USDC), least_out=least or brings)
    return {"transaction": unsigned(sell(amount_in=sol, amount_out=brings), number=number), "intent": intent}


def code_of(signing: Signing, asked: dict[str, Any]) -> str | None:
    try:
        signing.service().sign(request(**asked))
    except Refusal as refused:
        return refused.code
    return None


# --- the bound ------------------------------------------------------------------------------------


def test_sales_are_bounded_in_value(signing: Signing) -> None:
    """Nine SOL of ten for a millionth of a dollar, which the asker says is what it wants."""
    signing.limits = Limits(spend_cap=1, signatures_a_day=50)
    assert code_of(signing, sale(sol=9_000_000_000, brings=1)) == "sold_too_low"
    assert signing.service().status().sales == 0


def test_without_the_market_such_a_sale_would_be_signed(signing: Signing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotes, "check_sale", lambda *_, **__: None)
    assert code_of(signing, sale(sol=9_000_000_000, brings=1)) is None


def test_the_bound_is_exact_to_the_unit(signing: Signing) -> None:
    least = 150_000_000 * (10_000 - SLIPPAGE_MOST_BPS) // 10_000
    assert code_of(signing, sale(brings=least)) is None
    assert code_of(signing, sale(brings=least - 1)) == "sold_too_low"


def test_what_counts_is_the_least_that_it_would_take_not_what_it_would_bring_now(signing: Signing) -> None:
    assert code_of(signing, sale(brings=150_000_000, least=1)) == "sold_too_low"


def test_exits_that_are_asked_for_again_and_again_are_not_used_up(signing: Signing) -> None:
    """Nothing is remembered: neither a refused sale nor one that never landed stands against the next."""
    assert code_of(signing, sale(brings=1)) == "sold_too_low"
    assert [code_of(signing, sale(brings=149_000_000, number=number)) for number in range(20)] == [None] * 20


def test_an_exit_in_a_falling_market_passes_at_the_markets_price(signing: Signing) -> None:
    signing.ground.prices[str(SOL), str(USDC)] /= 10
    assert code_of(signing, sale(brings=14_900_000)) is None


def test_an_exit_that_the_market_left_behind_passes_once_it_is_quoted_anew(signing: Signing) -> None:
    signing.ground.prices[str(SOL), str(USDC)] *= 2
    assert code_of(signing, sale(brings=149_000_000)) == "sold_too_low"
    assert code_of(signing, sale(brings=298_000_000, number=1)) is None


def test_while_the_market_is_silent_no_sale_is_signed_and_the_same_may_be_asked_again(signing: Signing) -> None:
    signing.ground.open = False
    assert code_of(signing, sale(brings=149_000_000)) == "quote_unavailable"
    assert "quote_unavailable" in LATER
    assert signing.service().status().sales == 0
    signing.ground.open = True
    assert code_of(signing, sale(brings=149_000_000)) is None


def test_a_sale_that_was_signed_is_answered_again_whatever_the_market_says_by_now(signing: Signing) -> None:
    raw, service = unsigned(sell()), signing.service()
    first = service.sign(request(raw, intent=SELLS_SOL))
    signing.ground.prices[str(SOL), str(USDC)] *= 2
    assert service.sign(request(raw, intent=SELLS_SOL)) == first
    signing.ground.open = False
    assert service.sign(request(raw, intent=SELLS_SOL)) == first


def test_buys_need_no_quote(signing: Signing) -> None:
    """They are bounded by the spend cap."""
    signing.ground.open = False
    signing.service().sign(request(unsigned(buy()), intent=BUYS_SOL))


class At:
    """A market that always gives the same."""

    def __init__(self, amount: int) -> None:
        self.amount = amount

    def out_for(self, *, mint_in: str, amount_in: int, mint_out: str) -> int:
        return self.amount


@given(quoted=st.integers(1, 2**64), least=st.integers(1, 2**64 - 1), bps=st.integers(0, 9_999))
def test_a_sale_that_passes_never_gives_more_than_that_part_away(quoted: int, least: int, bps: int) -> None:
    intent = SELLS_SOL.model_copy(update={"least_out": least})
    fair = quoted * (10_000 - bps) // 10_000
    try:
        quotes.check_sale(intent, quotes=At(quoted), slippage_most_bps=bps)
        assert least >= fair
    except Refusal:
        assert least < fair


# --- the question ---------------------------------------------------------------------------------


def asked_at(url: str, *, api: str = "v2", amount: int = 1_000_000_000) -> int:
    return JupiterQuotes(url, api=api, api_key="canary").out_for(mint_in=str(SOL), amount_in=amount, mint_out=str(USDC))


@contextmanager
def answering(body: bytes, *, status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """A server with one answer; gives its address and what it was asked, by path and key."""
    seen: list[Any] = []

    class Canned(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.path.partition("?")[0], self.headers["x-api-key"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Canned) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", seen
        finally:
            server.shutdown()
            thread.join()


GOOD = {"inputMint": str(SOL), "outputMint": str(USDC), "inAmount": "1000000000", "outAmount": "150000000"}


def test_a_quote_is_asked_as_in_process() -> None:
    with rpc_of(Ground()) as url:
        assert asked_at(url) == Ground().out_for(mint_in=str(SOL), amount_in=1_000_000_000, mint_out=str(USDC))


@pytest.mark.parametrize(("api", "path"), quotes.PATHS.items())
def test_each_version_is_asked_at_its_own_path_with_the_key(api: str, path: str) -> None:
    with answering(json.dumps({**GOOD, "more": 1}).encode()) as (url, seen):
        assert asked_at(f"{url}/", api=api) == 150_000_000
    assert seen == [(path, "canary")]


@pytest.mark.parametrize("api", quotes.PATHS)
def test_the_sandbox_quotes_what_it_gives(api: str) -> None:
    with sandbox_chain.running_sandbox() as sandbox:
        expected = sandbox_chain.quote(sandbox, str(SOL), str(USDC), 10**9)["outAmount"]
        assert asked_at(sandbox.url, api=api) == int(expected)


WRONG: dict[str, bytes] = {
    "not JSON": b"<html>",
    "a list": b"[]",
    "no amount": json.dumps({**GOOD, "outAmount": None}).encode(),
    "nothing": json.dumps({**GOOD, "outAmount": "0"}).encode(),
    "less than nothing": json.dumps({**GOOD, "outAmount": "-5"}).encode(),
    "a part": json.dumps({**GOOD, "outAmount": "1.5"}).encode(),
    "another amount": json.dumps({**GOOD, "inAmount": "1"}).encode(),
    "another mint": json.dumps({**GOOD, "inputMint": str(USDC)}).encode(),
    "the other way round": json.dumps({**GOOD, "inputMint": str(USDC), "outputMint": str(SOL)}).encode(),
    "too much": b" " * (http.ANSWER_BYTES_MOST + 10),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_counts_as_none(body: bytes) -> None:
    with answering(body) as (url, _), pytest.raises(QuoteUnavailable) as refused:
        asked_at(url)
    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("status", [302, 400, 401, 429, 500])
def test_other_statuses_count_as_none(status: int) -> None:
    with answering(json.dumps(GOOD).encode(), status=status) as (url, _), pytest.raises(QuoteUnavailable):
        asked_at(url)


def test_a_market_that_is_down_is_unavailable() -> None:
    with pytest.raises(QuoteUnavailable, match="ConnectionError"):
        asked_at("http://127.0.0.1:1")


def test_a_market_elsewhere_must_be_https() -> None:
    JupiterQuotes("https://api.jup.ag", api="v2")
    with pytest.raises(ValueError, match="Jupiter's address must be https"):
        JupiterQuotes("http://api.jup.ag", api="v2")


def test_an_unknown_version_is_no_version() -> None:
    with pytest.raises(ValueError, match="'v3'"):
        JupiterQuotes("https://api.jup.ag", api="v3")
