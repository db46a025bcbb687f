"""The books and the market on the staff's desk, to be read: a correction is a compensating entry, never an edit.

Amounts are shown in whole tokens, exactly; USDC counts as 1.00 USD.
"""

from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString

from missions.models import Step
from tradeco.common import admin_show as show
from tradeco.common.admin_base import ReadOnlyAdmin, ReadOnlyInline, Rows
from trading import admin_findings, admin_market, money, positions
from trading.models import (
    Account,
    Attempt,
    EquitySnapshot,
    Fill,
    LedgerEntry,
    LedgerTransaction,
    Lot,
    LotSale,
    LotWithdrawal,
    Order,
    PaperExecution,
    Position,
    Wallet,
)

__all__ = ["admin_findings", "admin_market"]  # registered by being imported

# --- the books ------------------------------------------------------------------------------------


@admin.register(Wallet)
class WalletAdmin(ReadOnlyAdmin):
    list_display = ("name", "address")
    search_fields = ("name", "address")


@admin.register(Account)
class AccountAdmin(ReadOnlyAdmin):
    list_display = ("kind", "asset", "balance_shown", "reserved_shown", "wallet_id")
    list_filter = ("kind", "asset")
    list_select_related = ("asset",)
    search_fields = ("asset__symbol",)
    ordering = ("kind", "asset__symbol")

    @admin.display(description="balance", ordering="balance")
    def balance_shown(self, account: Account) -> str:
        return show.units(account.balance, account.asset.decimals)

    @admin.display(description="reserved", ordering="reserved")
    def reserved_shown(self, account: Account) -> str:
        return show.units(account.reserved, account.asset.decimals)


class LedgerEntryInline(ReadOnlyInline):
    model = LedgerEntry
    fields = ("account", "asset", "amount_shown")
    readonly_fields = fields

    def get_queryset(self, request: Any) -> Any:
        return super().get_queryset(request).select_related("account__asset", "asset")

    @admin.display(description="amount")
    def amount_shown(self, entry: LedgerEntry) -> str:
        return show.units(entry.amount, entry.asset.decimals)


@admin.register(LedgerTransaction)
class LedgerTransactionAdmin(ReadOnlyAdmin):
    list_display = ("number", "kind", "memo", "at", "reference_short")
    list_display_links = ("number",)
    list_filter = ("kind", "at")
    search_fields = ("reference__exact", "memo")
    search_help_text = "A reference, whole, or words of the memo"
    ordering = ("-id",)
    inlines = (LedgerEntryInline,)

    @admin.display(description="reference", ordering="reference")
    def reference_short(self, booked: LedgerTransaction) -> SafeString | str:
        return show.shortened(booked.reference)

    number = show.number_of("number")


@admin.register(LedgerEntry)
class LedgerEntryAdmin(ReadOnlyAdmin):
    list_display = ("id", "account", "amount_shown", "at", "transaction_key")
    list_filter = ("account__kind", "asset")
    list_select_related = ("account__asset", "asset", "transaction")
    search_fields = ("transaction__reference__exact",)
    search_help_text = "A transaction's reference, whole"
    ordering = ("-id",)

    @admin.display(description="transaction")
    def transaction_key(self, entry: LedgerEntry) -> SafeString | str:
        return show.link(LedgerTransaction, entry.transaction_id, f"#{entry.transaction_id} {entry.transaction.memo}")

    @admin.display(description="amount", ordering="amount")
    def amount_shown(self, entry: LedgerEntry) -> str:
        return f"{show.units(entry.amount, entry.asset.decimals)} {entry.asset.symbol}"

    @admin.display(description="at")
    def at(self, entry: LedgerEntry) -> Any:
        return entry.transaction.at


# --- orders and what they did ---------------------------------------------------------------------


class AttemptInline(ReadOnlyInline):
    model = Attempt
    fields = ("n", "status_shown", "sends", "code", "created_at", "ended_at", "reference_short")
    readonly_fields = fields
    ordering = ("n",)

    status_shown = show.state_of()

    @admin.display(description="reference")
    def reference_short(self, attempt: Attempt) -> SafeString | str:
        return show.shortened(attempt.reference or "")


class FillInline(ReadOnlyInline):
    model = Fill
    fields = ("attempt", "price", "fee", "realized", "at", "market_at")
    readonly_fields = fields

    @admin.display(description="fee")
    def fee(self, fill: Fill) -> str:
        return show.usd(money.usd(fill.fee_quote))

    @admin.display(description="realised P&L")
    def realized(self, fill: Fill) -> str:
        return show.usd(None if fill.realized_quote is None else money.usd(fill.realized_quote))


