"""What each allowed program may be told, instruction by instruction. Each rule gives a reason to refuse, or None.

An account that comes from a lookup table is None here: nothing below accepts one where an account matters.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from solders.pubkey import Pubkey
from solders.token.associated import get_associated_token_address

from trading.signer import networks
from trading.signer.protocol import Intent

# System program: a little-endian u32 says which instruction it is.
SYSTEM_TRANSFER = 2
SYSTEM_NAMES = {0: "CreateAccount", 1: "Assign", 3: "CreateAccountWithSeed", 4: "AdvanceNonceAccount"}

# Token programs: the first byte.
TRANSFER_CHECKED, CLOSE_ACCOUNT, SYNC_NATIVE = 12, 9, 17
TOKEN_NAMES = {3: "Transfer", 4: "Approve", 6: "SetAuthority", 8: "Burn", 13: "ApproveChecked", 15: "BurnChecked"}

# Associated token program: no data or the first byte.
CREATE, CREATE_IDEMPOTENT = 0, 1

# Compute budget program: the first byte, and how long each is.
HEAP_FRAME, UNIT_LIMIT, UNIT_PRICE, DATA_SIZE_LIMIT = 1, 2, 3, 4
COMPUTE_BUDGET_BYTES = {HEAP_FRAME: 5, UNIT_LIMIT: 5, UNIT_PRICE: 9, DATA_SIZE_LIMIT: 5}
UNITS_A_CALL, UNITS_MOST = 200_000, 1_400_000  # what a transaction may use that sets no limit

# Jupiter v6, the first eight bytes of sha256("global:<name>").
ROUTE_V2 = bytes.fromhex("bb64facc31c4af14")
SHARED_ACCOUNTS_ROUTE_V2 = bytes.fromhex("d19853937cfed8e9")
ROUTE_ARGUMENTS = struct.Struct("<QQHHH")  # in, quoted out, slippage, platform fee, positive slippage (bps)
PLACES = {
    ROUTE_V2: {"source": 1, "destination": 2, "optional destination": 7},
    SHARED_ACCOUNTS_ROUTE_V2: {"source": 2, "destination": 5},
}  # of the user's token accounts, in the program's own IDL
PLATFORM_FEE_MOST_BPS = 100  # Jupiter's own fees stay below; more would be a thief's share
BPS = 10_000


@dataclass(frozen=True, slots=True)
class Call:
    """One top-level instruction."""

    program: str
    accounts: tuple[str | None, ...]
    data: bytes

    def account(self, place: int) -> str | None:
        return self.accounts[place] if place < len(self.accounts) else None


class Lookup(Protocol):
    """A message's use of a lookup table; solders' MessageAddressTableLookup is one."""

    @property
    def account_key(self) -> Pubkey: ...
    @property
    def writable_indexes(self) -> bytes: ...


def system(call: Call, wallet: str, wrapped: str) -> str | None:
    """SOL may go from the wallet to its own wrapped SOL account, nothing else.

    Assign would give the wallet itself away, and a durable nonce would make our signature valid for ever.
    """
    tag = int.from_bytes(call.data[:4], "little") if len(call.data) >= 4 else -1
    if tag != SYSTEM_TRANSFER or len(call.data) != 12:
        return f"The system program's {SYSTEM_NAMES.get(tag, f'instruction {tag}')} isn't part of a swap."
    if call.account(0) != wallet or call.account(1) != wrapped:
        return f"It sends SOL to {call.account(1)}, not from our wallet to its own wrapped SOL account."
    return None


def token(call: Call, wallet: str, wrapped: str, *, transfers: bool) -> str | None:
    """Wrapped SOL may be synced and closed back into the wallet; where told so, tokens may be transferred.

    Balances wouldn't show an Approve or a SetAuthority, which empty an account later.
    """
    tag = call.data[0] if call.data else -1
    if tag == SYNC_NATIVE and len(call.data) == 1:
        return None
    if tag == CLOSE_ACCOUNT and len(call.data) == 1:
        if call.accounts[:3] != (wrapped, wallet, wallet) or len(call.accounts) != 3:
            return "Only our own wrapped SOL account may be closed, and into our wallet only."
        return None
    if tag == TRANSFER_CHECKED and len(call.data) == 10 and call.program == networks.TOKEN and transfers:
        return None  # what it does to balances is simulation's affair
    return f"The token program's {TOKEN_NAMES.get(tag, f'instruction {tag}')} isn't part of a swap."


def associated_token(call: Call, wallet: str) -> str | None:
    """Token accounts may be made for our own wallet, which pays their rent."""
    if call.data not in (b"", bytes([CREATE]), bytes([CREATE_IDEMPOTENT])):
        return "Of the associated token program only Create is part of a swap."
    if call.account(2) != wallet:
        return f"It makes a token account for {call.account(2)} at our cost."
    return None


def compute_budget(calls: Sequence[Call]) -> str | None:
    """Each setting at most once and as long as it should be: what a validator would refuse, we don't sign."""
    seen: set[int] = set()
    for call in calls:
        if call.program != networks.COMPUTE_BUDGET:
            continue
        tag = call.data[0] if call.data else -1
        if COMPUTE_BUDGET_BYTES.get(tag) != len(call.data) or tag in seen:
            return "Its compute budget can't be read."
        seen.add(tag)
    return None


