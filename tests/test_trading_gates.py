"""What trades the gates refuse, each with the code that says why, and the case just inside the limit."""

from decimal import Decimal

import pytest
from django.conf import settings

from missions import policies
from missions.gates import Case
from missions.models import Proposal, Verdict
from missions.vocabulary import ProposalSource
from tests import cast
from tradeco.common import db
from trading.gates import cash_suffices
from trading.models import EquitySnapshot, Market, Order, Position

pytestmark = pytest.mark.usefixtures("company")


def refused(proposal: Proposal) -> str:
    assert proposal.status == "rejected", (proposal.status, proposal.reason)
    return proposal.code


def test_a_market_that_does_not_exist() -> None:
    assert refused(cast.submit(cast.buy("DOGE/USDC"))) == "market_unknown"


def test_a_market_that_takes_no_entries_any_more() -> None:
    position = cast.bought()
    Market.objects.update(open=False)
    assert refused(cast.submit(cast.buy("SOL/USDC"))) == "market_closed"
    assert cast.submit(cast.close(position.pk)).status == "approved"


def test_a_stale_price_and_a_fresh_one() -> None:
    Market.objects.update(received_at=cast.later(seconds=-31))
    assert refused(cast.submit(cast.buy())) == "price_stale"
    Market.objects.update(received_at=cast.later(seconds=-25))
    assert cast.submit(cast.buy()).status == "approved"


def test_no_price_at_all() -> None:
    Market.objects.update(price=None)
    assert refused(cast.submit(cast.buy())) == "no_price"


def test_slippage_beyond_the_bound() -> None:
    assert refused(cast.submit(cast.buy(slippage_bps=101))) == "slippage_too_wide"
    assert cast.submit(cast.buy(slippage_bps=100)).status == "approved"


def test_selling_what_we_do_not_have() -> None:
    step = {"kind": "execute_trade", "params": {"side": "sell", "market": "SOL/USDC", "size_usd": "5"}}
    assert refused(cast.submit(cast.draft(steps=[step]))) == "position_missing"
    assert refused(cast.submit(cast.close(999))) == "position_missing"


def test_a_position_has_a_most_in_usd_and_as_a_share_of_equity() -> None:
    assert refused(cast.submit(cast.buy(size_usd="400.01"))) == "position_too_large"
    cast.set_policy(position_max="0.01")
    assert refused(cast.submit(cast.buy(size_usd="100.01"))) == "position_share_too_large"
    assert cast.submit(cast.buy(size_usd="100.00")).status == "approved"


def test_reserved_orders_count_towards_the_position() -> None:
    assert cast.submit(cast.buy(size_usd="300")).status == "approved"
    assert refused(cast.submit(cast.buy(size_usd="101"))) == "position_too_large"


def test_all_positions_in_use_but_enlarging_one_of_them_is_possible() -> None:
    cast.set_policy(open_positions_max=2)
    cast.submit(cast.buy("SOL/USDC"))
    cast.submit(cast.buy("WIF/USDC"))
    assert refused(cast.submit(cast.buy("BONK/USDC"))) == "positions_full"
    assert cast.submit(cast.buy("SOL/USDC")).status == "approved"


def test_exposure_over_all_positions() -> None:
    cast.set_policy(exposure_max="0.05")
    cast.submit(cast.buy("SOL/USDC", "400"))
    assert refused(cast.submit(cast.buy("WIF/USDC", "101"))) == "exposure_too_large"


def test_cash_that_is_not_free() -> None:
    """Exposure refuses first while its most is at or below equity, so this rule is asked alone."""
    _, policy = policies.current()
    facts = {"trade": {"side": "buy", "value_usd": "201"}, "portfolio": {"free_cash_usd": "200"}}
    denied = cash_suffices.rule(Case(cast.buy()), facts, policy, db.now())
    assert denied is not None
    assert denied.code == "funds_short"
    facts["trade"]["value_usd"] = "200"
    assert cash_suffices.rule(Case(cast.buy()), facts, policy, db.now()) is None


def test_a_day_s_loss_ends_entries_not_exits() -> None:
    position = cast.bought()
    EquitySnapshot.objects.create(
        at=db.now(),
        market_at=db.now(),
        cash=20_000_000_000,
        positions=0,
        equity=20_000_000_000,
        peak=10_000_000_000,
        realized=10_000_000_000,
        unrealized=0,
    )
    assert refused(cast.submit(cast.buy("WIF/USDC"))) == "daily_loss"
    assert cast.submit(cast.close(position.pk)).status == "approved"


