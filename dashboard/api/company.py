"""The company itself: its switch, its policies and its caps."""

from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, ClassVar

from pydantic import Field
from rest_framework.request import Request
from rest_framework.response import Response

from dashboard.api.endpoint import Endpoint, Operation
from dashboard.api.idempotency import Answer, once
from dashboard.api.permissions import person
from dashboard.api.shapes import Body, ListQuery, Moment, Reason, Shape, Waits, Why, read_body
from missions import caps, policies, words
from missions import company as switch
from missions.models import Company, PolicyVersion
from missions.policy_keys import Policy, about
from missions.vocabulary import CapKey, CompanyStatus
from tradeco.common import db

# --- the switch -----------------------------------------------------------------------------------


class CompanyShape(Shape):
    status: CompanyStatus
    reason: str
    policy_set: str
    changed_by: str | None
    changed_at: Moment
    opened_at: Moment

    @classmethod
    def of(cls, row: Company) -> "CompanyShape":
        return cls(
            status=CompanyStatus(row.status),
            reason=row.reason,
            policy_set=row.policy_set,
            changed_by=row.changed_by.get_username() if row.changed_by else None,
            changed_at=row.changed_at,
            opened_at=row.opened_at,
        )


class CompanyNow(Endpoint):
    operations: ClassVar = {
        "GET": Operation(summary="Whether trading is active, and why not", scope=("read",), answer=CompanyShape)
    }

    def get(self, request: Request) -> Response:
        return Response(CompanyShape.of(Company.objects.select_related("changed_by").get()).as_json())


def _switching(summary: str, *, waits: bool) -> dict[str, Operation]:
    operation = Operation(summary=summary, scope=("operate",), answer=CompanyShape, body=Why, acts=True, waits=waits)
    return {"POST": operation}


def _switch(request: Request, to: CompanyStatus) -> Response:
    reason = read_body(Why, request).reason

    def act(now: datetime) -> Answer:
        switched = switch.switch_within(to=to, by=person(request), reason=reason, now=now)
        return _wait(switched.missing) if switched.missing else Answer(CompanyShape.of(switched.company).as_json())

    return once(request, act)


def _wait(missing: int) -> Answer:
    return Answer(Waits(missing=missing, detail=words.still(missing)).as_json(), status=202)


class Halt(Endpoint):
    operations: ClassVar = _switching("Stop everything that moves money", waits=False)

    def post(self, request: Request) -> Response:
        return _switch(request, CompanyStatus.HALTED)


class Reduce(Endpoint):
    operations: ClassVar = _switching(
        "Allow exits only; out of a halt, with as many people as policy asks for", waits=True
    )

    def post(self, request: Request) -> Response:
        return _switch(request, CompanyStatus.REDUCING)


class Resume(Endpoint):
    operations: ClassVar = _switching("Trade again, with as many people as policy asks for", waits=True)

    def post(self, request: Request) -> Response:
        return _switch(request, CompanyStatus.ACTIVE)


# --- policies and caps ----------------------------------------------------------------------------


class PolicyShape(Shape):
    key: str
    value: Any
    unit: str
    why: str
    version: int
    revision: Annotated[int, Field(description="The company's revision that this version opened")]


class PolicyVersionShape(Shape):
    revision: int
    key: str
    version: int
    value: Any
    previous: Any
    author: str | None
    reason: str
    created_at: Moment

    @classmethod
    def of(cls, row: PolicyVersion) -> "PolicyVersionShape":
        return cls.model_validate(
            {
                **{name: getattr(row, name) for name in cls.model_fields if name != "author"},
                "author": row.author.get_username() if row.author else None,
            }
        )


class PolicyChange(Body):
    value: Annotated[Any, Field(description="A JSON value of the policy's type; decimals as strings")]
    reason: Reason


class CapShape(Shape):
    key: CapKey
    limit: int
    used: int
    left: int
    resets_at: Moment


class Policies(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="The policies in force", scope=("read",), answer=PolicyShape, listed=True, query=ListQuery
        )
    }

    def get(self, request: Request) -> Response:
        return self.page(_policies(), PolicyShape, key="key")


def _policies() -> Iterator[PolicyShape]:
    newest, policy = policies.current()
    values = policy.model_dump(mode="json")
    rows = PolicyVersion.objects.filter(revision__lte=newest).order_by("key", "-revision").distinct("key")
    placed = {row.key: row for row in rows}
    for key in Policy.model_fields:
        row, told = placed.get(key), about(key)
        yield PolicyShape(
            key=key,
            value=values[key],
            unit=told.unit,
            why=told.why,
            version=row.version if row else 0,  # 0: the set's opening value, of a key newer than the company
            revision=row.revision if row else 0,
        )


class PolicyVersions(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="The versions of a policy, newest first",
            scope=("read",),
            answer=PolicyVersionShape,
            listed=True,
            query=ListQuery,
        ),
        "POST": Operation(
            summary="Put a new version in force",
            scope=("operate",),
            answer=PolicyVersionShape,
            status=201,
            body=PolicyChange,
            acts=True,
            waits=True,
        ),
    }

    def get(self, request: Request, key: str) -> Response:
        if key not in Policy.model_fields:
            raise policies.UnknownPolicy
        return self.page(PolicyVersion.objects.filter(key=key).select_related("author"), PolicyVersionShape)

    def post(self, request: Request, key: str) -> Response:
        body = read_body(PolicyChange, request)

        def act(now: datetime) -> Answer:
            changed = policies.change_within(
                key=key, value=body.value, author=person(request), reason=body.reason, now=now
            )
            if changed.version is None:
                return _wait(changed.missing)
            return Answer(PolicyVersionShape.of(changed.version).as_json(), status=201)

        return once(request, act)


class Caps(Endpoint):
    operations: ClassVar = {
        "GET": Operation(
            summary="What is left of each daily cap",
            scope=("read",),
            answer=CapShape,
            listed=True,
            query=ListQuery,
        )
    }

    def get(self, request: Request) -> Response:
        _, policy = policies.current()
        return self.page(caps.overview(policy=policy, now=db.now()), CapShape, key="key")
