"""The signer before a whole sandbox chain, over HTTP: what Jupiter's endpoints build there is signed, and lands."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from solders.keypair import Keypair

from tests import sandbox_chain
from tests.sandbox_chain import DOLLAR, LAMPORTS, SOL, USDC
from tests.signing import OUR_SEED, RULES, SANDBOX, US
from trading.sandbox.main import Sandbox
from trading.signer.chain import RpcChain
from trading.signer.keys import SigningKey
from trading.signer.limits import Book, Limits
from trading.signer.protocol import Intent, SignedAnswer, SignRequest
from trading.signer.quotes import JupiterQuotes
from trading.signer.refusals import Refusal
from trading.signer.service import RightChain, Service

PAIR = Keypair.from_seed(OUR_SEED)


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with sandbox_chain.running_sandbox() as running:
        running.fund(str(US), usdc=10_000 * DOLLAR, lamports=10 * LAMPORTS)
        yield running


@pytest.fixture
def service(sandbox: Sandbox, tmp_path: Path) -> Service:
    return Service(
        key=SigningKey(bytearray(OUR_SEED)),
        rules=RULES,
        book=Book(tmp_path / "state.json", wallet=str(US), limits=Limits(spend_cap=500 * DOLLAR, signatures_a_day=50)),
        right_chain=RightChain(RpcChain(sandbox.url), genesis=SANDBOX),
        market=JupiterQuotes(sandbox.url, api="v2"),
    )


def ask(
    sandbox: Sandbox,
    service: Service,
    mint_in: str,
    mint_out: str,
    amount: int,
    *,
    advance: int = 0,
    more: int = 0,
) -> SignedAnswer:
    """Quote, build, wait some blocks, and have it signed for what the quote promised at least."""
    quoted = sandbox_chain.quote(sandbox, mint_in, mint_out, amount)
    built = sandbox_chain.built(sandbox, PAIR, quoted)
    sandbox.advance(advance)
    least = int(quoted["outAmount"]) + more
    intent = Intent(mint_in=mint_in, amount_in=amount, mint_out=mint_out, least_out=least)
    return service.sign(SignRequest(transaction=built["swapTransaction"], intent=intent, genesis=SANDBOX))


@pytest.mark.parametrize(
    ("mint_in", "mint_out", "amount"),
    [
        (USDC, SOL, 100 * DOLLAR),
        (SOL, USDC, LAMPORTS),
        (USDC, sandbox_chain.BONK, 100 * DOLLAR),
    ],
)
def test_a_swap_of_the_sandbox_is_signed_and_lands(
    sandbox: Sandbox, service: Service, mint_in: str, mint_out: str, amount: int
) -> None:
    before = sandbox_chain.held(sandbox, PAIR, USDC)
    signed = ask(sandbox, service, mint_in, mint_out, amount)
    options = {"encoding": "base64", "preflightCommitment": "confirmed"}
    assert base64.b64decode(signed.transaction)
    assert sandbox_chain.rpc(sandbox, "sendTransaction", signed.transaction, options) == signed.signature
    sandbox.advance(2)
    found = sandbox_chain.status(sandbox, signed.signature)
    assert found is not None
    assert found["err"] is None
    spent = before - sandbox_chain.held(sandbox, PAIR, USDC)
    assert service.status().spent == (spent if mint_in == USDC else 0)


def test_one_unit_more_than_the_sandbox_gives_is_refused(sandbox: Sandbox, service: Service) -> None:
    with pytest.raises(Refusal, match="receives_too_little"):
        ask(sandbox, service, USDC, SOL, 100 * DOLLAR, more=1)


def test_a_swap_whose_blockhash_has_expired_is_refused(sandbox: Sandbox, service: Service) -> None:
    with pytest.raises(Refusal, match="simulation_failed"):
        ask(sandbox, service, USDC, SOL, 100 * DOLLAR, advance=200)
    assert service.status().spent == 0


def test_the_daily_cap_holds_on_the_sandbox_too(sandbox: Sandbox, service: Service) -> None:
    for _ in range(5):
        ask(sandbox, service, USDC, SOL, 100 * DOLLAR, advance=1)
    with pytest.raises(Refusal, match="spend_cap"):
        ask(sandbox, service, USDC, SOL, 100 * DOLLAR)
