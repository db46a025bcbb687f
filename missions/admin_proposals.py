"""Proposals on the staff's desk: the riskiest that waits longest first, decided on a page of its own or in bulk.

What a reviewer reads is `admin_case`, deciding is `proposals`: the same operations that the API calls.
"""

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.db.models import Count, F, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce, Now
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from missions import admin_bulk, admin_case, proposals
from missions.models import Approval, Proposal
from missions.vocabulary import ProposalStatus, StepKind
from tradeco.common import admin_show as show
from tradeco.common import db
from tradeco.common.admin_acts import Act, ActsAdmin, Said
from tradeco.common.admin_base import ReadOnlyAdmin

MAY_DECIDE = "missions.change_proposal"


def said_of(proposal: Proposal) -> Said:
    """What a yes led to: approved, refused by the gates by now, or one of two."""
    if proposal.status == ProposalStatus.APPROVED:
        return Said(messages.SUCCESS, f"Approved: {proposal.title}. Its mission is open.")
    if proposal.status == ProposalStatus.REJECTED:
        return Said(messages.WARNING, f"Your yes was recorded, but by now it is refused: {proposal.reason}")
    return Said(messages.INFO, "Your yes is recorded. Another person must approve as well.")


def approve(request: HttpRequest, proposal: Proposal, reason: str) -> Said:
    return said_of(proposals.approve(proposal_id=proposal.pk, approver=_person(request), reason=reason, now=db.now()))


def reject(request: HttpRequest, proposal: Proposal, reason: str) -> Said:
    proposals.reject(proposal_id=proposal.pk, by=_person(request), reason=reason, now=db.now())
    return Said(messages.SUCCESS, f"Rejected: {proposal.title}.")


def withdraw(request: HttpRequest, proposal: Proposal, reason: str) -> Said:
    proposals.cancel(proposal_id=proposal.pk, by=_person(request), reason=reason, now=db.now())
    return Said(messages.SUCCESS, f"Withdrawn: {proposal.title}.")


def _person(request: HttpRequest) -> Any:
    return request.user


def _pending(proposal: Proposal) -> bool:
    return proposal.status == ProposalStatus.PENDING


APPROVE = Act(
    slug="approve",
    label="Approve",
    explains="The gates judge once more on fresh facts; then the caps are spent and the mission opens.",
    permission=MAY_DECIDE,
    operation=approve,
    offered=_pending,
)
REJECT = Act(
    slug="reject",
    label="Reject",
    explains="The proposal ends here. Its agent reads your reason.",
    permission=MAY_DECIDE,
    operation=reject,
    offered=_pending,
    grave=True,
)
WITHDRAW = Act(
    slug="withdraw",
    label="Withdraw",
    explains="The proposal is taken back undecided: nothing was wrong with it, it is no longer wanted.",
    permission=MAY_DECIDE,
    operation=withdraw,
    offered=_pending,
    grave=True,
)


class StepKindFilter(admin.SimpleListFilter):
    title = "kind of step"
    parameter_name = "step_kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return list(StepKind.choices)

    def queryset(self, request: HttpRequest, queryset: QuerySet[Proposal]) -> QuerySet[Proposal]:
        if self.value() not in StepKind.values:
            return queryset
        return queryset.filter(steps__contains=[{"kind": self.value()}])


class WaitsForFilter(admin.SimpleListFilter):
    title = "waiting for"
    parameter_name = "waits_for"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("people", "People"), ("policy", "Policy or a vote")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Proposal]) -> QuerySet[Proposal]:
        if self.value() not in {"people", "policy"}:
            return queryset
        return queryset.filter(status=ProposalStatus.PENDING, waits_for_people_since__isnull=self.value() == "policy")


