"""Who uses our key is found, whatever else goes wrong or is thrown in the way."""

from datetime import timedelta
from typing import Any

import pytest

from missions.models import Company
from tests import cast
from tests.chain_company import ChainCompany
from tests.chain_strangers import approved_by_our_key, plain_transfer, taken_by_delegation, thief
from tests.chain_weather import buy, come_back, into_doubt, paid_in, sent, taken_out
from tradeco.common import db
from trading import booking, ledger, money, portfolio, reconciliation, stocktaking
from trading.models import Account, Asset, Finding, Order, Position, Wallet
from trading.vocabulary import AccountKind

pytestmark = pytest.mark.usefixtures("impatient")


def kinds() -> list[str]:
    return sorted(Finding.objects.filter(settled_at=None).values_list("kind", flat=True))


def status() -> str:
    return Company.objects.get().status


# --- an attempt that can't be booked --------------------------------------------------------------


@pytest.fixture
def unbookable(chain: ChainCompany, monkeypatch: pytest.MonkeyPatch) -> ChainCompany:
    """A purchase has landed, can't be booked, and is in doubt; then somebody takes USDC with our key."""

    def broken(*args: object, **kwargs: object) -> None:
        raise AssertionError("a bug in booking")

    monkeypatch.setattr(booking, "fill", broken)
    buy()
    chain.work(visits=12)
    assert Order.objects.get().status == "in_doubt"
    taken_out(chain, symbol="USDC", amount=50_000_000)
    chain.slots(40)
    return chain


def test_an_attempt_that_cannot_be_booked_does_not_hide_a_theft(unbookable: ChainCompany) -> None:
    told = unbookable.reconcile()
    assert (told["failed"], told["strangers"], status()) == (1, 1, "halted")


def test_control_uncaught_it_does(unbookable: ChainCompany, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "_one", reconciliation._look_at)
    with pytest.raises(AssertionError, match="a bug in booking"):
        unbookable.reconcile()
    assert status() == "active"


def test_a_fee_paid_out_of_a_top_up_not_yet_booked_does_not_hide_a_theft(chain: ChainCompany) -> None:
    """The books know of no SOL any more, so an exit's fee can't be booked."""
    buy()
    chain.work()
    chain.slots(40)
    chain.reconcile()
    held = Account.objects.get(kind="wallet", asset=money.NATIVE).balance
    with db.transaction():
        lines = [(AccountKind.WALLET, money.NATIVE, -held), (AccountKind.CAPITAL, money.NATIVE, held)]
        ledger.book(
            reference="gone", kind="opening", wallet=portfolio.wallet(), lines=lines, now=db.now(), market_at=None
        )
    assert cast.submit(cast.close(Position.objects.get().pk)).status == "approved"
    chain.work(visits=12)
    taken_out(chain, symbol="USDC", amount=50_000_000)
    chain.slots(40)
    assert chain.reconcile()["failed"] == 1
    assert status() == "halted"


# --- an order in doubt ----------------------------------------------------------------------------


@pytest.fixture
def doubtful(chain: ChainCompany) -> ChainCompany:
    """A purchase of JUP landed, and nobody says what it exchanged; the last comparison is too long ago for entries."""
    sent(chain)
    into_doubt(chain)
    chain.sandbox.faults.add("drop", route="getTransaction")
    chain.slots(40)
    Wallet.objects.update(reconciled_at=db.now() - timedelta(seconds=301))
    return chain


def test_an_order_in_doubt_does_not_end_entries_on_other_markets(doubtful: ChainCompany) -> None:
    assert doubtful.reconcile()["drift"] == [], "it may have done all that differs"
    come_back()
    assert cast.submit(cast.buy("WIF/USDC", "50.00")).status == "approved"
    assert cast.submit(cast.buy("JUP/USDC", "50.00")).code == "order_in_doubt"


def test_what_an_order_in_doubt_cannot_explain_is_a_difference(doubtful: ChainCompany) -> None:
    wif = Asset.objects.get(symbol="WIF")
    for mint, amount in ((money.USDC, 1), (wif.mint, 1)):
        Account.objects.filter(kind="wallet", asset=mint).update(balance=_balance(mint) + amount)
    assert doubtful.reconcile()["drift"] == ["USDC", "WIF"]


