"""The wallet on chain beside the books: what it holds, and who moved it. Reads the chain, books only the opening."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db.models import Max

from missions import company
from missions.vocabulary import CompanyStatus
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind
from trading import findings, ledger, money, network
from trading.models import Account, Asset, Attempt, Finding, LedgerTransaction, Wallet
from trading.venues.rpc import ChainTransaction, SolanaRpc
from trading.venues.rpc_answers import Commitment
from trading.vocabulary import AccountKind, AttemptStatus, FindingKind, LedgerKind

log = structlog.get_logger(__name__)

OPENING = "opening"
SIGNATURES_MOST = 1000  # a page of the wallet's history
LOOK_SECONDS = 10.0  # of a pass, for transactions nobody knows: keeps a beat inside its lease, however many were sent
CLOCKS_APART = timedelta(minutes=5)  # of validators and us, at most
RENT_OF_A_SWAP = 5_000_000  # lamports: a little more than the deposits of two token accounts, made or given back
OF_SIGNATURES = (FindingKind.UNKNOWN_SIGNATURE, FindingKind.MOVEMENT)
GIVEN_UP = (AttemptStatus.REFUSED, AttemptStatus.EXPIRED, AttemptStatus.FAILED_ONCHAIN)


@dataclass(frozen=True, slots=True)
class Difference:
    """Raw amounts of one asset. `doubtful`: whatever becomes of the orders in doubt may be all there is to it."""

    asset: Asset
    on_chain: int
    in_books: int
    doubtful: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """Where chain and books differ. What happened up to `slot` is in it."""

    differences: list[Difference]
    slot: int


def open_from_chain(wallet: Wallet, *, now: datetime) -> bool:
    """Book what the wallet holds as capital paid in, once: the first sight of a wallet on chain."""
    if LedgerTransaction.objects.filter(reference=OPENING).exists():
        return False
    node = network.nodes()[0]
    newest = _newest_signature(node, wallet)
    held = {mint: amount for mint, amount in holdings(node, wallet).items() if amount}
    if not held or _newest_signature(node, wallet) != newest:
        return False  # nothing to book, or it moved while we looked: the next pass sees
    with db.transaction():
        lines = [
            line
            for mint, amount in held.items()
            for line in ((AccountKind.WALLET, mint, amount), (AccountKind.CAPITAL, mint, -amount))
        ]
        ledger.lock(wallet, sorted(held))
        ledger.book(
            reference=OPENING,
            kind=LedgerKind.OPENING,
            wallet=wallet,
            lines=lines,
            now=now,
            market_at=None,
            memo="What the wallet held on chain",
        )
        Wallet.objects.filter(pk=wallet.pk).update(newest_signature=newest)
        data = {"held": {mint: str(amount) for mint, amount in held.items()}, "address": wallet.address}
        events.emit(kind=EventKind.BOOKS_OPENED, subject="portfolio", now=now, data=data)
    return True


def holdings(node: SolanaRpc, wallet: Wallet) -> dict[str, int]:
    """Raw amounts by mint, of the assets that the company lists; lamports under SOL's mint. Confirmed."""
    listed = dict.fromkeys(Asset.objects.values_list("mint", flat=True), 0)
    for balance in node.token_balances(wallet.address):
        if balance.mint in listed and balance.mint != money.NATIVE:
            listed[balance.mint] += balance.amount
    listed[money.NATIVE] = node.balance(wallet.address)
    return listed


def compare(wallet: Wallet) -> Comparison | None:
    """Books beside the chain; None where nothing can be said now: a trade is under way, or the node is behind.

    The books are read before and after the chain: only if they stood still, and nothing was on its way, the two
    readings belong together. An order in doubt may stay so for days, so it ends no comparison: what it can't explain
    is a difference all the same.
    """
    before, swings = _moment_of_books(), _swings()
    node = network.nodes()[0]
    if _under_way() or node.slot("confirmed") < _newest_slot():
        return None
    on_chain, slot = holdings(node, wallet), node.slot("confirmed")
    if _under_way() or (_moment_of_books(), _swings()) != (before, swings):
        return None
    books = dict(Account.objects.filter(wallet=wallet, kind=AccountKind.WALLET).values_list("asset_id", "balance"))
    assets = {asset.mint: asset for asset in Asset.objects.all()}
    differences = [
        Difference(assets[mint], amount, books.get(mint, 0), _explains(swings.get(mint), amount - books.get(mint, 0)))
        for mint, amount in on_chain.items()
        if amount != books.get(mint, 0)
    ]
    return Comparison(differences, slot)


Swing = tuple[int, int | None]
"""The least and the most (None: nobody knows) that the chain may hold beyond the books."""


def in_doubt() -> set[str]:
    """The mints of which orders in doubt may have moved something."""
    return set(_swings())


