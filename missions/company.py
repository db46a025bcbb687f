"""One switch for the whole company: active, reducing (exits only), halted. It holds over restarts."""

from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser

from missions import policies
from missions.models import Company
from missions.policies import QuorumNeeded
from missions.vocabulary import CompanyStatus
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind

_EVENT = {
    CompanyStatus.ACTIVE: EventKind.COMPANY_ACTIVE,
    CompanyStatus.REDUCING: EventKind.COMPANY_REDUCING,
    CompanyStatus.HALTED: EventKind.COMPANY_HALTED,
}


def switch(*, to: CompanyStatus, by: AbstractBaseUser | None, reason: str, now: datetime) -> Company:
    """Set the company's status. Halting and reducing need one person, resuming as many as policy says.

    Raises:
        QuorumNeeded: more than one person must agree to resume.
    """
    with db.transaction():
        return switch_within(to=to, by=by, reason=reason, now=now)


def switch_within(*, to: CompanyStatus, by: AbstractBaseUser | None, reason: str, now: datetime) -> Company:
    """`switch` inside the caller's transaction."""
    company = policies.lock_company()
    if company.status == to:
        return company
    _, policy = policies.current()
    if to == CompanyStatus.ACTIVE and policy.quorum > 1:
        raise QuorumNeeded(f"Resuming needs {policy.quorum} people here; this door takes one's word.")
    company.status, company.reason, company.changed_at = to, reason, now
    company.changed_by_id = by.pk if by else None
    company.save(update_fields=["status", "reason", "changed_at", "changed_by"])
    events.emit(
        kind=_EVENT[to],
        subject="company",
        now=now,
        data={"reason": reason, "by": by.get_username() if by else "the company itself"},
    )
    return company
