"""Guards taken away, one at a time, and the seed's own order of doing things: the controls that must fail.

old_way                 mark the step, quote, sign, send, and write the signature down afterwards
intent                  ours, but bytes and reference are committed after the send
proof                   ours, but what isn't seen on chain counts as never landed, and is signed anew
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from missions.claims import Claim
from missions.handlers import Ending, Park
from trading.models import Order


def take_away(guard: str) -> Callable[[], None]:
    """Take a guard out of this process; what is returned puts it back. An empty name takes nothing away."""
    from trading import attempts

    before = {name: getattr(attempts, name) for name in ("begin", "_commit", "look_up")}
    match guard:
        case "":
            pass
        case "old_way":
            attempts.begin = begin
        case "intent":
            attempts._commit = _sending_first(attempts._commit)
        case "proof":
            attempts.look_up = _impatiently(attempts.look_up)
        case _:
            raise ValueError(f"there is no guard {guard}")

    def put_back() -> None:
        for name, value in before.items():
            setattr(attempts, name, value)

    return put_back


def begin(order: Order, claim: Claim, *, now: datetime) -> Ending:
    """The seed's way, in place of `attempts.begin`: the signature is learnt, sent, and only then written down."""
    from tradeco.common import crashpoints, db
    from tradeco.common.outside import VenueUnavailable
    from trading import attempts
    from trading.models import Attempt

    here = attempts.venue()
    try:
        quote = here.quote(
            market=order.market, side=order.side, amount_in=order.amount_in, slippage_bps=order.slippage_bps
        )
        signed = here.sign(quote)
        crashpoints.reach("attempts.signed")
        crashpoints.reach("attempts.sending")
        here.send(signed, quote)
    except VenueUnavailable as away:
        from missions.handlers import Retry

        return Retry(code=away.code, reason=away.detail)
    crashpoints.reach("execution.sent")
    with db.transaction():
        Attempt.objects.create(
            order=order,
            n=order.attempts.count() + 1,
            quote=quote.as_json(),
            status="broadcast",
            reference=signed.reference,
            payload=signed.payload,
            valid_until=signed.valid_until,
            sends=1,
            created_at=now,
        )
        Order.objects.filter(pk=order.pk).update(status="submitted")
    crashpoints.reach("execution.intent_committed")
    return Park(delay=timedelta(0))


def _sending_first(commit: Callable[..., None]) -> Callable[..., None]:
    def late(attempt: object, order: object, signed: object, claim: Claim, *, now: datetime) -> None:
        from tradeco.common import crashpoints
        from trading import attempts

        attempts.venue().send(signed, None)  # type: ignore[arg-type]  # the quote isn't looked at
        crashpoints.reach("execution.sent")
        commit(attempt, order, signed, claim, now=now)

    return late


def _impatiently(look_up: Callable[..., object]) -> Callable[..., object]:
    def look(attempt: object, *, now: datetime) -> object:
        from trading.venues.base import NeverLanded, UnderWay

        receipt = look_up(attempt, now=now)
        return NeverLanded("nobody has seen it yet") if isinstance(receipt, UnderWay) else receipt

    return look
