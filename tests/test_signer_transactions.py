"""What the signer refuses by reading alone. Each check has transactions that fail for it and nothing else."""

import dataclasses
import struct

import pytest
from solders.compute_budget import set_compute_unit_limit, set_compute_unit_price
from solders.hash import Hash
from solders.instruction import AccountMeta, CompiledInstruction, Instruction
from solders.keypair import Keypair
from solders.message import MessageAddressTableLookup, MessageHeader, MessageV0, MessageV1, to_bytes_versioned
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import (
    AdvanceNonceAccountParams,
    AssignParams,
    CreateAccountParams,
    TransferParams,
    advance_nonce_account,
    assign,
    create_account,
    transfer,
)
from solders.transaction import VersionedTransaction
from spl.memo.instructions import create_memo
from spl.memo.models import MemoParams
from spl.token import instructions as spl
from spl.token import models
from spl.token.constants import TOKEN_2022_PROGRAM_ID

from tests.signing import (
    BONK,
    BUYS_SOL,
    OUR_SEED,
    POOL,
    PROGRAM,
    SELLS_SOL,
    SOL,
    THIEF,
    US,
    USDC,
    ata,
    buy,
    ensure,
    jupiter,
    pay,
    sell,
    unsigned,
    unwrap,
    wrap,
)
from trading.signer import instructions, networks, transactions
from trading.signer.protocol import Intent
from trading.signer.refusals import Refusal
from trading.signer.transactions import Rules

SANDBOX = Rules(wallet=str(US), transfers_may_swap=True)
MAINNET = Rules(wallet=str(US))
PRICE_MOST = SANDBOX.priority_fee_most * 1_000_000 // 200_000  # millionths of a lamport, at 200,000 units
RENT = 1_000_000
NAMES = {False: bytes.fromhex("bb64facc31c4af14"), True: bytes.fromhex("d19853937cfed8e9")}  # shared or not


def refusals(raw: bytes, *, rules: Rules = SANDBOX, intent: Intent = BUYS_SOL) -> list[str]:
    """The codes of every check that says no, not only of the first."""
    decoded = transactions.decode(raw)
    return [code for code, ask in transactions.CHECKS if ask(decoded, rules, intent)]


def system(data: bytes, *accounts: Pubkey) -> Instruction:
    return Instruction(Pubkey.from_string(networks.SYSTEM), data, [AccountMeta(one, False, True) for one in accounts])


def token(data: bytes, *accounts: Pubkey, program: Pubkey = PROGRAM) -> Instruction:
    return Instruction(program, data, [AccountMeta(one, False, True) for one in accounts])


def budget(data: bytes) -> Instruction:
    return Instruction(Pubkey.from_string(networks.COMPUTE_BUDGET), data, [])


# --- what passes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
def test_a_swap_as_the_sandbox_builds_it_passes(legacy: bool) -> None:
    assert refusals(unsigned(buy(), legacy=legacy)) == []
    assert refusals(unsigned(sell(), legacy=legacy), intent=SELLS_SOL) == []


@pytest.mark.parametrize("shared", [False, True])
def test_a_swap_as_jupiter_builds_it_passes(shared: bool) -> None:
    name = NAMES[shared]
    prices = [set_compute_unit_limit(300_000), set_compute_unit_price(1000)]
    swap = [*prices, ensure(SOL), jupiter(name=name, shared=shared)]
    memo = create_memo(MemoParams(program_id=Pubkey.from_string(networks.MEMO), signer=US, message=b"tradeco"))
    raw = unsigned([*swap, unwrap(), memo], cosigners=())
    assert refusals(raw, rules=MAINNET) == []
    transactions.check(transactions.decode(raw), rules=MAINNET, intent=BUYS_SOL)


def test_the_fee_that_is_expected_is_the_networks_own() -> None:
    prices = [set_compute_unit_limit(200_001), set_compute_unit_price(50_000)]
    decoded = transactions.decode(unsigned([*prices, *buy()[2:]]))
    assert decoded.fee_lamports == 2 * 5000 + 10_001, "200,001 units at 0.05 lamports, rounded up"