def test_a_drawdown_from_the_peak_ends_entries() -> None:
    EquitySnapshot.objects.create(
        at=db.now(),
        market_at=db.now(),
        cash=10_000_000_000,
        positions=0,
        equity=10_000_000_000,
        peak=20_000_000_000,
        realized=0,
        unrealized=0,
    )
    assert refused(cast.submit(cast.buy("WIF/USDC"))) == "drawdown"


def test_a_loser_is_not_enlarged() -> None:
    position = cast.bought()
    cast.set_price("SOL/USDC", position.market.price * Decimal("0.985"))
    step = {"kind": "scale_position", "params": {"position": position.pk, "direction": "up", "size_usd": "20"}}
    assert refused(cast.submit(cast.draft(steps=[step]))) == "losing_position"


def test_a_market_with_an_order_in_doubt_takes_no_other_not_even_an_exit() -> None:
    position = cast.bought()
    cast.submit(cast.buy())
    Order.objects.filter(status="reserved").update(status="in_doubt")
    assert refused(cast.submit(cast.buy())) == "order_in_doubt"
    exit_ = cast.submit(cast.close(position.pk), source=ProposalSource.PROTECTION, protective=True)
    assert refused(exit_) == "order_in_doubt"
    assert cast.submit(cast.buy("WIF/USDC")).status == "approved"


def test_sizes_from_the_human_threshold_on_wait_for_people() -> None:
    cast.set_policy(human_from_usd="300")
    waiting = cast.submit(cast.buy(size_usd="300"))
    assert (waiting.status, waiting.waits_for_people_since is not None) == ("pending", True)
    assert cast.submit(cast.buy(size_usd="99.99")).status == "approved"


def test_every_verdict_keeps_the_facts_it_judged_by() -> None:
    proposal = cast.submit(cast.buy())
    gates = Verdict.objects.filter(proposal=proposal, stage="approval")
    assert gates.count() == len(settings.GATES)
    exposure = gates.get(gate="exposure_is_within_limits")
    assert exposure.facts["portfolio"]["equity_usd"].startswith("10000")
    assert exposure.facts["trade"]["value_usd"].startswith("20")


def test_scaling_down_and_selling_a_part_leave_the_rest_open() -> None:
    position = cast.bought(size_usd="200")
    step = {"kind": "scale_position", "params": {"position": position.pk, "direction": "down", "size_usd": "50"}}
    assert cast.submit(cast.draft(steps=[step])).status == "approved"
    cast.work()
    sell = {"kind": "execute_trade", "params": {"side": "sell", "market": "SOL/USDC", "size_usd": "50"}}
    assert cast.submit(cast.draft(steps=[sell])).status == "approved"
    cast.work()
    left = Position.objects.get()
    assert left.status == "open"
    assert abs(left.quantity - position.quantity // 2) < position.quantity // 1000


def test_the_vote_rejects_an_agent_s_trade_that_no_signal_supports() -> None:
    from trading.models import Signal

    proposal = cast.submit(cast.analysis_draft())
    assert proposal.status == "approved"
    step = proposal.mission.steps.get()
    market = Market.objects.get(name="SOL/USDC")
    Signal.objects.create(
        market=market,
        step=step,
        kind="momentum",
        direction="sell",
        strength="0.9",
        confidence="0.7",
        why="falling",
        at=db.now(),
        market_at=market.price_at,
    )
    agent_s = cast.submit(cast.buy(), source=ProposalSource.TRIGGER)
    assert refused(agent_s) == "voted_down"
    assert {vote.agent_id: vote.stance for vote in agent_s.votes.all()} == {"sage": "agree", "atlas": "disagree"}
    assert cast.submit(cast.buy(), source=ProposalSource.PERSON).status == "approved"


def test_sage_vetoes_near_the_drawdown_halt() -> None:
    EquitySnapshot.objects.create(
        at=db.now(),
        market_at=db.now(),
        cash=10_000_000_000,
        positions=0,
        equity=10_000_000_000,
        peak=13_000_000_000,
        realized=0,
        unrealized=0,
    )
    assert refused(cast.submit(cast.buy())) == "vetoed"
