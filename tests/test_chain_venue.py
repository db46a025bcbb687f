"""Orders on a chain where everything goes wrong that can: each trade lands at most once, and the books follow.

The judge is the chain's own ledger. Each guard has a control: without it the same weather trades twice.
"""

from dataclasses import replace
from typing import Any

import pytest

from missions import claims
from missions.models import Step
from tests import cast
from tests.chain_company import ChainCompany
from tests.chain_weather import (
    PAST_EXPIRY,
    SEND,
    agreed,
    buy,
    come_back,
    into_doubt,
    second_node,
    sent,
    statuses,
)
from tradeco.common import db
from trading import attempts
from trading.models import Attempt, Finding, LedgerTransaction, Order
from trading.venues.chain import ChainVenue
from trading.venues.rpc import SolanaRpc

pytestmark = pytest.mark.usefixtures("impatient")


def lands_once(chain: ChainCompany, *, tries: int = 1) -> None:
    assert (Step.objects.get().status, Order.objects.get().status) == ("succeeded", "filled")
    assert len(chain.landed()) == 1
    *before, last = statuses()
    assert before == ["expired"] * (tries - 1)
    assert last in {"confirmed", "finalized"}
    agreed(chain)


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("drop", {}),
        ("lost_reply", {}),
        ("truncated", {}),
        ("status_429", {"seconds": 0.01}),
        ("status_5xx", {"performed": False}),
        ("status_5xx", {"performed": True}),
        ("duplicate", {}),
        ("drop_transaction", {}),
        ("delay_transaction", {"blocks": 20}),
    ],
)
def test_whatever_happens_to_the_send_it_lands_once(chain: ChainCompany, kind: str, details: dict[str, Any]) -> None:
    fault = chain.sandbox.faults.add(kind, route=SEND, times=1, **details)
    buy()
    chain.work()
    assert fault.fired == 1
    lands_once(chain)
    chain.slots(40)
    assert chain.reconcile()["final"] == 1
    assert not Finding.objects.exists()


@pytest.mark.parametrize("kind", ["drop", "truncated", "status_5xx"])
@pytest.mark.parametrize("route", ["getSignatureStatuses", "getTransaction", "getBlockHeight", "/swap"])
def test_reads_that_fail_once_change_nothing(chain: ChainCompany, kind: str, route: str) -> None:
    fault = chain.sandbox.faults.add(kind, route=route, times=1)
    buy()
    chain.work()
    assert fault.fired == 1
    lands_once(chain)


def test_what_is_never_executed_expires_provably_and_only_then_another_is_signed(chain: ChainCompany) -> None:
    chain.sandbox.faults.add("drop_transaction", route=SEND)
    buy()
    assert chain.visit() == "park"
    first = Attempt.objects.get()
    assert first.valid_until is not None
    chain.slots(first.valid_until - chain.sandbox.chain.height + 32)
    assert chain.visit() == "park"
    assert statuses() == ["broadcast"], "its last block isn't behind finality yet"
    chain.slots(1)
    chain.sandbox.faults.clear()
    assert chain.visit() == "park"
    assert statuses() == ["expired"]
    chain.work()
    lands_once(chain, tries=2)
    first.refresh_from_db()
    assert first.evidence["nodes"][0]["finalized_height"] > first.valid_until


def test_after_three_provably_expired_signatures_the_order_expires_and_its_money_is_free(chain: ChainCompany) -> None:
    chain.sandbox.faults.add("drop_transaction", route=SEND)
    buy()
    for _ in range(8):
        if Step.objects.get().finished_at is None:
            chain.visit()
            chain.slots(PAST_EXPIRY)
    assert statuses() == ["expired"] * attempts.ATTEMPTS_MAX
    assert Order.objects.get().status == "expired"
    assert cast.submit(cast.buy("JUP/USDC", "100.00")).status == "approved"
    agreed(chain)


def test_a_failure_on_chain_ends_the_order_and_its_fee_is_booked(chain: ChainCompany) -> None:
    chain.sandbox.faults.add("fail_transaction", route=SEND, times=1)
    buy()
    chain.work()
    order = Order.objects.get()
    assert (order.status, order.code, statuses()) == ("failed", "slippage_exceeded", ["failed_onchain"])
    assert LedgerTransaction.objects.filter(kind="fee").count() == 1
    assert chain.landed() == []
    agreed(chain)
    assert chain.reconcile()["drift"] == []
    assert not Finding.objects.exists()


# --- nodes that lie -------------------------------------------------------------------------------


