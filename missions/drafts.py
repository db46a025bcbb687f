"""What a proposal may say: one schema, whichever door it enters by (API, admin, agents, language models).

Unknown keys are refused. Whether the named market or position exists, and whether the numbers are wise, is the
gates' affair.
"""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from missions.vocabulary import ConversationFormat, StepKind
from tradeco.common.errors import InvalidInput

STEPS_MAX = 5  # a plan that needs more is several proposals


def _storable(text: str) -> str:
    """No control characters, and no half of a surrogate pair: JSON may carry one, UTF-8 and the database can't."""
    if any(ord(character) < 32 and character not in "\n\t" for character in text):
        raise ValueError("control characters are not allowed")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("half of a surrogate pair is no character")
    return text


def _number_or_numeral(value: Any) -> Any:
    """Decimals come as strings such as "20.00"; a JSON number is taken by its shortest numeral."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal)):
        raise ValueError('write a decimal string such as "20.00"')
    return str(value) if isinstance(value, float) else value


def _rounded_down(share: Decimal) -> Decimal:
    """To thousandths, as it is stored: what is judged is what a replay will read."""
    return share.quantize(Decimal("0.001"), rounding=ROUND_DOWN)


Text = Annotated[str, AfterValidator(_storable)]
Number = Annotated[Decimal, BeforeValidator(_number_or_numeral), Field(allow_inf_nan=False)]
Usd = Annotated[Number, Field(gt=0, le=Decimal(10) ** 9, max_digits=15, decimal_places=6)]
Percent = Annotated[Number, Field(gt=0, le=100, max_digits=9, decimal_places=6)]
Share = Annotated[Number, Field(ge=0, le=1, max_digits=7, decimal_places=6)]
Thousandths = Annotated[Share, AfterValidator(_rounded_down)]
MarketName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{2,12}/[A-Za-z0-9]{2,12}$")]
RowId = Annotated[int, Field(strict=True, ge=1, le=2**63 - 1)]
SlippageBps = Annotated[int, Field(strict=True, ge=1, le=10_000)]


class Params(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AnalyzeSignal(Params):
    """Compute signals from recent candles; of all markets where none is named."""

    market: MarketName | None = None


class CalculateRisk(Params):
    """Measure exposure, drawdown and the worst loss at the stops."""

    market: MarketName | None = None


class MonitorPosition(Params):
    """Look at one open position, or at all."""

    position: RowId | None = None


class ExecuteTrade(Params):
    """Buy, or sell out of the open position (long only). Percentages are of cost."""

    side: Literal["buy", "sell"]
    market: MarketName
    size_usd: Usd
    stop_loss_pct: Percent | None = None
    take_profit_pct: Percent | None = None
    slippage_bps: SlippageBps | None = None

    @model_validator(mode="after")
    def exits_belong_to_entries(self) -> "ExecuteTrade":
        if self.side == "sell" and (self.stop_loss_pct or self.take_profit_pct):
            raise ValueError("stop_loss_pct and take_profit_pct belong to a buy")
        return self


class ClosePosition(Params):
    """Sell the whole of an open position."""

    position: RowId
    reason: Annotated[Text, Field(max_length=200)] = ""
    slippage_bps: SlippageBps | None = None


class ScalePosition(Params):
    """Make an open position larger (up) or smaller (down) by a value in USD."""

    position: RowId
    direction: Literal["up", "down"]
    size_usd: Usd
    slippage_bps: SlippageBps | None = None


class HoldRoundtable(Params):
    """Talk about a topic in one of the formats; `about` names the row that called for it, such as `position:12`."""

    format: ConversationFormat
    topic: Annotated[Text, Field(max_length=200)] = ""
    about: Annotated[str, Field(pattern=r"^([a-z_]{1,20}:[0-9]{1,18})?$")] = ""


class Reflect(Params):
    """Look back on the agent's outcomes of the last hours."""

    topic: Annotated[Text, Field(max_length=80)] = ""
    window_hours: Annotated[int, Field(strict=True, ge=1, le=24 * 90)] = 48


