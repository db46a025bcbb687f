"""The API over a real daphne with its connection pool: what the test client can't show."""

import http.client
import json
import shutil
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from missions.models import CapUse, Mission, Proposal, Verdict
from tests import cast
from tests.api.program import analysis, trade
from tests.web_server import WebServer, web_server
from trading.models import Account, Order

pytestmark = pytest.mark.usefixtures("committed_company")

SECONDS = 90


@pytest.fixture
def server(committed_company: None) -> Iterator[WebServer]:
    """One for each test: a process keeps what a revision of policies said, and here each test has its own."""
    with web_server() as running:
        yield running


def post(server: WebServer, secret: str, body: Any, **how: Any) -> tuple[int, Any]:
    """One act; where the wire breaks before an answer it is sent again with its key, as a client would."""
    headers = {
        "Authorization": f"Bearer {secret}",
        "Content-Type": "application/json",
        "Idempotency-Key": uuid.uuid4().hex,
    }
    for _ in range(5):
        wire = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SECONDS)
        try:
            wire.request("POST", "/api/v1/proposals/", body, headers, **how)
            answer = wire.getresponse()
            return answer.status, json.loads(answer.read())
        except ConnectionError:  # more at once than the server's queue of connections holds
            continue
        finally:
            wire.close()
    raise AssertionError("the server gave no answer")


@pytest.mark.race
@pytest.mark.parametrize(
    ("cap", "body"),
    [("analyses_per_day", analysis()), ("trades_per_day", trade("20.00"))],
    ids=["analyses", "trades of 20 USD"],
)
def test_two_hundred_proposals_at_once_get_exactly_the_twenty_that_the_cap_has_left(
    server: WebServer, tokens: dict[str, str], cap: str, body: dict[str, Any]
) -> None:
    wide = {"position_usd_max": "100000", "position_max": "1", "exposure_max": "1", "price_stale_after_seconds": 3600}
    cast.set_policy(**{cap: 20}, **wide)
    gate = threading.Barrier(200)
    said = json.dumps(body)

    def send(number: int) -> tuple[int, Any]:
        gate.wait()
        return post(server, tokens[("reviewer", "operator")[number % 2]], said)

    with ThreadPoolExecutor(200) as pool:
        answers = list(pool.map(send, range(200)))
    assert Counter(status for status, _ in answers) == {201: 200}
    told = Counter((found["status"], found["code"]) for _, found in answers)
    assert told == {("approved", "approved"): 20, ("rejected", "cap_reached"): 180}
    assert Counter(Proposal.objects.values_list("status", "code")) == told
    assert (CapUse.objects.get(cap=cap).used, Mission.objects.count()) == (20, 20)
    refused = Proposal.objects.filter(status="rejected").values("pk")
    verdicts = Verdict.objects.filter(proposal__in=refused, allowed=False, code="cap_reached")
    assert verdicts.values("proposal").distinct().count() == 180
    if cap == "trades_per_day":
        assert Order.objects.count() == 20
        assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 400_000_000


def test_a_body_in_chunks_or_too_large_is_refused(server: WebServer, tokens: dict[str, str]) -> None:
    whole = json.dumps(analysis()).encode()
    chunks = [whole[:10], whole[10:]]
    status, told = post(server, tokens["reviewer"], iter(chunks), encode_chunked=True)
    assert (status, told["code"]) == (411, "length_required")
    status, told = post(server, tokens["reviewer"], b" " * 1_000_000)
    assert (status, told["code"]) == (413, "body_too_large")
    status, told = post(server, tokens["reviewer"], b" " * 3_000_000)
    assert (status, told["code"]) == (413, "body_too_large")


def test_bytes_that_are_no_text_in_the_address_are_a_problem(server: WebServer, tokens: dict[str, str]) -> None:
    for target in (b"/api/v1/proposals/%ff%00/", b"/api/v1/proposals/?status=%ff%00", b"/api/v1/agents/\xff/"):
        with socket.create_connection(("127.0.0.1", server.port), timeout=SECONDS) as wire:
            wire.sendall(
                b"GET " + target + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                b"Authorization: Bearer " + tokens["viewer"].encode() + b"\r\n\r\n"
            )
            answer = b""
            while part := wire.recv(65_536):
                answer += part
        assert answer.split()[1] in {b"400", b"404"}, answer[:300]


@pytest.mark.browser
def test_the_reader_of_the_document_breaks_no_rule_of_the_page(
    server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("Debian's chromium is not installed")
    playwright = pytest.importorskip("playwright.sync_api")
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    complaints: list[str] = []
    with playwright.sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
        )
        page = browser.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"{server.url}/api/docs/")
        page.wait_for_selector("#operations-proposals-post_proposals", timeout=SECONDS * 1000)
        page.click("#operations-proposals-post_proposals")
        page.wait_for_selector("text=Idempotency-Key", timeout=SECONDS * 1000)
        browser.close()
    assert complaints == []
