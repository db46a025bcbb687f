"""Money from nowhere, and money that people move by hand: real transactions that are nobody's order."""

from __future__ import annotations

import secrets
from hashlib import sha256

from solders.account import Account
from solders.compute_budget import set_compute_unit_limit
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.token.associated import get_associated_token_address
from solders.transaction import VersionedTransaction
from spl.token.instructions import create_idempotent_associated_token_account

from trading.sandbox.bank import SYSTEM_PROGRAM, Bank
from trading.sandbox.chain import Chain
from trading.sandbox.pools import VAULT_FULL, fill_vault
from trading.sandbox.swaps import compiled, move
from trading.sandbox.tokens import Token

UNIT_LIMIT = 100_000  # compute units; limits differ by transaction, so that none is the twin of another


class Faucet:
    def __init__(self, chain: Chain, tokens: list[Token]) -> None:
        self._chain = chain
        self._tokens = tokens
        self._count = 0
        self.keypair = Keypair.from_seed(sha256(b"tradeco sandbox faucet").digest())

    @property
    def address(self) -> Pubkey:
        return self.keypair.pubkey()

    def fill(self, bank: Bank) -> None:
        bank.put(self.address, Account(VAULT_FULL, b"", SYSTEM_PROGRAM))
        for token in self._tokens:
            vault = get_associated_token_address(self.address, token.mint)
            fill_vault(bank, vault, owner=self.address, mint=token.mint)

    def give(self, address: Pubkey, *, lamports: int = 0, tokens: dict[Token, int] | None = None, note: str) -> str:
        """Send money in the next block; returns the transaction's signature. `tokens`: raw amounts."""
        instructions: list[Instruction] = [self._distinct()]
        if lamports:
            instructions.append(
                transfer(TransferParams(from_pubkey=self.address, to_pubkey=address, lamports=lamports))
            )
        for token, amount in (tokens or {}).items():
            instructions += self._token_moves(token, amount, source=self.address, dest=address, payer=self.address)
        return self._send(instructions, self.address, note=note, signer=self.keypair)

    def take(self, wallet: Pubkey, dest: Pubkey | None, *, token: Token | None, amount: int, note: str) -> str:
        """The wallet's owner moves money by hand: to `dest` or to the faucet; `token` None: lamports."""
        to = dest or self.address
        instructions: list[Instruction] = [self._distinct()]
        if token is None:
            instructions.append(transfer(TransferParams(from_pubkey=wallet, to_pubkey=to, lamports=amount)))
        else:
            instructions += self._token_moves(token, amount, source=wallet, dest=to, payer=wallet)
        return self._send(instructions, wallet, note=note, signer=None)

    def _distinct(self) -> Instruction:
        self._count += 1
        return set_compute_unit_limit(UNIT_LIMIT + self._count % 10_000)

    def _token_moves(
        self, token: Token, amount: int, *, source: Pubkey, dest: Pubkey, payer: Pubkey
    ) -> list[Instruction]:
        into = get_associated_token_address(dest, token.mint)
        out_of = get_associated_token_address(source, token.mint)
        return [
            create_idempotent_associated_token_account(payer, dest, token.mint),
            move(token, out_of, into, source, amount),
        ]

    def _send(self, instructions: list[Instruction], payer: Pubkey, *, note: str, signer: Keypair | None) -> str:
        """Without a signer it is the owner's own doing: his signature is invented, nobody looks at it."""
        with self._chain.lock:
            newest, _ = self._chain.latest_blockhash("processed")
            message = compiled(payer, instructions, newest)
            signature = (
                signer.sign_message(to_bytes_versioned(message)) if signer else Signature(secrets.token_bytes(64))
            )
            transaction = VersionedTransaction.populate(message, [signature])
            return self._chain.submit(transaction, note=note, as_owner=signer is None)
