"""JSON-RPC methods about transactions: simulate, send, statuses, history."""

from __future__ import annotations

import base64
from itertools import islice
from typing import Any

from solders.message import Message
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from trading.sandbox import sending
from trading.sandbox.bank import is_writable
from trading.sandbox.chain import slot
from trading.sandbox.codec import b58encode
from trading.sandbox.ledger import Entry
from trading.sandbox.methods_accounts import account_json, amount_json
from trading.sandbox.rpc import INVALID_PARAMS, UNSUPPORTED_VERSION, Call, Method, RpcError, option, pubkey

STATUSES_MAX = 256
SIGNATURES_MAX = 1_000
AIRDROP_MAX = 10**15  # lamports


def send_transaction(call: Call) -> str:
    options = call.params.options(1)
    transaction = sending.decode(call.params.at(0, str), option(options, "encoding", str, "base58"))
    commitment = call.moment(options, key="preflightCommitment")
    if not options.get("skipPreflight"):
        sending.require_signatures(transaction)
        call.require_health()
        found = sending.preflight(call.view, transaction, commitment=commitment)
        if found.err is not None:
            raise sending.refusal(found)
    return call.chain.submit(transaction, fate=call.faults.fate("sendTransaction"))


def simulate_transaction(call: Call) -> dict[str, Any]:
    options = call.params.options(1)
    verify, replace = bool(options.get("sigVerify")), bool(options.get("replaceRecentBlockhash"))
    if verify and replace:
        raise RpcError(INVALID_PARAMS, "sigVerify may not be used with replaceRecentBlockhash")
    transaction = sending.decode(call.params.at(0, str), option(options, "encoding", str, "base58"))
    commitment = call.moment(options)
    if verify:
        sending.require_signatures(transaction)
    found = sending.preflight(call.view, transaction, commitment=commitment, verify=verify, any_blockhash=replace)
    blockhash, last_valid = call.view.latest_blockhash(commitment)
    value = {
        "err": found.err,
        "logs": found.simulated.logs if found.simulated else [],
        "accounts": _simulated_accounts(call, found, option(options, "accounts", dict)),
        "unitsConsumed": found.simulated.units if found.simulated else 0,
        "returnData": None,
        "innerInstructions": None,
        "replacementBlockhash": {"blockhash": blockhash, "lastValidBlockHeight": last_valid} if replace else None,
        "fee": found.simulated.fee if found.simulated else None,
    }
    return call.with_context(value, commitment)


def get_signature_statuses(call: Call) -> dict[str, Any]:
    signatures = call.params.at(0, list)
    if len(signatures) > STATUSES_MAX:
        raise RpcError(INVALID_PARAMS, f"Too many inputs provided; max {STATUSES_MAX}")
    search = bool(call.params.options(1).get("searchTransactionHistory"))
    found = [call.view.status(_signature(text), search=search) for text in signatures]
    return call.with_context(found, "processed")


def get_signatures_for_address(call: Call) -> list[dict[str, Any]]:
    options = call.params.options(1)
    commitment = _at_least_confirmed(call, options)
    limit = option(options, "limit", int, SIGNATURES_MAX)
    if not 1 <= limit <= SIGNATURES_MAX:
        raise RpcError(INVALID_PARAMS, f"Invalid limit; max {SIGNATURES_MAX}")
    before = _boundary(call, options.get("before"))
    if before is None and options.get("before") is not None:
        return []
    until = _boundary(call, options.get("until"))
    entries = call.chain.ledger.of_address(str(call.params.pubkey(0)), up_to_height=call.view.height(commitment))
    wanted = (
        entry
        for entry in entries
        if (before is None or entry.number < before.number) and (until is None or entry.number > until.number)
    )
    return [_signature_json(call, entry) for entry in islice(wanted, limit)]


def get_transaction(call: Call) -> dict[str, Any] | None:
    second = call.params.at(1, object, {})
    options = {"encoding": second} if isinstance(second, str) else call.params.options(1)
    commitment = _at_least_confirmed(call, options)
    entry = call.view.entry(_signature(call.params.at(0, str)), commitment)
    if entry is None:
        return None
    record = call.chain.ledger.record(entry)
    raw = base64.b64decode(record["transaction"])
    transaction = VersionedTransaction.from_bytes(raw)
    version = _version(transaction, options.get("maxSupportedTransactionVersion"))
    shown = {
        "slot": slot(entry.height),
        "blockTime": entry.time,
        "transaction": _encoded(transaction, raw, option(options, "encoding", str, "json")),
        "meta": _meta(record),
    }
    return shown if version is None else {**shown, "version": version}


def request_airdrop(call: Call) -> str:
    address, lamports = call.params.pubkey(0), call.params.at(1, int)
    if not 0 < lamports <= AIRDROP_MAX:
        raise RpcError(INVALID_PARAMS, f"Invalid params: an airdrop is of 1 to {AIRDROP_MAX} lamports.")
    return call.faucet.give(address, lamports=lamports, note="airdrop")


