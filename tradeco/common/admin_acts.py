"""Acts of staff: each a page of its own that explains, asks for a reason, and calls one domain operation.

Who may act is a permission, what the act does is the operation's affair; an expected refusal becomes a message.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.views.decorators.http import require_http_methods

from tradeco.common import db
from tradeco.common.admin_base import Button, DeskAdmin
from tradeco.common.errors import DomainError

REASON_MOST = 500  # what the rows that keep reasons have room for


@dataclass(frozen=True, slots=True)
class Said:
    """What became of an act, as a message of a level (`messages.SUCCESS` …)."""

    level: int
    text: str


Operation = Callable[[HttpRequest, Any, str], Said]
"""Carries an act out on a row, with the reason that was given."""


@dataclass(frozen=True, slots=True)
class Act:
    """One button. `offered` says for which rows it makes sense; the operation itself judges again."""

    slug: str
    label: str
    explains: str
    permission: str
    operation: Operation
    offered: Callable[[Any], bool]
    grave: bool = False


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=REASON_MOST,
        widget=forms.Textarea(attrs={"rows": 4, "cols": 60, "autofocus": True}),
        help_text="Kept with the decision. Say what the next reader must know.",
    )


class ActsAdmin(DeskAdmin):
    """An admin whose rows are acted upon. The row's page shows the acts that are offered and permitted."""

    acts: ClassVar[Sequence[Act]] = ()

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}"
        own = [
            path(
                f"<path:object_id>/{act.slug}/",
                self.admin_site.admin_view(partial(self.act_view, act=act)),
                name=f"{name}_{act.slug}",
            )
            for act in self.acts
        ]
        return own + super().get_urls()

    def get_buttons(self, request: HttpRequest, row: Any) -> list[Button]:
        return [
            Button(label=act.label, url=self.act_url(act, row), grave=act.grave)
            for act in self.acts
            if act.offered(row) and request.user.has_perm(act.permission)
        ]

    def act_url(self, act: Act, row: Any) -> str:
        name = f"{self.opts.app_label}_{self.opts.model_name}_{act.slug}"
        return reverse(f"{self.admin_site.name}:{name}", args=[quote(row.pk)])

    def act_view(self, request: HttpRequest, object_id: str, *, act: Act) -> HttpResponse:
        """Ask for the reason (GET), then act (POST) and go back to the row with what became of it."""
        return _act_view(request, self, object_id, act)


@require_http_methods(["GET", "HEAD", "POST"])
def _act_view(request: HttpRequest, desk: ActsAdmin, object_id: str, act: Act) -> HttpResponse:
    if not (desk.has_view_permission(request) and request.user.has_perm(act.permission)):
        raise PermissionDenied
    row = desk.get_object(request, unquote(object_id))
    if row is None:
        raise Http404("There is no such row.")
    form = ReasonForm(request.POST if request.method == "POST" else None)
    back = reverse(
        f"{desk.admin_site.name}:{desk.opts.app_label}_{desk.opts.model_name}_change",
        args=[quote(row.pk)],
    )
    if form.is_valid():
        said = carry_out(partial(act.operation, request, row, form.cleaned_data["reason"]))
        messages.add_message(request, said.level, said.text)
        if said.level < messages.ERROR:
            desk.log_change(request, row, f"{act.label}: {form.cleaned_data['reason']}")
        return HttpResponseRedirect(back)
    return TemplateResponse(
        request,
        "admin/act.html",
        {
            **desk.admin_site.each_context(request),
            "opts": desk.opts,
            "title": f"{act.label}: {row}",
            "row": row,
            "act": act,
            "form": form,
            "back": back,
            "offered": act.offered(row),
        },
    )


def carry_out(operation: Callable[[], Said]) -> Said:
    """Run an operation, patiently where others are in its way; an expected refusal is said, not raised."""
    try:
        said: Said = db.patiently(operation)
    except DomainError as refused:
        return Said(messages.ERROR, refusal(refused))
    except OperationalError as error:
        if not db.is_contention(error):
            raise
        return Said(messages.ERROR, "Others are changing this right now; nothing was done. Try again.")
    return said


def refusal(refused: DomainError) -> str:
    """A refusal in words: what it is, then what this one is about."""
    if refused.detail == refused.title:
        return f"{refused.title}."
    return f"{refused.title}. {refused.detail}"
