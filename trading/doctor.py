"""What a set-up lacks before it can trade, and what to do about it. Looks everywhere, changes nothing, signs nothing.

Each look stands alone: a place that doesn't answer fails its own line only, and no line waits for a company that runs.
Clients are made here without breakers, so that looking neither needs the database nor opens a breaker in it.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum

from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.utils import InterfaceError

from missions import policies
from missions.models import Company, Step
from missions.policies import NoPolicy
from missions.vocabulary import CompanyStatus
from tradeco.common import backups, breakers, db
from tradeco.common.errors import DomainError
from trading import listing, money, network
from trading.models import Finding, LedgerTransaction, Wallet
from trading.signer import keyfile
from trading.signer.client import SignerClient
from trading.stocktaking import OPENING
from trading.venues.http import Patience
from trading.venues.prices import JupiterPrices
from trading.venues.rpc import SolanaRpc

PAPER, MAINNET = "paper", "mainnet"
SKEW_WARN_SECONDS, SKEW_FAIL_SECONDS = 2.0, 30.0  # a chain's own block time lags by seconds
HEIGHT_SECONDS = 5.0  # within which a chain makes several blocks
RESERVE_SOL = Decimal("0.05")  # where no policy says otherwise yet
BACKUP_DAYS = 1
IMPATIENT = Patience(tries=2, seconds=5.0)


class State(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Line:
    """`do` is empty where all is well."""

    check: str
    state: State
    said: str
    do: str = ""


Look = Callable[[], Iterator[Line]]


def examine() -> Iterator[Line]:
    """Line by line, as each is known."""
    has_database = False
    for line in _guarded("database", _database):
        has_database = has_database or line.state == State.OK
        yield line
    if has_database:
        for name, look in (("company", _company), ("findings", _troubles)):
            yield from _guarded(name, look)
    if settings.NETWORK == PAPER:
        yield Line("network", State.OK, "Paper money: no chain, no key, no Jupiter is needed.")
        return
    for name, look in (
        ("network", _network),
        ("key", _key),
        ("signer", _signer),
        ("rpc", _nodes),
        ("balance", _balances),
        ("jupiter", _jupiter),
        ("backup", _backup),
    ):
        yield from _guarded(name, look)


def _guarded(check: str, look: Look) -> Iterator[Line]:
    try:
        yield from look()
    except DomainError as refused:
        yield Line(check, State.FAIL, refused.detail, "Mend that, and look again.")
    except (DatabaseError, InterfaceError) as exc:
        yield Line(check, State.FAIL, f"The database said: {_first_line(exc)}", "Mend that, and look again.")


# --- here -----------------------------------------------------------------------------------------


def _database() -> Iterator[Line]:
    try:
        connection.ensure_connection()
    except (DatabaseError, InterfaceError) as exc:
        if settings.EMBEDDED_POSTGRES:
            yield Line(
                "database", State.WARN, "The embedded database rests.", "It runs while the company does: make run"
            )
        else:
            yield Line("database", State.FAIL, f"It can't be reached: {_first_line(exc)}", "Correct DATABASE_URL.")
        return
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        yield Line("database", State.OK, f"PostgreSQL {cursor.fetchone()[0]} answers.")
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        yield Line("migrations", State.FAIL, f"{len(missing)} aren't applied.", "manage.py migrate, or make run")
    else:
        yield Line("migrations", State.OK, "All are applied.")
    yield _skew("database clock", db.now())


def _company() -> Iterator[Line]:
    row = Company.objects.first()
    if row is None:
        yield Line("company", State.WARN, "It isn't opened yet.", "make run opens it.")
        return
    try:
        revision, policy = policies.current()
    except NoPolicy as none:
        yield Line("policy", State.FAIL, none.detail, "manage.py bootstrap")
        return
    if settings.NETWORK == MAINNET and row.policy_set != "production":
        yield Line(
            "policy",
            State.FAIL,
            f"Real money under the policies of `{row.policy_set}`, revision {revision}.",
            "Open a new company, in a folder of its own (TRADECO_HOME), with TRADECO_POLICY_SET=production.",
        )
    else:
        yield Line("policy", State.OK, f"Set `{row.policy_set}`, revision {revision}, quorum {policy.quorum}.")
    if (people := policies.people()) < policy.quorum:
        said = f"The quorum is {policy.quorum}, and people who may resume or change a policy are {people}."
        yield Line("people", State.WARN, said, "Make another operator in the admin: Users.")
    if row.status == CompanyStatus.ACTIVE:
        yield Line("company", State.OK, "It is active.")
    else:
        yield Line("company", State.WARN, f"It is {row.status}: {row.reason}", "manage.py resume, once that is settled")
    wallet = Wallet.objects.first()
    if settings.NETWORK != PAPER and wallet is not None and wallet.address and network.key_file().exists():
        yield _same_wallet(wallet)
    opened = LedgerTransaction.objects.filter(reference=OPENING).exists()
    if not opened:
        yield Line("books", State.WARN, "Nothing is booked yet.", "They open once the wallet holds something.")


def _same_wallet(wallet: Wallet) -> Line:
    if wallet.address == network.address():
        return Line("wallet", State.OK, f"The books are of {wallet.address}.")
    return Line(
        "wallet", State.FAIL, f"The books are of {wallet.address}, the key is another's.", "Put the right key back."
    )


def _troubles() -> Iterator[Line]:
    open_breakers = [row.name for row in breakers.states() if row.opened_at is not None]
    if open_breakers:
        yield Line("breakers", State.WARN, f"Open: {', '.join(open_breakers)}.", "See which place outside is away.")
    else:
        yield Line("breakers", State.OK, "All are closed.")
    findings, doubts = Finding.objects.filter(settled_at=None).count(), Step.objects.in_doubt().count()
    if findings or doubts:
        said = f"{findings} findings are open, {doubts} steps in doubt."
        yield Line("findings", State.WARN, said, "Settle them in the admin; see the runbook.")
    else:
        yield Line("findings", State.OK, "Nothing waits to be settled.")


def _backup() -> Iterator[Line]:
    dumps = sorted((settings.TRADECO_HOME / backups.FOLDER).glob("*.dump"))
    if not dumps:
        state = State.WARN if settings.NETWORK == MAINNET else State.OK
        yield Line("backup", state, "There is none in this home.", "manage.py backup")
        return
    days = (time.time() - dumps[-1].stat().st_mtime) / 86_400
    state = State.OK if days <= BACKUP_DAYS else State.WARN
    yield Line("backup", state, f"The newest is {days:.1f} days old.", "" if state == State.OK else "manage.py backup")


# --- the wallet -----------------------------------------------------------------------------------


def _network() -> Iterator[Line]:
    if settings.NETWORK not in (MAINNET, "sandbox"):
        yield Line("network", State.FAIL, f"There is no {settings.NETWORK!r}.", "Set TRADECO_NETWORK.")
        return
    what = "mainnet: real money" if settings.NETWORK == MAINNET else "sandbox: play money"
    yield Line("network", State.OK, f"{what}, markets {', '.join(settings.MARKETS)}.")
    unknown = [name for name in settings.MARKETS if name.upper().split("/")[0] not in listing.KNOWN]
    if settings.NETWORK == MAINNET and unknown:
        known = ", ".join(symbol for symbol in listing.KNOWN if symbol != "USDC")
        yield Line("markets", State.FAIL, f"No mint is known of {', '.join(unknown)}.", f"Trade some of {known}.")


def _key() -> Iterator[Line]:
    path = network.key_file()
    if not path.exists():
        do = "make run makes it" if settings.NETWORK != MAINNET else "manage.py wallet create --network mainnet"
        yield Line("key", State.FAIL, f"There is no key at {path}.", do)
        return
    header = keyfile.describe(path)  # refuses a file that others may open
    if header.genesis != network.genesis():
        yield Line("key", State.FAIL, f"{path} is for another chain, {header.genesis}.", "Put the right key there.")
    else:
        yield Line("key", State.OK, f"{header.address}, in {path}, for us alone.")


def _signer() -> Iterator[Line]:
    try:
        status = SignerClient(network.signer().path, answer_seconds=5.0).status()
    except DomainError as away:
        yield Line("signer", State.WARN, away.detail, "It runs while the company does: make run")
        return
    if network.key_file().exists() and status.address != network.address():
        yield Line("signer", State.FAIL, f"It signs for {status.address}.", "Restart the company.")
    elif not status.ready:
        yield Line(
            "signer", State.FAIL, f"It isn't ready: {status.reason}", "See that TRADECO_RPC_URLS leads to the chain."
        )
    else:
        spent = f"{money.usd(status.spent):.2f} of {money.usd(status.spend_cap):.2f} USDC"
        used = f"{status.signatures} of {status.signatures_a_day} signatures"
        yield Line("signer", State.OK, f"It is ready; today {spent} and {used} are used.")


# --- outside --------------------------------------------------------------------------------------


def _nodes() -> Iterator[Line]:
    if not settings.RPC_URLS:
        yield Line(
            "rpc", State.FAIL, "No Solana node is named.", "Set TRADECO_RPC_URLS, best to two of different makers."
        )
        return
    if settings.NETWORK == MAINNET and len(settings.RPC_URLS) < 2:
        do = "Add one of another maker: TRADECO_RPC_URLS=first,second"
        yield Line("rpc", State.WARN, "One node alone decides what landed.", do)
    for number, url in enumerate(settings.RPC_URLS, 1):
        yield from _guarded(f"rpc {number}", lambda url=url, number=number: _node(url, f"rpc {number}"))  # type: ignore[misc]


def _node(url: str, check: str) -> Iterator[Line]:
    node = SolanaRpc(url, patience=IMPATIENT)
    found = node.genesis_hash()
    if found != network.genesis():
        do = f"Name a node of {settings.NETWORK} in TRADECO_RPC_URLS."
        yield Line(check, State.FAIL, f"{node.name} is of another chain, {found}.", do)
        return
    node.health()
    first, began = node.block_height(), time.monotonic()
    while (height := node.block_height()) == first and time.monotonic() - began < HEIGHT_SECONDS:
        time.sleep(0.2)
    if height == first:
        yield Line(check, State.FAIL, f"{node.name} stands at block {height}.", "Use another node.")
        return
    yield Line(check, State.OK, f"{node.name} is of the right chain, at block {height}, and moves.")
    yield _skew(f"{check} clock", datetime.fromtimestamp(node.block_time(node.slot("finalized")), UTC), lag=15.0)


def _balances() -> Iterator[Line]:
    if not settings.RPC_URLS or not network.key_file().exists():
        return
    address, node = network.address(), SolanaRpc(settings.RPC_URLS[0], patience=IMPATIENT)
    sol, reserve = money.units(node.balance(address), 9), _reserve()
    if sol < reserve:
        yield Line("fees", State.FAIL, f"{sol:f} SOL; {reserve:f} must stay.", f"Send SOL to {address}.")
    else:
        yield Line("fees", State.OK, f"{sol:f} SOL, of which {reserve:f} pay fees.")
    cash = money.usd(sum(held.amount for held in node.token_balances(address) if held.mint == money.USDC))
    if cash > 0:
        yield Line("balance", State.OK, f"{cash:f} USDC.")
    else:
        yield Line("balance", State.WARN, "No USDC to trade with.", f"Send USDC to {address}.")


def _reserve() -> Decimal:
    try:
        return policies.current()[1].fee_reserve_sol
    except (NoPolicy, DatabaseError, InterfaceError):
        return RESERVE_SOL


def _jupiter() -> Iterator[Line]:
    if settings.NETWORK == MAINNET and not settings.JUPITER_KEY:
        yield Line("jupiter key", State.FAIL, "There is none.", "Get one from Jupiter and set TRADECO_JUPITER_KEY.")
    prices = JupiterPrices(settings.JUPITER_URL, api_key=settings.JUPITER_KEY, patience=IMPATIENT)
    found = prices.usd([money.NATIVE]).get(money.NATIVE)
    if found is None:
        yield Line("jupiter", State.FAIL, f"{prices.name} has no price of SOL.", "See TRADECO_JUPITER_URL.")
    else:
        yield Line("jupiter", State.OK, f"{prices.name} says that a SOL is {found.usd:f} USD.")


def _skew(check: str, theirs: datetime, *, lag: float = 0.0) -> Line:
    """How far a clock is from this machine's, `lag` seconds late being usual."""
    seconds = (datetime.now(UTC) - theirs).total_seconds()
    off = max(-seconds, seconds - lag, 0.0)
    said = f"It is {abs(seconds):.1f} s {'behind' if seconds > 0 else 'ahead of'} this machine's."
    if off <= SKEW_WARN_SECONDS:
        return Line(check, State.OK, said)
    return Line(check, State.FAIL if off > SKEW_FAIL_SECONDS else State.WARN, said, "Let NTP set this machine's clock.")


def _first_line(exc: Exception) -> str:
    """The driver's first line names host and port, never a password."""
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
