"""Where policy asks for two people, one is heard and two act: ending a halt, changing a policy."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AbstractUser
from django.core.management import CommandError, call_command

from missions import company, policies, words
from missions.company import QuorumNeeded
from missions.models import Company, Word
from missions.vocabulary import CompanyStatus
from tests import admin_rows, cast
from tests.api.program import Program
from tradeco.common import db
from tradeco.common.errors import InvalidInput
from tradeco.common.models import Event

ACTIVE, REDUCING, HALTED = CompanyStatus.ACTIVE, CompanyStatus.REDUCING, CompanyStatus.HALTED


@pytest.fixture
def halted(company: None) -> None:
    """Two people are asked for, and the company is halted."""
    cast.force_policy(quorum=2)
    policies.at.cache_clear()
    switch(None, HALTED)


def switch(by: Any, to: CompanyStatus, *, now: datetime | None = None) -> int:
    """How many people are missing."""
    return company.switch(to=to, by=by, reason="because", now=now or db.now()).missing


def status() -> str:
    return Company.objects.get().status


@pytest.mark.usefixtures("halted")
class TestEndingAHalt:
    @pytest.mark.parametrize("to", [ACTIVE, REDUCING])
    def test_takes_two_different_people(self, alice: AbstractUser, bob: AbstractUser, to: CompanyStatus) -> None:
        assert [switch(alice, to), status(), switch(alice, to), status()] == [1, "halted", 1, "halted"]
        assert switch(bob, to) == 0
        assert status() == to
        assert Event.objects.get(kind=f"company.{to}").data["by"] == "alice, bob"
        assert Event.objects.filter(kind="word.given", data__missing=1).exists()

    def test_control_one_person_does_it_where_words_are_not_counted(
        self, alice: AbstractUser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(words, "give", lambda **_: words.Heard(0, ("alice",)))
        switch(alice, ACTIVE)
        assert status() == "active"

    def test_a_word_for_one_thing_is_none_for_another(self, alice: AbstractUser, bob: AbstractUser) -> None:
        switch(alice, REDUCING)
        assert switch(bob, ACTIVE) == 1
        assert status() == "halted"

    def test_a_word_counts_for_a_day(self, alice: AbstractUser, bob: AbstractUser) -> None:
        now = db.now()
        Company.objects.update(changed_at=now - timedelta(days=9))
        switch(alice, ACTIVE, now=now - words.COUNTS_FOR)
        assert switch(bob, ACTIVE, now=now) == 1
        assert switch(alice, ACTIVE, now=now) == 0  # said again, it counts again

    def test_a_word_of_before_the_newest_halt_does_not_count(self, alice: AbstractUser, bob: AbstractUser) -> None:
        switch(alice, ACTIVE)
        cast.force_policy(quorum=1)
        switch(bob, ACTIVE)
        cast.force_policy(quorum=2)
        switch(None, HALTED)
        assert switch(bob, ACTIVE) == 1
        assert status() == "halted"

    def test_the_act_uses_the_words_up(self, alice: AbstractUser, bob: AbstractUser) -> None:
        switch(alice, ACTIVE)
        switch(bob, ACTIVE)
        assert not Word.objects.filter(used_at=None).exists()
        switch(None, HALTED)
        assert switch(bob, ACTIVE) == 1

    def test_the_word_of_somebody_let_go_since_does_not_count(self, alice: AbstractUser, bob: AbstractUser) -> None:
        switch(alice, ACTIVE)
        alice.is_active = False
        alice.save()
        assert switch(bob, ACTIVE) == 1

    def test_the_company_itself_never_does_it(self) -> None:
        with pytest.raises(QuorumNeeded):
            switch(None, ACTIVE)

    def test_is_said_by_commands_too(self, admin_user: AbstractUser) -> None:
        admin_rows.person("olga", "operator")
        with pytest.raises(CommandError, match="1 more person") as waits:
            call_command("resume", reason="over", user="olga")
        assert waits.value.returncode == 3
        call_command("resume", reason="over")
        assert status() == "active"

    def test_who_may_not_is_not_heard(self, bob: AbstractUser) -> None:
        with pytest.raises(CommandError, match="no active user 'bob' who may say so"):
            call_command("resume", reason="over", user="bob")


@pytest.mark.usefixtures("company")
def test_taking_risk_away_is_one_person_s_act(alice: AbstractUser) -> None:
    cast.force_policy(quorum=2)
    assert (switch(alice, REDUCING), status()) == (0, "reducing")
    assert (switch(alice, ACTIVE), status()) == (1, "reducing")
    assert (switch(alice, HALTED), status()) == (0, "halted")


@pytest.mark.usefixtures("company")
class TestChangingAPolicy:
    @pytest.fixture
    def ask(self) -> Callable[..., policies.Changed]:
        cast.force_policy(quorum=2)
        policies.at.cache_clear()
        return lambda by, value, key="trades_per_day": policies.change(
            key=key, value=value, author=by, reason="because", now=db.now()
        )

    def test_takes_two_people_who_want_the_same(self, ask: Any, alice: AbstractUser, bob: AbstractUser) -> None:
        assert ask(alice, 9) == policies.Changed(None, 1)
        assert ask(bob, 8).missing == 1
        assert policies.current()[1].trades_per_day == 500
        row = ask(bob, 9).version
        assert (row.value, row.author, policies.current()[1].trades_per_day) == (9, bob, 9)
        assert Event.objects.get(kind="policy.changed").data["by"] == "alice, bob"
        assert ask(alice, 8).missing == 1, "bob's 8 was about what stood before"

    def test_none_is_a_value(self, ask: Any, alice: AbstractUser, bob: AbstractUser) -> None:
        ask(alice, None, "max_hold_minutes")
        ask(bob, None, "max_hold_minutes")
        assert policies.current()[1].max_hold_minutes is None

    def test_what_does_not_fit_is_nobody_s_word(self, ask: Any, alice: AbstractUser) -> None:
        with pytest.raises(InvalidInput):
            ask(alice, "many")
        assert not Word.objects.exists()

    def test_the_quorum_goes_up_as_far_as_there_are_people_and_down_again(self, admin_user: AbstractUser) -> None:
        olga = admin_rows.person("olga", "operator")

        def quorum(by: Any, value: int) -> int:
            return policies.change(key="quorum", value=value, author=by, reason="x", now=db.now()).missing

        with pytest.raises(InvalidInput, match="2 here may"):
            quorum(olga, 3)
        assert [quorum(olga, 2), quorum(olga, 1), quorum(admin_user, 1)] == [0, 1, 0]
        assert policies.current()[1].quorum == 1


@pytest.mark.usefixtures("halted")
def test_programs_are_told_how_many_are_missing(tokens: dict[str, str]) -> None:
    from dashboard.models import ApiToken

    other = admin_rows.person("olga", "operator")
    _, secret = ApiToken.issue(user=other, name="x", scopes=["read", "operate"], now=db.now())
    first, second = Program(tokens["operator"]), Program(secret)
    for path, body in (
        ("company/resume/", {"reason": "over"}),
        ("policies/trades_per_day/versions/", {"value": 9, "reason": "calm"}),
    ):
        waits = first.post(path, body, key=path)
        assert (waits.status_code, waits.json()["missing"]) == (202, 1)
        again = first.post(path, body, key=path)
        assert (again.status_code, again["Idempotency-Replayed"]) == (202, "true")
        assert second.post(path, body).status_code in (200, 201)
    assert (status(), policies.current()[1].trades_per_day) == ("active", 9)
