"""A person ends the doubt about a step that may have moved money. Each verb stands on what the venue says now.

    look_up    ask again; settles where the answer is proof
    confirm    it landed: only where the chain shows it; what the chain says is booked
    fail       it did nothing: only where nobody says that it landed, and it no longer can; the money is free again
    requeue    once more: only where it was never sent, or provably didn't land

The venue is asked before the transaction, never inside it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import AbstractBaseUser
from django.db import models

from missions import outcomes
from missions.handlers import Ending, Failed, Park, Succeeded
from missions.models import Step
from tradeco.common import db, states
from tradeco.common.errors import DomainError, NotFound
from tradeco.common.outside import VenueUnavailable
from trading import agreeing, attempts, booking
from trading.models import Attempt, Order
from trading.models.order import WITH_ORDER
from trading.venues.base import Executed, NeverLanded, Quote, Receipt, Refused, Signed, UnderWay, Unknown
from trading.venues.http import VenueRefused
from trading.vocabulary import AttemptStatus, OrderStatus


class Verb(models.TextChoices):
    LOOK_UP = "look_up", "Look up"
    CONFIRM = "confirm", "Confirm"
    FAIL = "fail", "Mark as failed"
    REQUEUE = "requeue", "Requeue"


class NotInDoubt(DomainError):
    code = "not_in_doubt"
    title = "Nothing is in doubt here"


class EvidenceAgainst(DomainError):
    code = "evidence_against"
    title = "The evidence doesn't allow this"


@dataclass(frozen=True, slots=True)
class Consulted:
    """An attempt in doubt, and what the venue says of it at this moment. `told`: landed, but not as it was quoted."""

    order: Order
    attempt: Attempt
    receipt: Receipt
    told: Executed | None = None

    @property
    def evidence(self) -> dict[str, Any]:
        return getattr(self.receipt, "evidence", {})

    @property
    def says(self) -> str:
        return says(self.receipt)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of it: `ending` is succeeded, failed, queued or waits; `missing` more people must agree."""

    ending: str
    says: str
    missing: int = 0


def proof(order: Order, attempt: Attempt, receipt: Receipt, *, now: datetime) -> Ending | None:
    """The ending that an answer of the venue proves; None where it proves nothing."""
    if not isinstance(receipt, (Executed, Refused, NeverLanded)):
        return None
    return attempts.conclude(order, attempt, receipt, now=now)


def consult(step_id: int, *, now: datetime) -> Consulted:
    """Ask the venue about the step's attempt in doubt. Reads only, and a silent venue is an answer too.

    Raises:
        NotFound: no such step.
        NotInDoubt: nothing of it is in doubt.
    """
    step = Step.objects.filter(pk=step_id).first()
    if step is None:
        raise NotFound(f"There is no step #{step_id}.")
    doubtful = Attempt.objects.filter(order__step=step, status=AttemptStatus.IN_DOUBT)
    attempt = doubtful.select_related(*WITH_ORDER).first()
    if attempt is None:
        raise NotInDoubt(f"{step} is {step.get_status_display().lower()}, and none of its attempts is in doubt.")
    receipt = attempts.look_up(attempt, now=now)
    told = as_told(attempt) if isinstance(receipt, Unknown) else None
    return Consulted(attempt.order, attempt, receipt, told)


def settle(*, step_id: int, verb: Verb, by: AbstractBaseUser, reason: str, now: datetime) -> Settled:
    """Ask the venue, then carry out the verb in a transaction of its own.

    Raises:
        NotFound, NotInDoubt, EvidenceAgainst, AgreedAlready
    """
    consulted = consult(step_id, now=now)
    with db.transaction():
        return settle_within(consulted, verb=verb, by=by, reason=reason, now=now)


def settle_within(consulted: Consulted, *, verb: Verb, by: AbstractBaseUser, reason: str, now: datetime) -> Settled:
    """`settle` on evidence that was asked for, inside the caller's transaction."""
    db.requires_transaction()
    order, attempt = consulted.order, consulted.attempt
    step = Step.objects.select_for_update(of=("self",)).get(pk=order.step_id)  # first, as every ending does
    attempt.refresh_from_db(fields=["status"])
    if attempt.status != AttemptStatus.IN_DOUBT:
        raise NotInDoubt(f"{step} was settled meanwhile: its attempt is {attempt.get_status_display().lower()}.")
    Attempt.objects.filter(pk=attempt.pk).update(evidence=consulted.evidence)
    ending = _ending(consulted, verb, reason, now=now)
    if ending is None:
        return Settled("waits", consulted.says)
    if verb != Verb.LOOK_UP:
        value = order.step.mission.proposal.value_usd
        missing = agreeing.agree(attempt, verb=verb, by=by, reason=reason, value_usd=value, now=now)
        if missing:
            return Settled("waits", consulted.says, missing)
    who = f"the chain's evidence, asked by {by.get_username()}" if verb == Verb.LOOK_UP else by.get_username()
    if not outcomes.settle_within(step_id=step.pk, ending=ending, by=who, reason=f"{verb}: {reason}"[:500], now=now):
        raise NotInDoubt(f"{step} is no longer in doubt.")
    return Settled(_WORD[type(ending)], consulted.says)


