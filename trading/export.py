"""What a tax adviser asks for: each disposal with the purchase it came from, and whatever else cost or moved something.

Rows are of one UTC year, in the order in which things happened. Disposals go by FIFO: a sale that took from three
purchases is three rows. USDC counts as 1.00 USD. Amounts are whole tokens and USD, exactly as they are in the books.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from decimal import Decimal
from heapq import merge
from typing import IO

from django.db.models import QuerySet, Sum

from trading import money
from trading.models import Fill, LedgerEntry, LedgerTransaction, LotSale
from trading.vocabulary import AccountKind, LedgerKind

UNKNOWN_COST = "no purchase of ours brought this: its cost isn't known"
NETWORK_FEE = "fee of a transaction that did nothing else"
RENT = "deposit for an account on chain, returned when it is closed; no fee"
RAN_AS_FORMULA = re.compile(r"^[=+\-@\t\r]")
PLAIN_NUMBER = re.compile(r"^-?[0-9]+(\.[0-9]+)?$")


@dataclass(frozen=True, slots=True)
class Row:
    """`event`: disposal, network_fee, rent, opening, movement. Empty where something doesn't apply."""

    event: str
    at: datetime
    asset: str
    quantity: Decimal
    acquired_at: datetime | None = None
    proceeds_usd: Decimal | None = None
    cost_usd: Decimal | None = None
    gain_usd: Decimal | None = None
    fees_usd: Decimal | None = None
    acquired_by: str = ""
    reference: str = ""
    remark: str = ""


def write(file: IO[str], *, year: int) -> int:
    """A CSV with a heading line; how many rows follow it. The lots must be caught up (`lots.catch_up`)."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([field.name for field in fields(Row)])
    count = 0
    for row in rows(year=year):
        writer.writerow([_cell(value) for value in astuple(row)])
        count += 1
    return count


def rows(*, year: int) -> Iterator[Row]:
    """Every taxable event of a UTC year, and what an adviser needs beside them, oldest first."""
    begins, ends = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    parts = (_disposals(begins, ends), _rents(begins, ends), _fees(begins, ends), _moved(begins, ends))
    return merge(*parts, key=lambda row: row.at)


def _disposals(begins: datetime, ends: datetime) -> Iterator[Row]:
    sales = LotSale.objects.filter(fill__at__gte=begins, fill__at__lt=ends, fill__reversed_at=None)
    related = ("fill__attempt", "fill__order__market__base", "lot__fill__attempt")
    for sale in sales.select_related(*related).order_by("fill__at", "pk").iterator():
        fill, base = sale.fill, sale.fill.order.market.base
        bought = sale.lot.fill if sale.lot else None
        yield Row(
            event="disposal",
            at=fill.at,
            asset=base.symbol,
            quantity=money.units(sale.quantity, base.decimals),
            acquired_at=bought.at if bought else None,
            proceeds_usd=money.usd(sale.proceeds),
            cost_usd=money.usd(sale.cost) if bought else None,
            gain_usd=money.usd(sale.proceeds - sale.cost) if bought else None,
            fees_usd=money.usd(_share_of_fees(sale)),
            acquired_by=bought.attempt.reference or "" if bought else "",
            reference=fill.attempt.reference or "",
            remark="" if bought else UNKNOWN_COST,
        )


def _share_of_fees(sale: LotSale) -> int:
    """Of the sale's own fees, which its proceeds are without; a purchase's are in its cost."""
    fill = sale.fill
    return int((fill.fee_quote + fill.network_fee_quote) * sale.quantity // fill.amount_in)


def _rents(begins: datetime, ends: datetime) -> Iterator[Row]:
    fills = Fill.objects.filter(at__gte=begins, at__lt=ends, reversed_at=None, rent__gt=0).select_related("attempt")
    for fill in fills.order_by("at", "pk").iterator():
        yield Row(
            event="rent",
            at=fill.at,
            asset="SOL",
            quantity=money.units(fill.rent, 9),
            reference=fill.attempt.reference or "",
            remark=RENT,
        )


def _fees(begins: datetime, ends: datetime) -> Iterator[Row]:
    """Of failed transactions. Those of fills are in cost and proceeds."""
    for each in _booked([LedgerKind.FEE], begins, ends):
        in_sol = _sum(each, AccountKind.NETWORK, money.NATIVE)
        yield Row(
            event="network_fee",
            at=each.at,
            asset="SOL",
            quantity=money.units(in_sol, 9),
            fees_usd=money.usd(_sum(each, AccountKind.FEES, money.USDC)),
            reference=each.reference.removeprefix("fee:"),
            remark=NETWORK_FEE,
        )


def _moved(begins: datetime, ends: datetime) -> Iterator[Row]:
    """What came into the wallet, and left it (below zero), otherwise than by trades."""
    for each in _booked([LedgerKind.OPENING, LedgerKind.MOVEMENT], begins, ends):
        entries = LedgerEntry.objects.filter(transaction=each, account__kind=AccountKind.WALLET)
        for entry in entries.select_related("asset").order_by("pk"):
            yield Row(
                event=each.kind,
                at=each.at,
                asset=entry.asset.symbol,
                quantity=money.units(entry.amount, entry.asset.decimals),
                reference=each.reference,
                remark=each.memo,
            )


def _booked(kinds: Iterable[LedgerKind], begins: datetime, ends: datetime) -> QuerySet[LedgerTransaction]:
    return LedgerTransaction.objects.filter(kind__in=kinds, at__gte=begins, at__lt=ends).order_by("at", "pk")


def _sum(transaction: LedgerTransaction, kind: AccountKind, mint: str) -> int:
    entries = LedgerEntry.objects.filter(transaction=transaction, account__kind=kind, asset=mint)
    return int(entries.aggregate(total=Sum("amount"))["total"] or 0)


def _cell(value: object) -> str:
    """Text that no spreadsheet runs: what would be a formula gets an apostrophe before it; numbers stay numbers."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    text = f"{value:f}" if isinstance(value, Decimal) else str(value)
    return f"'{text}" if RAN_AS_FORMULA.match(text) and not PLAIN_NUMBER.match(text) else text
