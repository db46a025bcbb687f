"""Books and chain brought together: at the start, at each beat, on demand. Evidence decides, or a person is asked.

In order: the opening; orders in doubt that the venue answers about by now; fills that became final, or vanished;
transactions of our wallet that we know nothing of; balances. Whatever can be proven is booked in the pass that
sees it, so a second pass right after finds nothing to do. Differences are shown, never repaired.
"""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError

from missions import outcomes
from missions.models import Step
from tradeco.common import db, doorbell
from tradeco.common.outside import VenueUnavailable
from trading import attempts, finality, findings, money, reversal, settling, stocktaking
from trading.models import Asset, Attempt, Finding, Wallet
from trading.models.order import WITH_ORDER
from trading.portfolio import WALLET
from trading.venues.base import Executed, NeverLanded, Refused
from trading.venues.http import VenueRefused
from trading.vocabulary import AttemptStatus, FindingKind

log = structlog.get_logger(__name__)

NOT_COMPARED = "not compared: a trade is under way, or the node is behind"


def run(*, now: datetime, limit: int) -> dict[str, Any]:
    """One pass; what it did. A chain that is away is said, not raised: the next pass goes on.

    An attempt that can't be booked is counted as failed, and the rest of the pass goes on: who uses our key is found
    by what comes after.
    """
    ended = Counter(_one(attempt, now=now) for attempt in _unsettled(limit))
    told: dict[str, Any] = {name: ended[name] for name in ("settled", "final", "vanished", "hurried", "failed")}
    if settings.NETWORK == "paper":
        return told
    try:
        return told | _with_chain(now=now)
    except (VenueUnavailable, VenueRefused) as away:
        return told | {"away": away.detail}


def _unsettled(limit: int) -> list[Attempt]:
    waiting = (AttemptStatus.SIGNED, AttemptStatus.BROADCAST, AttemptStatus.IN_DOUBT, AttemptStatus.CONFIRMED)
    rows = Attempt.objects.filter(status__in=waiting).select_related(*WITH_ORDER)
    # the newest first: of two fills that vanished, the one that sold has to give back before the one that bought
    return list(rows.order_by("-pk")[:limit])


def _one(attempt: Attempt, *, now: datetime) -> str:
    try:
        return _look_at(attempt, now=now)
    except Exception as exc:
        if isinstance(exc, (OperationalError, InterfaceError)) and not db.is_contention(exc):
            raise  # the database is away, which concerns the whole pass
        # else it concerns this attempt alone, and its transaction is undone
        log.exception("An attempt can't be settled.", action="settling_failed", reference=attempt.reference)
        return "failed"


def _look_at(attempt: Attempt, *, now: datetime) -> str:
    match attempt.status:
        case AttemptStatus.IN_DOUBT:
            return _end_doubt(attempt, now=now)
        case AttemptStatus.CONFIRMED:
            return _finality(attempt, now=now)
    return _hurry(attempt, now=now)


def _end_doubt(attempt: Attempt, *, now: datetime) -> str:
    """Settle a step in doubt by what the venue says now, where that is proof."""
    ending = settling.proof(attempt.order, attempt, attempts.look_up(attempt, now=now), now=now)
    if ending is None:
        return "waits"
    settled = db.patiently(
        outcomes.settle,
        step_id=attempt.order.step_id,
        ending=ending,
        by="the chain's evidence",
        reason=getattr(ending, "reason", "") or "It landed.",
        now=now,
    )
    return "settled" if settled else "waits"


def _finality(attempt: Attempt, *, now: datetime) -> str:
    """A confirmed fill becomes final, or turns out to be none: then it is reversed and a person is told."""
    receipt = attempts.look_up(attempt, now=now)
    if isinstance(receipt, Executed) and receipt.final:
        return "final" if finality.make_final(attempt, receipt, now=now) else "waits"
    if isinstance(receipt, (NeverLanded, Refused)):
        return "vanished" if reversal.reverse(attempt, receipt, now=now) else "waits"
    return "waits"


