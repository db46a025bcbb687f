"""Words: what several people must say before it happens."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q


class Word(models.Model):
    """One person's yes to one exact act. `words` says how long it counts; the act uses it up."""

    subject = models.CharField(max_length=80, help_text="What would change: company, policy:<key>, portfolio")
    digest = models.CharField(max_length=64, help_text="SHA-256 of what is asked")
    asked = models.JSONField(help_text="What is asked of it")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True, help_text="When enough had said so and it happened")

    class Meta:
        ordering: ClassVar = ["-id"]
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="word_once_per_act_and_person",
                fields=["subject", "digest", "person"],
                condition=Q(used_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        return f"{self.person} on {self.subject}"
