"""Lists by keyset: a page says where it ended, the next begins there, and the last is as fast as the first.

A cursor is signed and names its list, so it is taken as a whole or refused. Which rows, and in which order, is
the view's affair.
"""

from collections.abc import Sequence
from typing import Any

from django.core import signing
from django.db.models import Model
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from tradeco.common.errors import InvalidInput

LIMIT_DEFAULT, LIMIT_MAX = 50, 200

_signer = signing.Signer(salt="dashboard.api.pagination")


class KeysetPagination(BasePagination):
    """`?cursor=` and `?limit=` over one unique column.

    Args:
        key: the unique column that orders the list.
        newest_first: descending.
    """

    def __init__(self, *, key: str = "pk", newest_first: bool = True, limit: int = LIMIT_DEFAULT) -> None:
        self.key, self.newest_first, self.limit = key, newest_first, limit
        self.next: str | None = None

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """A page of a queryset."""
        after = self._after(request)
        if after is not None:
            queryset = queryset.filter(**{f"{self.key}__{'lt' if self.newest_first else 'gt'}": after})
        order = f"-{self.key}" if self.newest_first else self.key
        return self._cut(list(queryset.order_by(order)[: self.limit + 1]), request)

    def paginate_sequence(self, items: Sequence[Any], request: Request) -> list[Any]:
        """The same over a short list in memory, ascending by `key`."""
        after = self._after(request)
        ordered = sorted(items, key=self._value)
        rest = [item for item in ordered if after is None or self._value(item) > after]
        return self._cut(rest[: self.limit + 1], request)

    def get_paginated_response(self, data: Any) -> Response:
        headers = {"Link": f'<{self.next}>; rel="next"'} if self.next else {}
        return Response({"results": data, "next": self.next}, headers=headers)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["results", "next"],
            "properties": {"results": schema, "next": {"type": ["string", "null"], "format": "uri"}},
        }

    def _cut(self, rows: list[Any], request: Request) -> list[Any]:
        """One row more than asked for tells whether there is a next page."""
        if len(rows) > self.limit:
            rows = rows[: self.limit]
            cursor = _signer.sign_object([request.path, self._value(rows[-1])])
            self.next = replace_query_param(request.build_absolute_uri(), "cursor", cursor)
        return rows

    def _value(self, row: Any) -> Any:
        return getattr(row, self.key) if isinstance(row, Model) or hasattr(row, self.key) else row[self.key]

    def _after(self, request: Request) -> Any:
        cursor = request.query_params.get("cursor", "")
        if not cursor:
            return None
        try:
            path, after = _signer.unsign_object(cursor)
        except (signing.BadSignature, ValueError) as exc:
            raise _not_ours() from exc
        if path != request.path:
            raise _not_ours()
        return after


def _not_ours() -> InvalidInput:
    return InvalidInput(
        "Parameter cursor: this isn't a cursor of this list; follow `next`.",
        errors=[{"pointer": "", "parameter": "cursor", "message": "not a cursor of this list"}],
    )