@admin.register(Proposal)
class ProposalAdmin(ActsAdmin, ReadOnlyAdmin):
    list_display = (
        "status_shown",
        "title",
        "agent_key",
        "value",
        "confidence",
        "waits_for",
        "age_shown",
        "expires",
        "code_shown",
    )
    list_display_links = ("title",)
    list_filter = ("status", WaitsForFilter, "agent", "source", StepKindFilter, "protective")
    search_fields = ("title",)
    search_help_text = "Words of the title, or a number such as #42"
    actions = ("approve_selected", "reject_selected")
    acts = (APPROVE, REJECT, WITHDRAW)
    panels = admin_case.PANELS
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "title",
                    ("status_shown", "value", "confidence"),
                    ("agent", "author", "source", "protective"),
                    "rationale",
                    ("forecast_probability", "forecast_horizon_minutes"),
                    ("created_at", "expires_at"),
                )
            },
        ),
        (
            "Record",
            {
                "classes": ("collapse",),
                "fields": (
                    ("code", "reason"),
                    ("decided_by", "decided_at", "vote_by", "waits_for_people_since"),
                    ("cause", "revision", "seed"),
                ),
            },
        ),
    )

    status_shown = show.state_of()
    agent_key = show.key_of("agent")

    @admin.display(description="why", ordering="code")
    def code_shown(self, proposal: Proposal) -> str:
        return proposal.code.replace("_", " ")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Proposal]:
        yes = Approval.objects.filter(proposal=OuterRef("pk")).order_by().values("proposal")
        found: QuerySet[Proposal] = super().get_queryset(request)
        return found.annotate(
            age=Now() - F("created_at"),
            left=F("expires_at") - Now(),
            yeses=Coalesce(Subquery(yes.annotate(n=Count("pk")).values("n")), 0),
        )

    def get_ordering(self, request: HttpRequest) -> Any:
        """What waits comes first, the greatest value and then the oldest on top; then the latest decisions.

        The index proposal_desk gives the first part of this order, so that a million rows aren't sorted. Where only
        the pending are shown it would be walked to its end in search of one more.
        """
        urgent = (F("value_usd").desc(), F("created_at").asc(), F("id").asc())
        if request.GET.get("status__exact") == ProposalStatus.PENDING:
            return urgent
        return (F("decided_at").desc(nulls_first=True), *urgent)

    @admin.display(description="value", ordering="value_usd")
    def value(self, proposal: Proposal) -> str:
        return show.usd(proposal.value_usd) if proposal.value_usd else show.NOTHING

    @admin.display(description="waiting for", ordering="waits_for_people_since")
    def waits_for(self, proposal: Any) -> SafeString | str:
        if not _pending(proposal):
            return show.NOTHING
        if proposal.waits_for_people_since is None:
            return "the roundtable" if proposal.vote_by else "policy"
        yeses = f", {proposal.yeses} yes so far" if proposal.yeses else ""
        return format_html("<strong>people</strong>{}", yeses)

    @admin.display(description="age", ordering="-created_at")
    def age_shown(self, proposal: Any) -> str:
        return show.span(proposal.age)

    @admin.display(description="expires in", ordering="expires_at")
    def expires(self, proposal: Any) -> str:
        return show.span(proposal.left) if _pending(proposal) else show.NOTHING

    def has_decide_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(MAY_DECIDE)

    @admin.action(description="Approve selected …", permissions=["decide"])
    def approve_selected(self, request: HttpRequest, queryset: QuerySet[Proposal]) -> TemplateResponse | None:
        return admin_bulk.preview(request, self, queryset, APPROVE, post_to=self._many_url(APPROVE))

    @admin.action(description="Reject selected …", permissions=["decide"])
    def reject_selected(self, request: HttpRequest, queryset: QuerySet[Proposal]) -> TemplateResponse | None:
        return admin_bulk.preview(request, self, queryset, REJECT, post_to=self._many_url(REJECT))

    def get_urls(self) -> list[URLPattern]:
        many = [
            path(
                f"many/{act.slug}/",
                self.admin_site.admin_view(self._many_view(act)),
                name=f"missions_proposal_many_{act.slug}",
            )
            for act in (APPROVE, REJECT)
        ]
        return many + super().get_urls()

    def _many_view(self, act: Act) -> Callable[[HttpRequest], Any]:
        return lambda request: admin_bulk.decide(request, self, act, post_to=self._many_url(act))

    def _many_url(self, act: Act) -> str:
        return reverse(f"{self.admin_site.name}:missions_proposal_many_{act.slug}")
