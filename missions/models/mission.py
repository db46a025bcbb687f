"""A mission, an approved proposal being carried out, and what became of it."""

from typing import ClassVar

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from agents.models import Agent
from missions.models.proposal import Proposal
from missions.vocabulary import MissionKind, MissionStatus

ENDED = (MissionStatus.SUCCEEDED, MissionStatus.FAILED, MissionStatus.CANCELLED)


class Mission(models.Model):
    MOVES: ClassVar = {
        MissionStatus.APPROVED: frozenset({MissionStatus.RUNNING, MissionStatus.FAILED, MissionStatus.CANCELLED}),
        MissionStatus.RUNNING: frozenset(ENDED),
    }

    proposal = models.OneToOneField(Proposal, on_delete=models.PROTECT, related_name="mission")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="missions")
    kind = models.CharField(max_length=12, choices=MissionKind)
    status = models.CharField(max_length=10, choices=MissionStatus, default=MissionStatus.APPROVED)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="mission_finished_iff_ended",
                condition=Q(status__in=ENDED, finished_at__isnull=False)
                | (~Q(status__in=ENDED) & Q(finished_at__isnull=True)),
            )
        ]
        indexes: ClassVar = [models.Index(name="mission_status_newest", fields=["status", "-created_at", "-id"])]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} mission #{self.pk}"

    @property
    def subject(self) -> str:
        return f"mission:{self.pk}"


class Outcome(models.Model):
    """How a mission ended, and what it earned where it earned something; learning starts here."""

    mission = models.OneToOneField(Mission, on_delete=models.PROTECT, related_name="outcome")
    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="outcomes")
    kind = models.CharField(max_length=12, choices=MissionKind)
    succeeded = models.BooleanField()
    code = models.CharField(max_length=60, blank=True)
    pnl_usd = models.DecimalField(max_digits=20, decimal_places=6, null=True, blank=True)
    details = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    by_person = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Asked for by a person in the agent's name, or sold what only persons had bought.",
    )
    at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(name="outcome_agent_newest", fields=["agent", "-at"])]

    def __str__(self) -> str:
        return f"Outcome of mission #{self.mission_id}"
