"""How a transaction comes in: decoded, checked as a node checks it, simulated, and handed to the mempool."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

from solders.message import Message, MessageV0, to_bytes_versioned
from solders.transaction import SanitizeError, VersionedTransaction

from trading.sandbox.bank import Simulated
from trading.sandbox.codec import b58decode
from trading.sandbox.desk import SLIPPAGE_EXCEEDED
from trading.sandbox.rpc import INVALID_PARAMS, PREFLIGHT_FAILURE, SIGNATURE_FAILURE, RpcError
from trading.sandbox.views import View

TRANSACTION_BYTES_MAX = 1232  # one packet
ENCODED_MAX = 2 * TRANSACTION_BYTES_MAX
SENTENCES = {
    "BlockhashNotFound": "Blockhash not found",
    "AlreadyProcessed": "This transaction has already been processed",
    "AccountNotFound": "Attempt to debit an account but found no record of a prior credit.",
    "InsufficientFundsForFee": "Insufficient funds for fee",
}


@dataclass(frozen=True, slots=True)
class Preflight:
    err: Any
    simulated: Simulated | None  # None: it wasn't run


def decode(text: str, encoding: str) -> VersionedTransaction:
    """Raises RpcError -32602: not a transaction, or too large for one."""
    if len(text) > ENCODED_MAX:
        raise RpcError(INVALID_PARAMS, f"{encoding} encoded VersionedTransaction too large: {len(text)} bytes")
    try:
        raw = base64.b64decode(text, validate=True) if encoding == "base64" else b58decode(text)
    except (binascii.Error, ValueError) as exc:
        raise RpcError(INVALID_PARAMS, f"invalid {encoding} encoding: {exc}") from exc
    if len(raw) > TRANSACTION_BYTES_MAX:
        message = f"decoded VersionedTransaction too large: {len(raw)} bytes (max: {TRANSACTION_BYTES_MAX} bytes)"
        raise RpcError(INVALID_PARAMS, message)
    try:
        transaction = VersionedTransaction.from_bytes(raw)
        transaction.sanitize()
    except (ValueError, SanitizeError) as exc:
        raise RpcError(INVALID_PARAMS, f"failed to deserialize VersionedTransaction: {exc}") from exc
    if bytes(transaction) != raw:
        raise RpcError(INVALID_PARAMS, "failed to deserialize VersionedTransaction: trailing bytes")
    if not isinstance(transaction.message, Message | MessageV0):
        raise RpcError(INVALID_PARAMS, "failed to deserialize VersionedTransaction: unsupported version")
    return transaction


def require_signatures(transaction: VersionedTransaction) -> None:
    """Raises RpcError -32003."""
    if not all(transaction.verify_with_results()):
        raise RpcError(SIGNATURE_FAILURE, "Transaction signature verification failure")


def preflight(
    view: View, transaction: VersionedTransaction, *, commitment: str, verify: bool = False, any_blockhash: bool = False
) -> Preflight:
    """What a node foresees. Blockhash and duplicates are judged at the commitment, accounts as they stand now.

    The blockhash comes before the duplicate, as in Agave: resending what landed long ago says BlockhashNotFound.
    """
    chain = view.chain
    message = transaction.message
    if not any_blockhash and not chain.is_valid(str(message.recent_blockhash), view.height(commitment)):
        return Preflight("BlockhashNotFound", None)
    if view.entry(str(transaction.signatures[0])) is not None:
        return Preflight("AlreadyProcessed", None)
    chain.desk.fill_vaults()
    simulated = chain.bank.simulate(transaction, verify=verify)
    order = chain.desk.find(to_bytes_versioned(message))
    if simulated.err is None and order is not None and chain.desk.refuses(order):
        err = {"InstructionError": [order.paying_out, {"Custom": SLIPPAGE_EXCEEDED}]}
        return Preflight(err, Simulated(err, simulated.units, simulated.logs, simulated.fee, {}))
    return Preflight(simulated.err, simulated)


def refusal(found: Preflight) -> RpcError:
    """The answer to a transaction that fails its preflight."""
    simulated = found.simulated
    data = {
        "accounts": None,
        "err": found.err,
        "innerInstructions": None,
        "logs": simulated.logs if simulated else [],
        "replacementBlockhash": None,
        "returnData": None,
        "unitsConsumed": simulated.units if simulated else 0,
    }
    return RpcError(PREFLIGHT_FAILURE, f"Transaction simulation failed: {sentence(found.err)}", data)


def sentence(err: Any) -> str:
    """An error in Agave's words."""
    if isinstance(err, str):
        return SENTENCES.get(err, err)
    if isinstance(err, dict) and "InstructionError" in err:
        index, reason = err["InstructionError"]
        if isinstance(reason, dict) and "Custom" in reason:
            return f"Error processing Instruction {index}: custom program error: {reason['Custom']:#x}"
        return f"Error processing Instruction {index}: {reason}"
    return str(err)
