"""Policies: what each is, how one is changed, and that what was in force can be had again."""

from decimal import Decimal
from typing import Any

import pgtrigger
import pytest
from django.contrib.auth.models import AbstractUser
from django.db import connection, transaction
from django.db.utils import InternalError, ProgrammingError
from pydantic import ValidationError

from missions import policies, policy_keys
from missions.models import Company, PolicyVersion
from missions.policies import NoPolicy, UnknownPolicy
from missions.policy_keys import Policy
from tests import cast
from tradeco.common import db
from tradeco.common.errors import InvalidInput
from tradeco.common.models import Event


@pytest.mark.parametrize("key", sorted(Policy.model_fields))
def test_every_policy_says_its_unit_and_why_it_is_there(key: str) -> None:
    about = policy_keys.about(key)
    assert about.unit
    assert len(about.why) > 5


@pytest.mark.parametrize("name", ["production", "demo"])
def test_the_sets_that_ship_are_valid_and_are_json(name: Any) -> None:
    values = policy_keys.opening_values(name)
    assert set(values) == set(Policy.model_fields)
    policy = Policy.model_validate(values)
    assert policy.model_dump(mode="json") == values


def test_production_is_the_careful_one() -> None:
    production = Policy.model_validate(policy_keys.opening_values("production"))
    demo = Policy.model_validate(policy_keys.opening_values("demo"))
    assert (production.quorum, demo.quorum) == (2, 1)
    assert production.human_from_usd < demo.human_from_usd
    assert production.exposure_max < demo.exposure_max
    assert not production.flag_reactive_triggers
    assert not production.flag_scaling
    assert not production.initiative_on


def test_a_company_without_policies_says_so(db: None) -> None:
    with pytest.raises(NoPolicy, match="bootstrap"):
        policies.current()


@pytest.mark.usefixtures("company")
class TestChange:
    def test_writes_a_version_with_author_reason_and_difference_and_an_event(self, alice: AbstractUser) -> None:
        before, _ = policies.current()
        row = policies.change(key="trades_per_day", value=77, author=alice, reason="a quiet week", now=db.now()).version
        assert row is not None
        assert (row.revision, row.version, row.value, row.previous) == (before + 1, 2, 77, 500)
        assert (row.author, row.reason) == (alice, "a quiet week")
        revision, policy = policies.current()
        assert (revision, policy.trades_per_day) == (row.revision, 77)
        event = Event.objects.get(kind="policy.changed", subject="policy:trades_per_day")
        said = {"revision": row.revision, "from": 500, "to": 77, "reason": "a quiet week", "by": "alice"}
        assert event.data == said

    def test_what_was_in_force_at_a_revision_can_be_had_again(self, alice: AbstractUser) -> None:
        first, opening = policies.current()
        cast.set_policy(trades_per_day=10)
        cast.set_policy(exposure_max="0.10")
        cast.set_policy(trades_per_day=20)
        policies.at.cache_clear()
        assert policies.at(first) == opening
        assert (policies.at(first + 1).trades_per_day, policies.at(first + 1).exposure_max) == (10, Decimal("0.30"))
        assert (policies.at(first + 2).trades_per_day, policies.at(first + 2).exposure_max) == (10, Decimal("0.10"))
        assert policies.at(first + 3).trades_per_day == 20

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("trades_per_day", "many"),
            ("trades_per_day", -1),
            ("trades_per_day", True),
            ("trades_per_day", 1.5),
            ("trades_per_day", None),
            ("exposure_max", "1.01"),
            ("exposure_max", "NaN"),
            ("step_lease_seconds", 0),
            ("step_lease_seconds", float("inf")),
            ("auto_approve_kinds", ["rob_a_bank"]),
            ("reactive", [{"event": "x"}]),
            ("proactive", [{"agent": "a", "topic": "b", "step": "execute_trade", "every_minutes": 1}]),
        ],
    )
    def test_a_value_that_does_not_fit_changes_nothing(self, alice: AbstractUser, key: str, value: Any) -> None:
        before = policies.current()
        with pytest.raises(InvalidInput) as refused:
            policies.change(key=key, value=value, author=alice, reason="a try", now=db.now())
        assert refused.value.errors
        assert policies.current() == before

    def test_thresholds_keep_their_order(self, alice: AbstractUser) -> None:
        with pytest.raises(InvalidInput, match="human_from_usd"):
            policies.change(key="human_from_usd", value="2000.01", author=alice, reason="a try", now=db.now())
        with pytest.raises(InvalidInput):
            policies.change(key="four_eyes_from_usd", value="499", author=alice, reason="a try", now=db.now())
        policies.change(key="human_from_usd", value="2000", author=alice, reason="just so", now=db.now())

    def test_a_vote_ends_before_its_proposal_lapses(self, alice: AbstractUser) -> None:
        for key, value in (("vote_deadline_minutes", 31), ("proposal_expires_minutes", 2)):
            with pytest.raises(InvalidInput, match="vote_deadline_minutes must not exceed proposal_expires_minutes"):
                policies.change(key=key, value=value, author=alice, reason="a try", now=db.now())
        policies.change(key="vote_deadline_minutes", value=30, author=alice, reason="just so", now=db.now())

    def test_a_policy_that_nobody_knows(self, alice: AbstractUser) -> None:
        with pytest.raises(UnknownPolicy):
            policies.change(key="free_money", value=1, author=alice, reason="a try", now=db.now())

    def test_may_be_to_none_where_its_type_says_so(self, alice: AbstractUser) -> None:
        policies.change(key="max_hold_minutes", value=None, author=alice, reason="no limit", now=db.now())
        assert policies.current()[1].max_hold_minutes is None

    @pytest.mark.parametrize(
        "statement", ["UPDATE missions_policyversion SET value = '9'", "DELETE FROM missions_policyversion"]
    )
    def test_the_database_lets_nobody_rewrite_a_version(self, statement: str) -> None:
        with pytest.raises((InternalError, ProgrammingError)), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)

    def test_opening_again_changes_nothing_that_stands(self) -> None:
        cast.set_policy(trades_per_day=5)
        before = PolicyVersion.objects.count()
        with db.transaction():
            policies.open_with(name="production", now=db.now())
        assert PolicyVersion.objects.count() == before
        assert policies.current()[1].trades_per_day == 5

    def test_a_key_without_a_version_has_its_set_s_opening_value(self) -> None:
        """A newer program knows a policy that this company was opened without."""
        with pgtrigger.ignore("missions.PolicyVersion:immutable"):
            PolicyVersion.objects.filter(key="pace_burst").delete()
        policies.at.cache_clear()
        assert policies.current()[1].pace_burst == 40
        Company.objects.update(policy_set="production")
        policies.at.cache_clear()
        assert policies.current()[1].pace_burst == 8

    def test_a_key_that_this_program_does_not_know_is_passed_over(self) -> None:
        cast.force_policy(from_the_future=1)
        policies.current()


def test_a_company_opens_with_the_production_policies(db: None, settings: Any) -> None:
    settings.POLICY_SET = "production"
    cast.open_company()
    policy = policies.current()[1]
    assert (policy.quorum, policy.max_hold_minutes) == (2, None)


def test_a_policy_is_frozen() -> None:
    policy = Policy.model_validate(policy_keys.opening_values("demo"))
    with pytest.raises(ValidationError):
        policy.trades_per_day = 7  # type: ignore[misc]