def landed_unseen(chain: ChainCompany) -> None:
    """It landed, the answer was lost, nobody looked until it would have expired."""
    chain.sandbox.faults.add("lost_reply", route=SEND, times=1)
    chain.sandbox.faults.add("drop", route="getSignatureStatuses", times=2)
    buy()
    chain.visit()
    come_back()
    chain.slots(PAST_EXPIRY)
    assert statuses() == ["broadcast"]


def test_a_landed_trade_that_the_node_has_forgotten_is_found_in_its_history(chain: ChainCompany) -> None:
    landed_unseen(chain)
    chain.sandbox.faults.add("forget_history", route="getSignatureStatuses")
    chain.work()
    lands_once(chain)


def test_control_without_searching_the_history_it_is_done_twice(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed_unseen(chain)
    chain.sandbox.faults.add("forget_history", route="getSignatureStatuses")
    usual = SolanaRpc.signature_statuses_at
    monkeypatch.setattr(
        SolanaRpc,
        "signature_statuses_at",
        lambda self, signatures, *, search_history: usual(self, signatures, search_history=False),
    )
    for _ in range(2):
        chain.visit()
    chain.slots(2)
    assert len(chain.landed()) == 2


def late_and_hidden(chain: ChainCompany) -> None:
    """It lands late, in one of the last blocks that its blockhash allows, seen from a node whose statuses lag."""
    chain.sandbox.faults.add("delay_transaction", route=SEND, blocks=140)
    chain.sandbox.faults.add("stale", route="getSignatureStatuses", blocks=200)
    buy()
    chain.visit()
    chain.sandbox.faults.clear()
    chain.sandbox.faults.add("stale", route="getSignatureStatuses", blocks=60)
    chain.slots(PAST_EXPIRY)


def test_a_node_whose_statuses_lag_behind_its_heights_proves_nothing(chain: ChainCompany) -> None:
    late_and_hidden(chain)
    assert chain.visit() == "park"
    assert statuses() == ["broadcast"]
    chain.sandbox.faults.clear()
    chain.work()
    lands_once(chain)


def lies_about_its_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that serves statuses of long ago as if they were of now."""
    usual = SolanaRpc.signature_statuses_at
    monkeypatch.setattr(
        SolanaRpc,
        "signature_statuses_at",
        lambda self, signatures, *, search_history: (
            2**40,
            usual(self, signatures, search_history=search_history)[1],
        ),
    )


def test_control_without_the_slot_that_the_node_answered_at_it_is_done_twice(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    late_and_hidden(chain)
    lies_about_its_slot(monkeypatch)
    for _ in range(2):
        chain.visit()
    chain.slots(2)
    assert len(chain.landed()) == 2


def on_the_edge(chain: ChainCompany) -> None:
    """It lands in one of its last blocks, vanishes with a fork, and lands again on the fork that wins."""
    chain.sandbox.faults.add("delay_transaction", route=SEND, blocks=145)
    chain.sandbox.faults.add("reorg", route=SEND, blocks=1, again_after=1)
    buy()
    chain.visit()
    chain.sandbox.faults.clear()


def test_a_stale_node_is_not_believed_about_the_end(chain: ChainCompany) -> None:
    """The processed height is past the end while the status is that of some blocks ago; the finalized one isn't."""
    on_the_edge(chain)
    chain.sandbox.faults.add("stale", route="getSignatureStatuses", blocks=10)
    chain.slots(152)
    assert chain.visit() == "park"
    assert statuses() == ["broadcast"]
    chain.sandbox.faults.clear()
    chain.work()
    lands_once(chain)


def test_control_judged_without_the_finalized_height_it_is_done_twice(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_edge(chain)
    chain.sandbox.faults.add("stale", route="getSignatureStatuses", blocks=10)
    chain.slots(152)
    moment, valid = SolanaRpc.slot_and_height, SolanaRpc.is_blockhash_valid_at
    monkeypatch.setattr(
        SolanaRpc, "slot_and_height", lambda self, _: (moment(self, "finalized")[0], moment(self, "processed")[1])
    )
    monkeypatch.setattr(SolanaRpc, "is_blockhash_valid_at", lambda self, hash, _: (valid(self, hash)[0], False))
    for _ in range(2):
        chain.visit()
    chain.sandbox.faults.clear()
    chain.slots(2)
    assert len(chain.landed()) == 2


# --- a failure in a block that doesn't stand -------------------------------------------------------


def fails_on_one_fork(chain: ChainCompany) -> None:
    """It fails in a block; then another fork wins, on which it lands."""
    chain.sandbox.faults.add("fail_transaction", route=SEND, times=1)
    buy()
    chain.visit()
    chain.slots(2)
    chain.visit()
    assert chain.sandbox.ledger()[-1]["err"] is not None
    chain.sandbox.chain.reorganise(str(Attempt.objects.get().reference), again_after=1)
    chain.slots(2)


def test_a_failure_is_believed_once_its_block_is_final(chain: ChainCompany) -> None:
    fails_on_one_fork(chain)
    assert statuses() == ["broadcast"]
    chain.work()
    lands_once(chain)


def test_control_a_failure_that_is_believed_at_once_loses_the_trade(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    landed = ChainVenue._landed

    def hasty(self: ChainVenue, views: Any, *rest: Any) -> Any:
        final = [replace(view, status=replace(view.status, confirmation="finalized")) for view in views]
        return landed(self, final, *rest)

    monkeypatch.setattr(ChainVenue, "_landed", hasty)
    fails_on_one_fork(chain)
    assert (statuses(), Order.objects.get().status) == (["failed_onchain"], "failed")
    assert len(chain.landed()) == 1, "and yet it happened"


# --- two nodes ------------------------------------------------------------------------------------


def test_two_nodes_that_agree_settle_an_order(chain: ChainCompany) -> None:
    with second_node(chain):
        buy()
        chain.work()
        lands_once(chain)


@pytest.mark.parametrize(("kind", "details"), [("stale", {"blocks": 170}), ("drop", {})])
def test_where_one_node_lags_or_keeps_silent_nothing_is_signed_anew(
    chain: ChainCompany, kind: str, details: dict[str, Any]
) -> None:
    with second_node(chain) as faults:
        chain.sandbox.faults.add("drop_transaction", route=SEND)
        faults.add("drop_transaction", route=SEND)
        buy()
        chain.visit()
        chain.sandbox.faults.clear()
        faults.clear()
        faults.add(kind, **details)
        chain.slots(PAST_EXPIRY)
        assert chain.visit() == "park"
        assert statuses() == ["broadcast"], "the first node alone has proof, the second one doesn't"
        faults.clear()
        come_back()
        assert chain.visit() == "park"
        assert statuses() == ["expired"]
        chain.work()
        lands_once(chain, tries=2)


def test_a_node_that_hides_a_landing_is_outvoted_by_one_that_knows_it(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its control is the one above: such a node alone has it done twice."""
    with second_node(chain):
        late_and_hidden(chain)
        lies_about_its_slot(monkeypatch)
        chain.work()
        lands_once(chain)


# --- long silence ---------------------------------------------------------------------------------


def test_a_node_that_was_away_for_long_settles_by_evidence_what_landed(chain: ChainCompany) -> None:
    sent(chain)
    into_doubt(chain)
    chain.slots(2)
    assert chain.reconcile()["settled"] == 1
    lands_once(chain)
    assert chain.reconcile()["drift"] == []


def test_what_provably_never_landed_meanwhile_is_tried_once_more(chain: ChainCompany) -> None:
    fault = chain.sandbox.faults.add("drop_transaction", route=SEND)
    sent(chain)
    assert fault.fired
    into_doubt(chain)
    assert chain.reconcile()["settled"] == 0, "it may still land"
    chain.slots(PAST_EXPIRY)
    assert chain.reconcile()["settled"] == 1
    assert Step.objects.get().status == "queued"
    chain.work()
    lands_once(chain, tries=2)


def test_a_doubt_that_lasts_is_asked_about_for_as_long_as_it_lasts(chain: ChainCompany) -> None:
    """Looks that tell nothing aren't counted without end: the column that counts them is small."""
    sent(chain)
    into_doubt(chain)
    Attempt.objects.update(unanswered=32_767)
    chain.sandbox.faults.add("drop", route="getSignatureStatuses")
    chain.reconcile()
    assert Attempt.objects.get().unanswered == 32_767


def test_bytes_of_an_attempt_that_was_settled_meanwhile_are_not_sent(chain: ChainCompany) -> None:
    """A worker that slept between its look and its send must not send what a person has had requeued."""
    chain.sandbox.faults.add("drop_transaction", route=SEND, times=1)
    sent(chain)
    Step.objects.update(run_after=cast.later(seconds=-1))
    claim = cast.claim()
    order, attempt = Order.objects.get(), Attempt.objects.get()
    Attempt.objects.update(status="expired")
    with pytest.raises(claims.LostClaim):
        attempts._send(order, attempt, claim, first=False, now=db.now())
    chain.slots(2)
    assert chain.landed() == []
    Attempt.objects.update(status="broadcast")
    attempts._send(order, attempt, claim, first=False, now=db.now())  # control: the same bytes would have landed
    chain.slots(2)
    assert len(chain.landed()) == 1
