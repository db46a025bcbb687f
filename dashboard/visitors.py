"""Who may watch: staff by their session, programs by their token.

The page, the websocket and the health pages ask here; deciding and operating have rights of their own. Every
answer is fresh from the database, so that a revoked token or a locked user is turned away at the next question.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from importlib import import_module

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AbstractUser
from django.http import HttpRequest

from dashboard.models import ApiToken, Scope, digest_of

MAY_WATCH = "missions.view_proposal"  # what the group of viewers has, and every other with it


class Answer(Enum):
    WELCOME = "welcome"
    UNKNOWN = "unknown"  # no session, no token, or one that has ended
    NO_RIGHT = "no_right"


@dataclass(frozen=True, slots=True)
class Visitor:
    """What somebody shows at the door: the digest of a token, or the key of a session."""

    token_digest: str = ""
    session_key: str = ""

    @classmethod
    def showing(cls, *, authorization: str = "", session_key: str = "") -> "Visitor":
        """Read an Authorization header, else a session cookie. A header that says nothing useful wins too."""
        if not authorization:
            return cls(session_key=session_key)
        scheme, _, secret = authorization.partition(" ")
        return cls(token_digest=digest_of(secret.strip()) if scheme.lower() == "bearer" else "")

    @classmethod
    def of(cls, request: HttpRequest) -> "Visitor":
        return cls.showing(
            authorization=request.headers.get("Authorization", ""),
            session_key=request.COOKIES.get(settings.SESSION_COOKIE_NAME, ""),
        )

    @property
    def shows_something(self) -> bool:
        return bool(self.token_digest or self.session_key)


def ask(visitor: Visitor, *, now: datetime) -> Answer:
    """Whether this visitor may watch, as of now."""
    if visitor.token_digest:
        return _by_token(visitor.token_digest, now=now)
    if visitor.session_key:
        return _by_session(visitor.session_key)
    return Answer.UNKNOWN


def may_watch(user: object) -> bool:
    """Whether a logged-in user is staff with the right to look."""
    return isinstance(user, AbstractUser) and user.is_active and user.is_staff and user.has_perm(MAY_WATCH)


def _by_token(digest: str, *, now: datetime) -> Answer:
    token = ApiToken.objects.select_related("user").filter(digest=digest).first()
    if token is None or not token.works(now=now) or not token.user.is_active:
        return Answer.UNKNOWN
    return Answer.WELCOME if Scope.READ in token.scopes and token.user.has_perm(MAY_WATCH) else Answer.NO_RIGHT


def _by_session(key: str) -> Answer:
    """Ask Django itself, so that expiry, a changed password and a locked user count."""
    request = HttpRequest()
    request.session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    user = get_user(request)
    if not user.is_authenticated or not getattr(user, "is_staff", False):
        return Answer.UNKNOWN
    return Answer.WELCOME if may_watch(user) else Answer.NO_RIGHT
