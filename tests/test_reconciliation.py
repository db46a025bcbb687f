"""Books beside the chain: what vanished is reversed, strangers are found, differences shown, people's verbs bounded."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.core.management import CommandError, call_command
from django.db.models import Sum

from missions import policies
from missions.models import Company, Outcome, Step
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
from tradeco.common import db
from tradeco.common.models import Event
from trading import agreeing, money, movements, portfolio, reconciliation, settling, stocktaking
from trading.findings import FindingSettled
from trading.models import (
    Account,
    Agreement,
    Attempt,
    Fill,
    Finding,
    LedgerEntry,
    LedgerTransaction,
    Lot,
    LotSale,
    Order,
    Position,
    Wallet,
)
from trading.settling import EvidenceAgainst, NotInDoubt, Verb
from trading.venues.base import Executed, UnderWay
from trading.venues.chain import ChainVenue

JUP = "JUPyiwrYJFskUPiHa7hkeR8VUtAeFoSYbKedZNsDvCN"
pytestmark = pytest.mark.usefixtures("impatient")

ENDED = ("settled", "final", "vanished", "hurried", "failed")
NOTHING = {**dict.fromkeys(ENDED, 0), "opened": False, "strangers": 0, "drift": []}


def kinds() -> list[str]:
    return sorted(Finding.objects.filter(settled_at=None).values_list("kind", flat=True))


def finding(kind: str) -> Finding:
    return Finding.objects.get(kind=kind, settled_at=None)


# --- what vanished --------------------------------------------------------------------------------


def test_a_confirmed_fill_that_vanishes_is_reversed_and_books_and_chain_agree_again(chain: ChainCompany) -> None:
    before = chain.books()
    chain.sandbox.faults.add("reorg", route=SEND, times=1, blocks=5)
    buy()
    assert chain.work()[-1] == "succeeded"
    chain.slots(PAST_EXPIRY + 5)
    assert chain.reconcile()["vanished"] == 1
    fill = Fill.objects.get()
    assert fill.reversed_at is not None
    assert (Order.objects.get().status, Order.objects.get().code, statuses()) == ("failed", "vanished", ["expired"])
    assert chain.books() == before
    agreed(chain)
    assert not Position.objects.filter(status="open").exists()
    assert kinds() == ["vanished"]
    assert portfolio.summary(now=db.now()).realized_pnl_usd == 0
    assert chain.reconcile() == NOTHING
    assert kinds() == ["vanished"], "a person has to see it"


def test_a_scale_up_that_vanishes_leaves_what_was_bought_before_as_it_was(chain: ChainCompany) -> None:
    buy()
    chain.work()
    chain.slots(40)
    chain.reconcile()
    before = Position.objects.get()
    chain.price("JUP/USDC", "1.8")
    chain.sandbox.faults.add("reorg", route=SEND, times=1, blocks=5)
    buy()
    chain.work()
    assert Position.objects.get().stop_price != before.stop_price
    chain.slots(PAST_EXPIRY + 5)
    assert chain.reconcile()["vanished"] == 1
    after = Position.objects.get()
    for name in ("quantity", "cost", "bought", "fees", "stop_price", "take_profit_price"):
        assert getattr(after, name) == getattr(before, name), name
    assert portfolio.summary(now=db.now()).realized_pnl_usd == 0


def test_one_that_vanishes_and_lands_again_stays_as_it_is(chain: ChainCompany) -> None:
    chain.sandbox.faults.add("reorg", route=SEND, times=1, blocks=5, again_after=3)
    buy()
    chain.work()
    chain.slots(45)
    assert chain.reconcile()["final"] == 1
    agreed(chain)
    assert not Finding.objects.exists()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """What a transaction brought is that much more from now on; the sandbox's pools give the same on each fork."""
    look_up = ChainVenue.look_up

    def more(amount: int) -> None:
        def told(self: ChainVenue, *about: Any) -> Any:
            receipt = look_up(self, *about)
            return (
                replace(receipt, amount_out=receipt.amount_out + amount) if isinstance(receipt, Executed) else receipt
            )

        monkeypatch.setattr(ChainVenue, "look_up", told)

    return more


