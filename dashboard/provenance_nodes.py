"""What a thread of provenance is made of: rows of any app as nodes, by a key such as `turn:12`.

How nodes hang together is `provenance`'s affair.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from django.db.models import Model, QuerySet

from agents.models import Memory, Score, Shift
from missions.models import Approval, Forecast, Mission, Outcome, Proposal, Reaction, Step, Verdict
from roundtable.models import Conversation, Turn, Vote
from tradeco.common import admin_show as show
from tradeco.common.models import Event
from trading.models import Attempt, Fill, Order, Position

API = "/api/v1/"
TITLE_CHARS = 200
RULE, PERSON = "rule", "person"  # nodes that are no rows
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

M = TypeVar("M", bound=Model)


class Kind(NamedTuple):
    """How rows of a model are told: which field is their moment, what they say, where the API shows them."""

    model: type[Model]
    at: str
    title: Callable[[Any], str]
    address: Callable[[Any], str] | None = None  # below API; the admin's page where there is none
    key: str = "pk"


KINDS = {
    kind.model._meta.model_name or "": kind
    for kind in (
        Kind(
            Event,
            "at",
            lambda row: f"{row.get_kind_display()} ({row.subject})",
            lambda row: f"events/?after={row.number - 1}&limit=1",
            key="number",
        ),
        Kind(Reaction, "at", lambda row: f"{row.target_id} was to {row.does.replace('_', ' ')}"),
        Kind(Proposal, "created_at", lambda row: f"{row.title}, {row.status}", lambda row: f"proposals/{row.pk}/"),
        Kind(Verdict, "at", lambda row: f"{row.gate} {'allowed it' if row.allowed else f'refused it: {row.reason}'}"),
        Kind(Approval, "at", lambda row: f"{row.approver.get_username()} approved: {row.reason}"),
        Kind(Vote, "at", lambda row: f"{row.agent_id} votes {row.stance}: {row.reason}"),
        Kind(
            Conversation,
            "created_at",
            lambda row: f"{row.get_format_display()}, {row.status}{f': {row.topic}' if row.topic else ''}",
            lambda row: f"conversations/{row.pk}/",
        ),
        Kind(
            Turn,
            "at",
            lambda row: f"{row.agent_id} {row.get_stance_display().lower()}: {row.text}",
            lambda row: f"conversations/{row.conversation_id}/",
        ),
        Kind(Shift, "at", lambda row: f"{row.relationship.a_id} and {row.relationship.b_id} moved by {row.delta:+}"),
        Kind(Memory, "created_at", lambda row: f"{row.agent_id} remembers: {row.text}"),
        Kind(Mission, "created_at", lambda row: f"{row}, {row.status}", lambda row: f"missions/{row.pk}/"),
        Kind(Step, "created_at", lambda row: f"{row}, {row.status}", lambda row: f"steps/{row.pk}/"),
        Kind(Order, "created_at", lambda row: f"{row}, {row.status}", lambda row: f"orders/{row.pk}/"),
        Kind(Attempt, "created_at", lambda row: f"{row}, {row.status}", lambda row: f"orders/{row.order_id}/"),
        Kind(Fill, "at", lambda row: f"Filled at {row.price.normalize():f}", lambda row: f"orders/{row.order_id}/"),
        Kind(Position, "opened_at", lambda row: f"{row}, {row.status}", lambda row: f"positions/{row.pk}/"),
        Kind(Outcome, "at", lambda row: _outcome(row), lambda row: f"missions/{row.mission_id}/"),
        Kind(
            Forecast,
            "made_at",
            lambda row: f"{row.probability} of a profit within {row.horizon_minutes} min, {row.status}",
        ),
        Kind(Score, "at", lambda row: f"It {'happened' if row.happened else 'did not happen'}: Brier {row.brier}"),
    )
}
"""By name, as the first half of a node's key."""


def _outcome(row: Outcome) -> str:
    ended = "Succeeded" if row.succeeded else f"Failed: {row.code}"
    return ended if row.pnl_usd is None else f"{ended}, {row.pnl_usd:+.2f} USD"


