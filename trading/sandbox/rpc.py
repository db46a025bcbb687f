"""Solana's JSON-RPC: which methods there are, how requests are read and errors written. Methods stand in `methods`.

Shapes and codes are Agave's. A request is answered under the chain's lock, as one moment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from solders.pubkey import Pubkey

from trading.sandbox.chain import Chain
from trading.sandbox.faucet import Faucet
from trading.sandbox.faults import Faults
from trading.sandbox.views import View

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
PREFLIGHT_FAILURE = -32002
SIGNATURE_FAILURE = -32003
BLOCK_NOT_AVAILABLE = -32004
NODE_UNHEALTHY = -32005
UNSUPPORTED_VERSION = -32015
MIN_CONTEXT_SLOT = -32016
COMMITMENTS = ("processed", "confirmed", "finalized")
UNHEALTHY_BEHIND = 128  # blocks; Agave's health-check distance


class RpcError(Exception):
    """An answer that is an error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.data is not None:
            found["data"] = self.data
        return found


class Params:
    """A request's positional parameters, read strictly."""

    def __init__(self, given: list[Any]) -> None:
        self._given = given

    def at(self, place: int, kind: type, default: Any = None) -> Any:
        """Raises RpcError -32602: missing without a default, or of another type."""
        value = self._given[place] if len(self._given) > place else None
        if value is None:
            if default is None:
                raise RpcError(INVALID_PARAMS, f"`params` should have at least {place + 1} argument(s)")
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise RpcError(INVALID_PARAMS, f"Invalid params: invalid type at {place}, expected {kind.__name__}.")
        return value

    def pubkey(self, place: int) -> Pubkey:
        return pubkey(self.at(place, str))

    def options(self, place: int) -> dict[str, Any]:
        found: dict[str, Any] = self.at(place, dict, {})
        return found


def option(options: dict[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """An option of a request. Raises RpcError -32602: of another type."""
    value: Any = options.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or isinstance(value, bool) or (isinstance(value, int) and value < 0):
        raise RpcError(INVALID_PARAMS, f"Invalid params: `{name}` should be {kind.__name__}.")
    return value


class Call:
    """One request: what it sees, and what it was asked."""

    def __init__(self, *, view: View, params: Params, faucet: Faucet, faults: Faults) -> None:
        self.view = view
        self.params = params
        self.faucet = faucet
        self.faults = faults

    @property
    def chain(self) -> Chain:
        return self.view.chain

    def commitment(self, options: dict[str, Any], *, default: str = "finalized", key: str = "commitment") -> str:
        found = options.get(key) or default
        if found not in COMMITMENTS:
            raise RpcError(INVALID_PARAMS, f"Invalid params: unknown variant `{found}`, expected a commitment.")
        return str(found)

    def moment(self, options: dict[str, Any], *, key: str = "commitment") -> str:
        """The commitment, when the node has got as far as `minContextSlot` asks; else RpcError -32016."""
        commitment = self.commitment(options, key=key)
        least = option(options, "minContextSlot", int)
        slot = self.view.slot(commitment)
        if least is not None and slot < least:
            raise RpcError(MIN_CONTEXT_SLOT, "Minimum context slot has not been reached", {"contextSlot": slot})
        return commitment

    def require_health(self) -> None:
        behind = self.view.lag
        if behind >= UNHEALTHY_BEHIND:
            raise RpcError(NODE_UNHEALTHY, f"Node is behind by {behind} slots", {"numSlotsBehind": behind})

    def with_context(self, value: Any, commitment: str) -> dict[str, Any]:
        return {"context": {"apiVersion": "2.3.0", "slot": self.view.slot(commitment)}, "value": value}


Method = Callable[[Call], Any]


class Rpc:
    def __init__(self, chain: Chain, *, methods: dict[str, Method], faucet: Faucet, faults: Faults) -> None:
        self._chain = chain
        self._methods = methods
        self._faucet = faucet
        self._faults = faults

    def answer(self, request: Any) -> dict[str, Any]:
        """The answer to one request object, errors included."""
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _answer(None, error=RpcError(INVALID_REQUEST, "Invalid request"))
        try:
            return _answer(request.get("id"), result=self._result(request["method"], request.get("params") or []))
        except RpcError as error:
            return _answer(request.get("id"), error=error)

    def _result(self, name: str, params: Any) -> Any:
        method = self._methods.get(name)
        if method is None:
            raise RpcError(METHOD_NOT_FOUND, "Method not found")
        if not isinstance(params, list):
            raise RpcError(INVALID_PARAMS, "Invalid params: expected an array.")
        lag, forgetful = self._faults.reading(name)
        with self._chain.lock:
            view = View(self._chain, lag=lag, forgetful=forgetful)
            return method(Call(view=view, params=Params(params), faucet=self._faucet, faults=self._faults))


def pubkey(text: Any) -> Pubkey:
    """Raises RpcError -32602."""
    try:
        return Pubkey.from_string(text)
    except (ValueError, TypeError) as exc:
        raise RpcError(INVALID_PARAMS, "Invalid param: Invalid") from exc


def _answer(request_id: Any, *, result: Any = None, error: RpcError | None = None) -> dict[str, Any]:
    if error is not None:
        return {"jsonrpc": "2.0", "error": error.as_json(), "id": request_id}
    return {"jsonrpc": "2.0", "result": result, "id": request_id}
