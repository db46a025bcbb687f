"""What a Solana node's answers say, as values. Asking is `rpc`'s affair, what follows from them the state machine's.

Errors of transactions stay the JSON that the node gave: a newer validator's error, which no library here knows yet,
must not make a landed transaction unreadable.
"""

from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter
from solders.pubkey import Pubkey

from trading.venues.http import VenueRefused
from trading.venues.shapes import U64, Address, Amount, Blockhash, Shape, Sig, shaped

Commitment = Literal["processed", "confirmed", "finalized"]

SPL_PROGRAM = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"
SPL_2022_PROGRAM = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb"
HOLDING_BYTES = 165  # of a token account; Token-2022 puts its kind and its extensions behind
HOLDING_KIND = 2


@dataclass(frozen=True, slots=True)
class TokenBalance:
    """Raw `amount` of `mint` that `owner` holds in the token account `account`."""

    owner: str
    mint: str
    amount: int
    account: str


@dataclass(frozen=True, slots=True)
class Account:
    """An account as it lies on chain. `owner` is the program that may change it."""

    lamports: int
    owner: str
    data: bytes

    def holding(self, address: str) -> TokenBalance | None:
        """What a token account at `address` holds; None where this is something else."""
        data = self.data
        if self.owner not in (SPL_PROGRAM, SPL_2022_PROGRAM) or len(data) < HOLDING_BYTES or data[108] == 0:
            return None
        if len(data) > HOLDING_BYTES and data[HOLDING_BYTES] != HOLDING_KIND:
            return None
        return TokenBalance(
            owner=str(Pubkey.from_bytes(data[32:64])),
            mint=str(Pubkey.from_bytes(data[:32])),
            amount=int.from_bytes(data[64:72], "little"),
            account=address,
        )


@dataclass(frozen=True, slots=True)
class SignatureStatus:
    slot: int
    confirmation: Commitment
    err: object | None


@dataclass(frozen=True, slots=True)
class SignatureInfo:
    signature: str
    slot: int
    err: object | None
    block_time: datetime | None


