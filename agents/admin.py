"""Who the agents are, as staff see and tune them. Their keys, memories' contents, affinities and scores stand fixed:
programs refer to keys, and what an agent learnt it learnt.
"""

import re
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.validators import RegexValidator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents import memory as memories
from agents.models import Agent, Memory, Relationship, Score, Shift
from tradeco.common import admin_show as show
from tradeco.common.admin_base import DeskAdmin, ReadOnlyAdmin, Rows

SHIFTS_SHOWN = 20  # of a pair, on its page; the list of shifts has them all
_NO_WORDS = re.compile(r"#?\d+|[a-z_.]+:\S+")  # a row's number, or a cause such as outcome:12


class AgentForm(forms.ModelForm):  # type: ignore[type-arg]
    colour = forms.CharField(max_length=7, validators=[RegexValidator(r"^#[0-9a-fA-F]{6}\Z", "Write it as #rrggbb.")])


@admin.register(Agent)
class AgentAdmin(DeskAdmin):
    form = AgentForm
    list_display = ("name", "key", "role", "colour_shown", "active")
    list_filter = ("active",)
    search_fields = ("key", "name", "role", "duties")
    search_help_text = "Key, name, role or duties"
    fields = ("key", "name", "role", "duties", "manner", "colour", "active")
    readonly_fields = ("key",)

    @admin.display(description="colour")
    def colour_shown(self, agent: Agent) -> SafeString:
        """The colour as a drawing: a style attribute would break the content security policy."""
        return format_html(
            '<svg class="desk-swatch" viewBox="0 0 10 10" aria-hidden="true">'
            '<circle cx="5" cy="5" r="5" fill="{}"/></svg> {}',
            agent.colour,
            agent.colour,
        )

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


def last_shifts(pair: Relationship) -> tuple[str, Rows]:
    """What moved the pair lately, newest first."""
    newest = pair.shifts.order_by("-pk")[:SHIFTS_SHOWN]
    return "Last shifts", [(f"{shift.at:%d %b %Y %H:%M}", _told(shift), None) for shift in newest]


def _told(shift: Shift) -> SafeString:
    return format_html("{} to {} by {}", f"{shift.delta:+}", shift.after, show.subject_link(shift.cause))


@admin.register(Relationship)
class RelationshipAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "a_key", "b_key", "affinity", "updated_at")
    list_filter = ("a", "b")
    search_fields = ("a__key", "b__key")
    ordering = ("-affinity",)
    panels: ClassVar = (last_shifts,)

    a_key = show.key_of("a")
    b_key = show.key_of("b")


@admin.register(Shift)
class ShiftAdmin(ReadOnlyAdmin):
    list_display = ("number", "at", "relationship", "delta", "before", "after", "cause_shown")
    list_select_related = ("relationship",)
    list_filter = ("at", "relationship")
    search_fields = ("cause__exact",)
    search_help_text = "A number such as #42, or a cause such as conversation:12"
    ordering = ("-id",)
    fields = ("relationship", "delta", "before", "after", "cause_shown", "at")

    number = show.number_of("shift")

    @admin.display(description="cause")
    def cause_shown(self, shift: Shift) -> str:
        return show.subject_link(shift.cause)


@admin.register(Score)
class ScoreAdmin(ReadOnlyAdmin):
    list_display = (
        "number",
        "at",
        "agent_key",
        "kind",
        "probability",
        "happened",
        "brier",
        "log_score",
        "cause_shown",
    )
    list_filter = ("at", "happened", "agent")
    search_fields = ("cause__exact",)
    search_help_text = "A number such as #42, or a cause such as forecast:12"
    ordering = ("-id",)
    fields = ("agent", "kind", "probability", "happened", "brier", "log_score", "cause_shown", "at")

    number = show.number_of("score")
    agent_key = show.key_of("agent")

    @admin.display(description="cause")
    def cause_shown(self, score: Score) -> str:
        return show.subject_link(score.cause)


@admin.register(Memory)
class MemoryAdmin(DeskAdmin):
    """A memory may be archived, and called back; nothing else of it changes by hand."""

    list_display = (
        "text",
        "agent_key",
        "type",
        "confidence",
        "confirmations",
        "contradictions",
        "promoted_at",
        "archived_at",
    )
    list_filter = (
        "type",
        "agent",
        ("promoted_at", admin.EmptyFieldListFilter),
        ("archived_at", admin.EmptyFieldListFilter),
    )
    search_fields = ("cause__exact",)
    search_help_text = "Words of the memory in any of their forms, a number such as #42, or a cause such as outcome:12"
    date_hierarchy = "created_at"
    ordering = ("-id",)
    fields = (
        "agent",
        "type",
        "text",
        "confidence",
        "tags",
        "cause",
        "confirmations",
        "contradictions",
        "superseded_by",
        "created_at",
        "promoted_at",
        "archived_at",
    )
    readonly_fields = fields[:-1]

    agent_key = show.key_of("agent")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Words by full text, which the index answers; numbers and causes as everywhere."""
        if "\x00" in search_term or _NO_WORDS.fullmatch(search_term.strip()):
            return super().get_search_results(request, queryset, search_term)
        return memories.saying(queryset, search_term), False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
