"""Who we are: the six agents, how they stand to each other, and what each remembers."""

from decimal import Decimal
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector
from django.db import models
from django.db.models import F, Q

AFFINITY_MIN, AFFINITY_MAX = Decimal("0.10"), Decimal("0.95")
DRIFT_MOST = Decimal("0.03")  # that one cause may move a pair, whatever policy says


class Agent(models.Model):
    key = models.CharField(max_length=20, primary_key=True)
    name = models.CharField(max_length=40)
    role = models.CharField(max_length=60)
    duties = models.TextField(help_text="What the agent does")
    manner = models.CharField(max_length=200, help_text="How the agent speaks")
    colour = models.CharField(max_length=7, help_text="As #rrggbb")
    place = models.PositiveSmallIntegerField(unique=True, help_text="Order on pages")
    active = models.BooleanField(default=True, help_text="An inactive agent proposes nothing")

    class Meta:
        ordering: ClassVar = ["place"]

    def __str__(self) -> str:
        return self.name


class Relationship(models.Model):
    """How two agents stand to each other; each pair once, in alphabetical order."""

    a = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+")
    b = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+")
    affinity = models.DecimalField(max_digits=6, decimal_places=4)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering: ClassVar = ["a", "b"]
        constraints: ClassVar = [
            models.UniqueConstraint(name="relationship_once_per_pair", fields=["a", "b"]),
            models.CheckConstraint(name="relationship_in_alphabetical_order", condition=Q(a__lt=F("b"))),
            models.CheckConstraint(
                name="affinity_within_range",
                condition=Q(affinity__gte=AFFINITY_MIN, affinity__lte=AFFINITY_MAX),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.a_id} – {self.b_id}"


class Shift(models.Model):
    """How one cause, such as a conversation, moved a pair; a cause moves a pair once."""

    relationship = models.ForeignKey(Relationship, on_delete=models.PROTECT, related_name="shifts")
    cause = models.CharField(max_length=120, help_text="What moved them, such as conversation:12")
    delta = models.DecimalField(max_digits=5, decimal_places=4, help_text="As applied, after both clamps")
    before = models.DecimalField(max_digits=6, decimal_places=4)
    after = models.DecimalField(max_digits=6, decimal_places=4)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="shift_once_per_cause", fields=["relationship", "cause"]),
            models.CheckConstraint(name="drift_within_cap", condition=Q(delta__gte=-DRIFT_MOST, delta__lte=DRIFT_MOST)),
            models.CheckConstraint(name="shift_adds_up", condition=Q(after=F("before") + F("delta"))),
        ]
        indexes: ClassVar = [
            models.Index(name="shift_newest", fields=["relationship", "-id"]),
            models.Index(name="shift_cause", fields=["cause"]),
        ]

    def __str__(self) -> str:
        return f"{self.delta:+} by {self.cause}"


class MemoryType(models.TextChoices):
    INSIGHT = "insight", "Insight"
    PATTERN = "pattern", "Pattern"
    STRATEGY = "strategy", "Strategy"
    PREFERENCE = "preference", "Preference"
    LESSON = "lesson", "Lesson"


class Memory(models.Model):
    """Something an agent holds to be true, with the event or outcome that taught it."""

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="memories")
    type = models.CharField(max_length=12, choices=MemoryType)
    text = models.CharField(max_length=500)
    confidence = models.DecimalField(max_digits=4, decimal_places=3)
    tags = ArrayField(models.CharField(max_length=40), default=list, blank=True)
    cause = models.CharField(max_length=120, help_text="What taught it, such as outcome:12")
    confirmations = models.PositiveIntegerField(default=0)
    contradictions = models.PositiveIntegerField(default=0)
    superseded_by = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True)
    promoted_at = models.DateTimeField(null=True, blank=True, help_text="Since then every agent knows it")
    archived_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "memories"
        constraints: ClassVar = [
            models.UniqueConstraint(name="memory_once_per_cause", fields=["agent", "type", "cause"]),
            models.CheckConstraint(
                name="memory_confidence_is_a_share", condition=Q(confidence__gte=0, confidence__lte=1)
            ),
        ]
        indexes: ClassVar = [
            # recall: an agent's live memories of a type, surest first
            models.Index(
                name="memory_recall",
                fields=["agent", "type", "-confidence"],
                condition=Q(archived_at__isnull=True),
            ),
            # what the whole company knows
            models.Index(
                name="memory_promoted",
                fields=["-confidence"],
                condition=Q(archived_at__isnull=True, promoted_at__isnull=False),
            ),
            GinIndex(SearchVector("text", config="english"), name="memory_words"),
            GinIndex(name="memory_tags", fields=["tags"]),
        ]

    def __str__(self) -> str:
        return self.text

    @property
    def subject(self) -> str:
        return f"memory:{self.pk}"


class Score(models.Model):
    """How well one forecast of an agent turned out, once per cause."""

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="scores")
    kind = models.CharField(max_length=12, help_text="What was forecast, such as entry")
    cause = models.CharField(max_length=120, unique=True, help_text="The forecast, such as forecast:12")
    probability = models.DecimalField(max_digits=4, decimal_places=3)
    happened = models.BooleanField()
    brier = models.DecimalField(max_digits=7, decimal_places=6, help_text="(probability − happened)²; 0 is best")
    log_score = models.DecimalField(max_digits=8, decimal_places=6, help_text="−ln of what was given to the truth")
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(name="score_of_a_probability", condition=Q(probability__gte=0, probability__lte=1))
        ]
        indexes: ClassVar = [models.Index(name="score_agent_newest", fields=["agent", "-id"])]

    def __str__(self) -> str:
        return f"{self.probability} for {self.cause}"
