"""Missions and their steps: how far approved work is."""

from datetime import datetime
from typing import Any, ClassVar

from django.db.models import Prefetch, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.endpoint import Endpoint, Operation, one
from dashboard.api.idempotency import Answer, once
from dashboard.api.proposals import StepInBrief
from dashboard.api.shapes import AgentKey, ListQuery, Moment, RowId, Shape, Usd, Why, read_body
from missions import outcomes
from missions.models import Mission, Step
from missions.vocabulary import MissionKind, MissionStatus, StepKind, StepStatus


class OutcomeShape(Shape):
    succeeded: bool
    code: str
    pnl_usd: Usd | None
    details: dict[str, Any]
    at: Moment


class MissionShape(Shape):
    id: int
    proposal: int
    agent: AgentKey
    kind: MissionKind
    status: MissionStatus
    needs_reconciliation: bool
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    steps: list[StepInBrief]
    outcome: OutcomeShape | None

    @classmethod
    def of(cls, row: Mission) -> "MissionShape":
        steps = list(row.steps.all())
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in _MISSION_PLAIN},
                "proposal": row.proposal_id,
                "agent": row.agent_id,
                "needs_reconciliation": any(step.status == StepStatus.NEEDS_RECONCILIATION for step in steps),
                "steps": steps,
                "outcome": getattr(row, "outcome", None),
            }
        )


_MISSION_PLAIN = ("id", "kind", "status", "created_at", "started_at", "finished_at")


class StepShape(Shape):
    id: int
    mission: int
    place: int
    kind: StepKind
    params: dict[str, Any]
    status: StepStatus
    priority: int
    attempts: int
    attempts_max: int
    worker: str
    run_after: Moment
    lease_expires_at: Moment | None
    blocked_by: int | None
    created_at: Moment
    started_at: Moment | None
    finished_at: Moment | None
    result: dict[str, Any]
    code: str
    reason: str

    @classmethod
    def of(cls, row: Step) -> "StepShape":
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in _STEP_PLAIN},
                "mission": row.mission_id,
                "blocked_by": row.blocked_by_id,
            }
        )


_STEP_PLAIN = sorted(set(StepShape.model_fields) - {"mission", "blocked_by"})


class MissionQuery(ListQuery):
    status: MissionStatus | None = None
    kind: MissionKind | None = None
    agent: AgentKey | None = None


class StepQuery(ListQuery):
    status: StepStatus | None = None
    kind: StepKind | None = None
    mission: RowId | None = None


def _missions() -> QuerySet[Mission]:
    steps = Prefetch("steps", queryset=Step.objects.order_by("place"))
    return Mission.objects.select_related("outcome").prefetch_related(steps)


class Missions(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="Missions, newest first",
            scope=("read",),
            answer=MissionShape,
            listed=True,
            query=MissionQuery,
        )
    }

    def get(self, request: Request) -> Response:
        return self.page(_missions().filter(**self.asked(MissionQuery).filters()), MissionShape)


class OneMission(Endpoint):
    operations: ClassVar = {"GET": Operation(summary="One mission", scope=("read",), answer=MissionShape)}

    def get(self, request: Request, id: int) -> Response:
        return Response(MissionShape.of(one(_missions(), pk=id)).as_json())


class CancelMission(Endpoint):
    operations: ClassVar = {
        "POST": Operation(
            summary="Cancel a mission none of whose steps is under way",
            scope=("review",),
            answer=MissionShape,
            body=Why,
            acts=True,
        )
    }

    def post(self, request: Request, id: int) -> Response:
        reason = read_body(Why, request).reason

        def act(now: datetime) -> Answer:
            by = request.user.get_username()
            outcomes.cancel_mission_within(mission_id=id, by=by, reason=reason, now=now)
            return Answer(MissionShape.of(_missions().get(pk=id)).as_json())

        return once(request, act)


class Steps(Endpoint):
    operations: ClassVar = {
        "GET": Operation(summary="Steps, newest first", scope=("read",), answer=StepShape, listed=True, query=StepQuery)
    }

    def get(self, request: Request) -> Response:
        return self.page(Step.objects.filter(**self.asked(StepQuery).filters()), StepShape)


class OneStep(Endpoint):
    operations: ClassVar = {"GET": Operation(summary="One step", scope=("read",), answer=StepShape)}

    def get(self, request: Request, id: int) -> Response:
        return Response(StepShape.of(one(Step.objects.all(), pk=id)).as_json())
