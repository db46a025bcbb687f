"""The signer's own view of the chain: three methods of Solana's JSON-RPC, with accounts as raw bytes.

Nothing is asked twice here: whoever wants a signature asks again. What the answers mean is effects' affair.
"""

import base64
from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trading.signer.effects import Account, ChainUnavailable, Simulated
from trading.signer.http import Endpoint, Unanswered

SEEN_AT = "processed"  # accounts and simulation of one bank: between two commitments a trade of ours would look lost
T = TypeVar("T", bound=BaseModel)


class _Lenient(BaseModel):
    """An RPC may add fields; those that we read must be what they should be."""

    model_config = ConfigDict(strict=True, frozen=True)


class _Account(_Lenient):
    lamports: int = Field(ge=0)
    owner: str
    data: tuple[str, str] = Field(strict=False)

    def read(self) -> Account | None:
        if self.data[1] != "base64":
            raise ChainUnavailable("The RPC gave an account in another encoding than base64.")
        if self.lamports == 0:
            return None  # closed: some RPCs still show it
        return Account(lamports=self.lamports, owner=self.owner, data=base64.b64decode(self.data[0]))


class _Accounts(_Lenient):
    value: list[_Account | None]


class _Effects(_Lenient):
    err: Any
    accounts: list[_Account | None] | None = None


class _Simulation(_Lenient):
    value: _Effects


class RpcChain:
    """A `effects.Chain` over HTTP.

    Args:
        url: https, or http on this machine.
        others: who is asked while that one is silent.
    """

    def __init__(self, url: str, *others: str) -> None:
        self._endpoints = [Endpoint(each, name="The RPC") for each in (url, *others)]

    def genesis_hash(self) -> str:
        return str(self._ask("getGenesisHash", []))

    def accounts(self, addresses: Sequence[str]) -> list[Account | None]:
        found = self._ask("getMultipleAccounts", [list(addresses), {"encoding": "base64", "commitment": SEEN_AT}])
        return _read(_read_as(_Accounts, found).value, wanted=len(addresses))

    def simulate(self, transaction: bytes, *, addresses: Sequence[str]) -> Simulated:
        options = {
            "encoding": "base64",
            "commitment": SEEN_AT,
            "sigVerify": False,
            "replaceRecentBlockhash": False,
            "accounts": {"encoding": "base64", "addresses": list(addresses)},
        }
        answer = self._ask("simulateTransaction", [base64.b64encode(transaction).decode(), options])
        value = _read_as(_Simulation, answer).value
        if value.err is not None:
            return Simulated(err=str(value.err), accounts=[])
        return Simulated(err=None, accounts=_read(value.accounts or [], wanted=len(addresses)))

    def _ask(self, method: str, params: list[Any]) -> Any:
        match self._first_answer({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}):
            case {"result": result}:
                return result
            case {"error": {"code": int(code)}}:
                raise ChainUnavailable(f"{method}: the RPC answered with error {code}.")
        raise ChainUnavailable(f"{method}: the RPC's answer is neither a result nor an error.")

    def _first_answer(self, body: dict[str, Any]) -> Any:
        silent = []
        for endpoint in self._endpoints:
            try:
                return endpoint.post(body)
            except Unanswered as exc:
                silent.append(str(exc))
        raise ChainUnavailable(f"{body['method']}: {'; '.join(silent)}")


def _read(found: list[_Account | None], *, wanted: int) -> list[Account | None]:
    if len(found) != wanted:
        raise ChainUnavailable(f"The RPC gave {len(found)} accounts; {wanted} were asked for.")
    try:
        return [account.read() if account else None for account in found]
    except ValueError:
        raise ChainUnavailable("The RPC gave an account that isn't base64.") from None


def _read_as(model: type[T], answer: Any) -> T:
    try:
        return model.model_validate(answer)
    except ValidationError:
        raise ChainUnavailable(f"The RPC's answer isn't shaped as {model.__name__[1:].lower()} should be.") from None
