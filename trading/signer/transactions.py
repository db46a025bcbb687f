"""Whether an unsigned transaction may be ours to sign, by reading it alone.

Simulation (effects) proves what a transaction does to balances now. What simulation can't show is refused
here: rights given away, signatures that stay valid for ever, and prices that may move before it lands.
Program ids are always static keys of a message, so that lookup tables can hide accounts but never programs.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction
from spl.token.instructions import get_associated_token_address

from trading.signer import instructions, networks
from trading.signer.instructions import Call
from trading.signer.protocol import Intent
from trading.signer.refusals import Refusal

TRANSACTION_BYTES_MOST = 1232  # a packet of Solana's network
SIGNATURE_FEE_LAMPORTS = 5000
PRIORITY_FEE_MOST = 1_000_000  # lamports, 0.001 SOL: some ten times of a busy hour's


@dataclass(frozen=True, slots=True)
class Rules:
    """What this signer holds a transaction to.

    Args:
        wallet: our address.
        transfers_may_swap: a swap may be plain transfers that the counterparty signed, as on the sandbox.
            Elsewhere a swap is one Jupiter instruction that carries its own least amount.
        priority_fee_most: lamports.
    """

    wallet: str
    transfers_may_swap: bool = False
    programs: frozenset[str] = networks.PROGRAMS
    priority_fee_most: int = PRIORITY_FEE_MOST


@dataclass(frozen=True, slots=True)
class Unsigned:
    """A decoded transaction that lacks our signature."""

    raw: bytes
    message: Message | MessageV0
    signatures: tuple[Signature, ...]
    keys: tuple[str, ...]
    """Static account keys; those of lookup tables aren't among them."""
    calls: tuple[Call, ...]

    @property
    def message_bytes(self) -> bytes:
        return self.raw[1 + 64 * len(self.signatures) :]

    @property
    def signers(self) -> tuple[str, ...]:
        return self.keys[: self.message.header.num_required_signatures]

    @property
    def fee_lamports(self) -> int:
        return SIGNATURE_FEE_LAMPORTS * len(self.signers) + instructions.priority_fee(self.calls)

    def writable(self, tables: dict[str, list[str]]) -> list[str]:
        """Every account that it can change, those of its lookup tables included.

        Args:
            tables: the addresses in each lookup table.

        Raises:
            Refusal: a table or an entry of it is unknown.
        """
        header = self.message.header
        signed_until = header.num_required_signatures - header.num_readonly_signed_accounts
        rest_until = len(self.keys) - header.num_readonly_unsigned_accounts
        found = list(self.keys[:signed_until]) + list(self.keys[len(self.signers) : rest_until])
        for lookup in self.lookups:
            entries = tables.get(str(lookup.account_key), [])
            for index in lookup.writable_indexes:
                if index >= len(entries):
                    raise Refusal(
                        "unknown_lookup_table", f"The lookup table {lookup.account_key} has no entry {index}."
                    )
                found.append(entries[index])
        return found

    @property
    def lookups(self) -> list[instructions.Lookup]:
        return list(self.message.address_table_lookups) if isinstance(self.message, MessageV0) else []

    def signed(self, *, wallet: str, signature: bytes) -> bytes:
        """The same message with our signature in our place."""
        place = self.signers.index(wallet)
        signatures = list(self.signatures)
        signatures[place] = Signature.from_bytes(signature)
        return self.raw[:1] + b"".join(bytes(one) for one in signatures) + self.message_bytes


def decode(raw: bytes) -> Unsigned:
    """Read a transaction, in the one encoding that a validator would take too.

    Raises:
        Refusal: too_large, malformed, unknown_version.
    """
    if len(raw) > TRANSACTION_BYTES_MOST:
        raise Refusal("too_large", f"{len(raw)} bytes; a transaction has {TRANSACTION_BYTES_MOST} at most.")
    try:
        transaction = VersionedTransaction.from_bytes(raw)
        transaction.sanitize()
    except Exception as exc:  # noqa: BLE001  solders raises several types of its own, none a common one
        raise Refusal("malformed", f"These bytes are no transaction: {exc}") from None
    message = transaction.message
    if not isinstance(message, Message | MessageV0):
        raise Refusal("unknown_version", "Only legacy transactions and those of version 0 are signed.")
    keys = tuple(str(key) for key in message.account_keys)
    if bytes(transaction) != raw or raw[0] != message.header.num_required_signatures or len(set(keys)) != len(keys):
        raise Refusal("malformed", "The bytes aren't those that a validator would read this transaction from.")
    return Unsigned(
        raw=raw,
        message=message,
        signatures=tuple(transaction.signatures),
        keys=keys,
        calls=tuple(_calls(message, keys)),  # sanitize has refused a program that isn't a static key
    )


