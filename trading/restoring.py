"""What a company must do once its books were set back to an earlier moment, before anything runs on them.

The chain has gone on meanwhile: what the books still mean to do may have been done. So the company is halted, nothing
that was decided before is ever sent, and what was signed is looked up. Transactions that the books don't know any more
are found by reconciliation, which begins where the books left off; people decide what they were.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import connection
from django.db.models import F, Max
from django.db.models.functions import Now

from missions import company, handlers, outcomes, policies
from missions.models import Company, Mission, Proposal, Step
from missions.models.mission import ENDED
from missions.vocabulary import TRADING_KINDS, CompanyStatus, ProposalStatus, StepStatus
from tradeco.common import db, events, states
from tradeco.common.models import Event, Lease
from tradeco.common.vocabulary import EventKind
from trading.models import Order, Wallet

log = structlog.get_logger(__name__)

AHEAD = 1_000_000  # ids, event numbers: more than a company uses up between its newest backup and now
EPOCHS_AHEAD = 10**9  # of leases: a change of hands every second for thirty years


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was given up: trades that had been approved, and proposals that waited. `sent` are to be looked up."""

    let_go: int
    sent: int
    lapsed: int


@contextmanager
def led_to(name: str, *, host: str | None = None) -> Iterator[None]:
    """Let this process's connection lead to another database, of the same server or of one at `host`."""
    usual = {key: connection.settings_dict[key] for key in ("NAME", "HOST")}
    _lead_to({"NAME": name, "HOST": host or usual["HOST"]})
    try:
        yield
    finally:
        _lead_to(usual)


def _lead_to(where: dict[str, Any]) -> None:
    policies.at.cache_clear()  # a revision means something else there
    connection.close()
    connection.settings_dict.update(where)


def adopt(*, why: str, now: datetime) -> Adopted:
    """Halt the company on books that were set back, and make sure that nothing of them happens a second time."""
    with db.transaction():
        _halt(why, now=now)
        _raise_epochs()
        _raise_ids()
        newest_order = Order.objects.aggregate(at=Max("created_at"))["at"]
        Wallet.objects.update(restored_at=max(now, newest_order or now), reconciled_at=None)
        sent = Order.objects.filter(status__in=("submitted", "in_doubt")).count()
        let_go = sum(_let_go(mission, now=now) for mission in _unfinished())
        lapsed = Proposal.objects.filter(status=ProposalStatus.PENDING, expires_at__gt=now).update(expires_at=now)
        adopted = Adopted(let_go=let_go, sent=sent, lapsed=lapsed)
        _tell(why, adopted, now=now)
    log.warning("The books were set back.", action="books_set_back", why=why, let_go=let_go, sent=sent, lapsed=lapsed)
    return adopted


def _halt(why: str, *, now: datetime) -> None:
    row = Company.objects.select_for_update().get()
    if row.status == CompanyStatus.HALTED:
        Company.objects.filter(pk=row.pk).update(reason=why[:500], changed_at=now, changed_by=None)
    else:
        company.switch_within(to=CompanyStatus.HALTED, by=None, reason=why[:500], now=now)


def _raise_epochs() -> None:
    """Beyond every epoch that was issued since: whoever still believes to hold a lease is fenced out."""
    Lease.objects.update(epoch=F("epoch") + EPOCHS_AHEAD, holder="", expires_at=Now())


def _raise_ids() -> None:
    """No id is given a second time: logs, pages and programs know what the lost ones meant."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT setval(format('%%I.%%I', schemaname, sequencename)::regclass, coalesce(last_value, 0) + %s)"
            " FROM pg_sequences WHERE schemaname = 'public' AND data_type <> 'smallint'::regtype",
            [AHEAD],
        )


def _unfinished() -> list[int]:
    moving = Step.objects.filter(finished_at=None, kind__in=TRADING_KINDS).values("mission")
    return list(
        Mission.objects.filter(pk__in=moving).exclude(status__in=ENDED).order_by("pk").values_list("pk", flat=True)
    )


def _let_go(mission_id: int, *, now: datetime) -> bool:
    """Give up what a mission hadn't sent. Where something was sent, the next visit looks up what became of it."""
    steps = list(Step.objects.select_for_update(of=("self",)).select_related("mission").filter(mission=mission_id))
    for step in steps:
        if step.token is not None:
            _take_back(step, now=now)
    if Mission.objects.filter(pk=mission_id, status__in=ENDED).exists():
        return True
    if Step.objects.filter(mission=mission_id, finished_at=None).exclude(status=StepStatus.QUEUED).exists():
        return False
    outcomes.cancel_mission_within(mission_id=mission_id, by="a restore", reason="The books were set back.", now=now)
    return True


def _take_back(step: Step, *, now: datetime) -> None:
    """Whoever held it is of another time."""
    handler = handlers.of(step.kind)
    if step.status == StepStatus.CLAIMED:
        states.move(step, to=StepStatus.QUEUED, token=None, lease_expires_at=None)
    elif handler is not None and handler.may_have_sent(step):
        outcomes.park(step, run_after=now, attempts=step.attempts)
    else:
        outcomes.fail(step, code="restored", reason="The books were set back while it was under way.", now=now)


def _tell(why: str, adopted: Adopted, *, now: datetime) -> None:
    """An event whose number is far beyond all that readers may have seen, so that none waits for old numbers."""
    data = {"alarm": why, "let_go": adopted.let_go, "sent": adopted.sent, "lapsed": adopted.lapsed}
    told = events.emit(kind=EventKind.ALARM, subject="company", now=now, data=data)
    Event.objects.filter(pk=told.pk).update(number=events.newest_number() + AHEAD)
