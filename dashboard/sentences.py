"""Each kind of event as a sentence, with an icon and a tone: once, for the pages and for the browser.

A template names fields of the event: `{agent}`, `{about}` (its subject in words) and whatever its data holds,
with an optional format (`{value_usd:usd}`). A part in square brackets falls away where a field of it is missing,
or is an amount of nothing.
The browser gets this table as it is (`views.words`) and fills it by the same rules.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from django.urls import NoReverseMatch, reverse

from agents.models import Agent
from dashboard import formats
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind as Kind

NOBODY = "The company"
_FIELD = re.compile(r"\{([a-z_.]+)(?::([a-z]+))?\}")
_OPTIONAL = re.compile(r"\[([^\[\]]*)\]")


class Sentence(NamedTuple):
    icon: str
    tone: str  # good, bad, warn, info, quiet
    template: str
    routine: bool = False  # comes so often that a list of the last events leaves it out


SENTENCES: dict[str, Sentence] = {
    Kind.COMPANY_OPENED: Sentence("flag", "info", "The company opened its books[ with the {policy_set} policies]."),
    Kind.COMPANY_ACTIVE: Sentence("play", "good", "Trading was resumed[ by {by}][: {reason:short}]"),
    Kind.COMPANY_REDUCING: Sentence("down", "warn", "Only exits are allowed[, says {by}][: {reason:short}]"),
    Kind.COMPANY_HALTED: Sentence("stop", "bad", "Trading was halted[ by {by}][: {reason:short}]"),
    Kind.POLICY_CHANGED: Sentence("policy", "info", "{about} has a new version[: {reason:short}]"),
    Kind.WORD_GIVEN: Sentence("people", "warn", "{by} asks to change {about}; {missing} more must[: {reason:short}]"),
    Kind.TRIGGER_FIRED: Sentence("bolt", "quiet", "A trigger woke {agent}.", routine=True),
    Kind.PROPOSAL_CREATED: Sentence("bulb", "info", "{agent} proposed “{title:short}”[, worth {value_usd:usd}]."),
    Kind.PROPOSAL_WAITING: Sentence("people", "warn", "“{title:short}” waits for people[: {reason:short}]"),
    Kind.PROPOSAL_APPROVED: Sentence("check", "good", "“{title:short}” was approved[ by {by}]."),
    Kind.PROPOSAL_REJECTED: Sentence("cross", "bad", "“{title:short}” was rejected[ by {by}][: {reason:short}]"),
    Kind.PROPOSAL_CANCELLED: Sentence("cross", "quiet", "“{title:short}” was withdrawn[ by {by}]."),
    Kind.PROPOSAL_EXPIRED: Sentence("clock", "quiet", "“{title:short}” expired undecided."),
    Kind.PROPOSAL_TALKED_OVER: Sentence("talk", "info", "“{title:short}” is talked over[, worth {value_usd:usd}]."),
    Kind.VOTE_CAST: Sentence("people", "info", "{agent} votes {stance}[: {reason:short}]"),
    Kind.CONVERSATION_OPENED: Sentence(
        "talk", "info", "The {about} was arranged[: {format:words}][, “{topic:short}”]."
    ),
    # the roundtable shows each; in the list of events they would leave room for nothing else
    Kind.TURN_SPOKEN: Sentence("talk", "quiet", "{agent} spoke[: “{text:short}”]", routine=True),
    Kind.CONVERSATION_COMPLETED: Sentence("check", "good", "The {about} came to its end[: {format:words}]."),
    Kind.CONVERSATION_FAILED: Sentence("cross", "bad", "The {about} was given up[: {reason:short}]"),
    Kind.CONVERSATION_CANCELLED: Sentence("cross", "quiet", "The {about} was called off[: {reason:short}]"),
    Kind.RELATIONSHIP_SHIFTED: Sentence(
        "people", "quiet", "{a} and {b} moved[ by {delta}][, to {affinity}].", routine=True
    ),
    Kind.MEMORY_KEPT: Sentence("book", "info", "{agent} keeps in mind[: “{text:short}”][ ({type:words})]."),
    Kind.MEMORY_CONFIRMED: Sentence("book", "good", "The {about} of {agent} was confirmed[: “{text:short}”]"),
    Kind.MEMORY_CONTRADICTED: Sentence("book", "warn", "The {about} of {agent} was contradicted[: “{text:short}”]"),
    Kind.MEMORY_PROMOTED: Sentence("book", "good", "What {agent} learnt, all know now[: “{text:short}”]"),
    Kind.MEMORY_ARCHIVED: Sentence("book", "quiet", "{agent} laid {about} aside[: {why:words}].", routine=True),
    Kind.FORECAST_SCORED: Sentence(
        "target", "info", "{agent}’s {about} met its horizon[: {probability:share} was said][, Brier {brier}]."
    ),
    Kind.REACTION_PROCESSED: Sentence("bolt", "info", "{agent} answered[: {does:words}][, {reason:short}]"),
    Kind.MISSION_APPROVED: Sentence("flag", "quiet", "The {about} was opened[ for “{title:short}”].", routine=True),
    Kind.MISSION_RUNNING: Sentence("gear", "quiet", "Work on the {about} began.", routine=True),
    Kind.MISSION_SUCCEEDED: Sentence("check", "good", "{agent}’s {kind:words} {about} succeeded."),
    Kind.MISSION_FAILED: Sentence("cross", "bad", "{agent}’s {kind:words} {about} failed[: {code:words}]"),
    Kind.MISSION_CANCELLED: Sentence("cross", "quiet", "{agent}’s {kind:words} {about} was cancelled."),
    Kind.STEP_CLAIMED: Sentence("gear", "quiet", "A worker took {about}[, {kind:words}].", routine=True),
    Kind.STEP_SUCCEEDED: Sentence("check", "quiet", "The {about} is done[: {kind:words}].", routine=True),
    Kind.STEP_FAILED: Sentence("cross", "bad", "The {about} failed[: {kind:words}][, {code:words}]"),
    Kind.STEP_RETRIED: Sentence("again", "warn", "The {about} will be tried again[: {reason:short}]"),
    Kind.STEP_RECOVERED: Sentence("again", "warn", "The {about} was taken back from a lost worker."),
    Kind.STEP_CANCELLED: Sentence("cross", "quiet", "The {about} was cancelled[: {reason:short}]"),
    Kind.STEP_IN_DOUBT: Sentence("alert", "warn", "The {about} needs reconciliation[: {reason:short}]"),
    Kind.STEP_SETTLED: Sentence("check", "info", "The {about} in doubt was settled."),
    Kind.ORDER_RESERVED: Sentence(
        "wallet", "quiet", "[{amount_in} {asset_in} reserved for ]the {about}.", routine=True
    ),
    Kind.ORDER_SUBMITTED: Sentence("swap", "quiet", "The {about} was sent[: {side} {market}].", routine=True),
    Kind.ORDER_FILLED: Sentence(
        "swap", "good", "{agent}’s {side} of {market} was filled[ at {price:price}][, {value_usd:usd}]."
    ),
    Kind.ORDER_FAILED: Sentence("cross", "bad", "The {about} failed[ in {market}][: {reason:short}]"),
    Kind.ORDER_EXPIRED: Sentence("clock", "quiet", "The {about} expired unsent."),
    Kind.ORDER_CANCELLED: Sentence("cross", "quiet", "The {about} was cancelled[: {reason:short}]"),
    Kind.ORDER_IN_DOUBT: Sentence("alert", "bad", "Nobody knows yet what became of the {about}[: {reason:short}]"),
    Kind.ORDER_FINAL: Sentence("check", "quiet", "The {about} is final on chain.", routine=True),
    Kind.ORDER_VANISHED: Sentence("alert", "bad", "The {side} in {market} vanished from the chain and was reversed."),
    Kind.BOOKS_OPENED: Sentence("wallet", "info", "The books were opened with what the wallet holds on chain."),
    Kind.FINDING_OPENED: Sentence("alert", "bad", "Reconciliation can't explain something[: {what:short}]"),
    Kind.FINDING_SETTLED: Sentence("check", "info", "A finding was settled[ by {by}][: {how:words}]."),
    Kind.POSITION_OPENED: Sentence("up", "info", "{agent} opened a position in {market}[, {value_usd:usd}]."),
    Kind.POSITION_CHANGED: Sentence("swap", "info", "The position in {market} changed[: {side} of {value_usd:usd}]."),
    Kind.POSITION_CLOSED: Sentence(
        "flag", "info", "The position in {market} was closed[: {realized_pnl_usd:gain}][ ({realized_pct:pct})]."
    ),
    Kind.POSITION_WIN: Sentence("up", "good", "{market} won {realized_pnl_usd:gain}[ ({realized_pct:pct})]."),
    Kind.POSITION_LOSS: Sentence("down", "bad", "{market} lost {realized_pnl_usd:gain}[ ({realized_pct:pct})]."),
    Kind.POSITION_ALARM: Sentence("alert", "warn", "The open position in {market} stands at {gain:share}."),
    Kind.POSITIONS_MANY: Sentence("stack", "warn", "{open} positions are open."),
    Kind.STOP_HIT: Sentence("shield", "bad", "{market} hit its stop[ at {price:price}]."),
    Kind.TAKE_PROFIT_HIT: Sentence("target", "good", "{market} hit its take-profit[ at {price:price}]."),
    Kind.HOLD_ENDED: Sentence("clock", "info", "{market} was held as long as policy allows."),
    Kind.SIGNAL_FOUND: Sentence(
        "radar",
        "info",
        "{agent} found {signals} signals in {markets} markets[, best {strongest.kind:words}: {strongest.direction}].",
    ),
    Kind.SIGNAL_STRONG: Sentence(
        "radar", "warn", "{agent} sees a strong signal in {market}: {kind:words}, {direction}."
    ),
    Kind.RISK_ASSESSED: Sentence(
        "shield", "info", "{agent} assessed the risk[: {loss_at_stops_usd:usd} lost if every stop is hit]."
    ),
    Kind.POSITIONS_REVIEWED: Sentence("eye", "info", "{agent} reviewed the open positions."),
    Kind.REFLECTED: Sentence("eye", "info", "{agent} looked back[ on {topic:words}]."),
    Kind.MARKET_OPENED: Sentence("pulse", "info", "A market process took over."),
    Kind.MARKET_PRICES: Sentence("pulse", "quiet", "New prices.", routine=True),
    Kind.MARKET_ENDED: Sentence("stop", "warn", "The price file is at its end."),
    Kind.EQUITY_SNAPSHOT: Sentence("pulse", "quiet", "Equity was measured[: {equity_usd:usd}].", routine=True),
    Kind.EQUITY_PEAK_RESET: Sentence("flag", "warn", "The equity peak was set back[ by {by}][: {reason:short}]"),
    Kind.BEAT_FINISHED: Sentence("heart", "quiet", "The heart beat[ in {milliseconds:count} ms].", routine=True),
    Kind.ALARM: Sentence("alert", "bad", "Something needs a person[: {alarm:short}]"),
}
ROUTINE = [kind for kind, sentence in SENTENCES.items() if sentence.routine]

SUBJECTS = {  # what a subject's prefix is called, and where the admin shows it
    "proposal": ("proposal", "admin:missions_proposal_change"),
    "mission": ("mission", "admin:missions_mission_change"),
    "step": ("step", "admin:missions_step_change"),
    "order": ("order", "admin:trading_order_change"),
    "position": ("position", "admin:trading_position_change"),
    "beat": ("beat", "admin:missions_beat_change"),
    "market": ("market", "admin:trading_market_change"),
    "finding": ("finding", "admin:trading_finding_change"),
    "conversation": ("conversation", "admin:roundtable_conversation_change"),
    "memory": ("memory", "admin:agents_memory_change"),
    "relationship": ("relationship", "admin:agents_relationship_change"),
    "forecast": ("forecast", "admin:missions_forecast_change"),
}


@dataclass(frozen=True, slots=True)
class Told:
    """An event as a row of a list."""

    event: Event
    icon: str
    tone: str
    text: str
    link: str


def tell(event: Event, *, names: dict[str, str]) -> Told:
    """Say what happened. `names` gives each agent's name by key."""
    sentence = SENTENCES.get(event.kind) or Sentence("dot", "quiet", event.get_kind_display() + ".")
    fields = {
        **event.data,
        "agent": names.get(event.agent, event.agent) or NOBODY,
        "about": about(event.subject),
    }
    text = _without_gaps(fill(sentence.template, fields))
    return Told(event=event, icon=sentence.icon, tone=sentence.tone, text=text, link=link(event.subject))