def priority_fee(calls: Sequence[Call]) -> int:
    """Lamports: the unit limit times the price in millionths of a lamport, rounded up.

    Without a limit of its own a transaction gets 200,000 units an instruction at most.
    """
    settings = {
        call.data[0]: int.from_bytes(call.data[1:], "little")
        for call in calls
        if call.program == networks.COMPUTE_BUDGET and call.data
    }
    others = sum(call.program != networks.COMPUTE_BUDGET for call in calls)
    units = min(settings.get(UNIT_LIMIT, UNITS_A_CALL * others), UNITS_MOST)
    return -(-units * settings.get(UNIT_PRICE, 0) // 1_000_000)


def route(call: Call, intent: Intent, wallet: str) -> str | None:
    """Jupiter's own arguments must hold the intent: it checks them on chain, whatever the price is by then.

    And its accounts must be ours: the least amount is that of whatever account is named as the destination, and a
    node that lies in a simulation would hide whose that is.

    Only the v2 routes, whose amounts come before the variable plan: bytes after the arguments are ignored on
    chain, so that amounts read from the end of an older route could be forged.
    """
    name, rest = call.data[:8], call.data[8:]
    if name == SHARED_ACCOUNTS_ROUTE_V2:
        rest = rest[1:]  # which of the shared authorities
    elif name != ROUTE_V2:
        return "Only Jupiter's route_v2 and shared_accounts_route_v2 are signed (instructionVersion=V2)."
    if len(rest) < ROUTE_ARGUMENTS.size:
        return "Its arguments are cut short."
    amount_in, quoted_out, slippage_bps, platform_fee_bps, _ = ROUTE_ARGUMENTS.unpack_from(rest)
    least_out = quoted_out - quoted_out * slippage_bps // BPS
    if amount_in > intent.amount_in:
        return f"Jupiter would take {amount_in}, the intent gives {intent.amount_in} at most."
    if slippage_bps > BPS or least_out < intent.least_out:
        return f"Jupiter would be content with {least_out}, the intent wants {intent.least_out} at least."
    if platform_fee_bps > PLATFORM_FEE_MOST_BPS:
        return f"It pays a platform fee of {platform_fee_bps} bps; at most {PLATFORM_FEE_MOST_BPS} are paid."
    return _not_ours(call, PLACES[name], intent, wallet)


def _not_ours(call: Call, places: dict[str, int], intent: Intent, wallet: str) -> str | None:
    """A place of the route that should hold a token account of ours and doesn't. Ours are always static keys."""
    for what, place in places.items():
        named = call.account(place)
        if what == "optional destination" and named == call.program:
            continue  # how Anchor writes that none is given
        if named not in _token_accounts(wallet, intent.mint_in if what == "source" else intent.mint_out):
            return f"The {what} of its route is {named}, not our own token account."
    return None


def _token_accounts(wallet: str, mint: str) -> set[str]:
    """The associated token accounts of a wallet, of the one token program or the other."""
    owner, of = Pubkey.from_string(wallet), Pubkey.from_string(mint)
    programs = (networks.TOKEN, networks.TOKEN_2022)
    return {str(get_associated_token_address(owner, of, Pubkey.from_string(program))) for program in programs}
