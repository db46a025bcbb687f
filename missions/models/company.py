"""The company's own state, and the caps that it spends."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from missions.vocabulary import CapKey, CompanyStatus


class Company(models.Model):
    """One row: whether new risk may be taken, since when and why."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    status = models.CharField(max_length=10, choices=CompanyStatus, default=CompanyStatus.ACTIVE)
    policy_set = models.CharField(max_length=20)
    reason = models.CharField(max_length=500)
    changed_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True)
    changed_at = models.DateTimeField()
    opened_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "company"
        constraints: ClassVar = [models.CheckConstraint(name="company_is_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"tradeco, {self.status}"


class CapUse(models.Model):
    """How much of a daily cap is spent. A counter that a conditional upsert raises, never a count of rows."""

    cap = models.CharField(max_length=30, choices=CapKey)
    day = models.DateField(help_text="UTC")
    used = models.IntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="cap_once_per_day", fields=["cap", "day"]),
            models.CheckConstraint(name="cap_use_is_not_negative", condition=Q(used__gte=0)),
        ]

    def __str__(self) -> str:
        return f"{self.cap} {self.day}: {self.used}"


class CapCharge(models.Model):
    """What a mission spent of a cap, charged to its UTC day; returned at most once."""

    mission = models.ForeignKey("missions.Mission", on_delete=models.PROTECT, related_name="charges")
    cap = models.CharField(max_length=30, choices=CapKey)
    day = models.DateField(help_text="UTC day that was charged, and is given back to")
    amount = models.PositiveSmallIntegerField()
    charged_at = models.DateTimeField()
    returned_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="charge_once_per_mission_and_cap", fields=["mission", "cap"]),
            models.CheckConstraint(
                name="charge_returned_after_charged",
                condition=Q(returned_at__isnull=True) | Q(returned_at__gte=F("charged_at")),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.amount} of {self.cap} on {self.day}"
