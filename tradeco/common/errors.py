"""What can go wrong by the world's doing, as one family.

Every expected failure is a DomainError with a stable `code`; each stands beside the function that raises it.
How a failure is shown is the faces' affair: the API renders problem+json, the admin a message.
"""

from typing import ClassVar


class DomainError(Exception):
    """An expected refusal. `code` is stable and documented, `status` is its HTTP status."""

    code: ClassVar[str] = "refused"
    status: ClassVar[int] = 409
    title: ClassVar[str] = "The request was refused"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title


class NotFound(DomainError):
    code = "not_found"
    status = 404
    title = "There is no such thing"


class StaleRow(DomainError):
    """A row was not in the state that the caller believed: someone else moved it first."""

    code = "stale_row"
    title = "Someone else changed this first"


class InvalidInput(DomainError):
    """Input that its schema refuses; `errors` says where and why."""

    code = "invalid_input"
    status = 400
    title = "The input is not valid"

    def __init__(self, detail: str = "", *, errors: list[dict[str, str]] | None = None) -> None:
        super().__init__(detail)
        self.errors = errors or []


def family(root: type[DomainError] = DomainError) -> list[type[DomainError]]:
    """Every domain error there is, for the reference page and its test."""
    found = [root]
    for child in root.__subclasses__():
        found += family(child)
    return found
