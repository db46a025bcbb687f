"""FIFO lots beside the average cost of positions: which purchase each sale gave away, at what cost.

A purchase's cost holds all fees, a sale's proceeds are what is left of it after all fees; the network's are in the
quote asset at SOL's price of the moment. What both methods say of a holding differs until all of it is sold. What left
the wallet otherwise leaves the lots too, as no sale.
"""

from collections.abc import Iterator
from datetime import datetime

from django.db.models import QuerySet

from tradeco.common import db
from trading import ledger
from trading.models import Fill, Finding, Lot, LotSale, LotWithdrawal
from trading.vocabulary import Side


def book(fill: Fill) -> None:
    """Take a fill into the lots. The caller has locked the accounts of its assets, so fills come one at a time."""
    db.requires_transaction()
    if fill.order.side == Side.BUY:
        _open(fill)
        return
    unsold = _unsold(*_of(fill))
    if sum(lot.remaining for lot in unsold) < fill.amount_in:
        _replay(*_of(fill))  # there are fills from before there were lots; this one is among what is replayed
    else:
        _sell(fill, unsold)


def retell(fill: Fill) -> None:
    """After a fill was reversed, or turned out to be another: sales that followed it may take from other lots then,
    so all of the asset's are told anew.
    """
    db.requires_transaction()
    _replay(*_of(fill))


def withdraw(finding: Finding, mint: str, *, left: int, now: datetime) -> None:
    """Let the lots hold no more than is left. The caller has locked the asset's account."""
    db.requires_transaction()
    fills = _fills(finding.wallet_id, mint)
    if fills.filter(reversed_at=None, lot=None, lot_sales=None).exists():
        _replay(finding.wallet_id, mint)
    unsold, newest = _unsold(finding.wallet_id, mint), fills.order_by("-pk").first()
    quantity = sum(lot.remaining for lot in unsold) - left
    if quantity <= 0 or newest is None:
        return
    LotWithdrawal.objects.create(
        finding=finding, wallet_id=finding.wallet_id, asset_id=mint, quantity=quantity, after=newest, at=now
    )
    _withdraw(unsold, quantity)


def catch_up() -> int:
    """Make the lots of fills from before there were lots; how many assets needed it."""
    bare = Fill.objects.filter(reversed_at=None, lot=None, lot_sales=None).select_related("order__market")
    done: set[tuple[str, str]] = set()
    for fill in bare.order_by("pk").iterator():
        wallet, asset = of = _of(fill)
        if of not in done:
            done.add(of)
            with db.transaction():
                ledger.lock(wallet, [asset])
                _replay(wallet, asset)
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
    """Shares are rounded so that all parts together are the whole, to the smallest unit."""
    left, proceeds = fill.amount_in, fill.amount_out - fill.network_fee_quote
    sales = []
    for lot, quantity, cost in _take(unsold, fill.amount_in):
        share = proceeds * quantity // left
        sales.append(LotSale(lot=lot, fill=fill, quantity=quantity, cost=cost, proceeds=share))
        left -= quantity
        proceeds -= share
    if left:
        sales.append(LotSale(lot=None, fill=fill, quantity=left, cost=0, proceeds=proceeds))
    LotSale.objects.bulk_create(sales)


def _withdraw(unsold: list[Lot], quantity: int) -> None:
    for _ in _take(unsold, quantity):
        pass


def _take(unsold: list[Lot], wanted: int) -> Iterator[tuple[Lot, int, int]]:
    """Take so much, the oldest first, as far as it is there: from which lot, how much, at what cost."""
    for lot in unsold:
        if not wanted:
            return
        quantity = min(wanted, lot.remaining)
        cost = lot.cost_remaining * quantity // lot.remaining
        lot.remaining -= quantity
        lot.cost_remaining -= cost
        lot.save(update_fields=["remaining", "cost_remaining"])
        wanted -= quantity
        yield lot, quantity, cost


def _of(fill: Fill) -> tuple[str, str]:
    """Whose lots a fill concerns: its wallet, and the asset bought or sold."""
    return fill.order.wallet_id, fill.order.market.base_id


def _fills(wallet: str, asset: str) -> QuerySet[Fill]:
    return Fill.objects.filter(order__wallet=wallet, order__market__base=asset)


def _unsold(wallet: str, asset: str) -> list[Lot]:
    """The lots that hold something, oldest first; as many as there were purchases since empty."""
    return list(Lot.objects.filter(wallet=wallet, asset=asset, remaining__gt=0).order_by("fill"))


def _replay(wallet: str, asset: str) -> None:
    """Tell the lots of a wallet's asset anew: all fills that stand, in the order they were booked, and withdrawals."""
    fills = _fills(wallet, asset)
    LotSale.objects.filter(fill__in=fills).delete()
    Lot.objects.filter(wallet=wallet, asset=asset).delete()
    taken = list(LotWithdrawal.objects.filter(wallet=wallet, asset=asset).order_by("after", "pk"))
    for fill in fills.filter(reversed_at=None).select_related("order__market").order_by("pk").iterator():
        while taken and taken[0].after_id < fill.pk:
            _withdraw(_unsold(wallet, asset), taken.pop(0).quantity)
        if fill.order.side == Side.BUY:
            _open(fill)
        else:
            _sell(fill, _unsold(wallet, asset))
    for withdrawal in taken:
        _withdraw(_unsold(wallet, asset), withdrawal.quantity)
