"""Rows of every kind for the admin's pages: as many as a list needs, with a text that must stay inert."""

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group
from django.db import transaction

from agents.models import Agent, Memory, Relationship, Score, Shift
from dashboard.models import ApiToken, IdempotencyKey
from missions.models import (
    Approval,
    Beat,
    BeatPhase,
    CapCharge,
    CapUse,
    Forecast,
    Influence,
    Mission,
    Outcome,
    PolicyVersion,
    Proposal,
    Reaction,
    Step,
    TriggerState,
    Verdict,
    Word,
)
from roundtable.models import Conversation, Exchange, Turn, VoiceUse, Vote
from tradeco.common import db
from tradeco.common.models import Breaker, Event, Lease, Pulse
from trading.models import (
    Account,
    Agreement,
    Asset,
    Attempt,
    Candle,
    EquitySnapshot,
    Fill,
    Finding,
    LedgerEntry,
    LedgerTransaction,
    Lot,
    LotSale,
    LotWithdrawal,
    Market,
    Order,
    PaperExecution,
    Position,
    Signal,
    Wallet,
)

EVIL = "<script>alert('x')</script>"
BUY = {"kind": "execute_trade", "params": {"side": "buy", "market": "SOL/USDC", "size_usd": "20.00"}}


def proposal(**changes: Any) -> Proposal:
    """A pending proposal that waits for people, written past the one door: for lists, not for decisions."""
    now = db.now()
    values: dict[str, Any] = {
        "agent_id": "scout",
        "source": "person",
        "title": "Buy SOL",
        "steps": [BUY],
        "confidence": "0.7",
        "revision": 1,
        "seed": 1,
        "created_at": now,
        "expires_at": now + timedelta(hours=1),
        "waits_for_people_since": now,
    }
    return Proposal.objects.create(**{**values, **changes})


def step(**changes: Any) -> Step:
    """A queued step of a mission and a proposal of its own."""
    now = db.now()
    agent = changes.pop("agent_id", "atlas")
    opened = changes.pop("mission", None) or Mission.objects.create(
        proposal=proposal(agent_id=agent, status="approved", decided_at=now, waits_for_people_since=None),
        agent_id=agent,
        kind="conversation",
        created_at=now,
    )
    values = {"place": 1, "kind": "hold_roundtable", "run_after": now, "attempts_max": 5, "created_at": now}
    return Step.objects.create(**{**values, "mission": opened, **changes})


def conversation(**changes: Any) -> Conversation:
    """One that is under way, with atlas and sage."""
    now = db.now()
    values: dict[str, Any] = {
        "format": "morning_standup",
        "topic": "The day",
        "participants": ["atlas", "sage"],
        "temperature": "0.6",
        "turns_planned": 6,
        "seed": 1,
        "status": "active",
        "created_at": now,
        "started_at": now,
    }
    found = {**values, **changes}
    if found["status"] not in ("pending", "active"):
        found.setdefault("ended_at", now)
    return Conversation.objects.create(step=found.pop("step", None) or step(), **found)


def turn(talk: Conversation, place: int, agent: str, *, memories: Any = (), to: str | None = None, **more: Any) -> Turn:
    values = {"text": "I see it so.", "stance": "agree", "tone": "plain", "voice": "scripted", "at": db.now()}
    said = Turn.objects.create(conversation=talk, place=place, agent_id=agent, to_id=to, **{**values, **more})
    said.memories.set(memories)
    return said


def memory(agent: str, **changes: Any) -> Memory:
    """A lesson of a cause of its own."""
    values: dict[str, Any] = {
        "type": "lesson",
        "text": "Wait.",
        "confidence": "0.7",
        "cause": f"by hand:{Memory.objects.count()}",
        "created_at": db.now(),
    }
    return Memory.objects.create(agent_id=agent, **{**values, **changes})


def vote(on: Proposal, agent: str, **changes: Any) -> Vote:
    values = {"stance": "agree", "reason": "Why not.", "at": db.now()}
    return Vote.objects.create(proposal=on, agent_id=agent, **{**values, **changes})


def populate(count: int, *, text: str = EVIL) -> None:
    """`count` more rows of every model that can have more."""
    first = Proposal.objects.count()
    for number in range(first, first + count):
        _write(number, text)


