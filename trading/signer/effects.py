"""What a transaction does to the wallet, proven by simulating it on the chain as it stands.

The wallet is its lamports and its SPL token accounts; whatever a transaction can change is looked at before
and after, lookup tables resolved. Costs are exact: what isn't the intent, the network's fee or the rent of
our own token accounts is a loss, and refused. What may differ between now and landing is transactions' affair.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from solders.address_lookup_table_account import AddressLookupTable
from solders.token.state import TokenAccount, TokenAccountState

from trading.signer import networks
from trading.signer.protocol import Intent
from trading.signer.refusals import Refusal
from trading.signer.transactions import Unsigned

RENT_MOST = 2 * 2_039_280  # lamports: two token accounts, of what is received and of wrapped SOL
LOOKS = 2  # when the wallet changes while we look; then whoever asks may ask again
ACCOUNTS_MOST = 100  # of one getMultipleAccounts; a transaction locks 64 at present
TOKEN_ACCOUNT_BYTES = 165
MULTISIG_BYTES = 355  # the one other thing of the token programs that is as long
ACCOUNT_TYPE = 2  # Token-2022's byte after the first 165 of a token account


@dataclass(frozen=True, slots=True)
class Account:
    """An account as the chain has it."""

    lamports: int
    owner: str
    data: bytes


Accounts = Mapping[str, Account | None]


@dataclass(frozen=True, slots=True)
class Simulated:
    """Args: `err` is None where it would land; `accounts` are in the order asked for."""

    err: str | None
    accounts: Sequence[Account | None]


class Chain(Protocol):
    """What the signer asks an RPC. Each raises ChainUnavailable when it doesn't answer."""

    def genesis_hash(self) -> str: ...

    def accounts(self, addresses: Sequence[str]) -> list[Account | None]: ...

    def simulate(self, transaction: bytes, *, addresses: Sequence[str]) -> Simulated:
        """Without checking signatures, with the transaction's own blockhash."""


class ChainUnavailable(Exception):
    """The RPC didn't answer, or not as it should. Holds no address, since that may hold a key."""


@dataclass(frozen=True, slots=True)
class Holding:
    """A token account of our wallet's. Lamports are rent, and for wrapped SOL the amount too."""

    mint: str
    program: str
    amount: int
    native: bool
    lamports: int
    delegate: str
    delegated: int
    close_authority: str
    frozen: bool

    @property
    def rent(self) -> int:
        return self.lamports - (self.amount if self.native else 0)


@dataclass(frozen=True, slots=True)
class Wallet:
    """Everything of ours among some accounts."""

    lamports: int
    holdings: Mapping[str, Holding]

    @property
    def lamports_in_all(self) -> int:
        return self.lamports + sum(holding.lamports for holding in self.holdings.values())

    @property
    def rent(self) -> int:
        return sum(holding.rent for holding in self.holdings.values())

    @property
    def wrapped(self) -> int:
        """Lamports of SOL that are wrapped."""
        return sum(holding.amount for holding in self.holdings.values() if holding.native)

    def tokens(self) -> dict[str, int]:
        """By mint; SOL, wrapped or not, is counted in lamports instead."""
        found: dict[str, int] = {}
        for holding in self.holdings.values():
            if not holding.native:
                found[holding.mint] = found.get(holding.mint, 0) + holding.amount
        return found


def check(unsigned: Unsigned, *, wallet: str, intent: Intent, chain: Chain, rent_most: int = RENT_MOST) -> None:
    """Simulate, and compare with the intent.

    Raises:
        Refusal: simulation_failed, wallet_changed_meanwhile, unknown_lookup_table, or a code of `judge`.
        ChainUnavailable.
    """
    addresses = unsigned.writable(_lookup_tables(unsigned, chain))
    if len(addresses) > ACCOUNTS_MOST:
        raise Refusal("too_many_accounts", f"It may change {len(addresses)} accounts; {ACCOUNTS_MOST} at most.")
    for _ in range(LOOKS):
        before = _look(chain, addresses)
        simulated = chain.simulate(unsigned.raw, addresses=addresses)
        if simulated.err is not None:
            raise Refusal("simulation_failed", f"On the chain as it stands it fails: {simulated.err}"[:300])
        ours = read_wallet(before, wallet)
        if read_wallet(_look(chain, addresses), wallet) == ours:
            after = dict(zip(addresses, simulated.accounts, strict=True))
            judge(before, after, wallet=wallet, intent=intent, fee=unsigned.fee_lamports, rent_most=rent_most)
            return
    raise Refusal("wallet_changed_meanwhile", "The wallet changed while this was looked at. Ask again.")


