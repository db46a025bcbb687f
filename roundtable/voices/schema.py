"""What a language model may answer: text, stance, a probability, and nothing else; checked strictly."""

import json
import re
from decimal import Decimal
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from roundtable.models import Stance

TEXT_MOST = 2000  # of what is read at all; a turn is cut to its own limit
MISTAKES_MOST = 200  # characters of what we tell about an invalid answer
_FENCE = re.compile(r"^```(?:json)?\s*(.*?)\s*```$", re.DOTALL)

JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["text", "stance", "probability"],
    "properties": {
        "text": {"type": "string"},
        "stance": {"type": "string", "enum": ["agree", "neutral", "disagree"]},
        "probability": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    },
}


class InvalidAnswer(ValueError):
    """What came back isn't an answer; the text says why, in words of ours."""


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    text: Annotated[str, Field(strict=True, min_length=1, max_length=TEXT_MOST)]
    stance: Literal["agree", "neutral", "disagree"]
    probability: Annotated[Decimal, Field(ge=0, le=1, allow_inf_nan=False)] | None

    @field_validator("probability", mode="before")
    @classmethod
    def is_a_number(cls, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int | Decimal | None):
            raise ValueError("a number from 0 to 1, or null")
        return value

    @field_validator("text")
    @classmethod
    def says_something(cls, value: str) -> str:
        if not (line := on_one_line(value)):
            raise ValueError("it is empty")
        return line

    @property
    def stands(self) -> Stance:
        return Stance(self.stance)


def read(content: str) -> Answer:
    """An answer's text as an answer.

    Raises:
        InvalidAnswer: it isn't one.
    """
    text = content.strip()
    fenced = _FENCE.match(text)
    try:
        tree = json.loads(
            fenced[1] if fenced else text, parse_float=Decimal, parse_constant=_refuse, object_pairs_hook=_once
        )
    except InvalidAnswer:
        raise
    except (ValueError, ArithmeticError, RecursionError):
        tree = None
    if not isinstance(tree, dict):
        raise InvalidAnswer("It is no whole JSON object.")
    try:
        return Answer.model_validate(tree)
    except ValidationError as exc:
        mistakes = _mistakes(exc)
    raise InvalidAnswer(mistakes)


def on_one_line(text: str) -> str:
    """Without control characters, halves of surrogate pairs and needless white space."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def _refuse(constant: str) -> NoReturn:
    raise InvalidAnswer(f"{constant} is no number.")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise InvalidAnswer("A key stands there twice.")
    return dict(pairs)


def _mistakes(exc: ValidationError) -> str:
    """Where it is wrong, without a word of what was sent: a stranger's keys could be sentences."""
    known = set(Answer.model_fields)
    items = exc.errors(include_url=False, include_context=False, include_input=False)
    told = [
        f"{item['loc'][0]}: {item['msg']}" if item["loc"] and item["loc"][0] in known else "There are other keys."
        for item in items
    ]
    return "; ".join(dict.fromkeys(told))[:MISTAKES_MOST]
