"""Which policy is in force, and how it is changed: a new immutable version with author, reason and diff."""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Max
from pydantic import ValidationError

from missions.models import Company, PolicyVersion
from missions.policy_keys import Policy, opening_values
from tradeco.common import db, events
from tradeco.common.errors import DomainError, InvalidInput, NotFound
from tradeco.common.vocabulary import EventKind


class NoPolicy(DomainError):
    code = "no_policy"
    status = 503
    title = "The company has no policy yet: run manage.py bootstrap"


class UnknownPolicy(NotFound):
    code = "unknown_policy"
    title = "There is no such policy"


class QuorumNeeded(DomainError):
    code = "quorum_needed"
    status = 403
    title = "This needs more people than one"


def revision() -> int:
    """The newest policy revision.

    Raises:
        NoPolicy: the company isn't opened.
    """
    newest = PolicyVersion.objects.aggregate(newest=Max("revision"))["newest"]
    if newest is None:
        raise NoPolicy
    return int(newest)


def current() -> tuple[int, Policy]:
    """The revision in force and its values."""
    newest = revision()
    return newest, at(newest)


@lru_cache(maxsize=64)
def at(revision: int) -> Policy:
    """The policy as of a revision. Revisions are immutable, so the answer may be kept."""
    versions = (
        PolicyVersion.objects.filter(revision__lte=revision)
        .order_by("key", "-revision")
        .distinct("key")
        .values_list("key", "value")
    )
    # a key that a newer program knows and this company has no version of yet has its set's opening value
    name = Company.objects.values_list("policy_set", flat=True).first() or "production"
    values = dict(opening_values(name))  # type: ignore[arg-type]
    values.update({key: value for key, value in versions if key in Policy.model_fields})
    return Policy.model_validate(values)


def change(*, key: str, value: Any, author: AbstractBaseUser, reason: str, now: datetime) -> PolicyVersion:
    """Put a new version of one policy in force.

    Raises:
        UnknownPolicy: no such key.
        InvalidInput: the value doesn't fit its type, or the policies wouldn't fit together.
        QuorumNeeded: the policy in force asks for more than one person.
    """
    with db.transaction():
        return change_within(key=key, value=value, author=author, reason=reason, now=now)


def change_within(*, key: str, value: Any, author: AbstractBaseUser, reason: str, now: datetime) -> PolicyVersion:
    """`change` inside the caller's transaction."""
    if key not in Policy.model_fields:
        raise UnknownPolicy(f"There is no policy {key!r}; GET /api/v1/policies/ lists them.")
    lock_company()
    _, before = current()
    if before.quorum > 1:
        raise QuorumNeeded(f"Policy changes need {before.quorum} people here; this door takes one person's word.")
    changed = _with(before, key, value)
    if changed.quorum > 1:
        # nobody could take it back: agreeing among several people isn't possible yet
        raise InvalidInput("quorum can't be raised above 1 before several people can agree on a change.")
    previous = before.model_dump(mode="json")[key]
    row = _append(
        key=key,
        value=changed.model_dump(mode="json")[key],
        previous=previous,
        author=author,
        reason=reason,
        now=now,
    )
    events.emit(
        kind=EventKind.POLICY_CHANGED,
        subject=f"policy:{key}",
        now=now,
        data={"revision": row.revision, "from": previous, "to": row.value, "reason": reason},
    )
    return row


def _with(before: Policy, key: str, value: Any) -> Policy:
    try:
        return Policy.model_validate({**before.model_dump(mode="json"), key: value})
    except ValidationError as exc:
        errors = [
            {"pointer": "/value", "message": error["msg"]}
            for error in exc.errors(include_url=False, include_context=False, include_input=False)
        ]
        why = "; ".join(error["message"].removeprefix("Value error, ") for error in errors)
        raise InvalidInput(f"{key} can't have this value: {why}.", errors=errors) from exc


def open_with(*, name: str, now: datetime, instead: Mapping[str, Any] | None = None) -> None:
    """Write version 1 of every policy that has none yet, from one of the sets that ship.

    Args:
        instead: values of this company that differ from its set's.
    """
    db.requires_transaction()
    known = set(PolicyVersion.objects.values_list("key", flat=True))
    opening: Mapping[str, Any] = opening_values(name)  # type: ignore[arg-type]
    values = Policy.model_validate({**opening, **(instead or {})}).model_dump(mode="json")
    newest = PolicyVersion.objects.aggregate(newest=Max("revision"))["newest"] or 0
    PolicyVersion.objects.bulk_create(
        PolicyVersion(
            revision=newest + place,
            key=key,
            version=1,
            value=values[key],
            reason=f"opening set: {name}",
            created_at=now,
        )
        for place, key in enumerate((key for key in values if key not in known), start=1)
    )


def lock_company() -> Company:
    """Serialise what changes the company itself: its state, its policies."""
    db.requires_transaction()
    return Company.objects.select_for_update().get()


def _append(*, key: str, value: Any, previous: Any, author: Any, reason: str, now: datetime) -> PolicyVersion:
    # The company's row is locked: no two revisions are given at once.
    newest = PolicyVersion.objects.aggregate(newest=Max("revision"))["newest"] or 0
    of_key = PolicyVersion.objects.filter(key=key).aggregate(newest=Max("version"))["newest"] or 0
    return PolicyVersion.objects.create(
        revision=newest + 1,
        key=key,
        version=of_key + 1,
        value=value,
        previous=previous,
        author=author,
        reason=reason,
        created_at=now,
    )
