"""How many people a verb of reconciliation needs, and whether so many have given their word."""

from datetime import datetime
from decimal import Decimal

from django.contrib.auth.models import AbstractBaseUser

from missions import policies
from tradeco.common import db
from tradeco.common.errors import DomainError
from trading.models import Agreement, Attempt, Finding


class AgreedAlready(DomainError):
    code = "agreed_already"
    title = "You have said this already; another person is needed"


def needed(value_usd: Decimal) -> int:
    """People who must agree: as policy's quorum says, and two from the four-eyes threshold on."""
    _, policy = policies.current()
    return max(policy.quorum, 2 if value_usd >= policy.four_eyes_from_usd else 1)


def agree(
    about: Attempt | Finding, *, verb: str, by: AbstractBaseUser, reason: str, value_usd: Decimal, now: datetime
) -> int:
    """Keep a person's word, and say how many people are still missing. The caller holds a row that serialises it.

    Raises:
        AgreedAlready: this person has said so before.
    """
    db.requires_transaction()
    said = about.agreements.filter(verb=verb)
    if said.filter(person_id=by.pk).exists():
        raise AgreedAlready
    link = {"attempt": about} if isinstance(about, Attempt) else {"finding": about}
    Agreement.objects.create(**link, verb=verb, person_id=by.pk, reason=reason[:500], at=now)
    return max(0, needed(value_usd) - said.count())
