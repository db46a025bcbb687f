"""What the roundtable shows on its own pages and adds to those of missions: transcripts, votes, drift."""

from django.utils.html import format_html

from agents.models import DRIFT_MOST, Shift
from missions.models import Proposal
from roundtable.models import Conversation, Tone, Turn, Vote
from tradeco.common import admin_show as show
from tradeco.common.admin_base import Rows


def votes_of_proposal(proposal: Proposal) -> tuple[str, Rows]:
    """Each agent's stance with its reason and the facts that it looked at."""
    return "Votes", _votes(proposal)


def conversation_of_proposal(proposal: Proposal) -> tuple[str, Rows]:
    """What was said where the proposal was talked over."""
    conversation = Conversation.objects.filter(decides=proposal).first()
    if conversation is None:
        return "Conversation", []
    head = (
        str(conversation),
        show.pill(conversation.status, conversation.get_status_display()),
        show.change_url(Conversation, conversation.pk),
    )
    return "Conversation", [head, *_transcript(conversation)]


def transcript(conversation: Conversation) -> tuple[str, Rows]:
    """Who said what, in its order; each leads to the turn."""
    return "Transcript", _transcript(conversation)


def drift(conversation: Conversation) -> tuple[str, Rows]:
    """How far it moved each pair."""
    shifts = Shift.objects.filter(cause=conversation.subject).select_related("relationship")
    return f"Drift, at most ±{DRIFT_MOST} a pair", [
        (
            str(shift.relationship),
            f"{shift.delta:+} from {shift.before} to {shift.after}",
            show.change_url(type(shift.relationship), shift.relationship_id),
        )
        for shift in shifts.order_by("relationship__a_id", "relationship__b_id")
    ]


def votes_of_conversation(conversation: Conversation) -> tuple[str, Rows]:
    return "Votes", _votes(conversation.decides) if conversation.decides else []


def _transcript(conversation: Conversation) -> Rows:
    turns = Turn.objects.filter(conversation=conversation).select_related("agent", "to").order_by("place")
    return [
        (
            f"{turn.place}. {turn.agent.name}{f' to {turn.to.name}' if turn.to else ''}",
            format_html("{} {}{}", show.pill(turn.stance, turn.get_stance_display()), turn.text, _details(turn)),
            show.change_url(Turn, turn.pk),
        )
        for turn in turns
    ]


def _details(turn: Turn) -> str:
    """In brackets the tone, unless it is plain, and the probability, where one was given."""
    tone = "" if turn.tone == Tone.PLAIN else turn.get_tone_display().lower()
    probability = "" if turn.probability is None else show.percent(turn.probability)
    told = ", ".join(filter(None, (tone, probability)))
    return f" ({told})" if told else ""


def _votes(proposal: Proposal) -> Rows:
    votes = Vote.objects.filter(proposal=proposal).select_related("agent").order_by("id")
    return [
        (
            vote.agent.name,
            format_html(
                "{} {} {}",
                show.pill(vote.stance, vote.get_stance_display()),
                vote.reason,
                show.folded("facts", vote.facts),
            ),
            None,
        )
        for vote in votes
    ]
