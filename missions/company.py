"""One switch for the whole company: active, reducing (exits only), halted. It holds over restarts."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib.auth.models import AbstractBaseUser

from missions import policies, words
from missions.models import Company
from missions.vocabulary import CompanyStatus
from missions.words import Heard
from tradeco.common import db, events
from tradeco.common.errors import DomainError
from tradeco.common.vocabulary import EventKind

SUBJECT = "company"
_EVENT = {
    CompanyStatus.ACTIVE: EventKind.COMPANY_ACTIVE,
    CompanyStatus.REDUCING: EventKind.COMPANY_REDUCING,
    CompanyStatus.HALTED: EventKind.COMPANY_HALTED,
}


class QuorumNeeded(DomainError):
    code = "quorum_needed"
    status = 403
    title = "This needs people"


@dataclass(frozen=True, slots=True)
class Switched:
    """The company as it stands, and how many more people must say the same before it changes."""

    company: Company
    missing: int = 0


def switch(*, to: CompanyStatus, by: AbstractBaseUser | None, reason: str, now: datetime) -> Switched:
    """Set the company's status. Halting needs one person, and so does reducing what is active; ending a halt and
    resuming need as many as the policy `quorum` says, each of whom calls this.

    Raises:
        QuorumNeeded: several people must agree, and `by` is none.
    """
    with db.transaction():
        return switch_within(to=to, by=by, reason=reason, now=now)


def switch_within(*, to: CompanyStatus, by: AbstractBaseUser | None, reason: str, now: datetime) -> Switched:
    """`switch` inside the caller's transaction."""
    company = policies.lock_company()
    if company.status == to:
        return Switched(company)
    heard = _heard(company, to=to, by=by, reason=reason, now=now)
    if heard.missing:
        return Switched(company, heard.missing)
    company.status, company.reason, company.changed_at = to, reason, now
    company.changed_by_id = by.pk if by else None
    company.save(update_fields=["status", "reason", "changed_at", "changed_by"])
    data = {"reason": reason, "by": heard.by or "the company itself"}
    events.emit(kind=_EVENT[to], subject=SUBJECT, now=now, data=data)
    return Switched(company)


def _heard(company: Company, *, to: CompanyStatus, by: AbstractBaseUser | None, reason: str, now: datetime) -> Heard:
    """Taking risk away is one person's act; giving it back is as many people's as policy asks."""
    several = to == CompanyStatus.ACTIVE or company.status == CompanyStatus.HALTED
    needed = policies.current()[1].quorum if several else 1
    if by is None:
        if needed > 1:
            raise QuorumNeeded(f"{needed} people must say so; the company itself doesn't.")
        return Heard(0, ())
    return words.give(
        subject=SUBJECT,
        asked={"from": company.status, "to": to},
        by=by,
        reason=reason,
        needed=needed,
        since=company.changed_at,
        now=now,
    )
