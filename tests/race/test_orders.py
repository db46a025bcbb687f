"""The order's state machine when the database itself is the trouble: connections killed, rows locked by others."""

import threading
from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.db import OperationalError, connection

from missions import execution, rescue
from missions.models import Step
from tests import cast
from tests.race import stage
from tradeco.common import crashpoints, db
from tradeco.common.models import Event
from trading.models import Account, Attempt, Fill, LedgerEntry, Order, PaperExecution, Position

pytestmark = [pytest.mark.race, pytest.mark.usefixtures("committed_company")]


@pytest.fixture
def at() -> Iterator[Callable[[str, Callable[[], object]], None]]:
    """Do something once, when a point is reached."""

    def set_up(point: str, act: Callable[[], object]) -> None:
        def hook(name: str) -> None:
            if name == point:
                crashpoints.watch(None)
                act()

        crashpoints.watch(hook)

    yield set_up
    crashpoints.watch(None)


def kill_my_connection() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (victim,) = cursor.fetchone()
    settings = connection.settings_dict
    with psycopg.connect(
        dbname=settings["NAME"], user=settings["USER"], host=settings["HOST"], port=settings["PORT"]
    ) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [victim])


@pytest.mark.parametrize(
    "point",
    ["step.begun", "execution.intent_committed", "execution.sent", "booking.entries_written", "outcomes.before_commit"],
)
def test_a_connection_killed_at_any_point_leaves_nothing_half_written(
    point: str, at: Callable[[str, Callable[[], object]], None]
) -> None:
    cast.submit(cast.buy(size_usd="100.00"))
    claim = cast.claim(lease_seconds=0.5)
    at(point, kill_my_connection)
    with pytest.raises(OperationalError):
        execution.run(claim)
    connection.close()
    assert (Fill.objects.count(), Position.objects.count()) == (0, 0)
    assert LedgerEntry.objects.count() == 2, "the opening's"
    assert not Event.objects.filter(kind__in=("step.succeeded", "order.filled")).exists()
    stage.until(lambda: rescue.run(now=db.now(), limit=10)["recovered"])
    Step.objects.update(run_after=db.now())
    assert cast.work() == {"succeeded": 1}
    assert PaperExecution.objects.count() == Attempt.objects.count() == 1
    stage.assert_the_books_are_right()


@pytest.mark.parametrize("row", ["trading_account WHERE kind = 'fees'", "missions_mission"])
def test_a_booking_that_waits_too_long_for_a_row_is_done_again_and_books_once(
    row: str, at: Callable[[str, Callable[[], object]], None], raw_connection: psycopg.Connection
) -> None:
    """Contention undoes a whole ending, early or late; what the first try left in memory must not spoil the second."""
    cast.submit(cast.buy(size_usd="100.00"))
    claim = cast.claim()
    in_the_way = threading.Event()

    def lock_an_account() -> None:
        raw_connection.execute(f"SELECT 1 FROM {row} FOR UPDATE")
        in_the_way.set()

    at("step.visited", lock_an_account)
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 200")

    def watch_it_fail_once(execute: object, sql: str, params: object, many: bool, context: object) -> object:
        try:
            return execute(sql, params, many, context)  # type: ignore[operator]
        except OperationalError:
            raw_connection.rollback()
            failures.append(sql)
            raise

    failures: list[str] = []
    with connection.execute_wrapper(watch_it_fail_once):
        assert execution.run(claim) == "succeeded"
    assert len(failures) == 1
    assert in_the_way.is_set()
    assert Order.objects.get().status == "filled"
    assert Event.objects.filter(kind="step.succeeded").count() == 1
    stage.assert_the_books_are_right()


def test_many_workers_on_one_wallet_keep_the_books_right() -> None:
    """Buys of four markets at once lock the same cash; every order is executed once, and the sums hold."""
    cast.set_policy(open_positions_max=6, exposure_max="1", position_max="1")
    for name in ("SOL/USDC", "JUP/USDC", "BONK/USDC", "WIF/USDC") * 4:
        assert cast.submit(cast.buy(name, "20.00")).status == "approved"
    ended = stage.together(6, lambda _: execution.drain(budget_seconds=60))
    assert sum(done["succeeded"] for done in ended) == 16
    assert PaperExecution.objects.count() == 16
    assert Account.objects.get(kind="wallet", asset__symbol="USDC").reserved == 0
    stage.assert_the_books_are_right()
