"""An attempt's life: quoted, checked, signed, sent, looked up; and what each answer of the venue means for its order.

    reserved → quoted              the quote is checked once more; nothing binds yet
    quoted → signed                bytes and reference are committed BEFORE the first send
    signed → broadcast             committed before the send too: from here every error counts as sent
    broadcast → broadcast          nothing known: THE SAME BYTES again, while they can land
    → confirmed | failed_onchain   the venue said what it did; booked in the transaction that ends the step
    → expired                      proven not to have landed: only now may another attempt be quoted
    → in_doubt                     the venue keeps silent or contradicts itself: a person is asked, all stays held

Which step may do this, and when, is `execution`'s affair; what it does to the books `booking`'s.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import F

from missions import claims, policies
from missions.claims import Claim
from missions.handlers import Ending, Failed, InDoubt, Park, Retry, Succeeded
from missions.policy_keys import Policy
from tradeco.common import crashpoints, db, events, states
from tradeco.common.errors import DomainError
from tradeco.common.outside import VenueUnavailable
from tradeco.common.vocabulary import EventKind
from tradeco.common.wiring import load
from trading import booking, money, stopping
from trading.models import Attempt, Order
from trading.venues.base import Executed, NeverLanded, Quote, Receipt, Refused, Signed, UnderWay, Unknown, Venue
from trading.vocabulary import AttemptStatus, OrderStatus, Side

ATTEMPTS_MAX = 3  # signatures an order may use up, each after the one before provably expired
UNANSWERED_MAX = 10  # looks in a row without an answer before a person is asked: some two and a half minutes
ASK_AGAIN = timedelta(seconds=1)  # doubled at each look that tells nothing
ASK_AGAIN_MOST = timedelta(seconds=30)
LOOK_AGAIN = timedelta(seconds=0.4)  # while it may land any moment
LOOK_AGAIN_LATER = timedelta(seconds=2)  # while it waits for a better block, or for the proof that none came
SENDS_IN_HASTE = 8
ABSENCE_PROVES_FOR = timedelta(hours=1)  # nodes keep days of history; what is older is a person's affair
UNDER_WAY_MOST = timedelta(minutes=10)  # a blockhash lives a minute and a half, a block is final some 13 s later


def venue() -> Venue:
    """The venue of this deployment."""
    made: Venue = load(settings.VENUE)()
    return made


def begin(order: Order, claim: Claim, *, now: datetime) -> Ending:
    """Quote, check, sign, send. Nothing is held against the order yet, so whatever fails before the send is final."""
    with db.transaction():
        claims.fence(claim)  # a worker that lost its claim must not end the quote of who has it
        drop_quoted(order, now=now)
    _, policy = policies.current()
    here = venue()
    if here.address != order.wallet.address:
        return Failed(code="wrong_wallet", reason="The key at hand is not that of the order's wallet.")
    try:
        quote = here.quote(
            market=order.market, side=order.side, amount_in=order.amount_in, slippage_bps=order.slippage_bps
        )
    except VenueUnavailable as away:
        return Retry(code=away.code, reason=away.detail)
    crashpoints.reach("attempts.quote_came")
    unfit = _unfit(order, quote, policy)
    if unfit is not None:
        return unfit
    attempt = _open(order, quote, claim, now=now)
    crashpoints.reach("attempts.quoted")
    try:
        signed = here.sign(quote)
    except VenueUnavailable as away:
        return Retry(code=away.code, reason=away.detail)
    except DomainError as refusal:
        return _refused(order, attempt, Refused(refusal.code, refusal.detail), now=now)
    crashpoints.reach("attempts.signed")
    try:
        _commit(attempt, order, signed, claim, now=now)
    except stopping.Stopped as stopped:
        return _refused(order, attempt, Refused(stopped.code, stopped.detail), now=now)
    crashpoints.reach("execution.intent_committed")
    return _send(order, attempt, claim, first=True, now=now)


def pursue(order: Order, attempt: Attempt, claim: Claim, *, now: datetime) -> Ending:
    """What became of it? Nothing known: the same bytes again while they can land."""
    receipt = look_up(attempt, now=now)
    if isinstance(receipt, UnderWay) and not stopping.set_back(order):
        return _send(order, attempt, claim, first=False, now=now)
    return conclude(order, attempt, receipt, now=now)


def look_up(attempt: Attempt, *, now: datetime) -> Receipt:
    """Ask the venue, which may stay silent. Reads only."""
    try:
        receipt = venue().look_up(_signed(attempt), Quote(**attempt.quote))
    except VenueUnavailable as away:
        receipt = Unknown(away.detail)
    crashpoints.reach("attempts.looked_up")
    return _at_its_age(attempt, receipt, now=now)


def _at_its_age(attempt: Attempt, receipt: Receipt, *, now: datetime) -> Receipt:
    """Nodes forget: an old attempt that none knows may have landed. And one that can't end must not wait for ever."""
    age = now - attempt.created_at
    if isinstance(receipt, NeverLanded) and age > ABSENCE_PROVES_FOR:
        return Unknown("No node knows it, but it is so old that they may have forgotten it.", receipt.evidence)
    if isinstance(receipt, UnderWay) and age > UNDER_WAY_MOST:
        return Unknown(f"It should have ended long ago. {receipt.reason}")
    return receipt