def test_without_a_limit_a_transaction_may_use_all_that_it_gets() -> None:
    few = transactions.decode(unsigned([set_compute_unit_price(1_000_000), *buy()[2:]]))
    assert few.fee_lamports == 2 * 5000 + 4 * 200_000
    many = transactions.decode(unsigned([set_compute_unit_price(1_000_000), *[pay(BONK, n + 1) for n in range(9)]]))
    assert many.fee_lamports == 5000 + 1_400_000


# --- what fails, each for one check alone ---------------------------------------------------------

EXTRAS: list[tuple[str, str, Instruction]] = [
    (
        "foreign_program",
        "a program that nobody allowed",
        Instruction(Pubkey.from_string("JUP4Fb2cqiRUcaTHdrPC8h2gNsA2ETXiPDD33WcGuJB"), b"", []),
    ),
    (
        "system_instruction",
        "SOL to a thief",
        transfer(TransferParams(from_pubkey=US, to_pubkey=THIEF.pubkey(), lamports=1)),
    ),
    (
        "system_instruction",
        "SOL into a thief's wrapped account",
        transfer(TransferParams(from_pubkey=US, to_pubkey=ata(THIEF.pubkey(), SOL), lamports=1)),
    ),
    ("system_instruction", "the wallet itself", assign(AssignParams(pubkey=US, owner=PROGRAM))),
    (
        "system_instruction",
        "a signature that stays valid for ever",
        advance_nonce_account(AdvanceNonceAccountParams(nonce_pubkey=THIEF.pubkey(), authorized_pubkey=US)),
    ),
    (
        "system_instruction",
        "an account at our cost",
        create_account(
            CreateAccountParams(from_pubkey=US, to_pubkey=POOL.pubkey(), lamports=RENT, space=0, owner=PROGRAM)
        ),
    ),
    ("system_instruction", "a transfer with more data", system(struct.pack("<IQB", 2, 1, 0), US, ata(US, SOL))),
    ("system_instruction", "no data", system(b"", US, ata(US, SOL))),
    (
        "token_instruction",
        "an approval",
        spl.approve(
            models.ApproveParams(
                program_id=PROGRAM, source=ata(US, USDC), delegate=THIEF.pubkey(), owner=US, amount=2**64 - 1
            )
        ),
    ),
    (
        "token_instruction",
        "a checked approval",
        spl.approve_checked(
            models.ApproveCheckedParams(
                program_id=PROGRAM,
                source=ata(US, USDC),
                mint=USDC,
                delegate=THIEF.pubkey(),
                owner=US,
                amount=1,
                decimals=6,
            )
        ),
    ),
    (
        "token_instruction",
        "an account's owner",
        spl.set_authority(
            models.SetAuthorityParams(
                program_id=PROGRAM,
                account=ata(US, USDC),
                authority=models.AuthorityType.ACCOUNT_OWNER,
                current_authority=US,
                new_authority=THIEF.pubkey(),
            )
        ),
    ),
    (
        "token_instruction",
        "a transfer that doesn't name its mint",
        spl.transfer(
            models.TransferParams(program_id=PROGRAM, source=ata(US, USDC), dest=ata(US, BONK), owner=US, amount=1)
        ),
    ),
    (
        "token_instruction",
        "a burn",
        spl.burn(models.BurnParams(program_id=PROGRAM, account=ata(US, USDC), mint=USDC, owner=US, amount=1)),
    ),
    (
        "token_instruction",
        "wrapped SOL closed into a thief's wallet",
        spl.close_account(
            models.CloseAccountParams(program_id=PROGRAM, account=ata(US, SOL), dest=THIEF.pubkey(), owner=US)
        ),
    ),
    (
        "token_instruction",
        "another account closed",
        spl.close_account(models.CloseAccountParams(program_id=PROGRAM, account=ata(US, BONK), dest=US, owner=US)),
    ),
    ("token_instruction", "a batch, which hides others", token(b"\xff\x03\x09", ata(US, SOL), US, US)),
    ("token_instruction", "a sync with more data", token(b"\x11\x00", ata(US, SOL))),
    ("token_instruction", "no data", token(b"", ata(US, SOL))),
    (
        "token_instruction",
        "a transfer of Token-2022's",
        token(b"\x0c" + bytes(9), ata(US, USDC), USDC, ata(US, BONK), US, program=TOKEN_2022_PROGRAM_ID),
    ),
    ("foreign_account", "a thief's account at our cost", ensure(USDC, owner=THIEF.pubkey())),
    (
        "foreign_account",
        "RecoverNested",
        Instruction(ensure(USDC).program_id, b"\x02", [AccountMeta(US, False, True)] * 6),
    ),
    ("compute_budget", "two limits", set_compute_unit_limit(100)),
    ("compute_budget", "a setting too short", budget(b"\x04\x01")),
    ("compute_budget", "an unknown setting", budget(b"\x00" + bytes(8))),
]


