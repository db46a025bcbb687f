"""What the signer refuses by what a transaction does, shown by the real Solana VM.

Most of these would be refused by reading too; here they meet the second line alone.
"""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.account import Account as SvmAccount
from solders.address_lookup_table_account import AddressLookupTableAccount
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey
from solders.system_program import AssignParams, TransferParams, assign, transfer
from spl.token import instructions as spl
from spl.token import models

from tests.signing import (
    BONK,
    BUYS_SOL,
    POOL,
    PROGRAM,
    SELLS_SOL,
    SOL,
    THIEF,
    TOKEN_RENT,
    US,
    USDC,
    Ground,
    ata,
    buy,
    ensure,
    holding,
    pay,
    sell,
    unsigned,
    unwrap,
)
from trading.signer import effects, networks, transactions
from trading.signer.effects import Account
from trading.signer.protocol import Intent
from trading.signer.refusals import Refusal


def check(
    ground: Ground, raw: bytes, *, intent: Intent = BUYS_SOL, rent_most: int = effects.RENT_MOST
) -> transactions.Unsigned:
    decoded = transactions.decode(raw)
    effects.check(decoded, wallet=str(US), intent=intent, chain=ground, rent_most=rent_most)
    return decoded


def code_of(ground: Ground, raw: bytes, *, intent: Intent = BUYS_SOL, rent_most: int = effects.RENT_MOST) -> str:
    with pytest.raises(Refusal) as refused:
        check(ground, raw, intent=intent, rent_most=rent_most)
    return refused.value.code


def approve(account: Pubkey, *, delegate: Pubkey | None = None) -> Instruction:
    return spl.approve(
        models.ApproveParams(
            program_id=PROGRAM, source=account, delegate=delegate or THIEF.pubkey(), owner=US, amount=1
        )
    )


def hand_over(account: Pubkey, right: models.AuthorityType) -> Instruction:
    return spl.set_authority(
        models.SetAuthorityParams(
            program_id=PROGRAM, account=account, authority=right, current_authority=US, new_authority=THIEF.pubkey()
        )
    )


# --- what passes ----------------------------------------------------------------------------------


def test_buying_and_selling_pass() -> None:
    ground = Ground()
    check(ground, unsigned(buy()))
    check(ground, unsigned(sell()), intent=SELLS_SOL)


def test_an_empty_wrapped_account_may_stay_and_what_was_in_it_too() -> None:
    """Only more of it is refused: what a stranger put there must not stop a trade."""
    check(Ground(), unsigned(sell()[:-1]), intent=SELLS_SOL)
    ground = Ground()
    ground.put(ata(US, SOL), holding(US, SOL, 5))
    check(ground, unsigned(sell()[:-1]), intent=SELLS_SOL)


def test_an_account_that_stood_before_may_be_closed_into_the_wallet() -> None:
    ground = Ground()
    ground.put(ata(US, SOL), holding(US, SOL, 5))
    check(ground, unsigned(buy()))


def test_a_delegate_of_long_ago_is_no_obstacle() -> None:
    ground = Ground()
    ground.put(ata(US, BONK), holding(US, BONK, 500, delegate=THIEF.pubkey()))
    check(ground, unsigned([*buy(), pay(BONK, 1, source=POOL.pubkey())]))


@pytest.mark.parametrize("fee_off", [0, 1])
def test_the_amounts_are_exact_to_the_unit(fee_off: int) -> None:
    """One lamport less than due, or one raw unit more than meant, is refused."""
    buying = BUYS_SOL.model_copy(update={"least_out": 1_000_000_000 + fee_off})
    selling = SELLS_SOL.model_copy(update={"amount_in": 1_000_000_000 - fee_off, "least_out": 150_000_000})
    if not fee_off:
        check(Ground(), unsigned(buy()), intent=buying)
        check(Ground(), unsigned(sell()), intent=selling)
    else:
        assert code_of(Ground(), unsigned(buy()), intent=buying) == "receives_too_little"
        assert code_of(Ground(), unsigned(sell()), intent=selling) == "gives_too_much"


# --- what fails -----------------------------------------------------------------------------------

