"""The gates of every kind of work, and that a gate which can't judge denies. Trades' gates: test_trading_gates."""

from datetime import datetime
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.db import DatabaseError

from missions import company, gates, policies
from missions.drafts import Draft
from missions.gates import Case, Deny, Known, gate
from missions.models import CapUse, Proposal, Verdict
from missions.policy_keys import Policy
from missions.vocabulary import TRADING_KINDS, CompanyStatus, StepKind
from tests import cast
from tradeco.common import db

pytestmark = pytest.mark.usefixtures("company")


def judge(draft: Draft, *, protective: bool = False) -> dict[str, str | None]:
    """Each gate that was asked, and the code of its denial."""
    _, policy = policies.current()
    judgements = gates.judge(Known(Case(draft=draft, protective=protective), now=db.now()), policy=policy)
    return {judgement.gate: judgement.denied.code if judgement.denied else None for judgement in judgements}


def denied(draft: Draft, **kwargs: Any) -> list[str]:
    return [code for code in judge(draft, **kwargs).values() if code]


def switch(to: CompanyStatus) -> None:
    company.switch(to=to, by=None, reason="for a test", now=db.now())


# --- the company's switch -------------------------------------------------------------------------


def test_an_active_company_lets_all_through() -> None:
    assert denied(cast.buy()) == []
    assert denied(cast.analysis_draft()) == []


def test_halted_stops_everything_that_moves_money_and_nothing_else() -> None:
    position = cast.bought()
    switch(CompanyStatus.HALTED)
    assert denied(cast.buy()) == ["halted"]
    assert denied(cast.close(position.pk)) == ["halted"]
    assert denied(cast.close(position.pk), protective=True) == ["halted"]
    assert denied(cast.analysis_draft()) == []


def test_reducing_lets_exits_through() -> None:
    position = cast.bought()
    switch(CompanyStatus.REDUCING)
    assert denied(cast.buy()) == ["reducing"]
    assert denied(cast.close(position.pk)) == []
    assert denied(cast.close(position.pk), protective=True) == []


# --- what belongs together ------------------------------------------------------------------------


def test_a_kind_that_nobody_here_can_do(settings: Any) -> None:
    settings.STEP_HANDLERS = {kind: path for kind, path in settings.STEP_HANDLERS.items() if kind != "hold_roundtable"}
    talk = cast.draft(steps=[{"kind": "hold_roundtable", "params": {"format": "debate"}}])
    assert denied(talk) == ["kind_not_available"]


def test_money_moves_in_one_step_of_a_proposal_at_most() -> None:
    trade = {"kind": "execute_trade", "params": {"side": "buy", "market": "SOL/USDC", "size_usd": "20"}}
    look = {"kind": "analyze_signal", "params": {}}
    assert denied(cast.draft(steps=[look, trade, look])) == []
    assert denied(cast.draft(steps=[trade, look, trade])) == ["one_trade_a_proposal"]


# --- confidence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("confidence", "code"), [("0.549", "confidence_too_low"), ("0.55", None), ("1", None)])
def test_confidence_has_a_least(confidence: str, code: str | None) -> None:
    assert judge(cast.draft(confidence=confidence))["confidence_suffices"] == code


def test_a_protective_exit_needs_no_confidence() -> None:
    assert judge(cast.draft(confidence="0"), protective=True)["confidence_suffices"] is None


# --- caps -----------------------------------------------------------------------------------------


def test_a_cap_that_is_spent_refuses_cheaply_and_stops_no_protective_exit() -> None:
    cast.set_policy(trades_per_day=2)
    CapUse.objects.create(cap="trades_per_day", day=db.now().date(), used=1)
    assert denied(cast.buy()) == []
    CapUse.objects.update(used=2)
    assert denied(cast.buy()) == ["cap_reached"]
    assert judge(cast.buy(), protective=True)["caps_are_left"] is None
    assert denied(cast.analysis_draft()) == [], "another cap"


