"""How many conversations run at once, and whose turn it is to begin. Trade reviews go first: money waits for them."""

from datetime import datetime

from django.db.models import QuerySet

from missions.policy_keys import Policy
from missions.vocabulary import ConversationFormat
from roundtable.models import Conversation, ConversationStatus
from tradeco.common import crashpoints, db, states

_LOCK = 0x7461_626C  # "tabl": the advisory lock under which tables are counted and taken


def take_within(conversation: Conversation, *, policy: Policy, now: datetime) -> bool:
    """Begin a waiting conversation if a table is left for it, in the caller's transaction.

    The count is scarce, and no row of ours is: whoever counts holds the lock until the commit. Ending a conversation
    needs no lock, since it makes room.
    """
    db.advisory_lock(_LOCK)
    if not is_left(conversation, policy=policy):
        return False
    crashpoints.reach("tables.counted")
    states.move(conversation, to=ConversationStatus.ACTIVE, started_at=now)
    return True


def is_left(conversation: Conversation, *, policy: Policy) -> bool:
    """Whether a waiting conversation could begin. Without the lock only a look."""
    running = Conversation.objects.filter(status=ConversationStatus.ACTIVE).count()
    ahead = 0 if _is_review(conversation) else _waiting_reviews().count()
    return running + ahead < policy.roundtables_at_once


def waiting() -> int:
    """How many conversations wait for a table."""
    return Conversation.objects.filter(status=ConversationStatus.PENDING).count()


def _is_review(conversation: Conversation) -> bool:
    return conversation.format == ConversationFormat.TRADE_REVIEW


def _waiting_reviews() -> QuerySet[Conversation]:
    """Those that could begin: a step that waits for another holds no table free."""
    return Conversation.objects.filter(
        status=ConversationStatus.PENDING,
        format=ConversationFormat.TRADE_REVIEW,
        step__blocked_by__isnull=True,
    )