LOSSES: list[tuple[str, str, Callable[[], list[Instruction]]]] = [
    ("gives_too_much", "more USDC than meant", lambda: [*buy(), pay(USDC, 1)]),
    ("receives_too_little", "less SOL than due", lambda: buy(amount_out=989_999_999)),
    ("receives_too_little", "the SOL to a thief", lambda: [*buy(), pay_sol(20_000_000)]),
    ("other_loss", "a token that isn't part of it", lambda: [*buy(), pay(BONK, 1)]),
    ("account_given_away", "an approval", lambda: [*buy(), approve(ata(US, USDC))]),
    ("account_given_away", "an approval of another token", lambda: [*buy(), approve(ata(US, BONK))]),
    (
        "account_given_away",
        "an account's owner",
        lambda: [*buy(), hand_over(ata(US, BONK), models.AuthorityType.ACCOUNT_OWNER)],
    ),
    (
        "account_given_away",
        "the right to close it",
        lambda: [*buy(), hand_over(ata(US, BONK), models.AuthorityType.CLOSE_ACCOUNT)],
    ),
    ("account_given_away", "a right over what was just made", lambda: [*buy()[:-1], approve(ata(US, SOL))]),
    ("wallet_given_away", "the wallet itself", lambda: [*buy(), assign(AssignParams(pubkey=US, owner=PROGRAM))]),
    ("simulation_failed", "more than we have", lambda: buy(amount_in=10_000_000_001)),
]


def test_sol_may_not_stay_wrapped() -> None:
    """It would be ours all the same, but the books count the wallet's own lamports alone."""
    assert code_of(Ground(), unsigned(buy()[:-1])) == "stays_wrapped"
    ground = Ground()
    ground.put(ata(US, SOL), holding(US, SOL, 5))
    assert code_of(ground, unsigned(buy()[:-1])) == "stays_wrapped"


def test_without_that_rule_wrapped_sol_would_pass_for_what_was_bought(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effects, "_no_sol_stays_wrapped", lambda *_: None)
    check(Ground(), unsigned(buy()[:-1]))


def pay_sol(lamports: int) -> Instruction:
    return transfer(TransferParams(from_pubkey=US, to_pubkey=THIEF.pubkey(), lamports=lamports))


@pytest.mark.parametrize(("code", "made"), [pytest.param(code, made, id=name) for code, name, made in LOSSES])
def test_a_loss_is_refused(code: str, made: Callable[[], list[Instruction]]) -> None:
    assert code_of(Ground(), unsigned(made())) == code


def test_sol_may_not_leave_where_none_is_meant() -> None:
    """Neither side of the trade is SOL, so not one lamport beyond fee and rent goes."""
    intent = Intent(mint_in=str(USDC), amount_in=1_000_000, mint_out=str(BONK), least_out=5)
    swap = [pay(USDC, 1_000_000), pay(BONK, 5, source=POOL.pubkey())]
    check(Ground(), unsigned(swap), intent=intent)
    assert code_of(Ground(), unsigned([*swap, pay_sol(1_000_000)]), intent=intent) == "other_loss"


def test_rent_has_a_cap_of_its_own() -> None:
    kept = unsigned(sell()[:-1])
    check(Ground(), kept, intent=SELLS_SOL, rent_most=TOKEN_RENT)
    assert code_of(Ground(), kept, intent=SELLS_SOL, rent_most=TOKEN_RENT - 1) == "rent"


def test_another_token_account_of_ours_is_looked_at_too() -> None:
    """Not only the associated ones: whatever the transaction can change."""
    ground, drawer = Ground(), Pubkey.from_bytes(bytes([9] * 32))
    ground.put(drawer, holding(US, USDC, 77))
    theft = spl.transfer_checked(
        models.TransferCheckedParams(
            program_id=PROGRAM, source=drawer, mint=USDC, dest=ata(POOL.pubkey(), USDC), owner=US, amount=77, decimals=6
        )
    )
    assert code_of(ground, unsigned([*buy(), theft])) == "gives_too_much"


def test_an_expired_blockhash_fails_here() -> None:
    ground = Ground()
    ground.svm = ground.svm.with_blockhash_check(True)
    assert code_of(ground, unsigned(buy(), number=5)) == "simulation_failed"