@admin.register(Order)
class OrderAdmin(admin_findings.AsksNodes, ReadOnlyAdmin):
    list_display = (
        "number",
        "status_shown",
        "side",
        "market_id",
        "gives",
        "agent_key",
        "step_key",
        "position_key",
        "created_at",
        "code",
    )
    list_filter = ("status", "side", "market", "agent")
    list_select_related = ("asset_in",)
    search_fields = ("attempts__reference__exact", "code__exact")
    search_help_text = "A number such as #42, a reference at the venue, or a code, whole"
    ordering = ("-id",)
    fields = (
        ("status_shown", "code", "reason"),
        ("side", "market", "gives", "slippage_bps"),
        ("stop_loss", "take_profit"),
        ("agent", "wallet", "step", "position"),
        ("created_at", "ended_at"),
    )
    inlines = (AttemptInline, FillInline)
    acts = admin_findings.ORDER_ACTS
    panels = (admin_findings.evidence,)

    status_shown = show.state_of()
    agent_key = show.key_of("agent")
    step_key = show.key_of("step", Step)
    position_key = show.key_of("position", Position)

    number = show.number_of("order")

    @admin.display(description="gives")
    def gives(self, order: Order) -> str:
        return f"{show.units(order.amount_in, order.asset_in.decimals)} {order.asset_in.symbol}"


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    list_display = ("reference", "order_key", "n", "status_shown", "sends", "code", "created_at", "ended_at")
    list_filter = ("status", "created_at")
    search_fields = ("reference__exact", "code__exact")
    search_help_text = "A reference or a code, whole"
    ordering = ("-id",)
    fields = ("order", "n", "reference", "status_shown", "sends", "code", "created_at", "ended_at", "quote_shown")

    order_key = show.key_of("order", Order)
    status_shown = show.state_of()
    quote_shown = show.json_of("quote")


@admin.register(Fill)
class FillAdmin(ReadOnlyAdmin):
    list_display = ("id", "order_key", "side", "market", "price_shown", "fee", "realized", "at", "market_at")
    list_filter = ("order__side", "order__market", "at")
    list_select_related = ("order",)
    search_fields = ("attempt__reference__exact",)
    search_help_text = "A number such as #42, or a reference at the venue, whole"
    ordering = ("-id",)

    order_key = show.key_of("order", Order)

    @admin.display(description="side")
    def side(self, fill: Fill) -> str:
        return fill.order.get_side_display()

    @admin.display(description="market")
    def market(self, fill: Fill) -> str:
        return fill.order.market_id

    @admin.display(description="price", ordering="price")
    def price_shown(self, fill: Fill) -> str:
        return show.price(fill.price)

    @admin.display(description="fee", ordering="fee_quote")
    def fee(self, fill: Fill) -> str:
        return show.usd(money.usd(fill.fee_quote))

    @admin.display(description="realised P&L", ordering="realized_quote")
    def realized(self, fill: Fill) -> str:
        return show.usd(None if fill.realized_quote is None else money.usd(fill.realized_quote))


@admin.register(PaperExecution)
class PaperExecutionAdmin(ReadOnlyAdmin):
    list_display = ("reference", "market_id", "side", "price_shown", "at")
    list_filter = ("side", "market", "at")
    search_fields = ("reference__exact",)
    ordering = ("-id",)

    @admin.display(description="price", ordering="price")
    def price_shown(self, execution: PaperExecution) -> str:
        return show.price(execution.price)


# --- lots -----------------------------------------------------------------------------------------


@admin.register(Lot)
class LotAdmin(ReadOnlyAdmin):
    list_display = ("number", "asset", "quantity_shown", "left", "cost_shown")
    list_filter = ("asset",)
    search_fields = ("fill__attempt__reference__exact",)
    list_select_related = ("asset", "fill")
    ordering = ("-id",)

    number = show.number_of("lot")

    @admin.display(description="bought", ordering="quantity")
    def quantity_shown(self, lot: Lot) -> str:
        return f"{money.units(lot.quantity, lot.asset.decimals).normalize():f}"

    @admin.display(description="left", ordering="remaining")
    def left(self, lot: Lot) -> str:
        return f"{money.units(lot.remaining, lot.asset.decimals).normalize():f}"

    @admin.display(description="cost", ordering="cost")
    def cost_shown(self, lot: Lot) -> str:
        return show.usd(money.usd(lot.cost))


@admin.register(LotSale)
class LotSaleAdmin(ReadOnlyAdmin):
    list_display = ("number", "lot_number", "quantity_shown", "cost_shown", "proceeds_shown")
    list_select_related = ("fill__order__market__base",)
    search_fields = ("fill__attempt__reference__exact",)
    ordering = ("-id",)

    number = show.number_of("sale")

    @admin.display(description="quantity", ordering="quantity")
    def quantity_shown(self, sale: LotSale) -> str:
        base = sale.fill.order.market.base
        return f"{money.units(sale.quantity, base.decimals).normalize():f} {base.symbol}"

    @admin.display(description="lot", ordering="lot")
    def lot_number(self, sale: LotSale) -> str:
        return f"#{sale.lot_id}" if sale.lot_id else "cost unknown"

    @admin.display(description="cost", ordering="cost")
    def cost_shown(self, sale: LotSale) -> str:
        return show.usd(money.usd(sale.cost))

    @admin.display(description="proceeds", ordering="proceeds")
    def proceeds_shown(self, sale: LotSale) -> str:
        return show.usd(money.usd(sale.proceeds))


