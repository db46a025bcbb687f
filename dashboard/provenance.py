"""Where a decision came from and what came of it: event, rule, memories, turns, votes, verdicts, approvals, orders,
fills, P&L, what was learnt of it, and what that changed later.

A thread is that of one proposal: its causes one hop up, all of its own, and what followed, down to the proposals that
its lessons influenced. It is bounded in nodes and in queries, however much happened; what is left out it says.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from django.db.models import Model, Q, QuerySet

from agents.models import Memory, Score
from dashboard import talks
from dashboard.provenance_nodes import KINDS, PERSON, RULE, Node, Thread, rows_of, subject_of
from missions.models import Approval, Influence, Mission, Outcome, Proposal, Reaction, Step, Verdict
from missions.vocabulary import ConversationFormat
from roundtable import actions
from roundtable.models import Conversation, Turn, Vote
from tradeco.common import events
from tradeco.common.models import Event
from tradeco.common.vocabulary import EventKind
from trading.models import Attempt, Fill, Order, Position

NODES_MOST = 200
TURNS_MOST, ORDERS_MOST, MEMORIES_MOST, LATER_MOST = 48, 12, 20, 20
EVENTS_MOST = 100  # about its positions, looked at for what they woke
VERDICTS_MOST = 60  # three rounds of the gates

RULE_PARTS = {"proactive": 3, "reactive": 3, "initiative": 2, "talk": 2}
"""How much of a cause names the rule; what follows is which of its firings."""
TEACHERS = ("proposal", "mission", "outcome", "position", "order", "conversation", "forecast")
"""What a memory's cause may name."""


def of_proposal(number: int, *, most: int = NODES_MOST, also: Sequence[Model] = ()) -> Thread | None:
    """The thread of a proposal, None where there is none such. `also`: rows that belong to it and must be in it."""
    events.number_new()  # by its number an event is known
    found = Proposal.objects.select_related("author", "mission", "forecast", "conversation__step")
    proposal = found.filter(pk=number).first()
    if proposal is None:
        return None
    thread = Thread(most=most, proposal=proposal.pk)
    thread.add(proposal, *also)
    _origin(thread, proposal)
    _influences(thread, proposal)
    _work(thread, proposal)
    _forecast(thread, proposal)
    _conversations(thread, proposal)
    _decision(thread, proposal)
    _learnt(thread, also)
    _followed(thread)
    _woken(thread, also)
    return thread


def of(key: str, *, most: int = NODES_MOST) -> Thread | None:
    """The thread that a row belongs to, given as `fill:3`; of itself alone where it belongs to none. None: no such row.

    Raises:
        ValueError: the key names no kind of rows that threads are made of.
    """
    subject = subject_of(key)
    if subject is None or key.count(":") != 1:
        raise ValueError(key)
    events.number_new()
    row = rows_of([subject]).get(f"{subject[0]}:{subject[1]}")
    if row is None:
        return None
    number = anchor(row)
    thread = of_proposal(number, most=most, also=[row]) if number is not None else None
    if thread is None:
        thread = Thread(most=most)
        thread.add(row)
        _learnt(thread, [row])
    return thread


# --- whose thread a row belongs to ----------------------------------------------------------------

_PATHS = {
    "proposal": "pk",
    "mission": "proposal",
    "step": "mission__proposal",
    "outcome": "mission__proposal",
    "order": "step__mission__proposal",
    "attempt": "order__step__mission__proposal",
    "fill": "order__step__mission__proposal",
    "turn": "conversation",
    "verdict": "proposal",
    "approval": "proposal",
    "vote": "proposal",
    "forecast": "proposal",
    "reaction": "proposal",
}
HOPS = 3  # a memory of a forecast of a proposal


def anchor(row: Model, *, hops: int = HOPS) -> int | None:
    """The proposal whose thread a row belongs to."""
    match row:
        case Conversation():
            return row.decides_id or _by_path(row.step, "mission__proposal")
        case Turn():
            return anchor(row.conversation, hops=hops)
        case Position():
            first = Order.objects.filter(position=row).order_by("pk").values_list("step__mission__proposal", flat=True)
            return first.first()
        case Memory():
            return _by_subject(row.cause, hops) or _first_influenced(row)
        case Event():
            told = row.data.get("proposal")
            return told if isinstance(told, int) else _by_subject(row.subject, hops) or _first_woken(row)
        case Reaction():
            return row.proposal_id or anchor(row.event, hops=hops)
    path = _PATHS.get(row._meta.model_name or "")
    return _by_path(row, path) if path else _by_subject(getattr(row, "cause", ""), hops)


