"""A hundred heartbeats at once, and holders that die: one beats, and another goes on."""

import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from missions import heartbeat
from missions.models import Beat
from tests.race import handlers, stage
from tradeco.common import db, leases
from tradeco.common.leases import Held
from tradeco.common.models import Event, Lease

pytestmark = [pytest.mark.race, pytest.mark.usefixtures("committed_company")]

WAITS = [("waits", "tests.race.handlers.waits", 30_000, 1)]
REACHES = [("reaches", "tests.race.handlers.reaches", 1_000, 1)]


@pytest.fixture(autouse=True)
def _nobody_waits_yet() -> None:
    handlers.hold.clear()
    handlers.running = handlers.most = 0


def beats_at_once(many: int, *, expected_losers: int) -> list[Any]:
    """So many ask for a beat in one moment; whoever beats goes on beating until all who lose have left."""
    now, left, counting = db.now(), [0], threading.Lock()

    def beat(place: int) -> Beat | None:
        done = heartbeat.run(asked_by=f"person {place}", now=now)
        with counting:
            left[0] += done is None
            if left[0] >= expected_losers:
                handlers.hold.set()
        return done

    return stage.together(many, beat)


def test_control_without_the_lease_many_beats_run_side_by_side(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.HEARTBEAT = WAITS
    epochs = count(1)
    monkeypatch.setattr(leases, "acquire", lambda name, *, holder, seconds: Held(name, holder, next(epochs), seconds))
    for guard in ("fence", "renew", "release"):
        monkeypatch.setattr(leases, guard, lambda held: None)
    monkeypatch.setattr(heartbeat, "is_due", lambda **_: True)
    releaser = threading.Thread(target=lambda: (stage.until(lambda: handlers.running > 1), handlers.hold.set()))
    releaser.start()
    beats_at_once(8, expected_losers=8)
    releaser.join()
    assert handlers.most > 1
    assert Beat.objects.count() == 8


def test_of_a_hundred_beats_at_once_one_runs_and_the_rest_leave_while_it_runs(settings: Any) -> None:
    settings.HEARTBEAT = WAITS
    results = beats_at_once(100, expected_losers=99)
    assert [result for result in results if isinstance(result, Exception)] == []
    (beat,) = [result for result in results if result is not None]
    assert handlers.most == 1
    assert list(Beat.objects.values_list("pk", "taken_over")) == [(beat.pk, False)]
    assert Event.objects.filter(kind="beat.finished").count() == 1
    assert Lease.objects.get(name=heartbeat.LEASE).holder == "", "given back at once, not left to run out"


def test_one_that_comes_right_after_another_finds_nothing_to_do(settings: Any) -> None:
    settings.HEARTBEAT = [("works", "tests.race.handlers.works", 100, 1)]
    now = db.now()
    assert heartbeat.run(asked_by="clock", now=now) is not None
    assert heartbeat.run(asked_by="clock", now=now) is None
    assert Beat.objects.count() == 1


def test_a_holder_killed_in_a_phase_is_taken_over_when_its_lease_has_run_out(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HEARTBEAT = REACHES
    monkeypatch.setattr(heartbeat, "APART_SECONDS", 0.0)
    with stage.children() as born:
        born.append(stage.Fork(tmp_path, "beat", heartbeat=REACHES, lease_seconds=3.0, die_at="phase.reached"))
        assert born[0].ends() == -9, born[0].words()
    lost = Beat.objects.get()
    assert lost.finished_at is None
    if Lease.objects.filter(name=heartbeat.LEASE, expires_at__gt=db.now()).exists():
        assert heartbeat.run(asked_by="too early", now=db.now()) is None
    beat = stage.until(lambda: heartbeat.run(asked_by="the heir", now=db.now()))
    lost.refresh_from_db()
    assert (lost.taken_over, lost.finished_at is not None) == (True, True)
    assert beat.epoch > lost.epoch
    assert not beat.taken_over


def test_a_holder_paused_past_its_lease_goes_on_with_nothing(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HEARTBEAT = REACHES
    monkeypatch.setattr(heartbeat, "APART_SECONDS", 0.0)
    phases = [*REACHES, ["never", "tests.race.handlers.works", 100, 1]]
    with stage.children() as born:
        child = stage.Fork(tmp_path, "beat", heartbeat=phases, lease_seconds=0.5, stop_at="phase.reached")
        born.append(child)
        child.says("reached phase.reached")
        beat = stage.until(lambda: heartbeat.run(asked_by="the heir", now=db.now()))
        child.goes_on()
        child.says("ended no beat")
    lost = Beat.objects.exclude(pk=beat.pk).get()
    assert lost.taken_over
    assert not lost.phases.filter(name="never").exists(), "a phase began although the beat was lost"
    assert list(Event.objects.filter(kind="beat.finished").values_list("subject", flat=True)) == [f"beat:{beat.pk}"]


def test_who_is_taken_over_in_the_last_phase_announces_nothing(
    tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.HEARTBEAT = REACHES
    monkeypatch.setattr(heartbeat, "APART_SECONDS", 0.0)
    with stage.children() as born:
        child = stage.Fork(tmp_path, "beat", heartbeat=REACHES, lease_seconds=0.5, stop_at="phase.reached")
        born.append(child)
        child.says("reached phase.reached")
        beat = stage.until(lambda: heartbeat.run(asked_by="the heir", now=db.now()))
        child.goes_on()
        child.says("ended no beat")
    assert list(Event.objects.filter(kind="beat.finished").values_list("subject", flat=True)) == [f"beat:{beat.pk}"]
