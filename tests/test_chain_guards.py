"""What stands between an approved order and its signature, and between a transaction that was sent and a second one."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from solders.keypair import Keypair

from missions import claims, company, execution, rescue
from missions.models import Company, Step
from missions.vocabulary import CompanyStatus
from tests import cast
from tests.chain_company import ChainCompany
from tests.chain_weather import (
    PAST_EXPIRY,
    SEND,
    agreed,
    buy,
    come_back,
    into_doubt,
    paid_in,
    second_node,
    sent,
    statuses,
    taken_out,
)
from tradeco.common import crashpoints, db
from trading import attempts, money, movements, restoring, stopping
from trading.models import Account, Attempt, Finding, Market, Order, Position, Wallet
from trading.sandbox.jupiter import Jupiter
from trading.venues.jupiter import JupiterV2
from trading.venues.rpc import SolanaRpc

pytestmark = pytest.mark.usefixtures("impatient")


@contextmanager
def at(point: str, act: Callable[[], Any]) -> Iterator[None]:
    """Let something happen when the work reaches that point, once."""

    def hook(name: str) -> None:
        if name == point:
            crashpoints.watch(None)
            act()

    crashpoints.watch(hook)
    try:
        yield
    finally:
        crashpoints.watch(None)


def halt() -> None:
    company.switch(to=CompanyStatus.HALTED, by=None, reason="stop!", now=db.now())


def visited(chain: ChainCompany) -> list[dict[str, Any]]:
    """What landed after a visit."""
    chain.visit()
    chain.slots(3)
    return chain.landed()


# --- before it is signed --------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["attempts.quote_came", "attempts.quoted", "attempts.signed"])
def test_who_is_halted_before_the_signature_is_committed_sends_nothing(chain: ChainCompany, point: str) -> None:
    buy()
    with at(point, halt):
        assert visited(chain) == []
    assert (Order.objects.get().status, Order.objects.get().code, statuses()) == ("failed", "halted", ["refused"])
    assert Account.objects.get(kind="wallet", asset=money.USDC).reserved == 0


def test_control_asked_only_at_the_visit_a_halted_company_sends(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "require_switch_allows", lambda order: None)
    buy()
    with at("attempts.signed", halt):
        assert len(visited(chain)) == 1
    assert Company.objects.get().status == "halted"


@pytest.mark.parametrize(
    ("code", "happens"),
    [
        ("approval_too_old", lambda: Order.objects.update(created_at=db.now() - timedelta(days=3))),
        ("price_stale", lambda: Market.objects.update(received_at=db.now() - timedelta(hours=5))),
        ("price_stale", lambda: Market.objects.update(received_at=None)),
        ("wrong_wallet", lambda: Wallet.objects.update(address=str(Keypair().pubkey()))),
    ],
)
def test_an_approval_is_carried_out_on_the_facts_it_was_given_on(
    chain: ChainCompany, code: str, happens: Callable[[], Any]
) -> None:
    buy()
    happens()
    assert visited(chain) == []
    assert (Order.objects.get().status, Order.objects.get().code) == ("failed", code)


def test_an_exit_is_sent_however_old_its_approval_and_price(chain: ChainCompany) -> None:
    buy()
    chain.work()
    cast.submit(cast.close(Position.objects.get().pk))
    Order.objects.filter(side="sell").update(created_at=db.now() - timedelta(days=3))
    Market.objects.update(received_at=db.now() - timedelta(hours=5))
    chain.work()
    assert Order.objects.get(side="sell").status == "filled"


def test_a_market_with_an_order_in_doubt_sends_no_other(chain: ChainCompany) -> None:
    sent(chain)
    first = Step.objects.get()
    assert cast.submit(cast.buy("JUP/USDC", "50.00")).status == "approved"
    Step.objects.exclude(pk=first.pk).update(status="cancelled", finished_at=db.now())  # out of the way for a moment
    chain.sandbox.faults.add("drop", route="getSignatureStatuses")
    Attempt.objects.update(unanswered=attempts.UNANSWERED_MAX - 1)
    chain.visit()
    chain.sandbox.faults.clear()
    come_back()
    Step.objects.exclude(pk=first.pk).update(status="queued", finished_at=None)
    chain.visit()
    assert Order.objects.latest("pk").code == "order_in_doubt"


def test_a_worker_that_lost_its_claim_does_not_end_the_quote_of_who_has_it(chain: ChainCompany) -> None:
    buy()
    late = cast.claim(lease_seconds=0.01, worker="late")
    claims.begin(late)
    Step.objects.update(lease_expires_at=cast.later(seconds=-1))
    rescue.run(now=db.now(), limit=10)
    Step.objects.update(run_after=cast.later(seconds=-1))
    mine = cast.claim(worker="mine")
    order = Order.objects.select_related("wallet", "market__base", "market__quote").get()

    def come_late() -> None:
        with pytest.raises(claims.LostClaim):
            attempts.begin(order, late, now=db.now())

    with at("attempts.quoted", come_late):
        assert execution.run(mine) == "park"
    assert statuses() == ["broadcast"]


def test_a_position_in_sol_can_be_closed_though_no_reserve_is_left(chain: ChainCompany, alice: AbstractUser) -> None:
    assert cast.submit(cast.buy("SOL/USDC", "100.00")).status == "approved"
    chain.work()
    chain.slots(40)
    chain.reconcile()
    position = Position.objects.get()
    taken_out(chain, amount=chain.held()[money.NATIVE] - position.quantity - 5_000)  # its own fee comes on top
    chain.slots(40)
    chain.reconcile()
    found = Finding.objects.get(kind="unknown_signature")
    movements.settle(finding_id=found.pk, verb=movements.Verb.BOOK, by=alice, reason="mine", now=db.now())
    chain.reconcile()
    company.switch(to=CompanyStatus.ACTIVE, by=alice, reason="mine", now=db.now())
    assert cast.submit(cast.close(position.pk)).status == "approved"
    chain.work()
    assert Order.objects.latest("pk").status == "filled"


def test_one_node_that_is_away_holds_up_no_signature(chain: ChainCompany) -> None:
    with second_node(chain):
        buy()
        chain.sandbox.faults.add("drop", route="getBlockHeight")
        assert chain.visit() == "park"
        assert statuses() == ["broadcast"]


# --- what Jupiter says ------------------------------------------------------------------------------


@pytest.fixture
def jupiter_says(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    usual = JupiterV2.build

    def says(**changes: Any) -> None:
        monkeypatch.setattr(
            JupiterV2, "build", lambda self, *asked, **how: replace(usual(self, *asked, **how), **changes)
        )

    return says


def test_a_last_height_that_nobody_can_reach_is_refused(chain: ChainCompany, jupiter_says: Callable[..., None]) -> None:
    jupiter_says(last_valid_block_height=10**15)
    buy()
    assert visited(chain) == []
    assert (Order.objects.get().status, Order.objects.get().code) == ("failed", "bad_answer")


@pytest.mark.parametrize("fee", ["9" * 25, str(10**15)])
def test_an_absurd_fee_in_a_quote_is_neither_booked_nor_in_the_way(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch, fee: str
) -> None:
    usual = Jupiter._quote

    def quoted(self: Jupiter, asked: Any) -> Any:
        found = usual(self, asked)
        found["routePlan"][0]["swapInfo"]["feeAmount"] = fee
        return found

    monkeypatch.setattr(Jupiter, "_quote", quoted)
    buy()
    chain.work()
    assert Order.objects.get().status == "filled"
    assert Account.objects.get(kind="fees", asset=money.USDC).balance < 1_000_000
    agreed(chain)


def test_an_account_that_a_stranger_opened_for_us_is_closed_with_a_sale(chain: ChainCompany) -> None:
    """Our wrapped SOL: the sale closes it, and its deposit, which we never paid, comes to us."""
    assert cast.submit(cast.buy("SOL/USDC", "100.00")).status == "approved"
    chain.work()
    chain.slots(40)
    chain.reconcile()
    paid_in(chain, SOL=1)
    chain.slots(40)
    chain.reconcile()
    assert cast.submit(cast.close(Position.objects.get().pk)).status == "approved"
    chain.work()
    order = Order.objects.latest("pk")
    assert (order.status, order.fills.get().rent < 0) == ("filled", True)
    agreed(chain)


# --- whether it can still land -----------------------------------------------------------------------


def landings(chain: ChainCompany) -> int:
    """How often it landed in the end, however late."""
    for _ in range(30):
        if Step.objects.get().finished_at is None:
            chain.visit()
            chain.slots(10)
    chain.slots(PAST_EXPIRY)
    return len(chain.landed())


def test_a_height_of_a_node_that_lags_does_not_end_a_transaction_early(
    chain: ChainCompany, jupiter_says: Callable[..., None]
) -> None:
    jupiter_says(last_valid_block_height=None)
    chain.sandbox.faults.add("delay_transaction", route=SEND, times=1, blocks=140)
    lag = chain.sandbox.faults.add("stale", route="getBlockHeight", times=1, blocks=150)
    chain.slots(200)
    buy()
    chain.visit()
    assert lag.fired == 1
    chain.slots(60)
    assert landings(chain) == 1


def outlives_its_height(chain: ChainCompany, jupiter_says: Callable[..., None]) -> None:
    """Every height that was asked for at its signature lagged, so its end seems to have come early."""
    jupiter_says(last_valid_block_height=None)
    chain.sandbox.faults.add("delay_transaction", route=SEND, times=1, blocks=140)
    chain.sandbox.faults.add("stale", route="getBlockHeight", times=2, blocks=150)
    chain.slots(200)
    buy()
    chain.visit()
    chain.slots(60)


def test_a_blockhash_that_is_still_valid_proves_that_it_may_land(
    chain: ChainCompany, jupiter_says: Callable[..., None]
) -> None:
    outlives_its_height(chain, jupiter_says)
    assert landings(chain) == 1


def test_control_by_heights_alone_it_is_done_twice(
    chain: ChainCompany, jupiter_says: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    valid = SolanaRpc.is_blockhash_valid_at
    monkeypatch.setattr(SolanaRpc, "is_blockhash_valid_at", lambda self, *asked: (valid(self, *asked)[0], False))
    outlives_its_height(chain, jupiter_says)
    assert landings(chain) == 2


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From now on the nodes have forgotten what was sent so far, and five days have passed."""
    usual = SolanaRpc.signature_statuses_at

    def forget() -> None:
        Attempt.objects.update(created_at=db.now() - timedelta(days=5))
        old = set(Attempt.objects.values_list("reference", flat=True))

        def pruned(self: SolanaRpc, signatures: Any, *, search_history: bool) -> Any:
            slot, found = usual(self, signatures, search_history=search_history)
            return slot, [None if name in old else each for name, each in zip(signatures, found, strict=True)]

        monkeypatch.setattr(SolanaRpc, "signature_statuses_at", pruned)

    return forget


