"""Opening the company: its row, its first policies, its place in the scheduler. Runs again without effect."""

from django.conf import settings

from missions import policies
from missions.models import Company
from tradeco.common import db, doorbell, events
from tradeco.common.vocabulary import EventKind


def open_company() -> None:
    """Open with the policy set of the settings; an open company keeps its own."""
    now = db.now()
    with db.transaction():
        company, new = Company.objects.get_or_create(
            id=1,
            defaults={
                "policy_set": settings.POLICY_SET,
                "reason": "opening",
                "changed_at": now,
                "opened_at": now,
            },
        )
        policies.open_with(name=company.policy_set, now=now)
        if new:
            events.emit(
                kind=EventKind.COMPANY_OPENED,
                subject="company",
                now=now,
                data={"policy_set": company.policy_set},
            )
    doorbell.schedule()
