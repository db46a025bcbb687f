"""What each agent thinks of a trade, by its rule: by examples, and for any facts of their shape."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from missions.drafts import Draft
from missions.gates import Case
from missions.models import Proposal
from missions.policy_keys import Policy, opening_values
from missions.vocabulary import ProposalSource
from roundtable import briefing, opinions
from roundtable.models import TURN_CHARS, Stance
from roundtable.voices.port import Opinion
from tests import cast

AGENTS = tuple(opinions.FACTS_OF)
POLICY = Policy.model_validate(opening_values("demo"))
A, N, D, V = Stance.AGREE, Stance.NEUTRAL, Stance.DISAGREE, Stance.VETO

ENTRY = cast.buy()
EXIT = cast.close(7)
SCALE_UP, SCALE_DOWN = (
    cast.draft(steps=[{"kind": "scale_position", "params": {"position": 7, "direction": way, "size_usd": "20.00"}}])
    for way in ("up", "down")
)


def signal(direction: str = "buy", strength: str = "0.8", confidence: str = "0.7", kind: str = "momentum") -> Any:
    return {"kind": kind, "direction": direction, "strength": strength, "confidence": confidence, "why": "so it is"}


def facts(**changes: Mapping[str, Any] | list[Any] | None) -> dict[str, Any]:
    """All is well with a buy of 100 USD; what is named is put over that, None leaves a fact out."""
    usual: dict[str, Any] = {
        "trade": {
            "possible": True,
            "side": "buy",
            "market": "SOL/USDC",
            "value_usd": "100",
            "slippage_bps": None,
            "position": None,
            "position_cost_usd": "0",
            "position_gain": None,
            "reserved_usd": "0",
        },
        "portfolio": {
            "equity_usd": "10000",
            "free_cash_usd": "9000",
            "exposure_usd": "1000",
            "drawdown": "0.010000",
            "day_loss": "0.001000",
            "markets_in_use": [],
            "unpriced": [],
        },
        "market": {
            "known": True,
            "name": "SOL/USDC",
            "open": True,
            "price": "150.2",
            "age_seconds": 2.0,
            "in_doubt": 0,
        },
        "signals": [signal()],
        "token": {"needed": False},
        "reconciliation": {"needed": False},
        "outcomes": {"hours": 48, "missions": 9, "succeeded": 9, "wins": 4, "losses": 2, "pnl_usd": "12.500000"},
        "positions": {"open": [], "closed": []},
    }
    for name, change in changes.items():
        usual[name] = {**usual[name], **change} if isinstance(change, Mapping) and change else change
    return {name: fact for name, fact in usual.items() if fact is not None}


def asked(
    agent: str, draft: Draft = ENTRY, *, known: Mapping[str, Any] | None = None, source: str = ProposalSource.TRIGGER,
    **changes: Any,
) -> Opinion:  # fmt: skip
    given_facts = facts(**changes) if known is None else known
    return opinions.of(agent, case=Case(draft), facts=given_facts, policy=POLICY, source=source)


def lost(market: str = "SOL/USDC", pnl: str = "-1.5") -> dict[str, Any]:
    return {"id": 1, "market": market, "agent": "scout", "pnl_usd": pnl, "gain": "-0.01", "why": "", "at": None}


# --- by examples ----------------------------------------------------------------------------------

EXAMPLES: dict[str, tuple[str, Draft, dict[str, Any], Stance, str, str | None]] = {
    # agent, draft, what isn't usual, stance, part of the reason, probability
    "sage: room is left": ("sage", ENTRY, {}, A, "Exposure would be 11.0% of equity; 30% is allowed.", "0.429"),
    "sage: little room": ("sage", ENTRY, {"portfolio": {"exposure_usd": "2700"}}, D, "28.0% of 30% allowed", "0.429"),
    "sage: just enough room": ("sage", ENTRY, {"portfolio": {"exposure_usd": "2600"}}, A, "27.0%", "0.429"),
    "sage: drawdown": ("sage", ENTRY, {"portfolio": {"drawdown": "0.200001"}}, V, "Drawdown is 20.0%", "0.429"),
    "sage: half way is no veto": ("sage", ENTRY, {"portfolio": {"drawdown": "0.2"}}, A, "Exposure", "0.429"),
    "sage: no equity": ("sage", ENTRY, {"portfolio": {"equity_usd": "0"}}, V, "no equity to risk", "0.429"),
    "sage: debts": ("sage", ENTRY, {"portfolio": {"equity_usd": "-5"}}, V, "no equity to risk", "0.429"),
    "sage: a draft's own exits": (
        "sage", cast.buy(stop_loss_pct="3", take_profit_pct="1"), {}, A, "Exposure", "0.750"),
    "sage: an exit": ("sage", EXIT, {"portfolio": {"drawdown": "0.9", "equity_usd": "0"}}, A, "risk smaller", None),
    "sage: a smaller position": ("sage", SCALE_DOWN, {"portfolio": {"drawdown": "0.9"}}, A, "risk smaller", None),
    "sage: a larger position": ("sage", SCALE_UP, {"portfolio": {"drawdown": "0.9"}}, V, "Drawdown", "0.429"),
    "atlas: signals agree": ("atlas", ENTRY, {}, A, "100% of signal strength says buy: momentum.", "0.600"),
    "atlas: half of them": (
        "atlas", ENTRY, {"signals": [signal(), signal("sell", kind="mean_reversion")]}, A, "50% of signal", "0.500"),
    "atlas: most of them differ": (
        "atlas", ENTRY, {"signals": [signal(strength="0.4"), signal("sell")]}, D, "Only 33%", "0.467"),
    "atlas: none": ("atlas", ENTRY, {"signals": []}, N, "No recent signal", "0.500"),
    "atlas: without strength": ("atlas", ENTRY, {"signals": [signal(strength="0")]}, N, "No recent signal", "0.500"),
    "atlas: an exit against them": (
        "atlas", EXIT, {"trade": {"side": "sell"}}, N, "Only 0% of signal strength says sell; I abstain.", None),
    "intel: sure": ("intel", ENTRY, {}, A, "Signals give a buy 60%.", "0.600"),
    "intel: a coin": ("intel", ENTRY, {"signals": [signal(confidence="0.5")]}, N, "hardly more than a coin", "0.500"),
    "intel: less": ("intel", ENTRY, {"signals": [signal("sell")]}, D, "less than a coin", "0.400"),
    "intel: by strength": (
        "intel", ENTRY, {"signals": [signal(strength="0.2", confidence="0.9"), signal("sell", confidence="0.9")]},
        D, "38%", "0.380"),
    "intel: silence": ("intel", ENTRY, {"signals": []}, N, "a coin's 50%", "0.500"),
    "intel: an exit against them": ("intel", EXIT, {"trade": {"side": "sell"}}, N, "I abstain", None),
    "scout: well": ("scout", ENTRY, {}, A, "Price 2 s old; 0.30% in costs for a 2.0% target.", "0.343"),
    "scout: no price": ("scout", ENTRY, {"market": {"price": None}}, D, "no price to trade at", "0.343"),
    "scout: no age": ("scout", ENTRY, {"market": {"age_seconds": None}}, D, "no price to trade at", "0.343"),
    "scout: unknown": ("scout", ENTRY, {"market": {"known": False, "price": None}}, D, "no price", "0.343"),
    "scout: an old price": ("scout", ENTRY, {"market": {"age_seconds": 15.1}}, D, "15 s old; 30 s is stale", "0.343"),
    "scout: half old": ("scout", ENTRY, {"market": {"age_seconds": 15.0}}, A, "Price 15 s old", "0.343"),
    "scout: costs": (
        "scout", cast.buy(stop_loss_pct="3", take_profit_pct="0.5"), {}, D, "eat too much of a 0.5% target", "0.771"),
    "scout: impact": (
        "scout", ENTRY, {"token": {"needed": True, "liquidity_usd": "3000"}}, D, "3.3% of the liquidity", "0.343"),
    "scout: room": ("scout", ENTRY, {"token": {"needed": True, "liquidity_usd": "9000"}}, A, "Price", "0.343"),
    "scout: silence": ("scout", ENTRY, {"signals": []}, N, "no signal is fresh", "0.343"),
    "scout: an exit": ("scout", EXIT, {}, A, "we can sell now", None),
    "scout: an exit at an old price": ("scout", EXIT, {"market": {"age_seconds": 900.0}}, N, "900 s old", None),
    "scout: an exit without a price": ("scout", EXIT, {"market": {"price": None}}, N, "no price", None),
    "growth: it works": ("growth", ENTRY, {}, A, "4 of 6 won in 48 h, +12.50 USD.", "0.625"),
    "growth: it doesn't": (
        "growth", ENTRY, {"outcomes": {"wins": 1, "losses": 5, "pnl_usd": "-9"}}, D, "that isn't working", "0.250"),
    "growth: mixed": ("growth", ENTRY, {"outcomes": {"wins": 5, "losses": 1, "pnl_usd": "-9"}}, N, "mixed", "0.750"),
    "growth: few": ("growth", ENTRY, {"outcomes": {"wins": 2, "losses": 0}}, N, "2 closed in 48 h: too few", "0.750"),
    "growth: never lost": (
        "growth", ENTRY, {"outcomes": {"wins": 999, "losses": 0}}, A, "999 of 999 won", "0.950"),
    "growth: take it": (
        "growth", EXIT, {"trade": {"position_gain": "0.0123"}}, A, "It takes a gain of 1.23%.", None),
    "growth: cut it": ("growth", EXIT, {"trade": {"position_gain": "-0.0075"}}, A, "half way to the stop", None),
    "growth: wait": ("growth", EXIT, {"trade": {"position_gain": "-0.0074"}}, N, "far from its stop", None),
    "growth: unknown": ("growth", EXIT, {}, N, "no result of that position", None),
    "observer: in order": ("observer", ENTRY, {}, A, "nothing in doubt, no recent loss on SOL/USDC", "0.500"),
    "observer: a doubt": ("observer", ENTRY, {"market": {"in_doubt": 1}}, D, "1 order there is in doubt.", "0.500"),
    "observer: doubts": ("observer", ENTRY, {"market": {"in_doubt": 3}}, D, "3 orders there are in doubt.", "0.500"),
    "observer: short": (
        "observer", ENTRY, {"reconciliation": {"needed": True, "short": ["x"]}}, D, "less than our books", "0.500"),
    "observer: unpriced": ("observer", ENTRY, {"portfolio": {"unpriced": ["a", "b"]}}, D, "2 positions", "0.500"),
    "observer: near the limit": (
        "observer", ENTRY, {"portfolio": {"exposure_usd": "2700"}}, D, "28.0%, near its 30%", "0.500"),
    "observer: a bad day": ("observer", ENTRY, {"portfolio": {"day_loss": "0.11"}}, D, "The day lost 11.0%", "0.500"),
    "observer: lost once": ("observer", ENTRY, {"positions": {"closed": [lost()]}}, N, "lost 1 of its last 1", "0.333"),
    "observer: lost twice": (
        "observer", ENTRY, {"positions": {"closed": [lost(), lost()]}}, D, "lost 2 of its last 2 for us", "0.250"),
    "observer: lost elsewhere": (
        "observer", ENTRY, {"positions": {"closed": [lost("WIF/USDC"), lost("WIF/USDC")]}}, A, "no recent", "0.500"),
    "observer: an exit in doubt": ("observer", EXIT, {"market": {"in_doubt": 1}}, N, "in doubt", None),
    "observer: an exit": ("observer", EXIT, {"portfolio": {"day_loss": "0.5"}}, A, "Nothing is in doubt", None),
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_agent_thinks_what_its_rule_says_and_names_the_figure(name: str) -> None:
    agent, draft, changes, stance, reason, probability = EXAMPLES[name]
    said = asked(agent, draft, **changes)
    assert (said.stance, said.probability) == (stance, None if probability is None else Decimal(probability))
    assert reason in said.reason, said.reason


def test_every_rule_has_examples_of_every_stance_it_can_take() -> None:
    shown = {(agent, stance) for agent, _, _, stance, _, _ in EXAMPLES.values()}
    assert shown == {(agent, stance) for agent in AGENTS for stance in (A, N, D)} - {("sage", N)} | {("sage", V)}


@pytest.mark.parametrize("agent", ["atlas", "intel"])
def test_people_s_proposals_are_not_judged_by_our_signals(agent: str) -> None:
    against = [signal("sell")]
    assert asked(agent, signals=against).stance == D
    assert asked(agent, signals=against, source=ProposalSource.PERSON).stance == N


def test_scout_lets_people_buy_without_a_signal() -> None:
    assert asked("scout", signals=[], source=ProposalSource.PERSON).stance == A


@pytest.mark.parametrize("agent", AGENTS)
def test_what_can_not_be_done_any_more_is_not_agreed_to(agent: str) -> None:
    said = asked(agent, known={**facts(), "trade": {"possible": False, "code": "position_closed", "reason": "gone"}})
    assert (said.stance, said.reason) == (D, "It can't be done any more.")


@pytest.mark.parametrize(("agent", "reason"), [("atlas", "100% of signal strength says sell: momentum."),
                                               ("intel", "Signals give a sell 60%.")])  # fmt: skip
def test_an_exit_of_a_position_that_is_gone_is_still_a_sale(agent: str, reason: str) -> None:
    gone = {"possible": False, "code": "position_closed", "reason": "gone"}
    said = asked(agent, EXIT, known={**facts(signals=[signal("sell")]), "trade": gone})
    assert (said.stance, said.reason) == (A, reason)


@pytest.mark.parametrize(
    ("rationale", "reason"),
    [
        ("It looks good.", "It looks good."),
        ("It looks good \n", "It looks good."),
        ("Now!", "Now!"),
        ("Why not?", "Why not?"),
        ("It looks…", "It looks…"),
        ("", "Buy SOL."),
    ],
)
def test_the_proposer_stands_by_its_proposal_for_a_reason_that_ends_as_a_sentence(rationale: str, reason: str) -> None:
    proposal = Proposal(agent_id="scout", title="Buy SOL", rationale=rationale, forecast_probability=Decimal("0.61"))
    assert briefing.opinion_of(proposal, "scout", {}, policy=POLICY) == Opinion(A, reason, Decimal("0.61"))


def test_who_has_no_rule_abstains() -> None:
    said = asked("treasurer")
    assert (said.stance, said.probability) == (N, None)


# --- missing facts --------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("missing", opinions.BEARING)
@pytest.mark.parametrize("how", ["left out", "empty", "null"])
def test_nobody_agrees_to_an_entry_without_the_facts_that_its_rule_rests_on(agent: str, missing: str, how: str) -> None:
    known = facts()
    if how == "left out":
        del known[missing]
    else:
        known[missing] = {} if how == "empty" else None
    said = asked(agent, known=known)
    if missing in opinions.FACTS_OF[agent]:
        assert said.stance not in (A, V), said
    else:
        assert said == asked(agent), "what a rule doesn't read changes nothing"


@pytest.mark.parametrize("agent", AGENTS)
def test_nobody_holds_an_exit_up_for_want_of_facts(agent: str) -> None:
    assert asked(agent, EXIT, known={}).stance in (A, N)


# --- for any facts --------------------------------------------------------------------------------


def decimals(least: str, most: str, places: int = 6) -> st.SearchStrategy[str]:
    return st.decimals(Decimal(least), Decimal(most), places=places, allow_nan=False).map(str)


USD = decimals("-1e9", "1e9")
SHARE = decimals("-10", "10")
COUNT = st.integers(0, 10_000)
MARKET = st.sampled_from(["SOL/USDC", "BONK/USDC", "ABCDEFGHIJKL/MNOPQRSTUVWX"])
TRADE = st.one_of(
    st.fixed_dictionaries({"possible": st.just(False), "code": st.just("gone"), "reason": st.text(max_size=200)}),
    st.fixed_dictionaries(
        {
            "possible": st.just(True),
            "side": st.sampled_from(["buy", "sell"]),
            "market": MARKET,
            "value_usd": decimals("0", "1e9", 2),
            "position": st.none() | COUNT,
            "position_cost_usd": USD,
            "position_gain": st.none() | SHARE,
            "reserved_usd": USD,
        }
    ),
)
SIGNALS = st.lists(
    st.fixed_dictionaries(
        {
            "kind": st.sampled_from(["momentum", "mean_reversion", "breakout"]),
            "direction": st.sampled_from(["buy", "sell"]),
            "strength": decimals("0", "1", 3),
            "confidence": decimals("0", "1", 3),
            "why": st.text(max_size=50),
        }
    ),
    unique_by=lambda row: row["kind"],
)
FACTS = st.fixed_dictionaries(
    {
        "trade": TRADE,
        "portfolio": st.fixed_dictionaries(
            {
                "equity_usd": USD,
                "free_cash_usd": USD,
                "exposure_usd": decimals("0", "1e9"),
                "drawdown": SHARE,
                "day_loss": SHARE,
                "markets_in_use": st.lists(MARKET, max_size=3),
                "unpriced": st.lists(MARKET, max_size=3),
            }
        ),
        "market": st.one_of(
            st.just({"known": False}),
            st.fixed_dictionaries(
                {
                    "known": st.just(True),
                    "name": MARKET,
                    "open": st.booleans(),
                    "price": st.none() | decimals("0", "1e9", 12),
                    "age_seconds": st.none() | st.floats(-10, 1e9).map(lambda age: round(age, 1)),
                    "in_doubt": COUNT,
                }
            ),
        ),
        "signals": SIGNALS,
        "token": st.one_of(
            st.just({"needed": False}),
            st.just({"needed": True, "known": False}),
            st.fixed_dictionaries({"needed": st.just(True), "liquidity_usd": st.none() | decimals("0", "1e12", 2)}),
        ),
        "reconciliation": st.one_of(
            st.just({"needed": False}),
            st.fixed_dictionaries({"needed": st.just(True), "short": st.lists(st.text(max_size=9), max_size=5)}),
        ),
        "outcomes": st.fixed_dictionaries({"hours": COUNT, "wins": COUNT, "losses": COUNT, "pnl_usd": USD}),
        "positions": st.fixed_dictionaries(
            {"open": st.just([]), "closed": st.lists(st.builds(lost, MARKET, USD), max_size=5)}
        ),
    }
)
DRAFTS = st.sampled_from(
    [ENTRY, EXIT, SCALE_UP, SCALE_DOWN, cast.buy(stop_loss_pct="50", take_profit_pct="0.01"),
     cast.draft(steps=[{"kind": "execute_trade", "params": {"side": "sell", "market": "SOL/USDC", "size_usd": "9"}}])]
)  # fmt: skip
EXITS = st.sampled_from([EXIT, SCALE_DOWN])
WHO = st.sampled_from(AGENTS)
SOURCES = st.sampled_from(list(ProposalSource))
LEFT_OUT = st.sets(st.sampled_from(opinions.FACTS))


@given(WHO, DRAFTS, FACTS, SOURCES, LEFT_OUT)
def test_whatever_the_facts_are_an_opinion_is_short_one_line_and_its_probability_is_one(
    agent: str, draft: Draft, known: dict[str, Any], source: str, left_out: set[str]
) -> None:
    known = {name: fact for name, fact in known.items() if name not in left_out}
    said = asked(agent, draft, known=known, source=source)
    assert 0 < len(said.reason) <= TURN_CHARS, said.reason
    assert said.reason.isprintable()
    assert said.probability is None or Decimal("0.05") <= said.probability <= Decimal("0.95")
    assert said.stance != V or agent == "sage"
    assert said == asked(agent, draft, known=known, source=source), "it rolls no dice"


@given(WHO, EXITS, FACTS, LEFT_OUT)
def test_an_exit_is_never_voted_down_and_has_no_forecast(
    agent: str, draft: Draft, known: dict[str, Any], left_out: set[str]
) -> None:
    said = asked(agent, draft, known={name: fact for name, fact in known.items() if name not in left_out})
    assert said.stance in (A, N)
    assert said.probability is None


@given(FACTS)
def test_sage_vetoes_an_entry_for_drawdown_or_want_of_equity_and_for_nothing_else(known: dict[str, Any]) -> None:
    portfolio = known["portfolio"]
    deep = Decimal(portfolio["drawdown"]) > POLICY.drawdown_halt / 2 or Decimal(portfolio["equity_usd"]) <= 0
    assert (asked("sage", known=known).stance == V) == (deep and known["trade"]["possible"])


@given(WHO, DRAFTS, FACTS, LEFT_OUT.filter(lambda names: not names.isdisjoint(opinions.BEARING)))
def test_no_entry_is_agreed_to_with_a_bearing_fact_missing(
    agent: str, draft: Draft, known: dict[str, Any], left_out: set[str]
) -> None:
    known = {name: fact for name, fact in known.items() if name not in left_out}
    said = asked(agent, draft, known=known)
    if not left_out.isdisjoint({*opinions.BEARING} & {*opinions.FACTS_OF[agent]}) and said.probability is not None:
        assert said.stance != A


def test_every_reason_of_the_examples_names_a_figure_or_says_that_there_is_none() -> None:
    for name, (agent, draft, changes, *_) in EXAMPLES.items():
        reason = asked(agent, draft, **changes).reason
        assert re.search(r"\d|no |No |know|Nothing|smaller", reason), name
