"""Asking for a conversation: who opens it, and the draft that holds it. Why one is held is its caller's affair, whether
it may be the one door's.
"""

from agents.models import Agent
from missions import drafts
from missions.drafts import Draft
from missions.vocabulary import ConversationFormat, StepKind
from roundtable.formats import COORDINATOR

CONFIDENCE = "0.9"  # that the talk is worth its time, as of the company's own routines


def draft(format: ConversationFormat, topic: str, *, about: str, title: str, rationale: str) -> Draft | None:
    """A draft that holds it, by the coordinator where it is active, else by whoever comes first; None where nobody is.

    Args:
        about: the row that calls for it, such as position:12; empty where none does.
        title: cut to what a draft may hold, as the topic is.
    """
    active = Agent.objects.filter(active=True).order_by("place").values_list("key", flat=True)
    opener = COORDINATOR if COORDINATOR in active else active.first()
    if opener is None:
        return None
    params = {"format": format.value, "topic": topic[:200], "about": about}
    return drafts.read(
        {
            "agent": opener,
            "title": title[:200],
            "rationale": rationale,
            "steps": [{"kind": StepKind.HOLD_ROUNDTABLE.value, "params": params}],
            "confidence": CONFIDENCE,
        }
    )
