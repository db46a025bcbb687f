"""What each agent thinks of a proposal, by rule: pure functions over named facts, each with the figure it rests on.

    sage      does it leave room below the limits, and what does chance alone give it?    may veto
    atlas     do the signals point the way the trade goes?
    scout     can it be done well: price, costs, impact, fresh signals
    growth    what became of such trades lately?
    intel     the probability that the signals' confidence gives, half way to a coin
    observer  is anything in doubt, near its limit, or was the same lost just now?

A probability is that of ending in profit, for entries alone; people's proposals aren't judged by our signals. What the
opinions come to is the vote's affair. Reasons are short enough to be spoken.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from missions.drafts import ExecuteTrade, Params, is_exit
from missions.gates import Case
from missions.policy_keys import Policy
from missions.vocabulary import TRADING_KINDS, ProposalSource
from roundtable.models import Stance
from roundtable.voices.port import Opinion

FACTS_OF: Mapping[str, tuple[str, ...]] = {
    "sage": ("trade", "portfolio"),
    "atlas": ("trade", "signals"),
    "scout": ("trade", "market", "token", "signals"),
    "growth": ("trade", "outcomes"),
    "intel": ("trade", "signals"),
    "observer": ("trade", "market", "portfolio", "reconciliation", "positions"),
}
"""By agent: the facts that its rule may read."""
FACTS = ("trade", "portfolio", "signals", "market", "token", "reconciliation", "outcomes", "positions")
BEARING = ("trade", "market", "portfolio")  # who reads one of these agrees to nothing without it

TIGHT = Decimal("0.9")  # above this share of a limit sage and observer disagree
AGREEING_MIN = Decimal("0.5")  # share of signal strength that must point the same way
COIN = Decimal("0.5")
SURE = Decimal("0.55")  # from here on intel is for it; below a coin it is against
SLOW = Decimal("0.5")  # share of the age at which a price is stale; beyond it scout finds it old
COSTLY = Decimal("0.5")  # share of the target that costs may eat
WINS_GOOD, WINS_BAD = Decimal("0.5"), Decimal("0.4")  # hit rates
LEAN = Decimal("0.2")  # how far agreement of signals moves atlas off a coin
CHANCE_LEAST, CHANCE_MOST = Decimal("0.05"), Decimal("0.95")
BPS = Decimal(10_000)


@dataclass(frozen=True, slots=True)
class _Question:
    case: Case
    facts: Mapping[str, Any]
    policy: Policy
    by_person: bool

    @property
    def exit(self) -> bool:
        return is_exit(self.case.draft)

    @property
    def side(self) -> str:
        """Also of a trade that can't be done any more, such as of a position that is gone."""
        return str(self.trade.get("side") or ("sell" if self.exit else "buy"))

    @property
    def trade(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.facts.get("trade") or {}
        return found

    @property
    def signals(self) -> list[Mapping[str, Any]]:
        return self.facts.get("signals") or []

    def unknown(self, agent: str) -> str:
        """A fact that the agent's rule can't do without, and that isn't there; empty where none is missing."""
        return next((name for name in FACTS_OF[agent] if name in BEARING and not self.facts.get(name)), "")


Said = tuple[Stance, str, Decimal | None]


def of(agent: str, *, case: Case, facts: Mapping[str, Any], policy: Policy, source: str) -> Opinion:
    """The opinion of `agent`; neutral where it has no rule, or where the trade isn't possible any more."""
    question = _Question(case, facts, policy, by_person=source == ProposalSource.PERSON)
    stance, reason, chance = _ask(agent, question)
    return Opinion(stance=stance, reason=reason, probability=None if question.exit else _bounded(chance))


def _ask(agent: str, q: _Question) -> Said:
    rule = _RULES.get(agent)
    if rule is None:
        return Stance.NEUTRAL, "I have no rule for this.", None
    if unknown := q.unknown(agent):
        return _against(q), f"I know nothing of the {unknown}.", None
    if not q.trade.get("possible") and not q.exit:
        return Stance.DISAGREE, "It can't be done any more.", None
    return rule(q)


def _bounded(chance: Decimal | None) -> Decimal | None:
    if chance is None:
        return None
    return max(CHANCE_LEAST, min(CHANCE_MOST, chance)).quantize(Decimal("0.001"))


# --- sage -----------------------------------------------------------------------------------------


def _sage(q: _Question) -> Said:
    """Exits shrink risk; entries must leave room below the limits and lose little at their stop."""
    if q.exit:
        return Stance.AGREE, "An exit makes our risk smaller.", None
    portfolio, most, chance = q.facts["portfolio"], q.policy.exposure_max, _chance_alone(q)
    equity = Decimal(portfolio["equity_usd"])
    if equity <= 0:
        return Stance.VETO, "We have no equity to risk.", chance
    if Decimal(portfolio["drawdown"]) > q.policy.drawdown_halt / 2:
        return Stance.VETO, f"Drawdown is {Decimal(portfolio['drawdown']):.1%}, half way to the halt.", chance
    exposure = _exposure_after(q)
    if exposure > most * TIGHT:
        return Stance.DISAGREE, f"Exposure would be {exposure:.1%} of {most:.0%} allowed.", chance
    return Stance.AGREE, f"Exposure would be {exposure:.1%} of equity; {most:.0%} is allowed.", chance


def _exposure_after(q: _Question) -> Decimal:
    portfolio = q.facts["portfolio"]
    value = Decimal(portfolio["exposure_usd"]) + Decimal(q.trade.get("value_usd", 0))
    return value / Decimal(portfolio["equity_usd"])


def _chance_alone(q: _Question, costs: Decimal = Decimal(0)) -> Decimal:
    """stop / (stop + target): the gambler's ruin on a walk without drift (Feller, vol. 1, XIV.2), less what costs."""
    stop, target = _exits(q)
    width = stop + target
    return max(Decimal(0), stop - costs) / width if width else COIN


def _exits(q: _Question) -> tuple[Decimal, Decimal]:
    """Stop and target as shares of cost: the draft's own, else policy's."""
    params = _params(q.case)
    if not isinstance(params, ExecuteTrade):
        return q.policy.stop_loss, q.policy.take_profit
    stop, target = params.stop_loss_pct, params.take_profit_pct
    return (stop / 100 if stop else q.policy.stop_loss), (target / 100 if target else q.policy.take_profit)


def _params(case: Case) -> Params | None:
    return next((step.typed for step in case.draft.steps if step.kind in TRADING_KINDS), None)


# --- atlas and intel: signals ---------------------------------------------------------------------


def _atlas(q: _Question) -> Said:
    """Do the signals point the way the trade goes?"""
    direction, signals = q.side, q.signals
    if not sum(Decimal(signal["strength"]) for signal in signals):
        return Stance.NEUTRAL, "No recent signal speaks for or against it.", COIN
    share = _agreeing(signals, direction)
    chance = COIN + (share - COIN) * LEAN
    if share >= AGREEING_MIN:
        names = _listed(s["kind"].replace("_", " ") for s in signals if s["direction"] == direction)
        return Stance.AGREE, f"{share:.0%} of signal strength says {direction}: {names}.", chance
    if q.by_person or q.exit:
        return Stance.NEUTRAL, f"Only {share:.0%} of signal strength says {direction}; I abstain.", chance
    return Stance.DISAGREE, f"Only {share:.0%} of signal strength says {direction}.", chance


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names)


