"""Who is asking: a bearer token, or the session of a staff member with CSRF enforced.

What they may do is permissions' affair. The tokens themselves are `dashboard.models.ApiToken`.
"""

from datetime import timedelta

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Q
from django.db.models.functions import Now
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from dashboard.models import ApiToken, digest_of

LAST_USE_RESOLUTION = timedelta(minutes=1)  # a busy token isn't a row that every request waits to write


def token_of(secret: str) -> ApiToken | None:
    """The working token of this secret with its active user, noting its use; None where there is none."""
    token = (
        ApiToken.objects.filter(digest=digest_of(secret), revoked_at__isnull=True, user__is_active=True)
        .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=Now()))
        .select_related("user")
        .first()
    )
    if token is not None:
        ApiToken.objects.filter(
            Q(last_used_at__isnull=True) | Q(last_used_at__lt=Now() - LAST_USE_RESOLUTION), pk=token.pk
        ).update(last_used_at=Now())
    return token


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <token>`."""

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, ApiToken] | None:
        kind, _, secret = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        token = token_of(secret.strip())
        if token is None:
            raise AuthenticationFailed("This token is unknown, expired or revoked.", code="token_invalid")
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="tradeco"'


class StaffSessionAuthentication(SessionAuthentication):
    """The session cookie of a staff member; writing asks for the CSRF token."""

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, None] | None:
        found = super().authenticate(request)
        if found is None or not found[0].is_staff:
            return None
        user: AbstractBaseUser = found[0]
        return user, None
