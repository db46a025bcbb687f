"""The six agents and their first affinities, as a new company hires them. Runs again without effect."""

from decimal import Decimal

from agents.models import Agent, Relationship

SIX = [
    Agent(
        key="atlas",
        name="Atlas",
        role="Coordinator",
        duties="Opens conversations, approves plans, breaks ties; never trades on its own signal alone.",
        manner="Calm and brief. Weighs both sides, then decides.",
        colour="#4f7cff",
        place=1,
    ),
    Agent(
        key="sage",
        name="Sage",
        role="Risk manager",
        duties="Sizes positions, reviews losses, may veto.",
        manner="Dry and exact. Names the figure that worries it.",
        colour="#0f9d76",
        place=2,
    ),
    Agent(
        key="scout",
        name="Scout",
        role="Executor and market monitor",
        duties="Watches prices, proposes entries and exits.",
        manner="Quick and concrete. Speaks in levels and sizes.",
        colour="#e0792b",
        place=3,
    ),
    Agent(
        key="growth",
        name="Growth",
        role="Performance analyst",
        duties="Finds what worked, proposes scaling and changes of strategy.",
        manner="Keen and optimistic, but brings the numbers.",
        colour="#b256d6",
        place=4,
    ),
    Agent(
        key="intel",
        name="Intel",
        role="Research and signals",
        duties="Produces signals and forecasts.",
        manner="Curious. States a probability with every view.",
        colour="#1aa0b8",
        place=5,
    ),
    Agent(
        key="observer",
        name="Observer",
        role="Quality control",
        duties="Audits outcomes, conversations, policy drift and the system's own health.",
        manner="Sober. Says what was promised and what was done.",
        colour="#7a8499",
        place=6,
    ),
]

FIRST_AFFINITIES = {
    ("atlas", "sage"): "0.80",
    ("observer", "sage"): "0.80",
    ("intel", "scout"): "0.75",
    ("growth", "intel"): "0.70",
    ("atlas", "growth"): "0.60",
    ("atlas", "scout"): "0.60",
    ("atlas", "observer"): "0.55",
    ("growth", "sage"): "0.55",
    ("sage", "scout"): "0.50",
    ("observer", "scout"): "0.50",
    ("growth", "scout"): "0.50",
    ("growth", "observer"): "0.45",
    ("intel", "observer"): "0.40",
    ("atlas", "intel"): "0.35",
    ("intel", "sage"): "0.30",
}


def hire() -> None:
    """Hire whoever of the six is missing and introduce the pairs that don't know each other."""
    Agent.objects.bulk_create(SIX, ignore_conflicts=True)
    Relationship.objects.bulk_create(
        [Relationship(a_id=a, b_id=b, affinity=Decimal(first)) for (a, b), first in FIRST_AFFINITIES.items()],
        ignore_conflicts=True,
    )
