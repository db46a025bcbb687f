"""The first page, its panels alone, and the company's switch. What they show is read by `queries`."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from urllib.parse import urlencode

import django.db
import structlog
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import AbstractUser
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render, resolve_url
from django.templatetags.static import static
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods

from agents.models import Agent
from dashboard import panels, sentences, visitors
from missions import company as company_switch
from missions.models import Company
from missions.vocabulary import CompanyStatus
from missions.words import still
from tradeco.common import db, events
from tradeco.common.errors import DomainError

log = structlog.get_logger(__name__)

MAY_SWITCH = "missions.change_company"
REASON_MAX = 500

View = Callable[..., HttpResponse]


def for_watchers(view: View) -> View:
    """Staff who may watch get the view; others the log-in or a 403; all get a word while the database is away."""

    @never_cache
    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            if not (request.user.is_authenticated and getattr(request.user, "is_staff", False)):
                return _to_login(request)
            if not visitors.may_watch(request.user):
                raise PermissionDenied
            return view(request, *args, **kwargs)
        except django.db.OperationalError:
            log.warning("A page can't be shown: the database is away.", action="page_without_database")
            answer = render(request, "dashboard/away.html", status=503)
            answer["Retry-After"] = "5"
            return answer

    return guarded


def _to_login(request: HttpRequest) -> HttpResponse:
    """Pages lead to the log-in; a fragment that a script fetches says 401."""
    if request.headers.get("X-Fragment"):
        return HttpResponse("Log in.", status=401, content_type="text/plain")
    return redirect(f"{resolve_url(settings.LOGIN_URL)}?{urlencode({'next': request.get_full_path()})}")


@require_GET
def favicon(request: HttpRequest) -> HttpResponse:
    """Browsers ask for it on every page, whatever the page says."""
    return redirect(static("dashboard/mark.svg"))


@require_GET
@for_watchers
def desk(request: HttpRequest) -> HttpResponse:
    """The page: every panel rendered, and the id of the last event that it knows, for the browser to go on from."""
    now = db.now()
    events.number_new()
    last = events.newest_number()  # before the panels read: what comes meanwhile arrives by the socket again
    rendered = {name: panels.render(panel, request=request, now=now) for name, panel in panels.PANELS.items()}
    return render(request, "dashboard/desk.html", {"panels": rendered, "now": now, "last": last})


@require_GET
@for_watchers
def panel(request: HttpRequest, name: str) -> HttpResponse:
    """One panel alone; 500 with its box where it fails."""
    if name not in panels.PANELS:
        raise Http404
    last = events.newest_number()
    rendered = panels.render(panels.PANELS[name], request=request, now=db.now())
    answer = HttpResponse(rendered.html, status=200 if rendered.ok else 500)
    answer["X-Last-Event"] = str(last)
    return answer


@require_GET
@for_watchers
def words(request: HttpRequest) -> JsonResponse:
    """The sentences, for rows that the browser writes itself."""
    return JsonResponse(
        {
            "nobody": sentences.NOBODY,
            "agents": {agent.key: {"name": agent.name, "colour": agent.colour} for agent in Agent.objects.all()},
            "links": sentences.link_patterns(),
            "sentences": {
                kind: {"icon": each.icon, "tone": each.tone, "template": each.template, "routine": each.routine}
                for kind, each in sentences.SENTENCES.items()
            },
        }
    )


@require_http_methods(["GET", "POST"])
@for_watchers
def switch(request: HttpRequest, to: str) -> HttpResponse:
    """Confirm, with a reason, that the company halts, reduces or resumes."""
    if to not in CompanyStatus.values:
        raise Http404
    if not request.user.has_perm(MAY_SWITCH):
        raise PermissionDenied
    reason = request.POST.get("reason", "").replace("\x00", "").strip()
    problem = ""
    if request.method == "POST":
        problem = _problem_with(reason) or _switch(request, to=CompanyStatus(to), reason=reason)
        if not problem:
            return redirect("dashboard:desk")
    context = {
        "to": CompanyStatus(to),
        "company": Company.objects.get(),
        "reason": reason,
        "problem": problem,
        "reason_max": REASON_MAX,
    }
    return render(request, "dashboard/switch.html", context, status=400 if problem else 200)


def _problem_with(reason: str) -> str:
    if not reason:
        return "Say why: the reason stands in the company's history."
    return f"A reason has at most {REASON_MAX} characters." if len(reason) > REASON_MAX else ""


def _switch(request: HttpRequest, *, to: CompanyStatus, reason: str) -> str:
    """Do it; what stood against it, if anything."""
    assert isinstance(request.user, AbstractUser)
    try:
        switched = company_switch.switch(to=to, by=request.user, reason=reason, now=db.now())
    except DomainError as refused:
        return refused.detail
    if switched.missing:
        messages.warning(request, still(switched.missing))
    else:
        messages.success(request, f"The company is {to.label.lower()}.")
    return ""
