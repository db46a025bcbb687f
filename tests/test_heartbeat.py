"""One beat: its phases in order, each within its budget, each alone in its failure. Who beats: race/test_heartbeat."""

from datetime import timedelta
from typing import Any

import pytest

from missions import heartbeat, policies
from missions.models import Beat, BeatPhase
from tradeco.common import db
from tradeco.common.models import Event, Lease

pytestmark = pytest.mark.usefixtures("committed_company")

PHASES = "tests.race.handlers"


def beat() -> Beat:
    done = heartbeat.run(asked_by="the test", now=db.now())
    assert done is not None
    return done


def statuses(done: Beat) -> dict[str, str]:
    return dict(done.phases.values_list("name", "status"))


def test_a_beat_runs_the_company_s_phases_in_order_within_their_budgets(settings: Any) -> None:
    done = beat()
    recorded = done.phases.order_by("place").values_list("name", "place", "budget_milliseconds")
    assert list(recorded) == [(name, n, budget) for n, (name, _, budget, _) in enumerate(settings.HEARTBEAT, 1)]
    assert set(statuses(done).values()) == {"success"}
    # the lease is renewed before each phase
    assert max(budget for _, _, budget, _ in settings.HEARTBEAT) / 1000 <= heartbeat.LEASE_SECONDS / 2
    assert done.finished_at is not None
    assert done.asked_by == "the test"


def test_a_beat_tells_what_it_did(settings: Any) -> None:
    settings.HEARTBEAT = [("works", f"{PHASES}.works", 500, 7)]
    done = beat()
    assert done.phases.get().did == {"did": 7}
    event = Event.objects.get(kind="beat.finished")
    assert event.subject == f"beat:{done.pk}"
    assert event.data["phases"] == {"works": "success"}
    assert event.data["over_budget"] == []


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ("raises", "failure"),
        ("hangs_in_the_database", "failure"),
        ("breaks_its_connection", "failure"),
        ("is_not_there", "failure"),
        ("has_some_failures", "partial_failure"),
    ],
)
def test_a_phase_that_fails_stops_no_other(settings: Any, bad: str, status: str) -> None:
    settings.HEARTBEAT = [
        ("before", f"{PHASES}.works", 500, 1),
        ("bad", f"{PHASES}.{bad}", 100, 1),
        ("after", f"{PHASES}.works", 500, 2),
    ]
    done = beat()
    assert statuses(done) == {"before": "success", "bad": status, "after": "success"}
    assert done.finished_at is not None
    error = done.phases.get(name="bad").error
    assert bool(error) is (status == "failure")
    assert "a bug in a phase" not in error, "details belong in the log"
    assert Lease.objects.get(name=heartbeat.LEASE).holder == ""


def test_no_statement_of_a_phase_outlives_its_budget_and_later_ones_have_their_own(settings: Any) -> None:
    settings.HEARTBEAT = [("hangs", f"{PHASES}.hangs_in_the_database", 50, 1), ("works", f"{PHASES}.works", 500, 1)]
    done = beat()
    phase = done.phases.get(name="hangs")
    assert phase.over_budget
    assert phase.milliseconds < 10_000
    assert Event.objects.get(kind="beat.finished").data["over_budget"] == ["hangs"]
    with db.transaction():
        assert _statement_timeout() == "15s", "as the connection began with"


def _statement_timeout() -> str:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SHOW statement_timeout")
        return str(cursor.fetchone()[0])


def test_the_clock_asks_in_its_cadence_and_people_may_ask_sooner(settings: Any) -> None:
    settings.HEARTBEAT = []
    _, policy = policies.current()
    now = db.now()
    assert heartbeat.is_due(policy=policy, now=now)
    assert heartbeat.run(asked_by="clock", now=now, only_if_due=True)
    soon = now + timedelta(seconds=5)
    assert heartbeat.run(asked_by="clock", now=soon, only_if_due=True) is None
    assert heartbeat.run(asked_by="alice", now=soon) is not None
    due = soon + timedelta(seconds=policy.beat_every_seconds)
    assert heartbeat.run(asked_by="clock", now=due, only_if_due=True) is not None


def test_a_beat_that_leaves_gives_the_lease_back(settings: Any) -> None:
    settings.HEARTBEAT = []
    now = db.now()
    beat()
    assert heartbeat.run(asked_by="clock", now=now, only_if_due=True) is None
    assert Lease.objects.get(name=heartbeat.LEASE).holder == ""


def test_beats_beyond_their_retention_go_with_their_phases(settings: Any) -> None:
    settings.HEARTBEAT = [("works", f"{PHASES}.works", 500, 1)]
    for days in (40, 35, 0):
        heartbeat.run(asked_by="clock", now=db.now() - timedelta(days=days))
    assert heartbeat.prune(now=db.now(), limit=1, retention=timedelta(days=30)) == 2  # a beat and its phase
    heartbeat.prune(now=db.now(), limit=9, retention=timedelta(days=30))
    assert (Beat.objects.count(), BeatPhase.objects.count()) == (1, 1)
