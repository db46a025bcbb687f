"""Which policy is in force, and how it is changed: a new immutable version with author, reason and diff."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractBaseUser
from django.db.models import Max
from pydantic import ValidationError

from missions import words
from missions.models import Company, PolicyVersion
from missions.policy_keys import Policy, opening_values
from tradeco.common import db, events
from tradeco.common.errors import DomainError, InvalidInput, NotFound
from tradeco.common.vocabulary import EventKind

MAY_AGREE = "missions.change_company"


class NoPolicy(DomainError):
    code = "no_policy"
    status = 503
    title = "The company has no policy yet: run manage.py bootstrap"


class UnknownPolicy(NotFound):
    code = "unknown_policy"
    title = "There is no such policy"


@dataclass(frozen=True, slots=True)
class Changed:
    """The new version, or None while `missing` more people must ask for the same."""

    version: PolicyVersion | None
    missing: int = 0


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
    policy = Policy.model_validate(values)
    policy._revision = revision
    return policy


def change(*, key: str, value: Any, author: AbstractBaseUser, reason: str, now: datetime) -> Changed:
    """Put a new version of one policy in force, once as many people have asked for this value as `quorum` says.

    Raises:
        UnknownPolicy: no such key.
        InvalidInput: the value doesn't fit its type, the policies wouldn't fit together, or fewer people may change
            policies than the new quorum asks for.
    """
    with db.transaction():
        return change_within(key=key, value=value, author=author, reason=reason, now=now)


def change_within(*, key: str, value: Any, author: AbstractBaseUser, reason: str, now: datetime) -> Changed:
    """`change` inside the caller's transaction."""
    if key not in Policy.model_fields:
        raise UnknownPolicy(f"There is no policy {key!r}; GET /api/v1/policies/ lists them.")
    lock_company()
    _, before = current()
    changed = _with(before, key, value)
    if changed.quorum > before.quorum:
        _require_people(changed.quorum)
    previous, new = before.model_dump(mode="json")[key], changed.model_dump(mode="json")[key]
    heard = words.give(
        subject=subject_of(key),
        asked={"value": new},
        by=author,
        reason=reason,
        needed=before.quorum,
        since=changed_at(key),
        now=now,
    )
    if heard.missing:
        return Changed(None, heard.missing)
    row = _append(key=key, value=new, previous=previous, author=author, reason=reason, now=now)
    data = {"revision": row.revision, "from": previous, "to": new, "reason": reason, "by": heard.by}
    events.emit(kind=EventKind.POLICY_CHANGED, subject=subject_of(key), now=now, data=data)
    return Changed(row)


def subject_of(key: str) -> str:
    return f"policy:{key}"


def changed_at(key: str) -> datetime | None:
    """When the newest version of a policy took force; None where it has none."""
    found = PolicyVersion.objects.filter(key=key).order_by("-revision").values_list("created_at", flat=True)
    return found.first()


def people() -> int:
    """How many may change policies and end a halt."""
    return get_user_model().objects.with_perm(MAY_AGREE, is_active=True, include_superusers=True).count()


def _require_people(quorum: int) -> None:
    """A quorum that nobody can reach could never be taken back."""
    if people() < quorum:
        raise InvalidInput(f"quorum can't be {quorum}: {people()} here may change policies.")


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