PARAMS: Mapping[StepKind, type[Params]] = {
    StepKind.ANALYZE_SIGNAL: AnalyzeSignal,
    StepKind.CALCULATE_RISK: CalculateRisk,
    StepKind.MONITOR_POSITION: MonitorPosition,
    StepKind.EXECUTE_TRADE: ExecuteTrade,
    StepKind.CLOSE_POSITION: ClosePosition,
    StepKind.SCALE_POSITION: ScalePosition,
    StepKind.HOLD_ROUNDTABLE: HoldRoundtable,
    StepKind.REFLECT: Reflect,
}


def _below(field: str, error: ValidationError) -> ValidationError:
    """The same mistakes, located below `field`; the input stays out of it."""
    mistakes = [
        InitErrorDetails(
            type=PydanticCustomError("params", item["msg"]),  # no template: it has no context
            loc=(field, *item["loc"]),
            input=None,
        )
        for item in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    return ValidationError.from_exception_data(error.title, mistakes)


class StepDraft(BaseModel):
    """A step's kind with the parameters of that kind; `typed` is their validated form."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: StepKind
    params: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def params_fit_the_kind(self) -> "StepDraft":
        try:
            PARAMS[self.kind].model_validate(self.params)
        except ValidationError as exc:
            raise _below("params", exc) from exc
        return self

    @property
    def typed(self) -> Params:
        return PARAMS[self.kind].model_validate(self.params)


class Forecast(BaseModel):
    """The probability that the trade ends in profit at its horizon."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    probability: Thousandths
    horizon_minutes: Annotated[int, Field(strict=True, ge=1, le=525_600)]


class Draft(BaseModel):
    """A proposal as it is handed in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: Annotated[str, Field(pattern=r"^[a-z]{2,20}$")]
    title: Annotated[Text, Field(min_length=1, max_length=200)]
    rationale: Annotated[Text, Field(max_length=4000)] = ""
    steps: Annotated[tuple[StepDraft, ...], Field(min_length=1, max_length=STEPS_MAX)]
    confidence: Thousandths
    forecast: Forecast | None = None

    @property
    def kinds(self) -> tuple[StepKind, ...]:
        return tuple(step.kind for step in self.steps)


def is_exit(draft: Draft) -> bool:
    """Whether everything in the draft that moves money makes a position smaller."""
    return not any(_takes_risk(step.typed) for step in draft.steps)


def _takes_risk(params: Params) -> bool:
    match params:
        case ExecuteTrade(side="buy") | ScalePosition(direction="up"):
            return True
    return False


def read(data: Any) -> Draft:
    """Validate a proposal's data.

    Raises:
        InvalidInput: with a JSON pointer and a message for each mistake.
    """
    if not isinstance(data, dict):
        raise InvalidInput("A proposal is a JSON object.", errors=[{"pointer": "", "message": "not an object"}])
    try:
        return Draft.model_validate(data)
    except ValidationError as exc:
        raise InvalidInput("The proposal is not valid.", errors=pointers(exc)) from exc


def pointers(error: ValidationError) -> list[dict[str, str]]:
    """A validation error as JSON pointers (RFC 6901) with messages; never echoes a value that was sent."""
    items = error.errors(include_url=False, include_context=False, include_input=False)
    places = [item["loc"] for item in items]
    return [
        {
            "pointer": "".join(f"/{_escaped(part)}" for part in item["loc"]),
            "message": item["msg"].removeprefix("Value error, "),
        }
        for item in items
        if not _only_follows(item["type"], item["loc"], places)
    ]


def _escaped(part: str | int) -> str:
    return str(part).replace("~", "~0").replace("/", "~1")


def _only_follows(kind: str, place: tuple[str | int, ...], places: list[tuple[str | int, ...]]) -> bool:
    """A tuple counts as too short when its only item is wrong; that item's own mistake says enough."""
    return kind == "too_short" and any(len(p) > len(place) and p[: len(place)] == place for p in places)


def steps_as_json(draft: Draft) -> list[dict[str, Any]]:
    """The steps as they are stored: only what was given, decimals as strings."""
    return [
        {"kind": step.kind.value, "params": step.typed.model_dump(mode="json", exclude_none=True)}
        for step in draft.steps
    ]