@dataclass(frozen=True, slots=True)
class ChainTransaction:
    """A transaction that landed, with what each account held before and after. Balances follow `account_keys`.

    `signers` are those that had to sign it, its fee payer first.
    """

    signature: str
    slot: int
    block_time: datetime | None
    fee: int
    err: object | None
    account_keys: list[str]
    signers: list[str]
    pre_lamports: list[int]
    post_lamports: list[int]
    pre_tokens: list[TokenBalance]
    post_tokens: list[TokenBalance]

    def lamports_delta(self, address: str) -> int:
        """What the transaction gave `address` (below zero: took), its fee included; 0 where it has no part in it."""
        if address not in self.account_keys:
            return 0
        place = self.account_keys.index(address)
        return self.post_lamports[place] - self.pre_lamports[place]

    def token_delta(self, owner: str, mint: str) -> int:
        """The same of a token, over all token accounts of `owner`."""
        return _held(self.post_tokens, owner, mint) - _held(self.pre_tokens, owner, mint)


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a transaction would do now. The `…_after` hold the addresses asked for; an account that is gone has 0
    lamports and no holding. They are empty where `err` says that it would fail.
    """

    err: object | None
    logs: list[str]
    units: int | None
    lamports_after: dict[str, int]
    tokens_after: dict[str, TokenBalance]
    accounts_after: dict[str, Account | None]


# --- shapes over there ----------------------------------------------------------------------------


def _bytes(pair: list[str]) -> list[str]:
    if pair[1] != "base64":
        raise ValueError("asked as base64")
    try:
        b64decode(pair[0], validate=True)
    except NotBase64:
        raise ValueError("not base64") from None
    return pair


class _Account(Shape):
    lamports: U64
    owner: Address
    data: Annotated[list[str], Field(min_length=2, max_length=2), AfterValidator(_bytes)]

    def plain(self) -> Account:
        return Account(lamports=self.lamports, owner=self.owner, data=b64decode(self.data[0]))


class _Keyed(Shape):
    pubkey: Address
    account: _Account


class _Status(Shape):
    slot: U64
    err: Any
    confirmation_status: Commitment

    def plain(self) -> SignatureStatus:
        return SignatureStatus(slot=self.slot, confirmation=self.confirmation_status, err=self.err)


class _Info(Shape):
    signature: Sig
    slot: U64
    err: Any
    block_time: int | None = None


class _UiAmount(Shape):
    amount: Amount


class _TokenBalance(Shape):
    account_index: U64
    mint: Address
    owner: Address
    ui_token_amount: _UiAmount


class _Loaded(Shape):
    writable: list[Address] = []
    readonly: list[Address] = []


class _Meta(Shape):
    err: Any
    fee: U64
    pre_balances: list[U64]
    post_balances: list[U64]
    pre_token_balances: list[_TokenBalance]
    post_token_balances: list[_TokenBalance]
    loaded_addresses: _Loaded | None = None


class _Header(Shape):
    num_required_signatures: U64


class _Message(Shape):
    header: _Header
    account_keys: list[Address]


class _Signed(Shape):
    signatures: Annotated[list[Sig], Field(min_length=1)]
    message: _Message


class _Transaction(Shape):
    slot: U64
    block_time: int | None = None
    transaction: _Signed
    meta: _Meta


class _Simulated(Shape):
    err: Any
    logs: list[str] | None = None
    units_consumed: U64 | None = None
    accounts: list[_Account | None] | None = None


class _Latest(Shape):
    blockhash: Blockhash
    last_valid_block_height: U64


class _Context(Shape):
    slot: U64


class _InContext(Shape):
    context: _Context
    value: Any


class Epoch(Shape):
    """Slot and block height of one answer, so of one moment of one node."""

    absolute_slot: U64
    block_height: U64


EPOCH = TypeAdapter(Epoch)
WHOLE = TypeAdapter(Annotated[int, Field(strict=True, ge=0, le=2**64 - 1)])
TEXT = TypeAdapter(Annotated[str, Field(strict=True, max_length=200)])
TRUTH = TypeAdapter(Annotated[bool, Field(strict=True)])
VERSION = TypeAdapter(dict[str, Any])
GENESIS = TypeAdapter(Blockhash)
LATEST = TypeAdapter(_Latest)
STATUSES = TypeAdapter(list[_Status | None])
INFOS = TypeAdapter(list[_Info])
ACCOUNTS = TypeAdapter(list[_Account | None])
KEYED = TypeAdapter(list[_Keyed])
_TRANSACTION = TypeAdapter(_Transaction | None)
_SIMULATED = TypeAdapter(_Simulated)
_IN_CONTEXT = TypeAdapter(_InContext)


# --- from shapes to values ------------------------------------------------------------------------


def in_context(tree: Any, *, what: str) -> tuple[int, Any]:
    """The slot at which the node answered, and what it answered."""
    found = shaped(_IN_CONTEXT, tree, what=what)
    return found.context.slot, found.value


def statuses(tree: Any, *, count: int) -> list[SignatureStatus | None]:
    found = shaped(STATUSES, tree, what="getSignatureStatuses")
    _same_length(found, count, what="getSignatureStatuses")
    return [each.plain() if each else None for each in found]


def infos(tree: Any) -> list[SignatureInfo]:
    found = shaped(INFOS, tree, what="getSignaturesForAddress")
    return [
        SignatureInfo(signature=each.signature, slot=each.slot, err=each.err, block_time=_moment(each.block_time))
        for each in found
    ]


def accounts(tree: Any, *, count: int) -> list[Account | None]:
    found = shaped(ACCOUNTS, tree, what="getMultipleAccounts")
    _same_length(found, count, what="getMultipleAccounts")
    return [each.plain() if each else None for each in found]


def holdings(tree: Any) -> list[TokenBalance]:
    """The token accounts in an answer that lists accounts with their addresses."""
    found = shaped(KEYED, tree, what="getTokenAccountsByOwner")
    held = [each.account.plain().holding(each.pubkey) for each in found]
    return [each for each in held if each is not None]


def transaction(tree: Any, *, signature: str) -> ChainTransaction | None:
    """A landed transaction; None where the node doesn't know it.

    Raises:
        VenueRefused: `bad_answer`, also where it answers for another signature or leaves balances out.
    """
    found = shaped(_TRANSACTION, tree, what="getTransaction")
    if found is None:
        return None
    meta, loaded = found.meta, found.meta.loaded_addresses or _Loaded()
    keys = [*found.transaction.message.account_keys, *loaded.writable, *loaded.readonly]
    if found.transaction.signatures[0] != signature:
        raise VenueRefused("bad_answer", "getTransaction: the node answered for another signature.")
    _same_length(meta.pre_balances, len(keys), what="getTransaction")
    _same_length(meta.post_balances, len(keys), what="getTransaction")
    return ChainTransaction(
        signature=signature,
        slot=found.slot,
        block_time=_moment(found.block_time),
        fee=meta.fee,
        err=meta.err,
        account_keys=keys,
        signers=keys[: found.transaction.message.header.num_required_signatures],
        pre_lamports=meta.pre_balances,
        post_lamports=meta.post_balances,
        pre_tokens=[_balance(each, keys) for each in meta.pre_token_balances],
        post_tokens=[_balance(each, keys) for each in meta.post_token_balances],
    )


def simulation(tree: Any, *, addresses: Sequence[str]) -> Simulation:
    found = shaped(_SIMULATED, tree, what="simulateTransaction")
    after: dict[str, Account | None] = {}
    if found.err is None and addresses:
        _same_length(found.accounts or [], len(addresses), what="simulateTransaction")
        plain = [each.plain() if each else None for each in found.accounts or []]
        after = dict(zip(addresses, plain, strict=True))
    held = {address: account.holding(address) for address, account in after.items() if account}
    return Simulation(
        err=found.err,
        logs=found.logs or [],
        units=found.units_consumed,
        lamports_after={address: account.lamports if account else 0 for address, account in after.items()},
        tokens_after={address: balance for address, balance in held.items() if balance},
        accounts_after=after,
    )


def _balance(found: _TokenBalance, keys: list[str]) -> TokenBalance:
    if found.account_index >= len(keys):
        raise VenueRefused("bad_answer", "getTransaction: a token balance of an account that isn't there.")
    return TokenBalance(
        owner=found.owner,
        mint=found.mint,
        amount=found.ui_token_amount.amount,
        account=keys[found.account_index],
    )


def _held(balances: list[TokenBalance], owner: str, mint: str) -> int:
    return sum(each.amount for each in balances if (each.owner, each.mint) == (owner, mint))


def _moment(seconds: int | None) -> datetime | None:
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None  # a block's time is a courtesy, nothing is decided by it


def _same_length(found: Sequence[object], count: int, *, what: str) -> None:
    if len(found) != count:
        raise VenueRefused("bad_answer", f"{what}: {len(found)} answers for {count} questions.")
