"""Agents, how they stand to each other, and what each remembers."""

from typing import ClassVar

from rest_framework.request import Request
from rest_framework.response import Response

from agents.models import Agent, Memory, MemoryType, Relationship
from dashboard.api.endpoint import Endpoint, Operation, one
from dashboard.api.shapes import AgentKey, ListQuery, Moment, Number, Shape


class AgentShape(Shape):
    key: str
    name: str
    role: str
    duties: str
    manner: str
    colour: str
    active: bool


class RelationshipShape(Shape):
    a: AgentKey
    b: AgentKey
    affinity: Number
    updated_at: Moment

    @classmethod
    def of(cls, row: Relationship) -> "RelationshipShape":
        return cls(a=row.a_id, b=row.b_id, affinity=row.affinity, updated_at=row.updated_at)


class MemoryShape(Shape):
    id: int
    type: MemoryType
    text: str
    confidence: Number
    tags: list[str]
    cause: str
    confirmations: int
    contradictions: int
    archived_at: Moment | None
    created_at: Moment


class MemoryQuery(ListQuery):
    type: MemoryType | None = None


class Agents(Endpoint):
    operations: ClassVar = {
        "GET": Operation(summary="The agents", scope=("read",), answer=AgentShape, listed=True, query=ListQuery)
    }

    def get(self, request: Request) -> Response:
        return self.page(Agent.objects.all(), AgentShape, key="place", newest_first=False)


class OneAgent(Endpoint):
    operations: ClassVar = {"GET": Operation(summary="One agent", scope=("read",), answer=AgentShape)}

    def get(self, request: Request, key: str) -> Response:
        return Response(AgentShape.of(one(Agent.objects.all(), key=key)).as_json())


class Memories(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="What an agent remembers",
            scope=("read",),
            answer=MemoryShape,
            listed=True,
            query=MemoryQuery,
        )
    }

    def get(self, request: Request, key: str) -> Response:
        agent = one(Agent.objects.all(), key=key)
        return self.page(Memory.objects.filter(agent=agent, **self.asked(MemoryQuery).filters()), MemoryShape)


class Relationships(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="How agents stand to each other",
            scope=("read",),
            answer=RelationshipShape,
            listed=True,
            query=ListQuery,
        )
    }

    def get(self, request: Request) -> Response:
        return self.page(Relationship.objects.all(), RelationshipShape, newest_first=False)
