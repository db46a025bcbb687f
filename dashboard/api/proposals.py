"""Proposals: how they are handed in, read, and decided by people."""

import functools
import operator
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from django.db.models import Prefetch, QuerySet
from drf_spectacular.utils import OpenApiExample
from pydantic import Field, create_model
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.endpoint import Endpoint, Operation, one
from dashboard.api.idempotency import Answer, once
from dashboard.api.permissions import person, scopes_of
from dashboard.api.shapes import AgentKey, ListQuery, Moment, Number, Shape, Usd, Why, read_body
from dashboard.models import Scope
from missions import drafts, proposals
from missions.models import Influence, Mission, Proposal, Step, Verdict
from missions.vocabulary import ForecastStatus, MissionStatus, ProposalSource, ProposalStatus, StepKind, StepStatus
from roundtable.models import Stance


class ForecastShape(Shape):
    probability: Number
    horizon_minutes: int
    status: Annotated[ForecastStatus | None, Field(description="null: made before forecasts were followed up")]
    happened: Annotated[bool | None, Field(description="null until it is scored")]


class VerdictShape(Shape):
    gate: str
    stage: Verdict.Stage
    allowed: bool
    code: str
    reason: str
    facts: dict[str, Any]


class InfluenceShape(Shape):
    """A memory that changed the proposal."""

    memory: int
    effect: Annotated[Number, Field(description="What it added to the confidence")]
    text: str

    @classmethod
    def of(cls, row: Influence) -> "InfluenceShape":
        return cls(memory=row.memory_id, effect=row.effect, text=row.memory.text)


class VoteShape(Shape):
    agent: Annotated[AgentKey, Field(validation_alias="agent_id")]
    stance: Stance
    reason: str
    at: Moment


class StepInBrief(Shape):
    id: int
    kind: StepKind
    status: StepStatus


class MissionInBrief(Shape):
    id: int
    status: MissionStatus
    steps: list[StepInBrief]


class ProposedStep(Shape):
    kind: StepKind
    params: dict[str, Any]


class ProposalRow(Shape):
    id: int
    agent: AgentKey
    author: str | None
    source: ProposalSource
    protective: bool
    title: str
    rationale: str
    steps: list[ProposedStep]
    confidence: Number
    forecast: ForecastShape | None
    value_usd: Usd
    status: ProposalStatus
    code: str
    reason: str
    decided_by: str
    revision: Annotated[int, Field(description="Policy revision that judged it")]
    created_at: Moment
    expires_at: Moment
    decided_at: Moment | None
    vote_by: Annotated[Moment | None, Field(description="A roundtable decides until then; afterwards people do")]
    waits_for_people_since: Moment | None
    conversation: Annotated[int | None, Field(description="Where it is talked over")]
    votes: list[VoteShape]
    mission: MissionInBrief | None

    @classmethod
    def of(cls, row: Proposal) -> "ProposalRow":
        return cls.model_validate(_fields(row))


class ProposalShape(ProposalRow):
    """One proposal, with what each gate said and the memories that changed it."""

    verdicts: list[VerdictShape]
    influences: list[InfluenceShape]

    @classmethod
    def of(cls, row: Proposal) -> "ProposalShape":
        influences = [InfluenceShape.of(influence) for influence in row.influences.all()]
        return cls.model_validate({**_fields(row), "verdicts": list(row.verdicts.all()), "influences": influences})


def _fields(row: Proposal) -> dict[str, Any]:
    plain = {name: getattr(row, name) for name in _PLAIN}
    mission: Mission | None = getattr(row, "mission", None)
    conversation = getattr(row, "conversation", None)
    return {
        **plain,
        "agent": row.agent_id,
        "author": row.author.get_username() if row.author else None,
        "forecast": _forecast(row),
        "conversation": conversation and conversation.pk,
        "votes": list(row.votes.all()),
        "mission": mission and {"id": mission.pk, "status": mission.status, "steps": list(mission.steps.all())},
    }


_PLAIN = sorted(set(ProposalRow.model_fields) - {"agent", "author", "forecast", "conversation", "votes", "mission"})


def _forecast(row: Proposal) -> Any:
    if hasattr(row, "forecast") or row.forecast_probability is None:
        return getattr(row, "forecast", None)
    stated = {"probability": row.forecast_probability, "horizon_minutes": row.forecast_horizon_minutes}
    return {**stated, "status": None, "happened": None}


def with_everything(*, verdicts: bool) -> QuerySet[Proposal]:
    """Proposals with all that their shape reads, in a fixed number of queries."""
    steps = Prefetch("mission__steps", queryset=Step.objects.order_by("place"))
    found = Proposal.objects.select_related("author", "mission", "forecast", "conversation")
    found = found.prefetch_related("votes", steps)
    return found.prefetch_related("verdicts", "influences__memory") if verdicts else found