def _write(n: int, text: str) -> None:
    now = db.now()
    user = get_user_model().objects.get(username="admin")
    made = proposal(title=text, rationale=text, reason=text, author=user, cause=f"cause:{n}")
    Verdict.objects.create(
        proposal=made,
        stage="submission",
        gate=f"gate_{n}",
        allowed=False,
        code="no",
        reason=text,
        facts={"a": text},
        at=now,
    )
    Approval.objects.create(proposal=made, approver=user, four_eyes=False, reason=text, at=now)
    Vote.objects.create(proposal=made, agent_id="sage", stance="agree", reason=text, facts={"a": text}, at=now)
    mission = Mission.objects.create(proposal=made, agent_id="scout", kind="entry", created_at=now)
    CapCharge.objects.create(mission=mission, cap="trades_per_day", day=now.date(), amount=1, charged_at=now)
    Outcome.objects.create(
        mission=mission, agent_id="scout", kind="entry", succeeded=False, code="x", details={"a": text}, at=now
    )
    step = Step.objects.create(
        mission=mission,
        place=1,
        kind="execute_trade",
        params={"market": text},
        status="needs_reconciliation",
        run_after=now,
        attempts_max=5,
        created_at=now,
        reason=text,
        worker=text,
        result={"a": text},
    )
    _write_company(n, text, now)
    _write_trading(n, text, now, step)
    _write_mind(n, text, now, made)


def _write_company(n: int, text: str, now: Any) -> None:
    user = get_user_model().objects.get(username="admin")
    CapUse.objects.create(cap="trades_per_day", day=now.date() - timedelta(days=n + 1), used=1)
    beat = Beat.objects.create(started_at=now, holder=text, epoch=10_000 + n, asked_by=text)
    BeatPhase.objects.create(
        beat=beat,
        name="rescue",
        place=1,
        status="failure",
        milliseconds=3,
        budget_milliseconds=2,
        did={"a": text},
        error=text,
    )
    TriggerState.objects.create(key=f"{n}{text}", next_at=now)
    Event.objects.create(
        number=1_000_000 + n, kind="alarm", subject=f"proposal:{n}", agent="scout", data={"a": text}, at=now
    )
    Lease.objects.create(name=f"{n}{text}", holder=text, expires_at=now)
    Pulse.objects.create(service="worker", instance=f"{n}{text}", at=now)
    Breaker.objects.create(name=f"{n}{text}"[:60], last_error=text)
    newest = PolicyVersion.objects.order_by("-revision").values_list("revision", flat=True).first() or 0
    PolicyVersion.objects.create(
        revision=newest + 1, key="gone", version=n + 1, value=text, reason=text, created_at=now, author=user
    )
    Word.objects.create(
        subject="company", digest=f"{n}{text}"[:64], asked={"to": text}, person=user, reason=text, at=now, used_at=now
    )
    for key in (f"a{n}", f"b{n}"):
        Agent.objects.create(
            key=key,
            name=text,
            role=text,
            duties=text,
            manner=text,
            colour="#000000",
            place=100 + 2 * n + (key[0] == "b"),
        )
    Relationship.objects.create(a_id=f"a{n}", b_id=f"b{n}", affinity="0.5")
    Memory.objects.create(
        agent_id="sage", type="lesson", text=text, confidence="0.7", tags=[text], cause=f"outcome:{n}", created_at=now
    )
    ApiToken.issue(user=user, name=text, scopes=["read"], now=now)
    IdempotencyKey.objects.create(
        user=user, key=f"{n}{text}", fingerprint="f", status=201, body={"a": text}, created_at=now
    )


