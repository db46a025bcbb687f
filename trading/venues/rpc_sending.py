"""What a node's answer to `sendTransaction` proves. What to do about it is the state machine's affair.

Four outcomes. `Refused` needs proof that this send wasn't taken, and speaks of this one send alone: an earlier send of
the same bytes may be under way. Where a node *would* not have passed the transaction on but a transaction is likely
good elsewhere (it lags, it is unwell, it doesn't know the blockhash), the outcome is `Unsure`: a gateway that sends to
several nodes may have reached another one, and the same bytes may be sent again anyway.

    answer                                   outcome            because
    the transaction's own signature          Accepted           received; landing is another question
    -32002 with AlreadyProcessed             AlreadyProcessed   an earlier send landed: look it up
    -32002 with BlockhashNotFound            Unsure             a node that lags says this of a living hash
    -32002 with another error                Refused            preflight failed, before anything is passed on
    -32002 without a transaction's error     Unsure             no proof, only a number
    -32003, -32013                           Refused            bad signature: no validator takes it
    -32006                                   Refused            a precompile's signature is bad: the same
    -32015                                   Refused            a version that the node doesn't take
    -32600, -32601, -32602, -32700           Refused            the request wasn't understood
    -32603, -32005, -32016, any other        Unsure             internal, unwell, behind: it may have gone on
    400 401 402 403 404 405 413 415          Refused            turned away at the door
    408, 409, 3xx, any other below 500       Unsure             such an answer may come after the work
    429, 5xx, time-out, reset, cut off       Unsure             nobody knows
    another signature, another id            Unsure             the answer isn't about this send
"""

import re
from dataclasses import dataclass
from typing import Any

from trading.venues.http_answers import Answer, read_json


@dataclass(frozen=True, slots=True)
class Accepted:
    """Received by a node. It says nothing about landing."""

    signature: str


@dataclass(frozen=True, slots=True)
class AlreadyProcessed:
    """It landed before: an earlier answer was lost. Look the signature up."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Proof that this send wasn't taken. `code` is stable and lower-case, such as slippage_exceeded."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Unsure:
    """Nobody knows whether this send was taken. Never a reason to sign anew before the transaction has expired."""

    reason: str


Sent = Accepted | AlreadyProcessed | Refused | Unsure

PREFLIGHT = -32002
REFUSING = {
    -32003: "bad_signature",
    -32006: "bad_precompile_signature",
    -32013: "bad_signature",
    -32015: "unsupported_version",
    -32600: "invalid_request",
    -32601: "method_not_found",
    -32602: "invalid_params",
    -32700: "parse_error",
}
AT_THE_DOOR = frozenset({400, 401, 402, 403, 404, 405, 413, 415})
SLIPPAGE_EXCEEDED = 6001  # the swap program's own code


def judge(answer: Answer, *, signature: str, number: int) -> Sent:
    """What an answer to the request `number`, which sent the transaction of that signature, proves."""
    try:
        tree = read_json(answer.text)
    except ValueError:
        tree = None
    if answer.status in AT_THE_DOOR and not _has_error(tree):
        return Refused(code=f"http_{answer.status}", reason=f"Turned away with HTTP {answer.status}.")
    if not 200 <= answer.status < 300 and answer.status not in AT_THE_DOOR:
        return Unsure(f"http_{answer.status}")
    if not isinstance(tree, dict):
        return Unsure("cut_off")
    if _has_error(tree):
        # an error without an id is one that came before the id was read
        return _judge_error(tree["error"]) if tree.get("id") in (number, None) else Unsure("answer_to_another_request")
    if tree.get("id") != number or tree.get("result") != signature:
        return Unsure("answer_to_another_request")
    return Accepted(signature=signature)


def _has_error(tree: Any) -> bool:
    return isinstance(tree, dict) and isinstance(tree.get("error"), dict)


def _judge_error(error: dict[str, Any]) -> Sent:
    code = error.get("code")
    if type(code) is not int:
        return Unsure("error_without_code")
    if code == PREFLIGHT:
        data = error.get("data")
        return _judge_preflight(data.get("err") if isinstance(data, dict) else None)
    if code in REFUSING:
        return Refused(code=REFUSING[code], reason=f"The node refused it ({code}).")
    return Unsure(f"rpc_{code}")


def _judge_preflight(err: object) -> Sent:
    name = err if isinstance(err, str) else next(iter(err), None) if isinstance(err, dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9]{2,59}", name):
        return Unsure("preflight_without_reason")
    if name == "AlreadyProcessed":
        return AlreadyProcessed()
    if name == "BlockhashNotFound":
        return Unsure("blockhash_not_found")
    custom = _custom_code(err)
    code = "slippage_exceeded" if custom == SLIPPAGE_EXCEEDED else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    program = "" if custom is None else f", the program's error {custom}"
    return Refused(code=code, reason=f"It failed before it was sent: {name}{program}.")


def _custom_code(err: object) -> int | None:
    """The program's own number in {"InstructionError": [place, {"Custom": number}]}."""
    match err:
        case {"InstructionError": [_, {"Custom": int(number)}]}:
            return number
    return None
