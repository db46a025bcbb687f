"""A step: the unit of work, and the queue itself."""

from typing import ClassVar, Self

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from missions.models.mission import Mission
from missions.vocabulary import StepKind, StepStatus

FINAL = (StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.CANCELLED)
HELD = (StepStatus.CLAIMED, StepStatus.EXECUTING)


class StepQuerySet(models.QuerySet["Step"]):
    def runnable(self) -> Self:
        """Queued steps whose predecessor is done; whether their time has come is the claim's affair."""
        return self.filter(status=StepStatus.QUEUED, blocked_by__isnull=True)

    def in_doubt(self) -> Self:
        return self.filter(status=StepStatus.NEEDS_RECONCILIATION)


class Step(models.Model):
    """States and moves:

        queued ──claim──▶ claimed ──begin──▶ executing ──▶ succeeded | failed
          ▲                  │                   │ │ └────▶ needs_reconciliation ──▶ succeeded | failed | queued
          └── lease lost ────┘                   │ └──park──▶ executing, held by nobody until `run_after`
          └── retryable, and nothing can have been sent ──┘
    A queued step may be cancelled. `token` fences: whoever claimed the step last has it, and every later write
    names it.
    """

    MOVES: ClassVar = {
        StepStatus.QUEUED: frozenset({StepStatus.CLAIMED, StepStatus.CANCELLED}),
        StepStatus.CLAIMED: frozenset({StepStatus.EXECUTING, StepStatus.QUEUED}),
        StepStatus.EXECUTING: frozenset(
            {
                StepStatus.SUCCEEDED,
                StepStatus.FAILED,
                StepStatus.CANCELLED,
                StepStatus.QUEUED,
                StepStatus.NEEDS_RECONCILIATION,
            }
        ),
        StepStatus.NEEDS_RECONCILIATION: frozenset({StepStatus.SUCCEEDED, StepStatus.FAILED, StepStatus.QUEUED}),
    }

    mission = models.ForeignKey(Mission, on_delete=models.PROTECT, related_name="steps")
    place = models.PositiveSmallIntegerField(help_text="Order inside the mission, from 1")
    kind = models.CharField(max_length=20, choices=StepKind)
    params = models.JSONField(default=dict)
    priority = models.SmallIntegerField(default=100, help_text="Lower goes first")
    status = models.CharField(max_length=20, choices=StepStatus, default=StepStatus.QUEUED)
    blocked_by = models.ForeignKey("self", on_delete=models.PROTECT, null=True, blank=True, related_name="blocks")
    run_after = models.DateTimeField()

    token = models.UUIDField(null=True, blank=True, help_text="Names the claim that holds it")
    worker = models.CharField(max_length=120, blank=True)
    lease_expires_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Tries that failed or were lost")
    attempts_max = models.PositiveSmallIntegerField()

    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    sent = models.BooleanField(
        default=False, db_default=False, help_text="Something left for outside in its name: its caps stay spent"
    )
    result = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    code = models.CharField(max_length=60, blank=True)
    reason = models.CharField(max_length=500, blank=True)

    objects = StepQuerySet.as_manager()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="step_place_once_per_mission", fields=["mission", "place"]),
            models.CheckConstraint(
                name="step_finished_iff_final",
                condition=Q(status__in=FINAL, finished_at__isnull=False)
                | (~Q(status__in=FINAL) & Q(finished_at__isnull=True)),
            ),
            models.CheckConstraint(
                name="step_lease_iff_token",
                condition=Q(token__isnull=True, lease_expires_at__isnull=True)
                | Q(token__isnull=False, lease_expires_at__isnull=False),
            ),
            models.CheckConstraint(
                name="step_held_only_while_in_work", condition=Q(token__isnull=True) | Q(status__in=HELD)
            ),
            models.CheckConstraint(
                name="step_claimed_by_someone",
                condition=~Q(status=StepStatus.CLAIMED) | Q(token__isnull=False),
            ),
        ]
        indexes: ClassVar = [
            # claims.claim_next: the queue in its order
            models.Index(
                name="step_queue",
                fields=["priority", "run_after", "id"],
                condition=Q(status="queued", blocked_by__isnull=True),
            ),
            # claims.claim_next: steps that wait for their next visit
            models.Index(
                name="step_parked",
                fields=["run_after", "id"],
                condition=Q(status="executing", token__isnull=True),
            ),
            # rescue: whose lease runs out first
            models.Index(name="step_leased", fields=["lease_expires_at"], condition=Q(token__isnull=False)),
            # lists by status and kind
            models.Index(name="step_status_kind_priority", fields=["status", "kind", "priority", "-id"]),
            models.Index(name="step_in_doubt", fields=["id"], condition=Q(status="needs_reconciliation")),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} (step #{self.pk})"

    @property
    def subject(self) -> str:
        return f"step:{self.pk}"