def judge(before: Accounts, after: Accounts, *, wallet: str, intent: Intent, fee: int, rent_most: int) -> None:
    """Whether the wallet gives no more than the intent says and receives no less.

    Raises:
        Refusal: wallet_given_away, account_given_away, rent, stays_wrapped, gives_too_much, receives_too_little,
            other_loss.
    """
    _wallet_stays_plain(after[wallet])
    then, now = read_wallet(before, wallet), read_wallet(after, wallet)
    _accounts_stay_ours(then, now, after)
    _rent_is_bounded(then, now, rent_most)
    _no_sol_stays_wrapped(then, now)
    for mint, gained in _gains(then, now, intent=intent, fee=fee):
        if mint == intent.mint_in and gained < -intent.amount_in:
            raise Refusal(
                "gives_too_much", f"It gives {-gained} of {mint}; the intent gives {intent.amount_in} at most."
            )
        if mint == intent.mint_out and gained < intent.least_out:
            raise Refusal(
                "receives_too_little", f"It brings {gained} of {mint}; the intent wants {intent.least_out} at least."
            )
        if mint not in (intent.mint_in, intent.mint_out) and gained < 0:
            raise Refusal("other_loss", f"It takes {-gained} of {mint}, which the intent doesn't give.")


def _gains(then: Wallet, now: Wallet, *, intent: Intent, fee: int) -> Iterator[tuple[str, int]]:
    """What the wallet gains or loses of each mint. Rent stays ours, so only the fee is taken out of SOL's."""
    yield networks.WRAPPED_SOL, now.lamports_in_all - then.lamports_in_all + fee
    old, new = then.tokens(), now.tokens()
    for mint in sorted({*old, *new, intent.mint_in, intent.mint_out} - {networks.WRAPPED_SOL}):
        yield mint, new.get(mint, 0) - old.get(mint, 0)


def _wallet_stays_plain(account: Account | None) -> None:
    if account is None or account.owner != networks.SYSTEM or account.data:
        raise Refusal("wallet_given_away", "Afterwards our wallet would be empty, or another program's.")


def _accounts_stay_ours(then: Wallet, now: Wallet, after: Accounts) -> None:
    """Nobody else gets a right over a token account of ours, and none changes hands."""
    for address, old in then.holdings.items():
        new = now.holdings.get(address)
        if new is None and not (old.native and after[address] is None):
            raise Refusal("account_given_away", f"The token account {address} would no longer be ours.")
        if new is not None and _rights(new) != _rights(old):
            raise Refusal("account_given_away", f"Somebody else would get a right over the token account {address}.")
    for address, new in now.holdings.items():
        if address not in then.holdings and (new.delegate or new.close_authority or new.frozen):
            raise Refusal("account_given_away", f"The new token account {address} isn't ours alone.")


def _rights(holding: Holding) -> tuple[object, ...]:
    return (holding.mint, holding.program, holding.delegate, holding.delegated, holding.close_authority, holding.frozen)


def _rent_is_bounded(then: Wallet, now: Wallet, most: int) -> None:
    if now.rent - then.rent > most:
        raise Refusal("rent", f"It puts {now.rent - then.rent} lamports into rent; at most {most} are put there.")


def _no_sol_stays_wrapped(then: Wallet, now: Wallet) -> None:
    """It would be ours all the same, but the books count the wallet's own lamports."""
    if now.wrapped > then.wrapped:
        raise Refusal("stays_wrapped", f"It leaves {now.wrapped - then.wrapped} lamports of SOL wrapped.")


def read_wallet(accounts: Accounts, wallet: str) -> Wallet:
    own = accounts[wallet]
    holdings = {
        address: holding
        for address, account in accounts.items()
        if account is not None and (holding := _holding(account, wallet)) is not None
    }
    return Wallet(lamports=own.lamports if own else 0, holdings=holdings)


def _holding(account: Account, wallet: str) -> Holding | None:
    """A token account that belongs to the wallet, or None."""
    if account.owner not in (networks.TOKEN, networks.TOKEN_2022) or not _is_token_account(account.data):
        return None
    token = TokenAccount.from_bytes(account.data[:TOKEN_ACCOUNT_BYTES])
    if str(token.owner) != wallet:
        return None
    return Holding(
        mint=str(token.mint),
        program=account.owner,
        amount=token.amount,
        native=token.is_native is not None,
        lamports=account.lamports,
        delegate=str(token.delegate or ""),
        delegated=token.delegated_amount,
        close_authority=str(token.close_authority or ""),
        frozen=token.state == TokenAccountState.Frozen,
    )


def _is_token_account(data: bytes) -> bool:
    if len(data) <= TOKEN_ACCOUNT_BYTES:
        return len(data) == TOKEN_ACCOUNT_BYTES
    return len(data) != MULTISIG_BYTES and data[TOKEN_ACCOUNT_BYTES] == ACCOUNT_TYPE


def _look(chain: Chain, addresses: Sequence[str]) -> Accounts:
    return dict(zip(addresses, chain.accounts(addresses), strict=True))


def _lookup_tables(unsigned: Unsigned, chain: Chain) -> dict[str, list[str]]:
    """The addresses in each table that it uses. Entries are only ever added, so what is read stays true."""
    wanted = [str(lookup.account_key) for lookup in unsigned.lookups]
    if not wanted:
        return {}
    return {
        address: _table_entries(account.data)
        for address, account in zip(wanted, chain.accounts(wanted), strict=True)
        if account is not None and account.owner == networks.LOOKUP_TABLES
    }


def _table_entries(data: bytes) -> list[str]:
    try:
        return [str(entry) for entry in AddressLookupTable.deserialize(data).addresses]
    except Exception:  # noqa: BLE001  solders' own types; without entries the lookup is refused
        return []
