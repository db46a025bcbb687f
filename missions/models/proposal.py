"""A proposal, what the gates said of it, and who approved it."""

from typing import ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import F, Q

from agents.models import Agent
from missions.vocabulary import ProposalSource, ProposalStatus


class Proposal(models.Model):
    MOVES: ClassVar = {
        ProposalStatus.PENDING: frozenset(
            {
                ProposalStatus.APPROVED,
                ProposalStatus.REJECTED,
                ProposalStatus.CANCELLED,
                ProposalStatus.EXPIRED,
            }
        ),
    }

    agent = models.ForeignKey(Agent, on_delete=models.PROTECT, related_name="proposals")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        help_text="The person who proposed, also when speaking for an agent",
    )
    source = models.CharField(max_length=12, choices=ProposalSource)
    cause = models.CharField(max_length=120, blank=True, help_text="What called for it; a cause has one proposal")
    protective = models.BooleanField(default=False, help_text="A protective exit: no vote, no entry cap")
    title = models.CharField(max_length=200)
    rationale = models.TextField(blank=True)
    steps = models.JSONField(help_text="Kind and typed parameters of each step")
    confidence = models.DecimalField(max_digits=4, decimal_places=3)
    forecast_probability = models.DecimalField(max_digits=4, decimal_places=3, null=True, blank=True)
    forecast_horizon_minutes = models.PositiveIntegerField(null=True, blank=True)
    value_usd = models.DecimalField(
        max_digits=20, decimal_places=2, default=0, help_text="What its trades move, in USD"
    )
    status = models.CharField(max_length=10, choices=ProposalStatus, default=ProposalStatus.PENDING)
    code = models.CharField(max_length=60, blank=True, help_text="Why it ended as it did, as a code")
    reason = models.CharField(max_length=500, blank=True)
    decided_by = models.CharField(max_length=160, blank=True, help_text="policy, vote, a gate, or the person's name")
    revision = models.BigIntegerField(help_text="Policy revision that judged it")
    seed = models.BigIntegerField(help_text="Seed of every roll of the dice about it")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True, blank=True)
    vote_by = models.DateTimeField(
        null=True, blank=True, help_text="A roundtable decides it until then; afterwards people do"
    )
    waits_for_people_since = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="proposal_once_per_cause", fields=["cause"], condition=~Q(cause="")),
            models.CheckConstraint(
                name="proposal_decided_iff_not_pending",
                condition=Q(status=ProposalStatus.PENDING, decided_at__isnull=True)
                | (~Q(status=ProposalStatus.PENDING) & Q(decided_at__isnull=False)),
            ),
            models.CheckConstraint(
                name="proposal_confidence_is_a_share", condition=Q(confidence__gte=0, confidence__lte=1)
            ),
            models.CheckConstraint(
                name="proposal_forecast_is_a_probability",
                condition=Q(forecast_probability__isnull=True)
                | Q(forecast_probability__gte=0, forecast_probability__lte=1),
            ),
        ]
        indexes: ClassVar = [
            # lists and triage: newest of a status
            models.Index(name="proposal_status_newest", fields=["status", "-created_at", "-id"]),
            # the desk: undecided first, then the latest decisions (descending puts nulls first)
            models.Index(name="proposal_desk", fields=["-decided_at"]),
            # heartbeat: what expires next
            models.Index(name="proposal_expiring", fields=["expires_at"], condition=Q(status="pending")),
            # heartbeat: votes that must come to an end
            models.Index(name="proposal_vote_due", fields=["vote_by"], condition=Q(status="pending")),
            models.Index(name="proposal_agent_newest", fields=["agent", "-id"]),
        ]

    def __str__(self) -> str:
        return f"{self.title} (#{self.pk})"

    @property
    def subject(self) -> str:
        return f"proposal:{self.pk}"


class Verdict(models.Model):
    """What one gate said, with the facts it judged by, so that a replay judges the same."""

    class Stage(models.TextChoices):
        SUBMISSION = "submission", "At submission"
        APPROVAL = "approval", "At approval"

    proposal = models.ForeignKey(Proposal, on_delete=models.CASCADE, related_name="verdicts")
    stage = models.CharField(max_length=10, choices=Stage)
    gate = models.CharField(max_length=60)
    allowed = models.BooleanField()
    code = models.CharField(max_length=60, blank=True)
    reason = models.CharField(max_length=500, blank=True)
    facts = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    revision = models.BigIntegerField(default=0, help_text="Policy revision that it was judged by")
    at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["id"]
        constraints: ClassVar = [
            models.CheckConstraint(name="verdict_refusal_has_a_code", condition=Q(allowed=True) | ~Q(code=""))
        ]

    def __str__(self) -> str:
        return f"{self.gate}: {'allowed' if self.allowed else self.code}"


class Approval(models.Model):
    """One person's yes. From the four-eyes threshold on a proposal needs two, neither of them its author."""

    proposal = models.ForeignKey(Proposal, on_delete=models.PROTECT, related_name="approvals")
    approver = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    four_eyes = models.BooleanField(help_text="Whether two people had to approve")
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    reason = models.CharField(max_length=500)
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="approval_once_per_person", fields=["proposal", "approver"]),
            models.CheckConstraint(
                name="approver_is_not_author_when_four_eyes",
                condition=Q(four_eyes=False) | Q(author__isnull=True) | ~Q(author=F("approver")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.approver} approved #{self.proposal_id}"