def became_final(chain: ChainCompany) -> None:
    chain.slots(40)
    assert chain.reconcile()["final"] == 1
    assert chain.reconcile()["final"] == 0
    entries = LedgerEntry.objects.values("asset").annotate(total=Sum("amount"))
    assert not entries.exclude(total=0).exists()


@pytest.mark.parametrize("more", [-1_000, 1_000])
def test_a_purchase_that_brought_something_else_in_the_end_is_booked_so(
    chain: ChainCompany, elsewhere: Callable[[int], None], more: int
) -> None:
    buy()
    chain.work()
    booked, books = Fill.objects.get(), chain.books()
    elsewhere(more)
    became_final(chain)
    fill, held = Fill.objects.get(), Position.objects.get()
    assert (fill.amount_out, fill.attempt.status) == (booked.amount_out + more, "finalized")
    assert (held.quantity, held.cost) == (fill.amount_out, fill.amount_in + fill.network_fee_quote)
    assert Lot.objects.get().remaining == fill.amount_out
    bought = fill.order.market.base_id
    assert chain.books() == books | {bought: books[bought] + more}


@pytest.mark.parametrize("more", [-1_000, 1_000])
def test_a_sale_that_brought_something_else_in_the_end_earned_that(
    chain: ChainCompany, elsewhere: Callable[[int], None], more: int
) -> None:
    buy()
    chain.work()
    became_final(chain)
    cast.submit(cast.close(Position.objects.get().pk))
    chain.work()
    booked, balance = Fill.objects.latest("pk"), chain.books()[money.USDC]
    elsewhere(more)
    became_final(chain)
    fill = Fill.objects.latest("pk")
    assert fill.realized_quote == (booked.realized_quote or 0) + more
    assert Position.objects.get().realized == fill.realized_quote
    assert sum(LotSale.objects.values_list("proceeds", flat=True)) == fill.amount_out - fill.network_fee_quote
    assert chain.books()[money.USDC] == balance + more


def test_what_a_purchase_brought_more_after_it_was_sold_stays_in_its_position(
    chain: ChainCompany, elsewhere: Callable[[int], None]
) -> None:
    bought_and_sold(chain)
    elsewhere(1_000)
    became_final(chain)
    held = Position.objects.get()
    assert (held.status, held.quantity, held.cost) == ("open", 1_000, 0)


def test_what_a_purchase_brought_less_after_it_was_sold_is_a_person_s_affair(
    chain: ChainCompany, elsewhere: Callable[[int], None]
) -> None:
    bought_and_sold(chain)
    before = chain.books()
    elsewhere(-1_000)
    chain.slots(40)
    assert chain.reconcile()["final"] == 0
    assert (chain.books(), Position.objects.get().status) == (before, "closed")


def bought_and_sold(chain: ChainCompany) -> None:
    """The sale is final, the purchase still only confirmed here."""
    buy()
    chain.work()
    cast.submit(cast.close(Position.objects.get().pk))
    chain.work()
    Attempt.objects.filter(pk=Attempt.objects.latest("pk").pk).update(status="finalized")


def test_a_purchase_that_vanishes_takes_the_sale_that_followed_along(chain: ChainCompany) -> None:
    """The sale lands again on the other fork, and fails there: it has nothing to sell, and pays its fee."""
    buy()
    chain.work()
    cast.submit(cast.close(Position.objects.get().pk))
    chain.work()
    assert Fill.objects.count() == 2
    first = Attempt.objects.order_by("pk").first()
    assert first is not None
    chain.sandbox.chain.reorganise(str(first.reference))
    chain.slots(PAST_EXPIRY)
    for _ in range(2):
        chain.reconcile()
    assert not Fill.objects.filter(reversed_at=None).exists()
    assert not Position.objects.filter(status="open").exists()
    agreed(chain)
    assert set(kinds()) == {"vanished"}


