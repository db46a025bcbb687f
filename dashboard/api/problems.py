"""How a failure is told: application/problem+json (RFC 9457), one rendering for every error of the API.

Which errors there are is the affair of those who raise them: `DomainError`s carry their own code and status.
What nobody expected is logged and told without its text.
"""

import sys
from http import HTTPStatus
from math import ceil
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views import defaults
from rest_framework import exceptions
from rest_framework.response import Response

from tradeco.common import db
from tradeco.common.errors import DomainError, InvalidInput
from tradeco.common.outside import VenueUnavailable

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_CONTENDED_SECONDS, RETRY_AWAY_SECONDS = 1, 5  # a lock frees soon; a database that left takes longer
API_ROOT = "/api/"


def problem(
    *,
    status: int,
    code: str,
    detail: str,
    title: str = "",
    errors: list[dict[str, str]] | None = None,
    request_id: str = "",
) -> dict[str, Any]:
    """The body of a problem. `type` is a name, stable like the code; it needn't be fetched."""
    return {
        "type": f"urn:tradeco:problem:{code}",
        "title": title or HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "errors": errors or [],
        "request_id": request_id,
    }


def handle(exc: Exception, context: dict[str, Any]) -> Response | None:
    """DRF's exception handler. None lets what nobody expected go on to `server_error`."""
    request_id = getattr(context.get("request"), "request_id", "")
    told = _told(exc)
    if told is None:
        return None
    body, headers = told
    answer = Response({**body, "request_id": request_id}, status=body["status"], headers=headers)
    answer.content_type = MEDIA_TYPE
    return answer


def _told(exc: BaseException) -> tuple[dict[str, Any], dict[str, str]] | None:
    """Body and headers of an expected failure."""
    match exc:
        case VenueUnavailable(retry_after_seconds=float() | int() as seconds):
            return _domain(exc), {"Retry-After": str(ceil(seconds))}
        case DomainError():
            return _domain(exc), {}
        case exceptions.APIException():
            return _framework(exc)
        case Http404():
            return problem(status=404, code="not_found", detail="There is nothing at this address."), {}
        case PermissionDenied():
            return problem(status=403, code="permission_denied", detail="You may not do this."), {}
        case RequestDataTooBig():
            return problem(status=413, code="body_too_large", detail="The body is too large."), {}
        case SuspiciousOperation():
            return problem(status=400, code="bad_request", detail="The request can't be understood."), {}
        case OperationalError() | InterfaceError():
            return _database(exc)
    return None


def _domain(exc: DomainError) -> dict[str, Any]:
    errors = exc.errors if isinstance(exc, InvalidInput) else []
    return problem(status=exc.status, code=exc.code, title=exc.title, detail=exc.detail, errors=errors)


def _framework(exc: exceptions.APIException) -> tuple[dict[str, Any], dict[str, str]]:
    code = exc.get_codes()
    headers: dict[str, str] = {}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    detail = str(exc.detail)
    if isinstance(exc, exceptions.NotAuthenticated):
        detail = "Send a token: Authorization: Bearer <token>."
    if isinstance(exc, exceptions.UnsupportedMediaType):
        detail = "Send JSON: Content-Type: application/json."
    return (
        problem(
            status=exc.status_code,
            code=code if isinstance(code, str) else "invalid_input",
            detail=detail,
        ),
        headers,
    )


def _database(exc: OperationalError | InterfaceError) -> tuple[dict[str, Any], dict[str, str]]:
    contended = db.is_contention(exc)
    log.warning(
        "A request was turned away by the database.",
        action="database_turned_away",
        contended=contended,
        error=type(exc.__cause__ or exc).__name__,
    )
    seconds = RETRY_CONTENDED_SECONDS if contended else RETRY_AWAY_SECONDS
    body = problem(
        status=503,
        code="busy" if contended else "database_unavailable",
        detail=f"Nothing was done. Send the same request again in {seconds} s.",
    )
    return body, {"Retry-After": str(seconds)}


# --- Django's own error pages, for what fails outside a view of the API ---------------------------


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler400`."""
    if not request.path.startswith(API_ROOT):
        return defaults.bad_request(request, exception)
    return _page(request, _told(exception) or _told(SuspiciousOperation()))


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler403`."""
    if not request.path.startswith(API_ROOT):
        return defaults.permission_denied(request, exception)
    return _page(request, _told(PermissionDenied()))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """`handler404`."""
    if not request.path.startswith(API_ROOT):
        return defaults.page_not_found(request, exception)
    return _page(request, _told(Http404()))


def server_error(request: HttpRequest) -> HttpResponse:
    """`handler500`. A database that is away is told as such wherever it was missed."""
    error = sys.exc_info()[1]
    if not request.path.startswith(API_ROOT):
        return defaults.server_error(request)
    return _page(request, _told(error) if error else None)


def _page(request: HttpRequest, told: tuple[dict[str, Any], dict[str, str]] | None) -> HttpResponse:
    body, headers = told or (
        problem(status=500, code="internal_error", detail="This is our mistake; the log has its details."),
        {},
    )
    body["request_id"] = getattr(request, "request_id", "")
    return JsonResponse(body, status=body["status"], content_type=MEDIA_TYPE, headers=headers)
