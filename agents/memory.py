"""What an agent keeps in mind, and what comes back to it. What is worth keeping, and what a memory changes, others
decide; so do they say how sure is sure enough, how much one agent keeps, and that one cause confirms once.

Memories fade: strength = confidence × exp(−age ÷ 30 days). All fade at one pace, so their order by strength never
changes. By meaning they are found through PostgreSQL's full text and not pgvector: an agent holds a few hundred short
sentences, their markets are tags, and no embedding model is at hand without a network.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.contrib.postgres.search import SearchQuery, SearchVector
from django.db.models import DateTimeField, DecimalField, F, Func, Q, QuerySet, Value
from django.db.models.functions import Exp, Greatest, Round

from agents.models import Agent, Memory, MemoryType
from tradeco.common import db, events
from tradeco.common.vocabulary import EventKind

DECAY = timedelta(days=30)  # after which a memory is worth 1/e of its confidence
RANGES: Mapping[MemoryType, tuple[Decimal, Decimal]] = {
    MemoryType.INSIGHT: (Decimal("0.65"), Decimal("0.85")),
    MemoryType.PATTERN: (Decimal("0.70"), Decimal("0.90")),
    MemoryType.STRATEGY: (Decimal("0.75"), Decimal("0.90")),
    MemoryType.PREFERENCE: (Decimal("0.60"), Decimal("0.80")),
    MemoryType.LESSON: (Decimal("0.55"), Decimal("0.75")),
}
TEXT_CHARS, TAG_CHARS, CAUSE_CHARS = 500, 40, 120  # as the columns are wide
TAGS_MOST = 12  # what one sentence can be about
WORDS_CHARS = 400  # nobody asks for more; PostgreSQL refuses a query of a megabyte
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]+")  # control characters, and halves of characters


@dataclass(frozen=True, slots=True)
class Recalled:
    """A memory that came to mind; `strength` is its confidence after decay."""

    memory: Memory
    strength: Decimal


def remember(
    *,
    agent: str,
    type: MemoryType,
    text: str,
    confidence: Decimal,
    cause: str,
    now: datetime,
    floor: Decimal,
    most: int,
    tags: Sequence[str] = (),
    supersedes: Memory | None = None,
) -> Memory | None:
    """Keep what an agent learnt, in the caller's transaction; lay its weakest memory aside where it has too many.

    The agent stays locked until the commit: who remembers for several does so in the order of their keys.

    Args:
        confidence: 0 to 1; moved into the range of its type.
        cause: what taught it, such as `outcome:12`; one cause teaches an agent one memory of a type.
        floor: what is less sure than this isn't kept.
        most: live memories that one agent may have.
        supersedes: an older memory of the agent that this one takes the place of.

    Returns:
        The memory; None where it isn't sure enough, says nothing, or was kept before.

    Raises:
        ValueError: the confidence isn't a finite number.
    """
    db.requires_transaction()
    assert most >= 1, "an agent without memories can't remember"
    assert 0 < len(cause) <= CAUSE_CHARS, cause
    assert supersedes is None or supersedes.agent_id == agent, "nobody takes back what another holds to be true"
    sure, written = _within_range(type, confidence), _written(text, TEXT_CHARS)
    if confidence < floor or not written:
        return None
    _lock(agent)
    kept, new = Memory.objects.get_or_create(
        agent_id=agent,
        type=type,
        cause=cause,
        defaults={"text": written, "confidence": sure, "tags": _tidy(tags), "created_at": now},
    )
    if not new:
        return None
    _emit(EventKind.MEMORY_KEPT, kept, now, text=kept.text, confidence=str(kept.confidence), tags=kept.tags)
    if supersedes is not None:
        _lay_aside(supersedes, why="superseded", now=now, superseded_by=kept)
    _make_room(kept, most=most, now=now)
    return kept


def recall(
    *,
    agent: str,
    now: datetime,
    limit: int,
    types: Sequence[MemoryType] = (),
    tags: Sequence[str] = (),
    words: str = "",
    confidence_min: Decimal = Decimal(0),
) -> list[Recalled]:
    """What comes to an agent's mind, strongest first: its own live memories, and the promoted ones of all.

    Args:
        types: any of these; all where none is named.
        tags: any of these.
        words: what `saying` takes.
        confidence_min: least strength, that is confidence after decay.
    """
    found = live().filter(Q(agent=agent) | Q(promoted_at__isnull=False))
    if types:
        found = found.filter(type__in=list(types))
    if tags:
        found = found.filter(tags__overlap=_tidy(tags))
    found = saying(found, words).annotate(strength=strength(now=now)).filter(strength__gte=confidence_min)
    return [Recalled(memory, memory.strength) for memory in found.order_by("-strength", "-pk")[:limit]]


def confirm(*, memory_id: int, cause: str, now: datetime) -> None:
    """Count that `cause` bore a memory out, in the caller's transaction; once per cause is the caller's affair."""
    _judge(memory_id, "confirmations", EventKind.MEMORY_CONFIRMED, cause=cause, now=now)


def contradict(*, memory_id: int, cause: str, now: datetime) -> None:
    """Count that `cause` spoke against a memory, in the caller's transaction; once per cause is the caller's affair."""
    _judge(memory_id, "contradictions", EventKind.MEMORY_CONTRADICTED, cause=cause, now=now)


def archive(*, memory_id: int, why: str, now: datetime) -> bool:
    """Lay a memory aside, in the caller's transaction; False where it was before, or never was."""
    memory = Memory.objects.filter(pk=memory_id).first()
    return memory is not None and _lay_aside(memory, why=why, now=now)


