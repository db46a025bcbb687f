"""The words that all shapes of the API share: what an answer, a query and a body are made of.

Money and quantities are decimal strings, times RFC 3339 in UTC. Unknown keys and parameters are refused.
"""

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    create_model,
)
from rest_framework.request import Request

from dashboard.api.pagination import LIMIT_DEFAULT, LIMIT_MAX
from missions.drafts import pointers
from tradeco.common.errors import InvalidInput

PLACES_MAX = 12  # prices are stored to so many; a quotient is cut there


def numeral(value: Decimal, *, places: int = 0) -> str:
    """A decimal without exponent and without idle zeros, but with at least `places`."""
    whole, _, rest = format(value, f".{PLACES_MAX}f").partition(".")
    rest = rest.rstrip("0").ljust(places, "0")
    text = f"{whole}.{rest}" if rest else whole
    return text.removeprefix("-") if value == 0 or not text.strip("-0.") else text


def _as_utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _is_text(text: str) -> str:
    if any(ord(character) < 32 and character not in "\n\t" for character in text):
        raise ValueError("control characters are not allowed")
    return text


def _decimal(places: int, example: str) -> Any:
    return (
        PlainSerializer(lambda value: numeral(value, places=places), return_type=str, when_used="json"),
        WithJsonSchema({"type": "string", "format": "decimal", "examples": [example]}),
    )


Usd = Annotated[Decimal, *_decimal(2, "20.00")]
Number = Annotated[Decimal, *_decimal(0, "0.7")]
Raw = Annotated[
    int,
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "description": "Integer of the asset's smallest unit"}),
]
Moment = Annotated[datetime, AfterValidator(_as_utc)]
Text = Annotated[str, AfterValidator(_is_text)]
Reason = Annotated[Text, Field(min_length=1, max_length=500, pattern=r"\S")]
AgentKey = Annotated[str, Field(pattern=r"^[a-z]{2,20}$")]
MarketName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{2,12}/[A-Za-z0-9]{2,12}$")]
RowId = Annotated[int, Field(ge=1, le=2**63 - 1)]


class Shape(BaseModel):
    """Part of an answer, read from a row's attributes unless it says otherwise."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    @classmethod
    def of(cls, row: Any) -> Self:
        return cls.model_validate(row)

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json")


class Body(BaseModel):
    """What a request may carry."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Why(Body):
    """An act with its reason, which is stored."""

    reason: Reason


class Waits(Shape):
    """Answers an act that needs several people: this one's word is kept, and nothing has changed yet."""

    missing: Annotated[int, Field(ge=1, description="How many more people must send the same")]
    detail: str


class Query(BaseModel):
    """The parameters that an address takes; none here."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def filters(self) -> dict[str, Any]:
        """What was asked for, as filters of a queryset."""
        return self.model_dump(exclude_none=True, exclude={"limit", "cursor"})


class ListQuery(Query):
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX, description="Rows a page")] = LIMIT_DEFAULT
    cursor: Annotated[str, Field(max_length=500, description="From `next`")] = ""


class ProblemError(BaseModel):
    pointer: Annotated[str, Field(description="JSON pointer into the body, empty for a parameter")]
    message: str
    parameter: Annotated[str, Field(description="Name of the parameter, where one is wrong")] = ""


class Problem(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="Stable; see the reference of errors")]
    errors: list[ProblemError]
    request_id: str


Q = TypeVar("Q", bound=Query)
B = TypeVar("B", bound=BaseModel)


@cache
def list_of(row: type[BaseModel]) -> type[BaseModel]:
    """The envelope of a list."""
    rows: Any = list[row]  # type: ignore[valid-type]
    next_page: Any = Annotated[str | None, Field(description="Address of the next page, null on the last")]
    made: type[BaseModel] = create_model(f"{row.__name__}List", results=(rows, ...), next=(next_page, ...))
    return made


def read_query(shape: type[Q], request: Request) -> Q:
    """The request's parameters.

    Raises:
        InvalidInput: names each parameter that is unknown, doubled or wrong.
    """
    given = request.query_params
    errors = [
        {"pointer": "", "parameter": name, "message": "given more than once"}
        for name in given
        if len(given.getlist(name)) > 1
    ]
    try:
        asked = shape.model_validate({name: given[name] for name in given})
    except ValidationError as exc:
        errors += [_parameter_error(error) for error in pointers(exc)]
    if errors:
        told = "; ".join(f"{error['parameter']}: {error['message']}" for error in errors)
        raise InvalidInput(f"Parameter {told}."[:500], errors=errors)
    return asked


def _parameter_error(error: dict[str, str]) -> dict[str, str]:
    message = error["message"].replace("Extra inputs are not permitted", "there is no such parameter here")
    return {"pointer": "", "parameter": error["pointer"].removeprefix("/")[:60], "message": message}


def read_body(shape: type[B], request: Request) -> B:
    """The request's body.

    Raises:
        InvalidInput: with a JSON pointer and a message for each mistake.
    """
    if not isinstance(request.data, dict):
        raise InvalidInput("The body is a JSON object.", errors=[{"pointer": "", "message": "not an object"}])
    try:
        return shape.model_validate(request.data)
    except ValidationError as exc:
        raise InvalidInput("The body is not valid.", errors=pointers(exc)) from exc