@pytest.mark.parametrize(("code", "extra"), [pytest.param(code, extra, id=name) for code, name, extra in EXTRAS])
def test_an_instruction_too_many_fails_for_its_own_check_alone(code: str, extra: Instruction) -> None:
    raw = unsigned([*buy(), extra])
    assert refusals(raw) == [code]
    with pytest.raises(Refusal) as refused:
        transactions.check(transactions.decode(raw), rules=SANDBOX, intent=BUYS_SOL)
    assert refused.value.code == code


def test_another_fee_payer_is_refused() -> None:
    assert refusals(unsigned(buy(), payer=THIEF.pubkey(), cosigners=(POOL, THIEF))) == ["foreign_fee_payer"]


def test_what_doesnt_ask_for_our_signature_is_refused() -> None:
    raw = unsigned([pay(SOL, 1, source=POOL.pubkey())], payer=POOL.pubkey())
    assert refusals(raw) == ["foreign_fee_payer", "already_signed"]


def test_what_we_have_signed_already_is_refused() -> None:
    assert refusals(unsigned(buy(), cosigners=(POOL, Keypair.from_seed(OUR_SEED)))) == ["already_signed"]


def test_what_others_havent_signed_is_refused() -> None:
    assert refusals(unsigned(buy(), cosigners=())) == ["signature_missing"]


def test_anothers_signature_of_another_message_is_none() -> None:
    good, other = unsigned(buy()), unsigned(buy(), number=1)
    assert refusals(good[: 1 + 64] + other[65:129] + good[129:]) == ["signature_missing"]


@pytest.mark.parametrize(
    "prices",
    [
        [set_compute_unit_limit(200_000), set_compute_unit_price(PRICE_MOST + 1)],
        [set_compute_unit_price(2**64 - 1)],
        [set_compute_unit_limit(2**32 - 1), set_compute_unit_price(PRICE_MOST)],
    ],
)
def test_a_priority_fee_beyond_the_cap_is_refused(prices: list[Instruction]) -> None:
    assert refusals(unsigned([*prices, *buy()[2:]])) == ["priority_fee"]
    highest = [set_compute_unit_limit(200_000), set_compute_unit_price(PRICE_MOST)]
    assert refusals(unsigned([*highest, *buy()[2:]])) == []


ROUTES: list[tuple[str, list[Instruction]]] = [
    ("none at all", []),
    ("two", [jupiter(), jupiter()]),
    ("more in than meant", [jupiter(amount_in=BUYS_SOL.amount_in + 1)]),
    ("less out than meant", [jupiter(quoted_out=1_000_000_000, slippage_bps=101)]),
    ("a slippage of everything and more", [jupiter(slippage_bps=10_001)]),
    ("a thief's platform fee", [jupiter(platform_fee_bps=101)]),
    ("an older route, whose end can be forged", [jupiter(name=bytes.fromhex("e517cb977ae3ad2a"))]),
    ("no route but a claim", [jupiter(name=bytes.fromhex("3ec6d6c1d59f6cd2"))]),
    ("arguments cut short", [Instruction(Pubkey.from_string(networks.JUPITER), bytes.fromhex("bb64facc31c4af14"), [])]),
]


