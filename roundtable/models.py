"""Conversations, their turns, the votes they end in, and what a language model was asked and answered."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from agents.models import Agent, Memory
from missions.models import Proposal, Step
from missions.vocabulary import ConversationFormat

TURN_CHARS = 120


class Stance(models.TextChoices):
    AGREE = "agree", "Agrees"
    NEUTRAL = "neutral", "Neutral"
    DISAGREE = "disagree", "Disagrees"
    VETO = "veto", "Vetoes"


class Tone(models.TextChoices):
    PLAIN = "plain", "Plain"
    SUPPORTIVE = "supportive", "Supportive"
    CRITICAL = "critical", "Critical"
    CHALLENGE = "challenge", "Challenge"


class ConversationStatus(models.TextChoices):
    PENDING = "pending", "Pending"
    ACTIVE = "active", "Active"
    COMPLETED = "completed", "Completed"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"


OPEN = (ConversationStatus.PENDING, ConversationStatus.ACTIVE)


class Conversation(models.Model):
    """A conversation, held turn by turn by the visits of one step. Its dice roll from `seed`."""

    MOVES: ClassVar = {
        ConversationStatus.PENDING: frozenset(
            {ConversationStatus.ACTIVE, ConversationStatus.FAILED, ConversationStatus.CANCELLED}
        ),
        ConversationStatus.ACTIVE: frozenset(
            {ConversationStatus.COMPLETED, ConversationStatus.FAILED, ConversationStatus.CANCELLED}
        ),
    }

    step = models.OneToOneField(Step, on_delete=models.PROTECT, related_name="conversation")
    format = models.CharField(max_length=20, choices=ConversationFormat)
    topic = models.CharField(max_length=200, blank=True)
    about = models.CharField(max_length=40, blank=True, help_text="What called for it, such as position:12")
    decides = models.OneToOneField(
        Proposal, on_delete=models.PROTECT, null=True, blank=True, related_name="conversation"
    )
    participants = ArrayField(models.CharField(max_length=20), help_text="Keys; the first opens")
    voters = ArrayField(models.CharField(max_length=20), default=list, blank=True, help_text="Keys; of a trade review")
    temperature = models.DecimalField(max_digits=3, decimal_places=2)
    turns_planned = models.PositiveSmallIntegerField()
    seed = models.BigIntegerField()
    status = models.CharField(max_length=10, choices=ConversationStatus, default=ConversationStatus.PENDING)
    code = models.CharField(max_length=60, blank=True)
    reason = models.CharField(max_length=300, blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    last_turn_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="conversation_ended_iff_over",
                condition=Q(status__in=OPEN, ended_at__isnull=True) | (~Q(status__in=OPEN) & Q(ended_at__isnull=False)),
            ),
        ]
        indexes: ClassVar = [
            models.Index(name="conversation_newest", fields=["-created_at"]),
            # tables that are taken, and whom to look after
            models.Index(name="conversation_open", fields=["id"], condition=Q(status__in=["pending", "active"])),
            models.Index(name="conversation_about", fields=["about"]),
        ]

    def __str__(self) -> str:
        return f"{self.get_format_display()} #{self.pk}"

    @property
    def subject(self) -> str:
        return f"conversation:{self.pk}"


class Exchange(models.Model):
    """What a language model was asked and what it answered, kept for replay; a prompt is known by its hash."""

    prompt_hash = models.CharField(max_length=64)
    model = models.CharField(max_length=120)
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+")
    prompt = models.JSONField(encoder=DjangoJSONEncoder)
    answer = models.TextField(blank=True)
    valid = models.BooleanField()
    error = models.CharField(max_length=300, blank=True)
    prompt_tokens = models.PositiveIntegerField(default=0)
    answer_tokens = models.PositiveIntegerField(default=0)
    milliseconds = models.PositiveIntegerField(default=0)
    at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(name="exchange_prompt", fields=["prompt_hash"]),
            models.Index(name="exchange_at", fields=["at"]),
        ]

    def __str__(self) -> str:
        return f"{self.agent_id} asked {self.model}"


class VoiceUse(models.Model):
    """Tokens that an agent's words have cost on a UTC day."""

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+")
    day = models.DateField()
    tokens = models.PositiveBigIntegerField(default=0)
    asked = models.PositiveIntegerField(default=0)

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(name="voice_use_once_a_day", fields=["agent", "day"])]

    def __str__(self) -> str:
        return f"{self.agent_id} on {self.day}"


class Turn(models.Model):
    """What one agent said, with the facts and memories it spoke from. Stance is a field, never guessed from words."""

    conversation = models.ForeignKey(Conversation, on_delete=models.PROTECT, related_name="turns")
    place = models.PositiveSmallIntegerField()
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="turns")
    to = models.ForeignKey(
        Agent, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="Whom it answers"
    )
    text = models.CharField(max_length=TURN_CHARS)
    stance = models.CharField(max_length=8, choices=Stance)
    tone = models.CharField(max_length=10, choices=Tone)
    probability = models.DecimalField(max_digits=4, decimal_places=3, null=True, blank=True)
    voice = models.CharField(max_length=40, help_text="Which voice spoke")
    fell_back = models.BooleanField(default=False, help_text="The language model failed; the script spoke instead")
    facts = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    brief = models.JSONField(
        default=dict, encoder=DjangoJSONEncoder, help_text="What else it spoke from: memories, manner, affinities, dice"
    )
    exchange = models.ForeignKey(Exchange, on_delete=models.SET_NULL, null=True, blank=True, related_name="turns")
    memories = models.ManyToManyField(Memory, blank=True, related_name="turns")
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["conversation", "place"]
        constraints: ClassVar = [
            models.UniqueConstraint(name="turn_once_per_place", fields=["conversation", "place"]),
            models.CheckConstraint(name="turn_says_something", condition=~Q(text="")),
            models.CheckConstraint(
                name="turn_probability_is_one",
                condition=Q(probability__isnull=True) | Q(probability__gte=0, probability__lte=1),
            ),
        ]
        indexes: ClassVar = [models.Index(name="turn_agent_newest", fields=["agent", "-id"])]

    def __str__(self) -> str:
        return f"{self.agent_id}: {self.text}"


class Vote(models.Model):
    """What one agent says of a proposal, with the facts it looked at. Stance is a field, never guessed from words."""

    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="votes")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="votes")
    turn = models.OneToOneField(
        Turn, on_delete=models.PROTECT, null=True, blank=True, related_name="vote", help_text="Where it was said"
    )
    stance = models.CharField(max_length=8, choices=Stance)
    reason = models.CharField(max_length=300)
    facts = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(name="vote_once_per_agent", fields=["proposal", "agent"])]

    def __str__(self) -> str:
        return f"{self.agent_id} {self.stance}s #{self.proposal_id}"
