"""API tokens: one's own, and all of them for an operator. The secret is shown once and stored nowhere."""

from datetime import datetime, timedelta
from typing import Annotated, ClassVar

from django.db.models import Q, QuerySet
from pydantic import Field
from rest_framework import status
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.endpoint import Endpoint, Operation, one
from dashboard.api.idempotency import Answer, once
from dashboard.api.permissions import person, scopes_of
from dashboard.api.shapes import Body, ListQuery, Moment, Shape, read_body
from dashboard.models import ApiToken, Scope
from tradeco.common import db

DAYS_DEFAULT = 90  # a token that nobody renews ends by itself


class TokenShape(Shape):
    id: int
    name: str
    user: str
    prefix: Annotated[str, Field(description="The beginning of the secret, to tell it by")]
    scopes: list[Scope]
    created_at: Moment
    expires_at: Moment | None
    last_used_at: Moment | None
    revoked_at: Moment | None

    @classmethod
    def of(cls, row: ApiToken) -> "TokenShape":
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in TokenShape.model_fields if name != "user"},
                "user": row.user.get_username(),
            }
        )


class NewTokenShape(TokenShape):
    secret: Annotated[str | None, Field(description="Shown once; null in a replayed answer")]


class NewToken(Body):
    name: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]*\S[^\x00-\x1f]*$")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    expires_in_days: Annotated[int | None, Field(strict=True, ge=1, le=3650, description="null: never")] = DAYS_DEFAULT


class Tokens(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="Your tokens; an operator sees all",
            scope=("read",),
            answer=TokenShape,
            listed=True,
            query=ListQuery,
        ),
        "POST": Operation(
            summary="Make a token that may and lasts no more than what it is made with",
            scope=("read",),
            answer=NewTokenShape,
            status=201,
            body=NewToken,
            acts=True,
        ),
    }

    def get(self, request: Request) -> Response:
        return self.page(_visible(request), TokenShape)

    def post(self, request: Request) -> Response:
        wanted = read_body(NewToken, request)
        missing = {scope.value for scope in wanted.scopes} - scopes_of(request)
        if missing:
            raise PermissionDenied(f"You can't grant what you don't hold: {', '.join(sorted(missing))}.")

        made_with = request.auth if isinstance(request.auth, ApiToken) else None

        def act(now: datetime) -> Answer:
            row, secret = ApiToken.issue(
                user=person(request),
                name=wanted.name,
                scopes=sorted({scope.value for scope in wanted.scopes}),
                now=now,
                expires_at=_end(
                    wanted.expires_in_days,
                    made_with=made_with,
                    now=now,
                ),
                made_with=made_with,
            )
            told = TokenShape.of(row).as_json()
            return Answer({**told, "secret": secret}, status=201, stored={**told, "secret": None})  # nosec B105

        return once(request, act)


class OneToken(Endpoint):
    operations: ClassVar = {
        "DELETE": Operation(summary="Revoke a token; again changes nothing", scope=("read",), answer=None, status=204)
    }

    def delete(self, request: Request, id: int) -> Response:
        token = one(_visible(request), pk=id)
        if not set(token.scopes) <= scopes_of(request):
            raise PermissionDenied("You can't revoke a token that may more than what you came with.")
        token.revoke(now=db.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


def _visible(request: Request) -> QuerySet[ApiToken]:
    mine = Q() if Scope.OPERATE in scopes_of(request) else Q(user_id=request.user.pk)
    return ApiToken.objects.filter(mine).select_related("user")


def _end(days: int | None, *, made_with: ApiToken | None, now: datetime) -> datetime | None:
    """When the new token ends: as asked, but not after the one that it is made with."""
    ends = [now + timedelta(days=days)] if days is not None else []
    if made_with is not None and made_with.expires_at is not None:
        ends.append(made_with.expires_at)
    return min(ends, default=None)
