"""The named facts that talk rests on: their shapes and units, their bounds whatever the history, and the rows that
conversations are about.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agents import opening as agents_opening
from missions import opening as missions_opening
from missions import talk_facts as missions_facts
from missions.gates import Case, Known
from missions.models import Mission, Outcome, Proposal, Step
from missions.vocabulary import CompanyStatus, ConversationFormat
from roundtable.formats import FORMATS
from roundtable.models import Turn
from tests import cast, minds, talk
from tradeco.common import db
from tradeco.common.wiring import load
from trading import talk_facts
from trading.models import Asset, Candle, Market, Order, Position, Signal

SOL = "SOL/USDC"
TALK = ("prices", "positions", "outlook", "outcomes", "talked_of")
QUERIES_MOST = 40  # of all facts of a turn together, with four markets


def known(about: str = "") -> Known:
    """The case of a conversation."""
    step = {"kind": "hold_roundtable", "params": {"format": "watercooler", "about": about}}
    return Known(Case(cast.draft(agent="atlas", steps=[step])), now=db.now())


def fact(name: str, about: str = "") -> Any:
    found = known(about)[name]
    json.dumps(found, allow_nan=False)  # as it is stored, without a coder of its own
    return found


def told(about: str) -> dict[str, Any]:
    found: dict[str, Any] = fact("talked_of", about)
    return found


@pytest.fixture
def nothing(db: None) -> None:
    """Agents and policies; no market, no wallet, no trade."""
    agents_opening.hire()
    missions_opening.open_company()


def test_every_fact_of_talk_is_wired() -> None:
    assert set(TALK) <= set(settings.FACTS)
    used = {name for format in FORMATS.values() for name in format.facts}
    assert set(TALK) <= used, "nobody speaks of it"


# --- shapes and units -----------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing")
def test_a_company_without_anything_has_facts_that_say_so() -> None:
    none = {"missions": 0, "succeeded": 0, "wins": 0, "losses": 0, "pnl_usd": "0.000000"}
    assert {name: fact(name) for name in TALK} == {
        "prices": {},
        "positions": {"open": [], "closed": []},
        "outlook": {},
        "outcomes": {"hours": 48, **none, "by_agent": {}, "by_kind": {}, "failures": {}, "refusals": {}},
        "talked_of": {},
    }


@pytest.mark.usefixtures("company")
def test_a_price_is_told_with_its_change_range_and_age() -> None:
    cast.set_price(SOL, "150.25")
    bars = list(Candle.objects.filter(market=SOL).order_by("-start")[:24])
    found = fact("prices")
    assert sorted(found) == sorted(Market.objects.values_list("name", flat=True))
    sol = found[SOL]
    assert Decimal(sol["price"]) == Decimal("150.25")
    assert Decimal(sol["change"]) == (Decimal("150.25") / bars[-1].open - 1).quantize(Decimal("0.000001"))
    assert (Decimal(sol["high"]), Decimal(sol["low"])) == (max(b.high for b in bars), min(b.low for b in bars))
    assert sol["bars"] == 24
    assert 0 <= sol["age_seconds"] < 60


@pytest.mark.usefixtures("company")
def test_tiny_prices_are_no_powers_of_ten() -> None:
    cast.set_price("BONK/USDC", "0.00000002311")
    assert fact("prices")["BONK/USDC"]["price"] == "0.000000023110"


@pytest.mark.usefixtures("company")
def test_a_market_without_a_price_candles_or_entries_is_told_as_far_as_it_goes() -> None:
    Candle.objects.filter(market="WIF/USDC").delete()
    Market.objects.filter(pk="WIF/USDC").update(received_at=None)
    Market.objects.filter(pk="JUP/USDC").update(open=False)
    Market.objects.filter(pk="BONK/USDC").update(price=None)
    found = fact("prices")
    assert set(found) == {SOL, "WIF/USDC"}
    wif = found["WIF/USDC"]
    assert {name: wif[name] for name in wif if name != "price"} == {
        "change": None, "high": None, "low": None, "bars": 0, "age_seconds": None
    }  # fmt: skip


@pytest.mark.usefixtures("company")
def test_what_is_held_and_was_closed_is_told_in_usd_shares_and_minutes() -> None:
    cast.set_price(SOL, "100")
    position = cast.bought(SOL, "100.00")
    cast.set_price(SOL, "110")
    (held,) = fact("positions")["open"]
    assert (held["id"], held["market"], held["agent"], held["minutes_held"]) == (position.pk, SOL, "scout", 0)
    assert Decimal(held["gain"]) == pytest.approx(Decimal("0.1"), abs=Decimal("0.005"))
    assert Decimal(held["cost_usd"]) == Decimal("100.000000")
    assert Decimal(held["value_usd"]) == pytest.approx(Decimal("109.8"), abs=Decimal("0.5"))
    close = {"kind": "close_position", "params": {"position": position.pk, "reason": "Enough."}}
    cast.submit(cast.draft(steps=[close]))
    cast.work()
    found = fact("positions")
    assert found["open"] == []
    (closed,) = found["closed"]
    assert (closed["id"], closed["why"]) == (position.pk, "Enough.")
    position.refresh_from_db()
    assert Decimal(closed["pnl_usd"]) == Decimal(position.realized) / 10**6
    assert Decimal(closed["gain"]) == pytest.approx(Decimal(closed["pnl_usd"]) / 100, abs=Decimal("0.00001"))
    outcomes = fact("outcomes")
    assert (outcomes["wins"], outcomes["losses"]) == (1, 0)
    assert outcomes["pnl_usd"] == closed["pnl_usd"]
    assert outcomes["by_agent"]["scout"]["wins"] == outcomes["by_kind"]["exit"]["wins"] == 1


@pytest.mark.usefixtures("company")
def test_the_outlook_is_the_strongest_of_the_newest_signals_of_each_kind() -> None:
    analysed()
    signal("momentum", "0.9", ago=2)  # an older one of its kind
    signal("momentum", "0.4")
    signal("breakout", "0.6", direction="sell", why="w" * 300)
    signal("mean_reversion", "0.99", ago=100_000)
    outlook = fact("outlook")
    assert outlook == {
        SOL: {"kind": "breakout", "direction": "sell", "strength": "0.600", "confidence": "0.700", "why": "w" * 200}
    }


@pytest.mark.usefixtures("company")
def test_outcomes_are_those_of_the_window_with_codes_of_failures_and_refusals() -> None:
    cast.submit(cast.buy(size_usd="0.01"))
    refused = cast.submit(cast.analysis_draft(confidence="0.1"))
    assert refused.code
    outcomes(3, pnl="2.5")
    outcomes(1, pnl="-1", agent="growth")
    outcomes(2, pnl=None, succeeded=False, code="too_small")
    outcomes(4, pnl="99", days_old=3)
    found = fact("outcomes")
    assert {name: found[name] for name in ("missions", "succeeded", "wins", "losses", "pnl_usd")} == {
        "missions": 6, "succeeded": 4, "wins": 3, "losses": 1, "pnl_usd": "6.500000"
    }  # fmt: skip
    assert found["by_agent"]["growth"] == {
        "missions": 1, "succeeded": 1, "wins": 0, "losses": 1, "pnl_usd": "-1.000000"
    }  # fmt: skip
    assert found["failures"] == {"too_small": 2}
    assert found["refusals"][refused.code] == 1


@pytest.mark.usefixtures("company")
def test_every_number_is_a_count_a_time_or_text() -> None:
    """Decimals travel as strings; a float is a number of seconds."""
    analysed()
    cast.bought()
    signal("momentum", "0.5")
    floats = {path for name in TALK for path, value in leaves(fact(name), name) if isinstance(value, float)}
    assert {path.rpartition(".")[2] for path in floats} == {"age_seconds"}


def leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(tree, Mapping):
        for name, inner in tree.items():
            yield from leaves(inner, f"{path}.{name}")
    elif isinstance(tree, list):
        for inner in tree:
            yield from leaves(inner, path)
    else:
        yield path, tree


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("company")
def test_however_long_the_history_the_queries_are_the_same_and_the_facts_no_longer() -> None:
    position = cast.bought()
    analysed()
    history(3)
    short, few = sizes(position.subject)
    history(400)
    long, many = sizes(position.subject)
    assert many == few
    assert sum(few.values()) <= QUERIES_MOST
    assert all(long[name] <= short[name] + 400 for name in TALK), (short, long)  # longer numbers, a code more


def sizes(about: str) -> tuple[dict[str, int], dict[str, int]]:
    """Of each fact its characters as JSON, and its queries."""
    lengths, queries = {}, {}
    for name in TALK:
        with CaptureQueriesContext(connection) as asked:
            lengths[name] = len(json.dumps(known(about)[name]))
        queries[name] = len(asked)
    return lengths, queries


def one_by_one(known: Known) -> list[str]:
    """What no fact may do."""
    return [str(Position.objects.get(pk=pk).market) for pk in Position.objects.values_list("pk", flat=True)]


@pytest.mark.usefixtures("company")
def test_control_a_fact_that_asks_for_each_row_is_found_out(settings: Any) -> None:
    settings.FACTS = {**settings.FACTS, "positions": "tests.test_talk_facts.one_by_one"}
    history(3)
    short, few = sizes("")
    history(40)
    long, many = sizes("")
    assert many["positions"] > few["positions"]
    assert long["positions"] > short["positions"] + 400


@pytest.mark.usefixtures("company")
def test_more_markets_positions_and_codes_than_anybody_can_speak_of_are_left_out() -> None:
    usdc = Asset.objects.get(symbol="USDC")
    for n in range(20):
        base = Asset.objects.create(mint=f"mint{n}", symbol=f"T{n}", decimals=6)
        Market.objects.create(name=f"T{n:02}/USDC", base=base, quote=usdc, price=1, price_at=db.now())
    closed_positions(30)
    open_positions(20)
    for n in range(20):
        outcomes(1, pnl=None, succeeded=False, code=f"code_{n}")
    assert len(fact("prices")) == talk_facts.MARKETS_MOST
    found = fact("positions")
    assert (len(found["open"]), len(found["closed"])) == (talk_facts.POSITIONS_MOST, talk_facts.CLOSED_MOST)
    assert [row["id"] for row in found["closed"]] == sorted((row["id"] for row in found["closed"]), reverse=True)
    assert len(fact("outcomes")["failures"]) == missions_facts.CODES_MOST


# --- the rows that conversations are about --------------------------------------------------------


def a_proposal() -> tuple[str, dict[str, Any]]:
    row = cast.submit(cast.buy(size_usd="20.00"))
    return row.subject, {"id": row.pk, "agent": "scout", "value_usd": "20.00", "status": row.status}


def a_mission() -> tuple[str, dict[str, Any]]:
    cast.bought()
    row = Mission.objects.get(kind="entry")
    return row.subject, {"id": row.pk, "kind": "entry", "status": "succeeded", "title": "Buy SOL/USDC", "pnl_usd": None}


def a_position() -> tuple[str, dict[str, Any]]:
    row = cast.bought()
    return row.subject, {"id": row.pk, "status": "open", "market": SOL, "cost_usd": "100.000000"}


def an_order() -> tuple[str, dict[str, Any]]:
    cast.bought()
    row = Order.objects.get()
    return f"order:{row.pk}", {
        "id": row.pk,
        "side": "buy",
        "status": "filled",
        "gives": "100.000000 USDC",
        "market": SOL,
    }


def a_conversation() -> tuple[str, dict[str, Any]]:
    row = talk.held("debate", topic="Do we hold?")
    for place, stance in enumerate(("neutral", "agree", "disagree", "agree"), start=1):
        Turn.objects.create(
            conversation=row, place=place, agent_id="sage", text=f"{place}.", stance=stance, tone="plain", at=db.now()
        )
    last = [{"agent": "sage", "text": f"{place}."} for place in (2, 3, 4)]
    return row.subject, {"topic": "Do we hold?", "turns": 4, "agreed": 2, "disagreed": 1, "last": last}


def a_memory() -> tuple[str, dict[str, Any]]:
    row = minds.known("sage", text="SOL falls on Mondays.")
    return row.subject, {"id": row.pk, "agent": "sage", "type": "lesson", "text": "SOL falls on Mondays."}


ROWS: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
    "proposal": a_proposal,
    "mission": a_mission,
    "position": a_position,
    "order": an_order,
    "conversation": a_conversation,
    "memory": a_memory,
}


def test_every_kind_of_row_that_can_be_talked_of_is_tried_here() -> None:
    assert set(ROWS) == set(settings.TALKED_OF)


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("name", ROWS)
def test_the_row_that_called_for_a_conversation_is_told_by_whom_it_belongs_to(name: str) -> None:
    about, expected = ROWS[name]()
    found = told(about)
    assert found["about"] == about
    assert {key: found.get(key) for key in expected} == expected
    held = talk.held("post_mortem", about=about)
    assert held.about == about, "so it can be talked of"


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("row_id", [0, 4711, 10**18 - 1])
def test_a_row_that_is_not_there_is_told_as_nothing(name: str, row_id: int) -> None:
    assert told(f"{name}:{row_id}") == {}
    assert load(settings.TALKED_OF[name])(known(), row_id) == {}


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("about", ["", "nonsense:1", "policy:1"])
def test_a_row_of_a_kind_that_nobody_tells_of_is_nothing(about: str) -> None:
    assert told(about) == {}


@pytest.mark.usefixtures("company")
def test_what_is_not_a_conversation_is_about_nothing() -> None:
    assert Known(Case(cast.buy()), now=db.now())["talked_of"] == {}


@pytest.mark.usefixtures("company")
def test_a_closed_position_is_told_with_its_result_and_why_it_was_closed() -> None:
    position = cast.bought()
    close = {"kind": "close_position", "params": {"position": position.pk, "reason": "r" * 200}}
    cast.submit(cast.draft(steps=[close]))
    cast.work()
    found = told(position.subject)
    assert (found["status"], found["why"]) == ("closed", "r" * 200)
    assert Decimal(found["pnl_usd"]) < 0


@pytest.mark.usefixtures("company")
def test_reasons_are_told_as_far_as_they_can_be_spoken_of() -> None:
    proposal = cast.submit(cast.analysis_draft())
    Proposal.objects.filter(pk=proposal.pk).update(reason="r" * 500)
    assert told(proposal.subject)["reason"] == "r" * 200


@pytest.mark.usefixtures("company")
@pytest.mark.parametrize("format", talk.EVERY_FORMAT)
def test_the_facts_of_each_format_can_be_gathered_in_a_company_that_just_opened(format: ConversationFormat) -> None:
    for name in FORMATS[format].facts:
        fact(name)


@pytest.mark.usefixtures("company")
def test_facts_of_talk_are_told_while_the_company_is_halted() -> None:
    from missions.models import Company

    Company.objects.update(status=CompanyStatus.HALTED, reason="a test")
    assert fact("prices")


# --- history, written past the flow ---------------------------------------------------------------


def analysed() -> None:
    """So that signals have a step; its own are forgotten."""
    cast.submit(cast.analysis_draft(confidence="0.9"))
    cast.work()
    Signal.objects.all().delete()


def signal(kind: str, strength: str, *, direction: str = "buy", ago: int = 0, why: str = "so it is") -> None:
    market = Market.objects.get(pk=SOL)
    assert market.price_at is not None
    Signal.objects.create(
        market=market, step=Step.objects.earliest("pk"), kind=kind, direction=direction, strength=strength,
        confidence="0.7", why=why, at=db.now() - timedelta(seconds=ago),
        market_at=market.price_at - timedelta(seconds=ago),
    )  # fmt: skip


def outcomes(
    number: int, *, pnl: str | None, agent: str = "scout", succeeded: bool = True, code: str = "", days_old: int = 0
) -> None:
    at = db.now() - timedelta(days=days_old)
    made = Proposal.objects.bulk_create(
        Proposal(agent_id=agent, source="trigger", title="Sell", steps=[], confidence=1, status="approved", revision=1,
                 seed=1, created_at=at, expires_at=at, decided_at=at)
        for _ in range(number)
    )  # fmt: skip
    missions = Mission.objects.bulk_create(
        Mission(proposal=each, agent_id=agent, kind="exit", status="succeeded", created_at=at, finished_at=at)
        for each in made
    )
    Outcome.objects.bulk_create(
        Outcome(mission=each, agent_id=agent, kind="exit", succeeded=succeeded, code=code, pnl_usd=pnl, at=at)
        for each in missions
    )


def closed_positions(number: int) -> list[Position]:
    return Position.objects.bulk_create(_position(SOL, "closed") for _ in range(number))


def open_positions(number: int) -> list[Position]:
    names = Market.objects.order_by("-name").values_list("name", flat=True)[:number]
    return Position.objects.bulk_create(_position(name, "open") for name in names)


def _position(market: str, status: str) -> Position:
    now, over = db.now(), status == "closed"
    return Position(
        wallet_id="main", market_id=market, agent_id="scout", status=status, quantity=0 if over else 10**6,
        cost=0 if over else 10**6, bought=10**6, realized=-(10**4), stop_loss="0.01", take_profit="0.01",
        opened_at=now, opened_market_at=now, closed_at=now if over else None, closed_market_at=now if over else None,
    )  # fmt: skip


def history(number: int) -> None:
    """So many outcomes, closed positions, signals and candles."""
    outcomes(number, pnl="1.25")
    outcomes(number, pnl=None, succeeded=False, code="too_small")
    closed_positions(number)
    market, step = Market.objects.get(pk=SOL), Step.objects.order_by("pk").first()
    assert market.price_at is not None
    oldest = Candle.objects.filter(market=market).earliest("start")
    Candle.objects.bulk_create(
        Candle(market=market, start=oldest.start - timedelta(seconds=5 * n), seconds=5, open=1, high=2, low=1, close=1,
               received_at=db.now())
        for n in range(1, number + 1)
    )  # fmt: skip
    if step is not None:
        Signal.objects.bulk_create(
            Signal(market=market, step=step, kind="momentum", direction="buy", strength="0.5", confidence="0.6",
                   why="w", at=db.now(), market_at=market.price_at)
            for _ in range(number)
        )  # fmt: skip
