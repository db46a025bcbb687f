"""Briefs as conversations give them: realistic facts by seed, memories, and whole conversations spoken by a voice."""

import random
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from missions.vocabulary import ConversationFormat
from roundtable.models import Stance, Tone
from roundtable.voices.port import Brief, Heard, Opinion, Remembered, Said

SIX = ("atlas", "sage", "scout", "growth", "intel", "observer")
MARKETS = {"SOL/USDC": 151.2, "JUP/USDC": 0.8123, "BONK/USDC": 0.00002311, "WIF/USDC": 2.41}
CONTEXT_TURNS = 5  # policy's


def facts(seed: str) -> dict[str, Any]:
    """All facts that talk knows, as providers give them."""
    dice = random.Random(seed)
    changes = {market: dice.uniform(-0.05, 0.05) for market in MARKETS}
    prices = {name: _price(at * dice.uniform(0.8, 1.2), changes[name], dice) for name, at in MARKETS.items()}
    wins, losses = dice.randrange(0, 12), dice.randrange(1, 12)
    return {
        "prices": prices,
        "positions": {
            "open": [_held(market, dice) for market in dice.sample(list(MARKETS), dice.randrange(0, 4))],
            "closed": [_closed(dice) for _ in range(dice.randrange(0, 5))],
        },
        "outlook": {market: _signal(dice) for market in dice.sample(list(MARKETS), 2)},
        "outcomes": {
            "hours": 48,
            "missions": 40,
            "succeeded": 35,
            "wins": wins,
            "losses": losses,
            "pnl_usd": f"{dice.uniform(-60, 60):.6f}",
            "by_agent": {
                agent: {
                    "missions": 6,
                    "succeeded": 5,
                    "wins": 3,
                    "losses": 2,
                    "pnl_usd": f"{dice.uniform(-30, 30):.6f}",
                }
                for agent in dice.sample(SIX, 2)
            },
            "by_kind": {},
            "failures": {},
            "refusals": {"cap_reached": dice.randrange(1, 9), "exposure_too_high": dice.randrange(1, 9)},
        },
        "portfolio": {
            "equity_usd": f"{dice.uniform(9000, 11000):.6f}",
            "free_cash_usd": f"{dice.uniform(5000, 8000):.6f}",
            "exposure_usd": f"{dice.uniform(0, 2500):.6f}",
            "drawdown": f"{dice.uniform(0, 0.06):.6f}",
            "day_loss": "0.002000",
            "markets_in_use": [],
            "unpriced": [],
        },
    }


def trade_facts(seed: str) -> dict[str, Any]:
    """The same, with the trade that is under review."""
    dice = random.Random(f"trade {seed}")
    market = dice.choice(list(MARKETS))
    return {
        **facts(seed),
        "trade": {
            "possible": True,
            "side": "buy",
            "market": market,
            "value_usd": f"{dice.uniform(20, 400):.2f}",
            "slippage_bps": None,
            "position": None,
            "position_cost_usd": "0",
            "position_gain": None,
            "reserved_usd": "0",
        },
        "market": {"known": True, "name": market, "open": True, "price": "1.5", "age_seconds": 1.5, "in_doubt": 0},
        "signals": [{**_signal(dice), "kind": kind} for kind in ("momentum", "breakout")],
        "token": {"needed": False},
        "reconciliation": {"needed": False},
    }


def _price(price: float, change: float, dice: random.Random) -> dict[str, Any]:
    wide = 1 + abs(change) + dice.uniform(0.001, 0.02)
    return {
        "price": f"{price:.12f}",
        "change": f"{change:.6f}",
        "high": f"{price * wide:.12f}",
        "low": f"{price / wide:.12f}",
        "bars": 24,
        "age_seconds": 1.3,
    }


def _held(market: str, dice: random.Random) -> dict[str, Any]:
    cost, gain = dice.uniform(20, 400), dice.uniform(-0.015, 0.02)
    told = {"id": dice.randrange(1, 99), "market": market, "agent": "scout", "minutes_held": dice.randrange(0, 30)}
    return {**told, "cost_usd": f"{cost:.6f}", "value_usd": f"{cost * (1 + gain):.6f}", "gain": f"{gain:.6f}"}