_WORD: dict[type[Ending], str] = {Succeeded: "succeeded", Failed: "failed", Park: "queued"}


def _ending(consulted: Consulted, verb: Verb, reason: str, *, now: datetime) -> Ending | None:
    match verb:
        case Verb.LOOK_UP:
            return proof(consulted.order, consulted.attempt, consulted.receipt, now=now)
        case Verb.CONFIRM:
            return _confirmed(consulted, now=now)
        case Verb.FAIL:
            return _given_up(consulted, reason, now=now)
    return _once_more(consulted, now=now)


def _confirmed(consulted: Consulted, *, now: datetime) -> Ending:
    landed = consulted.receipt if isinstance(consulted.receipt, Executed) else consulted.told
    if landed is None:
        raise EvidenceAgainst(f"The chain doesn't show that it landed and exchanged: {consulted.says}")
    return attempts.conclude(consulted.order, consulted.attempt, landed, now=now)


def _given_up(consulted: Consulted, reason: str, *, now: datetime) -> Ending:
    order, attempt, receipt = consulted.order, consulted.attempt, consulted.receipt
    if isinstance(receipt, Refused):
        return attempts.conclude(order, attempt, receipt, now=now)  # it landed, and cost the network's fee
    if isinstance(receipt, Executed) or consulted.told is not None or _seen(consulted.evidence):
        raise EvidenceAgainst(f"A node says that it landed: {consulted.says}")
    if _may_land(consulted):
        raise EvidenceAgainst(f"It may still land, up to height {attempt.valid_until}: {consulted.says}")

    def book() -> None:
        order.refresh_from_db(fields=["status"])
        states.move(attempt, to=AttemptStatus.EXPIRED, ended_at=now, code="given_up", evidence=consulted.evidence)
        booking.let_go(order, to=OrderStatus.FAILED, code="given_up", reason=reason, now=now)

    return Failed(code="given_up", reason=reason, nothing_sent=False, book=book)


def _once_more(consulted: Consulted, *, now: datetime) -> Ending:
    order, attempt, receipt = consulted.order, consulted.attempt, consulted.receipt
    if isinstance(receipt, NeverLanded):
        return attempts.conclude(order, attempt, receipt, now=now)
    landed = isinstance(receipt, (Executed, Refused)) or consulted.told is not None or _seen(consulted.evidence)
    if attempt.sends or landed:
        raise EvidenceAgainst(f"It was sent, and it isn't proven that it didn't land: {consulted.says}")
    return attempts.conclude(order, attempt, NeverLanded("It was never sent.", consulted.evidence), now=now)


def _seen(evidence: dict[str, Any]) -> bool:
    """Whether a node knows the signature, whatever the others say."""
    return any(node.get("status") for node in evidence.get("nodes", ()))


def _may_land(consulted: Consulted) -> bool:
    """Whether anybody says that it may still land: a node that isn't past its last height, whatever the others say."""
    last = consulted.attempt.valid_until
    if last is None:
        return False
    nodes = consulted.evidence.get("nodes", ())
    behind = any(node["finalized_height"] <= last for node in nodes if "finalized_height" in node)
    return behind or isinstance(consulted.receipt, UnderWay)


def as_told(attempt: Attempt) -> Executed | None:
    """What it exchanged by the chain's own balances, quoted so or not; None where not every node shows it."""
    asked = getattr(attempts.venue(), "as_told", None)
    if asked is None:
        return None
    try:
        signed = Signed(attempt.reference or "", bytes(attempt.payload or b""), attempt.valid_until)
        told: Executed | None = asked(signed, Quote(**attempt.quote))
    except (VenueUnavailable, VenueRefused):
        return None
    return told


def says(receipt: Receipt) -> str:
    """An answer of the venue in words."""
    if isinstance(receipt, Executed):
        return (
            f"It landed{'' if receipt.final else ', not yet final'}: {receipt.amount_in} in, {receipt.amount_out} out."
        )
    return receipt.reason


def age(step: Step, *, now: datetime) -> timedelta:
    """Since when it has been under way."""
    return now - (step.started_at or step.created_at)
