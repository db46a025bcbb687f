"""What the roundtable adds to the pages of missions: the votes on a proposal."""

from django.utils.html import format_html

from missions.models import Proposal
from roundtable.models import Vote
from tradeco.common import admin_show as show
from tradeco.common.admin_base import Rows


def votes_of_proposal(proposal: Proposal) -> tuple[str, Rows]:
    """Each agent's stance with its reason and the facts that it looked at."""
    votes = Vote.objects.filter(proposal=proposal).select_related("agent").order_by("id")
    return "Votes", [
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