def _write_mind(n: int, text: str, now: Any, made: Proposal) -> None:
    memory = Memory.objects.get(cause=f"outcome:{n}")
    talk = conversation(topic=text, about=f"proposal:{made.pk}", decides=made, reason=text)
    asked = Exchange.objects.create(
        prompt_hash=f"{n:064}",
        model=text,
        agent_id="sage",
        prompt={"a": text},
        answer=text,
        valid=False,
        error=text,
        at=now,
    )
    turn(talk, 1, "sage", text=text, voice=text[:40], facts={"a": text}, exchange=asked, memories=[memory], to="atlas")
    VoiceUse.objects.create(agent_id="sage", day=now.date() - timedelta(days=n), tokens=n)
    pair = Relationship.objects.get(a_id=f"a{n}", b_id=f"b{n}")
    Shift.objects.create(relationship=pair, cause=talk.subject, delta="0.01", before="0.49", after="0.5", at=now)
    forecast = Forecast.objects.create(
        proposal=made, agent_id="scout", probability="0.6", horizon_minutes=60, made_at=now
    )
    Score.objects.create(
        agent_id="scout",
        kind="entry",
        cause=forecast.subject,
        probability="0.6",
        happened=True,
        brier="0.16",
        log_score="0.51",
        at=now,
    )
    Influence.objects.create(proposal=made, memory=memory, effect="0.02", at=now)
    Reaction.objects.create(
        event=Event.objects.get(number=1_000_000 + n),
        target_id="sage",
        does=text[:40],
        seed=text,
        rolled="0.5",
        probability="1",
        answered=True,
        proposal=made,
        reason=text,
        at=now,
    )


def _write_trading(n: int, text: str, now: Any, step: Step) -> None:
    usdc, wallet = Asset.objects.get(symbol="USDC"), Wallet.objects.get(name="main")
    asset = Asset.objects.create(mint=f"mint{n}", symbol=f"<i>{n}", decimals=9)
    market = Market.objects.create(name=f"<b>{n}/USDC", base=asset, quote=usdc, price=10)
    Wallet.objects.create(name=f"{n}<script>x</script>")
    account = Account.objects.create(wallet=wallet, kind="wallet", asset=asset)
    capital = Account.objects.create(wallet=wallet, kind="capital", asset=asset)
    Candle.objects.create(market=market, start=now, seconds=60, open=1, high=1, low=1, close=1, received_at=now)
    Signal.objects.create(
        market=market,
        step=step,
        kind="momentum",
        direction="buy",
        strength="0.5",
        confidence="0.5",
        why=text,
        features={"a": text},
        at=now,
        market_at=now,
    )
    position = Position.objects.create(
        wallet=wallet,
        market=market,
        agent_id="scout",
        status="closed",
        quantity=0,
        cost=0,
        bought=1,
        stop_loss="0.1",
        take_profit="0.1",
        opened_at=now,
        opened_market_at=now,
        closed_at=now,
        closed_market_at=now,
    )
    order = Order.objects.create(
        step=step,
        agent_id="scout",
        wallet=wallet,
        market=market,
        position=position,
        side="buy",
        asset_in=usdc,
        amount_in=1,
        slippage_bps=100,
        status="filled",
        reason=text,
        created_at=now,
        ended_at=now,
    )
    attempt = Attempt.objects.create(
        order=order, n=1, reference=f"{n}{text}", status="confirmed", quote={"a": text}, created_at=now, ended_at=now
    )
    fill = Fill.objects.create(
        order=order, attempt=attempt, amount_in=1, amount_out=1, fee_quote=1, price=1, at=now, market_at=now
    )
    lot = Lot.objects.create(fill=fill, wallet=wallet, asset=asset, quantity=2, cost=2, remaining=1, cost_remaining=1)
    LotSale.objects.create(lot=lot, fill=fill, quantity=1, cost=1, proceeds=1)
    found = Finding.objects.create(
        wallet=wallet, kind="movement", key=f"{n}{text}", what=text, evidence={"a": text}, opened_at=now
    )
    LotWithdrawal.objects.create(finding=found, wallet=wallet, asset=asset, quantity=1, after=fill, at=now)
    user = get_user_model().objects.get(username="admin")
    Agreement.objects.create(finding=found, verb="book", person=user, reason=text, at=now)
    PaperExecution.objects.create(
        reference=f"{n}{text}", market=market, side="buy", amount_in=1, amount_out=1, fee_quote=0, price=1, at=now
    )
    EquitySnapshot.objects.create(
        at=now, market_at=now, cash=1, positions=0, equity=1, peak=1, realized=0, unrealized=0
    )
    with transaction.atomic():
        booking = LedgerTransaction.objects.create(reference=f"{n}{text}", kind="fill", memo=text, at=now)
        LedgerEntry.objects.create(transaction=booking, account=account, asset=asset, amount=1)
        LedgerEntry.objects.create(transaction=booking, account=capital, asset=asset, amount=-1)


def person(name: str, role: str) -> Any:
    """Staff of a role."""
    user = get_user_model().objects.create_user(username=name, password="a long pass phrase", is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user
