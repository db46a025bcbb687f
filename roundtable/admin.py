"""Conversations, turns, votes and what a language model answered, to be read. What was said was said: nobody edits."""

from typing import ClassVar

from django.contrib import admin

from missions.models import Proposal
from roundtable import admin_panels
from roundtable.models import Conversation, Exchange, Turn, VoiceUse, Vote
from tradeco.common import admin_show as show
from tradeco.common.admin_base import PanelOf, ReadOnlyAdmin


@admin.register(Conversation)
class ConversationAdmin(ReadOnlyAdmin):
    list_display = (
        "__str__",
        "status_shown",
        "topic",
        "about_link",
        "decides_key",
        "participants_shown",
        "last_turn_at",
        "ended_at",
    )
    list_filter = ("status", "format", "created_at")
    search_fields = ("topic", "about")
    search_help_text = "Words of the topic, what called for it such as position:12, or a number such as #42"
    ordering = ("-id",)
    fields = (
        "status",
        "format",
        "topic",
        "about_link",
        "decides",
        "step",
        "participants_shown",
        "voters",
        "temperature",
        "turns_planned",
        "seed",
        "code",
        "reason",
        "created_at",
        "started_at",
        "last_turn_at",
        "ended_at",
    )
    panels: ClassVar[tuple[PanelOf, ...]] = (
        admin_panels.transcript,
        admin_panels.votes_of_conversation,
        admin_panels.drift,
    )

    status_shown = show.state_of("status")
    decides_key = show.key_of("decides", Proposal)

    @admin.display(description="about")
    def about_link(self, conversation: Conversation) -> str:
        return show.subject_link(conversation.about) if conversation.about else show.NOTHING

    @admin.display(description="participants")
    def participants_shown(self, conversation: Conversation) -> str:
        return ", ".join(conversation.participants)


@admin.register(Turn)
class TurnAdmin(ReadOnlyAdmin):
    list_display = (
        "text",
        "agent_key",
        "conversation_key",
        "place",
        "stance_shown",
        "tone",
        "voice",
        "fell_back",
        "at",
    )
    list_filter = ("stance", "tone", "fell_back", "agent")
    search_fields = ("text",)
    ordering = ("-id",)
    fields = (
        "conversation",
        "place",
        "agent",
        "to",
        "text",
        "stance",
        "tone",
        "probability",
        "voice",
        "fell_back",
        "exchange",
        "memories",
        "at",
        "facts_shown",
    )

    agent_key = show.key_of("agent")
    conversation_key = show.key_of("conversation")
    stance_shown = show.state_of("stance")
    facts_shown = show.json_of("facts")


@admin.register(Vote)
class VoteAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "agent_key", "stance_shown", "proposal_key", "turn_key", "reason", "at")
    list_filter = ("stance", "agent", "at")
    search_fields = ("reason", "proposal__title")
    ordering = ("-id",)
    fields = ("proposal", "agent", "turn", "stance", "reason", "at", "facts_shown")

    agent_key = show.key_of("agent")
    proposal_key = show.key_of("proposal", Proposal)
    turn_key = show.key_of("turn")
    stance_shown = show.state_of("stance")
    facts_shown = show.json_of("facts")


@admin.register(Exchange)
class ExchangeAdmin(ReadOnlyAdmin):
    """The prompt and the answer stand here as they went; they are shown as text and nothing else."""

    list_display = (
        "__str__",
        "agent_key",
        "valid",
        "error",
        "prompt_tokens",
        "answer_tokens",
        "milliseconds",
        "prompt_hash_shown",
        "at",
    )
    list_filter = ("valid", "model", "agent", "at")
    search_fields = ("prompt_hash__exact",)
    search_help_text = "The hash of a prompt, whole"
    ordering = ("-id",)
    fields = (
        "agent",
        "model",
        "valid",
        "error",
        "prompt_hash",
        "prompt_tokens",
        "answer_tokens",
        "milliseconds",
        "at",
        "answer",
        "prompt_shown",
    )

    agent_key = show.key_of("agent")
    prompt_shown = show.json_of("prompt")

    @admin.display(description="prompt's hash")
    def prompt_hash_shown(self, exchange: Exchange) -> str:
        return show.shortened(exchange.prompt_hash)


@admin.register(VoiceUse)
class VoiceUseAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "agent_key", "day", "tokens", "asked")
    list_filter = ("agent", "day")
    ordering = ("-day", "agent")

    agent_key = show.key_of("agent")
