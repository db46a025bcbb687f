"""What every address of the API has in common: it declares its operations, and is served and described by them.

An operation names scope, parameters, body and answer once: permissions, validation and the OpenAPI document all
read it there. What an operation does is its view's affair.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from django.db.models import Model, QuerySet
from django.http import Http404
from drf_spectacular.utils import OpenApiExample
from pydantic import BaseModel
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from dashboard.api.idempotency import key_of
from dashboard.api.pagination import KeysetPagination
from dashboard.api.parsing import LengthRequired
from dashboard.api.schema import Schema
from dashboard.api.shapes import ListQuery, Query, Shape, read_query

Q = TypeVar("Q", bound=Query)
M = TypeVar("M", bound=Model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method at one address.

    Args:
        scope: any of these allows it.
        answer: shape of the answer, of one row where it is `listed`; None for an empty answer.
        acts: changes something, so it needs an Idempotency-Key.
        waits: it may need several people, and answers 202 with `Waits` until enough have sent it.
        problems: statuses it may answer besides those that every operation may.
    """

    summary: str
    scope: tuple[str, ...]
    answer: type[BaseModel] | None
    status: int = 200
    listed: bool = False
    query: type[Query] = Query
    body: type[BaseModel] | None = None
    acts: bool = False
    also: tuple[int, ...] = ()
    waits: bool = False
    problems: tuple[int, ...] = ()
    examples: tuple[OpenApiExample, ...] = field(default=())


class Endpoint(APIView):
    """A view of the API."""

    schema = Schema()
    operations: ClassVar[Mapping[str, Operation]] = {}
    http_method_names = ["get", "post", "delete", "head"]

    @property
    def scopes(self) -> dict[str, tuple[str, ...]]:
        return {method: operation.scope for method, operation in self.operations.items()}

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        operation = self.operations.get("GET" if request.method == "HEAD" else str(request.method))
        if operation is None:
            return
        if "Transfer-Encoding" in request.headers and not request.headers.get("Content-Length"):
            raise LengthRequired
        self.query = read_query(operation.query, request)
        if operation.acts:
            key_of(request)

    def asked(self, shape: type[Q]) -> Q:
        """The validated parameters."""
        assert isinstance(self.query, shape)
        return self.query

    def page(
        self,
        rows: QuerySet[Any] | Iterable[Any],
        shape: type[Shape],
        *,
        key: str = "pk",
        newest_first: bool = True,
    ) -> Response:
        """One page of rows in the order of their unique `key`, each as `shape`."""
        asked = self.asked(ListQuery)
        pages = KeysetPagination(key=key, newest_first=newest_first, limit=asked.limit)
        found = (
            pages.paginate_queryset(rows, self.request)
            if isinstance(rows, QuerySet)
            else pages.paginate_sequence(list(rows), self.request)
        )
        return pages.get_paginated_response([shape.of(row).as_json() for row in found])


def one(rows: QuerySet[M], **wanted: Any) -> M:
    """The row that is asked for.

    Raises:
        Http404
    """
    found = rows.filter(**wanted).first()
    if found is None:
        raise Http404
    return found


class Nothing(APIView):
    """Every address under the API that isn't one."""

    authentication_classes = ()
    permission_classes = ()
    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        raise Http404
