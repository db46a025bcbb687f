"""The wallet on chain beside the books: what it holds, and who moved it. Reads the chain, books only the opening."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Max

from missions import company
from missions.models import Company
from missions.vocabulary import CompanyStatus
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind
from trading import findings, ledger, money, network
from trading.models import Account, Asset, Attempt, Finding, LedgerTransaction, Wallet
from trading.models.order import SENT_ATTEMPT
from trading.venues.rpc import ChainTransaction, SolanaRpc
from trading.venues.rpc_answers import Commitment
from trading.vocabulary import AccountKind, AttemptStatus, FindingKind, LedgerKind

OPENING = "opening"
SIGNATURES_MOST = 1000  # a page of the wallet's history
OF_SIGNATURES = (FindingKind.UNKNOWN_SIGNATURE, FindingKind.MOVEMENT)
GIVEN_UP = (AttemptStatus.REFUSED, AttemptStatus.EXPIRED, AttemptStatus.FAILED_ONCHAIN)


@dataclass(frozen=True, slots=True)
class Difference:
    """Raw amounts of one asset."""

    asset: Asset
    on_chain: int
    in_books: int


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


def compare(wallet: Wallet) -> list[Difference] | None:
    """Where chain and books differ; None where nothing can be said now: a trade is under way, or the node is behind.

    The books are read before and after the chain: only if they stood still, and nothing was on its way, the two
    readings belong together.
    """
    before = _moment_of_books()
    node = network.nodes()[0]
    if _under_way() or node.slot("confirmed") < _newest_slot():
        return None
    on_chain = holdings(node, wallet)
    if _under_way() or _moment_of_books() != before:
        return None
    books = dict(Account.objects.filter(wallet=wallet, kind=AccountKind.WALLET).values_list("asset_id", "balance"))
    assets = {asset.mint: asset for asset in Asset.objects.all()}
    return [
        Difference(asset=assets[mint], on_chain=amount, in_books=books.get(mint, 0))
        for mint, amount in on_chain.items()
        if amount != books.get(mint, 0)
    ]


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


def look_for_strangers(wallet: Wallet, *, now: datetime) -> int:
    """Look at every transaction of the wallet since the last look; how many new ones the books don't explain.

    One that our key paid for or that took something from us means that the key is used elsewhere: the company is
    halted. One that only brought something is a movement that a person names; so is an attempt of ours that landed
    although it had been given up.
    """
    seen, looked_up_to = strangers(wallet)
    new = 0
    for stranger in seen:
        opened = findings.found(
            wallet=wallet,
            kind=stranger.kind,
            key=stranger.signature,
            what=stranger.what,
            evidence=stranger.evidence,
            now=now,
            once=True,
        )
        new += opened
        if opened and stranger.kind == FindingKind.UNKNOWN_SIGNATURE:
            _halt(now=now)
    if looked_up_to is not None:
        unmoved = Wallet.objects.filter(pk=wallet.pk, newest_signature=wallet.newest_signature)
        unmoved.update(newest_signature=looked_up_to)
    return new


def strangers(wallet: Wallet) -> tuple[list[Stranger], str | None]:
    """Those not found before, oldest first, and up to which signature nothing needs another look. Reads only.

    That mark is a finalized one: what is younger may vanish, or land once more elsewhere, and is looked at again.
    """
    node = network.nodes()[0]
    final = _newest_signature(node, wallet, "finalized")  # asked first: the list below holds all before it
    signatures = _signatures_since(node, wallet)
    known = dict(Attempt.objects.filter(reference__in=signatures).values_list("reference", "status"))
    told = set(Finding.objects.filter(wallet=wallet, kind__in=OF_SIGNATURES, key__in=signatures).values_list("key"))
    found: list[Stranger] = []
    for signature in reversed(signatures):
        status = known.get(signature)
        if (signature,) in told or (status is not None and status not in GIVEN_UP):
            continue
        transaction = node.transaction(signature)
        if transaction is None:
            return found, None  # listed, and not served yet: the next pass begins where this one did
        stranger = _stranger(wallet, transaction, status)
        if stranger is not None:
            found.append(stranger)
    return found, final if final in signatures else None


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
    by_our_key = found.account_keys[:1] == [wallet.address] or any(delta < 0 for delta in moved.values())
    short = f"Transaction {found.signature[:12]}…"
    if status is not None:
        if found.err is not None and status == AttemptStatus.FAILED_ONCHAIN:
            return None  # as the books have it
        kind, what = FindingKind.MOVEMENT, f"{short} is an attempt of ours that landed after it was given up."
    elif by_our_key:
        kind, what = FindingKind.UNKNOWN_SIGNATURE, f"{short} was signed with our key, but no order of ours made it."
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
    if Company.objects.values_list("status", flat=True).get() != CompanyStatus.HALTED:
        company.switch(to=CompanyStatus.HALTED, by=None, reason="The wallet's key was used by somebody else.", now=now)


def _newest_signature(node: SolanaRpc, wallet: Wallet, commitment: Commitment = "confirmed") -> str:
    newest = node.signatures_for(wallet.address, limit=1, commitment=commitment)
    return newest[0].signature if newest else ""


def _moment_of_books() -> int:
    return LedgerTransaction.objects.order_by("-pk").values_list("pk", flat=True).first() or 0


def _newest_slot() -> int:
    """The newest slot of which the books know."""
    return Attempt.objects.aggregate(newest=Max("slot"))["newest"] or 0


def _under_way() -> bool:
    return Attempt.objects.filter(status__in=SENT_ATTEMPT).exists()
