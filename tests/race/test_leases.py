"""Only one may, and who lost it can't commit."""

import pytest
from django.db import connection

from tests.race import stage
from tradeco.common import db, events, leases
from tradeco.common.leases import Held, LeaseLost
from tradeco.common.models import Event, Lease

pytestmark = [pytest.mark.race, pytest.mark.django_db(transaction=True)]


def taken_over_from(loser: Held) -> Held:
    return stage.until(lambda: leases.acquire(loser.name, holder="winner", seconds=60))


def test_of_fifty_who_reach_for_it_one_gets_it() -> None:
    got = stage.together(50, lambda place: leases.acquire("market", holder=f"process {place}", seconds=60))
    (held,) = [each for each in got if each is not None]
    assert isinstance(held, Held)
    assert Lease.objects.get().holder == held.holder


def test_one_that_ran_out_goes_to_one_of_fifty_with_a_higher_epoch() -> None:
    loser = leases.acquire("market", holder="loser", seconds=0.01)
    assert loser
    stage.until(lambda: Lease.objects.filter(expires_at__lte=db.now()).exists())
    got = stage.together(50, lambda place: leases.acquire("market", holder=f"process {place}", seconds=60))
    (held,) = [each for each in got if each is not None]
    assert held.epoch == loser.epoch + 1


def write_as(held: Held, *, fenced: bool) -> None:
    """What a holder does, pausing between its work and the commit long enough to lose the lease."""
    with db.transaction():
        events.emit(kind="alarm", subject=f"by {held.holder}", now=db.now())
        if fenced:
            leases.fence(held)


def test_control_without_the_fence_the_loser_writes_beside_the_winner() -> None:
    loser = leases.acquire("market", holder="loser", seconds=0.01)
    assert loser
    taken_over_from(loser)
    write_as(loser, fenced=False)
    assert Event.objects.filter(subject="by loser").exists()


def test_the_loser_cannot_commit_renew_or_release() -> None:
    loser = leases.acquire("market", holder="loser", seconds=0.01)
    assert loser
    winner = taken_over_from(loser)
    with pytest.raises(LeaseLost):
        write_as(loser, fenced=True)
    with pytest.raises(LeaseLost):
        leases.renew(loser)
    leases.release(loser)
    assert not Event.objects.exists()
    assert Lease.objects.get().holder == "winner"
    write_as(winner, fenced=True)


def test_one_that_ran_out_is_lost_even_where_nobody_took_it() -> None:
    held = leases.acquire("market", holder="sleeper", seconds=0.01)
    assert held
    stage.until(lambda: Lease.objects.filter(expires_at__lte=db.now()).exists())
    with pytest.raises(LeaseLost):
        leases.renew(held)
    with pytest.raises(LeaseLost):
        write_as(held, fenced=True)


def test_nobody_takes_over_between_the_fence_and_the_commit() -> None:
    """The fence's row lock holds a taker off, even when the lease runs out meanwhile."""
    held = leases.acquire("market", holder="holder", seconds=0.3)
    assert held
    with db.transaction():
        leases.fence(held)
        with connection.cursor() as cursor:
            stage.until(lambda: _ran_out(cursor))
        (taker,) = stage.together(1, lambda _: leases.acquire("market", holder="taker", seconds=60))
        assert taker is None
        events.emit(kind="alarm", subject="by holder", now=db.now())
    assert taken_over_from(held).epoch == held.epoch + 1


def _ran_out(cursor: object) -> bool:
    cursor.execute("SELECT expires_at <= clock_timestamp() FROM common_lease")  # type: ignore[attr-defined]
    return bool(cursor.fetchone()[0])  # type: ignore[attr-defined]


def test_renewing_lengthens_and_giving_back_frees_at_once() -> None:
    held = leases.acquire("market", holder="holder", seconds=60)
    assert held
    before = Lease.objects.get().expires_at
    leases.renew(held)
    assert Lease.objects.get().expires_at > before
    assert leases.acquire("market", holder="other", seconds=60) is None
    leases.release(held)
    assert leases.acquire("market", holder="other", seconds=60) is not None
