"""FIFO lots beside the average cost of positions: which purchase each sale gave away, at what cost.

A purchase's cost holds all fees, a sale's proceeds are what is left of it after all fees; the network's are in the
quote asset at SOL's price of the moment. What both methods say of a holding differs until all of it is sold.
"""

from tradeco.common import db
from trading import ledger
from trading.models import Fill, Lot, LotSale
from trading.vocabulary import Side


def book(fill: Fill) -> None:
    """Take a fill into the lots. The caller has locked the accounts of its assets, so fills come one at a time."""
    db.requires_transaction()
    if fill.order.side == Side.BUY:
        _open(fill)
        return
    unsold = _unsold(fill)
    if sum(lot.remaining for lot in unsold) < fill.amount_in:
        _replay(fill)  # there are fills from before there were lots; this one is among what is replayed
    else:
        _sell(fill, unsold)


def retell(fill: Fill) -> None:
    """After a fill was reversed, or turned out to be another: sales that followed it may take from other lots then,
    so all of the asset's are told anew.
    """
    db.requires_transaction()
    _replay(fill)


def catch_up() -> int:
    """Make the lots of fills from before there were lots; how many assets needed it."""
    bare = Fill.objects.filter(reversed_at=None, lot=None, lot_sales=None).select_related("order__market")
    done: set[tuple[str, str]] = set()
    for fill in bare.order_by("pk").iterator():
        of = (fill.order.wallet_id, fill.order.market.base_id)
        if of not in done:
            done.add(of)
            with db.transaction():
                ledger.lock(fill.order.wallet_id, [fill.order.market.base_id])
                _replay(fill)
    return len(done)


def _open(fill: Fill) -> None:
    cost = fill.amount_in + fill.network_fee_quote
    Lot.objects.create(
        fill=fill,
        wallet_id=fill.order.wallet_id,
        asset_id=fill.order.market.base_id,
        quantity=fill.amount_out,
        cost=cost,
        remaining=fill.amount_out,
        cost_remaining=cost,
    )


def _sell(fill: Fill, unsold: list[Lot]) -> None:
    """Take the oldest first. Shares are rounded so that all parts together are the whole, to the smallest unit."""
    left, proceeds = fill.amount_in, fill.amount_out - fill.network_fee_quote
    sales = []
    for lot in unsold:
        if not left:
            break
        quantity = min(left, lot.remaining)
        cost = lot.cost_remaining * quantity // lot.remaining
        share = proceeds * quantity // left
        sales.append(LotSale(lot=lot, fill=fill, quantity=quantity, cost=cost, proceeds=share))
        lot.remaining -= quantity
        lot.cost_remaining -= cost
        lot.save(update_fields=["remaining", "cost_remaining"])
        left -= quantity
        proceeds -= share
    if left:
        sales.append(LotSale(lot=None, fill=fill, quantity=left, cost=0, proceeds=proceeds))
    LotSale.objects.bulk_create(sales)


def _unsold(fill: Fill) -> list[Lot]:
    """The lots of the fill's asset that hold something, oldest first; as many as there were purchases since empty."""
    unsold = Lot.objects.filter(wallet=fill.order.wallet_id, asset=fill.order.market.base_id, remaining__gt=0)
    return list(unsold.order_by("fill"))


def _replay(fill: Fill) -> None:
    """Tell the lots of the fill's wallet and asset anew, from all fills that stand in the order they were booked."""
    order = fill.order
    fills = Fill.objects.filter(order__wallet=order.wallet_id, order__market__base=order.market.base_id)
    LotSale.objects.filter(fill__in=fills).delete()
    Lot.objects.filter(wallet=order.wallet_id, asset=order.market.base_id).delete()
    for each in fills.filter(reversed_at=None).select_related("order__market").order_by("pk").iterator():
        if each.order.side == Side.BUY:
            _open(each)
        else:
            _sell(each, _unsold(each))
