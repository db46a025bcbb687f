"""What agents propose about events, from the scan to the trade; what they answer; what they propose of themselves."""

from decimal import Decimal
from typing import Any

import pytest

from agents.memory import Recalled
from agents.models import Memory
from missions import drafts, policies, triggers
from missions.models import Proposal, Step, TriggerState
from missions.vocabulary import TRADING_KINDS
from tests import cast, minds
from tests.test_influence import learns
from tradeco.common import db, events
from tradeco.common.models import Event
from trading import ideas
from trading.models import Feed, Market, Order, Signal

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


def respond(agent: str, found: list[Event]) -> Any:
    _, policy = policies.current()
    return ideas.respond(agent, found, policy=policy, now=db.now())


def idea(agent: str, found: list[Event]) -> Any:
    """What would be handed in of its answer: all but the event that it is about."""
    told = respond(agent, found)
    return told and {name: value for name, value in told.items() if name != "event"}


def numbered(found: list[Event]) -> list[Event]:
    events.number_new()
    return list(Event.objects.filter(key__in=[event.key for event in found]).order_by("number"))


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
    assert cast.submit(drafts.read(draft)).status == "approved"


def test_a_forecast_reaches_as_far_as_the_longest_holding() -> None:
    found = heard("signal.strong", **strong("SOL/USDC", "buy", "0.95"))
    Feed.objects.update(bar_seconds=3600)
    cast.set_policy(max_hold_bars_min=12)
    assert idea("scout", found)["forecast"]["horizon_minutes"] == 12 * 60
    cast.set_policy(max_hold_minutes=None)
    assert idea("scout", found)["forecast"]["horizon_minutes"] == 4 * 60


def test_a_bad_record_halves_what_an_agent_may_ask_for_where_the_flag_says_so() -> None:
    found = heard("signal.strong", **strong("SOL/USDC", "buy", "0.95"))
    minds.scored([("1", False)] * 10)
    assert idea("scout", found)["steps"][0]["params"]["size_usd"] == "323.00"
    cast.set_policy(flag_capital_by_record=True)
    assert idea("scout", found)["steps"][0]["params"]["size_usd"] == "161.50"


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


def test_an_idea_names_the_event_that_it_is_about_not_whichever_came_last() -> None:
    found = heard("signal.strong", **strong("SOL/USDC", "sell", "0.99"))
    found += heard("signal.strong", **strong("WIF/USDC", "buy", "0.95"))
    found += heard("signal.strong", **strong("BONK/USDC", "buy", "0.85"))
    found = numbered(found)
    endangered, strongest, last = found
    assert respond("scout", found)["event"] == strongest.number
    assert respond("scout", [last])["event"] == last.number, "the control: alone it is the one"
    position = cast.bought("SOL/USDC")
    cast.set_price("SOL/USDC", position.market.price * Decimal("1.01"))
    assert respond("scout", [endangered])["event"] == endangered.number


@pytest.mark.parametrize("kind", ["position.win", "position.loss", "position.alarm", "positions.many", "stop.hit"])
def test_a_review_is_about_the_newest_of_its_events(kind: str) -> None:
    found = numbered([*heard(kind), *heard(kind)])
    assert respond("sage", found)["event"] == found[-1].number


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


# --- of their own accord --------------------------------------------------------------------------


def own_idea(agent: str, *memories: Memory) -> Any:
    _, policy = policies.current()
    recalled = [Recalled(each, each.confidence) for each in memories]
    return ideas.initiate(agent, recalled, policy=policy, now=db.now())


def signalled(
    market: str, direction: str, strength: str = "0.5", confidence: str = "0.7", kind: str = "momentum"
) -> None:
    step = Step.objects.first() or cast.submit(cast.analysis_draft()).mission.steps.get()
    at = Market.objects.get(pk=market).price_at
    assert at is not None
    Signal.objects.create(
        market_id=market, step=step, kind=kind, direction=direction, strength=strength, confidence=confidence,
        why="a test", at=db.now(), market_at=at,
    )  # fmt: skip


def is_handed_in(draft: Any) -> str:
    proposal = cast.submit(drafts.read({key: value for key, value in draft.items() if key != "memories"}))
    return str(proposal.status)


