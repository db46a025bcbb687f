"""Each start-up check stays silent where all is well, and speaks with its id and a hint where it isn't."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, run_checks
from django.db.utils import ConnectionHandler
from pytest_django import Settings

from tradeco.common import checks


def ids(found: list[CheckMessage]) -> list[str]:
    assert all(message.hint for message in found), "a check without a hint helps nobody"
    return [str(message.id) for message in found]


@pytest.mark.django_db
def test_nothing_is_wrong_with_the_company_as_it_is_tested() -> None:
    found = [message for message in run_checks(databases=["default"]) if str(message.id).startswith("tradeco.")]
    assert found == []


def test_another_database_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "connection", SimpleNamespace(vendor="sqlite"))
    assert ids(checks.database_is_postgresql(None)) == ["tradeco.E001"]


@pytest.mark.django_db
def test_a_server_that_is_away_is_an_error_and_not_a_reason_to_fall_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    away = {**django_settings.DATABASES["default"], "HOST": str(tmp_path), "PASSWORD": "hunter2"}
    monkeypatch.setattr(checks, "connections", ConnectionHandler({"default": away}))
    found = checks.database_answers(None, databases=["default"])
    assert ids(found) == ["tradeco.E002"]
    assert "hunter2" not in str(found[0])


@pytest.mark.django_db
def test_a_server_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "POSTGRES_OLDEST", 99)
    assert ids(checks.database_answers(None, databases=["default"])) == ["tradeco.E002"]


def test_a_command_that_needs_no_database_asks_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    away = {**django_settings.DATABASES["default"], "HOST": str(tmp_path)}
    monkeypatch.setattr(checks, "connections", ConnectionHandler({"default": away}))
    assert checks.database_answers(None) == []


@pytest.mark.parametrize("path", ["trading.nowhere.rule", "missions.gates.no_such_gate"])
def test_a_path_that_names_nothing_is_found(settings: Settings, path: str) -> None:
    settings.GATES = [*settings.GATES, path]
    found = checks.wiring_resolves(None)
    assert ids(found) == ["tradeco.E003"]
    assert path in found[0].msg


@pytest.mark.parametrize("process", ["worker", "market", "manage"])
def test_a_pool_outside_of_web_is_refused(monkeypatch: pytest.MonkeyPatch, process: str) -> None:
    pooled = {"default": {"OPTIONS": {"pool": {"min_size": 2}}}}
    monkeypatch.setattr(checks, "settings", SimpleNamespace(DATABASES=pooled, TRADECO_PROCESS=process))
    assert ids(checks.pool_is_for_web_only(None)) == ["tradeco.E004"]


def test_web_may_have_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    pooled = {"default": {"OPTIONS": {"pool": {"min_size": 2}}}}
    monkeypatch.setattr(checks, "settings", SimpleNamespace(DATABASES=pooled, TRADECO_PROCESS="web"))
    assert checks.pool_is_for_web_only(None) == []


def test_an_unknown_policy_set_is_told(settings: Settings) -> None:
    settings.POLICY_SET = "brave"
    assert ids(checks.policy_set_is_known(None)) == ["tradeco.W001"]


def test_real_money_is_refused_under_the_policies_of_the_demo(settings: Settings) -> None:
    settings.NETWORK, settings.POLICY_SET = "mainnet", "demo"
    assert ids(checks.real_money_has_careful_policies(None)) == ["tradeco.E006"]
    settings.POLICY_SET = "production"
    assert checks.real_money_has_careful_policies(None) == []
    settings.NETWORK, settings.POLICY_SET = "sandbox", "demo"
    assert checks.real_money_has_careful_policies(None) == []


def test_a_voice_that_nobody_can_reach_is_refused(settings: Settings) -> None:
    settings.VOICE = "shouting"
    assert ids(checks.voice_is_set_up(None)) == ["tradeco.E007"]
    settings.VOICE, settings.VOICE_URL, settings.VOICE_MODEL = "openai", "", "small"
    assert ids(checks.voice_is_set_up(None)) == ["tradeco.E007"]
    settings.VOICE_URL, settings.VOICE_MODEL = "https://voices.example/v1", ""
    assert ids(checks.voice_is_set_up(None)) == ["tradeco.E007"]


@pytest.fixture
def voice(settings: Settings) -> Settings:
    """A language model that can be reached."""
    settings.VOICE, settings.VOICE_URL, settings.VOICE_MODEL = "openai", "https://voices.example/v1", "small"
    assert checks.voice_is_set_up(None) == []
    return settings


@pytest.mark.parametrize(
    "url",
    [
        "http://voices.example/v1",
        "http://localhost.voices.example/v1",
        "http://127.voices.example/v1",
        "https://me:word@voices.example/v1",
        "https://voices.example/v1?key=word",
        "https://voices.example:70000/v1",
        "ftp://localhost/v1",
        "voices.example",
        "//localhost",
    ],
)
def test_a_voice_s_key_is_sent_to_no_address_that_others_can_read(voice: Settings, url: str) -> None:
    voice.VOICE_URL = url
    assert ids(checks.voice_is_set_up(None)) == ["tradeco.E007"]


@pytest.mark.parametrize("url", ["http://localhost:8080/v1", "http://127.0.0.1/v1", "http://[::1]:8080/v1"])
def test_a_voice_on_this_machine_needs_no_encryption(voice: Settings, url: str) -> None:
    voice.VOICE_URL = url
    assert checks.voice_is_set_up(None) == []


@pytest.mark.parametrize("seconds", [-1, 0, 15.1, float("inf"), float("nan")])
def test_a_voice_s_time_out_leaves_a_worker_s_task_its_time(voice: Settings, seconds: float) -> None:
    voice.VOICE_TIMEOUT_SECONDS = seconds
    assert ids(checks.voice_is_set_up(None)) == ["tradeco.E007"]
    voice.VOICE_TIMEOUT_SECONDS = checks.VOICE_TIMEOUT_MOST
    assert checks.voice_is_set_up(None) == []


def test_a_deployment_is_told_what_it_lacks(settings: Settings) -> None:
    settings.TRADECO_TLS, settings.ALLOWED_HOSTS = False, ["*"]
    settings.EMBEDDED_POSTGRES, settings.POLICY_SET = True, "production"
    found = run_checks(include_deployment_checks=True, tags=["security"])
    assert {"tradeco.W010", "tradeco.W011", "tradeco.W012"} <= {message.id for message in found}
    settings.TRADECO_TLS, settings.ALLOWED_HOSTS = True, ["desk.example.org"]
    settings.EMBEDDED_POSTGRES = False
    found = run_checks(include_deployment_checks=True, tags=["security"])
    assert not [message.id for message in found if str(message.id).startswith("tradeco.")]


def test_a_command_against_a_database_that_is_away_fails_loudly_and_says_what_to_do(tmp_path: Path) -> None:
    environment = {**os.environ, "TRADECO_HOME": str(tmp_path)}
    environment.pop("DATABASE_URL", None)
    asked = subprocess.run(
        [sys.executable, "manage.py", "check", "--database", "default"],
        cwd=django_settings.BASE_DIR,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 1
    assert "tradeco.E002" in asked.stderr
    assert "make run" in asked.stderr
