"""Policies as versions: a change is a new row, and a proposal names the revision that judged it."""

from typing import ClassVar

import pgtrigger
from django.conf import settings
from django.db import models


class PolicyVersion(models.Model):
    """One version of one policy. `revision` numbers the versions of all keys in the order they took force."""

    revision = models.BigIntegerField(primary_key=True)
    key = models.CharField(max_length=60)
    version = models.PositiveIntegerField()
    value = models.JSONField(null=True, help_text="null where the policy's type allows none")
    previous = models.JSONField(null=True)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True)
    reason = models.CharField(max_length=500)
    created_at = models.DateTimeField()

    class Meta:
        ordering: ClassVar = ["-revision"]
        constraints: ClassVar = [models.UniqueConstraint(name="policy_version_once_per_key", fields=["key", "version"])]
        indexes: ClassVar = [models.Index(name="policy_newest_of_key", fields=["key", "-revision"])]
        triggers: ClassVar = [pgtrigger.Protect(name="immutable", operation=pgtrigger.Update | pgtrigger.Delete)]

    def __str__(self) -> str:
        return f"{self.key} v{self.version}"
