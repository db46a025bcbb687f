"""Random histories of one company on a chain: one pass tells the truth about each, a second pass finds nothing new.

What really happened is read from the chain's own ledger. The histories follow one another in the same company, so a
later one begins where the earlier ones, reconciled and settled by a person, have left it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db.models import Max, QuerySet
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from missions.models import Company, Step
from tests import cast
from tests.chain_company import ChainCompany
from tests.chain_weather import PAST_EXPIRY, SEND, agreed, come_back, paid_in, taken_out
from tradeco.common import db
from tradeco.common.models import Event
from trading import movements
from trading.attempts import UNANSWERED_MAX
from trading.models import Attempt, Finding, Order

pytestmark = pytest.mark.usefixtures("impatient")

FATES: dict[str, tuple[str, dict[str, Any]] | None] = {
    "landed": None,
    "lost": ("drop_transaction", {}),
    "late": ("delay_transaction", {"blocks": 60}),
    "failed": ("fail_transaction", {}),
    "doubled": ("duplicate", {}),
    "unanswered": ("lost_reply", {}),
    "vanished": ("reorg", {"blocks": 6}),
    "moved": ("reorg", {"blocks": 6, "again_after": 4}),
}
WATCHED, DOUBTED, LEFT = "watched", "doubted", "left"
MARKETS = ("JUP/USDC", "SOL/USDC", "BONK/USDC", "WIF/USDC")

trades = st.tuples(st.sampled_from(sorted(FATES)), st.sampled_from([WATCHED, DOUBTED, LEFT]))
moves = st.tuples(st.sampled_from(["in", "out"]), st.sampled_from([None, "USDC"]))
histories = st.tuples(st.lists(trades, max_size=len(MARKETS)), st.lists(moves, max_size=2), st.integers(0, 2**32))


@pytest.fixture
def busy(chain: ChainCompany) -> ChainCompany:
    """Nothing but the histories stands in the way of a trade."""
    cast.force_policy(
        trades_per_day=1_000_000,
        open_positions_max=10,
        position_usd_max="100000",
        exposure_max="1",
        position_max="1",
        human_from_usd="100000",
        four_eyes_from_usd="100000",
        daily_loss_halt="1",
        drawdown_halt="1",
        reconciled_after_seconds=80_000,
        price_stale_after_seconds=80_000,
    )
    return chain


def live_through(chain: ChainCompany, history: Any) -> list[str]:
    """Let a history happen, and time pass until everything in it is decided; the strangers' signatures."""
    wanted, moved, seed = history
    dice = Random(seed)
    strangers: list[str] = []
    acts: list[Callable[[], None]] = [
        *(lambda market=market, trade=trade: _trade(chain, market, *trade) for market, trade in zip(MARKETS, wanted)),  # noqa: B905
        *(lambda move=move: strangers.append(_move(chain, *move)) for move in moved),
    ]
    dice.shuffle(acts)
    for act in acts:
        act()
        chain.slots(dice.randint(2, 4))  # the signer reads and simulates a slot apart
    chain.slots(PAST_EXPIRY + 10)
    return strangers


def _trade(chain: ChainCompany, market: str, fate: str, watching: str) -> None:
    """Send an order to its fate, and watch it land, lose sight of it, or be called away after sending it."""
    proposal = cast.submit(cast.buy(market, "2.00"))
    assert proposal.status == "approved", proposal.reason
    weather = FATES[fate]
    if weather is not None:
        chain.sandbox.faults.add(weather[0], route=SEND, **weather[1])
    step = Step.objects.get(mission__proposal=proposal)
    _visit(step)
    chain.sandbox.faults.clear()
    come_back()
    if watching == WATCHED:
        chain.slots(2)
        _visit(step)
    elif watching == DOUBTED:
        _lose_sight(chain, step)


def _visit(step: Step) -> None:
    from missions import execution

    Step.objects.filter(pk=step.pk, finished_at=None).exclude(status="needs_reconciliation").update(
        run_after=cast.later(seconds=-1)
    )
    others = Step.objects.filter(finished_at=None).exclude(pk=step.pk)
    others.update(run_after=cast.later(days=1))
    if Step.objects.filter(pk=step.pk, finished_at=None).exclude(status="needs_reconciliation").exists():
        execution.run(cast.claim())


def _lose_sight(chain: ChainCompany, step: Step) -> None:
    """The node is away until a person is asked; where it had landed already, nothing is in doubt."""
    Attempt.objects.filter(order__step=step).update(unanswered=UNANSWERED_MAX - 1)
    chain.sandbox.faults.add("drop", route="getSignatureStatuses")
    _visit(step)
    chain.sandbox.faults.clear()
    come_back()


def _move(chain: ChainCompany, way: str, symbol: str | None) -> str:
    if way == "out":
        return taken_out(chain, symbol=symbol, amount=3_000)
    return paid_in(chain, USDC=5_000) if symbol else paid_in(chain, lamports=5_000)


