"""Amounts of money as whole numbers of an asset's smallest unit."""

from typing import Any

from django.db import models


class RawAmountField(models.DecimalField):  # type: ignore[type-arg]
    """A signed integer in NUMERIC(20,0): a u64 token amount exceeds bigint. Python sees `int`."""

    _pyi_private_set_type: int
    _pyi_private_get_type: int  # type: ignore[assignment]
    description = "Integer amount of the smallest unit"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["max_digits"] = 20
        kwargs["decimal_places"] = 0
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        del kwargs["max_digits"], kwargs["decimal_places"]
        return name, path, args, kwargs

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> int | None:
        return None if value is None else int(value)

    def to_python(self, value: Any) -> Any:
        number = super().to_python(value)
        return None if number is None else int(number)
