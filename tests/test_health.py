"""Health tells the truth in time, and details only to those who may know."""

import threading
import time
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.db import OperationalError, connection
from django.test import Client

from dashboard import health
from dashboard.health import Looker


@pytest.fixture(autouse=True)
def _look_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look of another test counts as fresh. Looks have a thread of their own: they need committed data."""
    monkeypatch.setattr(health, "looker", Looker(parts=health.parts))


def bearer(secret: str) -> dict[str, Any]:
    return {"HTTP_AUTHORIZATION": f"Bearer {secret}"}


def test_alive_asks_nothing_of_the_database(client: Client) -> None:
    answer = client.get("/healthz")  # this test has no database: a query would fail it
    assert (answer.status_code, answer.content) == (200, b"ok")


def test_ready_names_the_parts_that_are_down(committed_company: None, client: Client) -> None:
    answer = client.get("/readyz")
    found = answer.json()
    assert answer.status_code == 503  # no worker, no beat, no market process runs here
    assert set(found["failing"]) == {"worker", "beat", "market"}
    assert found["parts"]["database"] == {"status": "up"}
    assert found["parts"]["migrations"] == {"status": "up"}


def test_only_staff_and_tokens_learn_why_a_part_is_down(
    committed_company: None, client: Client, alice: AbstractUser, charlie: AbstractUser, tokens: dict[str, str]
) -> None:
    assert client.get("/readyz").json()["parts"]["worker"] == {"status": "down"}
    assert "detail" not in client.get("/readyz", **bearer("tco_wrong")).json()["parts"]["worker"]
    assert "no worker" in client.get("/readyz", **bearer(tokens["viewer"])).json()["parts"]["worker"]["detail"]
    client.force_login(charlie)
    assert "detail" not in client.get("/readyz").json()["parts"]["worker"]
    client.force_login(alice)
    assert "no worker" in client.get("/readyz").json()["parts"]["worker"]["detail"]


def test_a_database_that_hangs_is_down_within_three_seconds(transactional_db: None) -> None:
    def hangs() -> tuple[bool, str]:
        health.database()  # sets the limit of this look's own connection
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")
        return True, "slept"

    begun = time.monotonic()
    found = Looker(parts=lambda: {"database": hangs}).look()
    assert time.monotonic() - begun < 3.0
    assert found["database"][0] is False


def test_while_one_look_hangs_nobody_begins_another_and_everybody_is_answered() -> None:
    may_end = threading.Event()
    looks = []

    def hangs() -> tuple[bool, str]:
        looks.append(1)
        may_end.wait(30)
        return True, "at last"

    looker = Looker(parts=lambda: {"first": lambda: (True, "well"), "hanging": hangs}, patience_seconds=0.2)
    for _ in range(3):
        found = looker.look()
        assert found["first"] == (True, "well")
        assert found["hanging"] == (False, "no answer within 0.2 s")
    assert looks == [1]
    may_end.set()


def test_a_part_that_fails_is_down_and_the_others_are_asked() -> None:
    def fails() -> tuple[bool, str]:
        raise OperationalError("it's gone")

    found = Looker(parts=lambda: {"one": fails, "other": lambda: (True, "well")}).look()
    assert found == {"one": (False, "OperationalError"), "other": (True, "well")}


def test_metrics_are_for_tokens_staff_and_this_machine_itself(
    company: None, client: Client, alice: AbstractUser, tokens: dict[str, str]
) -> None:
    far = {"REMOTE_ADDR": "203.0.113.7"}
    assert client.get("/metrics", **far).status_code == 401
    assert client.get("/metrics", HTTP_X_FORWARDED_FOR="127.0.0.1").status_code == 401
    assert client.get("/metrics", **far, **bearer("tco_wrong")).status_code == 401
    assert client.get("/metrics", **far, **bearer(tokens["viewer"])).status_code == 200
    assert client.get("/metrics").status_code == 200
    client.force_login(alice)
    assert client.get("/metrics", **far).status_code == 200


def test_metrics_tell_of_the_company_and_of_the_process(company: None, client: Client) -> None:
    text = client.get("/metrics").content.decode()
    for name in (
        "tradeco_equity_usd 10000.0",
        "tradeco_steps_open",
        "tradeco_event_listeners",
        "process_resident_memory_bytes",
    ):
        assert name in text
    assert 'tradeco_metrics_failed{part="trading.metrics.collect"} 0.0' in text


def test_a_part_whose_metrics_cant_be_read_is_counted_and_the_others_are_told(
    company: None, client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> None:
        raise OperationalError("it's gone")

    monkeypatch.setattr(health, "load", lambda path: gone if path.startswith("trading") else lambda: iter(()))
    text = client.get("/metrics").content.decode()
    assert 'tradeco_metrics_failed{part="trading.metrics.collect"} 1.0' in text
    assert "tradeco_event_listeners" in text
