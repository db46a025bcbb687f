"""Money moves once, or a person is asked: the state machine of an order.

    approved → reserved                    counters, reservation, order: the approving transaction
    reserved → submitted                   kill switch and price checked again; the attempt with its reference is
                                           committed BEFORE anything is sent
    submitted → filled | failed            the venue said what it did; booked in the transaction that ends the step
    submitted → submitted                  the venue didn't say: the SAME reference is sent again, never a new one
    submitted → in_doubt                   it keeps silent: a person is asked, the reservation stays held

A step advances here visit by visit. Which venue exchanges is settings' affair, what fills do to books `booking`'s.
"""

import uuid
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db.models import F

from missions import claims, policies
from missions.claims import Claim
from missions.drafts import PARAMS, ExecuteTrade, StepDraft
from missions.handlers import Ending, Failed, Handler, InDoubt, Park, Succeeded
from missions.models import Company, Step
from missions.policy_keys import Policy
from missions.vocabulary import CompanyStatus, StepKind
from tradeco.common import crashpoints, db, events, states
from tradeco.common.vocabulary import EventKind
from tradeco.common.wiring import load
from trading import booking, intents, ledger, money
from trading.models import Attempt, Order
from trading.portfolio import WALLET, wallet
from trading.venues.base import Executed, Quote, Receipt, Refused, Venue
from trading.vocabulary import AttemptStatus, OrderStatus, Side

SENDS_MAX = 10  # silent answers before a person is asked
ASK_AGAIN = timedelta(seconds=2)


class MovesMoney(Handler):
    """What execute_trade, close_position and scale_position have in common: everything but their parameters."""

    kind: StepKind

    def lock(self, draft: StepDraft) -> None:
        market = intents.market_of(draft.typed)
        if market is not None:
            ledger.lock(WALLET, [market.quote_id, market.base_id])

    def prepare(self, step: Step, *, policy: Policy, now: datetime) -> None:
        params = PARAMS[self.kind].model_validate(step.params)
        intent = intents.read(params)
        owner = wallet()
        ledger.reserve(wallet=owner, asset=intent.asset_in, amount=intent.amount_in)
        entry = params if isinstance(params, ExecuteTrade) else None
        order = Order.objects.create(
            step=step,
            agent_id=step.mission.agent_id,
            wallet=owner,
            market=intent.market,
            position=intent.position,
            side=intent.side,
            asset_in=intent.asset_in,
            amount_in=intent.amount_in,
            slippage_bps=getattr(params, "slippage_bps", None) or policy.slippage_max_bps,
            stop_loss=entry.stop_loss_pct / 100 if entry and entry.stop_loss_pct else None,
            take_profit=entry.take_profit_pct / 100 if entry and entry.take_profit_pct else None,
            created_at=now,
        )
        events.emit(
            kind=EventKind.ORDER_RESERVED,
            subject=order.subject,
            agent=order.agent_id,
            now=now,
            data={
                "market": order.market_id,
                "side": order.side,
                "amount_in": str(money.units(order.amount_in, intent.asset_in.decimals)),
                "asset_in": intent.asset_in.symbol,
                "step": step.pk,
            },
        )

    def visit(self, claim: Claim, *, now: datetime) -> Ending:
        order = _order_of(claim.step)
        match order.status:
            case OrderStatus.RESERVED:
                return _send_first(order, claim, now=now)
            case OrderStatus.SUBMITTED:
                return _send(order, _open_attempt(order), claim, now=now)
        # Its order has ended, but the step hasn't: that can't come to pass, since both end in one transaction.
        return InDoubt(code="order_already_ended", reason=f"The order is {order.status}, the step is not.")

    def may_have_sent(self, step: Step) -> bool:
        return Order.objects.filter(step=step, status__in=(OrderStatus.SUBMITTED, OrderStatus.IN_DOUBT)).exists()

    def doubt(self, step: Step, *, now: datetime) -> None:
        order = _order_of(step)
        if order.status == OrderStatus.SUBMITTED:
            _put_in_doubt(order, _open_attempt(order), code=step.code, reason=step.reason, now=now)

    def release(self, step: Step, *, now: datetime) -> None:
        order = Order.objects.select_related("wallet", "asset_in").filter(step=step).first()
        if order is not None and order.status == OrderStatus.RESERVED:
            to = OrderStatus.CANCELLED if step.code == "cancelled" else OrderStatus.FAILED
            booking.let_go(order, to=to, code=step.code, reason=step.reason, now=now)


class Trade(MovesMoney):
    kind = StepKind.EXECUTE_TRADE


class Close(MovesMoney):
    kind = StepKind.CLOSE_POSITION


