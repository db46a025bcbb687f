"""What ASGI doesn't offer and daphne has: how much of what was sent is still unsent, and a close with a reason.

daphne has no back-pressure: `send` returns at once and its buffer grows with a client that doesn't read. Its
`send` is a partial over the connection's protocol, and from there both can be had. Another server waits inside
`send` and takes the reason itself; then the answers here are 0 and False.
"""

from functools import partial
from typing import Any


def unsent_bytes(send: Any) -> int:
    """How many bytes wait in this connection's buffer."""
    transport: Any = getattr(_protocol(send), "transport", None)
    while hasattr(transport, "_transport"):  # TLS wraps it
        transport = transport._transport
    buffered = len(getattr(transport, "dataBuffer", b"")) - int(getattr(transport, "offset", 0))
    return buffered + int(getattr(transport, "_tempDataLen", 0))


def close(send: Any, *, code: int, reason: str) -> bool:
    """Close with a reason where the server wouldn't pass it on; False where it must be closed as usual."""
    send_close = getattr(_protocol(send), "sendClose", None)
    if send_close is None:
        return False
    # autobahn takes 1000 and 3000 to 4999 only, and raises for others: the consumer's codes are all 4xxx
    send_close(code=code, reason=reason.encode()[:120].decode(errors="ignore"))  # RFC 6455: 123 bytes at most
    return True


def _protocol(send: Any) -> Any:
    return send.args[0] if isinstance(send, partial) and send.args else None