def test_who_remembers_nothing_or_is_nobody_has_no_idea_of_its_own() -> None:
    assert own_idea("observer") is None
    assert own_idea("nobody", learns()) is None
    assert own_idea("observer", learns()) is not None


def test_scout_enters_the_market_of_its_strategy_where_fresh_signals_say_buy() -> None:
    elsewhere, there = learns(tags=("WIF/USDC",)), learns(tags=("momentum", "SOL/USDC"))
    assert own_idea("scout", elsewhere, there) is None
    signalled("SOL/USDC", "buy")
    draft = own_idea("scout", elsewhere, there)
    assert draft["steps"][0]["params"]["market"] == "SOL/USDC"
    # the signal's 0.7, and 0.05 × 0.75 of what it remembers
    assert (draft["confidence"], draft["memories"]) == ("0.737", [(there.pk, Decimal("0.037"))])
    assert f"#{there.pk}" in draft["title"]
    assert f"Remembers #{there.pk}: It worked before." in draft["rationale"]
    assert is_handed_in(draft) == "approved"


@pytest.mark.parametrize(
    ("strength", "confidence", "sell"), [("0.5", "0.5", ""), ("0.5", "0.7", "0.6")], ids=["unsure", "contradicted"]
)
def test_scout_leaves_a_market_whose_fresh_signals_do_not_say_buy(strength: str, confidence: str, sell: str) -> None:
    signalled("SOL/USDC", "buy", strength, confidence)
    if sell:
        signalled("SOL/USDC", "sell", sell, kind="trend")
    assert own_idea("scout", learns()) is None


def test_scout_leaves_old_signals_lessons_and_what_is_held_or_asked_for() -> None:
    known, lesson = learns(), learns("lesson")
    signalled("SOL/USDC", "buy")
    assert own_idea("scout", lesson) is None
    assert own_idea("scout", known)
    Signal.objects.update(market_at=cast.later(days=-2))
    assert own_idea("scout", known) is None
    signalled("SOL/USDC", "buy")
    cast.set_policy(human_from_usd="10")
    asked = cast.submit(cast.buy())
    assert own_idea("scout", known) is None
    Proposal.objects.filter(pk=asked.pk).update(status="cancelled", decided_at=db.now())
    assert own_idea("scout", known)
    cast.set_policy(human_from_usd="500")
    cast.bought()
    assert own_idea("scout", known) is None


def moved(market: str, factor: str) -> None:
    price = Market.objects.get(pk=market).price
    assert price is not None
    cast.set_price(market, price * Decimal(factor))


def test_sage_reduces_the_worst_loser_where_a_lesson_speaks_of_its_market() -> None:
    lesson = learns("lesson", agent="sage")
    worse, bad = cast.bought("SOL/USDC"), cast.bought("WIF/USDC")
    moved("SOL/USDC", "0.98"), moved("WIF/USDC", "0.99")
    assert own_idea("sage", learns("lesson", agent="sage", tags=(bad.market_id,))) is None
    assert own_idea("sage", learns(agent="sage")) is None
    draft = own_idea("sage", lesson)
    params = draft["steps"][0]["params"]
    assert (params["position"], params["direction"]) == (worse.pk, "down")
    assert Decimal("45") < Decimal(params["size_usd"]) < Decimal("50")  # half of what 100 USD are worth now
    assert (draft["confidence"], draft["memories"]) == ("0.637", [(lesson.pk, Decimal("0.037"))])
    assert is_handed_in(draft) == "approved"


def test_sage_leaves_winners_alone_closes_what_is_small_and_does_not_ask_twice() -> None:
    lesson = learns("lesson", agent="sage")
    cast.bought("SOL/USDC", "15.00")
    moved("SOL/USDC", "1.02")
    assert own_idea("sage", lesson) is None
    moved("SOL/USDC", "0.95")
    draft = own_idea("sage", lesson)
    assert draft["steps"][0]["kind"] == "close_position"
    cast.set_policy(human_from_usd="1")
    assert is_handed_in(draft) == "pending"
    assert own_idea("sage", lesson) is None