class Scale(MovesMoney):
    kind = StepKind.SCALE_POSITION


def _order_of(step: Step) -> Order:
    return Order.objects.select_related(
        "wallet", "asset_in", "market__base", "market__quote", "step__mission__proposal"
    ).get(step=step)


def _open_attempt(order: Order) -> Attempt:
    return order.attempts.get(status__in=(AttemptStatus.SENT, AttemptStatus.IN_DOUBT))


def _send_first(order: Order, claim: Claim, *, now: datetime) -> Ending:
    """Check once more what may have changed since the approval, commit the intent, and send."""
    refused = _stopped(order)
    if refused is not None:
        return refused
    quote = venue().quote(
        market=order.market, side=order.side, amount_in=order.amount_in, slippage_bps=order.slippage_bps
    )
    if quote.amount_out <= 0:
        return Failed(code="too_small", reason="The venue gives nothing for so little.")
    attempt = _commit_intent(order, quote, claim, now=now)
    crashpoints.reach("execution.intent_committed")
    return _send(order, attempt, claim, now=now)


def _stopped(order: Order) -> Failed | None:
    """HALTED stops what isn't sent yet; REDUCING stops buys."""
    status = Company.objects.values_list("status", flat=True).get()
    if status == CompanyStatus.HALTED:
        return Failed(code="halted", reason="Trading was halted before anything was sent.")
    if status == CompanyStatus.REDUCING and order.side == Side.BUY:
        return Failed(code="reducing", reason="Only exits are allowed now.")
    return None


def _commit_intent(order: Order, quote: Quote, claim: Claim, *, now: datetime) -> Attempt:
    """The attempt with its reference stands before anything is sent; only the step's holder gets this far."""
    with db.transaction():
        claims.fence(claim)
        attempt = Attempt.objects.create(
            order=order,
            n=order.attempts.count() + 1,
            reference=uuid.uuid4().hex,
            status=AttemptStatus.SENT,
            quote=quote.as_json(),
            created_at=now,
        )
        states.move(order, to=OrderStatus.SUBMITTED)
        events.emit(
            kind=EventKind.ORDER_SUBMITTED,
            subject=order.subject,
            agent=order.agent_id,
            now=now,
            data={"market": order.market_id, "side": order.side, "attempt": attempt.n, "price": quote.price},
        )
    return attempt


def _send(order: Order, attempt: Attempt, claim: Claim, *, now: datetime) -> Ending:
    """Send, or send again the same reference: the venue does it at most once, so asking and sending are one."""
    claims.renew(claim)
    Attempt.objects.filter(pk=attempt.pk).update(sends=F("sends") + 1)
    receipt = venue().submit(reference=attempt.reference, quote=Quote(**attempt.quote))
    crashpoints.reach("execution.sent")
    return _ending(order, attempt, receipt, now=now)


def _ending(order: Order, attempt: Attempt, receipt: Receipt, *, now: datetime) -> Ending:
    match receipt:
        case Executed():
            return _filled(order, attempt, receipt, now=now)
        case Refused():
            return _refused(order, attempt, receipt, now=now)
    if attempt.sends + 1 >= SENDS_MAX:
        return _in_doubt(order, attempt, receipt.reason, now=now)
    return Park(delay=ASK_AGAIN, reason=receipt.reason)


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
    def book() -> None:
        _afresh(order, attempt)
        states.move(attempt, to=AttemptStatus.FAILED, ended_at=now, code=refused.code)
        booking.let_go(order, to=OrderStatus.FAILED, code=refused.code, reason=refused.reason, now=now)

    return Failed(code=refused.code, reason=refused.reason, book=book)


def _in_doubt(order: Order, attempt: Attempt, reason: str, *, now: datetime) -> InDoubt:
    return InDoubt(
        code="venue_silent",
        reason=f"The venue doesn't say what became of {attempt.reference}: {reason}",
        evidence={"order": order.pk, "reference": attempt.reference, "sends": attempt.sends + 1},
        book=lambda: _put_in_doubt(*_afresh(order, attempt), code="venue_silent", reason=reason, now=now),
    )


def _put_in_doubt(order: Order, attempt: Attempt, *, code: str, reason: str, now: datetime) -> None:
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


def _afresh(order: Order, attempt: Attempt) -> tuple[Order, Attempt]:
    """Both as they stand: an earlier try of the same booking may have been undone by contention."""
    order.refresh_from_db(fields=["status"])
    attempt.refresh_from_db(fields=["status"])
    return order, attempt


def venue() -> Venue:
    """The venue of this deployment."""
    made: Venue = load(settings.VENUE)()
    return made
