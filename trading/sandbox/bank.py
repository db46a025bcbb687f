"""Accounts and what transactions do to them: LiteSVM, with a memory of how accounts stood at recent heights.

The truth about balances is LiteSVM's own. This module adds what a bank of Solana has and LiteSVM hasn't:
accounts as of an earlier block (commitments, stale answers), undoing (reorganisations), token balances before
and after, accounts by owner. Not for several threads: the chain's lock guards it, LiteSVM fails otherwise.
Time, order and blockhashes are the chain's affair.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from solders.account import Account
from solders.litesvm import LiteSVM
from solders.message import Message, MessageV0, MessageV1
from solders.pubkey import Pubkey
from solders.token.state import Mint, TokenAccount, TokenAccountState
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, SimulatedTransactionInfo, TransactionMetadata
from solders.transaction_status import (
    InstructionErrorCustom,
    TransactionErrorInstructionError,
    TransactionErrorType,
    TransactionStatus,
)
from spl.token.constants import TOKEN_PROGRAM_ID

from trading.sandbox.tokens import SOL, Token

AnyMessage = Message | MessageV0 | MessageV1  # the last never gets here: `sending` refuses it
SYSTEM_PROGRAM = Pubkey.default()
TOKEN_ACCOUNT_BYTES = 165
MINT_BYTES = 82
SUPPLY = 10**18  # of every mint: nothing depends on it


@dataclass(frozen=True, slots=True)
class TokenBalance:
    index: int  # of the account among the transaction's keys
    mint: str
    owner: str
    amount: int  # raw
    decimals: int

    def as_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "mint": self.mint,
            "owner": self.owner,
            "amount": self.amount,
            "decimals": self.decimals,
        }


@dataclass(frozen=True, slots=True)
class Effects:
    """What a transaction did. `err` is None or the error as JSON-RPC writes it; balances go by `keys`."""

    err: Any
    fee: int  # lamports
    units: int
    logs: list[str]
    keys: list[str]
    before: list[int]  # lamports
    after: list[int]
    tokens_before: list[TokenBalance]
    tokens_after: list[TokenBalance]
    changed: dict[Pubkey, Account | None]  # accounts as they stand after it


@dataclass(frozen=True, slots=True)
class Simulated:
    err: Any
    units: int
    logs: list[str]
    fee: int
    accounts: dict[Pubkey, Account | None]  # the writable ones afterwards; none where it failed


class Bank:
    def __init__(self, tokens: Iterable[Token]) -> None:
        self._svm = LiteSVM().with_blockhash_check(False).with_sigverify(True).with_transaction_history(0)
        self._now: dict[Pubkey, Account | None] = {}
        self._past: dict[Pubkey, deque[tuple[int, Account | None]]] = {}
        self._changes: deque[tuple[int, Pubkey]] = deque()
        self._forgotten = 0  # changes that can't be undone any more
        self._owned: dict[Pubkey, dict[Pubkey, None]] = {}
        self._decimals: dict[Pubkey, int] = {}
        for token in tokens:
            self._mint(token)

    # --- reading -------------------------------------------------------------------------------

    def account(self, address: Pubkey, height: int | None = None) -> Account | None:
        """The account as of the end of block `height`, or now. An account without lamports isn't there."""
        if height is not None:
            for changed_at, before in self._past.get(address, ()):
                if changed_at > height:
                    return before
        if address not in self._now:
            found = self._svm.get_account(address)
            if found is None or found.lamports == 0:
                return None  # not remembered: anybody may ask for any address
            self._now[address] = found
        return self._now[address]

    def token_accounts(self, owner: Pubkey, height: int | None = None) -> Iterator[tuple[Pubkey, Account]]:
        for address in self._owned.get(owner, ()):
            account = self.account(address, height)
            if account is not None and is_token_account(account):
                yield address, account

    def decimals(self, mint: Pubkey) -> int | None:
        """None where it is no mint."""
        if mint not in self._decimals:
            account = self.account(mint)
            if account is None or account.owner != TOKEN_PROGRAM_ID or len(account.data) != MINT_BYTES:
                return None
            self._decimals[mint] = Mint.from_bytes(bytes(account.data)).decimals
        return self._decimals[mint]

    def rent(self, size: int) -> int:
        """Lamports that exempt an account of `size` bytes from rent."""
        return self._svm.minimum_balance_for_rent_exemption(size)

    def sizes(self) -> tuple[int, int]:
        """How many accounts are remembered, and how many earlier states of them."""
        return len(self._now), len(self._changes)

    # --- changing ------------------------------------------------------------------------------

    def execute(self, transaction: VersionedTransaction, *, height: int, as_owner: bool = False) -> Effects | None:
        """Run it. None: it can't land (no payer, bad signature), and nothing changed.

        `as_owner`: without looking at signatures, as if the owners of the accounts had signed.
        """

        def run() -> tuple[Any, TransactionMetadata] | None:
            self._svm.with_sigverify(not as_owner)
            result = self._svm.send_transaction(transaction)
            self._svm.with_sigverify(True)
            if isinstance(result, FailedTransactionMetadata):
                meta = result.meta()
                return (error_json(result.err()), meta) if meta.fee() else None
            return None, result

        return self._observe(transaction, run, height=height)

    def fail(self, transaction: VersionedTransaction, *, height: int, instruction: int, code: int) -> Effects | None:
        """Let it fail on chain with a program's own error: the payer pays the fee, nothing else happens.

        One that fails by itself fails its own way; None as in `execute`.
        """
        result = self._svm.simulate_transaction(transaction)
        if isinstance(result, FailedTransactionMetadata):
            return self.execute(transaction, height=height)
        meta = result.meta()

        def run() -> tuple[Any, TransactionMetadata]:
            payer = transaction.message.account_keys[0]
            account = self._svm.get_account(payer)
            assert account is not None  # the simulation had it pay
            self._svm.set_account(payer, _with_lamports(account, account.lamports - meta.fee()))
            err = TransactionErrorInstructionError(instruction, InstructionErrorCustom(code))
            return error_json(err), meta

        return self._observe(transaction, run, height=height)

    def simulate(self, transaction: VersionedTransaction, *, verify: bool) -> Simulated:
        self._svm.with_sigverify(verify)
        result = self._svm.simulate_transaction(transaction)
        self._svm.with_sigverify(True)
        meta = result.meta()
        err: Any = None
        accounts: dict[Pubkey, Account | None] = {}
        if isinstance(result, SimulatedTransactionInfo):
            accounts = {key: account if account.lamports else None for key, account in result.post_accounts()}
        else:
            err = error_json(result.err())
        return Simulated(err, meta.compute_units_consumed(), meta.logs(), meta.fee(), accounts)

    def put(self, address: Pubkey, account: Account | None) -> None:
        """Set an account outside of any transaction: at the start, and the bottomless vaults."""
        self._svm.set_account(address, account or Account(0, b"", SYSTEM_PROGRAM))
        self._now[address] = account
        self._note_owner(address, account)

    # --- going back ----------------------------------------------------------------------------

    def mark(self) -> int:
        """A point in the order of changes to which `undo` can go back."""
        return self._forgotten + len(self._changes)

    def undo(self, mark: int) -> dict[Pubkey, Account | None]:
        """Take back every change since the mark; returns those accounts as they stand now."""
        assert mark >= self._forgotten, "the changes are forgotten"
        restored: dict[Pubkey, Account | None] = {}
        while self.mark() > mark:
            _, address = self._changes.pop()
            _, before = self._past[address].pop()
            self.put(address, before)
            restored[address] = before
        return restored

    def forget(self, height: int) -> None:
        """Let go of how accounts stood before `height`."""
        while self._changes and self._changes[0][0] <= height:
            _, address = self._changes.popleft()
            self._forgotten += 1
            past = self._past[address]
            past.popleft()
            if not past:
                del self._past[address]

    # --- inside --------------------------------------------------------------------------------

    def _observe(
        self,
        transaction: VersionedTransaction,
        run: Callable[[], tuple[Any, TransactionMetadata] | None],
        *,
        height: int,
    ) -> Effects | None:
        message = transaction.message
        keys = message.account_keys
        writable = [key for index, key in enumerate(keys) if is_writable(message, index)]
        known = {key: self.account(key) for key in writable}
        before = self._lamports(keys)
        tokens_before = self._token_balances(keys)
        outcome = run()
        if outcome is None:
            return None
        err, meta = outcome
        changed = {key: after for key in writable if (after := self._fresh(key)) != known[key]}
        for key, after in changed.items():
            self._changes.append((height, key))
            self._past.setdefault(key, deque()).append((height, known[key]))
            self._now[key] = after
            self._note_owner(key, after)
        return Effects(
            err=err,
            fee=meta.fee(),
            units=meta.compute_units_consumed(),
            logs=meta.logs(),
            keys=[str(key) for key in keys],
            before=before,
            after=self._lamports(keys),
            tokens_before=tokens_before,
            tokens_after=self._token_balances(keys),
            changed=changed,
        )

    def _fresh(self, address: Pubkey) -> Account | None:
        account = self._svm.get_account(address)
        return account if account is not None and account.lamports else None

    def _lamports(self, keys: Sequence[Pubkey]) -> list[int]:
        return [self._svm.get_balance(key) or 0 for key in keys]

    def _token_balances(self, keys: Sequence[Pubkey]) -> list[TokenBalance]:
        found: list[TokenBalance] = []
        for index, key in enumerate(keys):
            account = self.account(key)
            if account is None or not is_token_account(account):
                continue
            token = TokenAccount.from_bytes(bytes(account.data))
            decimals = self.decimals(token.mint)
            if decimals is not None:
                found.append(TokenBalance(index, str(token.mint), str(token.owner), token.amount, decimals))
        return found

    def _note_owner(self, address: Pubkey, account: Account | None) -> None:
        if account is not None and is_token_account(account):
            owner = TokenAccount.from_bytes(bytes(account.data)).owner
            self._owned.setdefault(owner, {})[address] = None

    def _mint(self, token: Token) -> None:
        data = bytes(Mint(mint_authority=None, supply=SUPPLY, decimals=token.decimals, is_initialized=True))
        self.put(token.mint, Account(self.rent(MINT_BYTES), data, TOKEN_PROGRAM_ID))


