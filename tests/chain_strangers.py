"""What strangers do to the wallet of a company on a chain, beyond what they do in `chain_weather`."""

import secrets

from solders.account import Account
from solders.instruction import Instruction
from solders.keypair import Keypair
from solders.message import to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.token.associated import get_associated_token_address
from solders.token.state import TokenAccount, TokenAccountState
from solders.transaction import VersionedTransaction
from spl.token import instructions as spl
from spl.token import models
from spl.token.constants import TOKEN_PROGRAM_ID

from tests.chain_company import ChainCompany
from trading import money
from trading.listing import mint_of
from trading.sandbox.swaps import compiled, move

USDC = Pubkey.from_string(money.USDC)


def plain_transfer(chain: ChainCompany, symbol: str, amount: int) -> str:
    """Tokens straight into our token account: the transaction doesn't name the wallet."""
    faucet, token = chain.sandbox.faucet, chain.sandbox.chain.desk.pools.tokens[mint_of(symbol)]
    source = get_associated_token_address(faucet.address, token.mint)
    dest = get_associated_token_address(Pubkey.from_string(chain.address), token.mint)
    instructions = [faucet._distinct(), move(token, source, dest, faucet.address, amount)]
    return faucet._send(instructions, faucet.address, note="somebody", signer=faucet.keypair)


def thief(chain: ChainCompany) -> Keypair:
    """Somebody with lamports for fees, and a token account for USDC."""
    found = Keypair()
    chain.sandbox.fund(str(found.pubkey()), lamports=1_000_000_000, usdc=1)
    return found


def approved_by_our_key(chain: ChainCompany, thief: Keypair) -> str:
    """Who has our key makes himself the delegate of our USDC, and pays for it himself: nothing of ours moves."""
    us = Pubkey.from_string(chain.address)
    source = get_associated_token_address(us, USDC)
    params = models.ApproveParams(
        program_id=TOKEN_PROGRAM_ID, source=source, delegate=thief.pubkey(), owner=us, amount=10**10
    )
    return _landed(chain, [spl.approve(params)], thief)


def taken_by_delegation(chain: ChainCompany, thief: Keypair, amount: int) -> str:
    """What was approved once is used: the transaction doesn't name the wallet at all."""
    us = Pubkey.from_string(chain.address)
    source, dest = get_associated_token_address(us, USDC), get_associated_token_address(thief.pubkey(), USDC)
    bank = chain.sandbox.chain.bank
    was = bank.account(source)
    assert was is not None
    held = TokenAccount.from_bytes(bytes(was.data)).amount
    delegated = TokenAccount(USDC, us, held, thief.pubkey(), TokenAccountState.Initialized, None, held)
    bank.put(source, Account(was.lamports, bytes(delegated), TOKEN_PROGRAM_ID))
    token = chain.sandbox.chain.desk.pools.tokens[mint_of("USDC")]
    return _landed(chain, [move(token, source, dest, thief.pubkey(), amount)], thief)


def _landed(chain: ChainCompany, instructions: list[Instruction], payer: Keypair) -> str:
    """Signed by who pays and, where our signature is asked for, in our name; final by now."""
    newest, _ = chain.sandbox.chain.latest_blockhash("processed")
    message = compiled(payer.pubkey(), instructions, newest)
    raw, signers = to_bytes_versioned(message), message.account_keys[: message.header.num_required_signatures]
    signatures = [
        payer.sign_message(raw) if key == payer.pubkey() else Signature(secrets.token_bytes(64)) for key in signers
    ]
    signed = VersionedTransaction.populate(message, signatures)
    signature = chain.sandbox.chain.submit(signed, as_owner=len(signers) > 1)
    chain.slots(40)
    entry = chain.sandbox.chain.ledger.get(signature)
    assert entry is not None
    assert entry.err is None
    return signature
