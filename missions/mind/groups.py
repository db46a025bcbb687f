"""Comparing what groups of missions earned: an agent's missions of a kind, by market where that is known.

Which group does well and which badly is decided here; what an agent then remembers is `learning`'s affair.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from statistics import median

from django.db.models import Avg, Count
from django.db.models.fields.json import KT

from agents.models import Agent
from missions.models import Outcome

GOOD_FACTOR, BAD_FACTOR = Decimal(2), Decimal("0.3")
RANKED_SHARE = 3  # where the median is no measure, the best and the worst third stand out
MARKET_CHARS = 25


@dataclass(frozen=True, slots=True)
class Group:
    """So many missions, and what they earned on average; `market` is empty where unknown."""

    agent: str
    kind: str
    market: str
    n: int
    mean_usd: Decimal

    @property
    def name(self) -> str:
        return f"group:{self.agent}:{self.kind}:{self.market or '-'}"


@dataclass(frozen=True, slots=True)
class Judged:
    """A group that stands out, and the median of all groups that it stands out from."""

    group: Group
    good: bool
    median_usd: Decimal


def measure(*, since: datetime, samples_min: int) -> list[Group]:
    """All groups with enough outcomes that earned or lost something."""
    # agent by agent, as the index is
    agents = list(Agent.objects.values_list("pk", flat=True))
    earned = Outcome.objects.filter(agent__in=agents, at__gte=since, pnl_usd__isnull=False, by_person=False)
    rows = earned.values("agent", "kind", market=KT("details__market")).annotate(n=Count("pk"), mean=Avg("pnl_usd"))
    return [
        Group(row["agent"], row["kind"], (row["market"] or "")[:MARKET_CHARS], row["n"], row["mean"])
        for row in rows.filter(n__gte=samples_min).order_by("agent", "kind", "market")
    ]


def judge(groups: Sequence[Group]) -> list[Judged]:
    """The groups that stand out, those that do most first.

    Good is more than twice the median of all groups, bad less than 0.3 of it. A median that isn't above zero is no
    measure: twice a loss is a larger loss. Then the best third is good, as far as it earns, and the worst third bad.
    """
    if not groups:
        return []
    middle = median(group.mean_usd for group in groups)
    good, bad = _by_factor(groups, middle) if middle > 0 else _by_rank(groups, middle)
    found = [Judged(group, True, middle) for group in good] + [Judged(group, False, middle) for group in bad]
    return sorted(found, key=lambda each: (-abs(each.group.mean_usd - middle), each.group.name))


def _by_factor(groups: Sequence[Group], middle: Decimal) -> tuple[list[Group], list[Group]]:
    good = [group for group in groups if group.mean_usd > GOOD_FACTOR * middle]
    return good, [group for group in groups if group.mean_usd < BAD_FACTOR * middle]


def _by_rank(groups: Sequence[Group], middle: Decimal) -> tuple[list[Group], list[Group]]:
    ranked = sorted(groups, key=lambda group: (-group.mean_usd, group.name))
    third = len(ranked) // RANKED_SHARE
    good = [group for group in ranked[:third] if group.mean_usd > 0]
    return good, [group for group in ranked[len(ranked) - third :] if group.mean_usd < middle]