def _swings() -> dict[str, Swing]:
    """What orders in doubt may have done, by mint: given all or nothing, brought anything, cost fees and deposits."""
    found: dict[str, Swing] = {}
    doubtful = Attempt.objects.filter(status=AttemptStatus.IN_DOUBT).select_related("order__market")
    for order in (attempt.order for attempt in doubtful):
        given, market = order.asset_in_id, order.market
        got = market.quote_id if given == market.base_id else market.base_id
        lamports = settings.PRIORITY_FEE_MOST + RENT_OF_A_SWAP
        for mint, swing in ((given, (-order.amount_in, 0)), (got, (0, None)), (money.NATIVE, (-lamports, lamports))):
            found[mint] = _both(found.get(mint, (0, 0)), swing)
    return found


def _both(one: Swing, other: Swing) -> Swing:
    return one[0] + other[0], None if one[1] is None or other[1] is None else one[1] + other[1]


def _explains(swing: Swing | None, difference: int) -> bool:
    return swing is not None and swing[0] <= difference and (swing[1] is None or difference <= swing[1])


def compared_since(moment: datetime) -> bool:
    """Whether books and chain were compared since then."""
    return Wallet.objects.filter(reconciled_at__gte=moment).exists()


@dataclass(frozen=True, slots=True)
class Stranger:
    """A transaction of the wallet that the books don't explain. `moved` holds raw amounts by mint."""

    kind: FindingKind
    signature: str
    what: str
    moved: dict[str, int]
    evidence: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Look:
    """A transaction that was looked at. `final`: it can't vanish any more, so nobody needs to look again."""

    signature: str
    stranger: Stranger | None
    final: bool


def look_for_strangers(wallet: Wallet, *, now: datetime) -> int:
    """Look at the transactions of the wallet since the last look; how many new ones the books don't explain.

    One that our key signed or that took something from us means that the key is used elsewhere: the company is
    halted, in the transaction that records the finding. One that only brought something is a movement that a person
    names; so is an attempt of ours that landed although it had been given up. Each look is kept as it is made: a pass
    that is cut off is gone on with.
    """
    new, mark = 0, wallet.newest_signature
    for look in looks(wallet):
        if look.stranger is not None:
            new += _record(wallet, look.stranger, now=now)
        if not look.final:
            continue
        unmoved = Wallet.objects.filter(pk=wallet.pk, newest_signature=mark)
        if not unmoved.update(newest_signature=look.signature):
            return new  # another pass is at it
        mark = look.signature
    return new


def _record(wallet: Wallet, stranger: Stranger, *, now: datetime) -> bool:
    with db.transaction():
        opened = findings.found_within(
            wallet=wallet,
            kind=stranger.kind,
            key=stranger.signature,
            what=stranger.what,
            evidence=stranger.evidence,
            now=now,
            once=True,
        )
        if opened and stranger.kind == FindingKind.UNKNOWN_SIGNATURE:
            _halt(now=now)
    return opened


def strangers(wallet: Wallet) -> list[Stranger]:
    """Those not found before, oldest first. Reads only."""
    return [look.stranger for look in looks(wallet) if look.stranger is not None]


def looks(wallet: Wallet) -> Iterator[Look]:
    """Transactions since the wallet's mark, oldest first, each fetched as it is asked for. Reads only.

    It ends early where a transaction is listed but not served yet, and after LOOK_SECONDS: sending us next to nothing
    a thousand times is cheap.
    """
    node = network.nodes()[0]
    final = _newest_signature(node, wallet, "finalized")  # asked first: the list below holds all before it
    signatures = _signatures_since(node, wallet)
    newest_final = signatures.index(final) if final in signatures else len(signatures)
    known = _statuses(signatures)
    explained = _explained(wallet, known, signatures)
    until = time.monotonic() + LOOK_SECONDS
    for place in reversed(range(len(signatures))):
        signature = signatures[place]
        stranger = None
        if signature not in explained:
            transaction = node.transaction(signature)
            if transaction is None:
                return
            stranger = _stranger(wallet, transaction, known.get(signature))
        yield Look(signature, stranger, final=place >= newest_final)
        if place and time.monotonic() > until:
            log.warning("Not all transactions were looked at yet.", action="look_goes_on", left=place)
            return


def _statuses(signatures: Sequence[str]) -> dict[str, str]:
    """Of our attempts among them."""
    rows = Attempt.objects.filter(reference__in=signatures).values_list("reference", "status")
    return {str(reference): status for reference, status in rows}


def _explained(wallet: Wallet, known: Mapping[str, str], signatures: Sequence[str]) -> set[str]:
    """Those that need no look: attempts of ours that aren't given up, and what was found before."""
    told = Finding.objects.filter(wallet=wallet, kind__in=OF_SIGNATURES, key__in=signatures)
    ours = {signature for signature, status in known.items() if status not in GIVEN_UP}
    return ours | set(told.values_list("key", flat=True))


