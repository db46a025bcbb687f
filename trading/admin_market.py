"""The market on the staff's desk, to be read: assets, prices, candles, the feed, and the signals computed from them."""

from django.contrib import admin

from missions.models import Step
from tradeco.common import admin_show as show
from tradeco.common.admin_base import ReadOnlyAdmin
from trading.models import Asset, Candle, Feed, Market, Signal


@admin.register(Asset)
class AssetAdmin(ReadOnlyAdmin):
    list_display = ("symbol", "mint", "decimals")
    search_fields = ("symbol", "mint")
    ordering = ("symbol",)


@admin.register(Market)
class MarketAdmin(ReadOnlyAdmin):
    list_display = ("name", "price_shown", "price_at", "received_at", "open")
    list_filter = ("open",)
    search_fields = ("name",)

    @admin.display(description="price", ordering="price")
    def price_shown(self, market: Market) -> str:
        return show.price(market.price)


@admin.register(Candle)
class CandleAdmin(ReadOnlyAdmin):
    list_display = ("market_id", "start", "seconds", "o", "h", "l", "c", "received_at")
    list_filter = ("market", "received_at")
    ordering = ("-id",)

    @admin.display(description="open")
    def o(self, candle: Candle) -> str:
        return show.price(candle.open)

    @admin.display(description="high")
    def h(self, candle: Candle) -> str:
        return show.price(candle.high)

    @admin.display(description="low")
    def l(self, candle: Candle) -> str:  # noqa: E743  the field's own letter: o, h, l, c
        return show.price(candle.low)

    @admin.display(description="close")
    def c(self, candle: Candle) -> str:
        return show.price(candle.close)


@admin.register(Feed)
class FeedAdmin(ReadOnlyAdmin):
    list_display = ("source", "bar_seconds", "read", "market_time", "ended_at")


@admin.register(Signal)
class SignalAdmin(ReadOnlyAdmin):
    list_display = ("market_id", "kind", "direction", "strength", "confidence", "why", "step_key", "at")
    list_filter = ("market", "kind", "direction", "at")
    search_fields = ("why",)
    ordering = ("-id",)
    fields = (
        "market",
        "step",
        "kind",
        "direction",
        "strength",
        "confidence",
        "why",
        "at",
        "market_at",
        "features_shown",
    )

    step_key = show.key_of("step", Step)
    features_shown = show.json_of("features")
