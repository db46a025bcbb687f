"""The votes of agents, to be read. They were cast with the facts of their moment; nobody edits them."""

from django.contrib import admin

from missions.models import Proposal
from roundtable.models import Vote
from tradeco.common import admin_show as show
from tradeco.common.admin_base import ReadOnlyAdmin


@admin.register(Vote)
class VoteAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "agent_key", "stance_shown", "proposal_key", "reason", "at")
    list_filter = ("stance", "agent", "at")
    search_fields = ("reason", "proposal__title")
    ordering = ("-id",)
    fields = ("proposal", "agent", "stance", "reason", "at", "facts_shown")

    agent_key = show.key_of("agent")
    proposal_key = show.key_of("proposal", Proposal)
    stance_shown = show.state_of("stance")
    facts_shown = show.json_of("facts")
