"""What waits for the person who looks at the desk's first page. Each part fails alone and says so."""

from collections.abc import Callable
from typing import Any

import structlog
from django import template
from django.conf import settings
from django.db.models import Count, Max, Min, Sum
from django.urls import reverse

from missions import policies
from missions.models import Beat, Company, Proposal, Step
from missions.vocabulary import CompanyStatus, ProposalStatus
from tradeco.common import admin_show as show
from tradeco.common import db
from tradeco.common.wiring import load

log = structlog.get_logger(__name__)
register = template.Library()

SHOWN = 5  # of each kind; the list behind the link shows the rest


@register.inclusion_tag("admin/waiting.html", takes_context=True)
def what_waits_for_me(context: dict[str, Any]) -> dict[str, Any]:
    """Proposals that wait for people, steps in doubt, the company's switch, the last beat."""
    user = context["request"].user
    parts: list[tuple[str, Callable[[], dict[str, Any]]]] = [
        ("missions.view_company", _company),
        ("missions.view_proposal", _proposals),
        ("missions.view_step", _steps),
        ("missions.view_beat", _beat),
    ]
    parts += [(permission, load(path)) for permission, path in settings.ADMIN_WAITING.items()]
    return {"parts": [_safely(make) for permission, make in parts if user.has_perm(permission)]}


def _safely(make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return make()
    except Exception:
        log.exception("A part of the desk's first page failed.", action="desk_part_failed")
        return {"title": make.__name__.strip("_").capitalize(), "failed": True}


def _company() -> dict[str, Any]:
    company = Company.objects.first()
    if company is None:
        return {"title": "Company", "says": "Not opened yet: run manage.py bootstrap.", "urgent": True}
    return {
        "title": "Company",
        "pill": show.pill(company.status, company.get_status_display()),
        "says": company.reason if company.status != CompanyStatus.ACTIVE else "",
        "urgent": company.status != CompanyStatus.ACTIVE,
        "url": show.change_url(Company, company.pk),
    }


def _proposals() -> dict[str, Any]:
    waiting = Proposal.objects.filter(status=ProposalStatus.PENDING, waits_for_people_since__isnull=False)
    found = waiting.aggregate(
        n=Count("pk"), oldest=Min("waits_for_people_since"), worth=Sum("value_usd"), most=Max("value_usd")
    )
    says = "No proposal waits for people."
    if found["n"]:
        says = f"worth {show.usd(found['worth'])}, the oldest for {show.span(db.now() - found['oldest'])}"
    return {
        "title": "Proposals that wait for people",
        "number": found["n"],
        "says": says,
        "urgent": bool(found["n"]),
        "url": f"{reverse('admin:missions_proposal_changelist')}?waits_for=people",
        "rows": [
            (f"{row.title} (#{row.pk})", show.usd(row.value_usd), show.change_url(Proposal, row.pk))
            for row in waiting.order_by("-value_usd", "waits_for_people_since")[:SHOWN]
        ],
    }


def _steps() -> dict[str, Any]:
    doubtful = Step.objects.in_doubt()
    number = doubtful.count()
    return {
        "title": "Steps that need reconciliation",
        "number": number,
        "says": "" if number else "Every outcome is known.",
        "urgent": bool(number),
        "url": f"{reverse('admin:missions_step_changelist')}?status__exact=needs_reconciliation",
        "rows": [(str(step), step.reason, show.change_url(Step, step.pk)) for step in doubtful.order_by("id")[:SHOWN]],
    }


def _beat() -> dict[str, Any]:
    newest = Beat.objects.order_by("-started_at").first()
    if newest is None:
        return {"title": "Heartbeat", "says": "No beat yet: run manage.py heartbeat.", "urgent": True}
    age = db.now() - newest.started_at
    _, policy = policies.current()
    late = age.total_seconds() > max(60.0, 2 * policy.beat_every_seconds)
    return {
        "title": "Heartbeat",
        "says": f"Last beat {show.span(age)} ago{', which is late' if late else ''}.",
        "urgent": late,
        "url": show.change_url(Beat, newest.pk),
    }
