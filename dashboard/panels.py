"""The panels of the first page, and the boundary at which one may fail without the others.

A panel reads in a snapshot of its own and renders alone, in the page and at its own address. One that can't
shows a box that says so and offers another try; the reason is in the log under the request's id.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import structlog
from django.db import transaction
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from dashboard import queries, talks
from tradeco.common import db

log = structlog.get_logger(__name__)

ALWAYS = ("*",)


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel, and when the browser fetches it again."""

    name: str
    title: str
    read: Callable[..., dict[str, Any]]
    kinds: tuple[str, ...]  # beginnings of the event kinds that change it
    every_seconds: int = 2  # not more often than this


PANELS = {
    panel.name: panel
    for panel in (
        Panel(
            "company", "Company", queries.company, ("company.", "proposal.", "step.in_doubt", "step.settled", "order.")
        ),
        Panel("portfolio", "Portfolio", queries.portfolio_now, ("market.prices", "order.", "position.", "equity.")),
        Panel("equity", "Equity", queries.equity, ("equity.",), every_seconds=5),
        Panel("prices", "Prices", queries.prices, ("market.",)),
        Panel("positions", "Positions", queries.open_and_closed, ("position.", "order.", "market.prices")),
        Panel("pipeline", "Pipeline", queries.pipeline, ("proposal.", "mission.", "step.", "order.")),
        Panel(
            "roundtable",
            "Roundtable",
            talks.roundtable,
            ("conversation.", "proposal.", "vote.", "relationship.", "policy."),
            every_seconds=1,  # turns come every second or so
        ),
        Panel("events", "Last events", queries.last_events, ()),  # kept by the frames themselves
        Panel("agents", "Agents", queries.agents, ALWAYS, every_seconds=3),
        Panel("health", "Health", queries.health, ("beat.", "policy.", "alarm", "proposal."), every_seconds=5),
    )
}


@dataclass(frozen=True, slots=True)
class Rendered:
    panel: Panel
    html: SafeString
    ok: bool


def render(panel: Panel, *, request: HttpRequest, now: datetime) -> Rendered:
    """The panel's inside, or the box that says that it failed."""
    context: dict[str, Any] = {"panel": panel, "now": now}
    try:
        with db.one_snapshot(), transaction.atomic():
            context |= panel.read(now=now)
            html = render_to_string(f"dashboard/panels/{panel.name}.html", context, request=request)
    except Exception:  # the boundary: one broken panel says so and the others go on
        log.exception("A panel of the page failed.", action="panel_failed", panel=panel.name)
        return Rendered(panel, render_to_string("dashboard/panels/failed.html", context, request=request), ok=False)
    return Rendered(panel, html, ok=True)
