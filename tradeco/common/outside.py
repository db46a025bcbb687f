"""What can go wrong with those outside that we ask over a network, whoever they are.

They gave no usable answer, or we don't ask at present. What they refuse by a definite answer is an error of the client
that asked. No Django import beyond the errors: a process without a database uses this too.
"""

from typing import ClassVar

from tradeco.common.errors import DomainError


class VenueUnavailable(DomainError):
    """No usable answer came. For a read that means: ask later. For a send it means: nobody knows.

    `retry_after_seconds` is what the other side, or the breaker, said about when to come back.
    """

    code: ClassVar[str] = "venue_unavailable"
    status: ClassVar[int] = 503
    title: ClassVar[str] = "The venue gives no answer; try again later"

    def __init__(self, detail: str = "", *, retry_after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class BreakerOpen(VenueUnavailable):
    """Nothing was asked and nothing was sent: too many calls had failed shortly before."""

    code: ClassVar[str] = "breaker_open"
    title: ClassVar[str] = "The venue failed too often; it is left alone for a while"