def test_control_a_purchase_is_not_reversed_while_what_it_bought_is_spent_in_the_books(chain: ChainCompany) -> None:
    from trading import reversal
    from trading.venues.base import NeverLanded

    buy()
    chain.work()
    cast.submit(cast.close(Position.objects.get().pk))
    chain.work()
    first = Attempt.objects.select_related("order__wallet", "order__market").order_by("pk").first()
    assert first is not None
    assert not reversal.reverse(first, NeverLanded("It is gone."), now=db.now())
    assert not Fill.objects.filter(reversed_at__isnull=False).exists()
    assert statuses() == ["confirmed", "confirmed"]


# --- strangers ------------------------------------------------------------------------------------


def test_money_that_somebody_sends_is_found_once_and_booked_by_a_person_as_capital(
    chain: ChainCompany, alice: AbstractUser
) -> None:
    paid_in(chain, USDC=250_000_000, lamports=7_000)
    chain.slots(2)
    assert chain.reconcile()["strangers"] == 1
    assert kinds() == ["balance_drift", "balance_drift", "movement"]
    assert Company.objects.get().status == "active"
    assert cast.submit(cast.buy("JUP/USDC", "100.00")).code == "books_differ"
    found = finding("movement")
    with pytest.raises(movements.NotBookable, match="final"):
        movements.settle(finding_id=found.pk, verb=movements.Verb.BOOK, by=alice, reason="mine", now=db.now())
    chain.slots(40)
    before = portfolio.summary(now=db.now())
    movements.settle(finding_id=found.pk, verb=movements.Verb.BOOK, by=alice, reason="My deposit.", now=db.now())
    after = portfolio.summary(now=db.now())
    assert after.cash_usd - before.cash_usd == 250
    assert after.realized_pnl_usd == before.realized_pnl_usd, "a deposit is no gain"
    assert chain.reconcile()["drift"] == []
    assert kinds() == []
    agreed(chain)
    assert chain.reconcile() == NOTHING
    found.refresh_from_db()
    assert (found.how, found.reason, found.settled_by) == ("booked", "My deposit.", alice)
    assert cast.submit(cast.buy("JUP/USDC", "100.00")).status == "approved"


def test_a_signature_of_our_key_that_no_order_made_halts_the_company_and_is_booked_only_by_a_person(
    chain: ChainCompany, alice: AbstractUser
) -> None:
    taken_out(chain, symbol="USDC", amount=100_000_000)
    chain.slots(40)
    assert chain.reconcile()["strangers"] == 1
    assert "unknown_signature" in kinds()
    assert Company.objects.get().status == "halted"
    assert Event.objects.filter(kind="alarm", data__kind="unknown_signature").count() == 1
    before = portfolio.summary(now=db.now())
    drift = Finding.objects.get(kind="balance_drift", key=money.USDC)
    with pytest.raises(movements.NotBookable, match="settle that first"):
        movements.settle(finding_id=drift.pk, verb=movements.Verb.BOOK, by=alice, reason="x", now=db.now())
    movements.settle(
        finding_id=finding("unknown_signature").pk,
        verb=movements.Verb.BOOK,
        by=alice,
        reason="I withdrew it by hand.",
        now=db.now(),
    )
    after = portfolio.summary(now=db.now())
    assert (after.cash_usd - before.cash_usd, after.realized_pnl_usd) == (-100, before.realized_pnl_usd)
    chain.reconcile()
    assert kinds() == []
    agreed(chain)


def test_what_was_settled_is_not_found_again_and_does_not_halt_again(
    chain: ChainCompany, alice: AbstractUser, admin_user: AbstractUser
) -> None:
    taken_out(chain, amount=1_000)
    chain.slots(40)
    wallet = Wallet.objects.get().newest_signature
    chain.reconcile()
    for found in Finding.objects.filter(kind="unknown_signature"):
        movements.settle(finding_id=found.pk, verb=movements.Verb.BOOK, by=alice, reason="mine", now=db.now())
    from missions import company

    company.switch(to="active", by=admin_user, reason="Seen.", now=db.now())  # type: ignore[arg-type]
    Wallet.objects.update(newest_signature=wallet)  # as after a restore
    assert chain.reconcile()["strangers"] == 0
    assert kinds() == []
    assert Company.objects.get().status == "active"


