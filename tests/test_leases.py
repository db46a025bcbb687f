"""A lease by itself; who races for it is in race/test_leases."""

import pytest

from tradeco.common import db, leases
from tradeco.common.models import Lease

pytestmark = pytest.mark.django_db


def test_the_first_who_asks_gets_it_and_the_row_says_so() -> None:
    before = db.now()
    held = leases.acquire("market", holder="one", seconds=30)
    assert held == leases.Held(name="market", holder="one", epoch=1, seconds=30)
    row = Lease.objects.get()
    assert (row.holder, row.epoch) == ("one", 1)
    assert 29 < (row.expires_at - before).total_seconds() < 60
    assert str(row) == "market held by one"


def test_different_things_have_different_leases() -> None:
    assert leases.acquire("market", holder="one", seconds=30)
    assert leases.acquire("heartbeat", holder="two", seconds=30)


def test_even_its_own_holder_cannot_take_it_twice() -> None:
    assert leases.acquire("market", holder="one", seconds=30)
    assert leases.acquire("market", holder="one", seconds=30) is None


def test_given_back_it_is_free_and_the_next_epoch_is_higher() -> None:
    first = leases.acquire("market", holder="one", seconds=30)
    assert first
    leases.release(first)
    second = leases.acquire("market", holder="two", seconds=30)
    assert second
    assert second.epoch == 2
    leases.release(first)  # once more, too late: it isn't his any longer
    assert Lease.objects.get().holder == "two"


@pytest.mark.django_db(transaction=True)
def test_fencing_outside_of_a_transaction_is_our_mistake() -> None:
    held = leases.acquire("market", holder="one", seconds=30)
    assert held
    with pytest.raises(AssertionError, match="inside a transaction"):
        leases.fence(held)