def _calls(message: Message | MessageV0, keys: tuple[str, ...]) -> Iterator[Call]:
    for one in message.instructions:
        yield Call(
            program=keys[one.program_id_index],
            accounts=tuple(keys[index] if index < len(keys) else None for index in one.accounts),
            data=bytes(one.data),
        )


def check(unsigned: Unsigned, *, rules: Rules, intent: Intent) -> None:
    """Every check in turn.

    Raises:
        Refusal: of the first that says no.
    """
    for code, ask in CHECKS:
        if reason := ask(unsigned, rules, intent):
            raise Refusal(code, reason)


def payer(unsigned: Unsigned, rules: Rules, intent: Intent) -> str | None:
    """A transaction's id is its fee payer's signature: another's isn't ours to know before it is sent."""
    if unsigned.keys[0] != rules.wallet:
        return f"{unsigned.keys[0]} pays its fee, not our wallet {rules.wallet}."
    return None


def our_place_is_empty(unsigned: Unsigned, rules: Rules, intent: Intent) -> str | None:
    """What carries a signature of ours already was signed elsewhere, or isn't ours."""
    if rules.wallet not in unsigned.signers:
        return "It doesn't ask for our signature."
    if unsigned.signatures[unsigned.signers.index(rules.wallet)] != Signature.default():
        return "There is a signature in our place already."
    return None


def others_have_signed(unsigned: Unsigned, rules: Rules, intent: Intent) -> str | None:
    """Ours is the last: what others could still leave out or choose later isn't agreed."""
    for signer, signature in zip(unsigned.signers, unsigned.signatures, strict=True):
        if signer != rules.wallet and not signature.verify(Pubkey.from_string(signer), unsigned.message_bytes):
            return f"{signer} hasn't signed this message."
    return None


def programs_are_known(unsigned: Unsigned, rules: Rules, intent: Intent) -> str | None:
    for call in unsigned.calls:
        if call.program not in rules.programs:
            return f"It calls {call.program}, which isn't in the allow-list."
    return None


def system_calls_only_wrap(unsigned: Unsigned, rules: Rules, intent: Intent) -> str | None:
    return _first(unsigned, networks.SYSTEM, lambda call: instructions.system(call, rules.wallet, _wrapped(rules)))


def token_calls_give_no_rights(unsigned: Unsigned, rules: Rules, intent: Intent) -> str | None:
    def ask(call: Call) -> str | None:
        return instructions.token(call, rules.wallet, _wrapped(rules), transfers=rules.transfers_may_swap)

    return _first(unsigned, networks.TOKEN, ask) or _first(unsigned, networks.TOKEN_2022, ask)


def created_accounts_are_ours(unsigned: Unsigned, rules: Rules, intent: Intent) -> str | None:
    return _first(unsigned, networks.ASSOCIATED_TOKEN, lambda call: instructions.associated_token(call, rules.wallet))


def compute_budget_is_plain(unsigned: Unsigned, rules: Rules, intent: Intent) -> str | None:
    return instructions.compute_budget(unsigned.calls)


def priority_fee_is_bounded(unsigned: Unsigned, rules: Rules, intent: Intent) -> str | None:
    fee = instructions.priority_fee(unsigned.calls)
    if fee > rules.priority_fee_most:
        return f"Its priority fee is {fee} lamports; at most {rules.priority_fee_most} are paid."
    return None


def route_keeps_its_price(unsigned: Unsigned, rules: Rules, intent: Intent) -> str | None:
    """A pool's price can move after the simulation; the router's own arguments bound it on chain, for our accounts."""
    routes = [call for call in unsigned.calls if call.program == networks.JUPITER]
    if len(routes) > 1 or (not routes and not rules.transfers_may_swap):
        return f"A swap is one instruction of Jupiter's; this has {len(routes)}."
    return instructions.route(routes[0], intent, rules.wallet) if routes else None


def _wrapped(rules: Rules) -> str:
    """Our own wrapped SOL account."""
    owner, mint = Pubkey.from_string(rules.wallet), Pubkey.from_string(networks.WRAPPED_SOL)
    return str(get_associated_token_address(owner, mint))


def _first(unsigned: Unsigned, program: str, ask: Callable[[Call], str | None]) -> str | None:
    return next((said for call in unsigned.calls if call.program == program and (said := ask(call))), None)


CHECKS: tuple[tuple[str, Callable[[Unsigned, Rules, Intent], str | None]], ...] = (
    ("foreign_fee_payer", payer),
    ("already_signed", our_place_is_empty),
    ("signature_missing", others_have_signed),
    ("foreign_program", programs_are_known),
    ("system_instruction", system_calls_only_wrap),
    ("token_instruction", token_calls_give_no_rights),
    ("foreign_account", created_accounts_are_ours),
    ("compute_budget", compute_budget_is_plain),
    ("priority_fee", priority_fee_is_bounded),
    ("route", route_keeps_its_price),
)