def _agreeing(signals: Iterable[Mapping[str, Any]], direction: str | None) -> Decimal:
    """The share of signal strength that points in `direction`."""
    weighed = [(Decimal(signal["strength"]), signal["direction"] == direction) for signal in signals]
    total = sum(strength for strength, _ in weighed)
    return sum((strength for strength, yes in weighed if yes), Decimal(0)) / total if total else Decimal(0)


def _intel(q: _Question) -> Said:
    """What the signals' confidence gives it, half way to a coin: signals aren't calibrated yet."""
    direction, signals = q.side, q.signals
    if not sum(Decimal(signal["strength"]) for signal in signals):
        return Stance.NEUTRAL, "No fresh signal: a coin's 50%.", COIN
    chance = (COIN + _believed(signals, direction)) / 2
    told = f"Signals give a {direction} {chance:.0%}"
    if chance >= SURE:
        return Stance.AGREE, f"{told}.", chance
    if chance >= COIN:
        return Stance.NEUTRAL, f"{told}, hardly more than a coin.", chance
    if q.by_person or q.exit:
        return Stance.NEUTRAL, f"{told}; I abstain.", chance
    return Stance.DISAGREE, f"{told}, less than a coin.", chance


def _believed(signals: Iterable[Mapping[str, Any]], direction: str | None) -> Decimal:
    """Mean confidence by strength; a signal that points the other way counts by what it leaves."""
    weight = believed = Decimal(0)
    for signal in signals:
        strength, confidence = Decimal(signal["strength"]), Decimal(signal["confidence"])
        weight += strength
        believed += strength * (confidence if signal["direction"] == direction else 1 - confidence)
    return believed / weight if weight else COIN