def fill(template: str, fields: dict[str, Any]) -> str:
    """The template with its fields; what is missing outside of brackets shows as a dash."""

    def optional(part: re.Match[str]) -> str:
        return "" if any(_says_nothing(fields, *found) for found in _FIELD.findall(part[1])) else part[1]

    return _FIELD.sub(lambda found: _written(fields, found[1], found[2]), _OPTIONAL.sub(optional, template))


def about(subject: str) -> str:
    """proposal:42 → proposal #42, trigger:atlas:review → trigger atlas review"""
    prefix, _, rest = subject.partition(":")
    if not rest:
        return prefix
    return f"{prefix} #{rest}" if rest.isdigit() else f"{prefix} {formats.words(rest).replace(':', ' ')}"


def link(subject: str) -> str:
    """Where the admin shows the subject; empty where it doesn't."""
    prefix, _, rest = subject.partition(":")
    pattern = link_patterns().get(prefix, "")
    return pattern.replace("{id}", rest) if rest.isdigit() else ""


@cache
def link_patterns() -> dict[str, str]:
    """Prefix → address in the admin, with {id} where the key goes."""
    found = {}
    for prefix, (_, name) in SUBJECTS.items():
        try:
            found[prefix] = reverse(name, args=["0000"]).replace("0000", "{id}")
        except NoReverseMatch:  # not in the admin
            continue
    return found


def agent_names() -> dict[str, str]:
    return dict(Agent.objects.values_list("key", "name"))


def _field(fields: dict[str, Any], name: str) -> Any:
    value: Any = fields
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if value == "" else value


def _says_nothing(fields: dict[str, Any], name: str, how: str) -> bool:
    text = _written(fields, name, how)
    return text == formats.UNKNOWN or (how in ("usd", "gain") and text == "$0.00")


def _written(fields: dict[str, Any], name: str, how: str | None) -> str:
    value = _field(fields, name)
    if value is None:
        return formats.UNKNOWN
    return formats.FORMATS[how](value) if how else str(value)


def _without_gaps(text: str) -> str:
    """A sentence ends with one full stop and begins with a capital."""
    text = text.strip()
    ended = text if text[-1:] in ".!?…" else f"{text}."
    return ended[:1].upper() + ended[1:]
