"""Agents, how they stand to each other, what each remembers, and how good each turned out to be."""

from decimal import Decimal
from typing import Annotated, Any, ClassVar

from django.db.models import Count, Q, Sum
from django.http import Http404
from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from agents import memory, track_record
from agents.models import Agent, Memory, MemoryType, Relationship
from dashboard.api.conversations import ShiftShape
from dashboard.api.endpoint import Endpoint, Operation, one
from dashboard.api.shapes import AgentKey, ListQuery, Moment, Number, Query, Shape, Text, Usd
from missions.models import Outcome
from missions.vocabulary import MissionKind

SHIFTS_SHOWN = 20
_RATIO = Decimal("0.0001")


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


class PairShape(RelationshipShape):
    """How two agents stand to each other, and what moved them last."""

    shifts: Annotated[list[ShiftShape], Field(description=f"The last {SHIFTS_SHOWN}, newest first")]

    @classmethod
    def of(cls, row: Relationship) -> "PairShape":
        last = row.shifts.select_related("relationship").order_by("-pk")[:SHIFTS_SHOWN]
        shifts = [ShiftShape.of(shift) for shift in last]
        return cls(a=row.a_id, b=row.b_id, affinity=row.affinity, updated_at=row.updated_at, shifts=shifts)


class MemoryShape(Shape):
    id: int
    type: MemoryType
    text: str
    confidence: Number
    tags: list[str]
    cause: str
    confirmations: int
    contradictions: int
    superseded_by: Annotated[int | None, Field(validation_alias="superseded_by_id")]
    promoted_at: Annotated[Moment | None, Field(description="Since then every agent knows it")]
    archived_at: Moment | None
    created_at: Moment


class MemoryQuery(ListQuery):
    type: MemoryType | None = None
    tag: Annotated[Text | None, Field(min_length=1, max_length=40, description="One of its tags, whole")] = None
    q: Annotated[
        Text | None, Field(min_length=1, max_length=200, description='Words in any form; "or", - and quotes work')
    ] = None
    archived: Annotated[bool | None, Field(description="Laid aside, or live")] = None

    def filters(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": self.type} if self.type else {}
        found |= {"tags__contains": [self.tag]} if self.tag else {}
        return found | ({} if self.archived is None else {"archived_at__isnull": not self.archived})


class BinShape(Shape):
    """Forecasts of much the same probability: how sure they were, and which share happened."""

    low: Number
    high: Number
    n: int
    mean_probability: Number | None
    happened: Number | None


class KindShape(Shape):
    """What the agent's missions of a kind came to."""

    kind: MissionKind
    missions: int
    succeeded: int
    wins: Annotated[int, Field(description="Closed with a gain")]
    losses: Annotated[int, Field(description="Closed with a loss")]
    hit_rate: Annotated[Number | None, Field(description="Wins as a share of wins and losses; null: neither")]
    realized_pnl_usd: Usd


class TrackRecordShape(Shape):
    agent: AgentKey
    forecasts: Annotated[int, Field(description="That met their horizon")]
    mean_probability: Number | None
    base_rate: Annotated[Number | None, Field(description="Share of them that happened")]
    brier: Annotated[Number | None, Field(description="Mean of (probability − happened)²; 0 is best")]
    log_score: Annotated[Number | None, Field(description="Mean of −ln of what was given to the truth; 0 is best")]
    skill: Annotated[Number | None, Field(description="1 is perfect, 0 no better than always saying the base rate")]
    bins: list[BinShape]
    capital_factor: Annotated[Number, Field(description="By which policy may scale the agent's trades")]
    realized_pnl_usd: Usd
    hit_rate: Annotated[Number | None, Field(description="Wins as a share of wins and losses; null: neither")]
    by_kind: list[KindShape]


class TrackRecordQuery(Query):
    kind: Annotated[MissionKind | None, Field(description="Forecasts and missions of this kind only")] = None


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
        asked = self.asked(MemoryQuery)
        found = Memory.objects.filter(agent=agent, **asked.filters())
        return self.page(memory.saying(found, asked.q or ""), MemoryShape)


class TrackRecord(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="How good an agent's forecasts and missions turned out",
            scope=("read",),
            answer=TrackRecordShape,
            query=TrackRecordQuery,
        )
    }

    def get(self, request: Request, key: str) -> Response:
        agent = one(Agent.objects.all(), key=key)
        kind = self.asked(TrackRecordQuery).kind
        record = track_record.record(agent=agent.key, kind=kind.value if kind else None)
        kinds = _by_kind(agent, kind)
        names = set(TrackRecordShape.model_fields) - {
            "agent",
            "capital_factor",
            "realized_pnl_usd",
            "hit_rate",
            "by_kind",
        }
        shown = TrackRecordShape.model_validate(
            {
                **{name: getattr(record, name) for name in names},
                "agent": agent.key,
                "capital_factor": track_record.capital_factor(agent=agent.key),
                "realized_pnl_usd": sum((each.realized_pnl_usd for each in kinds), Decimal(0)),
                "hit_rate": _share(sum(each.wins for each in kinds), sum(each.losses for each in kinds)),
                "by_kind": kinds,
            }
        )
        return Response(shown.as_json())


def _by_kind(agent: Agent, kind: MissionKind | None) -> list[KindShape]:
    ended = Outcome.objects.filter(agent=agent, **({"kind": kind} if kind else {}))
    counted = (
        ended.order_by("kind")
        .values("kind")
        .annotate(
            missions=Count("pk"),
            done=Count("pk", filter=Q(succeeded=True)),
            wins=Count("pk", filter=Q(pnl_usd__gt=0)),
            losses=Count("pk", filter=Q(pnl_usd__lt=0)),
            earned=Sum("pnl_usd", default=Decimal(0)),
        )
    )
    return [
        KindShape(
            kind=row["kind"],
            missions=row["missions"],
            succeeded=row["done"],
            wins=row["wins"],
            losses=row["losses"],
            hit_rate=_share(row["wins"], row["losses"]),
            realized_pnl_usd=row["earned"],
        )
        for row in counted
    ]


def _share(wins: int, losses: int) -> Decimal | None:
    ended = wins + losses
    return (Decimal(wins) / ended).quantize(_RATIO) if ended else None


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


class OnePair(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="How two agents stand to each other, and what moved them last", scope=("read",), answer=PairShape
        )
    }

    def get(self, request: Request, pair: tuple[str, str]) -> Response:
        a, b = sorted(pair)
        if a == b:
            raise Http404
        return Response(PairShape.of(one(Relationship.objects.all(), a=a, b=b)).as_json())