# --- lookup tables --------------------------------------------------------------------------------

TABLE = Pubkey.from_bytes(bytes([55] * 32))


def table_of(
    ground: Ground, entries: list[Pubkey], *, owner: str = networks.LOOKUP_TABLES
) -> AddressLookupTableAccount:
    head = struct.pack("<IQQBB", 1, 2**64 - 1, 0, 0, 0).ljust(56, b"\0")
    data = head + b"".join(bytes(entry) for entry in entries)
    ground.put(TABLE, SvmAccount(10_000_000, data, Pubkey.from_string(owner)))
    ground.svm.warp_to_slot(10)
    return AddressLookupTableAccount(TABLE, entries)


def test_accounts_of_lookup_tables_are_looked_at() -> None:
    ground = Ground()
    table = table_of(ground, [ata(POOL.pubkey(), USDC), ata(US, BONK), ata(POOL.pubkey(), BONK)])
    decoded = check(ground, unsigned(buy(), tables=[table]))
    assert decoded.lookups, "the table was used"
    theft = unsigned([*buy(), pay(BONK, 1)], tables=[table])
    assert str(ata(US, BONK)) not in transactions.decode(theft).keys, "our account is only in the table"
    assert code_of(ground, theft) == "other_loss"


def test_a_table_that_cant_be_read_is_refused() -> None:
    ground = Ground()
    table = table_of(ground, [ata(POOL.pubkey(), USDC)])
    raw = unsigned(buy(), tables=[table])
    check(ground, raw)
    table_of(ground, [])
    assert code_of(ground, raw) == "unknown_lookup_table"
    table_of(ground, [ata(POOL.pubkey(), USDC)], owner=networks.SYSTEM)
    assert code_of(ground, raw) == "unknown_lookup_table"


def test_a_table_full_of_garbage_brings_no_accounts() -> None:
    ground = Ground()
    raw = unsigned(buy(), tables=[table_of(ground, [ata(POOL.pubkey(), USDC)])])
    ground.put(TABLE, SvmAccount(10_000_000, b"garbage", Pubkey.from_string(networks.LOOKUP_TABLES)))
    assert code_of(ground, raw) == "unknown_lookup_table"


def test_more_accounts_than_can_be_looked_at_at_once_are_refused() -> None:
    ground = Ground()
    many = [Pubkey.from_bytes(bytes([200, n]).ljust(32, b"\1")) for n in range(effects.ACCOUNTS_MOST)]
    memo = Instruction(Pubkey.from_string(networks.MEMO), b"", [AccountMeta(one, False, True) for one in many])
    assert code_of(ground, unsigned([*buy(), memo], tables=[table_of(ground, many)])) == "too_many_accounts"


# --- a chain that moves ---------------------------------------------------------------------------


def test_money_that_arrives_meanwhile_doesnt_pay_for_a_loss() -> None:
    ground = Ground()
    gifts = iter(range(1, 10))
    ground.between = lambda: ground.put(ata(US, USDC), holding(US, USDC, 10_000_000_000 + next(gifts) * 150_000_000))
    assert code_of(ground, unsigned(sell(amount_out=1)), intent=SELLS_SOL) == "wallet_changed_meanwhile"
    assert ground.simulations == effects.LOOKS


def test_without_the_second_look_the_gift_would_have_paid_for_it() -> None:
    """The control: what one look and the simulation say together."""
    ground = Ground()
    decoded = transactions.decode(unsigned(sell(amount_out=1)))
    addresses = decoded.writable({})
    before = dict(zip(addresses, ground.accounts(addresses), strict=True))
    ground.put(ata(US, USDC), holding(US, USDC, 10_150_000_000))
    after = dict(zip(addresses, ground.simulate(decoded.raw, addresses=addresses).accounts, strict=True))
    effects.judge(
        before, after, wallet=str(US), intent=SELLS_SOL, fee=decoded.fee_lamports, rent_most=effects.RENT_MOST
    )


def test_one_change_meanwhile_is_looked_at_again() -> None:
    ground = Ground()
    ground.between = lambda: ground.put(ata(US, USDC), holding(US, USDC, 20_000_000_000))
    check(ground, unsigned(buy()))
    assert ground.simulations == 2


