"""Who the agents are, as staff see and tune them. Their keys, memories' contents and affinities stand fixed:
programs refer to keys, and what an agent learnt it learnt.
"""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.validators import RegexValidator
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from agents.models import Agent, Memory, Relationship
from tradeco.common import admin_show as show
from tradeco.common.admin_base import DeskAdmin, ReadOnlyAdmin


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


@admin.register(Relationship)
class RelationshipAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "a_key", "b_key", "affinity", "updated_at")
    list_filter = ("a", "b")
    search_fields = ("a__key", "b__key")
    ordering = ("-affinity",)

    a_key = show.key_of("a")
    b_key = show.key_of("b")


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
        "archived_at",
    )
    list_filter = ("type", "agent", ("archived_at", admin.EmptyFieldListFilter))
    search_fields = ("text", "cause")
    search_help_text = "Words of the memory, or its cause such as outcome:12"
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
        "archived_at",
    )
    readonly_fields = fields[:-1]

    agent_key = show.key_of("agent")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
