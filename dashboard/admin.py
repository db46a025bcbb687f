"""Tokens and idempotency keys on the staff's desk. A token's secret is shown once, at its making, and its digest
never.

The doorbell's own tables (django-q2) are taken off the desk: steps are the queue. Deleting its schedule would
silence the heartbeat, and "resubmit" looks like repeating work. Beats and pulses say whether the doorbell rings.
"""

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django_q.models import Failure, OrmQ, Schedule, Success

from dashboard.models import ApiToken, IdempotencyKey, Scope
from tradeco.common import admin_show as show
from tradeco.common import db
from tradeco.common.admin_base import ReadOnlyAdmin

for noise in (Failure, OrmQ, Schedule, Success):
    if admin.site.is_registered(noise):
        admin.site.unregister(noise)


class TokenForm(forms.Form):
    """Whose token, what for, and until when. Only a superuser makes tokens for others."""

    user: Any = forms.ModelChoiceField(queryset=None, help_text="Staff whose rights bound the token's")
    name = forms.CharField(max_length=80, help_text="What uses it, such as: nightly report")
    scopes = forms.MultipleChoiceField(choices=Scope.choices, widget=forms.CheckboxSelectMultiple)
    days = forms.IntegerField(
        min_value=1, max_value=3650, initial=90, required=False, help_text="Days until it expires; empty means never"
    )

    def __init__(self, *args: Any, asked_by: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        people = get_user_model().objects.filter(is_active=True, is_staff=True)
        field: Any = self.fields["user"]
        field.queryset = people if asked_by.is_superuser else people.filter(pk=asked_by.pk)
        field.initial = asked_by.pk


class WorksFilter(admin.SimpleListFilter):
    title = "works"
    parameter_name = "works"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "Works"), ("no", "Expired or revoked")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> QuerySet[ApiToken]:
        ended = Q(revoked_at__isnull=False) | Q(expires_at__lte=db.now())
        match self.value():
            case "yes":
                return queryset.exclude(ended)
            case "no":
                return queryset.filter(ended)
        return queryset


@admin.register(ApiToken)
class ApiTokenAdmin(ReadOnlyAdmin):
    list_display = ("name", "prefix", "user", "scopes_shown", "created_at", "expires_at", "last_used_at", "revoked_at")
    list_filter = (WorksFilter,)
    list_select_related = ("user",)
    search_fields = ("name", "prefix", "user__username")
    search_help_text = "Name, beginning of the secret, or user"
    ordering = ("-id",)
    fields = ("name", "prefix", "user", "scopes_shown", "created_at", "expires_at", "last_used_at", "revoked_at")
    actions = ("revoke",)

    @admin.display(description="scopes")
    def scopes_shown(self, token: ApiToken) -> str:
        return ", ".join(token.scopes) or show.NOTHING

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dashboard.add_apitoken")

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("dashboard.change_apitoken")

    @admin.action(description="Revoke selected tokens", permissions=["revoke"])
    def revoke(self, request: HttpRequest, queryset: QuerySet[ApiToken]) -> None:
        chosen = list(queryset.filter(revoked_at__isnull=True))
        now = db.now()
        revoked = sum(token.revoke(now=now) for token in chosen)
        for token in chosen:
            self.log_change(request, token, "Revoked")
        self.message_user(request, f"{revoked} revoked; they open nothing from now on.", messages.SUCCESS)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Make a token and show its secret in this one answer: it is stored in no session, cookie or row."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = TokenForm(request.POST if request.method == "POST" else None, asked_by=request.user)
        if form.is_valid():
            token, secret = self._issue(request, form.cleaned_data)
            messages.success(request, f"This is the secret of “{token.name}”. Copy it now: it is never shown again.")
            return self._page(request, "issued", "Token made", {"token": token, "secret": secret})
        return self._page(request, "new", "New token", {"form": form})

    def _issue(self, request: HttpRequest, given: dict[str, Any]) -> tuple[ApiToken, str]:
        now = db.now()
        token, secret = ApiToken.issue(
            user=given["user"],
            name=given["name"],
            scopes=given["scopes"],
            now=now,
            expires_at=now + timedelta(days=given["days"]) if given["days"] else None,
        )
        self.log_addition(request, token, f"Issued with scopes {', '.join(token.scopes)}")
        return token, secret

    def _page(self, request: HttpRequest, name: str, title: str, context: dict[str, Any]) -> TemplateResponse:
        return TemplateResponse(
            request,
            f"admin/dashboard/apitoken/{name}.html",
            {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context},
        )


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    list_display = ("key", "user", "status", "created_at")
    list_filter = ("status", "created_at")
    list_select_related = ("user",)
    search_fields = ("key__exact",)
    search_help_text = "A key, whole"
    ordering = ("-id",)
    fields = ("key", "user", "status", "created_at", "fingerprint", "body_shown")

    body_shown = show.json_of("body")
