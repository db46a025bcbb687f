"""What a trade may do: small pure rules over facts. Protective exits pass all but what makes a sale impossible."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from missions.gates import Case, Deny, Facts, Gate, gate
from missions.policy_keys import Policy
from missions.vocabulary import TRADING_KINDS

_Rule = Callable[[Case, Facts, Policy, datetime], Deny | None]


def _for_trades(*facts: str) -> Callable[[_Rule], Gate]:
    return gate(*facts, kinds=TRADING_KINDS)


def _takes_risk(facts: Facts) -> bool:
    return bool(facts["trade"].get("side") == "buy")


@_for_trades("market", "trade")
def market_is_known_and_open(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    market = facts["market"]
    if not market["known"]:
        code = facts["trade"].get("code", "market_unknown")
        return Deny(code, facts["trade"].get("reason", "There is no such market."))
    if not market["open"] and _takes_risk(facts):
        return Deny("market_closed", f"{market['name']} takes no entries now: its prices have ended.")
    return None


@_for_trades("market")
def nothing_is_in_doubt(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    """A wallet and market with an order of unknown outcome takes no new order, protective or not."""
    if facts["market"].get("in_doubt"):
        return Deny("order_in_doubt", "An order on this market is in doubt; it must be settled first.")
    return None


@_for_trades("reconciliation", "trade")
def books_agree_with_the_chain(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    """Nothing is traded out of books that the chain contradicts; entries wait for a comparison of late.

    An exit is refused only where less lies there than it would sell: anybody may send us something, and mustn't keep
    us from selling by it.
    """
    found = facts["reconciliation"]
    if not found["needed"]:
        return None
    enters = _takes_risk(facts)
    if found["base"] in found["short"] or (enters and (found["short"] or _more_than_dust(found, policy))):
        return Deny("books_differ", "The wallet holds another amount on chain than in the books; settle it first.")
    if not enters:
        return None
    if found["strangers"]:
        return Deny("key_used_elsewhere", "Somebody else signed with the wallet's key; settle it first.")
    if found["age_seconds"] is None or found["age_seconds"] > policy.reconciled_after_seconds:
        return Deny("not_reconciled", "Books and chain weren't compared of late.")
    return None


def _more_than_dust(found: Facts, policy: Policy) -> bool:
    return any(usd is None or Decimal(usd) >= policy.surplus_ignored_usd for usd in found["surplus_usd"].values())


@_for_trades("reserve", "trade")
def fees_can_be_paid(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    found = facts["reserve"]
    if not found["needed"] or not _takes_risk(facts) or Decimal(found["sol"]) >= policy.fee_reserve_sol:
        return None
    return Deny("fee_reserve_low", f"{found['sol']} SOL are left for fees; {policy.fee_reserve_sol} must stay.")


@_for_trades("token", "trade")
def token_is_safe(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    """A token that somebody can print or freeze, or that nobody can sell, isn't bought; nor one not known of late."""
    found = facts["token"]
    if not found.get("needed") or not _takes_risk(facts):
        return None
    if not found["known"]:
        return Deny("token_unknown", "Nothing is known of this token yet.")
    if found["age_seconds"] > policy.token_stale_after_seconds:
        return Deny("token_stale", "What is known of this token is old; its safety couldn't be asked for since.")
    if policy.token_verified_only and not found["verified"]:
        return Deny("token_unverified", "This token isn't verified.")
    if not (found["mint_authority_disabled"] and found["freeze_authority_disabled"]):
        return Deny("token_authority", "Somebody can make more of this token, or freeze it.")
    if Decimal(found["liquidity_usd"] or 0) < policy.token_liquidity_min_usd:
        return Deny("token_illiquid", f"Its liquidity is below {policy.token_liquidity_min_usd} USD.")
    return None


@_for_trades("market")
def price_is_fresh(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    market = facts["market"]
    if not market["known"]:
        return None
    if market["price"] is None:
        return Deny("no_price", f"{market['name']} has no price yet.")
    if not case.protective and market["age_seconds"] > policy.price_stale_after_seconds:
        return Deny(
            "price_stale",
            f"The price is {market['age_seconds']:.0f} s old; at most"
            f" {policy.price_stale_after_seconds:.0f} s are allowed.",
        )
    return None


@_for_trades("trade")
def slippage_is_bounded(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    asked = facts["trade"].get("slippage_bps")
    if asked is not None and asked > policy.slippage_max_bps:
        return Deny("slippage_too_wide", f"{asked} bps exceed the most of {policy.slippage_max_bps} bps.")
    return None


@_for_trades("trade")
def there_is_something_to_sell(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    trade = facts["trade"]
    return None if trade["possible"] else Deny(trade["code"], trade["reason"])


@_for_trades("trade", "portfolio")
def open_positions_are_left(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    in_use = facts["portfolio"]["markets_in_use"]
    if not _takes_risk(facts) or facts["trade"]["market"] in in_use:
        return None
    if len(in_use) >= policy.open_positions_max:
        return Deny("positions_full", f"All {policy.open_positions_max} positions are in use.")
    return None


@_for_trades("trade", "portfolio")
def size_is_within_limits(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    """Cost of the position afterwards, reserved orders included, in USD and as a share of equity."""
    if not _takes_risk(facts):
        return None
    trade = facts["trade"]
    after = Decimal(trade["value_usd"]) + Decimal(trade["position_cost_usd"]) + Decimal(trade["reserved_usd"])
    if after > policy.position_usd_max:
        return Deny(
            "position_too_large",
            f"The position would cost {after:.2f} USD; the most is {policy.position_usd_max} USD.",
        )
    most = policy.position_max * Decimal(facts["portfolio"]["equity_usd"])
    if after > most:
        return Deny(
            "position_share_too_large",
            f"The position would be {after:.2f} USD; {policy.position_max:.0%} of equity are {most:.2f} USD.",
        )
    return None


@_for_trades("trade", "portfolio")
def exposure_is_within_limits(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    if not _takes_risk(facts):
        return None
    after = Decimal(facts["portfolio"]["exposure_usd"]) + Decimal(facts["trade"]["value_usd"])
    most = policy.exposure_max * Decimal(facts["portfolio"]["equity_usd"])
    if after > most:
        return Deny(
            "exposure_too_large",
            f"Exposure would be {after:.2f} USD; {policy.exposure_max:.0%} of equity are {most:.2f} USD.",
        )
    return None


@_for_trades("trade", "portfolio")
def cash_suffices(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    if not _takes_risk(facts):
        return None
    free = Decimal(facts["portfolio"]["free_cash_usd"])
    if Decimal(facts["trade"]["value_usd"]) > free:
        return Deny("funds_short", f"Only {free:.2f} USD are free.")
    return None


@_for_trades("trade", "portfolio")
def losses_halt_entries(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    """The loss of the UTC day and the drawdown from the equity peak each end entries at their limit."""
    if not _takes_risk(facts):
        return None
    if Decimal(facts["portfolio"]["day_loss"]) >= policy.daily_loss_halt:
        return Deny("daily_loss", f"Today's loss has reached {policy.daily_loss_halt:.0%} of equity.")
    if Decimal(facts["portfolio"]["drawdown"]) >= policy.drawdown_halt:
        return Deny("drawdown", f"The drawdown has reached {policy.drawdown_halt:.0%} of the peak.")
    return None


@_for_trades("trade")
def losers_are_not_enlarged(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    gain = facts["trade"].get("position_gain")
    if not _takes_risk(facts) or gain is None or Decimal(gain) >= policy.scale_refused_below:
        return None
    return Deny("losing_position", f"The position stands at {Decimal(gain):.2%}; it isn't enlarged.")
