"""Acts that need several people: each gives a word for one exact act, and whoever completes the number carries it out.

A word counts for a day, until the next change of its subject, and while its person is active. How many are needed is
policy's (`quorum`); what the act does, and which acts need it, is the caller's affair.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import QuerySet

from missions.models import Word
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind

COUNTS_FOR = timedelta(days=1)  # who agreed the day before yesterday agreed to another situation


@dataclass(frozen=True, slots=True)
class Heard:
    """`people` are the names of those who have said the same by now, in the order in which they did."""

    missing: int
    people: tuple[str, ...]

    @property
    def by(self) -> str:
        return ", ".join(self.people)


def give(
    *,
    subject: str,
    asked: Mapping[str, Any],
    by: AbstractBaseUser,
    reason: str,
    needed: int,
    since: datetime | None,
    now: datetime,
) -> Heard:
    """Keep a person's word for an act; where nobody is missing, the words are used up and the caller acts at once.

    The caller holds the company's row, which keeps two last words apart.

    Args:
        asked: the act itself, as JSON; another value is another act.
        needed: different people who must say so.
        since: the newest change of the subject; older words were about what stood before it.
    """
    db.requires_transaction()
    if needed < 2:
        return Heard(0, (by.get_username(),))
    digest = _digest(asked)
    Word.objects.update_or_create(
        subject=subject,
        digest=digest,
        person_id=by.pk,
        used_at=None,
        defaults={"asked": dict(asked), "reason": reason[:500], "at": now},
    )
    said = standing(subject=subject, since=since, now=now).filter(digest=digest)
    heard = _heard(said, needed)
    if heard.missing:
        data = {"by": by.get_username(), "asked": dict(asked), "missing": heard.missing, "reason": reason[:500]}
        events.emit(kind=EventKind.WORD_GIVEN, subject=subject, now=now, data=data)
    else:
        Word.objects.filter(pk__in=[word.pk for word in said]).update(used_at=now)
    return heard


def standing(*, subject: str, since: datetime | None, now: datetime) -> QuerySet[Word]:
    """The words that count now, oldest first."""
    earliest = max(now - COUNTS_FOR, since or now - COUNTS_FOR)
    words = Word.objects.filter(subject=subject, used_at__isnull=True, at__gt=earliest, person__is_active=True)
    return words.select_related("person").order_by("at", "pk")


def still(missing: int) -> str:
    """What a person is told whose word isn't enough."""
    return f"Your word is kept. {missing} more {'person' if missing == 1 else 'people'} must say the same within a day."


def _heard(said: QuerySet[Word], needed: int) -> Heard:
    people = tuple(word.person.get_username() for word in said)
    return Heard(max(0, needed - len(people)), people)


def _digest(asked: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