def _simulated_accounts(call: Call, found: sending.Preflight, wanted: Any) -> list[Any] | None:
    if not wanted:
        return None
    addresses = [pubkey(text) for text in option(wanted, "addresses", list, [])]
    if found.err is not None or found.simulated is None:
        return [None] * len(addresses)
    after = found.simulated.accounts
    options = {"encoding": option(wanted, "encoding", str, "base64")}
    return [
        account_json(call.chain.bank, after[address] if address in after else call.chain.bank.account(address), options)
        for address in addresses
    ]


def _signature(text: Any) -> str:
    try:
        return str(Signature.from_string(text))
    except (ValueError, TypeError) as exc:
        raise RpcError(INVALID_PARAMS, "Invalid param: Invalid") from exc


def _at_least_confirmed(call: Call, options: dict[str, Any]) -> str:
    commitment = call.moment(options)
    if commitment == "processed":
        raise RpcError(INVALID_PARAMS, "Method does not support commitment below `confirmed`")
    return commitment


def _boundary(call: Call, signature: Any) -> Entry | None:
    """Where a page begins or ends; None for a signature that nobody knows."""
    return None if signature is None else call.view.entry(_signature(signature))


def _signature_json(call: Call, entry: Entry) -> dict[str, Any]:
    return {
        "signature": entry.signature,
        "slot": slot(entry.height),
        "err": entry.err,
        "memo": None,
        "blockTime": entry.time,
        "confirmationStatus": call.view.confirmation(entry),
    }


def _version(transaction: VersionedTransaction, supported: Any) -> str | int | None:
    """What to show as `version`: nothing to a client that knows of no versions. Raises RpcError -32015."""
    version = "legacy" if isinstance(transaction.message, Message) else 0
    if supported is not None:
        return version
    if version == 0:
        raise RpcError(
            UNSUPPORTED_VERSION,
            "Transaction version (0) is not supported by the requesting client. Please try the request again with"
            ' the following configuration parameter: "maxSupportedTransactionVersion": 0',
        )
    return None


def _encoded(transaction: VersionedTransaction, raw: bytes, encoding: str) -> Any:
    if encoding == "base64":
        return [base64.b64encode(raw).decode(), "base64"]
    if encoding == "base58":
        return [b58encode(raw), "base58"]
    if encoding not in ("json", "jsonParsed"):
        raise RpcError(INVALID_PARAMS, f"Invalid params: unknown variant `{encoding}`.")
    message = transaction.message
    shown = _message_parsed(transaction) if encoding == "jsonParsed" else _message(transaction)
    if not isinstance(message, Message):
        shown["addressTableLookups"] = []
    return {"signatures": [str(signature) for signature in transaction.signatures], "message": shown}


def _message(transaction: VersionedTransaction) -> dict[str, Any]:
    message = transaction.message
    return {
        "header": {
            "numRequiredSignatures": message.header.num_required_signatures,
            "numReadonlySignedAccounts": message.header.num_readonly_signed_accounts,
            "numReadonlyUnsignedAccounts": message.header.num_readonly_unsigned_accounts,
        },
        "accountKeys": [str(key) for key in message.account_keys],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            {
                "programIdIndex": instruction.program_id_index,
                "accounts": list(instruction.accounts),
                "data": b58encode(bytes(instruction.data)),
                "stackHeight": None,
            }
            for instruction in message.instructions
        ],
    }


def _message_parsed(transaction: VersionedTransaction) -> dict[str, Any]:
    """Keys with their roles; instructions decoded as far as their accounts."""
    message = transaction.message
    keys = message.account_keys
    signers = message.header.num_required_signatures
    return {
        "accountKeys": [
            {
                "pubkey": str(key),
                "signer": index < signers,
                "writable": is_writable(message, index),
                "source": "transaction",
            }
            for index, key in enumerate(keys)
        ],
        "recentBlockhash": str(message.recent_blockhash),
        "instructions": [
            {
                "programId": str(keys[instruction.program_id_index]),
                "accounts": [str(keys[index]) for index in instruction.accounts],
                "data": b58encode(bytes(instruction.data)),
                "stackHeight": None,
            }
            for instruction in message.instructions
        ],
    }


def _meta(record: dict[str, Any]) -> dict[str, Any]:
    err = record["err"]
    return {
        "err": err,
        "status": {"Ok": None} if err is None else {"Err": err},
        "fee": record["fee"],
        "preBalances": record["before"],
        "postBalances": record["after"],
        "preTokenBalances": [_token_balance(balance) for balance in record["tokens_before"]],
        "postTokenBalances": [_token_balance(balance) for balance in record["tokens_after"]],
        "innerInstructions": [],
        "logMessages": record["logs"],
        "rewards": [],
        "loadedAddresses": {"writable": [], "readonly": []},
        "computeUnitsConsumed": record["units"],
    }


def _token_balance(balance: dict[str, Any]) -> dict[str, Any]:
    return {
        "accountIndex": balance["index"],
        "mint": balance["mint"],
        "owner": balance["owner"],
        "programId": "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA",
        "uiTokenAmount": amount_json(balance["amount"], balance["decimals"]),
    }


METHODS: dict[str, Method] = {
    "sendTransaction": send_transaction,
    "simulateTransaction": simulate_transaction,
    "getSignatureStatuses": get_signature_statuses,
    "getSignaturesForAddress": get_signatures_for_address,
    "getTransaction": get_transaction,
    "requestAirdrop": request_airdrop,
}
