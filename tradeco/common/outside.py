"""What can go wrong with those outside that we ask over a network, whoever they are.

They gave no usable answer, or we don't ask at present. What they refuse by a definite answer is an error of the client
that asked. No Django import beyond the errors: a process without a database uses this too.
"""

from ipaddress import ip_address
from typing import ClassVar
from urllib.parse import urlsplit

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


def host_of(url: str) -> str:
    """host:port of an address that may be asked: https, or plain http on this machine, and no user's name in it.

    Raises:
        ValueError: it is none. The message names no more than the host: path and query may hold a key.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise ValueError("an address outside is https://host/path, without a user's name")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(f"{parts.hostname} must be asked over https; plain http is for this machine alone")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
