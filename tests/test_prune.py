"""Forgetting: what is beyond its retention goes, a bounded number at a time; the rest, and the cursor's end, stays."""

import pytest
from django.contrib.auth import get_user_model

from dashboard.models import IdempotencyKey
from missions import heartbeat, prune
from missions.models import Beat
from tests import cast
from tradeco.common import db, events, pulses
from tradeco.common.models import Event, Pulse
from trading.models import Candle, Signal

pytestmark = pytest.mark.usefixtures("company")


def make_old_rows() -> None:
    old = cast.later(days=-31)
    cast.submit(cast.analysis_draft())
    cast.work()
    heartbeat.run(asked_by="test", now=old)
    pulses.beat("worker", now=old)
    user = get_user_model().objects.get(username="admin")
    IdempotencyKey.objects.create(user=user, key="k", fingerprint="f", status=201, body={}, created_at=old)
    Candle.objects.filter(market="WIF/USDC").update(received_at=old)
    Signal.objects.update(at=old)
    with db.savepoint():
        for _ in range(3):
            events.emit(kind="beat.finished", subject="beat:0", now=old)
    events.number_new()


def test_each_part_forgets_its_own_and_nothing_else() -> None:
    make_old_rows()
    recent = Event.objects.filter(at__gt=cast.later(days=-1)).count()
    gone = prune.run(now=db.now(), limit=10_000)
    assert gone["events"] >= 3
    assert (gone["beats"] > 0, gone["prices"], gone["pulses"], gone["answers"]) == (True, 120, 1, 1)
    assert Event.objects.filter(at__gt=cast.later(days=-1)).count() == recent
    assert not Beat.objects.exists()
    assert not Pulse.objects.exists()
    assert prune.run(now=db.now(), limit=10_000) == dict.fromkeys(gone, 0)


def test_a_pass_is_bounded() -> None:
    make_old_rows()
    assert prune.run(now=db.now(), limit=2)["prices"] == 2


def test_the_newest_event_stays_so_that_numbers_count_on() -> None:
    make_old_rows()
    Event.objects.filter(number=None).delete()
    newest = events.newest_number()
    prune.run(now=cast.later(days=400), limit=10_000)
    assert events.newest_number() == newest
    with db.savepoint():
        events.emit(kind="beat.finished", subject="beat:0", now=db.now())
    events.number_new()
    assert events.newest_number() == newest + 1
