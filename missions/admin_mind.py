"""What thinking left behind, on the staff's desk: forecasts, memories that had a part in a proposal, reactions.

Rows are read here and never written: what an agent forecast it forecast.
"""

from typing import Any

from django.contrib import admin

from missions.models import Forecast, Influence, Reaction
from tradeco.common import admin_show as show
from tradeco.common.admin_base import ReadOnlyAdmin


@admin.register(Forecast)
class ForecastAdmin(ReadOnlyAdmin):
    list_display = (
        "number",
        "status_shown",
        "agent_key",
        "said",
        "happened",
        "proposal_key",
        "horizon",
        "made_at",
        "settled_at",
    )
    list_filter = ("status", "happened", "agent")
    search_fields = ("proposal__title",)
    search_help_text = "Words of its proposal's title, or a number such as #42"
    ordering = ("-id",)
    fields = (
        "proposal",
        "agent",
        "probability",
        "horizon_minutes",
        "status_shown",
        "happened",
        "made_at",
        "settled_at",
    )

    number = show.number_of("forecast")
    status_shown = show.state_of()
    agent_key = show.key_of("agent")
    proposal_key = show.key_of("proposal")

    @admin.display(description="probability of a profit", ordering="probability")
    def said(self, forecast: Forecast) -> str:
        return show.percent(forecast.probability)

    @admin.display(description="horizon", ordering="horizon_minutes")
    def horizon(self, forecast: Forecast) -> str:
        return f"{forecast.horizon_minutes} min"


@admin.register(Influence)
class InfluenceAdmin(ReadOnlyAdmin):
    list_display = ("number", "remembered", "proposal_key", "effect_shown", "judged", "at")
    list_filter = ("judged", "at")
    list_select_related = ("memory",)
    search_fields = ("memory__text", "proposal__title")
    search_help_text = "Words of the memory or of the proposal's title, or a number such as #42"
    ordering = ("-id",)
    fields = ("proposal", "memory", "effect_shown", "judged", "at")

    number = show.number_of("influence")
    proposal_key = show.key_of("proposal")

    @admin.display(description="memory", ordering="memory")
    def remembered(self, influence: Influence) -> Any:
        return show.link(type(influence.memory), influence.memory_id, influence.memory.text[:80])

    @admin.display(description="effect on confidence", ordering="effect")
    def effect_shown(self, influence: Influence) -> str:
        return f"{influence.effect:+}"


@admin.register(Reaction)
class ReactionAdmin(ReadOnlyAdmin):
    list_display = (
        "number",
        "status_shown",
        "source_key",
        "target_key",
        "does",
        "answered",
        "rolled_shown",
        "proposal_key",
        "at",
    )
    list_filter = ("status", "answered", "does", "target")
    search_fields = ("does__exact", "reason")
    search_help_text = "What it does, its reason, or a number such as #42"
    ordering = ("-id",)
    fields = (
        "event",
        ("source", "target"),
        "does",
        "status_shown",
        ("answered", "rolled", "probability"),
        "seed",
        "proposal",
        "reason",
        ("at", "finished_at"),
    )

    number = show.number_of("reaction")
    status_shown = show.state_of()
    source_key = show.key_of("source")
    target_key = show.key_of("target")
    proposal_key = show.key_of("proposal")

    @admin.display(description="rolled, of what probability")
    def rolled_shown(self, reaction: Reaction) -> str:
        return f"{reaction.rolled:.3f} of {reaction.probability:.3f}"