def _by_path(row: Model, path: str) -> int | None:
    return type(row)._default_manager.filter(pk=row.pk).values_list(path, flat=True).first()


def _by_subject(text: str, hops: int) -> int | None:
    subject = subject_of(text)
    if subject is None or hops == 0:
        return None
    row = next(iter(rows_of([subject]).values()), None)
    return None if row is None else anchor(row, hops=hops - 1)


def _first_woken(event: Event) -> int | None:
    return _firings([event.number]).values_list("data__proposal", flat=True).first()


def _firings(numbers: Sequence[int | None]) -> QuerySet[Event]:
    """Events that tell of the rules which the events of these numbers woke."""
    fired = Event.objects.filter(kind=EventKind.TRIGGER_FIRED, data__event__in=numbers, number__isnull=False)
    return fired.order_by("data__event", "number")  # as the index is, lest events be walked by their number


def _first_influenced(memory: Memory) -> int | None:
    return Influence.objects.filter(memory=memory).order_by("pk").values_list("proposal", flat=True).first()


# --- where it came from ---------------------------------------------------------------------------


def _origin(thread: Thread, proposal: Proposal) -> None:
    if proposal.author is not None:
        name = proposal.author.get_username()
        thread.put(Node(key=f"{PERSON}:{name}", kind=PERSON, at=None, title=name))
        thread.join(f"{PERSON}:{name}", proposal, "handed it in")
    reactions = Reaction.objects.filter(proposal=proposal, event__number__isnull=False).order_by("pk")
    for reaction in thread.some(reactions.select_related("event", "proposal"), LATER_MOST):
        _reaction(thread, reaction)
    _cause(thread, proposal)
    named = [subject for text in _named_by_steps(proposal) if (subject := subject_of(text))]
    for row in rows_of(named).values():
        thread.follow_back(row, proposal, "is what it is about")


def _cause(thread: Thread, proposal: Proposal) -> None:
    """What called for it: a row, or a rule with the event that woke it."""
    name, _, rest = proposal.cause.partition(":")
    reviewed = rest if name == "review" else ""
    subject = subject_of(f"proposal:{reviewed}" if reviewed else proposal.cause)
    if subject is not None:
        for row in rows_of([subject]).values():
            thread.follow_back(row, proposal, "is to be talked over" if reviewed else "called for it")
        fired = _told_of(proposal, f"{subject[0]}:{subject[1]}")
        if fired is not None and subject[0] == "position":
            thread.follow_back(fired, proposal, "called for it")
            thread.join(f"{subject[0]}:{subject[1]}", fired, "met it")
    elif proposal.cause:
        _rule(thread, proposal)


def _rule(thread: Thread, proposal: Proposal) -> None:
    parts = proposal.cause.split(":")
    rule = ":".join(parts[: RULE_PARTS.get(parts[0], max(1, len(parts) - 1))])
    key = f"{RULE}:{rule}"
    thread.put(Node(key=key, kind=RULE, at=None, title=f"Rule {rule.replace('_', ' ').replace(':', ' ')}"))
    fired = _told_of(proposal, f"trigger:{rule}")
    if fired is None:
        thread.join(key, proposal, "called for it")
        return
    thread.follow(key, fired, "fired")
    thread.join(fired, proposal, "proposed it")
    woken_by = fired.data.get("event")  # none of a routine's
    for event in Event.objects.filter(number=woken_by) if woken_by is not None else ():
        thread.add(event)
        thread.join(event, key, "woke it")


def _told_of(proposal: Proposal, subject: str) -> Event | None:
    """The event that was told of this proposal in its own transaction."""
    told = Event.objects.filter(subject=subject, at=proposal.created_at, number__isnull=False)
    return told.filter(data__proposal=proposal.pk).order_by("number").first()


def _named_by_steps(proposal: Proposal) -> list[str]:
    """position:12 of a step that closes it, and what a conversation is held about."""
    params = _params_of(proposal)
    return [f"position:{each['position']}" for each in params if each.get("position")] + [
        str(each["about"]) for each in params if each.get("about")
    ]


def _params_of(proposal: Proposal) -> list[dict[str, Any]]:
    return [step.get("params", {}) for step in proposal.steps]