@pytest.mark.parametrize("routes", [pytest.param(routes, id=name) for name, routes in ROUTES])
def test_a_route_that_doesnt_keep_the_price_is_refused(routes: list[Instruction]) -> None:
    assert refusals(unsigned([ensure(SOL), *routes, unwrap()], cosigners=()), rules=MAINNET) == ["route"]


def routed(shared: bool, place: int, named: Pubkey, *, intent: Intent = BUYS_SOL) -> list[str]:
    call = jupiter(name=NAMES[shared], shared=shared, intent=intent, named={place: named})
    return refusals(unsigned([ensure(SOL), call, unwrap()], cosigners=()), rules=MAINNET, intent=intent)


@pytest.mark.parametrize(
    ("shared", "place", "mint"),
    [(False, 1, USDC), (False, 2, SOL), (False, 7, SOL), (True, 2, USDC), (True, 5, SOL)],
)
def test_a_route_that_pays_somebody_else_is_refused_by_reading_alone(shared: bool, place: int, mint: Pubkey) -> None:
    """Whoever serves both the node and Jupiter's API could lie in the simulation too."""
    ours = ata(US, mint)
    assert routed(shared, place, ours) == []
    others = [ata(THIEF.pubkey(), USDC), ata(THIEF.pubkey(), SOL), ata(US, BONK), US, THIEF.pubkey()]
    for other in others:
        assert routed(shared, place, other) == ["route"], other


def test_without_the_look_at_its_accounts_such_a_route_would_be_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instructions, "_not_ours", lambda *_: None)
    assert routed(False, 2, ata(THIEF.pubkey(), SOL)) == []


def test_a_route_may_pay_into_an_account_of_either_token_program() -> None:
    bonk = BUYS_SOL.model_copy(update={"mint_out": str(BONK)})
    newer = spl.get_associated_token_address(US, BONK, TOKEN_2022_PROGRAM_ID)
    assert routed(False, 2, newer, intent=bonk) == []


def test_a_route_whose_accounts_are_cut_short_or_hidden_is_refused() -> None:
    """An account that a lookup table hides is never taken for ours."""
    call = transactions.decode(unsigned([jupiter()], cosigners=())).calls[0]
    assert instructions.route(call, BUYS_SOL, str(US)) is None
    for accounts in ((), call.accounts[:2], (*call.accounts[:2], None, *call.accounts[3:]), call.accounts[:7]):
        assert instructions.route(dataclasses.replace(call, accounts=accounts), BUYS_SOL, str(US)), accounts


def test_plain_transfers_swap_on_the_sandbox_alone() -> None:
    raw = unsigned([*buy(), jupiter()])
    assert refusals(raw) == []
    assert refusals(raw, rules=MAINNET) == ["token_instruction"]


def test_a_bare_payment_would_be_refused_on_mainnet_twice() -> None:
    assert refusals(unsigned(buy()), rules=MAINNET) == ["token_instruction", "route"]


def test_programs_beyond_the_allow_list_can_be_allowed_by_argument() -> None:
    raw = unsigned([*buy(), EXTRAS[0][2]])
    wider = dataclasses.replace(SANDBOX, programs=SANDBOX.programs | {str(EXTRAS[0][2].program_id)})
    assert refusals(raw, rules=wider) == []


def test_wrapping_needs_our_own_static_account() -> None:
    """An account that a lookup table hides is never taken for ours."""
    hidden = transactions.instructions.Call(networks.SYSTEM, (str(US), None), struct.pack("<IQ", 2, 1))
    assert transactions.instructions.system(hidden, str(US), str(ata(US, SOL)))
    shown = dataclasses.replace(hidden, accounts=(str(US), str(ata(US, SOL))))
    assert transactions.instructions.system(shown, str(US), str(ata(US, SOL))) is None