def test_control_where_it_explained_everything_nothing_would_be(
    doubtful: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stocktaking, "_explains", lambda swing, difference: True)
    Account.objects.filter(kind="wallet", asset=money.USDC).update(balance=_balance(money.USDC) + 1)
    assert doubtful.reconcile()["drift"] == []


def test_an_order_in_doubt_may_have_moved_what_it_gives_what_it_gets_and_what_fees_are_paid_in(
    doubtful: ChainCompany,
) -> None:
    assert stocktaking.in_doubt() == {money.USDC, money.NATIVE, Order.objects.get().market.base_id}


def _balance(mint: str) -> int:
    return int(Account.objects.get(kind="wallet", asset=mint).balance)


# --- what our key signed --------------------------------------------------------------------------


def test_our_signature_under_what_another_pays_for_halts_the_company(chain: ChainCompany) -> None:
    signature = approved_by_our_key(chain, thief(chain))
    chain.reconcile()
    assert (kinds(), status()) == (["unknown_signature"], "halted")
    assert Finding.objects.get().key == signature


def test_control_by_who_pays_alone_it_would_only_name_us(chain: ChainCompany, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    usual = stocktaking._stranger

    def only_the_payer(wallet: Wallet, found: Any, status: str | None) -> Any:
        return usual(wallet, replace(found, signers=found.signers[:1]), status)

    monkeypatch.setattr(stocktaking, "_stranger", only_the_payer)
    approved_by_our_key(chain, thief(chain))
    chain.reconcile()
    assert (kinds(), status()) == ([], "active")


def test_what_a_delegate_takes_without_naming_the_wallet_halts_the_company(chain: ChainCompany) -> None:
    plain_transfer(chain, "USDC", 1)
    signature = taken_by_delegation(chain, thief(chain), 1_000_000_000)
    assert reconciliation.foresee(now=db.now(), limit=10).strangers != []
    assert chain.reconcile()["strangers"] == 1
    assert (kinds(), status()) == (["balance_drift", "unknown_signature"], "halted")
    found = Finding.objects.get(kind="unknown_signature")
    assert (found.key, found.evidence["moved"]) == (signature, {money.USDC: "-1000000000"})
    assert chain.reconcile()["strangers"] == 0


def test_what_was_taken_before_the_books_were_opened_is_nobodys_affair(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_by_delegation(chain, thief(chain), 1_000_000_000)
    monkeypatch.setattr(stocktaking, "CLOCKS_APART", -timedelta(days=1))
    assert chain.reconcile()["drift"] == ["USDC"]
    assert (kinds(), status()) == (["balance_drift"], "active")


def test_a_crash_between_finding_it_and_the_halt_keeps_neither(
    chain: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken_out(chain, symbol="USDC", amount=100_000_000)
    chain.slots(40)

    def killed(**_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as death:
        death.setattr(stocktaking, "_halt", killed)
        with pytest.raises(KeyboardInterrupt):
            chain.reconcile()
    assert kinds() == []
    chain.reconcile()
    assert "unknown_signature" in kinds()
    assert status() == "halted"


# --- spam -----------------------------------------------------------------------------------------


@pytest.fixture
def spammed(chain: ChainCompany) -> ChainCompany:
    """Something is stolen, then we are sent fifteen times a lamport."""
    taken_out(chain, symbol="USDC", amount=1_000_000)
    chain.slots(2)
    for _ in range(15):
        paid_in(chain, lamports=1)
        chain.slots(1)
    chain.slots(40)
    return chain


def test_a_look_for_strangers_that_is_cut_off_keeps_what_it_saw_and_goes_on_there(spammed: ChainCompany) -> None:
    mark = Wallet.objects.get().newest_signature
    spammed.sandbox.faults.add("drop", route="getTransaction", skip=10)
    assert "away" in spammed.reconcile()
    assert status() == "halted"
    assert Finding.objects.count() == 10
    assert Wallet.objects.get().newest_signature != mark
    spammed.sandbox.faults.clear()
    come_back()
    assert spammed.reconcile()["strangers"] == 6


def test_a_pass_looks_only_so_long_and_the_next_one_goes_on(
    spammed: ChainCompany, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stocktaking, "LOOK_SECONDS", 0.0)
    assert [spammed.reconcile()["strangers"] for _ in range(3)] == [1, 1, 1]
    assert status() == "halted", "the oldest is looked at first"
    monkeypatch.undo()
    assert spammed.reconcile()["strangers"] == 13
    assert spammed.reconcile()["strangers"] == 0
