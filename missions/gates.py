"""What may happen: small pure rules over named facts, each of which allows or denies with a code and a reason.

`settings.GATES` lists the rules in order, `settings.FACTS` who provides which fact. A gate that errors denies.
What follows from the verdicts is `proposals`' affair.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import structlog
from django.conf import settings
from django.db import DatabaseError

from missions import handlers
from missions.drafts import Draft, is_exit
from missions.policy_keys import Policy
from missions.vocabulary import TRADING_KINDS, CompanyStatus, StepKind
from tradeco.common.wiring import load

log = structlog.get_logger(__name__)

Facts = Mapping[str, Any]
Read = TypeVar("Read")


@dataclass(frozen=True, slots=True)
class Case:
    """What is judged: the draft, and whether it is a protective exit, which entry caps don't stop."""

    draft: Draft
    protective: bool = False


@dataclass(frozen=True, slots=True)
class Deny:
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judgement:
    gate: str
    denied: Deny | None
    facts: Facts


class Known:
    """The facts about one case at one moment, each asked of its provider in `settings.FACTS` once.

    A provider gets this object; rows that several of its facts rest on it reads by `once`.
    """

    def __init__(self, case: Case, *, now: datetime) -> None:
        self.case = case
        self.now = now
        self._facts: dict[str, Any] = {}
        self._read: dict[Callable[[Case], Any], Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._facts:
            self._facts[name] = load(settings.FACTS[name])(self)
        return self._facts[name]

    def once(self, read: Callable[[Case], Read]) -> Read:
        """What `read` says of the case; it is asked once."""
        if read not in self._read:
            self._read[read] = read(self.case)
        found: Read = self._read[read]
        return found


Rule = Callable[[Case, Facts, Policy, datetime], Deny | None]


@dataclass(frozen=True, slots=True)
class Gate:
    """A rule with the facts that it reads and the step kinds that concern it (None: all)."""

    name: str
    rule: Rule
    facts: tuple[str, ...]
    kinds: frozenset[StepKind] | None

    def concerns(self, case: Case) -> bool:
        return self.kinds is None or not self.kinds.isdisjoint(case.draft.kinds)


def gate(*facts: str, kinds: frozenset[StepKind] | None = None) -> Callable[[Rule], Gate]:
    """Make a rule a gate. The rule returns None to allow."""

    def make(rule: Rule) -> Gate:
        return Gate(name=rule.__name__, rule=rule, facts=facts, kinds=kinds)

    return make


def judge(known: Known, *, policy: Policy) -> list[Judgement]:
    """Ask every gate that the case concerns; each verdict carries the facts that it was given."""
    gates: list[Gate] = [load(path) for path in settings.GATES]
    return [_ask(each, known, policy) for each in gates if each.concerns(known.case)]


def first_denial(judgements: list[Judgement]) -> Deny | None:
    return next((judgement.denied for judgement in judgements if judgement.denied), None)


def _ask(asked: Gate, known: Known, policy: Policy) -> Judgement:
    facts: dict[str, Any] = {}
    try:
        for name in asked.facts:
            facts[name] = known[name]
        denied = asked.rule(known.case, facts, policy, known.now)
    except DatabaseError:
        raise  # the whole decision fails and nothing is approved
    except Exception as exc:
        log.exception("A gate failed and therefore denies.", action="gate_failed", gate=asked.name)
        denied = Deny("gate_error", f"The gate {asked.name} failed ({type(exc).__name__}) and denies.")
    return Judgement(gate=asked.name, denied=denied, facts=facts)


# --- the gates that concern every kind of work ---------------------------------------------------


@gate("company")
def company_is_active(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    """HALTED stops everything that moves money; REDUCING lets exits through."""
    status = facts["company"]["status"]
    if TRADING_KINDS.isdisjoint(case.draft.kinds):
        return None
    if status == CompanyStatus.HALTED:
        return Deny("halted", f"Trading is halted: {facts['company']['reason']}")
    if status == CompanyStatus.REDUCING and not (case.protective or is_exit(case.draft)):
        return Deny("reducing", "Only exits are allowed now.")
    return None


@gate("company")
def kinds_belong_together(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    """Every kind has a handler here, and money moves in one step of a proposal at most."""
    missing = [kind.value for kind in case.draft.kinds if handlers.of(kind) is None]
    if missing:
        return Deny("kind_not_available", f"Nobody here can do {', '.join(missing)} yet.")
    if sum(kind in TRADING_KINDS for kind in case.draft.kinds) > 1:
        return Deny("one_trade_a_proposal", "A proposal moves money in one step; make it two proposals.")
    return None


@gate()
def confidence_suffices(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    if case.protective or case.draft.confidence >= policy.confidence_min:
        return None
    return Deny(
        "confidence_too_low",
        f"Confidence {case.draft.confidence} is below the least of {policy.confidence_min}.",
    )


@gate("caps")
def caps_are_left(case: Case, facts: Facts, policy: Policy, now: datetime) -> Deny | None:
    """A look, so that the usual refusal is cheap; the cap itself is spent in the approving transaction."""
    if case.protective:
        return None
    for cap in facts["caps"]:
        if cap["needed"] > cap["left"]:
            return Deny("cap_reached", f"{cap['key']}: all {cap['limit']} of today are spent.")
    return None