@dataclass(frozen=True)
class Mark:
    """Where a history begins: what ended before it was judged already, and changes no more."""

    attempt: int = 0
    landed: int = 0

    @classmethod
    def now(cls, chain: ChainCompany) -> "Mark":
        return cls(Attempt.objects.aggregate(n=Max("pk"))["n"] or 0, chain.sandbox.ledger()[-1]["number"])

    def attempts(self) -> QuerySet[Attempt]:
        return Attempt.objects.filter(pk__gt=self.attempt)


BEGINNING = Mark()


def judge(chain: ChainCompany, strangers: list[str], since: Mark = BEGINNING) -> None:
    """After one pass: every attempt ended as the chain's ledger has it, every stranger is found, nothing else is."""
    really = {row["signature"]: row["err"] for row in chain.sandbox.ledger(after=since.landed)}
    for attempt in since.attempts().filter(status__in=OPEN).select_related("order__step"):
        assert attempt.order.step.status in {"queued", "executing"}, attempt.status
    for attempt in since.attempts().exclude(status__in=OPEN).filter(reference__isnull=False):
        if attempt.reference not in really:
            assert attempt.status == "expired", attempt.status
        else:
            truth = "finalized" if really[attempt.reference] is None else "failed_onchain"
            assert attempt.status == truth, (attempt.status, truth)
    found = Finding.objects.filter(kind__in=("movement", "unknown_signature"), settled_at=None)
    assert sorted(found.values_list("key", flat=True)) == sorted(strangers), list(found.values("what", "evidence"))
    vanished = Finding.objects.filter(kind="vanished", settled_at=None).values_list("key", flat=True)
    assert not set(vanished) & set(really)


OPEN = ("quoted", "signed", "broadcast")


def settle_everything(chain: ChainCompany) -> None:
    """People name what was found; the company goes on; what was left under way is finished."""
    alice = get_user_model().objects.get(username="admin")
    Company.objects.update(status="active")
    for found in Finding.objects.filter(settled_at=None).exclude(kind="balance_drift"):
        verb = movements.Verb.DISMISS if found.kind == "vanished" else movements.Verb.BOOK
        movements.settle(finding_id=found.pk, verb=verb, by=alice, reason="named", now=db.now())
    Step.objects.filter(finished_at=None).update(run_after=cast.later(seconds=-1))
    chain.work()
    chain.slots(40)
    chain.reconcile()
    assert not Finding.objects.filter(settled_at=None).exists()
    assert not Order.objects.filter(status__in=("reserved", "submitted", "in_doubt")).exists()
    agreed(chain)


def one_history(chain: ChainCompany, history: Any) -> None:
    since = Mark.now(chain)
    strangers = live_through(chain, history)
    chain.reconcile()
    judge(chain, strangers, since)
    before = (Event.objects.count(), Finding.objects.count(), _states(since))
    again = chain.reconcile()
    assert (Event.objects.count(), Finding.objects.count(), _states(since)) == before, json.dumps(again)
    assert {name: again[name] for name in ("settled", "final", "vanished", "strangers")} == {
        "settled": 0,
        "final": 0,
        "vanished": 0,
        "strangers": 0,
    }
    settle_everything(chain)


def _states(since: Mark) -> list[Any]:
    return list(since.attempts().order_by("pk").values_list("pk", "status"))


def _live_through_many(chain: ChainCompany, examples: int) -> None:
    """Random histories in one company. The first failure is the one that counts: the company has lived on since."""
    failed: list[AssertionError] = []

    @settings(
        max_examples=examples,
        deadline=None,
        phases=(Phase.explicit, Phase.generate),
        suppress_health_check=(HealthCheck.too_slow,),
    )
    @given(history=histories)
    def live(history: Any) -> None:
        if failed:
            raise failed[0]
        try:
            one_history(chain, history)
        except AssertionError as wrong:
            failed.append(wrong)
            raise

    live()


def test_one_pass_tells_the_truth_about_random_histories_and_a_second_one_finds_nothing(busy: ChainCompany) -> None:
    _live_through_many(busy, 15)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_random_histories(busy: ChainCompany) -> None:
    _live_through_many(busy, 1000)


def test_control_a_pass_that_skips_the_doubtful_is_seen(busy: ChainCompany, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading.reconciliation._end_doubt", lambda attempt, *, now: "waits")
    strangers = live_through(busy, ([("landed", DOUBTED)], [], 1))
    busy.reconcile()
    with pytest.raises(AssertionError):
        judge(busy, strangers)


def test_control_a_stranger_that_nobody_looks_for_is_seen(busy: ChainCompany, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading.stocktaking.look_for_strangers", lambda wallet, *, now: 0)
    strangers = live_through(busy, ([], [("in", "USDC")], 1))
    busy.reconcile()
    with pytest.raises(AssertionError):
        judge(busy, strangers)
