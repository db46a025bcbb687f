"""JSON-RPC methods about accounts: lamports, data, tokens, as of the commitment that is asked for."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any

from solders.account import Account
from solders.pubkey import Pubkey
from solders.token.state import TokenAccount
from spl.token.constants import TOKEN_2022_PROGRAM_ID, TOKEN_PROGRAM_ID

from trading.sandbox.bank import Bank, is_token_account
from trading.sandbox.codec import b58encode
from trading.sandbox.rpc import INVALID_PARAMS, INVALID_REQUEST, Call, Method, RpcError, option, pubkey
from trading.sandbox.tokens import SOL

BASE58_BYTES_MAX = 128
ACCOUNTS_MAX = 100
RENT_EPOCH = 2**64 - 1  # of what is exempt from rent
TOKEN_PROGRAMS = (TOKEN_PROGRAM_ID, TOKEN_2022_PROGRAM_ID)


def get_balance(call: Call) -> dict[str, Any]:
    commitment = call.moment(call.params.options(1))
    account = call.view.account(call.params.pubkey(0), commitment)
    return call.with_context(account.lamports if account else 0, commitment)


def get_account_info(call: Call) -> dict[str, Any]:
    options = call.params.options(1)
    commitment = call.moment(options)
    account = call.view.account(call.params.pubkey(0), commitment)
    return call.with_context(account_json(call.chain.bank, account, options), commitment)


def get_multiple_accounts(call: Call) -> dict[str, Any]:
    addresses = call.params.at(0, list)
    if len(addresses) > ACCOUNTS_MAX:
        raise RpcError(INVALID_PARAMS, f"Too many inputs provided; max {ACCOUNTS_MAX}")
    options = {"encoding": "base64", **call.params.options(1)}
    commitment = call.moment(options)
    found = [call.view.account(pubkey(address), commitment) for address in addresses]
    return call.with_context([account_json(call.chain.bank, account, options) for account in found], commitment)


def get_token_accounts_by_owner(call: Call) -> dict[str, Any]:
    owner, wanted, options = call.params.pubkey(0), call.params.options(1), call.params.options(2)
    commitment = call.moment(options)
    mint = _wanted_mint(wanted)
    found = []
    if mint is not None or pubkey(wanted.get("programId")) == TOKEN_PROGRAM_ID:
        for address, account in call.view.token_accounts(owner, commitment):
            if mint is None or TokenAccount.from_bytes(bytes(account.data)).mint == mint:
                shown = account_json(call.chain.bank, account, {"encoding": "base64", **options})
                found.append({"pubkey": str(address), "account": shown})
    return call.with_context(found, commitment)


def get_token_account_balance(call: Call) -> dict[str, Any]:
    commitment = call.moment(call.params.options(1))
    account = call.view.account(call.params.pubkey(0), commitment)
    if account is None:
        raise RpcError(INVALID_PARAMS, "Invalid param: could not find account")
    if not is_token_account(account):
        raise RpcError(INVALID_PARAMS, "Invalid param: not a Token account")
    token = TokenAccount.from_bytes(bytes(account.data))
    return call.with_context(amount_json(token.amount, call.chain.bank.decimals(token.mint) or 0), commitment)


def account_json(bank: Bank, account: Account | None, options: dict[str, Any]) -> dict[str, Any] | None:
    """An account in the encoding of the options: base58 (the default), base64 or jsonParsed."""
    if account is None:
        return None
    return {
        "lamports": account.lamports,
        "owner": str(account.owner),
        "executable": account.executable,
        "rentEpoch": RENT_EPOCH,
        "space": len(account.data),
        "data": _data(bank, account, options),
    }


def amount_json(amount: int, decimals: int) -> dict[str, Any]:
    """A raw amount as `UiTokenAmount`."""
    units = Decimal(amount).scaleb(-decimals)
    text = f"{units:f}"
    return {
        "amount": str(amount),
        "decimals": decimals,
        "uiAmount": float(units),
        "uiAmountString": text.rstrip("0").rstrip(".") if "." in text else text,
    }


def _data(bank: Bank, account: Account, options: dict[str, Any]) -> Any:
    encoding = option(options, "encoding", str, "base58")
    if encoding == "jsonParsed" and is_token_account(account):
        return _parsed(bank, account)
    part = option(options, "dataSlice", dict, {})
    offset = option(part, "offset", int, 0)
    data = bytes(account.data)[offset : offset + option(part, "length", int, len(account.data))]
    if encoding in ("base64", "jsonParsed"):
        return [base64.b64encode(data).decode(), "base64"]
    if encoding not in ("base58", "binary"):
        raise RpcError(INVALID_PARAMS, f"Invalid params: unknown variant `{encoding}`.")
    if len(data) > BASE58_BYTES_MAX:
        message = f"Encoded binary (base 58) data should be less than {BASE58_BYTES_MAX} bytes, please use Base64."
        raise RpcError(INVALID_REQUEST, message)
    return b58encode(data) if encoding == "binary" else [b58encode(data), "base58"]


def _parsed(bank: Bank, account: Account) -> dict[str, Any]:
    token = TokenAccount.from_bytes(bytes(account.data))
    decimals = bank.decimals(token.mint) or 0
    info: dict[str, Any] = {
        "mint": str(token.mint),
        "owner": str(token.owner),
        "state": "initialized",
        "isNative": token.mint == SOL.mint,
        "tokenAmount": amount_json(token.amount, decimals),
    }
    if token.is_native is not None:
        info["rentExemptReserve"] = amount_json(token.is_native, decimals)
    if token.delegate is not None:
        info["delegate"] = str(token.delegate)
        info["delegatedAmount"] = amount_json(token.delegated_amount, decimals)
    if token.close_authority is not None:
        info["closeAuthority"] = str(token.close_authority)
    return {"program": "spl-token", "space": len(account.data), "parsed": {"type": "account", "info": info}}


def _wanted_mint(wanted: dict[str, Any]) -> Pubkey | None:
    """The mint of a filter, None for a filter by program. Raises RpcError where it is neither."""
    if "mint" in wanted:
        return pubkey(wanted["mint"])
    if "programId" not in wanted:
        raise RpcError(INVALID_PARAMS, "Invalid params: expected `mint` or `programId`.")
    if pubkey(wanted["programId"]) not in TOKEN_PROGRAMS:
        raise RpcError(INVALID_PARAMS, "Invalid param: unrecognized Token program id")
    return None


METHODS: dict[str, Method] = {
    "getBalance": get_balance,
    "getAccountInfo": get_account_info,
    "getMultipleAccounts": get_multiple_accounts,
    "getTokenAccountsByOwner": get_token_accounts_by_owner,
    "getTokenAccountBalance": get_token_account_balance,
}
