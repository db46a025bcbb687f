"""Policies on the staff's desk: every version to be read, and a page that puts a new one in force.

A version never changes; what may stand in one, and who may say so alone, is `policies`' affair.
"""

import json
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Max, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from missions import policies, policy_keys, words
from missions.models import PolicyVersion
from missions.policy_keys import Policy
from tradeco.common import admin_show as show
from tradeco.common import db
from tradeco.common.admin_acts import ReasonForm, Said, carry_out
from tradeco.common.admin_base import Button, ReadOnlyAdmin, Rows

MAY_CHANGE = "missions.add_policyversion"
VALUE_MOST = 20_000  # characters; the longest policy, the reaction matrix, has some 1,000


class NewVersionForm(ReasonForm):
    value = forms.CharField(
        max_length=VALUE_MOST,
        label="New value (JSON)",
        widget=forms.Textarea(attrs={"rows": 6, "cols": 60, "spellcheck": "false", "autofocus": True}),
        help_text='Shares and money as decimal strings such as "0.30"; counts as plain numbers.',
    )
    field_order = ("value", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].widget.attrs.pop("autofocus", None)  # the value comes first here

    def clean_value(self) -> Any:
        try:
            value = json.loads(self.cleaned_data["value"], parse_constant=_no_such_number)
            written = json.dumps(value, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as exc:
            raise forms.ValidationError(f"This is not JSON that can be stored: {str(exc)[:200]}") from exc
        if b"\\u0000" in written:
            raise forms.ValidationError("The NUL character can't be stored.")
        return value


def _no_such_number(name: str) -> None:
    raise ValueError(f"{name} is not a number in JSON")


class InForceFilter(admin.SimpleListFilter):
    title = "in force"
    parameter_name = "in_force"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "In force now"), ("no", "Replaced")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[PolicyVersion]) -> QuerySet[PolicyVersion]:
        newest = PolicyVersion.objects.order_by().values("key").annotate(n=Max("revision")).values("n")
        match self.value():
            case "yes":
                return queryset.filter(revision__in=newest)
            case "no":
                return queryset.exclude(revision__in=newest)
        return queryset


def meaning(version: PolicyVersion) -> tuple[str, Rows]:
    """Unit, reason and opening values of the policy, and what this version changed."""
    rows: Rows = [
        ("Before", show.as_json(version.previous), None),
        ("From this version on", show.as_json(version.value), None),
    ]
    if version.key in Policy.model_fields:
        about = policy_keys.about(version.key)
        rows = [("Unit", about.unit, None), ("Why it is there", about.why, None), *rows]
    return "What it says", rows


@admin.register(PolicyVersion)
class PolicyVersionAdmin(ReadOnlyAdmin):
    list_display = ("revision", "key", "version", "value_short", "unit", "author", "reason", "created_at")
    list_display_links = ("revision", "key")
    list_filter = (InForceFilter, ("author", admin.RelatedOnlyFieldListFilter))
    list_select_related = ("author",)
    search_fields = ("key", "reason")
    search_help_text = "A key such as trades_per_day, or words of the reason"
    date_hierarchy = "created_at"
    ordering = ("-revision",)
    fields = ("revision", "key", "version", "author", "reason", "created_at")
    panels = (meaning,)

    @admin.display(description="value")
    def value_short(self, version: PolicyVersion) -> str:
        text = json.dumps(version.value, ensure_ascii=False)
        return text if len(text) <= 60 else f"{text[:60]}…"

    @admin.display(description="unit")
    def unit(self, version: PolicyVersion) -> str:
        known = version.key in Policy.model_fields
        return policy_keys.about(version.key).unit if known else show.NOTHING

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Adding is the one way to change: a new version, on a page of its own."""
        return request.user.has_perm(MAY_CHANGE)

    def get_buttons(self, request: HttpRequest, row: PolicyVersion) -> list[Button]:
        if not self.has_add_permission(request) or row.key not in Policy.model_fields:
            return []
        return [Button(label="New version", url=_new_version_url(row.key))]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        key = request.GET.get("key", "")
        if not key:
            return self._page(request, "choose", "Which policy?", {"policies": _all_policies()})
        if key not in Policy.model_fields:
            raise Http404("There is no such policy.")
        return self._new_version(request, key)

    def _new_version(self, request: HttpRequest, key: str) -> HttpResponse:
        """Show the policy as it stands and take its new value with a reason."""
        _, policy = policies.current()
        current = policy.model_dump(mode="json")[key]
        if request.method == "POST":
            form = NewVersionForm(request.POST)
            if form.is_valid() and self._changed(request, key, form):
                return HttpResponseRedirect(reverse(f"{self.admin_site.name}:missions_policyversion_changelist"))
        else:
            form = NewVersionForm(initial={"value": json.dumps(current, indent=2, ensure_ascii=False)})
        context = {
            "form": form,
            "key": key,
            "about": policy_keys.about(key),
            "current": show.as_json(current),
            "asked": _asked(key),
            "production": show.as_json(policy_keys.opening_values("production")[key]),
            "demo": show.as_json(policy_keys.opening_values("demo")[key]),
        }
        return self._page(request, "new_version", f"New version of {key}", context)

    def _changed(self, request: HttpRequest, key: str, form: NewVersionForm) -> bool:
        """Put the value in force; a refusal stands beside the form, so that nothing typed is lost."""
        said = carry_out(partial(self._change, request, key, form.cleaned_data))
        if said.level >= messages.ERROR:
            form.add_error("value", said.text)
            return False
        messages.add_message(request, said.level, said.text)
        return True

    def _change(self, request: HttpRequest, key: str, given: dict[str, Any]) -> Said:
        author: Any = request.user
        changed = policies.change(key=key, value=given["value"], author=author, reason=given["reason"], now=db.now())
        row = changed.version
        if row is None:
            return Said(messages.WARNING, words.still(changed.missing))
        self.log_addition(request, row, f"New version: {given['reason']}")
        before, after = (json.dumps(each, ensure_ascii=False)[:200] for each in (row.previous, row.value))
        return Said(messages.SUCCESS, f"Policy {key} goes from {before} to {after}, as revision {row.revision}.")

    def _page(self, request: HttpRequest, name: str, title: str, context: dict[str, Any]) -> TemplateResponse:
        return TemplateResponse(
            request,
            f"admin/missions/policyversion/{name}.html",
            {**self.admin_site.each_context(request), "opts": self.opts, "title": title, **context},
        )


def _asked(key: str) -> list[str]:
    """What some want of this policy whose words aren't enough yet."""
    standing = words.standing(subject=policies.subject_of(key), since=policies.changed_at(key), now=db.now())
    return [
        f"{word.person} asks for {json.dumps(word.asked['value'], ensure_ascii=False)}: {word.reason}"
        for word in standing
    ]


def _all_policies() -> list[dict[str, Any]]:
    _, policy = policies.current()
    values = policy.model_dump(mode="json")
    return [
        {
            "key": key,
            "value": json.dumps(values[key], ensure_ascii=False),
            "about": policy_keys.about(key),
            "url": _new_version_url(key),
        }
        for key in Policy.model_fields
    ]


def _new_version_url(key: str) -> str:
    return f"{reverse('admin:missions_policyversion_add')}?key={key}"
