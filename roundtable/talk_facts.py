"""What roundtable tells of the row that a conversation is about: an earlier conversation. JSON, nothing unbounded."""

from typing import Any

from missions.gates import Known
from roundtable.models import Conversation

LAST_TURNS = 3  # how it ended is told by these


def conversation(known: Known, row_id: int) -> dict[str, Any]:
    """A conversation, how often its speakers agreed, and its last words; {} where there is none."""
    found = Conversation.objects.filter(pk=row_id).first()
    if found is None:
        return {}
    turns = list(found.turns.order_by("place"))
    stances = [turn.stance for turn in turns]
    return {
        "id": found.pk,
        "format": found.format,
        "topic": found.topic,
        "status": found.status,
        "turns": len(turns),
        "agreed": stances.count("agree"),
        "disagreed": stances.count("disagree"),
        "last": [{"agent": turn.agent_id, "text": turn.text} for turn in turns[-LAST_TURNS:]],
    }
