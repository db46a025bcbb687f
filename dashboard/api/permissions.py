"""Who may do what by program: a view names the scope of each method, a person's permissions say which they hold.

A token never does more than its person may by now: a reviewer who left takes the rights of their tokens along.
"""

from typing import TYPE_CHECKING

from django.contrib.auth.models import User
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from dashboard.models import ApiToken, Scope

if TYPE_CHECKING:  # the framework's views import this module while they are being made
    from rest_framework.views import APIView

PERMISSION_OF_SCOPE = {
    Scope.READ: "missions.view_proposal",
    Scope.PROPOSE: "missions.add_proposal",
    Scope.REVIEW: "missions.change_proposal",
    Scope.OPERATE: "missions.change_company",
}


def scopes_of(request: Request) -> frozenset[str]:
    """The scopes that this request holds: its person's, cut to its token's where it came with one."""
    held = frozenset(
        scope.value for scope, permission in PERMISSION_OF_SCOPE.items() if request.user.has_perm(permission)
    )
    return held & frozenset(request.auth.scopes) if isinstance(request.auth, ApiToken) else held


def person(request: Request) -> User:
    """Who asks. Permissions let nobody else in."""
    assert isinstance(request.user, User)
    return request.user


class HasScope(BasePermission):
    """Allow where one of the scopes that the view declares for the method is held.

    A view says `scopes = {"GET": ("read",), "POST": ("propose",)}`. A method that a view serves without
    declaring a scope is denied.
    """

    code = "scope_missing"

    def __init__(self) -> None:
        self.message = "You may not do this."

    def has_permission(self, request: Request, view: "APIView") -> bool:
        if not request.user.is_authenticated:
            return False
        method = "GET" if request.method == "HEAD" else str(request.method)
        wanted: tuple[str, ...] | None = getattr(view, "scopes", {}).get(method)
        if wanted is None:
            return method not in view.allowed_methods  # a method that isn't served is answered 405
        held = scopes_of(request)
        self.message = f"This needs the scope {' or '.join(wanted)}; you hold {', '.join(sorted(held)) or 'none'}."
        return not held.isdisjoint(wanted)
