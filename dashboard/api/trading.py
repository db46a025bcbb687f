"""Orders, positions, the portfolio, its equity line, and prices."""

from dataclasses import asdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from django.db.models import Prefetch, QuerySet
from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.endpoint import Endpoint, Operation, one
from dashboard.api.shapes import (
    AgentKey,
    ListQuery,
    MarketName,
    Moment,
    Number,
    Raw,
    Shape,
    Usd,
)
from missions import policies
from tradeco.common import db
from trading import money, performance, portfolio, positions
from trading.models import Attempt, EquitySnapshot, Fill, Market, Order, Position
from trading.vocabulary import AttemptStatus, OrderStatus, PositionStatus, Side


class AttemptShape(Shape):
    n: int
    status: AttemptStatus
    reference: Annotated[str | None, Field(description="What the venue knows it by; null before it is signed")]
    sends: int
    code: str
    created_at: Moment
    ended_at: Moment | None


class FillShape(Shape):
    price_usd: Number
    amount_in: Raw
    amount_in_asset: str
    amount_out: Raw
    amount_out_asset: str
    fee_usd: Usd
    realized_pnl_usd: Annotated[Usd | None, Field(description="Of a sale, fees inside")]
    at: Moment
    market_at: Moment


class OrderShape(Shape):
    id: int
    step: int
    agent: AgentKey
    market: str
    side: Side
    status: OrderStatus
    amount_in: Raw
    amount_in_asset: str
    amount_in_units: Annotated[Number, Field(description="The same amount in whole tokens")]
    slippage_bps: int
    code: str
    reason: str
    created_at: Moment
    ended_at: Moment | None
    position: int | None
    attempts: list[AttemptShape]
    fills: list[FillShape]

    @classmethod
    def of(cls, row: Order) -> "OrderShape":
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in _ORDER_PLAIN},
                "step": row.step_id,
                "agent": row.agent_id,
                "market": row.market_id,
                "position": row.position_id,
                "amount_in_asset": row.asset_in.symbol,
                "amount_in_units": money.units(row.amount_in, row.asset_in.decimals),
                "attempts": list(row.attempts.all()),
                "fills": [_fill(row, fill) for fill in row.fills.all()],
            }
        )


_ORDER_PLAIN = (
    "id", "side", "status", "amount_in", "slippage_bps", "code", "reason", "created_at", "ended_at",
)  # fmt: skip


def _fill(order: Order, fill: Fill) -> dict[str, Any]:
    base, quote = order.market.base, order.market.quote
    out = base if order.asset_in == quote else quote
    realized = fill.realized_quote
    return {
        "price_usd": fill.price,
        "amount_in": fill.amount_in,
        "amount_in_asset": order.asset_in.symbol,
        "amount_out": fill.amount_out,
        "amount_out_asset": out.symbol,
        "fee_usd": money.units(fill.fee_quote, quote.decimals),
        "realized_pnl_usd": None if realized is None else money.units(realized, quote.decimals),
        "at": fill.at,
        "market_at": fill.market_at,
    }


class PositionShape(Shape):
    id: int
    market: str
    agent: AgentKey
    status: PositionStatus
    quantity: Number
    cost_usd: Usd
    entry_price_usd: Number | None
    mark_price_usd: Annotated[Number | None, Field(description="null: unpriced, which is not zero")]
    value_usd: Usd | None
    unrealized_pnl_usd: Usd | None
    unrealized_pct: Number | None
    realized_pnl_usd: Usd
    fees_usd: Usd
    stop_price_usd: Number | None
    take_profit_price_usd: Number | None
    hold_until: Annotated[Moment | None, Field(description="Market time")]
    opened_at: Moment
    opened_market_at: Moment
    closed_at: Moment | None
    closed_market_at: Moment | None

    @classmethod
    def of(cls, row: Position) -> "PositionShape":
        seen = asdict(positions.view(row))
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in _POSITION_PLAIN},
                **seen,
                "market": row.market_id,
                "agent": row.agent_id,
                "entry_price_usd": seen["entry_price"],
                "mark_price_usd": seen["mark_price"],
                "stop_price_usd": row.stop_price,
                "take_profit_price_usd": row.take_profit_price,
            }
        )


_POSITION_PLAIN = (
    "id", "status", "hold_until", "opened_at", "opened_market_at", "closed_at", "closed_market_at",
)  # fmt: skip


class PortfolioShape(Shape):
    cash_usd: Annotated[Usd, Field(description="USDC counts as 1.00 USD")]
    free_cash_usd: Annotated[Usd, Field(description="Cash that no order reserves")]
    positions_usd: Usd
    equity_usd: Usd
    exposure_usd: Usd
    realized_pnl_usd: Usd
    unrealized_pnl_usd: Usd
    fees_usd: Usd
    peak_usd: Usd
    drawdown: Annotated[Number, Field(description="Share below the equity peak")]
    open_positions: int
    unpriced: Annotated[list[str], Field(description="Markets of positions without a price")]
    network_fees_usd: Annotated[Usd, Field(description="Part of fees_usd that the network took, at SOL's price then")]
    fee_reserve_sol: Annotated[Number, Field(description="What pays the network; no part of equity")]
    sharpe: Annotated[Number | None, Field(description="Of daily returns, annualised; null: too few days")]
    sortino: Annotated[Number | None, Field(description="Of daily returns, annualised; null: too few days")]
    max_drawdown: Annotated[Number | None, Field(description="Deepest daily close below its equity peak, as a share")]
    return_days: Annotated[int, Field(description="How many daily returns that is of")]

    @classmethod
    def at(cls, now: datetime) -> "PortfolioShape":
        did = performance.summary(now=now)
        return cls.model_validate(
            {
                **asdict(portfolio.summary(now=now)),
                "network_fees_usd": money.usd(performance.network_fees()),
                "fee_reserve_sol": money.units(portfolio.fee_reserve(), SOL_DECIMALS),
                "sharpe": _four_places(did.sharpe),
                "sortino": _four_places(did.sortino),
                "max_drawdown": _four_places(did.max_drawdown),
                "return_days": did.days,
            }
        )


