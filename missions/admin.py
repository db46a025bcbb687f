"""The flow on the staff's desk: missions, steps, caps, beats, the company's switch. Rows are read here;
they change by their operations, each on a page that asks for a reason.
"""

import json
from functools import partial
from typing import Any

from django.contrib import admin, messages
from django.db.models import Case, F, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Now
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from missions import admin_mind, admin_policies, admin_proposals, company, outcomes, words
from missions.admin_case import readable
from missions.models import (
    Approval,
    Beat,
    BeatPhase,
    CapCharge,
    CapUse,
    Company,
    Mission,
    Outcome,
    Proposal,
    Step,
    TriggerState,
    Verdict,
    Word,
)
from missions.vocabulary import CompanyStatus, PhaseStatus, StepStatus
from tradeco.common import admin_show as show
from tradeco.common import db
from tradeco.common.admin_acts import Act, ActsAdmin, Said
from tradeco.common.admin_base import ReadOnlyAdmin, ReadOnlyInline, Rows

__all__ = ["admin_mind", "admin_policies", "admin_proposals"]  # registered by being imported

# --- missions and steps ---------------------------------------------------------------------------


def cancel_mission(request: HttpRequest, mission: Mission, reason: str) -> Said:
    by = request.user.get_username()
    outcomes.cancel_mission(mission_id=mission.pk, by=by, reason=reason, now=db.now())
    return Said(messages.SUCCESS, f"{mission} is cancelled.")


CANCEL = Act(
    slug="cancel",
    label="Cancel mission",
    explains="Its queued steps are cancelled, what was reserved is let go, and unspent caps go back."
    " A mission with a step under way can't be called back.",
    permission="missions.change_mission",
    operation=cancel_mission,
    offered=lambda mission: mission.finished_at is None,
    grave=True,
)


class StepInline(ReadOnlyInline):
    model = Step
    fields = ("place", "kind", "says", "status_shown", "attempts", "worker", "started_at", "finished_at", "why")
    readonly_fields = fields
    ordering = ("place",)

    status_shown = show.state_of()

    @admin.display(description="parameters")
    def says(self, step: Step) -> str:
        return readable(step.params)

    @admin.display(description="code and reason")
    def why(self, step: Step) -> str:
        return f"{step.code} {step.reason}".strip() or show.NOTHING


def in_doubt(mission: Mission) -> tuple[str, Rows]:
    """A mission with a step in reconciliation stays running, and says so."""
    doubtful = mission.steps.filter(status=StepStatus.NEEDS_RECONCILIATION).order_by("place")
    return "Waits for reconciliation", [
        (str(step), f"{step.code}: {step.reason}", show.change_url(Step, step.pk)) for step in doubtful
    ]


@admin.register(Mission)
class MissionAdmin(ActsAdmin, ReadOnlyAdmin):
    list_display = ("__str__", "status_shown", "title", "agent_key", "created_at", "started_at", "finished_at")
    list_filter = ("status", "kind", "agent")
    list_select_related = ("proposal",)
    search_fields = ("proposal__title",)
    search_help_text = "Words of its proposal's title, or a number such as #42"
    ordering = ("-id",)
    fields = ("proposal", "agent", "kind", "status_shown", "created_at", "started_at", "finished_at")
    inlines = (StepInline,)
    acts = (CANCEL,)
    panels = (in_doubt,)

    status_shown = show.state_of()
    agent_key = show.key_of("agent")

    @admin.display(description="proposal", ordering="proposal__title")
    def title(self, mission: Mission) -> SafeString | str:
        return show.link(Proposal, mission.proposal_id, mission.proposal.title)