def landed_unseen(chain: ChainCompany) -> None:
    sent(chain)
    chain.slots(PAST_EXPIRY)
    assert len(chain.landed()) == 1


def test_a_node_that_has_forgotten_proves_nothing(chain: ChainCompany, forgetful: Callable[[], None]) -> None:
    landed_unseen(chain)
    forgetful()
    for _ in range(2):
        assert chain.visit() == "park"
    chain.slots(2)
    assert (len(chain.landed()), statuses()) == (1, ["broadcast"])


def test_control_a_node_that_is_believed_for_ever_has_it_done_twice(
    chain: ChainCompany, forgetful: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ABSENCE_PROVES_FOR", timedelta(days=365))
    landed_unseen(chain)
    forgetful()
    for _ in range(2):
        chain.visit()
    chain.slots(2)
    assert len(chain.landed()) == 2


def test_what_should_have_ended_long_ago_is_put_before_a_person(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node stands still, so nothing ever expires there."""
    chain.sandbox.faults.add("drop_transaction", route=SEND)
    buy()
    chain.visit()
    moment = network_moment(chain)
    monkeypatch.setattr(SolanaRpc, "slot_and_height", lambda self, commitment: moment)
    chain.slots(PAST_EXPIRY)
    assert chain.visit() == "park"
    Attempt.objects.update(created_at=db.now() - timedelta(minutes=11))
    said = [chain.visit() for _ in range(attempts.UNANSWERED_MAX)]
    assert said[-1] == "indoubt"


def network_moment(chain: ChainCompany) -> tuple[int, int]:
    return SolanaRpc(chain.sandbox.url).slot_and_height("finalized")


def test_after_a_restore_what_was_signed_is_looked_up_and_not_sent(chain: ChainCompany) -> None:
    def dies() -> None:
        raise KeyboardInterrupt

    buy()
    with at("execution.intent_committed", dies), pytest.raises(KeyboardInterrupt):
        chain.visit()
    assert statuses() == ["signed"]
    restoring.adopt(why="a test", now=db.now())
    assert visited(chain) == []
    assert statuses() == ["signed"]


def test_after_a_restore_what_landed_is_booked(chain: ChainCompany) -> None:
    sent(chain)
    restoring.adopt(why="a test", now=db.now())
    chain.slots(3)
    chain.work()
    assert Order.objects.get().status == "filled"
    agreed(chain)


def test_in_doubt_the_evidence_names_what_each_node_said(chain: ChainCompany) -> None:
    sent(chain)
    into_doubt(chain)
    assert all("says" in node for node in Attempt.objects.get().evidence["nodes"])
