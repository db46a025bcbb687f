"""Who may come in by program, and what was answered to a request that may come twice."""

import hashlib
import secrets
from datetime import datetime
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

PREFIX = "tco_"  # lets secret scanners recognise a token


class Scope(models.TextChoices):
    READ = "read", "Read"
    PROPOSE = "propose", "Propose"
    REVIEW = "review", "Approve and reject"
    OPERATE = "operate", "Halt, resume, change policy, beat"


class ApiToken(models.Model):
    """A hashed, prefixed, scoped, expiring token. The secret is shown once, at its making."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=80)
    prefix = models.CharField(max_length=12, unique=True, help_text="The beginning of the secret, to tell it by")
    digest = models.CharField(max_length=64, unique=True, help_text="SHA-256 of the secret")
    scopes = ArrayField(models.CharField(max_length=10, choices=Scope))
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    made_with = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, help_text="The token that made it, and takes it along"
    )

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @classmethod
    def issue(
        cls,
        *,
        user: models.Model,
        name: str,
        scopes: list[str],
        now: datetime,
        expires_at: datetime | None = None,
        made_with: "ApiToken | None" = None,
    ) -> "tuple[ApiToken, str]":
        """Make a token; the row and its secret, which is stored nowhere."""
        secret = PREFIX + secrets.token_urlsafe(32)  # 256 bits: a plain hash is enough, nothing to guess
        token = cls.objects.create(
            user_id=user.pk,
            name=name,
            prefix=secret[:12],
            digest=digest_of(secret),
            scopes=scopes,
            created_at=now,
            expires_at=expires_at,
            made_with=made_with,
        )
        return token, secret

    def revoke(self, *, now: datetime) -> int:
        """End this token and all that were made with it; how many ended."""
        ended, family = 0, [self.pk]
        while family:
            rows = ApiToken.objects.filter(pk__in=family, revoked_at__isnull=True)
            ended += rows.update(revoked_at=now)
            family = list(ApiToken.objects.filter(made_with__in=family).values_list("pk", flat=True))
        return ended

    def works(self, *, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


class IdempotencyKey(models.Model):
    """What a POST of this key did: written in the transaction in which it acted, so both stand or neither."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64, help_text="SHA-256 of method, path and body")
    status = models.PositiveSmallIntegerField()
    body = models.JSONField()
    created_at = models.DateTimeField()

    class Meta:
        constraints: ClassVar = [models.UniqueConstraint(name="idempotency_key_once_per_user", fields=["user", "key"])]
        indexes: ClassVar = [models.Index(name="idempotency_key_age", fields=["created_at"])]

    def __str__(self) -> str:
        return self.key
