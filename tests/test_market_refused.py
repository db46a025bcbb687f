"""A source of prices that refuses ends no market process: stops, sweep and metronome go on."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from tradeco.common import db, leases
from trading import market
from trading.venues.http import VenueRefused


class Refusing:
    """Answers as Jupiter does once the key has lapsed."""

    source, bar_seconds, markets = "x", 1, ()

    def news(self, row: Any, *, now: Any) -> Any:
        raise VenueRefused("http_401", "The key has lapsed.")


@pytest.mark.usefixtures("company")
def test_prices_that_are_refused_leave_the_rest_going(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[str] = []
    monkeypatch.setattr(market.doorbell, "ring", lambda: rung.append("work"))
    monkeypatch.setattr(market.doorbell, "ring_for_a_beat", lambda: rung.append("beat"))
    held = leases.acquire("market", holder="test", seconds=60)
    assert held is not None
    loop = market.Loop(Refusing(), held)  # type: ignore[arg-type]
    with capture_logs() as logged:
        for _ in range(3):
            loop.tick(now=db.now())
    assert rung == ["work", "beat"]
    assert [line["why"] for line in logged if line["action"] == "prices_away"] == ["The key has lapsed."]
