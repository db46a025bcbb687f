"""A person says what a finding was: booked as the chain tells it, or dismissed because it needs no entry.

    book       a transaction of somebody else, or a difference that nothing explains, goes into the books, once
    dismiss    seen and handled; nothing is booked

What came or went in USDC and SOL counts as capital, other tokens as drift; so does what is missing for no reason that
the chain tells. Where less of a token is left than a position holds, position and lots shrink with it, and its cost
leaves as capital. A trade of ours that landed after it was given up is booked as the trade that it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.contrib.auth.models import AbstractBaseUser
from django.db import models

from tradeco.common import db, events
from tradeco.common.errors import DomainError, NotFound
from tradeco.common.outside import VenueUnavailable
from tradeco.common.vocabulary import EventKind
from trading import agreeing, findings, late, ledger, lots, money, network, stocktaking
from trading.ledger import Line
from trading.models import Finding, Market, Position
from trading.portfolio import market_time
from trading.venues.base import Executed
from trading.venues.http import VenueRefused
from trading.vocabulary import AccountKind, FindingKind, LedgerKind, PositionStatus

BOOKABLE = (FindingKind.MOVEMENT, FindingKind.UNKNOWN_SIGNATURE, FindingKind.BALANCE_DRIFT)
BOOKED = "booked"
DISMISSIBLE = (FindingKind.VANISHED, FindingKind.UNKNOWN_SIGNATURE, FindingKind.MOVEMENT)


class Verb(models.TextChoices):
    BOOK = "book", "Book it"
    DISMISS = "dismiss", "Dismiss"


class NotForThis(DomainError):
    code = "finding_needs_another_verb"
    title = "That isn't how this finding is settled"


class NotBookable(DomainError):
    code = "movement_not_bookable"
    title = "It can't be booked now"


@dataclass(frozen=True, slots=True)
class Told:
    """What the chain says of a finding now: raw amounts by mint, and the books' as they stood beside it.

    `up_to_slot` is the one that a difference was read at; `trade` what our own late attempt exchanged.
    """

    deltas: Mapping[str, int]
    in_books: Mapping[str, int]
    up_to_slot: int | None = None
    trade: Executed | None = None


NOTHING_TOLD = Told({}, {})


@dataclass(frozen=True, slots=True)
class Settled:
    finding: Finding
    missing: int = 0


def consult(finding_id: int, verb: Verb) -> Told:
    """Ask the chain what booking needs to know. Reads only.

    Raises:
        NotFound: no such finding.
        NotForThis: this kind isn't settled so.
        NotBookable: it isn't final, nothing differs, or nothing can be said now.
    """
    finding = Finding.objects.filter(pk=finding_id).select_related("wallet").first()
    if finding is None:
        raise NotFound(f"There is no finding #{finding_id}.")
    kinds = BOOKABLE if verb == Verb.BOOK else DISMISSIBLE
    if finding.kind not in kinds:
        raise NotForThis(f"{finding.get_kind_display()}: it can't be settled by {verb.label.lower()!r}.")
    if verb == Verb.DISMISS or finding.settled_at is not None:
        return NOTHING_TOLD
    try:
        return _difference(finding) if finding.kind == FindingKind.BALANCE_DRIFT else _transaction(finding)
    except (VenueUnavailable, VenueRefused) as away:
        raise NotBookable(f"The chain can't be asked now. {away.detail}") from away


def settle(*, finding_id: int, verb: Verb, by: AbstractBaseUser, reason: str, now: datetime) -> Settled:
    """Ask the chain, then settle the finding in a transaction of its own.

    Raises:
        NotFound, NotForThis, NotBookable, FindingSettled, AgreedAlready
    """
    told = consult(finding_id, verb)
    with db.transaction():
        return settle_within(finding_id=finding_id, told=told, verb=verb, by=by, reason=reason, now=now)


def settle_within(
    *, finding_id: int, told: Told, verb: Verb, by: AbstractBaseUser, reason: str, now: datetime
) -> Settled:
    """`settle` with what the chain was asked before, inside the caller's transaction."""
    db.requires_transaction()
    finding = Finding.objects.select_for_update(of=("self",)).select_related("wallet").get(pk=finding_id)
    if finding.settled_at is not None:
        raise findings.FindingSettled(f"It was settled as {finding.how} already.")
    deltas = told.deltas if verb == Verb.BOOK else _moved(finding)
    missing = agreeing.agree(finding, verb=verb, by=by, reason=reason, deltas=deltas, value_usd=_worth(deltas), now=now)
    if missing:
        return Settled(finding, missing)
    if verb == Verb.BOOK and not late.book(finding, told.trade, now=now):
        _book(finding, told, now=now)
    how = BOOKED if verb == Verb.BOOK else "dismissed"
    return Settled(findings.settle(finding_id=finding.pk, how=how, by=by, reason=reason, now=now))


# --- what the chain says --------------------------------------------------------------------------


def _transaction(finding: Finding) -> Told:
    """Every node must hold it as final: what is booked must not vanish."""
    seen = [node.transaction(finding.key, "finalized") for node in network.nodes()]
    found = seen[0]
    if found is None or any(each is None for each in seen):
        raise NotBookable("This transaction isn't final on every node yet. Try again in a minute.")
    moved = stocktaking.moved_by(finding.wallet, found)
    if not moved:
        raise NotBookable("It moved nothing that the books hold; dismiss it.")
    booked = _in_booked_differences(finding, found.slot)
    deltas = {mint: delta for mint, delta in moved.items() if mint not in booked}
    if not deltas:
        raise NotBookable("It is part of a difference that was booked already; dismiss it.")
    return Told(deltas, {}, trade=late.executed(finding) if deltas == moved else None)


