"""How an answer's JSON becomes values that can be trusted: strict in what matters, blind to what is new.

Fields that we don't know are ignored, fields that we read must have their exact type: "5" is no number, 5 no amount.
"""

import re
from decimal import Decimal
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel
from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from trading.venues.http import VenueRefused

U64_MOST = 2**64 - 1
T = TypeVar("T")


class Shape(BaseModel):
    """An object of an answer; its fields are written in camelCase over there."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True, alias_generator=to_camel)


def _like(kind: type[Pubkey] | type[Signature] | type[Hash]) -> AfterValidator:
    def check(text: str) -> str:
        try:
            kind.from_string(text)
        except Exception:  # noqa: BLE001  solders has an error of its own for each kind, none of them a ValueError
            raise ValueError(f"no {kind.__name__.lower()}") from None
        return text

    return AfterValidator(check)


def _digits(value: object) -> object:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,20}", value):
        raise ValueError("an amount is a string of digits")
    return int(value)


def _number(value: object) -> object:
    return Decimal(value) if type(value) is int else value


def _number_or_text(value: object) -> object:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,40}(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", value):
        return Decimal(value)
    return _number(value)


U64 = Annotated[int, Field(ge=0, le=U64_MOST)]
U64OrText = Annotated[
    int, BeforeValidator(lambda value: _digits(value) if isinstance(value, str) else value), Field(ge=0, le=U64_MOST)
]
Amount = Annotated[int, BeforeValidator(_digits), Field(le=U64_MOST)]  # raw, written as a string of digits
Number = Annotated[Decimal, BeforeValidator(_number)]  # finite: pydantic refuses NaN and Infinity
NumberOrText = Annotated[Decimal, BeforeValidator(_number_or_text)]
Address = Annotated[str, _like(Pubkey)]
Sig = Annotated[str, _like(Signature)]
Blockhash = Annotated[str, _like(Hash)]


def shaped(adapter: TypeAdapter[T], tree: Any, *, what: str) -> T:
    """`tree` as the adapter's type.

    Raises:
        VenueRefused: `bad_answer`, naming the first field that is wrong but not what it holds.
    """
    try:
        return adapter.validate_python(tree)
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        wrong = f"{what}: {where}: {first['msg']}"
    raise VenueRefused("bad_answer", f"The answer can't be used. {wrong}")