def conclude(order: Order, attempt: Attempt, receipt: Receipt, *, now: datetime) -> Ending:
    """What an answer about this attempt means for the order and its step; booked in the step's own transaction."""
    match receipt:
        case Executed():
            return _filled(order, attempt, receipt, now=now)
        case Refused():
            return _failed(order, attempt, receipt, now=now)
        case NeverLanded():
            return _expired(order, attempt, receipt, now=now)
        case UnderWay():
            Attempt.objects.filter(pk=attempt.pk).update(unanswered=0)
            delay = LOOK_AGAIN if attempt.sends < SENDS_IN_HASTE else LOOK_AGAIN_LATER
            return Park(delay=delay, reason=receipt.reason)
    return _unknown(order, attempt, receipt, now=now)


def drop_quoted(order: Order, *, now: datetime) -> None:
    """End an attempt that was never signed, by a worker that isn't there any more."""
    for attempt in order.attempts.filter(status=AttemptStatus.QUOTED):
        states.move(attempt, to=AttemptStatus.EXPIRED, ended_at=now, code="never_signed")


def put_in_doubt(order: Order, attempt: Attempt, *, code: str, reason: str, now: datetime) -> None:
    """In the transaction that puts the step before a person; the reservation stays held."""
    states.move(attempt, to=AttemptStatus.IN_DOUBT, code=code)
    states.move(order, to=OrderStatus.IN_DOUBT, code=code, reason=reason[:500])
    events.emit(
        kind=EventKind.ORDER_IN_DOUBT,
        subject=order.subject,
        agent=order.agent_id,
        now=now,
        data={"market": order.market_id, "reference": attempt.reference, "reason": reason[:500]},
    )


# --- before it is sent ----------------------------------------------------------------------------


def _unfit(order: Order, quote: Quote, policy: Policy) -> Failed | None:
    """A quote that must not be signed: nothing for it, too much impact, or far off the price we know."""
    if quote.amount_out <= 0 or quote.least_out <= 0:
        return Failed(code="too_small", reason="The venue gives nothing for so little.")
    if quote.amount_in != order.amount_in:
        return Failed(code="quote_of_another_amount", reason="The venue quoted another amount than was asked.")
    if Decimal(quote.impact) > policy.price_impact_max:
        return Failed(
            code="impact_too_large",
            reason=f"It would move the price by {Decimal(quote.impact):.2%}; at most {policy.price_impact_max:.2%}.",
        )
    known = order.market.price
    worse = None if known is None else _worse(order.side, Decimal(quote.price), known)
    if worse is not None and worse > policy.price_impact_max:
        return Failed(code="quote_off_market", reason=f"The quote is {worse:.2%} worse than the newest price.")
    return None


def _worse(side: str, offered: Decimal, known: Decimal) -> Decimal:
    """How much worse for us than the price we know, as a share; below zero where it is better."""
    return offered / known - 1 if side == Side.BUY else 1 - offered / known


def _open(order: Order, quote: Quote, claim: Claim, *, now: datetime) -> Attempt:
    with db.transaction():
        claims.fence(claim)
        return Attempt.objects.create(order=order, n=order.attempts.count() + 1, quote=quote.as_json(), created_at=now)


def _commit(attempt: Attempt, order: Order, signed: Signed, claim: Claim, *, now: datetime) -> None:
    """Bytes and reference stand before anything is sent; only the step's holder gets this far.

    Raises:
        Stopped: the company was halted since the step was visited.
    """
    with db.transaction():
        claims.fence(claim)
        stopping.require_switch_allows(order)
        states.move(
            attempt,
            to=AttemptStatus.SIGNED,
            reference=signed.reference,
            payload=signed.payload,
            valid_until=signed.valid_until,
        )
        states.move(order, to=OrderStatus.SUBMITTED)
        events.emit(
            kind=EventKind.ORDER_SUBMITTED,
            subject=order.subject,
            agent=order.agent_id,
            now=now,
            data={
                "market": order.market_id,
                "side": order.side,
                "attempt": attempt.n,
                "reference": attempt.reference,
                "price": attempt.quote["price"],
            },
        )


