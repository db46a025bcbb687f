"""How many people a verb of reconciliation needs, and whether so many have given their word."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from django.contrib.auth.models import AbstractBaseUser

from missions import policies
from tradeco.common import db
from tradeco.common.errors import DomainError
from trading.models import Agreement, Attempt, Finding

SAME_TO = 100  # a share of one in so many is no other amount


class AgreedAlready(DomainError):
    code = "agreed_already"
    title = "You have said this already; another person is needed"


def needed(value_usd: Decimal) -> int:
    """People who must agree: as policy's quorum says, and two from the four-eyes threshold on."""
    _, policy = policies.current()
    return max(policy.quorum, 2 if value_usd >= policy.four_eyes_from_usd else 1)


def agree(
    about: Attempt | Finding,
    *,
    verb: str,
    by: AbstractBaseUser,
    reason: str,
    value_usd: Decimal,
    now: datetime,
    deltas: Mapping[str, int] | None = None,
) -> int:
    """Keep a person's word, and say how many people are still missing. The caller holds a row that serialises it.

    Args:
        deltas: raw amounts by mint that the word is about. A word given for other amounts doesn't count; whoever gave
            it may give another.

    Raises:
        AgreedAlready: this person has said so before.
    """
    db.requires_transaction()
    now_seen = {mint: str(amount) for mint, amount in (deltas or {}).items()}
    words = list(about.agreements.filter(verb=verb))
    same = {word.person_id for word in words if _about_the_same(word.deltas, now_seen)}
    if by.pk in same:
        raise AgreedAlready
    link = {"attempt": about} if isinstance(about, Attempt) else {"finding": about}
    word = {"reason": reason[:500], "deltas": now_seen, "at": now}
    Agreement.objects.update_or_create(**link, verb=verb, person_id=by.pk, defaults=word)
    return max(0, needed(value_usd) - len(same | {by.pk}))


def _about_the_same(said: Mapping[str, str], seen: Mapping[str, str]) -> bool:
    """To a hundredth: otherwise anybody's dust between two words would keep people from ever agreeing."""
    return said.keys() == seen.keys() and all(
        abs(int(seen[mint]) - int(amount)) * SAME_TO <= abs(int(amount)) for mint, amount in said.items()
    )