def live() -> QuerySet[Memory]:
    """The memories that weren't laid aside."""
    return Memory.objects.filter(archived_at__isnull=True)


def saying(memories: QuerySet[Memory], words: str) -> QuerySet[Memory]:
    """Those that hold all the words, in any form of them; `or` between words, `-` before one and quotes are understood.

    Any text may be asked for: what means nothing to PostgreSQL's parser finds nothing, and no words at all find all.
    """
    asked = _written(words, WORDS_CHARS)
    if not asked:
        return memories
    # word for word the expression of the index memory_words
    return memories.alias(said=SearchVector("text", config="english")).filter(
        said=SearchQuery(asked, config="english", search_type="websearch")
    )


def strength(*, now: datetime) -> Round:
    """Confidence after decay, as an expression over memories: confidence × exp(−age ÷ 30 days), to six places.

    In numeric arithmetic: exp() of a double raises an underflow for what is older than some sixty years.
    """
    seconds = DecimalField(max_digits=20, decimal_places=6)
    lived = Value(now, output_field=DateTimeField()) - F("created_at")
    age = Greatest(Func(lived, template="extract(epoch FROM %(expressions)s)", output_field=seconds), Value(Decimal(0)))
    decay = Value(Decimal(-int(DECAY.total_seconds())), output_field=seconds)
    return Round(F("confidence") * Exp(age / decay), precision=6)


def _within_range(type: MemoryType, confidence: Decimal) -> Decimal:
    if not confidence.is_finite():
        raise ValueError(f"{confidence} is no confidence")
    lowest, highest = RANGES[type]
    return min(max(confidence, lowest), highest).quantize(Decimal("0.001"))


def _lock(agent: str) -> None:
    """Let one at a time remember for an agent; rows that merely refer to the agent aren't held up."""
    Agent.objects.select_for_update(no_key=True).get(pk=agent)


def _make_room(kept: Memory, *, most: int, now: datetime) -> None:
    """Lay aside whatever is beyond the `most` strongest; of two as strong the older goes."""
    ranked = live().filter(agent=kept.agent_id).order_by(strength(now=now).desc(), "-created_at", "-pk")
    for weakest in ranked[most:]:
        _lay_aside(weakest, why="weakest", now=now)
        if weakest.pk == kept.pk:
            kept.archived_at = now


def _lay_aside(memory: Memory, *, why: str, now: datetime, superseded_by: Memory | None = None) -> bool:
    db.requires_transaction()
    changes = {"archived_at": now} | ({"superseded_by": superseded_by} if superseded_by else {})
    if live().filter(pk=memory.pk).update(**changes) != 1:
        return False  # another was first
    _emit(EventKind.MEMORY_ARCHIVED, memory, now, why=why, **({"by": superseded_by.subject} if superseded_by else {}))
    return True


def _judge(memory_id: int, counter: str, kind: EventKind, *, cause: str, now: datetime) -> None:
    db.requires_transaction()
    Memory.objects.filter(pk=memory_id).update(**{counter: F(counter) + 1})
    memory = Memory.objects.get(pk=memory_id)
    _emit(kind, memory, now, cause=cause, **{counter: getattr(memory, counter)})


def _emit(kind: EventKind, memory: Memory, now: datetime, **data: Any) -> None:
    told = {"type": memory.type, "cause": memory.cause, **data}
    events.emit(kind=kind, subject=memory.subject, agent=memory.agent_id, now=now, data=told)


def _written(text: str, chars: int) -> str:
    """As one line that PostgreSQL can store, cut where it would be too long."""
    line = " ".join(_UNWRITABLE.sub(" ", text).split())
    return line if len(line) <= chars else f"{line[: chars - 1]}…"


def _tidy(tags: Sequence[str]) -> list[str]:
    """Each once, in their order."""
    return list(dict.fromkeys(tag for raw in tags if (tag := _written(raw, TAG_CHARS))))[:TAGS_MOST]
