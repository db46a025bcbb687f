"""Opening and settling findings. A finding is shown and alarmed about, never repaired by itself."""

from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser

from tradeco.common import db, events
from tradeco.common.errors import DomainError
from tradeco.common.vocabulary import EventKind
from trading.models import Finding, Wallet
from trading.vocabulary import FindingKind


class FindingSettled(DomainError):
    code = "finding_settled"
    title = "This finding was settled already"


AGREES_AGAIN = "agrees_again"


def found(
    *,
    wallet: Wallet,
    kind: FindingKind,
    key: str,
    what: str,
    evidence: dict[str, Any],
    now: datetime,
    once: bool = False,
) -> bool:
    """Open a finding and raise the alarm, unless it is open already; then only its evidence is brought up to date.

    `once`: what was settled isn't opened again, as of a transaction that happened and won't happen again.
    """
    with db.transaction():
        return found_within(wallet=wallet, kind=kind, key=key, what=what, evidence=evidence, now=now, once=once)


def found_within(
    *,
    wallet: Wallet,
    kind: FindingKind,
    key: str,
    what: str,
    evidence: dict[str, Any],
    now: datetime,
    once: bool = False,
) -> bool:
    """`found` inside the caller's transaction."""
    db.requires_transaction()
    if once and Finding.objects.filter(wallet=wallet, kind=kind, key=key, settled_at__isnull=False).exists():
        return False
    known = Finding.objects.filter(wallet=wallet, kind=kind, key=key, settled_at=None).update(
        what=what[:300], evidence=evidence
    )
    if known:
        return False
    finding = Finding.objects.create(
        wallet=wallet, kind=kind, key=key, what=what[:300], evidence=evidence, opened_at=now
    )
    data = {"finding": finding.pk, "kind": kind.value, "key": key, "what": finding.what}
    events.emit(kind=EventKind.FINDING_OPENED, subject=finding.subject, now=now, data=data)
    events.emit(kind=EventKind.ALARM, subject=finding.subject, now=now, data={"alarm": finding.what, **data})
    return True


def settle(*, finding_id: int, how: str, by: AbstractBaseUser | None, reason: str, now: datetime) -> Finding:
    """Mark a finding as settled, inside the caller's transaction.

    Raises:
        FindingSettled: somebody was first.
    """
    db.requires_transaction()
    finding = Finding.objects.select_for_update().get(pk=finding_id)
    if finding.settled_at is not None:
        raise FindingSettled(f"It was settled as {finding.how} at {finding.settled_at:%Y-%m-%d %H:%M:%S}.")
    finding.settled_at, finding.how, finding.reason = now, how, reason[:500]
    finding.settled_by_id = by.pk if by else None
    finding.save()
    data = {"finding": finding.pk, "kind": finding.kind, "how": how, "by": by.get_username() if by else "the books"}
    events.emit(kind=EventKind.FINDING_SETTLED, subject=finding.subject, now=now, data=data)
    return finding


def agrees_again(*, wallet: Wallet, mints: set[str], now: datetime) -> None:
    """Books and chain hold the same of these mints: nothing is left to explain."""
    drifts = Finding.objects.filter(wallet=wallet, kind=FindingKind.BALANCE_DRIFT, settled_at=None, key__in=mints)
    for key in list(drifts.values_list("pk", flat=True)):
        with db.transaction():
            settle(finding_id=key, how=AGREES_AGAIN, by=None, reason="Books and chain agree again.", now=now)
