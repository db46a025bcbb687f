"""What each heartbeat did, and when each trigger may fire again."""

from typing import ClassVar

from django.db import models
from django.db.models import Q

from missions.vocabulary import PhaseStatus


class Beat(models.Model):
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)
    holder = models.CharField(max_length=120)
    epoch = models.BigIntegerField(help_text="Epoch of the lease it ran under", unique=True)
    asked_by = models.CharField(max_length=160, help_text="clock, or who asked for it")
    taken_over = models.BooleanField(default=False, help_text="Its holder died or hung, and another went on")

    class Meta:
        indexes: ClassVar = [
            models.Index(name="beat_newest", fields=["-started_at"]),
            # heartbeat: the one that runs, or that hung
            models.Index(name="beat_unfinished", fields=["id"], condition=Q(finished_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"Beat #{self.pk}"


class BeatPhase(models.Model):
    beat = models.ForeignKey(Beat, on_delete=models.CASCADE, related_name="phases")
    name = models.CharField(max_length=30)
    place = models.PositiveSmallIntegerField()
    status = models.CharField(max_length=16, choices=PhaseStatus)
    milliseconds = models.FloatField()
    budget_milliseconds = models.PositiveIntegerField()
    did = models.JSONField(default=dict)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering: ClassVar = ["beat", "place"]
        constraints: ClassVar = [models.UniqueConstraint(name="phase_once_per_beat", fields=["beat", "name"])]

    def __str__(self) -> str:
        return f"{self.name} of beat #{self.beat_id}"

    @property
    def over_budget(self) -> bool:
        return self.milliseconds > self.budget_milliseconds


class TriggerState(models.Model):
    """A trigger's memory: cooldowns hold across workers and restarts because they stand here."""

    key = models.CharField(max_length=80, primary_key=True)
    next_at = models.DateTimeField(help_text="Not before this")
    last_fired_at = models.DateTimeField(null=True, blank=True)
    fired = models.PositiveIntegerField(default=0)
    cursor = models.BigIntegerField(default=0, help_text="Number of the last event it has looked at")

    def __str__(self) -> str:
        return self.key