@admin.register(Step)
class StepAdmin(ReadOnlyAdmin):
    list_display = (
        "number",
        "status_shown",
        "kind",
        "mission_key",
        "priority",
        "tries",
        "worker",
        "lease_left",
        "run_after",
        "code",
    )
    list_filter = ("status", "kind", "run_after")
    search_fields = ("code__exact", "worker__exact")
    search_help_text = "A number such as #42, a code, or a worker's name"
    fields = (
        ("mission", "place"),
        ("kind", "status_shown"),
        "says",
        ("code", "reason"),
        ("attempts", "attempts_max", "priority"),
        ("token", "worker", "lease_expires_at"),
        ("blocked_by", "run_after"),
        ("created_at", "started_at", "finished_at"),
        "result_shown",
    )

    status_shown = show.state_of()
    mission_key = show.key_of("mission")
    result_shown = show.json_of("result")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Step]:
        found: QuerySet[Step] = super().get_queryset(request)
        return found.annotate(lease_remains=F("lease_expires_at") - Now())

    def get_ordering(self, request: HttpRequest) -> Any:
        """What needs a person comes first. While nothing does, the newest first, which an index serves."""
        doubt = getattr(request, "_steps_in_doubt", None)
        if doubt is None:
            doubt = Step.objects.in_doubt().exists()
            request._steps_in_doubt = doubt  # type: ignore[attr-defined]  # asked twice a page
        if not doubt:
            return ("-id",)
        first = Case(When(status=StepStatus.NEEDS_RECONCILIATION, then=Value(0)), default=Value(1))
        return (first.asc(), "-id")

    number = show.number_of("step")

    @admin.display(description="tries", ordering="attempts")
    def tries(self, step: Step) -> str:
        return f"{step.attempts} of {step.attempts_max}"

    @admin.display(description="lease", ordering="lease_expires_at")
    def lease_left(self, step: Any) -> str:
        return show.span(step.lease_remains)

    @admin.display(description="parameters")
    def says(self, step: Step) -> str:
        return readable(step.params)


@admin.register(Outcome)
class OutcomeAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "mission_key", "agent_key", "kind", "succeeded", "code", "pnl", "at")
    list_filter = ("succeeded", "kind", "agent")
    search_fields = ("code",)
    ordering = ("-id",)
    fields = ("mission", "agent", "kind", "succeeded", "code", "pnl_usd", "at", "details_shown")

    mission_key = show.key_of("mission")
    agent_key = show.key_of("agent")
    details_shown = show.json_of("details")

    @admin.display(description="P&L", ordering="pnl_usd")
    def pnl(self, outcome: Outcome) -> str:
        return show.usd(outcome.pnl_usd)


# --- what proposals leave behind ------------------------------------------------------------------


