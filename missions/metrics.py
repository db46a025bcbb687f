"""What Prometheus sees of the flow, read from the database at each scrape, so every process tells the same."""

from collections.abc import Iterator

from django.db.models import Count
from prometheus_client.core import GaugeMetricFamily, Metric

from missions import caps, heartbeat, policies, watch
from missions.models import Proposal, Step
from missions.policies import NoPolicy
from missions.vocabulary import ProposalStatus, StepStatus
from tradeco.common import db


def collect() -> Iterator[Metric]:
    """Steps by status, the oldest waiting, pending proposals, the beat's age, what is left of each cap."""
    now = db.now()
    steps = GaugeMetricFamily("tradeco_steps_open", "Steps that haven't ended, by status", labels=["status"])
    unfinished = [
        StepStatus.QUEUED,
        StepStatus.CLAIMED,
        StepStatus.EXECUTING,
        StepStatus.NEEDS_RECONCILIATION,
    ]
    counted = Step.objects.filter(status__in=unfinished).values_list("status").annotate(n=Count("pk"))
    found = dict(counted.order_by())
    for status in unfinished:
        steps.add_metric([status.value], found.get(status.value, 0))
    yield steps
    yield GaugeMetricFamily(
        "tradeco_oldest_runnable_step_seconds",
        "How long the oldest runnable step has waited",
        value=watch.oldest_step_seconds(now=now),
    )
    pending = Proposal.objects.filter(status=ProposalStatus.PENDING).count()
    yield GaugeMetricFamily("tradeco_proposals_pending", "Undecided proposals", value=pending)
    newest = heartbeat.newest_start()
    if newest is not None:
        age = (now - newest).total_seconds()
        yield GaugeMetricFamily("tradeco_beat_age_seconds", "Since the last beat began", value=age)
    try:
        _, policy = policies.current()
    except NoPolicy:
        return
    left = GaugeMetricFamily("tradeco_cap_left", "What is left of a daily cap", labels=["cap"])
    for cap in caps.overview(policy=policy, now=now):
        left.add_metric([str(cap["key"])], float(str(cap["left"])))
    yield left