# --- scout ----------------------------------------------------------------------------------------


def _scout(q: _Question) -> Said:
    """Can it be done well: a price that is young, costs that leave the target worth it, no impact of our own?"""
    chance, age = _chance_alone(q, costs=_costs(q)), _age(q)
    if age is None:
        return _against(q), "There is no price to trade at.", chance
    if age > Decimal(str(q.policy.price_stale_after_seconds)) * SLOW:
        return (
            _against(q),
            f"The price is {age:.0f} s old; {q.policy.price_stale_after_seconds:.0f} s is stale.",
            chance,
        )
    if q.exit:
        return Stance.AGREE, f"The price is {age:.0f} s old: we can sell now.", None
    return _cost_it(q, age, chance)


def _cost_it(q: _Question, age: Decimal, chance: Decimal) -> Said:
    costs, (_, target), impact = _costs(q), _exits(q), _impact(q)
    if costs > target * COSTLY:
        return Stance.DISAGREE, f"Costs of {costs:.2%} eat too much of a {target:.1%} target.", chance
    if impact is not None and impact > q.policy.price_impact_max / 2:
        return Stance.DISAGREE, f"It takes {impact:.1%} of the liquidity there.", chance
    if not q.signals and not q.by_person:
        return Stance.NEUTRAL, f"The price is {age:.0f} s old, but no signal is fresh.", chance
    return Stance.AGREE, f"Price {age:.0f} s old; {costs:.2%} in costs for a {target:.1%} target.", chance


def _against(q: _Question) -> Stance:
    """Nobody holds up an exit for its price, or for what isn't known."""
    return Stance.NEUTRAL if q.exit else Stance.DISAGREE


def _age(q: _Question) -> Decimal | None:
    market = q.facts.get("market") or {}
    age = market.get("age_seconds")
    return None if age is None or market.get("price") is None else Decimal(str(age))


def _costs(q: _Question) -> Decimal:
    """In and out again, fee and slippage, as a share of the trade's value."""
    return 2 * (q.policy.venue_fee_bps + q.policy.venue_slippage_bps) / BPS


def _impact(q: _Question) -> Decimal | None:
    """Our value as a share of the token's liquidity, where that is known."""
    liquidity = (q.facts.get("token") or {}).get("liquidity_usd")
    if liquidity is None or not Decimal(liquidity):
        return None
    return Decimal(q.trade.get("value_usd", 0)) / Decimal(liquidity)


# --- growth ---------------------------------------------------------------------------------------


def _growth(q: _Question) -> Said:
    """What became of such trades lately; of an exit, whether its result is worth taking."""
    return _take(q) if q.exit else _results(q)


def _take(q: _Question) -> Said:
    gain = q.trade.get("position_gain")
    if gain is None:
        return Stance.NEUTRAL, "I know no result of that position.", None
    share = Decimal(gain)
    if share > 0:
        return Stance.AGREE, f"It takes a gain of {share:.2%}.", None
    if share <= -q.policy.stop_loss / 2:
        return Stance.AGREE, f"At {share:.2%} it is half way to the stop: out.", None
    return Stance.NEUTRAL, f"At {share:.2%} it is far from its stop.", None


