"""The OpenAPI document, read from the operations that the endpoints declare."""

from typing import Any

from drf_spectacular.contrib.pydantic import PydanticExtension
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.plumbing import ResolvedComponent
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse

from dashboard.api.shapes import Problem, Waits, list_of

PROBLEM = "application/problem+json"
_ALWAYS = (400, 401, 403, 503)
_BODY = (411, 413, 415)
_ACT = (409, 422, 428)
_MEANS = {
    400: "The request is wrong",
    401: "No token, or one that doesn't work",
    403: "The scope is missing, or this person may not",
    404: "There is no such thing",
    409: "Decided already, or the key is in flight",
    411: "The body came in chunks",
    413: "The body is too large",
    415: "The body isn't JSON",
    422: "The Idempotency-Key was used for another request",
    428: "The Idempotency-Key is missing",
    503: "Come back after Retry-After",
}
_KEY = OpenApiParameter(
    name="Idempotency-Key",
    type={"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
    location=OpenApiParameter.HEADER,
    required=True,
    description="A fresh one for each act, the same when it is repeated",
)
_REPLAYED = OpenApiParameter(
    name="Idempotency-Replayed",
    type=str,
    location=OpenApiParameter.HEADER,
    response=True,
    description="true, where the answer is the stored one",
)


class TokenScheme(OpenApiAuthenticationExtension):
    target_class = "dashboard.api.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer"}


class SessionScheme(OpenApiAuthenticationExtension):
    target_class = "dashboard.api.authentication.StaffSessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid"}


class ShapeExtension(PydanticExtension):
    """A body is described by what it accepts (a decimal as string or number), an answer by what it says."""

    target_class = "pydantic.BaseModel"
    match_subclasses = True
    priority = 1

    def map_serializer(self, auto_schema: Any, direction: str) -> dict[str, Any]:
        mode = "validation" if direction == "request" else "serialization"
        schema: dict[str, Any] = self.target.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
        for name, part in schema.pop("$defs", {}).items():
            auto_schema.registry.register_on_missing(
                ResolvedComponent(name=name, type=ResolvedComponent.SCHEMA, object=name, schema=_tidy(part))
            )
        tidied: dict[str, Any] = _tidy(schema)
        return tidied


class Schema(AutoSchema):
    """Describes an `Endpoint`'s operation."""

    @property
    def operation(self) -> Any:
        return self.view.operations[self.method]

    def get_operation_id(self) -> str:
        words = [part for part in self.path.removeprefix("/api/v1/").split("/") if part]
        named = ["one" if part.startswith("{") else part for part in words]
        return "_".join([self.method.lower(), *named]).replace("-", "_")

    def get_tags(self) -> list[str]:
        return [self.path.removeprefix("/api/v1/").split("/")[0]]

    def get_summary(self) -> str:
        return str(self.operation.summary)

    def get_description(self) -> str:
        return f"Scope: {' or '.join(self.operation.scope)}."

    def get_override_parameters(self) -> list[Any]:
        found = [_query(name, part) for name, part in _properties(self.operation.query).items()]
        return [*found, _KEY, _REPLAYED] if self.operation.acts else found

    def get_request_serializer(self) -> Any:
        return self.operation.body

    def get_response_serializers(self) -> Any:
        answer = self.operation.answer
        if answer is not None and self.operation.listed:
            answer = list_of(answer)
        described = OpenApiResponse(answer, description=self.operation.summary)
        answers: dict[Any, Any] = dict.fromkeys((self.operation.status, *self.operation.also), described)
        if self.operation.waits:
            answers[202] = OpenApiResponse(Waits, description="Your word is kept; more people must send the same")
        for status in self._problems():
            answers[status, PROBLEM] = OpenApiResponse(Problem, description=_MEANS[status])
        return answers

    def get_examples(self) -> list[Any]:
        return list(self.operation.examples)

    def _problems(self) -> list[int]:
        found = {*_ALWAYS, *self.operation.problems}
        if "{" in self.path:
            found.add(404)
        if self.operation.body is not None:
            found.update(_BODY)
        if self.operation.acts:
            found.update(_ACT)
        return sorted(found)

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False  # the envelope is part of the shape


_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def _tidy(part: Any) -> Any:
    """Bounds of decimals in OpenAPI's words, and no titles that only repeat the name."""
    if isinstance(part, list):
        return [_tidy(each) for each in part]
    if not isinstance(part, dict):
        return part
    found = {}
    for key, value in part.items():
        if key in _BOUNDS and not isinstance(value, dict):
            found[_BOUNDS[key]] = float(value)
        elif key not in {"max_digits", "decimal_places"} and not (key == "title" and isinstance(value, str)):
            found[key] = _tidy(value)
    return found


def _properties(query: Any) -> dict[str, Any]:
    schema = query.model_json_schema(ref_template="{model}")
    shared = schema.get("$defs", {})
    return {name: _plain(part, shared) for name, part in schema.get("properties", {}).items()}


def _plain(part: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    """A parameter that is left out is no null: take the other branch, and enums in place."""
    branches = [branch for branch in part.get("anyOf", [part]) if branch.get("type") != "null"]
    found = {**branches[0], **{key: value for key, value in part.items() if key not in {"anyOf", "title"}}}
    found = {**shared[found.pop("$ref")], **found} if "$ref" in found else found
    return {
        key: value for key, value in found.items() if key != "title" and not (key == "default" and value in (None, ""))
    }


def _query(name: str, schema: dict[str, Any]) -> Any:
    description = schema.pop("description", "")
    return OpenApiParameter(name=name, type=schema, location=OpenApiParameter.QUERY, description=description)
