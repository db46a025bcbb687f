"""What reconciliation found and can't explain: a person looks at it, says what it was, and settles it."""

from typing import ClassVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models import Q

from trading.models.ledger import Wallet
from trading.models.order import Attempt
from trading.vocabulary import FindingKind


class Finding(models.Model):
    """Evidence, never a repair. Open until a person settles it, or until the books and the chain agree again."""

    wallet = models.ForeignKey(Wallet, on_delete=models.PROTECT, related_name="findings")
    kind = models.CharField(max_length=20, choices=FindingKind)
    key = models.CharField(max_length=100, help_text="The signature, or the mint")
    what = models.CharField(max_length=300)
    evidence = models.JSONField(default=dict, encoder=DjangoJSONEncoder)
    opened_at = models.DateTimeField()
    settled_at = models.DateTimeField(null=True, blank=True)
    settled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, blank=True, related_name="+"
    )
    how = models.CharField(max_length=20, blank=True)
    reason = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="finding_open_once", fields=["wallet", "kind", "key"], condition=Q(settled_at__isnull=True)
            ),
            models.CheckConstraint(
                name="finding_settled_somehow",
                condition=Q(settled_at__isnull=True, how="") | (Q(settled_at__isnull=False) & ~Q(how="")),
            ),
        ]
        indexes: ClassVar = [
            models.Index(name="finding_open", fields=["-opened_at"], condition=Q(settled_at__isnull=True)),
            models.Index(name="finding_newest", fields=["-id"]),
        ]

    def __str__(self) -> str:
        return self.what

    @property
    def subject(self) -> str:
        return f"finding:{self.pk}"


class Agreement(models.Model):
    """One person's word that a doubt or a finding be settled in a certain way, where policy asks for several people."""

    attempt = models.ForeignKey(Attempt, on_delete=models.PROTECT, null=True, blank=True, related_name="agreements")
    finding = models.ForeignKey(Finding, on_delete=models.PROTECT, null=True, blank=True, related_name="agreements")
    verb = models.CharField(max_length=10)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    reason = models.CharField(max_length=500)
    deltas = models.JSONField(default=dict, blank=True, help_text="Raw amounts by mint that the word was about")
    at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="agreement_is_about_one_thing",
                condition=Q(attempt__isnull=False, finding__isnull=True)
                | Q(attempt__isnull=True, finding__isnull=False),
            ),
            models.UniqueConstraint(name="agreement_once_on_attempt", fields=["attempt", "verb", "person"]),
            models.UniqueConstraint(name="agreement_once_on_finding", fields=["finding", "verb", "person"]),
        ]

    def __str__(self) -> str:
        return f"{self.person} agreed to {self.verb}"
