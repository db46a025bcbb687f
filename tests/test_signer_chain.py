"""The signer's own three questions to an RPC, over HTTP, and every way in which an answer may be wrong."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tests.signing import BUYS_SOL, SANDBOX, US, USDC, Ground, ata, buy, rpc_of, unsigned
from trading.signer import effects, http, transactions
from trading.signer.chain import RpcChain
from trading.signer.effects import ChainUnavailable


@contextmanager
def answering(body: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Iterator[str]:
    class Canned(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            """Silent."""

    with HTTPServer(("127.0.0.1", 0), Canned) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/?api-key=canary"
        finally:
            server.shutdown()
            thread.join()


def result(value: Any) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}).encode()


def test_the_three_questions_are_answered_as_in_process() -> None:
    ground = Ground()
    raw = unsigned(buy())
    addresses = transactions.decode(raw).writable({})
    with rpc_of(ground) as url:
        asked = RpcChain(url)
        assert asked.genesis_hash() == SANDBOX
        assert asked.accounts([str(US), str(ata(US, USDC)), "1" * 32]) == ground.accounts(
            [str(US), str(ata(US, USDC)), "1" * 32]
        )
        assert asked.simulate(raw, addresses=addresses) == ground.simulate(raw, addresses=addresses)
        assert asked.simulate(unsigned(buy(amount_in=2**60)), addresses=[]).err is not None
        effects.check(transactions.decode(raw), wallet=str(US), intent=BUYS_SOL, chain=asked)


def test_an_rpc_that_is_down_is_unavailable() -> None:
    ground = Ground()
    ground.up = False
    with rpc_of(ground) as url, pytest.raises(ChainUnavailable, match="-32005"):
        RpcChain(url).genesis_hash()
    with pytest.raises(ChainUnavailable, match="ConnectionError"):
        RpcChain("http://127.0.0.1:1").genesis_hash()


def test_where_one_node_is_down_the_next_is_asked() -> None:
    with rpc_of(Ground()) as url:
        assert RpcChain("http://127.0.0.1:1", url).genesis_hash() == SANDBOX


ACCOUNT = {"lamports": 1, "owner": str(USDC), "data": ["", "base64"]}
WRONG: dict[str, bytes] = {
    "not JSON": b"<html>",
    "cut short": result({"value": [ACCOUNT]})[:-5],
    "a list": b"[]",
    "no result": b'{"jsonrpc": "2.0"}',
    "an error": b'{"error": {"code": -32603}}',
    "an error that is none": b'{"error": "no"}',
    "no value": result({}),
    "fewer accounts": result({"value": []}),
    "more accounts": result({"value": [ACCOUNT, ACCOUNT]}),
    "lamports as text": result({"value": [{**ACCOUNT, "lamports": "1"}]}),
    "lamports below zero": result({"value": [{**ACCOUNT, "lamports": -1}]}),
    "another encoding": result({"value": [{**ACCOUNT, "data": ["", "base58"]}]}),
    "no base64": result({"value": [{**ACCOUNT, "data": ["A", "base64"]}]}),
    "data as text": result({"value": [{**ACCOUNT, "data": "AAAA"}]}),
    "too much": b" " * (http.ANSWER_BYTES_MOST + 10),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_counts_as_none(body: bytes) -> None:
    with answering(body) as url, pytest.raises(ChainUnavailable) as refused:
        RpcChain(url).accounts([str(US)])
    assert "canary" not in str(refused.value)


def test_the_right_answer_would_be_read() -> None:
    with answering(result({"value": [ACCOUNT]})) as url:
        assert RpcChain(url).accounts([str(US)]) == [effects.Account(1, str(USDC), b"")]


def test_a_simulation_without_its_accounts_counts_as_none() -> None:
    with answering(result({"value": {"err": None}})) as url, pytest.raises(ChainUnavailable):
        RpcChain(url).simulate(b"", addresses=[str(US)])
    with answering(result({"value": {"accounts": []}})) as url, pytest.raises(ChainUnavailable):
        RpcChain(url).simulate(b"", addresses=[])


@pytest.mark.parametrize("status", [301, 302, 401, 429, 500, 503])
def test_other_statuses_count_as_none_and_no_redirect_is_followed(status: int) -> None:
    with (
        answering(result({"value": [ACCOUNT]})) as other,
        answering(result("x"), status=status, headers={"Location": other}) as url,
        pytest.raises(ChainUnavailable),
    ):
        RpcChain(url).accounts([str(US)])


@pytest.mark.parametrize("url", ["", "ftp://x", "http://rpc.example", "http://127.0.0.1.example/", "rpc.example"])
def test_an_rpc_elsewhere_must_be_https(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        RpcChain(url)


def test_https_anywhere_and_http_here_are_taken() -> None:
    RpcChain("https://rpc.example/?api-key=x")
    RpcChain("http://[::1]:8899")