def _influences(thread: Thread, proposal: Proposal) -> None:
    influences = Influence.objects.filter(proposal=proposal).select_related("memory").order_by("pk")
    found = thread.some(influences, MEMORIES_MOST)
    for influence in found:
        thread.follow_back(influence.memory, proposal, _effect(influence))
    taught = {influence.memory: subject_of(influence.memory.cause) for influence in found}
    teachers = rows_of([subject for subject in taught.values() if subject])
    for memory, subject in taught.items():
        teacher = teachers.get(f"{subject[0]}:{subject[1]}") if subject else None
        if teacher is not None:
            thread.follow_back(teacher, memory, "taught it")


def _effect(influence: Influence) -> str:
    return f"added {influence.effect:+} to its confidence" if influence.effect != Decimal(0) else "was looked at"


# --- what was done --------------------------------------------------------------------------------


def _work(thread: Thread, proposal: Proposal) -> None:
    mission: Mission | None = getattr(proposal, "mission", None)
    if mission is None:
        return
    thread.follow(proposal, mission, "was approved")
    for step in Step.objects.filter(mission=mission).order_by("place"):
        thread.follow(mission, step, "is done by")
    orders = Order.objects.select_related("position", "step__mission__proposal").order_by("pk")
    own = thread.some(orders.filter(step__mission=mission), ORDERS_MOST)
    for order in own:
        thread.follow(order.step, order, "ordered it")
    held = [order.position for order in own if order.position is not None]
    others = thread.some(orders.filter(position__in=held).exclude(step__mission=mission), ORDERS_MOST)
    for order in others:
        other = order.step.mission
        thread.add(other.proposal, other, order)
        thread.join(other.proposal, other, "was approved")
        thread.join(other, order, "ordered it")
    _fills(thread, [*own, *others])
    for outcome in Outcome.objects.filter(mission__in=thread.numbers("mission")).order_by("pk"):
        thread.follow(f"mission:{outcome.mission_id}", outcome, "came to it")
    for order in others:
        thread.join(
            f"position:{order.position_id}", f"proposal:{order.step.mission.proposal_id}", "was traded again by"
        )


def _fills(thread: Thread, orders: Sequence[Order]) -> None:
    for attempt in thread.some(Attempt.objects.filter(order__in=orders).order_by("pk"), 2 * ORDERS_MOST):
        thread.follow(f"order:{attempt.order_id}", attempt, "was tried by")
    positions = {order.pk: order.position for order in orders if order.position is not None}
    thread.add(*positions.values())
    for fill in thread.some(Fill.objects.filter(order__in=orders).order_by("pk"), 2 * ORDERS_MOST):
        thread.follow(f"attempt:{fill.attempt_id}", fill, "was filled")
        if fill.order_id in positions:
            thread.join(fill, positions[fill.order_id], "changed it")


def _forecast(thread: Thread, proposal: Proposal) -> None:
    forecast = getattr(proposal, "forecast", None)
    if forecast is None:
        return
    thread.follow(proposal, forecast, "forecast it")
    for score in Score.objects.filter(cause=forecast.subject):
        thread.follow(forecast, score, "was scored")


# --- what was said and decided --------------------------------------------------------------------


def _conversations(thread: Thread, proposal: Proposal) -> None:
    held = Conversation.objects.filter(Q(decides=proposal) | Q(step__mission__proposal=proposal)).order_by("pk")
    conversations = list(held)
    for conversation in conversations:
        source = proposal if conversation.decides_id == proposal.pk else f"step:{conversation.step_id}"
        thread.follow(source, conversation, "was talked over in" if source is proposal else "held it")
        if conversation.decides_id and conversation.decides_id != proposal.pk:
            decided = Proposal.objects.filter(pk=conversation.decides_id)
            thread.add(*decided)
            thread.join(conversation, f"proposal:{conversation.decides_id}", "decided on it")
    turns = Turn.objects.filter(conversation__in=conversations).order_by("conversation", "place")
    for turn in thread.some(turns.prefetch_related("memories"), TURNS_MOST):
        thread.follow(f"conversation:{turn.conversation_id}", turn, "heard it")
        for memory in turn.memories.all():
            thread.follow_back(memory, turn, "came to mind")
    for cause, shifts in talks.shifts_by_cause([each.subject for each in conversations]).items():
        for shift in shifts:
            thread.follow(cause, shift, "moved them")


