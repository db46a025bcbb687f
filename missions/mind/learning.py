"""Learning from outcomes: a sale's profit becomes a strategy of whoever bought, its loss a lesson; so does a trade that
failed for a reason worth knowing. Groups that earned much more or less than others become patterns and lessons. And
the memories that had a part in a trade are borne out by its outcome, or spoken against.

What became of a trade, `stories` tells, and which groups stand out, `groups`. How agents keep memories is their affair.

Outcomes come by the events of their missions, in the order in which events are numbered, which no late commit can slip
behind. The cursor moves in the transaction that learns, so each outcome teaches once, whatever dies between.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from django.db import InterfaceError, OperationalError
from django.db.models import Q

from agents import memory
from agents.models import Memory, MemoryType
from missions import policies, triggers
from missions.mind import groups, stories
from missions.mind.groups import Judged
from missions.mind.stories import Story
from missions.models import Influence, Outcome, Proposal, TriggerState
from missions.policy_keys import Policy
from missions.vocabulary import MissionKind
from tradeco.common import crashpoints, db, events
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind

log = structlog.get_logger(__name__)

CURSOR = "learning:cursor"
EVENTS_PER_BEAT = 200  # ended missions looked at; most teach nothing
TRADES = (MissionKind.ENTRY, MissionKind.EXIT, MissionKind.SCALE, MissionKind.HEDGE)
ENDED = (EventKind.MISSION_SUCCEEDED, EventKind.MISSION_FAILED)
PATTERN_CONFIDENCE, LESSON_CONFIDENCE = Decimal("0.7"), Decimal("0.6")
FAILURES = {  # the codes worth knowing: what another size, bound or moment would have changed
    "slippage_exceeded": "the price moved beyond the slippage bound",
    "impact_too_large": "so large a trade moves the price too far",
    "quote_off_market": "the quote was far worse than the newest price",
    "too_small": "the venue gives nothing for so little",
    "priority_fee_too_high": "being first would have cost too much",
    "expired": "its transactions expired unlanded",
}


def run(*, now: datetime, limit: int) -> dict[str, Any]:
    """Learn from up to `limit` outcomes, the oldest first, and from groups once there are new ones; a phase of the
    heartbeat.
    """
    _, policy = policies.current()
    if not policy.flag_learning:
        return {"off": "flag_learning"}
    events.number_new()
    told: dict[str, Any] = {"outcomes": 0, "kept": 0, "judged": 0, "failed": 0, "groups": 0}
    _learn_of_outcomes(policy, told, now=now, limit=limit)
    if told["outcomes"]:
        crashpoints.reach("learning.before_groups")
        told["groups"] = _learn_of_groups(policy, now=now)
    return told


# --- one outcome after another --------------------------------------------------------------------


def _learn_of_outcomes(policy: Policy, told: dict[str, Any], *, now: datetime, limit: int) -> None:
    cursor = _begin(since=now - timedelta(hours=policy.learning_window_hours))
    # the newest first: what is numbered between the two looks must stay before the cursor
    newest = events.newest_number()
    found = events.read_after(cursor, limit=EVENTS_PER_BEAT, kinds=ENDED)
    teaching = _teaching(found)
    for number, outcome in teaching[:limit]:
        told["outcomes"] += 1
        try:
            kept, judged = db.patiently(_learn, outcome, number, policy, now=now)
        except (OperationalError, InterfaceError):
            raise  # the database is away or busy: the next beat goes on
        except Exception:  # an outcome that nobody understands must not keep all behind it unlearnt
            log.exception("An outcome teaches nothing.", action="learning_failed", outcome_id=outcome.pk)
            told["failed"] += 1
            _pass(number)
        else:
            told["kept"] += kept
            told["judged"] += judged
    if len(teaching) <= limit:
        _pass(triggers.seen_up_to(found, newest, before=cursor, more=len(found) == EVENTS_PER_BEAT))


def _begin(*, since: datetime) -> int:
    """The number of the last event looked at. What lies before the window of comparison teaches nothing any more."""
    TriggerState.objects.get_or_create(key=CURSOR, defaults={"next_at": since})
    before = Event.objects.filter(at__lt=since, number__isnull=False).order_by("-at").values_list("number", flat=True)
    return max(TriggerState.objects.get(key=CURSOR).cursor, before.first() or 0)


def _pass(number: int) -> None:
    TriggerState.objects.filter(key=CURSOR, cursor__lt=number).update(cursor=number)


def _teaching(found: Sequence[Event]) -> list[tuple[int, Outcome]]:
    """The outcomes of these missions that teach something, each with its event's number, in its order."""
    teaches = Q(pnl_usd__isnull=False) | Q(succeeded=False, code__in=FAILURES)
    numbers = {int(event.subject.partition(":")[2]): event.number or 0 for event in found}
    outcomes = Outcome.objects.filter(teaches, mission__in=list(numbers), kind__in=TRADES)
    return sorted(
        ((numbers[outcome.mission_id], outcome) for outcome in outcomes.select_related("mission__proposal")),
        key=lambda pair: pair[0],
    )