def test_growth_scales_the_best_winner_that_it_knows_a_strategy_for_and_else_looks_back() -> None:
    known = learns(agent="growth")
    assert own_idea("growth", known)["steps"][0]["kind"] == "reflect"
    best = cast.bought("SOL/USDC")
    cast.bought("WIF/USDC")
    moved("SOL/USDC", "1.012"), moved("WIF/USDC", "1.005")
    draft = own_idea("growth", known)
    assert draft["steps"][0]["params"] == {"position": best.pk, "direction": "up", "size_usd": "25.00"}
    assert draft["memories"] == [(known.pk, Decimal("0.037"))]
    assert own_idea("growth", learns(agent="growth", tags=("WIF/USDC",)))["steps"][0]["kind"] == "reflect"
    assert own_idea("growth", learns("lesson", agent="growth"))["steps"][0]["kind"] == "reflect"
    assert is_handed_in(draft) == "approved"
    cast.set_policy(flag_scaling=False)
    assert own_idea("growth", known)["steps"][0]["kind"] == "reflect"


def test_intel_studies_a_market_that_it_knows_least_of() -> None:
    markets = list(Market.objects.order_by("name").values_list("name", flat=True))
    known = [learns("insight", agent="intel", tags=(market,)) for market in markets if market != "JUP/USDC"]
    draft = own_idea("intel", *known)
    assert draft["steps"] == [{"kind": "analyze_signal", "params": {"market": "JUP/USDC"}}]
    assert is_handed_in(draft) == "approved"


def test_atlas_has_a_lesson_debated_where_two_stand_far_apart_and_else_calls_for_strategy() -> None:
    lesson, known = learns("lesson", agent="atlas"), learns(agent="atlas")
    params = own_idea("atlas", lesson, known)["steps"][0]["params"]
    assert (params["format"], params["about"]) == ("debate", f"memory:{lesson.pk}")
    assert "It worked before." in params["topic"]
    assert is_handed_in(own_idea("atlas", lesson)) == "approved"
    assert own_idea("atlas", known)["steps"][0]["params"]["format"] == "strategy_session"
    cast.set_policy(debate_below="0.1")
    assert own_idea("atlas", lesson)["steps"][0]["params"]["format"] == "strategy_session"
    cast.set_policy(flag_talks=False)
    assert own_idea("atlas", lesson) is None


def test_observer_audits() -> None:
    draft = own_idea("observer", learns("insight", agent="observer"))
    assert draft["steps"] == [{"kind": "reflect", "params": {"topic": "audit"}}]
    assert is_handed_in(draft) == "approved"


# --- answers --------------------------------------------------------------------------------------


def answer(does: str, agent: str, found: list[Event]) -> Any:
    _, policy = policies.current()
    return ideas.respond(agent, found, policy=policy, now=db.now(), does=does)


def test_atlas_calls_for_a_strategy_session_where_agents_talk_and_else_looks_back_itself() -> None:
    found = heard("agent.reflected", subject="step:7", topic="performance")
    step = answer("propose_strategy", "atlas", found)["steps"][0]
    assert (step["kind"], step["params"]["format"]) == ("hold_roundtable", "strategy_session")
    cast.set_policy(flag_talks=False)
    assert answer("propose_strategy", "atlas", found)["steps"][0]["kind"] == "reflect"


def test_nobody_knows_how_to_answer_what_the_program_has_no_word_for() -> None:
    assert answer("celebrate", "atlas", heard("agent.reflected", subject="step:7")) is None


@pytest.mark.parametrize("does", ["diagnose", "evaluate", "analyze", "review", "propose_strategy", "alert"])
@pytest.mark.parametrize("kind", ["position.loss", "position.opened", "signal.found", "agent.reflected"])
def test_whatever_the_matrix_asks_about_whatever_event_is_a_proposal_that_risks_nothing_or_none(
    does: str, kind: str
) -> None:
    draft = answer(does, "atlas", heard(kind, subject="position:3" if "position" in kind else "step:7"))
    assert draft is not None or does == "evaluate"
    if draft is not None:
        assert TRADING_KINDS.isdisjoint(drafts.read(draft).kinds)