def test_the_mark_of_what_was_looked_at_never_stands_on_a_transaction_that_may_vanish(chain: ChainCompany) -> None:
    before = Wallet.objects.get().newest_signature
    first = paid_in(chain, lamports=5_000)
    chain.slots(2)
    assert chain.reconcile()["strangers"] == 1
    assert Wallet.objects.get().newest_signature == before
    chain.sandbox.chain.reorganise(first)
    second = paid_in(chain, lamports=6_000)
    chain.slots(40)
    assert chain.reconcile()["strangers"] == 1
    assert Wallet.objects.get().newest_signature == second


def test_a_trade_that_lands_after_a_person_gave_it_up_is_found(chain: ChainCompany, alice: AbstractUser) -> None:
    sent(chain)
    into_doubt(chain)
    chain.sandbox.faults.add("drop", route="getSignatureStatuses")
    said = settling.settle(step_id=Step.objects.get().pk, verb=Verb.FAIL, by=alice, reason="Gone.", now=db.now())
    assert said.ending == "failed"
    assert Order.objects.get().status == "failed"
    chain.sandbox.faults.clear()
    come_back()
    chain.slots(40)
    assert chain.reconcile()["strangers"] == 1
    assert "given up" in finding("movement").what
    before = portfolio.summary(now=db.now())
    movements.settle(
        finding_id=finding("movement").pk, verb=movements.Verb.BOOK, by=alice, reason="It landed.", now=db.now()
    )
    agreed(chain)
    assert (Order.objects.get().status, statuses()) == ("filled", ["finalized"])
    assert Account.objects.get(kind="wallet", asset=money.USDC).reserved == 0
    position, fill = Position.objects.get(), Fill.objects.get()
    assert (position.quantity, position.stop_price is not None) == (fill.amount_out, True)
    assert before.equity_usd - portfolio.summary(now=db.now()).equity_usd < 2, "it was no withdrawal"
    assert chain.reconcile() == NOTHING


# --- differences ----------------------------------------------------------------------------------