def _learn(outcome: Outcome, number: int, policy: Policy, *, now: datetime) -> tuple[int, int]:
    """How many memories were kept, and how many judged; none where another beat was first."""
    with db.transaction():
        state = TriggerState.objects.select_for_update().get(key=CURSOR)
        if state.cursor >= number:
            return 0, 0
        TriggerState.objects.filter(key=CURSOR).update(cursor=number, last_fired_at=now)
        crashpoints.reach("learning.cursor_moved")
        if outcome.pnl_usd is None:
            return (0 if outcome.by_person else int(_keep_failure(outcome, policy, now=now))), 0
        story = stories.of_sale(outcome)
        if story.purchases and all(one.author_id is not None for one in story.purchases):
            # what a person bought in an agent's name is no experience of the agent's, alone or in groups
            Outcome.objects.filter(pk=outcome.pk).update(by_person=True)
            return 0, 0
        kept = _keep_story(outcome, story, policy, now=now)
        settled = story.purchases if story.closed else ()
        judged = _judge((outcome.mission.proposal, *settled), story.pnl_usd, _cause(outcome), now=now)
        return int(kept), judged


def _cause(outcome: Outcome) -> str:
    return f"outcome:{outcome.pk}"


def _keep_story(outcome: Outcome, story: Story, policy: Policy, *, now: datetime) -> bool:
    """A profit teaches a strategy, a loss a lesson, nothing earned nothing."""
    if not story.pnl_usd:
        return False
    won = story.pnl_usd > 0
    type = MemoryType.STRATEGY if won else MemoryType.LESSON
    kept = memory.remember(
        agent=story.agent,
        type=type,
        text=tell(story),
        confidence=sureness(type, story.share, policy.win_trigger if won else policy.loss_trigger),
        tags=(story.market, story.signal.replace(" ", "_"), outcome.kind),
        cause=_cause(outcome),
        now=now,
        floor=policy.memory_floor,
        most=policy.memories_live_max,
    )
    return kept is not None


def _keep_failure(outcome: Outcome, policy: Policy, *, now: datetime) -> bool:
    market = stories.market_of_trade(outcome)
    kept = memory.remember(
        agent=outcome.agent_id,
        type=MemoryType.LESSON,
        text=f"{outcome.get_kind_display()} in {market or 'a market'} failed: {FAILURES[outcome.code]}.",
        confidence=LESSON_CONFIDENCE,
        tags=(market, outcome.code, outcome.kind),
        cause=_cause(outcome),
        now=now,
        floor=policy.memory_floor,
        most=policy.memories_live_max,
    )
    return kept is not None


def tell(story: Story) -> str:
    """A story in one sentence, such as "Buying SOL/USDC on momentum paid: +8.04 USD (+2.01 %) in 4 min, closed at its
    take-profit."
    """
    what = f"Buying {story.market or 'a token'}{f' on {story.signal}' if story.signal else ''}"
    share = f" ({story.share * 100:+.2f} %)" if story.share is not None else ""
    held = f" in {_span(story.held_seconds)}" if story.held_seconds is not None else ""
    result = "paid" if story.pnl_usd > 0 else "lost money"
    return f"{what} {result}: {story.pnl_usd:+.2f} USD{share}{held}, {story.ended}."


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def sureness(type: MemoryType, share: Decimal | None, clear: Decimal) -> Decimal:
    """Confidence within the type's range: the nearer a gain or loss comes to what counts as clear, the surer.

    Args:
        share: gained or lost, of what was paid; None where only a part was sold.
        clear: the share that counts as a clear win or loss.
    """
    lowest, highest = memory.RANGES[type]
    clearness = min(Decimal(1), abs(share) / clear) if share is not None and clear else Decimal(0)
    return lowest + (highest - lowest) * clearness


