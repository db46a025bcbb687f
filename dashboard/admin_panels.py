"""What the dashboard adds to the pages of missions: the thread that a proposal stands in."""

from django.utils.html import format_html, format_html_join

from dashboard import provenance
from dashboard.provenance_nodes import PERSON, RULE, Node, Thread
from missions.models import Proposal
from tradeco.common.admin_base import Rows

ELSEWHERE = ("verdict",)  # the page has panels of these


def provenance_of_proposal(proposal: Proposal) -> tuple[str, Rows]:
    """Each thing that led to it or came of it, oldest first, with what it hangs from."""
    title = "Where it comes from, what came of it"
    thread = provenance.of_proposal(proposal.pk)
    if thread is None:
        return title, []
    rows: Rows = [_row(thread, node) for node in thread.in_order() if node.kind not in ELSEWHERE]
    return title, [*rows, ("More", "There is more than this page holds.", None)] if thread.cut else rows


def _row(thread: Thread, node: Node) -> tuple[object, object, str | None]:
    when = f", {node.at:%Y-%m-%d %H:%M:%S} UTC" if node.at else ""
    said = _linked(node)
    causes = [(_named(thread.nodes[source]), why) for (source, to), why in thread.edges.items() if to == node.key]
    because = format_html_join("; ", "{} {}", causes)
    value = format_html("{}<br><small>{}</small>", said, because) if causes else said
    return f"{_named(node).capitalize()}{when}", value, None


def _named(node: Node) -> str:
    """turn:12 → turn #12"""
    return node.title if node.kind in (RULE, PERSON) else node.key.replace(":", " #")


def _linked(node: Node) -> object:
    return format_html('<a href="{}">{}</a>', node.page, node.title) if node.page else node.title