def _closed(dice: random.Random) -> dict[str, Any]:
    gain = dice.uniform(-0.02, 0.02)
    told = {"id": dice.randrange(1, 99), "market": dice.choice(list(MARKETS)), "agent": "scout", "at": None}
    return {**told, "pnl_usd": f"{gain * 200:.6f}", "gain": f"{gain:.6f}", "why": "stop at 148.20"}


def _signal(dice: random.Random) -> dict[str, Any]:
    told = {"kind": dice.choice(["momentum", "mean_reversion", "breakout"]), "why": "a close beyond the channel"}
    share = {"strength": f"{dice.uniform(0.35, 1):.3f}", "confidence": f"{dice.uniform(0.4, 0.9):.3f}"}
    return {**told, **share, "direction": dice.choice(["buy", "sell"])}


MEMORIES = (
    Remembered(7, "lesson", "BONK/USDC lost 1.4% on breakouts three times.", Decimal("0.71")),
    Remembered(9, "strategy", "Momentum entries on SOL/USDC earned 3.20 USD in the mean.", Decimal("0.66")),
    Remembered(
        11, "insight", "After a loss we wait for a second signal. " + "It has always been so. " * 8, Decimal("0.6")
    ),
)
OPINIONS = (
    Opinion(Stance.AGREE, "Exposure would be 12.4% of equity; 30% is allowed.", Decimal("0.430")),
    Opinion(Stance.NEUTRAL, "The price is 3 s old, but no signal is fresh.", Decimal("0.360")),
    Opinion(Stance.DISAGREE, "Only 33% of signal strength says buy.", Decimal("0.470")),
    Opinion(Stance.VETO, "Drawdown is 21.0%, half way to the halt.", Decimal("0.430")),
)


def brief(agent: str = "sage", **changes: Any) -> Brief:
    """A turn in a debate that answers nobody, unless told otherwise."""
    given: dict[str, Any] = {
        "agent": agent,
        "role": "Risk manager",
        "manner": "Dry and exact.",
        "format": ConversationFormat.DEBATE.value,
        "topic": "Is SOL/USDC worth its risk?",
        "tone": Tone.PLAIN,
        "temperature": Decimal("0.6"),
        "place": 1,
        "planned": 8,
        "to": None,
        "heard": (),
        "facts": facts("one"),
        "memories": (),
        "modifiers": (),
        "opinion": None,
        "seed": "one",
        "chars_max": 120,
    }
    return Brief(**{**given, **changes})


def conversation(
    seed: str, speak: Callable[[Brief], Said], *, of_format: ConversationFormat, chars_max: int = 120
) -> list[tuple[Brief, Said]]:
    """A conversation of up to 14 turns of three agents, each with what it was given."""
    dice = random.Random(f"conversation {seed}")
    review = of_format == ConversationFormat.TRADE_REVIEW
    known: Mapping[str, Any] = trade_facts(seed) if review else facts(seed)
    table, planned = dice.sample(SIX, 3), dice.randrange(3, 7) if review else dice.randrange(5, 15)
    opinions = {agent: dice.choice(OPINIONS[: 4 if agent == "sage" else 3]) for agent in table}
    turns: list[tuple[Brief, Said]] = []
    heard: list[Heard] = []
    for place in range(planned):
        last = heard[-1].agent if heard else None
        agent = dice.choice([key for key in table if key != last])
        asked = brief(
            agent,
            format=of_format.value,
            tone=dice.choice(list(Tone)),
            place=place,
            planned=planned,
            to=last,
            heard=tuple(heard[-CONTEXT_TURNS:]),
            facts=known,
            memories=MEMORIES,
            opinion=opinions[agent] if review else None,
            seed=f"{seed}:{place}",
            chars_max=chars_max,
        )
        said = speak(asked)
        turns.append((asked, said))
        heard.append(Heard(agent, said.text, said.stance, asked.tone))
    return turns