def _judge(proposals: Sequence[Proposal], pnl_usd: Decimal, cause: str, *, now: datetime) -> int:
    """Confirm the memories that spoke for what paid or against what lost, contradict the others; each once."""
    waiting = Influence.objects.filter(proposal__in=proposals, judged=False).exclude(effect=0)
    judged = 0
    for influence in waiting.order_by("memory_id") if pnl_usd else ():
        if not Influence.objects.filter(pk=influence.pk, judged=False).update(judged=True):
            continue
        right = (influence.effect > 0) == (pnl_usd > 0)
        (memory.confirm if right else memory.contradict)(memory_id=influence.memory_id, cause=cause, now=now)
        judged += 1
    return judged


# --- groups ---------------------------------------------------------------------------------------


def _learn_of_groups(policy: Policy, *, now: datetime) -> int:
    """Remember which groups stand out, each group once a UTC day; how many memories were kept."""
    since = now - timedelta(hours=policy.learning_window_hours)
    found = groups.judge(groups.measure(since=since, samples_min=policy.learning_samples_min))
    today = {_cause_of_day(each, now=now): each for each in found}
    agents = {each.group.agent for each in found}
    known = Memory.objects.filter(agent__in=agents, type__in=_OF_GROUPS, cause__in=list(today))
    for cause in set(known.values_list("cause", flat=True)):
        del today[cause]
    return sum(_keep_group(each, cause, policy, now=now) for cause, each in today.items())


_OF_GROUPS = (MemoryType.PATTERN, MemoryType.LESSON)


def _cause_of_day(each: Judged, *, now: datetime) -> str:
    return f"{each.group.name}:{now.astimezone(UTC).date()}"


def _keep_group(each: Judged, cause: str, policy: Policy, *, now: datetime) -> bool:
    group = each.group
    with db.transaction():
        # held until the commit, so that two beats can't count the day's memories side by side
        TriggerState.objects.select_for_update().get(key=CURSOR)
        if _learnt_today(group.agent, now=now) >= policy.learnt_per_day:
            return False
        kept = memory.remember(
            agent=group.agent,
            type=MemoryType.PATTERN if each.good else MemoryType.LESSON,
            text=tell_group(each, hours=policy.learning_window_hours),
            confidence=PATTERN_CONFIDENCE if each.good else LESSON_CONFIDENCE,
            tags=(group.market, group.kind),
            cause=cause,
            now=now,
            floor=policy.memory_floor,
            most=policy.memories_live_max,
            supersedes=_said_before(group.agent, f"{group.name}:"),
        )
    return kept is not None


def tell_group(each: Judged, *, hours: int) -> str:
    """A comparison in one sentence, such as "In 48 h 12 exits by scout in SOL/USDC earned +1.20 USD each on average,
    more than others: their median is +0.40 USD."
    """
    group = each.group
    where = f" in {group.market}" if group.market else ""
    return (
        f"In {hours} h {group.n} {MissionKind(group.kind).label.lower()} missions by {group.agent}{where} earned"
        f" {group.mean_usd:+.2f} USD each on average, {'more' if each.good else 'less'} than others:"
        f" the median of all groups is {each.median_usd:+.2f} USD."
    )


def _learnt_today(agent: str, *, now: datetime) -> int:
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return Memory.objects.filter(
        agent=agent, type__in=_OF_GROUPS, cause__startswith="group:", created_at__gte=midnight
    ).count()


def _said_before(agent: str, about: str) -> Memory | None:
    """What was last learnt of the same group: the newer comparison takes its place."""
    said = memory.live().filter(agent=agent, type__in=_OF_GROUPS, cause__startswith=about)
    return said.order_by("-pk").first()
