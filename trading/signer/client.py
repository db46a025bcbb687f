"""Asking the signer: what web and workers hold instead of a key. It trusts no answer that it can check."""

import base64
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from solders.pubkey import Pubkey
from solders.signature import Signature

from tradeco.common.errors import DomainError
from trading.signer import transactions
from trading.signer.protocol import (
    LINE_BYTES_MOST,
    SIGN_ANSWER,
    STATUS_ANSWER,
    Failure,
    Intent,
    SignedAnswer,
    SignRequest,
    Status,
    StatusRequest,
    encode,
    read_line,
)
from trading.signer.refusals import Refusal

T = TypeVar("T", bound=BaseModel)

ANSWER_SECONDS = 30.0  # a signature takes up to five calls of the RPC, a sale one of Jupiter too
LATER = frozenset(
    {"rpc_unavailable", "quote_unavailable", "wallet_changed_meanwhile", "state_unwritable", "internal_error"}
)
"""Codes that say nothing about the transaction: the same may be asked again."""


class SignerUnavailable(DomainError):
    """No usable answer. A signature may exist by now, but nobody has it: asking again for the same message is safe."""

    code: ClassVar[str] = "signer_unavailable"
    status: ClassVar[int] = 503
    title: ClassVar[str] = "The signer doesn't answer"


class SignerRefused(DomainError):
    """The signer won't sign this, with its own code in `refusal`."""

    code: ClassVar[str] = "signer_refused"
    title: ClassVar[str] = "The signer refused to sign"

    def __init__(self, refusal: str, reason: str) -> None:
        super().__init__(f"{refusal}: {reason}")
        self.refusal = refusal
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Signed:
    """Args: `signature` in base58, which is the transaction's id; `transaction` as it is sent."""

    signature: str
    transaction: bytes


@dataclass(frozen=True, slots=True)
class SignerClient:
    """Stateless: every question is a connection of its own, so one object serves any number of threads."""

    path: Path
    answer_seconds: float = ANSWER_SECONDS

    def status(self) -> Status:
        """Who signs, within which limits, and what of them is used.

        Raises:
            SignerUnavailable.
        """
        return self._ask(StatusRequest(), STATUS_ANSWER)

    def sign(self, transaction: bytes, *, intent: Intent, genesis: str) -> Signed:
        """Have an unsigned transaction signed. Its fee payer is whose signature comes back.

        Raises:
            SignerUnavailable: ask again, for the same transaction.
            SignerRefused: it was never signed.
        """
        try:
            unsigned = transactions.decode(transaction)
        except Refusal as refused:
            raise SignerRefused(refused.code, refused.reason) from None
        request = SignRequest(transaction=base64.b64encode(transaction).decode(), intent=intent, genesis=genesis)
        return _proven(unsigned, self._ask(request, SIGN_ANSWER))

    def _ask(self, request: BaseModel, shape: TypeAdapter[T | Failure]) -> T:
        try:
            answer = shape.validate_json(self._exchange(encode(request)))
        except OSError as exc:
            raise SignerUnavailable(f"The signer doesn't answer at {self.path}: {exc}") from exc
        except ValidationError:
            raise SignerUnavailable("The signer's answer can't be read.") from None
        if not isinstance(answer, Failure):
            return answer
        if answer.code in LATER:
            raise SignerUnavailable(f"{answer.code}: {answer.reason}")
        raise SignerRefused(answer.code, answer.reason)

    def _exchange(self, line: bytes) -> bytes:
        if len(line) > LINE_BYTES_MOST:
            raise OSError("a request this long would not be read")
        deadline = time.monotonic() + self.answer_seconds
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self.answer_seconds)
            connection.connect(str(self.path))
            connection.sendall(line)
            return read_line(connection, deadline)


def _proven(unsigned: transactions.Unsigned, answer: SignedAnswer) -> Signed:
    """The answer, if it is the fee payer's signature of the very message that was sent."""
    raw, payer = base64.b64decode(answer.transaction), unsigned.keys[0]
    try:
        signature = Signature.from_string(answer.signature)
        expected = unsigned.signed(wallet=payer, signature=bytes(signature))
    except ValueError:
        raise SignerUnavailable("The signer's signature can't be read.") from None
    if raw != expected or not signature.verify(Pubkey.from_string(payer), unsigned.message_bytes):
        raise SignerUnavailable("The signer's answer doesn't sign the message that it was sent.")
    return Signed(signature=answer.signature, transaction=raw)