# --- what isn't even read -------------------------------------------------------------------------


def code_of(raw: bytes) -> str:
    with pytest.raises(Refusal) as refused:
        transactions.decode(raw)
    return refused.value.code


def crafted(keys: list[Pubkey], call: CompiledInstruction, header: MessageHeader) -> bytes:
    message = MessageV0(header, keys, Hash.default(), [call], [])
    return bytes(VersionedTransaction.populate(message, [Signature.default()] * header.num_required_signatures))


def test_what_isnt_a_transaction_is_malformed() -> None:
    good = unsigned(buy())
    for raw in (b"", b"\x00", b"\xff" * 200, good[:-1], good[:100], good + b"\x00"):
        assert code_of(raw) == "malformed"
    transactions.decode(good)


def test_an_encoding_that_only_some_would_read_is_malformed() -> None:
    good = unsigned(buy())
    assert good[0] == 2
    assert code_of(b"\x82\x00" + good[1:]) == "malformed", "the count of signatures written in two bytes"


def test_a_transaction_too_large_for_the_network_is_refused() -> None:
    memo = Instruction(Pubkey.from_string(networks.MEMO), b"x" * 2000, [])
    assert code_of(unsigned([memo])) == "too_large"


def test_an_account_that_is_there_twice_is_malformed() -> None:
    header = MessageHeader(1, 0, 1)
    call = CompiledInstruction(2, b"", bytes([0, 1]))
    assert code_of(crafted([US, US, PROGRAM], call, header)) == "malformed"
    transactions.decode(crafted([US, POOL.pubkey(), PROGRAM], call, header))


def test_an_index_out_of_range_is_malformed() -> None:
    header = MessageHeader(1, 0, 1)
    calls = ((9, b""), (1, bytes([9])), (0, b""))  # no such program, no such account, and the payer as a program
    for program, places in calls:
        call = CompiledInstruction(program, b"", places)
        assert code_of(crafted([US, PROGRAM], call, header)) == "malformed"


@pytest.mark.parametrize(("program", "code"), [(1, None), (2, "malformed"), (3, "malformed")])
def test_a_lookup_table_cant_bring_a_program(program: int, code: str | None) -> None:
    """Two static keys, two that a table would bring: only a static one is called."""
    lookup = MessageAddressTableLookup(SOL, bytes([0, 1]), b"")
    call = CompiledInstruction(program, b"", bytes([0]))
    message = MessageV0(MessageHeader(1, 0, 0), [US, PROGRAM], Hash.default(), [call], [lookup])
    raw = bytes(VersionedTransaction.populate(message, [Signature.default()]))
    if code is None:
        assert [found.program for found in transactions.decode(raw).calls] == [str(PROGRAM)]
    else:
        assert code_of(raw) == code


def test_a_newer_version_is_refused_until_it_is_understood() -> None:
    message = MessageV1.try_compile(US, buy(), Hash.default())
    assert code_of(bytes(VersionedTransaction.populate(message, [Signature.default()] * 2))) == "unknown_version"


def test_our_signature_goes_into_our_place_and_changes_nothing_else() -> None:
    raw = unsigned(buy())
    decoded = transactions.decode(raw)
    assert decoded.message_bytes == to_bytes_versioned(VersionedTransaction.from_bytes(raw).message)
    signature = Keypair.from_seed(OUR_SEED).sign_message(decoded.message_bytes)
    signed = VersionedTransaction.from_bytes(decoded.signed(wallet=str(US), signature=bytes(signature)))
    assert signed.verify_with_results() == [True, True]
    assert decoded.signed(wallet=str(US), signature=bytes(64)) == raw


def test_wrapping_sol_is_part_of_a_swap() -> None:
    assert refusals(unsigned([ensure(SOL), *wrap(1), unwrap()], cosigners=())) == []