def as_json(proposal_id: int) -> dict[str, Any]:
    """A proposal as it is answered."""
    return ProposalShape.of(with_everything(verdicts=True).get(pk=proposal_id)).as_json()


class ProposalQuery(ListQuery):
    status: ProposalStatus | None = None
    agent: AgentKey | None = None
    source: ProposalSource | None = None


def _draft_as_described() -> Any:
    """The draft with the parameters of each step kind spelt out, for the OpenAPI document."""
    kinds: list[Any] = []
    for kind, params in drafts.PARAMS.items():
        named: Any = Literal[kind.value]
        kinds.append(create_model(f"{params.__name__}Step", kind=(named, ...), params=(params, ...)))
    step: Any = functools.reduce(operator.or_, kinds)
    steps = Annotated[list[step], Field(min_length=1, max_length=drafts.STEPS_MAX)]
    described = create_model("ProposalDraft", __base__=drafts.Draft, steps=(steps, ...))
    described.__doc__ = drafts.Draft.__doc__
    return described


ProposalDraft = _draft_as_described()

_EXAMPLES = (
    OpenApiExample(
        "A trade",
        request_only=True,
        value={
            "agent": "scout",
            "title": "Buy SOL on a breakout",
            "rationale": "Price left its range on rising volume.",
            "steps": [
                {
                    "kind": "execute_trade",
                    "params": {
                        "side": "buy",
                        "market": "SOL/USDC",
                        "size_usd": "20.00",
                        "stop_loss_pct": "30",
                        "take_profit_pct": "30",
                    },
                }
            ],
            "confidence": 0.7,
            "forecast": {"probability": 0.6, "horizon_minutes": 240},
        },
    ),
    OpenApiExample(
        "An analysis",
        request_only=True,
        value={
            "agent": "intel",
            "title": "Scan all markets",
            "steps": [{"kind": "analyze_signal", "params": {}}],
            "confidence": 0.8,
        },
    ),
)


class Proposals(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="Proposals, newest first",
            scope=("read",),
            answer=ProposalRow,
            listed=True,
            query=ProposalQuery,
        ),
        "POST": Operation(
            summary="Hand in a proposal; one that a gate refuses is stored too, as rejected",
            scope=("propose",),
            answer=ProposalShape,
            status=201,
            body=ProposalDraft,
            acts=True,
            examples=_EXAMPLES,
        ),
    }

    def get(self, request: Request) -> Response:
        asked = self.asked(ProposalQuery).filters()
        return self.page(with_everything(verdicts=False).filter(**asked), ProposalRow)

    def post(self, request: Request) -> Response:
        draft = drafts.read(request.data)

        def act(now: datetime) -> Answer:
            made = proposals.submit_within(draft=draft, source=ProposalSource.PERSON, author=person(request), now=now)
            return Answer(as_json(made.pk), status=201)

        return once(request, act)


class OneProposal(Endpoint):
    operations: ClassVar = {
        "GET": Operation(summary="One proposal with the gates' verdicts", scope=("read",), answer=ProposalShape)
    }

    def get(self, request: Request, id: int) -> Response:
        return Response(ProposalShape.of(one(with_everything(verdicts=True), pk=id)).as_json())


def _decision(summary: str, *scope: str) -> Operation:
    return Operation(summary=summary, scope=scope, answer=ProposalShape, body=Why, acts=True)


def _decide(request: Request, decide: Callable[[str, datetime], Proposal]) -> Response:
    reason = read_body(Why, request).reason
    return once(request, lambda now: Answer(as_json(decide(reason, now).pk)))


class Approve(Endpoint):
    operations: ClassVar = {"POST": _decision("Approve, with a reason", "review")}

    def post(self, request: Request, id: int) -> Response:
        return _decide(
            request,
            lambda reason, now: proposals.approve_within(
                proposal_id=id, approver=person(request), reason=reason, now=now
            ),
        )


class Reject(Endpoint):
    operations: ClassVar = {"POST": _decision("Reject, with a reason", "review")}

    def post(self, request: Request, id: int) -> Response:
        return _decide(
            request,
            lambda reason, now: proposals.reject_within(proposal_id=id, by=person(request), reason=reason, now=now),
        )


class Cancel(Endpoint):
    operations: ClassVar = {"POST": _decision("Withdraw your own; a reviewer may any", "propose", "review")}

    def post(self, request: Request, id: int) -> Response:
        author = one(Proposal.objects.all(), pk=id).author_id
        if author != request.user.pk and Scope.REVIEW not in scopes_of(request):
            raise PermissionDenied("Only its author or a reviewer may withdraw a proposal.")
        return _decide(
            request,
            lambda reason, now: proposals.cancel_within(proposal_id=id, by=person(request), reason=reason, now=now),
        )
