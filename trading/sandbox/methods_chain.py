"""JSON-RPC methods about the chain itself: heights, blockhashes, health, fees."""

from typing import Any

from trading.sandbox.chain import FIRST_HEIGHT, GENESIS, SKIPPED_SLOTS
from trading.sandbox.rpc import BLOCK_NOT_AVAILABLE, INVALID_PARAMS, Call, Method, RpcError

VERSION = {"solana-core": "2.3.0", "feature-set": 3_640_012_085}
USUAL_PRIORITY_FEE = 1_000  # micro-lamports a compute unit; nobody competes here
FEE_SLOTS = 20
ACCOUNT_BYTES_MAX = 10 * 1024 * 1024


def get_genesis_hash(call: Call) -> str:
    return str(GENESIS)


def get_health(call: Call) -> str:
    call.require_health()
    return "ok"


def get_version(call: Call) -> dict[str, Any]:
    return VERSION


def get_slot(call: Call) -> int:
    return call.view.slot(call.moment(call.params.options(0)))


def get_block_height(call: Call) -> int:
    return call.view.height(call.moment(call.params.options(0)))


def get_epoch_info(call: Call) -> dict[str, Any]:
    """One epoch, which never ends."""
    commitment = call.moment(call.params.options(0))
    slot = call.view.slot(commitment)
    return {
        "absoluteSlot": slot,
        "blockHeight": call.view.height(commitment),
        "epoch": 0,
        "slotIndex": slot,
        "slotsInEpoch": 2**32,
        "transactionCount": None,
    }


def get_latest_blockhash(call: Call) -> dict[str, Any]:
    commitment = call.moment(call.params.options(0))
    blockhash, last_valid = call.view.latest_blockhash(commitment)
    return call.with_context({"blockhash": blockhash, "lastValidBlockHeight": last_valid}, commitment)


def is_blockhash_valid(call: Call) -> dict[str, Any]:
    text = call.params.at(0, str)
    commitment = call.moment(call.params.options(1))
    return call.with_context(call.chain.is_valid(text, call.view.height(commitment)), commitment)


def get_block_time(call: Call) -> int:
    slot = call.params.at(0, int)
    time = call.chain.time_of(slot - SKIPPED_SLOTS)
    if time is None or slot > call.view.slot("confirmed"):
        raise RpcError(BLOCK_NOT_AVAILABLE, f"Block not available for slot {slot}")
    return time


def get_minimum_balance_for_rent_exemption(call: Call) -> int:
    size = call.params.at(0, int)
    if not 0 <= size <= ACCOUNT_BYTES_MAX:
        raise RpcError(INVALID_PARAMS, f"Invalid params: an account has 0 to {ACCOUNT_BYTES_MAX} bytes.")
    return call.chain.bank.rent(size)


def get_recent_prioritization_fees(call: Call) -> list[dict[str, int]]:
    newest = call.view.slot()
    first = max(FIRST_HEIGHT + SKIPPED_SLOTS, newest - FEE_SLOTS + 1)
    return [{"slot": slot, "prioritizationFee": USUAL_PRIORITY_FEE} for slot in range(first, newest + 1)]


METHODS: dict[str, Method] = {
    "getGenesisHash": get_genesis_hash,
    "getHealth": get_health,
    "getVersion": get_version,
    "getSlot": get_slot,
    "getEpochInfo": get_epoch_info,
    "getBlockHeight": get_block_height,
    "getLatestBlockhash": get_latest_blockhash,
    "isBlockhashValid": is_blockhash_valid,
    "getBlockTime": get_block_time,
    "getMinimumBalanceForRentExemption": get_minimum_balance_for_rent_exemption,
    "getRecentPrioritizationFees": get_recent_prioritization_fees,
}
