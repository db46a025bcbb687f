"""What happens: events, heartbeats, and how much of everything there is."""

from typing import Annotated, Any, ClassVar

from django.db.models import Count, Model, TextChoices
from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from dashboard.api.endpoint import Endpoint, Operation
from dashboard.api.idempotency import Answer, once_remembered
from dashboard.api.pagination import LIMIT_DEFAULT, LIMIT_MAX
from dashboard.api.shapes import ListQuery, Moment, Query, Shape
from missions import heartbeat, watch
from missions.models import Beat, Mission, Proposal, Step
from missions.vocabulary import MissionStatus, PhaseStatus, ProposalStatus, StepStatus
from tradeco.common import db, events
from tradeco.common.errors import DomainError
from tradeco.common.vocabulary import EventKind
from trading.models import Order, Position
from trading.vocabulary import OrderStatus, PositionStatus


class BeatUnderWay(DomainError):
    code = "beat_under_way"
    title = "The company's first heartbeat is just beginning; ask again in a moment"


# --- events ---------------------------------------------------------------------------------------


class EventShape(Shape):
    id: int
    kind: EventKind
    at: Moment
    subject: str
    agent: str
    data: dict[str, Any]


class EventQuery(Query):
    after: Annotated[int, Field(ge=0, le=2**63 - 1, description="Id of the last event seen")] = 0
    kind: EventKind | None = None
    limit: Annotated[int, Field(ge=1, le=LIMIT_MAX, description="Events a page")] = LIMIT_DEFAULT


class Events(Endpoint):
    """Oldest first after a cursor, each once."""

    operations: ClassVar = {
        "GET": Operation(
            summary="Events after a cursor, oldest first",
            scope=("read",),
            answer=EventShape,
            listed=True,
            query=EventQuery,
        )
    }

    def get(self, request: Request) -> Response:
        asked = self.asked(EventQuery)
        events.number_new()  # whoever reads without the websocket sees what has just happened, too
        found = events.read_after(asked.after, limit=asked.limit + 1, kinds=[asked.kind] if asked.kind else None)
        page = found[: asked.limit]
        following = None
        if len(found) > len(page):
            following = replace_query_param(request.build_absolute_uri(), "after", page[-1].number)
        headers = {"Link": f'<{following}>; rel="next"'} if following else {}
        answer = {"results": [events.as_json(event) for event in page], "next": following}
        return Response(answer, headers=headers)


# --- heartbeats -----------------------------------------------------------------------------------


class PhaseShape(Shape):
    name: str
    status: PhaseStatus
    milliseconds: float
    budget_milliseconds: int
    over_budget: bool
    did: dict[str, Any]
    error: str


class BeatShape(Shape):
    id: int
    started_at: Moment
    finished_at: Moment | None
    asked_by: str
    taken_over: bool
    phases: list[PhaseShape]

    @classmethod
    def of(cls, row: Beat) -> "BeatShape":
        return cls.model_validate(_beat(row))


class BeatAnswer(BeatShape):
    ran: Annotated[bool, Field(description="false: this is the newest beat, which runs or has just run")]


def _beat(row: Beat) -> dict[str, Any]:
    names = ("id", "started_at", "finished_at", "asked_by", "taken_over")
    return {**{name: getattr(row, name) for name in names}, "phases": list(row.phases.all())}


class Heartbeats(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="Heartbeats, newest first",
            scope=("read",),
            answer=BeatShape,
            listed=True,
            query=ListQuery,
        ),
        "POST": Operation(
            summary="One beat now, unless one runs or has just run (200)",
            scope=("operate",),
            answer=BeatAnswer,
            status=201,
            also=(200,),
            acts=True,
        ),
    }

    def get(self, request: Request) -> Response:
        return self.page(Beat.objects.prefetch_related("phases"), BeatShape)

    def post(self, request: Request) -> Response:
        return once_remembered(request, lambda: _beat_now(request.user.get_username()))


def _beat_now(asked_by: str) -> Answer:
    ran = heartbeat.run(asked_by=asked_by, now=db.now())
    beat = ran or Beat.objects.order_by("-started_at").first()
    if beat is None:
        raise BeatUnderWay
    body = BeatAnswer.model_validate({**_beat(beat), "ran": ran is not None}).as_json()
    return Answer(body, status=201 if ran else 200)


# --- counts ---------------------------------------------------------------------------------------


class StatsShape(Shape):
    proposals: Annotated[dict[str, int], Field(description="By status")]
    missions: dict[str, int]
    steps: dict[str, int]
    orders: dict[str, int]
    positions: dict[str, int]
    oldest_runnable_step_seconds: Annotated[float | None, Field(description="null: none waits")]
    beats: int
    newest_beat_at: Moment | None
    newest_event: Annotated[int, Field(description="Id, 0 where there is none")]
    at: Moment


class Stats(Endpoint):
    operations: ClassVar = {"GET": Operation(summary="Counts by status", scope=("read",), answer=StatsShape)}

    def get(self, request: Request) -> Response:
        now = db.now()
        waiting_since = watch.waiting_since(now=now)
        counts = {
            "proposals": _by_status(Proposal, ProposalStatus),
            "missions": _by_status(Mission, MissionStatus),
            "steps": _by_status(Step, StepStatus),
            "orders": _by_status(Order, OrderStatus),
            "positions": _by_status(Position, PositionStatus),
        }
        found = StatsShape.model_validate(
            {
                **counts,
                "oldest_runnable_step_seconds": waiting_since and (now - waiting_since).total_seconds(),
                "beats": Beat.objects.count(),
                "newest_beat_at": heartbeat.newest_start(),
                "newest_event": events.newest_number(),
                "at": now,
            }
        )
        return Response(found.as_json())


def _by_status(model: type[Model], states: type[TextChoices]) -> dict[str, int]:
    """Counts by status, 0 for the states that no row is in."""
    counted = model._default_manager.order_by().values_list("status").annotate(rows=Count("pk"))
    return {**dict.fromkeys(states.values, 0), **dict(counted)}
