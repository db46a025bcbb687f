"""Many proposals decided at once: a preview that lists them and asks one reason, then each by the usual operation.

Each decision is a transaction of its own, so one refusal leaves the others standing; what became of them is counted.
"""

from collections import Counter
from functools import partial
from typing import Any

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from missions.models import Proposal
from missions.vocabulary import ProposalStatus
from tradeco.common.admin_acts import Act, ReasonForm, carry_out
from tradeco.common.admin_base import DeskAdmin

MANY_MOST = 100  # decisions in one request; nobody reads more in one preview


def preview(
    request: HttpRequest, desk: DeskAdmin, chosen: QuerySet[Proposal], act: Act, *, post_to: str
) -> TemplateResponse | None:
    """List what would be decided; rows that are decided already are left out and counted."""
    pending = list(chosen.filter(status=ProposalStatus.PENDING)[: MANY_MOST + 1])
    if len(pending) > MANY_MOST:
        desk.message_user(request, f"Choose at most {MANY_MOST}: nobody reads more than that at once.", messages.ERROR)
        return None
    if not pending:
        desk.message_user(request, "All of these are decided already.", messages.WARNING)
        return None
    return _page(request, desk, pending, ReasonForm(), act, post_to=post_to)


@require_POST
def decide(request: HttpRequest, desk: DeskAdmin, act: Act, *, post_to: str) -> HttpResponse:
    """Decide on the proposals of a preview, with one reason for all."""
    if not (desk.has_view_permission(request) and request.user.has_perm(act.permission)):
        raise PermissionDenied
    named = _ids(request)
    by_id = Proposal.objects.in_bulk(named)
    rows = [by_id[key] for key in named if key in by_id]
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _page(request, desk, rows, form, act, post_to=post_to)
    counts: Counter[tuple[int, str]] = Counter()
    for row in rows:
        said = carry_out(partial(act.operation, request, row, form.cleaned_data["reason"]))
        if said.level < messages.ERROR:
            desk.log_change(request, row, f"{act.label}: {form.cleaned_data['reason']}")
        counts[_outcome(act, row, said.level)] += 1
    for (level, words), count in sorted(counts.items()):
        desk.message_user(request, f"{count} {words}", level)
    return HttpResponseRedirect(reverse(f"{desk.admin_site.name}:missions_proposal_changelist"))


def _outcome(act: Act, row: Proposal, level: int) -> tuple[int, str]:
    """What became of one, as its level and the words that are counted."""
    if level == messages.SUCCESS:
        return level, "approved." if act.slug == "approve" else "rejected."
    if level == messages.WARNING:
        return level, "refused by a gate or a cap by now; the column “why” says which."
    if level == messages.INFO:
        return level, "wait for another person; your yes is recorded."
    now_is = Proposal.objects.only("status").get(pk=row.pk)
    if now_is.status != ProposalStatus.PENDING:
        return messages.WARNING, "decided already by someone else."
    return messages.ERROR, "not decided: expired, your own, or approved by you before; open each to see."


def _ids(request: HttpRequest) -> list[int]:
    given = request.POST.getlist("proposal")
    if not given or len(given) > MANY_MOST or not all(key.isdecimal() and len(key) < 19 for key in given):
        raise BadRequest("Name the proposals by their numbers, at most a hundred of them.")
    return list(dict.fromkeys(int(key) for key in given))


def _page(
    request: HttpRequest,
    desk: DeskAdmin,
    rows: list[Proposal],
    form: ReasonForm,
    act: Act,
    *,
    post_to: str,
) -> TemplateResponse:
    context: dict[str, Any] = {
        **desk.admin_site.each_context(request),
        "opts": desk.opts,
        "title": f"{act.label} {len(rows)} proposal{'s' if len(rows) != 1 else ''}",
        "rows": rows,
        "total": sum(row.value_usd for row in rows),
        "act": act,
        "form": form,
        "post_to": post_to,
        "back": reverse(f"{desk.admin_site.name}:missions_proposal_changelist"),
    }
    return TemplateResponse(request, "admin/missions/proposal/many.html", context)
