"""The handlers of what moves money: an order reserved with the approval, advanced visit by visit, let go in the end.

    approved → reserved            counters, reservation, order: the approving transaction
    reserved → submitted           kill switch checked again, then an attempt is quoted, signed and sent
    submitted → …                  each visit asks the venue what became of the attempt
    reserved → failed, cancelled   nothing was sent: all that was held is free again

An attempt's own life is `attempts`' affair, what fills do to the books `booking`'s.
"""

from datetime import datetime

from missions.claims import Claim
from missions.drafts import PARAMS, ExecuteTrade, StepDraft
from missions.handlers import Ending, Handler, InDoubt
from missions.models import Step
from missions.policy_keys import Policy
from missions.vocabulary import StepKind
from tradeco.common import events
from tradeco.common.vocabulary import EventKind
from trading import attempts, booking, intents, ledger, money, stopping
from trading.models import Attempt, Order
from trading.models.order import SENT_ATTEMPT
from trading.portfolio import WALLET, wallet
from trading.vocabulary import OrderStatus


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
                stopping.require_may_be_sent(order, now=now)  # what it raises fails the step, and frees its money
                return attempts.begin(order, claim, now=now)
            case OrderStatus.SUBMITTED:
                return attempts.pursue(order, _sent(order), claim, now=now)
        # Its order has ended, but the step hasn't: that can't come to pass, since both end in one transaction.
        return InDoubt(code="order_already_ended", reason=f"The order is {order.status}, the step is not.")

    def may_have_sent(self, step: Step) -> bool:
        return Order.objects.filter(step=step, status__in=(OrderStatus.SUBMITTED, OrderStatus.IN_DOUBT)).exists()

    def doubt(self, step: Step, *, now: datetime) -> None:
        order = _order_of(step)
        if order.status == OrderStatus.SUBMITTED:
            attempts.put_in_doubt(order, _sent(order), code=step.code, reason=step.reason, now=now)

    def release(self, step: Step, *, now: datetime) -> None:
        order = Order.objects.select_related("wallet", "asset_in").filter(step=step).first()
        if order is not None and order.status == OrderStatus.RESERVED:
            attempts.drop_quoted(order, now=now)
            to = OrderStatus.CANCELLED if step.code == "cancelled" else OrderStatus.FAILED
            booking.let_go(order, to=to, code=step.code, reason=step.reason, now=now)


class Trade(MovesMoney):
    kind = StepKind.EXECUTE_TRADE


class Close(MovesMoney):
    kind = StepKind.CLOSE_POSITION


class Scale(MovesMoney):
    kind = StepKind.SCALE_POSITION


def _order_of(step: Step) -> Order:
    order = Order.objects.select_related("wallet", "asset_in", "market__base", "market__quote").get(step=step)
    order.step = step
    return order


def _sent(order: Order) -> Attempt:
    return order.attempts.get(status__in=SENT_ATTEMPT)