def _hurry(attempt: Attempt, *, now: datetime) -> str:
    """A trade under way is its step's affair: have the next visit now."""
    parked = Step.objects.filter(pk=attempt.order.step_id, token__isnull=True, run_after__gt=now)
    if not parked.update(run_after=now):
        return "waits"
    doorbell.ring()
    return "hurried"


def _with_chain(*, now: datetime) -> dict[str, Any]:
    wallet = Wallet.objects.get(name=WALLET)
    opened = stocktaking.open_from_chain(wallet, now=now)
    wallet.refresh_from_db()
    strangers = stocktaking.look_for_strangers(wallet, now=now)
    compared = stocktaking.compare(wallet)
    told: dict[str, Any] = {"opened": opened, "strangers": strangers}
    if compared is None:
        return told | {"drift": NOT_COMPARED}
    unexplained = [each for each in compared.differences if not each.doubtful]
    for each in unexplained:
        findings.found(
            wallet=wallet,
            kind=FindingKind.BALANCE_DRIFT,
            key=each.asset.mint,
            what=_in_words(each),
            evidence={"on_chain": str(each.on_chain), "in_books": str(each.in_books)},
            now=now,
        )
    differing = {each.asset.mint for each in compared.differences}
    findings.agrees_again(wallet=wallet, mints=_all_mints() - differing, now=now)
    Wallet.objects.filter(pk=wallet.pk).update(reconciled_at=now)
    told["drift"] = sorted(each.asset.symbol for each in unexplained)
    try:
        told["strangers"] += stocktaking.look_for_takers(wallet, unexplained, now=now)
    except (VenueUnavailable, VenueRefused) as away:
        told["away"] = away.detail  # what was compared stands all the same
    return told


def _in_words(each: stocktaking.Difference) -> str:
    chain, books = (money.units(raw, each.asset.decimals) for raw in (each.on_chain, each.in_books))
    return f"The wallet holds {chain:f} {each.asset.symbol} on chain, and {books:f} in the books."


def _all_mints() -> set[str]:
    return set(Asset.objects.values_list("mint", flat=True))


# --- looking without touching ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a pass would find: lines to be read. `attempts` are looked at anyway; all else needs a person."""

    attempts: list[str]
    in_doubt: list[int]
    findings: list[str]
    strangers: list[str]
    drift: list[str] | str
    away: str = ""

    @property
    def clean(self) -> bool:
        differs = self.drift if isinstance(self.drift, list) else []
        return not (self.in_doubt or self.findings or self.strangers or differs or self.away)


def foresee(*, now: datetime, limit: int) -> Foreseen:
    """What a pass would find now. Changes nothing."""
    waiting = [_foreseen(attempt, now=now) for attempt in _unsettled(limit)]
    doubtful = [step.pk for step in Step.objects.in_doubt().order_by("pk")]
    found = [f"#{row.pk} {row.what}" for row in Finding.objects.filter(settled_at=None).order_by("pk")]
    if settings.NETWORK == "paper":
        return Foreseen(waiting, doubtful, found, [], [])
    wallet = Wallet.objects.get(name=WALLET)
    try:
        strangers = stocktaking.strangers(wallet)
        compared = stocktaking.compare(wallet)
        unexplained = [each for each in compared.differences if not each.doubtful] if compared else []
        strangers += stocktaking.takers(wallet, unexplained)
    except (VenueUnavailable, VenueRefused) as away:
        return Foreseen(waiting, doubtful, found, [], [], away.detail)
    drift = NOT_COMPARED if compared is None else [_in_words(each) for each in unexplained]
    return Foreseen(waiting, doubtful, found, [each.what for each in strangers], drift)


def _foreseen(attempt: Attempt, *, now: datetime) -> str:
    receipt = attempts.look_up(attempt, now=now)
    status = AttemptStatus(attempt.status).label.lower()
    return f"order #{attempt.order_id}, {attempt.reference}: {status} here; {settling.says(receipt)}"
