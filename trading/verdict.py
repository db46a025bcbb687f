"""The judge of a company under fire: its books beside the chain's own ledger, which knows nothing of ours.

What landed is read from the sandbox (`GET /sandbox/ledger`), what the wallet holds from its balances. A swap is
ours where our wallet gave and got; each must be booked once, by its signature and with its amounts.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import requests
from django.db.models import F, Q, QuerySet, Sum

from missions.models import Step
from missions.models.step import FINAL
from missions.vocabulary import StepStatus
from trading import stocktaking
from trading.models import Account, Attempt, Fill, LedgerEntry, Order, Wallet
from trading.portfolio import WALLET
from trading.venues.rpc import SolanaRpc
from trading.vocabulary import AccountKind, AttemptStatus

ANSWER_SECONDS = 20

Amounts = tuple[int, ...]
"""Raw: what left, what came, the network's fee, deposits."""


@dataclass(frozen=True, slots=True)
class Chain:
    """What really happened: swaps of our wallet that landed and did something, and raw amounts held, by mint."""

    swaps: list[dict[str, Any]]
    held: dict[str, int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`lost`: swaps that aren't booked as they were, and fills that the chain doesn't know. `doubled`: second swaps or
    fills of one order. `stuck`: steps that never ended. `in_doubt`: steps before a person, with evidence.
    `unbalanced`: assets and accounts whose sums or balances are wrong, or differ from the chain's.
    """

    steps: int
    orders: int
    swaps: int
    kills: int
    pauses: int
    sessions: int
    restarts: int
    faults: int
    lost: int
    doubled: int
    stuck: int
    in_doubt: int
    unbalanced: int
    seconds: int

    @property
    def ok(self) -> bool:
        return not (self.lost or self.doubled or self.stuck or self.unbalanced)

    def as_json(self) -> dict[str, int]:
        return asdict(self)


def read(url: str) -> Chain:
    """Ask a sandbox what happened to the company's wallet, and what it holds."""
    wallet = Wallet.objects.get(name=WALLET)
    swaps = [row for row in _ledger(url) if (row.get("swap") or {}).get("wallet") == wallet.address]
    return Chain(
        swaps=[row for row in swaps if row["err"] is None],
        held=stocktaking.holdings(SolanaRpc(url), wallet),
    )


def judge(chain: Chain, *, strikes: Counter[str], seconds: float) -> Verdict:
    """Compare the books with the chain.

    Args:
        chain: what really happened.
        strikes: how often each kind of blow fell: kill, pause, end_sessions, restart_database, fault.
        seconds: how long it took.
    """
    return Verdict(
        steps=Step.objects.count(),
        orders=Order.objects.count(),
        swaps=len(chain.swaps),
        kills=strikes["kill"],
        pauses=strikes["pause"],
        sessions=strikes["end_sessions"],
        restarts=strikes["restart_database"],
        faults=strikes["fault"],
        lost=len(_lost(chain)),
        doubled=_doubled(chain),
        stuck=under_way().count() + _doubts_without_evidence(),
        in_doubt=Step.objects.in_doubt().count(),
        unbalanced=_unbalanced(chain),
        seconds=round(seconds),
    )


def under_way() -> QuerySet[Step]:
    """Steps that have neither ended nor been put before a person."""
    return Step.objects.exclude(status__in=[*FINAL, StepStatus.NEEDS_RECONCILIATION])


def unsettled() -> bool:
    """Whether a transaction may still land, or hasn't become final or vanished for good."""
    waiting = (AttemptStatus.SIGNED, AttemptStatus.BROADCAST, AttemptStatus.CONFIRMED)
    return Attempt.objects.filter(status__in=waiting).exists()


def _ledger(url: str) -> Iterator[dict[str, Any]]:
    """Every transaction that landed and wasn't taken back, oldest first."""
    after, last = 0, 1
    while after < last:
        page = requests.get(f"{url}/sandbox/ledger", params={"after": after}, timeout=ANSWER_SECONDS).json()
        if not page["transactions"]:
            return
        yield from page["transactions"]
        after, last = page["transactions"][-1]["number"], page["last"]


def explain(chain: Chain) -> list[str]:
    """What is wrong, a line each: for whoever has to find out why."""
    attempts = {each.reference: each for each in Attempt.objects.select_related("order").all()}
    said = []
    for reference, happened, booked in _lost(chain):
        attempt = attempts.get(reference)
        ours = attempt and f"order #{attempt.order_id} {attempt.order.status}, attempt {attempt.n} {attempt.status}"
        said.append(f"{reference}: on chain {happened}, booked {booked}; {ours or 'no attempt of ours'}")
    said += [f"{mint}: {there} on chain, {here} in the books" for mint, there, here in _off_chain(chain)]
    said += [f"step #{step.pk} is {step.status}: {step.reason}" for step in under_way()]
    return said


def _lost(chain: Chain) -> list[tuple[str, Amounts | None, Amounts | None]]:
    """Signature, what happened, what is booked. An order in doubt isn't lost: a person has its signature."""
    happened: dict[str, Amounts] = {
        row["signature"]: tuple(int(row["swap"][name]) for name in ("amount_in", "amount_out", "fee", "rent"))
        for row in chain.swaps
    }
    fills = Fill.objects.filter(reversed_at=None)
    rows = fills.values_list("attempt__reference", "amount_in", "amount_out", "network_fee", "rent")
    booked: dict[str, Amounts] = {str(reference): tuple(map(int, amounts)) for reference, *amounts in rows}
    asked = set(Attempt.objects.filter(status=AttemptStatus.IN_DOUBT).values_list("reference", flat=True))
    signatures = sorted((happened.keys() | booked.keys()) - asked)
    return [
        (each, happened.get(each), booked.get(each)) for each in signatures if happened.get(each) != booked.get(each)
    ]


def _doubled(chain: Chain) -> int:
    signatures = [row["signature"] for row in chain.swaps]
    orders = Attempt.objects.filter(reference__in=signatures).values_list("order_id", flat=True)
    fills = Fill.objects.filter(reversed_at=None).values_list("order_id", flat=True)
    return _more_than_one(orders) + _more_than_one(fills)


def _more_than_one(orders: QuerySet[Any, int]) -> int:
    return sum(times - 1 for times in Counter(orders).values())


def _doubts_without_evidence() -> int:
    return sum(not (step.result or {}).get("evidence") for step in Step.objects.in_doubt())


def _unbalanced(chain: Chain) -> int:
    """Assets whose entries don't sum to zero, accounts that aren't the sum of their entries, what the wallet doesn't
    hold on chain, and what is reserved for nothing.
    """
    assets = LedgerEntry.objects.values("asset").annotate(total=Sum("amount")).exclude(total=0).count()
    accounts = Account.objects.annotate(total=Sum("entries__amount"))
    wrong = accounts.exclude(Q(total=F("balance")) | Q(total__isnull=True, balance=0)).count()
    held = 0 if Order.objects.filter(ended_at=None).exists() else Account.objects.exclude(reserved=0).count()
    return int(assets + wrong + held + (0 if _in_doubt() else len(_off_chain(chain))))


def _in_doubt() -> bool:
    """What is in doubt may have landed unbooked: balances say nothing then."""
    return Attempt.objects.filter(status=AttemptStatus.IN_DOUBT).exists()


def _off_chain(chain: Chain) -> list[tuple[str, int, int]]:
    """Mint, raw amount on chain, raw amount in the books, where the two differ."""
    books = dict(Account.objects.filter(kind=AccountKind.WALLET).values_list("asset_id", "balance"))
    pairs = [(mint, amount, int(books.get(mint, 0))) for mint, amount in chain.held.items()]
    return [pair for pair in pairs if pair[1] != pair[2]]
