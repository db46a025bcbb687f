"""The signer's own view of the chain: three methods of Solana's JSON-RPC, with accounts as raw bytes.

Nothing is asked twice here: whoever wants a signature asks again. What the answers mean is effects' affair.
"""

import base64
import json
import threading
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trading.signer.effects import Account, ChainUnavailable, Simulated

TIMEOUT_SECONDS = (2.0, 8.0)  # to connect, between two bytes
SEEN_AT = "processed"  # accounts and simulation of one bank: between two commitments a trade of ours would look lost
ANSWER_BYTES_MOST = 4 * 1024 * 1024
T = TypeVar("T", bound=BaseModel)
LOOPBACK = ("127.0.0.1", "localhost", "::1")


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
    """A `effects.Chain` over HTTP; one connection a thread.

    Args:
        url: https, or http on this machine. It may hold a key and is never shown.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise ValueError("The RPC's address must be https, or http on this machine.")
        self.url = url
        self._local = threading.local()

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
        try:
            answer = self._post({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        except (requests.RequestException, ValueError) as exc:
            raise ChainUnavailable(f"{method}: {type(exc).__name__}") from None
        match answer:
            case {"result": result}:
                return result
            case {"error": {"code": int(code)}}:
                raise ChainUnavailable(f"{method}: the RPC answered with error {code}.")
        raise ChainUnavailable(f"{method}: the RPC's answer is neither a result nor an error.")

    def _post(self, body: dict[str, Any]) -> Any:
        with self._session().post(
            self.url, json=body, timeout=TIMEOUT_SECONDS, allow_redirects=False, stream=True
        ) as response:
            response.raise_for_status()
            content = response.raw.read(ANSWER_BYTES_MOST + 1, decode_content=True)
        if len(content) > ANSWER_BYTES_MOST:
            raise ValueError("too large an answer")
        return json.loads(content)

    def _session(self) -> requests.Session:
        if not hasattr(self._local, "session"):
            self._local.session = requests.Session()
            self._local.session.trust_env = False  # neither a proxy nor a netrc of the environment's
        session: requests.Session = self._local.session
        return session


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
