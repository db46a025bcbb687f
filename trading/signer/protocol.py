"""What goes over the signer's socket: one line of JSON each way, strictly read on both sides."""

import socket
import time
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

LINE_BYTES_MOST = 64 * 1024

U64_MOST = 2**64 - 1
Address = Annotated[str, Field(pattern=r"^[1-9A-HJ-NP-Za-km-z]{32,44}$")]
Raw = Annotated[int, Field(ge=1, le=U64_MOST)]
Base64 = Annotated[
    str, Field(pattern=r"^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$", min_length=4, max_length=4096)
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Intent(_Strict):
    """What a transaction is for: give at most `amount_in`, receive at least `least_out` (raw units)."""

    mint_in: Address
    amount_in: Raw
    mint_out: Address
    least_out: Raw


class SignRequest(_Strict):
    op: Literal["sign"] = "sign"
    transaction: Base64
    intent: Intent
    genesis: Address


class StatusRequest(_Strict):
    op: Literal["status"] = "status"


class Failure(_Strict):
    ok: Literal[False] = False
    code: str
    reason: str


class SignedAnswer(_Strict):
    ok: Literal[True] = True
    signature: str
    transaction: Base64


class Status(_Strict):
    """What the signer says of itself. Amounts are raw units of the quote asset, fees lamports."""

    ok: Literal[True] = True
    address: str
    network: str
    genesis: str
    ready: bool
    """Whether the chain behind the RPC was the key's own when it was last asked."""
    reason: str
    day: str
    spent: int
    spend_cap: int
    signatures: int
    """For buys; sales have a count of their own."""
    signatures_a_day: int
    sales: int
    sales_a_day: int
    slippage_most_bps: int
    """How far below the market a sale may go."""
    priority_fee_most: int
    rent_most: int
    mints: list[str]


Request = Annotated[SignRequest | StatusRequest, Field(discriminator="op")]
REQUEST: TypeAdapter[SignRequest | StatusRequest] = TypeAdapter(Request)
SIGN_ANSWER: TypeAdapter[SignedAnswer | Failure] = TypeAdapter(Annotated[SignedAnswer | Failure, Field()])
STATUS_ANSWER: TypeAdapter[Status | Failure] = TypeAdapter(Annotated[Status | Failure, Field()])


def encode(model: BaseModel) -> bytes:
    return model.model_dump_json().encode() + b"\n"


def read_line(connection: socket.socket, deadline: float) -> bytes:
    """One line, or what there is of it at the end of input or at LINE_BYTES_MOST: neither would be valid JSON.

    Raises:
        TimeoutError: the deadline (monotonic seconds) passed, however steadily bytes dripped in.
    """
    received = bytearray()
    while b"\n" not in received and len(received) <= LINE_BYTES_MOST:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the line took too long")
        connection.settimeout(left)
        if not (chunk := connection.recv(LINE_BYTES_MOST)):
            break
        received += chunk
    return bytes(received[: LINE_BYTES_MOST + 1]).partition(b"\n")[0]
