"""The transaction of a swap, as Jupiter builds it: the user pays and signs, the pool has signed already.

Plain token transfers can't move with the price: the transaction fixes what the quote said. Whether the price still
allows it is judged at execution by the desk.
"""

from __future__ import annotations

from dataclasses import dataclass

from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import Instruction
from solders.message import Message, MessageV0, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.token.associated import get_associated_token_address
from solders.transaction import VersionedTransaction
from spl.token.constants import TOKEN_PROGRAM_ID
from spl.token.instructions import (
    close_account,
    create_idempotent_associated_token_account,
    sync_native,
    transfer_checked,
)
from spl.token.models import CloseAccountParams, SyncNativeParams, TransferCheckedParams

from trading.sandbox.pools import Pool
from trading.sandbox.tokens import SOL, Token

UNIT_LIMIT = 200_000  # compute units; a swap takes some 50,000
UNIT_LIMIT_STEPS = 1_000  # limits differ by order: no two orders of a blockhash are the same transaction


@dataclass(frozen=True, slots=True)
class Plan:
    """A swap to be written as a transaction; amounts raw, fee in lamports."""

    pool: Pool
    user: Pubkey
    token_in: Token
    token_out: Token
    amount_in: int
    amount_out: int
    priority_lamports: int
    wrap: bool  # native SOL in and out, its wrapped account is closed after use
    legacy: bool
    number: int  # of the order


@dataclass(frozen=True, slots=True)
class Built:
    transaction: bytes
    message: bytes
    paying_out: int  # index of the instruction that gives the user his due
    unit_limit: int
    priority_lamports: int  # as the compute budget charges it


def build(plan: Plan, blockhash: Hash) -> Built:
    unit_limit = UNIT_LIMIT + plan.number % UNIT_LIMIT_STEPS
    unit_price = plan.priority_lamports * 1_000_000 // unit_limit  # micro-lamports
    instructions = [set_compute_unit_limit(unit_limit), set_compute_unit_price(unit_price)]
    user_in = get_associated_token_address(plan.user, plan.token_in.mint)
    user_out = get_associated_token_address(plan.user, plan.token_out.mint)
    if plan.wrap and plan.token_in == SOL:
        instructions += [
            _ensure(plan.user, SOL),
            transfer(TransferParams(from_pubkey=plan.user, to_pubkey=user_in, lamports=plan.amount_in)),
            sync_native(SyncNativeParams(program_id=TOKEN_PROGRAM_ID, account=user_in)),
        ]
    instructions.append(_ensure(plan.user, plan.token_out))
    vault_in, vault_out = plan.pool.vault(plan.token_in), plan.pool.vault(plan.token_out)
    instructions.append(move(plan.token_in, user_in, vault_in, plan.user, plan.amount_in))
    instructions.append(move(plan.token_out, vault_out, user_out, plan.pool.address, plan.amount_out))
    paying_out = len(instructions) - 1
    if plan.wrap and SOL in (plan.token_in, plan.token_out):
        wrapped = user_in if plan.token_in == SOL else user_out
        instructions.append(
            close_account(
                CloseAccountParams(program_id=TOKEN_PROGRAM_ID, account=wrapped, dest=plan.user, owner=plan.user)
            )
        )
    message = compiled(plan.user, instructions, blockhash, legacy=plan.legacy)
    raw = to_bytes_versioned(message)
    signatures = [Signature.default(), plan.pool.authority.sign_message(raw)]
    return Built(
        transaction=bytes(VersionedTransaction.populate(message, signatures)),
        message=raw,
        paying_out=paying_out,
        unit_limit=unit_limit,
        priority_lamports=-(-unit_limit * unit_price // 1_000_000),
    )


def compiled(
    payer: Pubkey, instructions: list[Instruction], blockhash: Hash, *, legacy: bool = False
) -> Message | MessageV0:
    if legacy:
        return Message.new_with_blockhash(instructions, payer, blockhash)
    return MessageV0.try_compile(payer, instructions, [], blockhash)


def move(token: Token, source: Pubkey, dest: Pubkey, owner: Pubkey, amount: int) -> Instruction:
    return transfer_checked(
        TransferCheckedParams(
            program_id=TOKEN_PROGRAM_ID,
            source=source,
            mint=token.mint,
            dest=dest,
            owner=owner,
            amount=amount,
            decimals=token.decimals,
        )
    )


def _ensure(user: Pubkey, token: Token) -> Instruction:
    return create_idempotent_associated_token_account(user, user, token.mint)