def _results(q: _Question) -> Said:
    """Hit rate by Laplace's rule of succession, (wins + 1) / (closed + 2)."""
    found = q.facts.get("outcomes") or {}
    wins, losses, pnl = found.get("wins", 0), found.get("losses", 0), Decimal(found.get("pnl_usd", 0))
    closed, hours = wins + losses, found.get("hours", q.policy.learning_window_hours)
    chance = Decimal(wins + 1) / (closed + 2)
    if closed < q.policy.learning_samples_min:
        return Stance.NEUTRAL, f"{closed} closed in {hours} h: too few to say.", chance
    told, rate = f"{wins} of {closed} won in {hours} h, {pnl:+.2f} USD", Decimal(wins) / closed
    if pnl > 0 and rate >= WINS_GOOD:
        return Stance.AGREE, f"{told}.", chance
    if pnl < 0 and rate < WINS_BAD:
        return Stance.DISAGREE, f"{told}: that isn't working.", chance
    return Stance.NEUTRAL, f"{told}: mixed.", chance


# --- observer -------------------------------------------------------------------------------------


def _observer(q: _Question) -> Said:
    """Is anything in doubt, near its limit, or was the same lost just now?"""
    doubt = _doubt(q)
    if q.exit:
        return (Stance.NEUTRAL, doubt, None) if doubt else (Stance.AGREE, "Nothing is in doubt there.", None)
    lost, closed = _lost_there(q)
    chance = Decimal(closed - lost + 1) / (closed + 2)
    if doubt or (near := _near_a_limit(q)):
        return Stance.DISAGREE, doubt or near, chance
    market = q.trade.get("market", "it")
    if lost >= 2:
        return Stance.DISAGREE, f"{market} lost {lost} of its last {closed} for us.", chance
    if lost:
        return Stance.NEUTRAL, f"{market} lost {lost} of its last {closed}; I'd wait.", chance
    return Stance.AGREE, f"Limits kept, nothing in doubt, no recent loss on {market}.", chance


def _doubt(q: _Question) -> str:
    """What makes the books unsure; empty where nothing does."""
    waiting = (q.facts.get("market") or {}).get("in_doubt", 0)
    if waiting:
        return f"{waiting} orders there are in doubt." if waiting > 1 else "1 order there is in doubt."
    short = (q.facts.get("reconciliation") or {}).get("short", [])
    if short:
        return f"The chain holds less than our books of {len(short)} assets."
    unpriced = (q.facts.get("portfolio") or {}).get("unpriced", [])
    return f"{len(unpriced)} positions have no price." if unpriced else ""


def _near_a_limit(q: _Question) -> str:
    portfolio, policy = q.facts.get("portfolio") or {}, q.policy
    if Decimal(portfolio.get("equity_usd", 0)) <= 0:
        return ""
    if (exposure := _exposure_after(q)) > policy.exposure_max * TIGHT:
        return f"Exposure would be {exposure:.1%}, near its {policy.exposure_max:.0%}."
    loss = Decimal(portfolio.get("day_loss", 0))
    if loss > policy.daily_loss_halt / 2:
        return f"The day lost {loss:.1%}, half way to its halt."
    return ""


def _lost_there(q: _Question) -> tuple[int, int]:
    """How many of the last closed positions on this market lost, of how many."""
    closed = (q.facts.get("positions") or {}).get("closed", [])
    there = [Decimal(row["pnl_usd"]) for row in closed if row.get("market") == q.trade.get("market")]
    return sum(pnl < 0 for pnl in there), len(there)


_RULES: Mapping[str, Callable[[_Question], Said]] = {
    "sage": _sage,
    "atlas": _atlas,
    "scout": _scout,
    "growth": _growth,
    "intel": _intel,
    "observer": _observer,
}