@admin.register(Verdict)
class VerdictAdmin(ReadOnlyAdmin):
    list_display = ("gate", "allowed", "code", "stage", "proposal_key", "reason", "at")
    list_filter = ("allowed", "stage", "at")
    search_fields = ("gate__exact", "code__exact")
    search_help_text = "A gate or a code, whole"
    ordering = ("-id",)
    fields = ("proposal", "stage", "gate", "allowed", "code", "reason", "at", "facts_shown")

    proposal_key = show.key_of("proposal")
    facts_shown = show.json_of("facts")


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    list_display = ("approver", "proposal_key", "four_eyes", "reason", "at")
    list_filter = ("four_eyes", ("approver", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("approver",)
    search_fields = ("reason", "approver__username")
    ordering = ("-id",)

    proposal_key = show.key_of("proposal")


# --- the company, its caps, its pulse -------------------------------------------------------------


def _switch(request: HttpRequest, row: Company, reason: str, *, to: CompanyStatus) -> Said:
    by: Any = request.user
    switched = company.switch(to=to, by=by, reason=reason, now=db.now())
    if switched.missing:
        return Said(messages.WARNING, words.still(switched.missing))
    return Said(messages.SUCCESS, f"The company is {to.label.lower()}.")


def said_so_far(row: Company) -> tuple[str, Rows]:
    """Words of people who want what needs several."""
    standing = words.standing(subject=company.SUBJECT, since=row.changed_at, now=db.now())
    return "Asked for by some, not by enough", [
        (f"{word.asked['to']}, says {word.person}", f"{word.at:%Y-%m-%d %H:%M} UTC: {word.reason}", None)
        for word in standing
    ]


def _switch_act(slug: str, label: str, explains: str, to: CompanyStatus) -> Act:
    return Act(
        slug=slug,
        label=label,
        explains=explains,
        permission="missions.change_company",
        operation=partial(_switch, to=to),
        offered=lambda row: row.status != to,
        grave=to == CompanyStatus.HALTED,
    )


@admin.register(Company)
class CompanyAdmin(ActsAdmin, ReadOnlyAdmin):
    list_display = ("__str__", "status_shown", "reason", "changed_by", "changed_at", "policy_set")
    list_select_related = ("changed_by",)
    fields = ("status_shown", "reason", "changed_by", "changed_at", "policy_set", "opened_at")
    acts = (
        _switch_act(
            "halt",
            "Halt",
            "Nothing that moves money is approved or sent any more, stops and take-profits included."
            " What was sent is still looked up.",
            CompanyStatus.HALTED,
        ),
        _switch_act("reduce", "Reduce", "Only exits are allowed; no new risk is taken.", CompanyStatus.REDUCING),
        _switch_act(
            "resume",
            "Resume",
            "Trading goes on as policy allows, once as many people have said so as the policy quorum asks for.",
            CompanyStatus.ACTIVE,
        ),
    )
    panels = (said_so_far,)

    status_shown = show.state_of()


@admin.register(Word)
class WordAdmin(ReadOnlyAdmin):
    list_display = ("person", "subject", "asked_short", "reason", "at", "used_at")
    list_filter = (("used_at", admin.EmptyFieldListFilter), ("person", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("person",)
    search_fields = ("subject", "reason")
    ordering = ("-id",)
    fields = ("person", "subject", "asked_short", "reason", "at", "used_at")

    @admin.display(description="asks for")
    def asked_short(self, word: Word) -> str:
        return json.dumps(word.asked, ensure_ascii=False)[:200]


@admin.register(CapUse)
class CapUseAdmin(ReadOnlyAdmin):
    list_display = ("cap", "day", "used")
    list_filter = ("cap", "day")
    date_hierarchy = "day"
    ordering = ("-day", "cap")


@admin.register(CapCharge)
class CapChargeAdmin(ReadOnlyAdmin):
    list_display = ("cap", "day", "amount", "mission_key", "charged_at", "returned_at")
    list_filter = ("cap", "day", ("returned_at", admin.EmptyFieldListFilter))
    search_fields = ("mission__proposal__title",)
    ordering = ("-id",)

    mission_key = show.key_of("mission")


class BeatPhaseInline(ReadOnlyInline):
    model = BeatPhase
    fields = ("place", "name", "status_shown", "took", "did_shown", "error")
    readonly_fields = fields

    status_shown = show.state_of()
    did_shown = show.json_of("did")

    @admin.display(description="took, of its budget")
    def took(self, phase: BeatPhase) -> str:
        over = " (over)" if phase.over_budget else ""
        return f"{phase.milliseconds:.0f} of {phase.budget_milliseconds} ms{over}"


@admin.register(Beat)
class BeatAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "started_at", "took", "worst", "asked_by", "taken_over", "holder")
    list_filter = ("started_at", "taken_over")
    search_fields = ("asked_by", "holder")
    ordering = ("-started_at",)
    inlines = (BeatPhaseInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Beat]:
        found: QuerySet[Beat] = super().get_queryset(request)
        bad = BeatPhase.objects.filter(
            beat=OuterRef("pk"), status__in=(PhaseStatus.FAILURE, PhaseStatus.PARTIAL_FAILURE)
        )
        return found.annotate(bad_phase=Subquery(bad.order_by("place").values("name")[:1]))

    @admin.display(description="took")
    def took(self, beat: Beat) -> str:
        if beat.finished_at is None:
            return "runs, or was lost"
        return f"{(beat.finished_at - beat.started_at).total_seconds() * 1000:.0f} ms"

    @admin.display(description="phases")
    def worst(self, beat: Any) -> SafeString:
        if beat.bad_phase:
            return format_html("{} in {}", show.pill("failed", "trouble"), beat.bad_phase)
        return show.pill("success", "all well")


@admin.register(BeatPhase)
class BeatPhaseAdmin(ReadOnlyAdmin):
    list_display = ("name", "beat_key", "status_shown", "milliseconds", "budget_milliseconds", "error")
    list_filter = ("status", "name")
    search_fields = ("error",)
    ordering = ("-id",)
    fields = ("beat", "name", "place", "status_shown", "milliseconds", "budget_milliseconds", "error", "did_shown")

    beat_key = show.key_of("beat")
    status_shown = show.state_of()
    did_shown = show.json_of("did")


@admin.register(TriggerState)
class TriggerStateAdmin(ReadOnlyAdmin):
    list_display = ("key", "next_at", "last_fired_at", "fired", "cursor")
    search_fields = ("key",)
    ordering = ("next_at",)