def _decision(thread: Thread, proposal: Proposal) -> None:
    mission = f"mission:{proposal.mission.pk}" if hasattr(proposal, "mission") else ""
    for vote in Vote.objects.filter(proposal=proposal).order_by("pk"):
        thread.follow(proposal, vote, "was voted on")
        thread.join(f"turn:{vote.turn_id}", vote, "said so")
        thread.join(vote, mission, "decided it")
    for approval in Approval.objects.filter(proposal=proposal).select_related("approver").order_by("pk"):
        thread.follow(proposal, approval, "was seen by a person")
        thread.join(approval, mission, "decided it")
    for verdict in thread.some(Verdict.objects.filter(proposal=proposal).order_by("pk"), VERDICTS_MOST):
        thread.follow(proposal, verdict, "was judged")


# --- what came of it ------------------------------------------------------------------------------


def _learnt(thread: Thread, asked: Sequence[Model]) -> None:
    """Memories that the thread taught, and the proposals that these, and the one asked of, changed later."""
    teachers = thread.keys(*TEACHERS)
    named = Q(cause__in=teachers)
    for key in teachers:
        named |= Q(cause__startswith=f"{key}:")
    learnt = thread.some(Memory.objects.filter(named).order_by("pk"), MEMORIES_MOST)
    for memory in learnt:
        subject = subject_of(memory.cause)
        assert subject is not None, "its cause begins with a node's key"
        thread.follow(f"{subject[0]}:{subject[1]}", memory, "taught it")
    _said_first(thread, learnt)
    remembered = [*learnt, *(row for row in asked if isinstance(row, Memory))]
    influences = Influence.objects.filter(memory__in=remembered).select_related("proposal").order_by("pk")
    for influence in thread.some(influences.exclude(proposal=thread.proposal), LATER_MOST):
        thread.follow(f"memory:{influence.memory_id}", influence.proposal, _effect(influence))


def _said_first(thread: Thread, learnt: Sequence[Memory]) -> None:
    """conversation:12:3 was taught by the third turn of it."""
    turns = Turn.objects.filter(pk__in=thread.numbers("turn")).only("conversation", "place")
    by_cause = {f"conversation:{turn.conversation_id}:{turn.place}": turn for turn in turns}
    for memory in learnt:
        if memory.cause in by_cause:
            thread.join(by_cause[memory.cause], memory, "said it first")


def _followed(thread: Thread) -> None:
    """Proposals that it called for, by cause or by a reaction to an event about it."""
    called = {key: key for key in thread.keys(*KINDS)}
    called[f"review:{thread.proposal}"] = f"proposal:{thread.proposal}"
    for position in Position.objects.filter(pk__in=thread.numbers("position")):
        called |= {f"{position.subject}:exit:{number}": position.subject for number in range(position.exits + 1)}
        called[f"talk:{ConversationFormat.POST_MORTEM}:{position.subject}"] = position.subject
    for key in thread.keys("conversation"):
        called |= {f"{key}:action:{number}": key for number in range(1, actions.ITEMS_MOST + 1)}
    for proposal in thread.some(Proposal.objects.filter(cause__in=called).order_by("pk"), LATER_MOST):
        thread.follow(called[proposal.cause], proposal, "called for it")
    about = thread.keys("proposal", "mission", "order", "position", "conversation")
    reactions = Reaction.objects.filter(event__subject__in=about, event__number__isnull=False, answered=True)
    for reaction in thread.some(reactions.select_related("event", "proposal").order_by("pk"), LATER_MOST):
        _reaction(thread, reaction)


def _woken(thread: Thread, asked: Sequence[Model]) -> None:
    """Proposals of the rules that events about its positions woke, and those that the event asked about did."""
    met = Event.objects.filter(subject__in=thread.keys("position"), number__isnull=False).order_by("-number")
    woke = {event.number: event for event in thread.some(met, EVENTS_MOST)}
    woke |= {row.number: row for row in asked if isinstance(row, Event)}
    fired = thread.some(_firings(list(woke)).exclude(data__proposal=thread.proposal), LATER_MOST)
    proposals = Proposal.objects.in_bulk([each.data["proposal"] for each in fired])
    for each in fired:
        event = woke[each.data["event"]]
        thread.add(event)
        thread.join(event.subject, event, "met it")
        thread.follow(event, each, "woke a rule")
        thread.follow(each, proposals[each.data["proposal"]], "proposed it")


def _reaction(thread: Thread, reaction: Reaction) -> None:
    """An event, the reaction to it, and the proposal that this ended in."""
    thread.add(reaction.event)
    thread.join(reaction.event.subject, reaction.event, "met it")
    thread.follow(reaction.event, reaction, "called for an answer")
    if reaction.proposal is not None:
        thread.follow(reaction, reaction.proposal, "answered with it")
