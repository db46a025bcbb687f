"""What agents propose about events, from the scan to the trade."""

from decimal import Decimal
from typing import Any

import pytest

from missions import policies, triggers
from missions.models import Proposal, TriggerState
from tests import cast
from tradeco.common import db, events
from tradeco.common.models import Event
from trading import ideas
from trading.models import Market, Order, Signal

pytestmark = pytest.mark.usefixtures("company")


def heard(kind: str, /, subject: str = "market:SOL/USDC", **data: Any) -> list[Event]:
    with db.savepoint():
        return [events.emit(kind=kind, subject=subject, now=db.now(), data=data)]


def strong(market: str, direction: str, strength: str = "0.9", confidence: str = "0.7") -> dict[str, str]:
    return {
        "market": market,
        "direction": direction,
        "strength": strength,
        "confidence": confidence,
        "kind": "momentum",
        "why": "the fast average is above the slow one",
    }


def idea(agent: str, found: list[Event]) -> Any:
    _, policy = policies.current()
    return ideas.respond(agent, found, policy=policy, now=db.now())


def test_scout_enters_on_the_strongest_buy_with_stops_and_a_forecast() -> None:
    found = heard("signal.strong", **strong("WIF/USDC", "buy", "0.85"))
    found += heard("signal.strong", **strong("SOL/USDC", "buy", "0.95"))
    found += heard("signal.strong", **strong("BONK/USDC", "sell", "0.99"))
    draft = idea("scout", found)
    params = draft["steps"][0]["params"]
    assert (params["market"], params["stop_loss_pct"], params["take_profit_pct"]) == ("SOL/USDC", "1.500", "2.00")
    # 400 USD at most, scaled by (1 + confidence) / 2, with 5 % room
    assert Decimal(params["size_usd"]) == Decimal("323.00")
    assert draft["forecast"] == {"probability": "0.6", "horizon_minutes": 10}
    from missions import drafts

    assert cast.submit(drafts.read(draft)).status == "approved"


def test_scout_doesn_t_ask_again_for_what_waits_for_people() -> None:
    found = heard("signal.strong", **strong("WIF/USDC", "buy", "0.85"))
    found += heard("signal.strong", **strong("SOL/USDC", "buy", "0.95"))
    cast.set_policy(human_from_usd="10")
    assert cast.submit(cast.buy("SOL/USDC")).status == "pending"
    assert idea("scout", found)["steps"][0]["params"]["market"] == "WIF/USDC"
    assert cast.submit(cast.buy("WIF/USDC")).status == "pending"
    assert idea("scout", found) is None


def test_scout_takes_a_profit_that_a_strong_sell_endangers() -> None:
    position = cast.bought()
    found = heard("signal.strong", **strong("SOL/USDC", "sell"))
    assert idea("scout", found) is None
    cast.set_price("SOL/USDC", position.market.price * Decimal("1.01"))
    assert idea("scout", found)["steps"][0]["kind"] == "close_position"


def test_growth_enlarges_a_winner_only_where_the_flag_allows() -> None:
    position = cast.bought()
    cast.set_price("SOL/USDC", position.market.price * Decimal("1.01"))
    won = heard("position.win", subject="position:99")
    assert idea("growth", won)["steps"][0]["params"] == {
        "position": position.pk,
        "direction": "up",
        "size_usd": "25.00",
    }
    cast.set_policy(flag_scaling=False)
    assert idea("growth", won)["steps"][0]["kind"] == "reflect"


def test_an_analysis_stores_its_signals_and_wakes_scout() -> None:
    cast.set_policy(signal_strong="0")
    cast.submit(cast.draft(agent="intel", steps=[{"kind": "analyze_signal", "params": {}}]))
    cast.work()
    assert Signal.objects.exists()
    assert Event.objects.filter(kind="signal.strong").exists()
    strong_buys = [
        event
        for event in Event.objects.filter(kind="signal.strong")
        if event.data["direction"] == "buy" and Decimal(event.data["confidence"]) >= Decimal("0.55")
    ]
    fired = triggers.run(now=db.now(), limit=20)["fired"]
    assert ("signal.strong:scout" in fired) == bool(strong_buys)


def test_a_company_left_alone_paces_its_trades_over_the_day() -> None:
    from missions.models import CapUse

    day = db.now().replace(hour=6, minute=0, second=0, microsecond=0)
    Market.objects.update(received_at=day)
    CapUse.objects.create(cap="trades_per_day", day=day.date(), used=500 // 4 + 40)
    heard("signal.strong", **strong("SOL/USDC", "buy"))
    assert "signal.strong:scout" not in triggers.run(now=day, limit=20)["fired"]
    CapUse.objects.filter(cap="trades_per_day").update(used=500 // 4 + 30)
    heard("signal.strong", **strong("SOL/USDC", "buy"))
    assert "signal.strong:scout" in triggers.run(now=day, limit=20)["fired"]
    assert Order.objects.count() == 1
    assert TriggerState.objects.get(key="reactive:signal.strong:scout").fired == 1
    assert Proposal.objects.filter(source="trigger", agent="scout").count() == 1
