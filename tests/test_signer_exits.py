"""A whole company before a signer as strict as the command's: its exits are made, and nothing that it can't book."""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from missions.models import Proposal
from tests import cast, chain_company
from tests.chain_company import ChainCompany
from tests.chain_weather import SEND, buy
from trading import reconciliation, stops
from trading.models import Order, Position
from trading.sandbox.jupiter import Jupiter
from trading.signer import effects
from trading.signer.limits import Limits

pytestmark = pytest.mark.usefixtures("impatient", "db")


@pytest.fixture
def strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens a company with caps of one's choice."""

    @contextmanager
    def opened(**caps: int) -> Iterator[ChainCompany]:
        monkeypatch.setattr(chain_company, "Limits", lambda **usual: Limits(**(usual | caps)))
        with chain_company.opened(tmp_path) as chain:
            yield chain

    return opened


def bought(chain: ChainCompany) -> Position:
    buy()
    chain.work()
    chain.slots(40)
    chain.reconcile()
    return Position.objects.get()


def fall(chain: ChainCompany, position: Position) -> None:
    """Below the stop, on the chain and in what the company has seen."""
    chain.price("JUP/USDC", position.stop_price * Decimal("0.97"))
    cast.set_price("JUP/USDC", position.stop_price * Decimal("0.97"))


def exits(chain: ChainCompany, *, times: int) -> list[str]:
    """Protective exits, asked for again while they fail; the codes that their orders end with."""
    codes = []
    for n in range(times):
        stops.run(now=cast.later(seconds=20 * n), limit=10)
        chain.work()
        codes.append(Order.objects.latest("pk").code)
    return codes


def test_exits_that_fail_do_not_use_up_the_signatures_that_the_next_exit_needs(strict: Any) -> None:
    """On mainnet a hundred a day for buys; a protective exit that failed is asked for again after 15 s."""
    with strict(signatures_a_day=2) as chain:
        position = bought(chain)
        fall(chain, position)
        chain.sandbox.faults.add("fail_transaction", route=SEND, times=3)  # the price runs away three times
        codes = exits(chain, times=4)
        assert Position.objects.get().status == "closed", codes


def test_with_one_count_for_both_they_would(strict: Any) -> None:
    """The control: the same, where sales have no more signatures than buys."""
    with strict(signatures_a_day=2, sales_a_day=2) as chain:
        position = bought(chain)
        fall(chain, position)
        chain.sandbox.faults.add("fail_transaction", route=SEND, times=3)
        assert exits(chain, times=4)[-1] == "signer_sale_cap"


def leave_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jupiter builds swaps that leave SOL wrapped."""
    usual = Jupiter._take
    monkeypatch.setattr(Jupiter, "_take", lambda self, *a, **k: usual(self, *a, **{**k, "wrap": False}))


def buy_sol(chain: ChainCompany) -> Order:
    proposal: Proposal = cast.submit(cast.buy("SOL/USDC", "100.00"))
    assert proposal.status == "approved", proposal.reason
    chain.work(visits=14)
    return Order.objects.get()


def test_what_would_stay_wrapped_is_refused_and_never_sent(strict: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The books could never tell that it came."""
    with strict() as chain:
        leave_wrapped(monkeypatch)
        order = buy_sol(chain)
        assert (order.status, order.code) == ("failed", "signer_stays_wrapped")
        assert chain.landed() == []
        reconciliation.run(now=cast.later(), limit=100)
        assert chain.held() == chain.books()


def test_what_the_signer_let_pass_the_books_could_not_tell(strict: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: such a swap lands, and its order is in doubt for good."""
    monkeypatch.setattr(effects, "_no_sol_stays_wrapped", lambda *_: None)
    with strict() as chain:
        leave_wrapped(monkeypatch)
        assert buy_sol(chain).status == "in_doubt"
        assert len(chain.landed()) == 1