def test_what_is_taken_from_a_position_shrinks_it_and_its_cost_is_no_loss(
    chain: ChainCompany, alice: AbstractUser
) -> None:
    buy()
    chain.work()
    position = Position.objects.get()
    quantity, cost = position.quantity, position.cost
    taken_out(chain, symbol="JUP", amount=quantity // 4)
    chain.slots(40)
    chain.reconcile()
    before = portfolio.summary(now=db.now()).realized_pnl_usd
    movements.settle(
        finding_id=finding("unknown_signature").pk, verb=movements.Verb.BOOK, by=alice, reason="mine", now=db.now()
    )
    position.refresh_from_db()
    assert position.quantity == quantity - quantity // 4
    assert position.cost == cost * position.quantity // quantity
    fee = portfolio.summary(now=db.now()).realized_pnl_usd - before
    assert fee == 0
    assert chain.held() == chain.books()
    cast.force_policy(reconciled_after_seconds=10_000)
    chain.reconcile()
    assert kinds() == []


def test_a_difference_that_nothing_explains_is_shown_and_booked_by_a_person(
    chain: ChainCompany, alice: AbstractUser
) -> None:
    with db.transaction():
        from trading import ledger
        from trading.vocabulary import AccountKind

        lines = [(AccountKind.WALLET, money.USDC, 5_000_000), (AccountKind.CAPITAL, money.USDC, -5_000_000)]
        ledger.book(
            reference="mistake", kind="opening", wallet=portfolio.wallet(), lines=lines, now=db.now(), market_at=None
        )
    assert chain.reconcile()["drift"] == ["USDC"]
    assert chain.reconcile()["drift"] == ["USDC"]
    found = finding("balance_drift")
    assert found.evidence == {"on_chain": "10000000000", "in_books": "10005000000"}
    with pytest.raises(movements.NotForThis):
        movements.settle(finding_id=found.pk, verb=movements.Verb.DISMISS, by=alice, reason="x", now=db.now())
    movements.settle(finding_id=found.pk, verb=movements.Verb.BOOK, by=alice, reason="A mistake.", now=db.now())
    assert Account.objects.get(kind="drift", asset=money.USDC).balance == 5_000_000
    assert LedgerTransaction.objects.get(kind="movement").reference == f"drift:{found.pk}"
    assert chain.reconcile() == NOTHING
    with pytest.raises(FindingSettled):
        movements.settle(finding_id=found.pk, verb=movements.Verb.BOOK, by=alice, reason="Again.", now=db.now())


def test_a_node_that_is_behind_the_books_raises_no_alarm(chain: ChainCompany) -> None:
    buy()
    chain.work()
    chain.sandbox.faults.add("stale", blocks=30)
    assert chain.reconcile()["drift"] == reconciliation.NOT_COMPARED
    assert not Finding.objects.exists()


def test_control_without_looking_at_its_slot_it_would(chain: ChainCompany, monkeypatch: pytest.MonkeyPatch) -> None:
    buy()
    chain.work()
    chain.sandbox.faults.add("stale", blocks=30)
    monkeypatch.setattr(stocktaking, "_newest_slot", lambda: 0)
    assert chain.reconcile()["drift"] != []
    assert Finding.objects.exists()


# --- people's verbs on a step in doubt ------------------------------------------------------------


def say(verb: Verb, by: Any, reason: str = "I looked.") -> settling.Settled:
    return settling.settle(step_id=Step.objects.get().pk, verb=verb, by=by, reason=reason, now=db.now())


def test_looking_up_settles_where_it_is_proof_and_says_what_it_saw(chain: ChainCompany, alice: AbstractUser) -> None:
    chain.sandbox.faults.add("delay_transaction", route=SEND, blocks=30)
    sent(chain)
    into_doubt(chain)
    said = say(Verb.LOOK_UP, alice)
    assert (said.ending, Step.objects.get().status) == ("waits", "needs_reconciliation")
    assert "may" in said.says
    chain.slots(40)
    assert say(Verb.LOOK_UP, alice).ending == "succeeded"
    settled = Event.objects.get(kind="step.settled").data
    assert settled["by"] == "the chain's evidence, asked by alice"
    assert settled["reason"] == "look_up: I looked."
    assert not Agreement.objects.exists(), "evidence needs nobody's word"
    agreed(chain)
    with pytest.raises(NotInDoubt):
        say(Verb.LOOK_UP, alice)


def test_what_may_still_land_is_neither_confirmed_nor_failed_nor_requeued(
    chain: ChainCompany, alice: AbstractUser
) -> None:
    chain.sandbox.faults.add("drop_transaction", route=SEND)
    sent(chain)
    into_doubt(chain)
    for verb in (Verb.CONFIRM, Verb.FAIL, Verb.REQUEUE):
        with pytest.raises(EvidenceAgainst):
            say(verb, alice)
    assert (Step.objects.get().status, statuses()) == ("needs_reconciliation", ["in_doubt"])
    assert not Agreement.objects.exists()


@pytest.fixture
def one_silent(chain: ChainCompany) -> Iterator[None]:
    """Two nodes: one says that it may still land, the other one nothing."""
    with second_node(chain) as faults:
        chain.sandbox.faults.add("delay_transaction", route=SEND, blocks=60)
        faults.add("drop", route=SEND)
        sent(chain)
        faults.clear()
        into_doubt(chain)
        faults.add("drop")
        yield


@pytest.mark.usefixtures("one_silent")
def test_one_silent_node_does_not_let_a_person_fail_what_the_other_says_may_land(alice: AbstractUser) -> None:
    with pytest.raises(EvidenceAgainst, match="may still land"):
        say(Verb.FAIL, alice)
    assert statuses() == ["in_doubt"]


@pytest.mark.usefixtures("one_silent")
def test_control_by_the_answer_of_both_together_it_would(alice: AbstractUser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_may_land", lambda consulted: isinstance(consulted.receipt, UnderWay))
    assert say(Verb.FAIL, alice).ending == "failed"


def test_what_landed_is_confirmed_and_never_failed_or_requeued(chain: ChainCompany, alice: AbstractUser) -> None:
    sent(chain)
    into_doubt(chain)
    chain.slots(2)
    for verb in (Verb.FAIL, Verb.REQUEUE):
        with pytest.raises(EvidenceAgainst):
            say(verb, alice)
    assert say(Verb.CONFIRM, alice).ending == "succeeded"
    agreed(chain)
    assert Event.objects.get(kind="step.settled").data["by"] == "alice"


def test_what_provably_never_landed_is_failed_or_requeued_as_a_person_says(
    chain: ChainCompany, alice: AbstractUser
) -> None:
    chain.sandbox.faults.add("drop_transaction", route=SEND)
    sent(chain)
    into_doubt(chain)
    chain.sandbox.faults.clear()
    chain.slots(PAST_EXPIRY)
    with pytest.raises(EvidenceAgainst):
        say(Verb.CONFIRM, alice)
    assert say(Verb.REQUEUE, alice).ending == "queued"
    chain.work()
    assert statuses() == ["expired", "confirmed"]
    agreed(chain)


def test_failing_frees_the_money_and_ends_the_mission(chain: ChainCompany, alice: AbstractUser) -> None:
    chain.sandbox.faults.add("drop_transaction", route=SEND)
    sent(chain)
    into_doubt(chain)
    chain.slots(PAST_EXPIRY)
    assert Account.objects.get(kind="wallet", asset=money.USDC).reserved == 100_000_000
    assert say(Verb.FAIL, alice, "It never came.").ending == "failed"
    assert Account.objects.get(kind="wallet", asset=money.USDC).reserved == 0
    assert (Order.objects.get().status, Order.objects.get().code) == ("failed", "given_up")
    assert Outcome.objects.get().code == "given_up"
    agreed(chain)


def test_what_was_signed_and_never_sent_may_be_requeued_though_nothing_can_be_asked(
    chain: ChainCompany, alice: AbstractUser
) -> None:
    sent(chain)
    into_doubt(chain)
    Attempt.objects.update(sends=0, reference="5" * 87)
    chain.sandbox.faults.add("drop", route="getSignatureStatuses")
    assert say(Verb.REQUEUE, alice).ending == "queued"
    assert statuses() == ["expired"]


def test_one_node_that_knows_it_is_enough_to_forbid_giving_it_up(chain: ChainCompany, alice: AbstractUser) -> None:
    """One says that it landed, the other is silent about the transaction itself."""
    with second_node(chain) as faults:
        sent(chain)
        into_doubt(chain)
        chain.slots(2)
        chain.sandbox.faults.add("drop", route="getTransaction")
        faults.add("drop", route="getTransaction")
        for verb in (Verb.FAIL, Verb.REQUEUE, Verb.CONFIRM):
            with pytest.raises(EvidenceAgainst):
                say(verb, alice)
            come_back()


def test_what_landed_otherwise_than_it_was_quoted_is_booked_as_the_chain_tells_it_once_confirmed(
    chain: ChainCompany, alice: AbstractUser
) -> None:
    sent(chain)
    into_doubt(chain)
    chain.slots(2)
    attempt = Attempt.objects.get()
    Attempt.objects.update(quote={**attempt.quote, "amount_in": 99_000_000})
    assert chain.reconcile()["settled"] == 0, "no evidence of the exchange that the books wait for"
    assert say(Verb.LOOK_UP, alice).ending == "waits"
    with pytest.raises(EvidenceAgainst):
        say(Verb.FAIL, alice)
    assert say(Verb.CONFIRM, alice).ending == "succeeded"
    assert Fill.objects.get().amount_in == 100_000_000
    agreed(chain)


@pytest.mark.parametrize("why", ["quorum", "four eyes"])
def test_where_policy_asks_for_two_people_the_second_word_settles(
    chain: ChainCompany, alice: AbstractUser, bob: AbstractUser, why: str
) -> None:
    sent(chain)
    into_doubt(chain)
    chain.slots(2)
    if why == "quorum":
        cast.force_policy(quorum=2)
    else:
        cast.force_policy(four_eyes_from_usd="100", human_from_usd="100")
    policies.at.cache_clear()
    first = say(Verb.CONFIRM, alice)
    assert (first.ending, first.missing) == ("waits", 1)
    with pytest.raises(agreeing.AgreedAlready):
        say(Verb.CONFIRM, alice)
    assert Step.objects.get().status == "needs_reconciliation"
    assert say(Verb.CONFIRM, bob).ending == "succeeded"
    assert sorted(Agreement.objects.values_list("person__username", flat=True)) == ["alice", "bob"]


def test_words_for_another_verb_do_not_add_up(chain: ChainCompany, alice: AbstractUser, bob: AbstractUser) -> None:
    chain.sandbox.faults.add("drop_transaction", route=SEND)
    sent(chain)
    into_doubt(chain)
    chain.slots(PAST_EXPIRY)
    cast.force_policy(quorum=2)
    assert say(Verb.FAIL, alice).missing == 1
    assert say(Verb.REQUEUE, bob).missing == 1
    assert Step.objects.get().status == "needs_reconciliation"


def test_two_people_settle_a_finding(chain: ChainCompany, alice: AbstractUser, bob: AbstractUser) -> None:
    paid_in(chain, USDC=3_000_000_000)  # above the four-eyes threshold of the demo
    chain.slots(40)
    chain.reconcile()
    found = finding("movement")
    first = movements.settle(finding_id=found.pk, verb=movements.Verb.BOOK, by=alice, reason="x", now=db.now())
    assert first.missing == 1
    assert not LedgerTransaction.objects.filter(kind="movement").exists()
    movements.settle(finding_id=found.pk, verb=movements.Verb.BOOK, by=bob, reason="y", now=db.now())
    assert chain.held() == chain.books()


# --- the command ----------------------------------------------------------------------------------


def reconcile(*options: str) -> tuple[dict[str, Any], int]:
    out = StringIO()
    try:
        call_command("reconcile", "--json", *options, stdout=out)
    except CommandError as refused:
        return json.loads(out.getvalue()), refused.returncode
    return json.loads(out.getvalue()), 0


def test_a_dry_run_says_what_a_pass_would_find_and_changes_nothing(chain: ChainCompany) -> None:
    sent(chain)
    into_doubt(chain)
    paid_in(chain, lamports=1_000)
    chain.slots(2)
    events = Event.objects.count()
    told, code = reconcile("--dry-run")
    assert code == 1
    assert told["in_doubt"] == [Step.objects.get().pk]
    assert "It landed" in told["attempts"][0]
    assert len(told["strangers"]) == 1
    assert (Event.objects.count(), Finding.objects.count(), statuses()) == (events, 0, ["in_doubt"])
    told, code = reconcile()
    assert (told["settled"], told["strangers"], code) == (1, 1, 1)
    assert statuses() == ["confirmed"]


def test_where_nothing_is_left_to_explain_the_command_says_so(chain: ChainCompany) -> None:
    assert reconcile("--dry-run")[1] == 0
    told, code = reconcile()
    assert (told["clean"], code) == (True, 0)
    out = StringIO()
    call_command("reconcile", stdout=out)
    assert "findings     none" in out.getvalue()


def test_a_chain_that_is_away_is_said(chain: ChainCompany) -> None:
    chain.sandbox.faults.add("drop")
    told, code = reconcile()
    assert code == 1
    assert told["away"]


@pytest.mark.usefixtures("company")
def test_a_paper_company_has_no_chain_to_compare() -> None:
    assert reconcile("--dry-run")[1] == 0
    assert reconcile()[1] == 0
