"""Conversations: who said what, what that moved between the agents, and how the vote went."""

from types import SimpleNamespace
from typing import Annotated, Any, ClassVar

from pydantic import Field
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard import talks
from dashboard.api.endpoint import Endpoint, Operation, one
from dashboard.api.pagination import KeysetPagination
from dashboard.api.proposals import VoteShape
from dashboard.api.shapes import AgentKey, ListQuery, Moment, Number, Shape
from missions.vocabulary import ConversationFormat
from roundtable.models import ConversationStatus, Stance, Tone, Turn


class TurnShape(Shape):
    id: int
    place: int
    agent: AgentKey
    to: Annotated[AgentKey | None, Field(description="Whom it answers")]
    text: str
    stance: Stance
    tone: Tone
    probability: Annotated[Number | None, Field(description="Of a profit, where a trade is talked over")]
    voice: Annotated[str, Field(description="Which voice found the words")]
    fell_back: Annotated[bool, Field(description="The language model failed; the script spoke instead")]
    memories: Annotated[list[int], Field(description="Ids of the memories that it spoke from")]
    at: Moment

    @classmethod
    def of(cls, row: Turn) -> "TurnShape":
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in _TURN_PLAIN},
                "agent": row.agent_id,
                "to": row.to_id,
                "memories": sorted(memory.pk for memory in row.memories.all()),
            }
        )


_TURN_PLAIN = sorted(set(TurnShape.model_fields) - {"agent", "to", "memories"})


class ShiftShape(Shape):
    """How far a cause moved a pair, after all clamps."""

    a: AgentKey
    b: AgentKey
    delta: Number
    before: Number
    after: Number
    cause: str
    at: Moment

    @classmethod
    def of(cls, row: Any) -> "ShiftShape":
        pair = row.relationship
        plain = {name: getattr(row, name) for name in ("delta", "before", "after", "cause", "at")}
        return cls.model_validate({**plain, "a": pair.a_id, "b": pair.b_id})


class ConversationShape(Shape):
    id: int
    status: ConversationStatus
    format: ConversationFormat
    topic: str
    about: Annotated[str, Field(description="What called for it, such as position:12")]
    decides: Annotated[int | None, Field(description="The proposal whose vote it is")]
    step: int
    participants: Annotated[list[AgentKey], Field(description="The first opens")]
    voters: list[AgentKey]
    turns_planned: int
    turns: list[TurnShape]
    shifts: list[ShiftShape]
    votes: list[VoteShape]
    code: str
    reason: str
    created_at: Moment
    started_at: Moment | None
    last_turn_at: Moment | None
    ended_at: Moment | None

    @classmethod
    def of(cls, talk: talks.Talk) -> "ConversationShape":
        row = talk.row
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in _PLAIN},
                "decides": row.decides_id,
                "step": row.step_id,
                "turns": [TurnShape.of(turn) for turn in row.turns.all()],
                "shifts": [ShiftShape.of(shift) for shift in talk.shifts],
                "votes": sorted(row.decides.votes.all(), key=lambda vote: vote.pk) if row.decides else [],
            }
        )


_PLAIN = sorted(set(ConversationShape.model_fields) - {"decides", "step", "turns", "shifts", "votes"})


class ConversationQuery(ListQuery):
    status: ConversationStatus | None = None
    format: ConversationFormat | None = None
    agent: Annotated[AgentKey | None, Field(description="Who takes part")] = None
    about: Annotated[
        str | None, Field(pattern=r"^[a-z_]{1,20}:[0-9]{1,18}$", description="What called for it, such as position:12")
    ] = None

    def filters(self) -> dict[str, Any]:
        found = super().filters()
        agent = found.pop("agent", None)
        return {**found, "participants__contains": [agent]} if agent else found


class _FormatIsAFilter(DefaultContentNegotiation):
    """DRF would take `?format=` for the form of the answer, which here is always JSON."""

    settings: Any = SimpleNamespace(URL_FORMAT_OVERRIDE=None)


class Conversations(Endpoint):
    content_negotiation_class = _FormatIsAFilter
    operations: ClassVar = {
        "GET": Operation(
            summary="Conversations with their turns, newest first",
            scope=("read",),
            answer=ConversationShape,
            listed=True,
            query=ConversationQuery,
        )
    }

    def get(self, request: Request) -> Response:
        asked = self.asked(ConversationQuery)
        pages = KeysetPagination(limit=asked.limit)
        rows = pages.paginate_queryset(talks.with_everything().filter(**asked.filters()), request)
        return pages.get_paginated_response([ConversationShape.of(talk).as_json() for talk in talks.told(rows)])


class OneConversation(Endpoint):
    operations: ClassVar = {
        "GET": Operation(summary="One conversation: turns, drift and votes", scope=("read",), answer=ConversationShape)
    }

    def get(self, request: Request, id: int) -> Response:
        (talk,) = talks.told([one(talks.with_everything(), pk=id)])
        return Response(ConversationShape.of(talk).as_json())