@dataclass(frozen=True, slots=True)
class Node:
    """Something that happened. `url` is where the API shows it, else the admin; `page` the admin's page of it."""

    key: str
    kind: str
    at: datetime | None
    title: str
    url: str | None = None
    page: str | None = None


def key_of(row: Model) -> str:
    name = row._meta.model_name or ""
    return f"{name}:{getattr(row, KINDS[name].key)}"


def node_of(row: Model) -> Node:
    name = row._meta.model_name or ""
    kind = KINDS[name]
    page = show.change_url(kind.model, row.pk)
    return Node(
        key=key_of(row),
        kind=name,
        at=getattr(row, kind.at),
        title=_short(kind.title(row)),
        url=API + kind.address(row) if kind.address else page,
        page=page,
    )


def subject_of(text: str) -> tuple[str, int] | None:
    """`position:12:exit:0` → ("position", 12): the row that a cause or subject names first, if it names one of ours."""
    name, _, rest = text.partition(":")
    number = rest.partition(":")[0]
    # as many digits as fit a bigint
    return (name, int(number)) if name in KINDS and number.isascii() and number.isdigit() and len(number) < 19 else None


def rows_of(subjects: Iterable[tuple[str, int]]) -> dict[str, Model]:
    """The rows of these, by key; a query a kind."""
    wanted: dict[str, set[int]] = {}
    for name, number in subjects:
        wanted.setdefault(name, set()).add(number)
    found: dict[str, Model] = {}
    for name, numbers in sorted(wanted.items()):
        kind = KINDS[name]
        rows = kind.model._default_manager.filter(**{f"{kind.key}__in": numbers})
        found |= {key_of(row): row for row in _with_what_a_title_reads(name, rows)}
    return found


def _with_what_a_title_reads(name: str, rows: QuerySet[Model]) -> QuerySet[Model]:
    related = {"approval": "approver", "shift": "relationship"}.get(name)
    return rows.select_related(related) if related else rows


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TITLE_CHARS else f"{line[: TITLE_CHARS - 1]}…"


@dataclass(slots=True)
class Thread:
    """Nodes and the edges between them, from causes to what they led to; `cut` where there is more than it holds."""

    most: int
    proposal: int | None = None
    cut: bool = False
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, *rows: Model) -> None:
        for row in rows:
            self.put(node_of(row))

    def put(self, node: Node) -> None:
        if node.key in self.nodes:
            return
        if len(self.nodes) >= self.most:
            self.cut = True
        else:
            self.nodes[node.key] = node

    def join(self, cause: Model | str, effect: Model | str, why: str) -> None:
        """An edge, where the thread holds both ends; the first reason stays."""
        ends = tuple(end if isinstance(end, str) else key_of(end) for end in (cause, effect))
        if ends[0] in self.nodes and ends[1] in self.nodes and ends[0] != ends[1]:
            self.edges.setdefault((ends[0], ends[1]), why)

    def follow(self, cause: Model | str, effect: Model, why: str) -> None:
        """A node that hangs by an edge from one that is there."""
        self.add(effect)
        self.join(cause, effect, why)

    def follow_back(self, cause: Model, effect: Model, why: str) -> None:
        """A node from which one that is there hangs."""
        self.add(cause)
        self.join(cause, effect, why)

    def some(self, rows: QuerySet[M], most: int) -> list[M]:
        """At most so many of the rows; more than that makes it `cut`."""
        found = list(rows[: most + 1])
        self.cut = self.cut or len(found) > most
        return found[:most]

    def in_order(self) -> list[Node]:
        """Oldest first; rules and persons, which have no moment, before all."""
        return sorted(self.nodes.values(), key=lambda node: (node.at is not None, node.at or _EPOCH))

    def keys(self, *kinds: str) -> list[str]:
        return [node.key for node in self.nodes.values() if node.kind in kinds]

    def numbers(self, kind: str) -> list[int]:
        return [int(key.partition(":")[2]) for key in self.keys(kind)]
