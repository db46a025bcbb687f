"""Those outside that we ask over a network, whoever they are: at which addresses, and what can go wrong.

They gave no usable answer, or we don't ask at present. What they refuse by a definite answer is an error of the client
that asked. No Django import beyond the errors: a process without a database uses this too.
"""

from ipaddress import ip_address
from typing import ClassVar
from urllib.parse import SplitResult, urlsplit

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
    parts = _split(url)
    host = parts.hostname if parts and "@" not in parts.netloc and not parts.fragment else None
    if parts is None or not host or parts.scheme not in ("http", "https"):
        raise ValueError("an address outside is https://host:port/path, without a user's name")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ValueError(f"{host} must be asked over https; plain http is for this machine alone")
    name = f"[{host}]" if ":" in host else host
    return f"{name}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _split(url: str) -> SplitResult | None:
    """None where it can't be: the reason that the parser gives may quote a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