def _in_booked_differences(finding: Finding, slot: int) -> set[str]:
    """The mints of which a difference was booked that holds what happened up to this slot.

    Somebody's transfer shows in the balances at once, and among the wallet's signatures when the node's index has it.
    """
    differences = Finding.objects.filter(wallet=finding.wallet, kind=FindingKind.BALANCE_DRIFT, how=BOOKED)
    return set(differences.filter(evidence__up_to_slot__gte=slot).values_list("key", flat=True))


def _difference(finding: Finding) -> Told:
    if finding.key in stocktaking.in_doubt():
        raise NotBookable("An order in doubt may explain some of it: settle that first.")
    compared = stocktaking.compare(finding.wallet)
    if compared is None:
        raise NotBookable("A trade is under way, or the node is behind: nothing can be compared now.")
    for each in compared.differences:
        if each.asset.mint == finding.key:
            delta = each.on_chain - each.in_books
            return Told({finding.key: delta}, {finding.key: each.in_books}, up_to_slot=compared.slot)
    raise NotBookable("Books and chain hold the same of it; the next pass settles this.")


def _moved(finding: Finding) -> dict[str, int]:
    """What it moved as it was found; empty where it moved nothing of ours."""
    return {mint: int(amount) for mint, amount in finding.evidence.get("moved", {}).items()}


def _worth(deltas: Mapping[str, int]) -> Decimal:
    """What was moved in USD, without its sign; tokens that have no price here count nothing."""
    worth = money.usd(abs(deltas.get(money.USDC, 0)))
    for market in Market.objects.filter(base__in=list(deltas), price__isnull=False).select_related("base", "quote"):
        assert market.price is not None, "the filter has seen to it"
        decimals = {"base_decimals": market.base.decimals, "quote_decimals": market.quote.decimals}
        worth += money.usd(money.value(abs(deltas[market.base_id]), price=market.price, **decimals))
    return worth


# --- booking --------------------------------------------------------------------------------------


def _book(finding: Finding, told: Told, *, now: datetime) -> None:
    accounts = ledger.lock(finding.wallet, sorted({*told.deltas, money.USDC}))
    drift = finding.kind == FindingKind.BALANCE_DRIFT
    if drift:
        _require_nothing_else_explains(finding)
    lines: list[Line] = []
    for mint, delta in told.deltas.items():
        account = accounts[mint]
        if mint in told.in_books and account.balance != told.in_books[mint]:
            raise NotBookable("The books moved meanwhile. Try again.")
        if account.balance + delta < account.reserved:
            raise NotBookable("Orders under way hold more than would be left; wait for them or settle them first.")
        # a plain transfer into our token account doesn't name the wallet, so a deposit may come as a difference
        explained = not drift or delta > 0
        paid = AccountKind.CAPITAL if mint in (money.USDC, money.NATIVE) and explained else AccountKind.DRIFT
        lines += [(AccountKind.WALLET, mint, delta), (paid, mint, -delta)]
        if delta < 0:
            left = account.balance + delta
            lines += _shrink(finding, mint, left=left, now=now)
            lots.withdraw(finding, mint, left=left, now=now)
    ledger.book(
        reference=f"drift:{finding.pk}" if drift else f"movement:{finding.key}",
        kind=LedgerKind.MOVEMENT,
        wallet=finding.wallet,
        lines=lines,
        now=now,
        market_at=market_time(now=now),
        memo=f"finding #{finding.pk}",
    )
    if told.up_to_slot is not None:
        finding.evidence["up_to_slot"] = told.up_to_slot
        finding.save(update_fields=["evidence"])


def _require_nothing_else_explains(finding: Finding) -> None:
    """A difference that an open movement explains would be booked twice."""
    others = Finding.objects.filter(wallet=finding.wallet, settled_at=None, kind__in=stocktaking.OF_SIGNATURES)
    for other in others:
        if finding.key in other.evidence.get("moved", {}):
            raise NotBookable(f"Finding #{other.pk} moved some of it: settle that first.")


def _shrink(finding: Finding, mint: str, *, left: int, now: datetime) -> list[Line]:
    """Let the open position hold no more than is left; its share of the cost leaves as capital in kind."""
    open_now = Position.objects.select_for_update(of=("self",)).filter(
        wallet=finding.wallet, market__base=mint, status=PositionStatus.OPEN
    )
    position = open_now.first()
    if position is None or position.quantity <= left:
        return []
    cost = position.cost - position.cost * left // position.quantity
    position.quantity, position.cost = left, position.cost - cost
    if left == 0:
        position.status, position.closed_at = PositionStatus.CLOSED, now
        position.closed_market_at = market_time(now=now)
    position.save()
    events.emit(
        kind=EventKind.POSITION_CHANGED,
        subject=position.subject,
        agent=position.agent_id,
        now=now,
        data={"market": position.market_id, "finding": finding.pk, "quantity": str(left)},
    )
    return [(AccountKind.CAPITAL, money.USDC, cost), (AccountKind.DRIFT, money.USDC, -cost)]