def _send(order: Order, attempt: Attempt, claim: Claim, *, first: bool, now: datetime) -> Ending:
    """Send the bytes, once, and look. That a first send was refused is proof; of a later one it proves nothing."""
    claims.renew(claim)
    open_now = Attempt.objects.filter(pk=attempt.pk, status__in=(AttemptStatus.SIGNED, AttemptStatus.BROADCAST))
    if not open_now.update(status=AttemptStatus.BROADCAST, sends=F("sends") + 1):
        raise claims.LostClaim(f"Attempt {attempt.reference} was settled meanwhile.")
    attempt.status = AttemptStatus.BROADCAST
    crashpoints.reach("attempts.sending")
    try:
        refused = venue().send(_signed(attempt), Quote(**attempt.quote))
    except VenueUnavailable as away:
        refused = None
        reason = away.detail
    else:
        reason = refused.reason if refused else "sent"
    crashpoints.reach("execution.sent")
    if refused is not None and first:
        return _refused(order, attempt, refused, now=now)
    receipt = look_up(attempt, now=now)
    if isinstance(receipt, UnderWay):
        receipt = UnderWay(reason)
    return conclude(order, attempt, receipt, now=now)


def _signed(attempt: Attempt) -> Signed:
    assert attempt.reference is not None, "only what is signed is sent or looked up"
    return Signed(attempt.reference, bytes(attempt.payload or b""), attempt.valid_until)


# --- what an answer means -------------------------------------------------------------------------


def _filled(order: Order, attempt: Attempt, executed: Executed, *, now: datetime) -> Succeeded:
    _, policy = policies.current()
    result = {
        "order": order.pk,
        "market": order.market_id,
        "side": order.side,
        "price": str(executed.price),
        "amount_in": str(executed.amount_in),
        "amount_out": str(executed.amount_out),
        "fee_usd": str(money.usd(executed.fee_quote)),
    }
    return Succeeded(
        result=result,
        book=lambda: booking.fill(*_afresh(order, attempt), executed, policy=policy, now=now),
        pnl_usd=lambda: _realized(order),
    )


def _realized(order: Order) -> Decimal | None:
    raw = order.fills.values_list("realized_quote", flat=True).first()
    return None if raw is None else money.usd(raw)


def _refused(order: Order, attempt: Attempt, refused: Refused, *, now: datetime) -> Failed:
    """Turned away before it was taken, by the signer or on the first send: nothing was sent."""
    return Failed(
        code=refused.code,
        reason=refused.reason,
        book=_letting_go(order, attempt, AttemptStatus.REFUSED, OrderStatus.FAILED, refused, now=now),
    )


def _failed(order: Order, attempt: Attempt, refused: Refused, *, now: datetime) -> Failed:
    """It landed and did nothing but cost the network's fee."""
    return Failed(
        code=refused.code,
        reason=refused.reason,
        nothing_sent=False,
        book=_letting_go(order, attempt, AttemptStatus.FAILED_ONCHAIN, OrderStatus.FAILED, refused, now=now),
    )


def _expired(order: Order, attempt: Attempt, proof: NeverLanded, *, now: datetime) -> Ending:
    """Another attempt, or the end of the order where it has had its share."""
    if attempt.n >= ATTEMPTS_MAX:
        gone = Refused("expired", f"{attempt.n} transactions expired unlanded: {proof.reason}")
        return Failed(
            code=gone.code,
            reason=gone.reason,
            nothing_sent=False,
            book=_letting_go(order, attempt, AttemptStatus.EXPIRED, OrderStatus.EXPIRED, gone, now=now),
        )

    def book() -> None:
        _afresh(order, attempt)
        states.move(attempt, to=AttemptStatus.EXPIRED, ended_at=now, code="expired", evidence=proof.evidence)
        states.move(order, to=OrderStatus.RESERVED, code="", reason="")

    return Park(delay=timedelta(0), reason=proof.reason, book=book)


def _letting_go(
    order: Order, attempt: Attempt, attempt_to: AttemptStatus, order_to: OrderStatus, why: Refused, *, now: datetime
) -> Callable[[], None]:
    def book() -> None:
        _afresh(order, attempt)
        states.move(attempt, to=attempt_to, ended_at=now, code=why.code, slot=why.slot)
        booking.network_fee(order, attempt, lamports=why.network_fee, now=now)
        booking.let_go(order, to=order_to, code=why.code, reason=why.reason, now=now)

    return book


def _unknown(order: Order, attempt: Attempt, unknown: Unknown, *, now: datetime) -> Ending:
    looks = attempt.unanswered + 1
    Attempt.objects.filter(pk=attempt.pk).update(unanswered=looks, evidence=unknown.evidence)
    if looks < UNANSWERED_MAX:
        return Park(delay=min(ASK_AGAIN_MOST, ASK_AGAIN * 2 ** (looks - 1)), reason=unknown.reason)
    return InDoubt(
        code="venue_silent",
        reason=f"The venue doesn't say what became of {attempt.reference}: {unknown.reason}",
        evidence={"order": order.pk, "reference": attempt.reference, "sends": attempt.sends, **unknown.evidence},
        book=lambda: put_in_doubt(*_afresh(order, attempt), code="venue_silent", reason=unknown.reason, now=now),
    )


def _afresh(order: Order, attempt: Attempt) -> tuple[Order, Attempt]:
    """Both as they stand: an earlier try of the same booking may have been undone by contention."""
    order.refresh_from_db(fields=["status"])
    attempt.refresh_from_db(fields=["status"])
    return order, attempt
