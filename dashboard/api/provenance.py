"""The thread that a decision stands in, as a graph: what led to it and what came of it."""

from typing import Annotated, Any, ClassVar

from django.http import Http404
from pydantic import ConfigDict, Field
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard import provenance
from dashboard.api.endpoint import Endpoint, Operation
from dashboard.api.shapes import Moment, Query, Shape
from dashboard.provenance_nodes import KINDS, Thread
from tradeco.common.errors import InvalidInput


class NodeShape(Shape):
    key: Annotated[str, Field(description="Such as turn:12; what `of` takes, but of rules and persons")]
    kind: str
    at: Moment | None
    title: str
    url: Annotated[str | None, Field(description="Where the API shows it, else the admin")]


class EdgeShape(Shape):
    """From what came first to what it led to."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)

    source: Annotated[str, Field(serialization_alias="from")]
    to: str
    why: str


class ThreadShape(Shape):
    asked: Annotated[str, Field(description="The row that it was asked for, such as fill:3")]
    proposal: Annotated[int | None, Field(description="Whose thread it is; null where it belongs to none")]
    nodes: Annotated[list[NodeShape], Field(description="Oldest first; what has no moment comes first")]
    edges: list[EdgeShape]
    cut: Annotated[bool, Field(description=f"There is more than fits: at most {provenance.NODES_MOST} nodes")]

    @classmethod
    def told(cls, thread: Thread, *, asked: str) -> "ThreadShape":
        return cls(
            asked=asked,
            proposal=thread.proposal,
            nodes=[NodeShape.of(node) for node in thread.in_order()],
            edges=[EdgeShape(source=source, to=to, why=why) for (source, to), why in thread.edges.items()],
            cut=thread.cut,
        )

    def as_json(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True)


class ProvenanceQuery(Query):
    of: Annotated[str, Field(max_length=40, description=f"A row such as fill:3, of {', '.join(sorted(KINDS))}")]


class ProposalProvenance(Endpoint):
    operations: ClassVar = {
        "GET": Operation(summary="Where a proposal came from, and what came of it", scope=("read",), answer=ThreadShape)
    }

    def get(self, request: Request, id: int) -> Response:
        thread = provenance.of_proposal(id)
        if thread is None:
            raise Http404
        return Response(ThreadShape.told(thread, asked=f"proposal:{id}").as_json())


class Provenance(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="The thread that a row belongs to", scope=("read",), answer=ThreadShape, query=ProvenanceQuery
        )
    }

    def get(self, request: Request) -> Response:
        of = self.asked(ProvenanceQuery).of
        try:
            thread = provenance.of(of)
        except ValueError as exc:
            errors = [{"pointer": "", "parameter": "of", "message": "names no row that threads are made of"}]
            raise InvalidInput("Parameter of: it is a kind and a number, such as fill:3.", errors=errors) from exc
        if thread is None:
            raise Http404
        return Response(ThreadShape.told(thread, asked=of).as_json())
