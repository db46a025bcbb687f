"""From a proposal to its claimed step: the one door, the doorbell, a real cluster of workers with its real handlers.

From the moment that the proposal carries to the database's time of the claim. The limit is what waking somebody
through PostgreSQL costs at least: NOTIFY to a session that listens.
"""

import time
from typing import Any

import psycopg

from bench.crew import Member, crew
from bench.figures import Figure, itself, middle, percentile
from bench.servers import running, until
from bench.stage import Address, Stage
from missions import drafts, proposals
from missions.vocabulary import ProposalSource, ProposalStatus
from tradeco.common import db

NAME = "doorbell"
CHANNEL = "bench"
APART_SECONDS = 0.1  # the workers have long slept again when the next proposal comes
CLAIMED_SECONDS = 30.0  # beyond it a step counts as never claimed

_LATENCIES = """
SELECT extract(epoch FROM step.started_at - proposal.created_at) * 1000
FROM missions_step AS step
JOIN missions_mission AS mission ON mission.id = step.mission_id
JOIN missions_proposal AS proposal ON proposal.id = mission.proposal_id
WHERE proposal.id = ANY(%s) AND step.started_at IS NOT NULL
"""


def measure(stage: Stage) -> list[Figure]:
    ours: list[list[float]] = []
    limit: list[list[float]] = []
    count = stage.count(60, 3)
    with (
        stage.company() as address,
        crew(size=1, env=stage.env(address)) as proposer,
        running(["manage.py", "qcluster"], env=stage.env(address, TRADECO_PROCESS="worker")),
    ):
        stage.tell("doorbell: the cluster starts")
        _claimed(address, proposer.run(propose, count=1)[0])
        for number in range(stage.rounds):
            stage.tell(f"doorbell: {count} proposals, round {number + 1} of {stage.rounds}")
            ours.append(_claimed(address, proposer.run(propose, count=count)[0]))
            limit.append(_notified(address, count=count))
    return [
        Figure(NAME, f"proposal → step claimed, {name}", _middle(ours, share), "ms", _middle(limit, share),
               "NOTIFY heard", itself(most=most))
        for name, share, most in (("p50", 0.5, 150), ("p99", 0.99, 1_000))
    ]  # fmt: skip


def _middle(rounds: list[list[float]], share: float) -> float:
    return middle([percentile(found, share) for found in rounds])


def _claimed(address: Address, submitted: list[int]) -> list[float]:
    """The latencies in ms, once every step is claimed."""
    with address.connect() as database:
        until(lambda: len(_latencies(database, submitted)) == len(submitted), what="a claim", seconds=CLAIMED_SECONDS)
        return _latencies(database, submitted)


def _latencies(database: psycopg.Connection[Any], submitted: list[int]) -> list[float]:
    return [float(row[0]) for row in database.execute(_LATENCIES, [submitted])]


def _notified(address: Address, *, count: int) -> list[float]:
    with address.connect() as listener, address.connect() as speaker:
        listener.execute(f"LISTEN {CHANNEL}")
        found = []
        for _ in range(count):
            begun = time.perf_counter()
            speaker.execute(f"NOTIFY {CHANNEL}")
            heard = next(listener.notifies(timeout=5, stop_after=1), None)
            assert heard is not None, "PostgreSQL delivers what was notified"
            found.append((time.perf_counter() - begun) * 1000)
    return found


# --- in the crew's process --------------------------------------------------------------------------


def propose(member: Member, *, count: int) -> list[int]:
    """Hand in analyses, one after another; the proposals' ids."""
    submitted = []
    for _ in range(count):
        proposal = proposals.submit(draft=_analysis(), source=ProposalSource.PERSON, now=db.now())
        assert proposal.status == ProposalStatus.APPROVED, proposal.reason
        submitted.append(proposal.pk)
        time.sleep(APART_SECONDS)
    return submitted


def _analysis() -> drafts.Draft:
    return drafts.read(
        {
            "agent": "intel",
            "title": "Measured",
            "rationale": "Its way to a worker is being measured.",
            "steps": [{"kind": "analyze_signal", "params": {"market": "SOL/USDC"}}],
            "confidence": "0.9",
        }
    )