def token_account(bank: Bank, *, mint: Pubkey, owner: Pubkey, amount: int) -> Account:
    """An account that holds `amount`; of wrapped SOL it holds the lamports as well."""
    rent = bank.rent(TOKEN_ACCOUNT_BYTES)
    native = mint == SOL.mint
    state = TokenAccount(
        mint=mint,
        owner=owner,
        amount=amount,
        delegate=None,
        state=TokenAccountState.Initialized,
        is_native=rent if native else None,
        delegated_amount=0,
    )
    return Account(rent + amount if native else rent, bytes(state), TOKEN_PROGRAM_ID)


def is_token_account(account: Account) -> bool:
    return account.owner == TOKEN_PROGRAM_ID and len(account.data) == TOKEN_ACCOUNT_BYTES


def is_writable(message: AnyMessage, index: int) -> bool:
    """By the header alone: of the keys that the message itself names."""
    header = message.header
    if index < header.num_required_signatures:
        return index < header.num_required_signatures - header.num_readonly_signed_accounts
    return index < len(message.account_keys) - header.num_readonly_unsigned_accounts


def error_json(err: TransactionErrorType) -> Any:
    """A transaction's error as JSON-RPC writes it, such as `{"InstructionError": [3, {"Custom": 6001}]}`."""
    return json.loads(TransactionStatus(0, None, err, err).to_json())["err"]


def _with_lamports(account: Account, lamports: int) -> Account:
    return Account(lamports, bytes(account.data), account.owner, account.executable, account.rent_epoch)