SOL_DECIMALS = 9


def _four_places(ratio: float | None) -> Decimal | None:
    return None if ratio is None else Decimal(f"{ratio:.4f}")


class EquityPoint(Shape):
    at: Moment
    market_at: Moment
    equity_usd: Usd
    cash_usd: Usd
    realized_pnl_usd: Usd
    unrealized_pnl_usd: Usd
    drawdown: Number

    @classmethod
    def of(cls, row: EquitySnapshot) -> "EquityPoint":
        return cls(
            at=row.at,
            market_at=row.market_at,
            equity_usd=money.usd(row.equity),
            cash_usd=money.usd(row.cash),
            realized_pnl_usd=money.usd(row.realized),
            unrealized_pnl_usd=money.usd(row.unrealized),
            drawdown=Decimal(row.peak - row.equity) / Decimal(row.peak) if row.peak else Decimal(0),
        )


class PriceShape(Shape):
    market: str
    price_usd: Annotated[Number | None, Field(description="null: unpriced")]
    price_at: Annotated[Moment | None, Field(description="Market time")]
    received_at: Annotated[Moment | None, Field(description="Wall time at which we had it")]
    stale: bool
    open: Annotated[bool, Field(description="Whether entries are possible")]


class OrderQuery(ListQuery):
    status: OrderStatus | None = None
    market: MarketName | None = None
    agent: AgentKey | None = None
    side: Side | None = None


class PositionQuery(ListQuery):
    status: PositionStatus | None = None
    market: MarketName | None = None
    agent: AgentKey | None = None


def _orders() -> QuerySet[Order]:
    attempts = Prefetch("attempts", queryset=Attempt.objects.order_by("n"))
    fills = Prefetch("fills", queryset=Fill.objects.order_by("pk"))
    found = Order.objects.select_related("asset_in", "market__base", "market__quote")
    return found.prefetch_related(attempts, fills)


def _positions() -> QuerySet[Position]:
    return Position.objects.select_related("market__base", "market__quote")


class Orders(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="Orders, newest first",
            scope=("read",),
            answer=OrderShape,
            listed=True,
            query=OrderQuery,
        )
    }

    def get(self, request: Request) -> Response:
        return self.page(_orders().filter(**self.asked(OrderQuery).filters()), OrderShape)


class OneOrder(Endpoint):
    operations: ClassVar = {"GET": Operation(summary="One order", scope=("read",), answer=OrderShape)}

    def get(self, request: Request, id: int) -> Response:
        return Response(OrderShape.of(one(_orders(), pk=id)).as_json())


class Positions(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="Positions, newest first",
            scope=("read",),
            answer=PositionShape,
            listed=True,
            query=PositionQuery,
        )
    }

    def get(self, request: Request) -> Response:
        return self.page(_positions().filter(**self.asked(PositionQuery).filters()), PositionShape)


class OnePosition(Endpoint):
    operations: ClassVar = {"GET": Operation(summary="One position", scope=("read",), answer=PositionShape)}

    def get(self, request: Request, id: int) -> Response:
        return Response(PositionShape.of(one(_positions(), pk=id)).as_json())


class PortfolioNow(Endpoint):
    operations: ClassVar = {
        "GET": Operation(summary="Cash, equity, exposure and P&L", scope=("read",), answer=PortfolioShape)
    }

    def get(self, request: Request) -> Response:
        return Response(PortfolioShape.at(db.now()).as_json())


class Equity(Endpoint):
    """A page of the series is oldest first; `next` leads to older pages."""

    operations: ClassVar = {
        "GET": Operation(
            summary="The newest equity snapshots, oldest first; next leads to older ones",
            scope=("read",),
            answer=EquityPoint,
            listed=True,
            query=ListQuery,
        )
    }

    def get(self, request: Request) -> Response:
        answer = self.page(EquitySnapshot.objects.all(), EquityPoint)
        answer.data["results"].reverse()
        return answer


class Prices(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="The newest price of each market",
            scope=("read",),
            answer=PriceShape,
            listed=True,
            query=ListQuery,
        )
    }

    def get(self, request: Request) -> Response:
        now, (_, policy) = db.now(), policies.current()
        stale_after = timedelta(seconds=policy.price_stale_after_seconds)
        rows = [_price(market, now=now, stale_after=stale_after) for market in Market.objects.all()]
        return self.page(rows, PriceShape, key="market")


def _price(market: Market, *, now: datetime, stale_after: timedelta) -> PriceShape:
    received = market.received_at
    return PriceShape(
        market=market.name,
        price_usd=market.price,
        price_at=market.price_at,
        received_at=received,
        stale=received is None or now - received > stale_after,
        open=market.open,
    )