# --- the judgement, without a chain ---------------------------------------------------------------


def accounts(*, lamports: int, usdc: int, bonk: int, wrapped: int | None) -> dict[str, Account | None]:
    def token(mint: Pubkey, amount: int) -> Account:
        made = holding(US, mint, amount)
        return Account(lamports=made.lamports, owner=str(made.owner), data=bytes(made.data))

    return {
        str(US): Account(lamports=lamports, owner=networks.SYSTEM, data=b""),
        "usdc": token(USDC, usdc),
        "bonk": token(BONK, bonk),
        "wsol": None if wrapped is None else token(SOL, wrapped),
    }


small = st.integers(-3, 3)


@settings(max_examples=300, deadline=None)
@given(
    mints=st.permutations([USDC, SOL, BONK]).map(lambda found: found[:2]),
    amount_in=st.integers(1, 3),
    least_out=st.integers(1, 3),
    moved=st.fixed_dictionaries({"usdc": small, "bonk": small, "sol": small}),
    wraps=st.tuples(st.none() | st.integers(0, 5), st.none() | st.integers(0, 5)),
    fee=st.integers(0, 3),
)
def test_the_judgement_is_that_of_a_plain_count(
    mints: list[Pubkey],
    amount_in: int,
    least_out: int,
    moved: dict[str, int],
    wraps: tuple[int | None, int | None],
    fee: int,
) -> None:
    """However SOL is split between the wallet, its wrapped account and rent."""
    intent = Intent(mint_in=str(mints[0]), amount_in=amount_in, mint_out=str(mints[1]), least_out=least_out)
    in_wrapped = [0 if wrap is None else wrap + TOKEN_RENT for wrap in wraps]
    sol = 10**10
    before = accounts(lamports=sol - in_wrapped[0], usdc=100, bonk=100, wrapped=wraps[0])
    after = accounts(
        lamports=sol - in_wrapped[1] + moved["sol"] - fee,
        usdc=100 + moved["usdc"],
        bonk=100 + moved["bonk"],
        wrapped=wraps[1],
    )
    gains = {str(USDC): moved["usdc"], str(BONK): moved["bonk"], str(SOL): moved["sol"]}
    floor = dict.fromkeys(gains, 0) | {intent.mint_in: -amount_in, intent.mint_out: least_out}
    stays_wrapped = (wraps[1] or 0) > (wraps[0] or 0)
    expected = all(gains[mint] >= floor[mint] for mint in gains) and not stays_wrapped
    try:
        effects.judge(before, after, wallet=str(US), intent=intent, fee=fee, rent_most=effects.RENT_MOST)
        found = True
    except Refusal:
        found = False
    assert found == expected


def test_a_multisig_and_a_mint_are_no_token_accounts() -> None:
    owner = bytes(32) + bytes(US)
    for data in (owner.ljust(effects.MULTISIG_BYTES, b"\2"), owner.ljust(82, b"\0"), owner.ljust(200, b"\1")):
        wallet = effects.read_wallet({str(US): None, "x": Account(1, networks.TOKEN_2022, data)}, str(US))
        assert wallet.holdings == {}


def test_a_token_2022_account_with_extensions_is_one() -> None:
    data = bytes(holding(US, BONK, 5).data) + b"\2" + bytes(20)
    wallet = effects.read_wallet({str(US): None, "x": Account(1, networks.TOKEN_2022, data)}, str(US))
    assert wallet.tokens() == {str(BONK): 5}


def test_an_unwrapped_account_may_vanish_but_no_other() -> None:
    before = accounts(lamports=10**9, usdc=0, bonk=0, wrapped=None)
    after = {**before, "bonk": None, str(US): Account(10**9 + TOKEN_RENT, networks.SYSTEM, b"")}
    with pytest.raises(Refusal) as refused:
        effects.judge(before, after, wallet=str(US), intent=BUYS_SOL, fee=0, rent_most=0)
    assert refused.value.code == "account_given_away"


def test_ensuring_and_unwrapping_alone_brings_nothing() -> None:
    assert code_of(Ground(), unsigned([ensure(SOL), unwrap()], cosigners=())) == "receives_too_little"
