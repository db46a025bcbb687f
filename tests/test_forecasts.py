"""Forecasts: opened with a trade's proposal, void without a trade, scored once by what it earned, in due time."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents import track_record
from agents.models import Score
from missions import forecasts, outcomes, proposals
from missions.models import Forecast, Proposal
from tests import cast
from tests.race import stage
from tradeco.common import db
from tradeco.common.models import Event
from trading import forecasting, positions, stops
from trading.models import Fill, Market, Order, Position

pytestmark = pytest.mark.usefixtures("company")
SOL, HORIZON = "SOL/USDC", 30
SAID = {"probability": "0.7", "horizon_minutes": HORIZON}


@pytest.fixture(autouse=True)
def _a_round_price(company: None) -> None:
    cast.set_price(SOL, "100")
    cast.set_policy(max_hold_minutes=None, stop_loss="0.02", take_profit="0.02")


def foretell(step: dict[str, Any] | None = None, said: dict[str, Any] | None = SAID, **kwargs: Any) -> Proposal:
    """A trade with a forecast: a buy of SOL for 100 USD."""
    buy = {"kind": "execute_trade", "params": {"side": "buy", "market": SOL, "size_usd": "100.00"}}
    proposal = cast.submit(cast.draft(steps=[step or buy], forecast=said), **kwargs)
    assert proposal.status == "approved", proposal.reason
    return proposal


def bought(**kwargs: Any) -> tuple[Forecast, Position]:
    proposal = foretell(**kwargs)
    cast.work()
    return Forecast.objects.get(proposal=proposal), Position.objects.get(status="open")


def run(now: datetime | None = None, limit: int = 50) -> dict[str, Any]:
    return forecasting.run(now=now or db.now(), limit=limit)


def ended(forecast: Forecast) -> tuple[str, bool | None]:
    forecast.refresh_from_db()
    return forecast.status, forecast.happened


def after(minutes: float) -> datetime:
    """Market time so long after the newest fill."""
    return Fill.objects.latest("pk").market_at + timedelta(minutes=minutes)


# --- opened ---------------------------------------------------------------------------------------


def test_a_trade_s_forecast_is_kept_with_its_proposal() -> None:
    forecast = Forecast.objects.get(proposal=foretell())
    assert (forecast.agent_id, forecast.probability, forecast.horizon_minutes) == ("scout", Decimal("0.700"), HORIZON)
    assert ended(forecast) == ("open", None)


def test_who_says_nothing_forecasts_nothing_and_work_that_trades_nothing_has_no_profit_to_foretell() -> None:
    foretell(said=None)
    cast.submit(cast.analysis_draft(forecast=SAID))
    assert not Forecast.objects.exists()


# --- void -----------------------------------------------------------------------------------------


def test_a_forecast_of_a_refused_trade_is_void() -> None:
    proposal = cast.submit(cast.draft(forecast=SAID, confidence="0.1"))
    assert proposal.status == "rejected"
    assert ended(Forecast.objects.get()) == ("void", None)


def test_a_forecast_of_a_trade_that_people_withdrew_is_void(alice: AbstractUser) -> None:
    cast.force_policy(human_from_usd="50")
    proposal = cast.submit(cast.draft(forecast=SAID, steps=[_buy("100.00")]))
    assert ended(Forecast.objects.get()) == ("open", None)
    assert run()["void"] == 0, "nobody has decided yet"
    proposals.cancel(proposal_id=proposal.pk, by=alice, reason="changed our mind", now=db.now())
    assert ended(Forecast.objects.get()) == ("void", None)


def _buy(size_usd: str) -> dict[str, Any]:
    return {"kind": "execute_trade", "params": {"side": "buy", "market": SOL, "size_usd": size_usd}}


def test_a_mission_that_ended_without_a_fill_voids_its_forecast_and_one_under_way_does_not() -> None:
    first = foretell()
    forecast = Forecast.objects.get()
    assert run() == {"scored": 0, "void": 0, "failed": 0}
    outcomes.cancel_mission(mission_id=first.mission.pk, by="alice", reason="no", now=db.now())
    assert run()["void"] == 1
    assert ended(forecast) == ("void", None)
    assert not Score.objects.exists()


def test_a_fill_that_vanished_is_no_trade() -> None:
    forecast, _ = bought()
    Fill.objects.update(reversed_at=db.now())
    assert run()["void"] == 1
    assert ended(forecast) == ("void", None)


def test_what_somebody_moved_away_by_hand_earned_what_nobody_knows() -> None:
    forecast, position = bought()
    Position.objects.filter(pk=position.pk).update(quantity=0, cost=0, status="closed", closed_at=db.now())
    assert run()["void"] == 1
    assert ended(forecast) == ("void", None)


# --- scored ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("factor", "happened"), [("0.97", False), ("1.04", True)])
def test_a_position_closed_before_the_horizon_has_ended_and_counts_by_what_it_realised(
    factor: str, happened: bool
) -> None:
    forecast, _ = bought()
    cast.set_price(SOL, Decimal(100) * Decimal(factor))
    stops.run(now=db.now(), limit=10)
    assert run()["scored"] == 0, "the exit is under way"
    cast.work()
    assert run() == {"scored": 1, "void": 0, "failed": 0}
    assert ended(forecast) == ("scored", happened)
    score = Score.objects.get()
    assert (score.agent_id, score.kind, score.cause, score.happened) == ("scout", "entry", forecast.subject, happened)
    assert score.brier == track_record.brier(Decimal("0.7"), happened)
    told = Event.objects.get(kind="forecast.scored")
    assert (told.subject, told.agent, told.data["happened"]) == (forecast.subject, "scout", happened)
    assert run()["scored"] == 0


@pytest.mark.parametrize(
    ("price", "happened"),
    [("101", True), ("99", False), ("100.20", False)],  # buying cost 0.15 %, and selling will cost 0.1 % again
)
def test_at_its_horizon_an_open_position_counts_by_the_market_s_price_less_what_selling_costs(
    price: str, happened: bool
) -> None:
    forecast, _ = bought()
    cast.set_price(SOL, price, at=after(HORIZON))
    assert run()["scored"] == 1
    assert ended(forecast) == ("scored", happened)


def test_the_horizon_is_market_time_however_late_it_is_elsewhere() -> None:
    forecast, _ = bought()
    cast.set_price(SOL, "101", at=after(HORIZON) - timedelta(seconds=1))
    assert run(now=cast.later(days=2))["scored"] == 0
    cast.set_price(SOL, "101", at=after(HORIZON))
    assert run()["scored"] == 1
    assert ended(forecast) == ("scored", True)


def test_without_a_price_it_waits() -> None:
    forecast, _ = bought()
    Market.objects.filter(name=SOL).update(price=None, price_at=None)
    assert run() == {"scored": 0, "void": 0, "failed": 0}
    assert ended(forecast) == ("open", None)


def test_a_sale_is_over_with_its_fill_and_counts_by_what_it_realised_itself() -> None:
    foretell(said=None)
    cast.work()
    position = Position.objects.get()
    cast.set_price(SOL, "101")
    part = {"kind": "scale_position", "params": {"position": position.pk, "direction": "down", "size_usd": "40.00"}}
    won = Forecast.objects.get(proposal=foretell(part))
    cast.work()
    cast.set_price(SOL, "99")
    lost = Forecast.objects.get(proposal=foretell({"kind": "close_position", "params": {"position": position.pk}}))
    cast.work()
    assert run()["scored"] == 2
    assert (ended(won), ended(lost)) == (("scored", True), ("scored", False))
    assert set(Score.objects.values_list("kind", "happened")) == {("scale", True), ("exit", False)}


@pytest.mark.parametrize("closes", [True, False])
def test_enlarging_counts_from_the_enlarging_on_and_the_entry_from_the_entry(closes: bool) -> None:
    cast.set_policy(take_profit="0.5", stop_loss="0.5")
    entry, position = bought()
    cast.set_price(SOL, "110")
    more = {"kind": "scale_position", "params": {"position": position.pk, "direction": "up", "size_usd": "50.00"}}
    enlarging = Forecast.objects.get(proposal=foretell(more))
    cast.work()
    cast.set_price(SOL, "108", at=after(HORIZON))
    if closes:
        cast.submit(cast.close(position.pk))
        cast.work()
        position.refresh_from_db()
        assert position.status == "closed"
        assert position.realized > 0
    assert run()["scored"] == 2
    assert (ended(entry), ended(enlarging)) == (("scored", True), ("scored", False))


# --- in due order, once, whole --------------------------------------------------------------------


def _waiting(count: int) -> None:
    """Forecasts of proposals that wait for people, older than what comes after."""
    now = db.now()
    for _ in range(count):
        proposal = Proposal.objects.create(
            agent_id="scout", source="person", title="Buy SOL", steps=[_buy("20.00")], confidence="0.7", revision=1,
            seed=1, created_at=now, expires_at=now + timedelta(hours=4),
        )  # fmt: skip
        Forecast.objects.create(proposal=proposal, agent_id="scout", probability="0.5", horizon_minutes=1, made_at=now)


def test_those_that_wait_hold_up_none_that_is_due() -> None:
    _waiting(5)
    forecast, _ = bought()
    cast.set_price(SOL, "101", at=after(HORIZON))
    assert run(limit=1)["scored"] == 1
    assert ended(forecast) == ("scored", True)


def test_control_who_looks_at_all_that_are_open_comes_to_those_that_wait_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _waiting(5)
    forecast, _ = bought()
    cast.set_price(SOL, "101", at=after(HORIZON))
    oldest = Forecast.objects.filter(status="open").order_by("pk").values_list("pk", flat=True)
    monkeypatch.setattr(forecasting, "due", lambda *, limit: list(oldest[:limit]))
    assert run(limit=1)["scored"] == 0
    assert ended(forecast) == ("open", None)


def test_a_beat_settles_no_more_than_its_limit_the_oldest_first() -> None:
    first, _ = bought()
    cast.set_price("WIF/USDC", "2")
    second = Forecast.objects.get(
        proposal=foretell({"kind": "execute_trade", "params": {"side": "buy", "market": "WIF/USDC", "size_usd": "90"}})
    )
    cast.work()
    for market in (SOL, "WIF/USDC"):
        cast.set_price(market, "200", at=after(HORIZON))
    assert run(limit=1)["scored"] == 1
    assert (ended(first)[0], ended(second)[0]) == ("scored", "open")
    assert run(limit=1)["scored"] == 1


def test_one_that_can_not_be_settled_is_told_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    test_a_beat_settles_no_more_than_its_limit_the_oldest_first()
    Forecast.objects.update(status="open", happened=None, settled_at=None)
    Score.objects.all().delete()
    bad, good = Forecast.objects.order_by("pk")
    settle = forecasts.settle_within

    def fails_for_one(*, forecast: Forecast, happened: bool, now: datetime) -> bool:
        if forecast.pk == bad.pk:
            raise ValueError("a bug")
        return settle(forecast=forecast, happened=happened, now=now)

    monkeypatch.setattr(forecasts, "settle_within", fails_for_one)
    assert run() == {"scored": 1, "void": 0, "failed": 1}
    assert (ended(bad)[0], ended(good)[0]) == ("open", "scored")


def test_a_forecast_is_scored_with_its_event_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    forecast, _ = bought()
    cast.set_price(SOL, "101", at=after(HORIZON))

    def dies(**_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(forecasts.events, "emit", dies)
        with pytest.raises(KeyboardInterrupt):
            run()
    assert ended(forecast) == ("open", None)
    assert not Score.objects.exists()
    assert run()["scored"] == 1


def test_whoever_settles_second_changes_nothing() -> None:
    forecast, _ = bought()
    with db.transaction():
        assert forecasts.settle_within(forecast=forecast, happened=True, now=db.now())
        assert not forecasts.settle_within(forecast=forecast, happened=False, now=db.now())
        assert not forecasts.void_within(proposal=forecast.proposal, now=db.now())
    assert ended(forecast) == ("scored", True)
    assert Event.objects.filter(kind="forecast.scored").count() == 1


def test_control_without_the_comparison_the_second_overwrites_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    forecast, _ = bought()

    def set_without_comparing(proposal_id: int, *, to: str, happened: bool | None, now: datetime) -> bool:
        return bool(Forecast.objects.filter(proposal=proposal_id).update(status=to, happened=happened, settled_at=now))

    monkeypatch.setattr(forecasts, "_settle", set_without_comparing)
    with db.transaction():
        forecasts.settle_within(forecast=forecast, happened=True, now=db.now())
        forecasts.void_within(proposal=forecast.proposal, now=db.now())
    assert (ended(forecast)[0], Score.objects.count()) == ("void", 1)


@pytest.mark.race
def test_two_phases_side_by_side_score_once(committed_company: None) -> None:
    cast.set_price(SOL, "100")
    bought()
    cast.set_price(SOL, "101", at=after(HORIZON))
    told = stage.together(4, lambda _: run())
    assert sum(each["scored"] for each in told) == 1, told
    assert sum(each["failed"] for each in told) == 0
    assert (Score.objects.count(), Event.objects.filter(kind="forecast.scored").count()) == (1, 1)


# --- what a position earned before ----------------------------------------------------------------


@given(
    trades=st.lists(
        st.tuples(st.booleans(), st.integers(1, 10**9), st.integers(50, 200), st.integers(0, 10**5)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_earned_before_a_purchase_is_what_the_position_showed_then(
    trades: list[tuple[bool, int, int, int]],
) -> None:
    """Whatever was bought and sold before, and at what prices: to the smallest unit, from the fills alone."""
    position, shown = None, []
    for number, (buys, quantity, price, fee) in enumerate(trades):
        at = Decimal(price)
        if position is None or buys or quantity >= position.quantity:
            if position is not None:
                worth = forecasting._worth(position.quantity, position, at)
                shown.append(position.realized + worth - position.cost)
            else:
                shown.append(0)
            position = _fill(position, "buy", number, money_in=quantity, got=quantity // 7 + 1, price=at, fee=fee)
        else:
            position = _fill(position, "sell", number, money_in=quantity, got=quantity * 3, price=at, fee=fee)
    fills = Fill.objects.filter(order__position=position, order__side="buy").order_by("pk")
    assert [forecasting._earned_before(fill, position) for fill in fills] == shown


def _fill(
    position: Position | None, side: str, number: int, *, money_in: int, got: int, price: Decimal, fee: int
) -> Position:
    """A fill booked on the position alone; each in an order and attempt of its own."""
    from missions import policies
    from missions.models import Mission, Step
    from trading.models import Attempt, Wallet
    from trading.venues.base import Executed

    now = db.now()
    if position is None:
        Position.objects.filter(status="open").update(status="closed", quantity=0, closed_at=now)
    proposal = Proposal.objects.create(
        agent_id="scout", source="person", title="x", steps=[], confidence="0.7", revision=1, seed=1, created_at=now,
        expires_at=now,
    )  # fmt: skip
    mission = Mission.objects.create(proposal=proposal, agent_id="scout", kind="entry", created_at=now)
    step = Step.objects.create(
        mission=mission, place=1, kind="execute_trade", run_after=now, attempts_max=5, created_at=now
    )
    market = Market.objects.select_related("base", "quote").get(name=SOL)
    order = Order.objects.create(
        step=step, agent_id="scout", wallet=Wallet.objects.get(), market=market, position=position, side=side,
        asset_in=market.quote if side == "buy" else market.base, amount_in=money_in, slippage_bps=50, created_at=now,
    )  # fmt: skip
    costs = positions.Costs(Executed(amount_in=money_in, amount_out=got, fee_quote=fee, price=price), network_quote=fee)
    cost = realized = None
    if side == "buy":
        position = positions.buy(order, costs, policy=policies.current()[1], now=now, market_at=now)
    else:
        position, cost, realized = positions.sell(order, costs, now=now, market_at=now)
    Order.objects.filter(pk=order.pk).update(position=position)
    Fill.objects.create(
        order=order, attempt=Attempt.objects.create(order=order, n=1, quote={}, created_at=now), amount_in=money_in,
        amount_out=got, fee_quote=fee, price=price, network_fee_quote=fee, cost_quote=cost, realized_quote=realized,
        at=now, market_at=now,
    )  # fmt: skip
    return position


# --- whose record ---------------------------------------------------------------------------------


def test_what_a_person_forecasts_in_an_agent_s_name_is_followed_up_but_no_record_of_the_agent_s(
    admin_user: AbstractUser,
) -> None:
    step = {"kind": "execute_trade", "params": {"side": "buy", "market": "WIF/USDC", "size_usd": "90"}}
    by_person, own = foretell(author=admin_user), foretell(step)
    cast.work()
    for each in Position.objects.filter(status="open"):
        cast.submit(cast.close(each.pk), protective=True, source="protection")
    cast.work()
    run()
    assert {ended(each.forecast)[0] for each in (by_person, own)} == {"scored"}
    assert list(Score.objects.values_list("cause", flat=True)) == [own.forecast.subject], (
        "the agent's own is the control"
    )