@admin.register(LotWithdrawal)
class LotWithdrawalAdmin(ReadOnlyAdmin):
    list_display = ("number", "asset", "quantity_shown", "finding_key", "at")
    list_filter = ("asset",)
    search_fields = ("finding__key__exact",)
    list_select_related = ("asset",)
    ordering = ("-id",)

    finding_key = show.key_of("finding")

    number = show.number_of("withdrawal")

    @admin.display(description="quantity", ordering="quantity")
    def quantity_shown(self, withdrawal: LotWithdrawal) -> str:
        return f"{money.units(withdrawal.quantity, withdrawal.asset.decimals).normalize():f}"


# --- positions and equity -------------------------------------------------------------------------


def worth(position: Position) -> tuple[str, Rows]:
    """What the position holds, cost and is worth at the mark of this moment."""
    seen = positions.view(position)
    return "At its mark", [
        ("Quantity", f"{seen.quantity:f}", None),
        ("Cost", show.usd(seen.cost_usd), None),
        ("Average entry price", show.price(seen.entry_price), None),
        ("Mark", show.price(seen.mark_price) if seen.mark_price is not None else "unpriced", None),
        ("Value", show.usd(seen.value_usd), None),
        ("Unrealised P&L", show.usd(seen.unrealized_pnl_usd), None),
        ("Realised P&L", show.usd(seen.realized_pnl_usd), None),
        ("Fees", show.usd(seen.fees_usd), None),
    ]


def orders_of_position(position: Position) -> tuple[str, Rows]:
    return "Orders", [
        (order.get_side_display(), show.pill(order.status, str(order)), show.change_url(Order, order.pk))
        for order in position.orders.order_by("id")
    ]


@admin.register(Position)
class PositionAdmin(ReadOnlyAdmin):
    list_display = (
        "number",
        "status_shown",
        "market_id",
        "agent_key",
        "quantity_shown",
        "cost_shown",
        "unrealized",
        "realized_shown",
        "opened_at",
        "closed_at",
    )
    list_filter = ("status", "market", "agent")
    list_select_related = ("market__base", "market__quote")
    search_fields = ("market__name",)
    search_help_text = "A number such as #42, or a market"
    ordering = ("-status", "-id")  # open before closed
    fields = (
        ("status_shown", "market", "agent", "wallet"),
        ("stop_price", "take_profit_price", "hold_until"),
        ("stop_loss", "take_profit"),
        ("alarmed", "exits"),
        ("opened_at", "opened_market_at"),
        ("closed_at", "closed_market_at"),
    )
    panels = (worth, orders_of_position)

    status_shown = show.state_of()
    agent_key = show.key_of("agent")

    number = show.number_of("position")

    @admin.display(description="quantity")
    def quantity_shown(self, position: Position) -> str:
        return f"{position.units(position.quantity):f}"

    @admin.display(description="cost", ordering="cost")
    def cost_shown(self, position: Position) -> str:
        return show.usd(money.usd(position.cost))

    @admin.display(description="unrealised P&L")
    def unrealized(self, position: Position) -> str:
        return show.usd(positions.view(position).unrealized_pnl_usd)

    @admin.display(description="realised P&L", ordering="realized")
    def realized_shown(self, position: Position) -> str:
        return show.usd(money.usd(position.realized))


@admin.register(EquitySnapshot)
class EquitySnapshotAdmin(ReadOnlyAdmin):
    list_display = ("at", "market_at", "equity_usd", "cash_usd", "marks_usd", "peak_usd")
    list_filter = ("at",)
    ordering = ("-at",)
    fields = ("at", "market_at", "equity_usd", "cash_usd", "marks_usd", "peak_usd", "realized_usd", "unrealized_usd")

    @admin.display(description="equity", ordering="equity")
    def equity_usd(self, row: EquitySnapshot) -> str:
        return show.usd(money.usd(row.equity))

    @admin.display(description="cash", ordering="cash")
    def cash_usd(self, row: EquitySnapshot) -> str:
        return show.usd(money.usd(row.cash))

    @admin.display(description="positions at their marks", ordering="positions")
    def marks_usd(self, row: EquitySnapshot) -> str:
        return show.usd(money.usd(row.positions))

    @admin.display(description="highest so far", ordering="peak")
    def peak_usd(self, row: EquitySnapshot) -> str:
        return show.usd(money.usd(row.peak))

    @admin.display(description="realised P&L")
    def realized_usd(self, row: EquitySnapshot) -> str:
        return show.usd(money.usd(row.realized))

    @admin.display(description="unrealised P&L")
    def unrealized_usd(self, row: EquitySnapshot) -> str:
        return show.usd(money.usd(row.unrealized))
