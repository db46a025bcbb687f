"""What persons do in an agent's name is no experience of the agent's: it teaches nothing, alone or in groups."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser

from agents.models import Memory
from missions.mind import groups, learning
from missions.mind.groups import Group
from missions.models import Mission, Outcome
from tests import admin_rows, cast
from tradeco.common import db
from trading import stops
from trading.models import Position

SOL = "SOL/USDC"


@pytest.fixture(autouse=True)
def _a_round_price(company: None) -> None:
    cast.set_price(SOL, "100")
    cast.set_policy(stop_loss="0.02", take_profit="0.02")


def buy(author: AbstractUser | None) -> None:
    assert cast.submit(cast.buy(SOL, "100.00"), author=author).status == "approved"
    cast.work()


def sell_at_a_profit() -> None:
    cast.set_price(SOL, "105")
    stops.run(now=db.now(), limit=10)
    cast.work()
    assert Outcome.objects.get(kind="exit").pnl_usd


def learn() -> list[str]:
    """Learn from the one outcome that may teach something; the types of what is remembered then."""
    assert learning.run(now=db.now(), limit=5)["outcomes"] == 1
    return list(Memory.objects.values_list("type", flat=True))


def test_what_only_a_person_bought_teaches_the_agent_nothing(admin_user: AbstractUser) -> None:
    buy(admin_user)
    sell_at_a_profit()
    assert learn() == []
    assert groups.measure(since=db.now() - timedelta(hours=1), samples_min=1) == []


@pytest.mark.parametrize(("by_person", "learnt"), [(True, []), (False, ["strategy"])])
def test_nor_does_selling_a_part_of_it(admin_user: AbstractUser, by_person: bool, learnt: list[str]) -> None:
    buy(admin_user if by_person else None)
    cast.set_price(SOL, "101")
    part = {"position": Position.objects.get().pk, "direction": "down", "size_usd": "50.00"}
    cast.submit(cast.draft(steps=[{"kind": "scale_position", "params": part}]))
    cast.work()
    assert learn() == learnt


def test_control_what_an_agent_bought_into_as_well_teaches_it(admin_user: AbstractUser) -> None:
    buy(admin_user)
    buy(None)
    sell_at_a_profit()
    assert learn() == ["strategy"]
    (group,) = groups.measure(since=db.now() - timedelta(hours=1), samples_min=1)
    assert (group.kind, group.n) == ("exit", 1)


@pytest.mark.parametrize(("by_person", "learnt"), [(True, []), (False, ["lesson"])])
def test_what_failed_for_a_person_teaches_the_agent_nothing(
    admin_user: AbstractUser, by_person: bool, learnt: list[str]
) -> None:
    cast.set_policy(price_impact_max="0")
    buy(admin_user if by_person else None)
    assert learn() == learnt


def test_groups_leave_out_what_persons_had_done(admin_user: AbstractUser) -> None:
    now = db.now()
    ended: dict[str, Any] = {"agent_id": "scout", "kind": "exit"}
    for author, pnl in [(None, "1"), (None, "3"), (admin_user, "50"), (admin_user, "-90")]:
        done = admin_rows.proposal(author=author, status="approved", decided_at=now, waits_for_people_since=None)
        mission = Mission.objects.create(proposal=done, created_at=now, **ended)
        Outcome.objects.create(
            mission=mission, succeeded=True, pnl_usd=pnl, details={"market": SOL}, by_person=author is not None, at=now,
            **ended,
        )  # fmt: skip
    found = groups.measure(since=now - timedelta(hours=1), samples_min=2)
    assert found == [Group("scout", "exit", SOL, 2, Decimal(2))]