def look_for_takers(wallet: Wallet, differences: Sequence[Difference], *, now: datetime) -> int:
    """Find who took what is missing; how many new ones. The company is halted, as for any use of our key."""
    return sum(_record(wallet, taker, now=now) for taker in takers(wallet, differences))


def takers(wallet: Wallet, differences: Sequence[Difference]) -> Iterator[Stranger]:
    """Transactions since the opening that took what is missing of tokens. Reads only.

    A delegate, whom our key made one some day, moves tokens without naming the wallet, so only the token account's own
    history holds that. It is read only where something is missing, the newest page of it.
    """
    missing = {each.asset.mint for each in differences if each.on_chain < each.in_books} - {money.NATIVE}
    opening = LedgerTransaction.objects.filter(reference=OPENING).first()
    if opening is None or not missing:
        return
    node = network.nodes()[0]
    accounts = [held.account for held in node.token_balances(wallet.address) if held.mint in missing]
    infos = [info for account in accounts for info in node.signatures_for(account, limit=SIGNATURES_MOST)]
    signatures = list(dict.fromkeys(info.signature for info in infos if _since(opening.at, info.block_time)))
    known = _statuses(signatures)
    explained, until = _explained(wallet, known, signatures), time.monotonic() + LOOK_SECONDS
    for signature in signatures:
        transaction = None if signature in explained else node.transaction(signature)
        stranger = None if transaction is None else _stranger(wallet, transaction, known.get(signature))
        if stranger is not None and any(stranger.moved.get(mint, 0) < 0 for mint in missing):
            yield stranger
        if time.monotonic() > until:
            log.warning("Not all transactions of a token account were looked at.", action="takers_unseen")
            return


def _since(opening: datetime, block_time: datetime | None) -> bool:
    """What a wallet did before it was the company's is its owner's affair."""
    return block_time is None or block_time >= opening - CLOCKS_APART


def _signatures_since(node: SolanaRpc, wallet: Wallet) -> list[str]:
    """All after the newest one that was looked at, newest first."""
    found: list[str] = []
    while True:
        page = node.signatures_for(
            wallet.address,
            until=wallet.newest_signature or None,
            before=found[-1] if found else None,
            limit=SIGNATURES_MOST,
        )
        found += [info.signature for info in page]
        if len(page) < SIGNATURES_MOST:
            return found


def moved_by(wallet: Wallet, found: ChainTransaction) -> dict[str, int]:
    """What a transaction gave the wallet (below zero: took), by mint, of the assets that the company lists."""
    mints = [mint for mint in Asset.objects.values_list("mint", flat=True) if mint != money.NATIVE]
    deltas = {mint: found.token_delta(wallet.address, mint) for mint in mints}
    deltas[money.NATIVE] = found.lamports_delta(wallet.address)
    return {mint: delta for mint, delta in deltas.items() if delta}


def _stranger(wallet: Wallet, found: ChainTransaction, status: str | None) -> Stranger | None:
    """`status` is that of our attempt, where it is one that we had given up."""
    moved = moved_by(wallet, found)
    by_our_key = wallet.address in found.signers
    short = f"Transaction {found.signature[:12]}…"
    if status is not None:
        if found.err is not None and status == AttemptStatus.FAILED_ONCHAIN:
            return None  # as the books have it
        kind, what = FindingKind.MOVEMENT, f"{short} is an attempt of ours that landed after it was given up."
    elif by_our_key:
        kind, what = FindingKind.UNKNOWN_SIGNATURE, f"{short} was signed with our key, but no order of ours made it."
    elif any(delta < 0 for delta in moved.values()):
        kind, what = FindingKind.UNKNOWN_SIGNATURE, f"{short} took something, by a right that our key must have given."
    elif moved:
        kind, what = FindingKind.MOVEMENT, f"{short} brought something that no order of ours asked for."
    else:
        return None  # it only names us
    evidence = {
        "slot": found.slot,
        "at": found.block_time,
        "moved": {mint: str(delta) for mint, delta in moved.items()},
        "err": found.err,
    }
    return Stranger(kind, found.signature, what, moved, evidence)


def _halt(*, now: datetime) -> None:
    reason = "The wallet's key was used by somebody else."
    company.switch_within(to=CompanyStatus.HALTED, by=None, reason=reason, now=now)


def _newest_signature(node: SolanaRpc, wallet: Wallet, commitment: Commitment = "confirmed") -> str:
    newest = node.signatures_for(wallet.address, limit=1, commitment=commitment)
    return newest[0].signature if newest else ""


def _moment_of_books() -> int:
    return LedgerTransaction.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def _newest_slot() -> int:
    """The newest slot of which the books know."""
    return Attempt.objects.aggregate(newest=Max("slot"))["newest"] or 0


def _under_way() -> bool:
    """Whether a trade may land any moment. One in doubt isn't waited for: see `_swings`."""
    return Attempt.objects.filter(status__in=(AttemptStatus.SIGNED, AttemptStatus.BROADCAST)).exists()