def test_a_proposal_of_several_steps_needs_as_many_slots() -> None:
    cast.set_policy(analyses_per_day=2)
    look = {"kind": "analyze_signal", "params": {}}
    assert denied(cast.draft(steps=[look, look])) == []
    assert denied(cast.draft(steps=[look, look, look])) == ["cap_reached"]


# --- how gates judge ------------------------------------------------------------------------------


@gate("company")
def errs(case: Case, facts: gates.Facts, policy: Policy, now: datetime) -> Deny | None:
    raise ZeroDivisionError


@gate("gone")
def needs_a_fact_that_errs(case: Case, facts: gates.Facts, policy: Policy, now: datetime) -> Deny | None:
    return None


@gate(kinds=TRADING_KINDS)
def allows_trades(case: Case, facts: gates.Facts, policy: Policy, now: datetime) -> Deny | None:
    return None


def errs_fact(known: Known) -> dict[str, Any]:
    raise KeyError("price")


def broken_database(known: Known) -> dict[str, Any]:
    raise DatabaseError("the server is away")


asked = 0


def counted(known: Known) -> dict[str, Any]:
    global asked
    asked += 1
    return {"status": "active", "reason": ""}


def test_a_gate_that_errors_denies(settings: Any) -> None:
    settings.GATES = [f"{__name__}.errs", f"{__name__}.allows_trades"]
    assert judge(cast.buy()) == {"errs": "gate_error", "allows_trades": None}
    proposal = cast.submit(cast.buy())
    assert (proposal.status, proposal.code, proposal.decided_by) == ("rejected", "gate_error", "a gate")


def test_a_gate_whose_fact_cannot_be_had_denies(settings: Any) -> None:
    settings.GATES = [f"{__name__}.needs_a_fact_that_errs"]
    settings.FACTS = {"gone": f"{__name__}.errs_fact"}
    assert judge(cast.analysis_draft()) == {"needs_a_fact_that_errs": "gate_error"}


def test_a_gate_without_a_database_decides_nothing(settings: Any) -> None:
    settings.GATES = [f"{__name__}.needs_a_fact_that_errs"]
    settings.FACTS = {**settings.FACTS, "gone": f"{__name__}.broken_database"}
    with pytest.raises(DatabaseError):
        cast.submit(cast.analysis_draft())
    assert not Proposal.objects.exists()


def test_a_gate_is_asked_about_the_kinds_that_concern_it_only(settings: Any) -> None:
    settings.GATES = [f"{__name__}.allows_trades"]
    assert judge(cast.analysis_draft()) == {}
    assert judge(cast.buy()) == {"allows_trades": None}


def test_a_fact_is_gathered_once_for_all_gates(settings: Any) -> None:
    global asked
    asked = 0
    settings.FACTS = {**settings.FACTS, "company": f"{__name__}.counted"}
    judge(cast.buy())
    assert asked == 1


def test_verdicts_are_stored_at_submission_and_again_at_approval(alice: AbstractUser) -> None:
    from missions import proposals

    cast.set_policy(human_from_usd="10")
    proposal = cast.submit(cast.buy())
    switch(CompanyStatus.HALTED)
    proposals.approve(proposal_id=proposal.pk, approver=alice, reason="yes", now=db.now())
    stages = Verdict.objects.filter(gate="company_is_active").values_list("stage", "allowed", "code")
    assert list(stages) == [("submission", True, ""), ("approval", False, "halted")]
    asked_for_a_trade = len(judge(cast.buy()))
    assert Verdict.objects.filter(stage="submission").count() == asked_for_a_trade
    facts = Verdict.objects.get(gate="company_is_active", stage="approval").facts
    assert facts == {"company": {"status": "halted", "reason": "for a test"}}


def test_every_kind_of_step_that_moves_money_is_a_trading_kind() -> None:
    assert {StepKind.EXECUTE_TRADE, StepKind.CLOSE_POSITION, StepKind.SCALE_POSITION} == TRADING_KINDS
