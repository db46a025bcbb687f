"""What thinking leaves behind: forecasts, the memories behind a proposal, reactions to each other's doings."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from agents.models import Agent, Memory
from missions.models.proposal import Proposal
from missions.vocabulary import ForecastStatus, ReactionStatus
from tradeco.common.models import Event


class Forecast(models.Model):
    """The probability that a proposal's trade ends in profit by its horizon; scored when that has passed."""

    proposal = models.OneToOneField(Proposal, on_delete=models.PROTECT, related_name="forecast")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="forecasts")
    probability = models.DecimalField(max_digits=4, decimal_places=3)
    horizon_minutes = models.PositiveIntegerField(help_text="Of market time, from the entry on")
    status = models.CharField(max_length=6, choices=ForecastStatus, default=ForecastStatus.OPEN)
    happened = models.BooleanField(null=True, blank=True)
    made_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="forecast_of_a_probability", condition=Q(probability__gte=0, probability__lte=1)
            ),
            models.CheckConstraint(
                name="forecast_happened_iff_scored",
                condition=Q(status=ForecastStatus.SCORED, happened__isnull=False)
                | (~Q(status=ForecastStatus.SCORED) & Q(happened__isnull=True)),
            ),
            models.CheckConstraint(
                name="forecast_settled_iff_not_open",
                condition=Q(status=ForecastStatus.OPEN, settled_at__isnull=True)
                | (~Q(status=ForecastStatus.OPEN) & Q(settled_at__isnull=False)),
            ),
        ]
        indexes: ClassVar = [
            # heartbeat: what may be scored
            models.Index(name="forecast_open", fields=["id"], condition=Q(status="open")),
            models.Index(name="forecast_agent_newest", fields=["agent", "-id"]),
        ]

    def __str__(self) -> str:
        return f"{self.probability} for #{self.proposal_id}"

    @property
    def subject(self) -> str:
        return f"forecast:{self.pk}"


class Influence(models.Model):
    """A memory that changed a proposal, so that what memories are worth can be measured, and switched off."""

    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="influences")
    memory = models.ForeignKey(Memory, on_delete=models.PROTECT, related_name="influences")
    effect = models.DecimalField(max_digits=4, decimal_places=3, help_text="What it added to the confidence")
    judged = models.BooleanField(default=False, help_text="Whether the outcome has confirmed or contradicted it")
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="influence_once_per_memory", fields=["proposal", "memory"])
        ]
        indexes: ClassVar = [models.Index(name="influence_of_memory", fields=["memory", "-id"])]

    def __str__(self) -> str:
        return f"memory #{self.memory_id} on #{self.proposal_id}"


class Reaction(models.Model):
    """An agent's answer to another agent's doing, with the roll of the dice that called for it or didn't."""

    event = models.ForeignKey(Event, on_delete=models.CASCADE, related_name="+")
    source = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="+", null=True, blank=True)
    target = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="reactions")
    does = models.CharField(max_length=40)
    status = models.CharField(max_length=10, choices=ReactionStatus, default=ReactionStatus.QUEUED)
    seed = models.CharField(max_length=120, help_text="Seed of its roll")
    rolled = models.DecimalField(max_digits=7, decimal_places=6)
    probability = models.DecimalField(max_digits=7, decimal_places=6)
    answered = models.BooleanField(default=False, help_text="Whether the dice called for an answer")
    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    reason = models.CharField(max_length=300, blank=True)
    at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="reaction_once_per_event", fields=["event", "target", "does"])
        ]
        indexes: ClassVar = [
            # heartbeat: what waits for an answer
            models.Index(name="reaction_waiting", fields=["id"], condition=Q(status__in=["queued", "processing"])),
            models.Index(name="reaction_at", fields=["at"]),
        ]

    def __str__(self) -> str:
        return f"{self.target_id}: {self.does}"
