"""Reconciliation by program: a verb on a step in doubt, and the findings that wait for somebody's word."""

from datetime import datetime
from typing import Annotated, Any, ClassVar

from django.db.models import QuerySet
from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.endpoint import Endpoint, Operation, one
from dashboard.api.idempotency import Answer, once, replay
from dashboard.api.missions import StepShape
from dashboard.api.permissions import person
from dashboard.api.shapes import ListQuery, Moment, Shape, Why, read_body
from missions.models import Step
from tradeco.common import db
from trading import movements, settling
from trading.models import Finding
from trading.vocabulary import FindingKind


class Reconcile(Why):
    """What a person says of a step in doubt."""

    verb: Annotated[
        settling.Verb,
        Field(
            description="look_up asks again and settles by proof; confirm needs a landing on chain; fail one that is"
            " impossible by now; requeue that it was never sent or provably didn't land"
        ),
    ]


class ReconciledShape(Shape):
    """`step` as it stands afterwards."""

    ending: Annotated[str, Field(description="succeeded, failed, queued, or waits")]
    says: Annotated[str, Field(description="What the venue says of it now")]
    people_missing: Annotated[int, Field(description="How many more people must say the same")]
    step: StepShape


class ReconcileStep(Endpoint):
    operations: ClassVar = {
        "POST": Operation(
            summary="Settle a step in doubt, on what the venue says now",
            scope=("review",),
            answer=ReconciledShape,
            body=Reconcile,
            acts=True,
        )
    }

    def post(self, request: Request, id: int) -> Response:
        one(Step.objects.all(), pk=id)
        body = read_body(Reconcile, request)
        asked: list[settling.Consulted] = []

        def act(now: datetime) -> Answer:
            by = person(request)
            settled = settling.settle_within(asked[0], verb=body.verb, by=by, reason=body.reason, now=now)
            answer = ReconciledShape(
                ending=settled.ending,
                says=settled.says,
                people_missing=settled.missing,
                step=StepShape.of(Step.objects.get(pk=id)),
            )
            return Answer(answer.as_json())

        replayed = replay(request)
        if replayed is not None:
            return replayed
        asked.append(settling.consult(id, now=db.now()))  # before the transaction: nothing is asked inside one
        return once(request, act)


class FindingShape(Shape):
    id: int
    kind: FindingKind
    key: Annotated[str, Field(description="The signature, or the mint")]
    what: str
    evidence: dict[str, Any]
    opened_at: Moment
    settled_at: Annotated[Moment | None, Field(description="null: open")]
    settled_by: str | None
    how: str
    reason: str

    @classmethod
    def of(cls, row: Finding) -> "FindingShape":
        plain = {name: getattr(row, name) for name in cls.model_fields if name != "settled_by"}
        return cls.model_validate({**plain, "settled_by": row.settled_by.get_username() if row.settled_by else None})


class SettledShape(Shape):
    people_missing: Annotated[int, Field(description="How many more people must say the same")]
    finding: FindingShape


class FindingQuery(ListQuery):
    kind: FindingKind | None = None
    open: Annotated[bool | None, Field(description="Whether nobody has settled it yet")] = None

    def filters(self) -> dict[str, Any]:
        found = super().filters()
        if (still_open := found.pop("open", None)) is not None:
            found["settled_at__isnull"] = still_open
        return found


class SettleFinding(Why):
    verb: Annotated[movements.Verb, Field(description="book: as the chain tells it, once; dismiss: needs no entry")]


def _findings() -> QuerySet[Finding]:
    return Finding.objects.select_related("settled_by")


class Findings(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="What reconciliation can't explain, newest first",
            scope=("read",),
            answer=FindingShape,
            listed=True,
            query=FindingQuery,
        )
    }

    def get(self, request: Request) -> Response:
        return self.page(_findings().filter(**self.asked(FindingQuery).filters()), FindingShape)


class OneFindingSettled(Endpoint):
    operations: ClassVar = {
        "POST": Operation(
            summary="Say what a finding was: book it or dismiss it",
            scope=("review",),
            answer=SettledShape,
            body=SettleFinding,
            acts=True,
        )
    }

    def post(self, request: Request, id: int) -> Response:
        one(Finding.objects.all(), pk=id)
        body = read_body(SettleFinding, request)
        told: list[movements.Told] = []

        def act(now: datetime) -> Answer:
            settled = movements.settle_within(
                finding_id=id, told=told[0], verb=body.verb, by=person(request), reason=body.reason, now=now
            )
            shape = SettledShape(people_missing=settled.missing, finding=FindingShape.of(_findings().get(pk=id)))
            return Answer(shape.as_json())

        replayed = replay(request)
        if replayed is not None:
            return replayed
        told.append(movements.consult(id, body.verb))
        return once(request, act)
