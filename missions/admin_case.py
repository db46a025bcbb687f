"""What a reviewer reads before deciding on a proposal: who decides, headroom, effect, verdicts, steps, mission.

Each part is a panel of the proposal's page, computed for the moment of looking. Deciding is `proposals`' affair.
"""

from decimal import Decimal
from typing import Any

from django.utils.html import format_html

from missions import approvals, caps, deciding, gates, policies
from missions.drafts import is_exit
from missions.gates import Case
from missions.models import Mission, Proposal, Verdict
from missions.vocabulary import TRADING_KINDS, CapKey, ProposalStatus, StepKind
from tradeco.common import admin_show as show
from tradeco.common import db
from tradeco.common.admin_base import Rows

_UNITS = {"usd": "USD", "pct": "%", "bps": "bps", "hours": "h"}  # units stand last in a parameter's name


def steps(proposal: Proposal) -> tuple[str, Rows]:
    return "Steps", [
        (f"{place}. {_label(step['kind'])}", readable(step.get("params", {})), None)
        for place, step in enumerate(proposal.steps, start=1)
    ]


def who_decides(proposal: Proposal) -> tuple[str, Rows]:
    """The yeses so far and what is still missing, or who decided."""
    _, policy = policies.current()
    rows: Rows = [
        (
            "Policy",
            f"Worth {show.usd(proposal.value_usd)}. A person must approve from {policy.human_from_usd} USD,"
            f" two people from {policy.four_eyes_from_usd} USD.",
            None,
        )
    ]
    rows += [
        (f"{each.approver.get_username()} approved", f"{each.reason} ({each.at:%Y-%m-%d %H:%M:%S} UTC)", None)
        for each in proposal.approvals.select_related("approver").order_by("id")
    ]
    if proposal.status == ProposalStatus.PENDING:
        needed = approvals.needed(proposal, deciding.known_of(proposal, now=db.now()), policy=policy)
        rows.append(("Still missing", _missing(proposal, needed, approvals.counting(proposal).count()), None))
    else:
        rows.append(
            (
                f"{proposal.get_status_display()} by {proposal.decided_by}",
                proposal.reason or proposal.code,
                None,
            )
        )
    return "Who decides", rows


def headroom(proposal: Proposal) -> tuple[str, Rows]:
    """What is left today of the caps that an approval would spend; nothing once it is decided."""
    if proposal.status != ProposalStatus.PENDING:
        return "Caps, today (UTC)", []
    _, policy = policies.current()
    if proposal.protective:
        return "Caps", [("Protective exit", "No entry cap stops it, and it spends none.", None)]
    needed = caps.needed(deciding.draft_of(proposal).kinds)
    rows: Rows = []
    for cap in caps.overview(policy=policy, now=db.now()):
        key = CapKey(str(cap["key"]))
        if key in needed:
            enough = needed[key] <= int(str(cap["left"]))
            said = f"{cap['left']} of {cap['limit']} left, this needs {needed[key]}"
            look = show.pill("allowed" if enough else "refused", "enough" if enough else "not enough")
            rows.append((key.label, format_html("{} {}", look, said), None))
    return "Caps, today (UTC)", rows


def effect(proposal: Proposal) -> tuple[str, Rows]:
    """Value, and exposure before and after, at the prices of this moment; nothing once it is decided."""
    if proposal.status != ProposalStatus.PENDING:
        return "Effect on the portfolio", []
    draft = deciding.draft_of(proposal)
    if TRADING_KINDS.isdisjoint(draft.kinds):
        return "Effect on the portfolio", [("Money", "Moves none.", None)]
    _, policy = policies.current()
    facts = gates.Known(Case(draft=draft, protective=proposal.protective), now=db.now())["portfolio"]
    equity, before = Decimal(facts["equity_usd"]), Decimal(facts["exposure_usd"])
    after = max(Decimal(0), before - proposal.value_usd if is_exit(draft) else before + proposal.value_usd)
    rows: Rows = [
        ("Value", show.usd(proposal.value_usd), None),
        ("Equity now", show.usd(equity), None),
        ("Exposure now", _of_equity(before, equity), None),
        ("Exposure after", _of_equity(after, equity), None),
        ("Most exposure allowed", show.percent(policy.exposure_max), None),
    ]
    if "free_cash_usd" in facts:
        rows.insert(2, ("Free cash now", show.usd(Decimal(facts["free_cash_usd"])), None))
    return "Effect on the portfolio", rows


def verdicts_at_submission(proposal: Proposal) -> tuple[str, Rows]:
    return "Gates at submission", _verdicts(proposal, Verdict.Stage.SUBMISSION)


def verdicts_at_approval(proposal: Proposal) -> tuple[str, Rows]:
    return "Gates at approval", _verdicts(proposal, Verdict.Stage.APPROVAL)


def mission(proposal: Proposal) -> tuple[str, Rows]:
    opened = Mission.objects.filter(proposal=proposal).first()
    if opened is None:
        return "Mission", []
    return "Mission", [
        (str(opened), opened.get_status_display(), show.change_url(Mission, opened.pk)),
    ]


PANELS = (steps, who_decides, headroom, effect, verdicts_at_submission, verdicts_at_approval, mission)


def readable(params: dict[str, Any]) -> str:
    """Parameters as people say them: `size_usd: 20.00` is "size 20.00 USD"."""
    said = []
    for name, value in params.items():
        words, _, last = name.rpartition("_")
        unit = _UNITS.get(last) if words else None
        said.append(f"{words.replace('_', ' ')} {value} {unit}" if unit else f"{name.replace('_', ' ')} {value}")
    return ", ".join(said) or show.NOTHING


def _label(kind: str) -> str:
    return StepKind(kind).label if kind in StepKind.values else kind


def _missing(proposal: Proposal, needed: int, given: int) -> str:
    if proposal.vote_by is not None:
        return f"The agents talk it over until {proposal.vote_by:%H:%M:%S} UTC; until then people can only reject it."
    if proposal.waits_for_people_since is None:
        return "Nothing asks for people; policy or a vote decides."
    if needed == 1:
        return "One person."
    author = f", and not its author {proposal.author.get_username()}" if proposal.author else ""
    return f"{max(0, needed - given)} of {needed} people{author}."


def _of_equity(amount: Decimal, equity: Decimal) -> str:
    share = f" ({show.percent(amount / equity)} of equity)" if equity > 0 else ""
    return f"{show.usd(amount)}{share}"


def _verdicts(proposal: Proposal, stage: str) -> Rows:
    return [
        (
            verdict.gate.replace("_", " "),
            format_html(
                "{} {} {}",
                show.pill(*(("allowed", "allowed") if verdict.allowed else ("refused", verdict.code))),
                verdict.reason,
                show.folded("facts", verdict.facts),
            ),
            None,
        )
        for verdict in proposal.verdicts.filter(stage=stage)
    ]
