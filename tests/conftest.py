"""The cast and the stage: a company that is open for business, and the people who come to it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AbstractUser, Group
from django.db import connection
from django.test import TransactionTestCase

from missions import policies
from tests import cast, chain_company, template
from tests.chain_company import ChainCompany
from tests.web_server import WebServer, web_server
from trading.venues.http import Patience

TransactionTestCase._fixture_teardown = lambda self: template.empty()  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _no_memory_between_tests() -> Iterator[None]:
    """Revisions are immutable in a company, but each test opens another one."""
    policies.at.cache_clear()
    structlog.contextvars.clear_contextvars()
    yield
    policies.at.cache_clear()


@pytest.fixture(scope="session")
def kept_company(django_db_setup: None, django_db_blocker: Any) -> None:
    """A company that was opened once, kept beside the tables."""
    with django_db_blocker.unblock():
        template.make()


@pytest.fixture
def company(kept_company: None, db: None) -> None:
    """Six agents, demo policies, 10,000 USDC, four markets with fresh prices and candles, the roles."""
    template.put()


@pytest.fixture
def committed_company(kept_company: None, transactional_db: None) -> None:
    """The same, committed: for tests with threads and processes."""
    template.put()


@pytest.fixture
def chain(db: None, tmp_path: Path) -> Iterator[ChainCompany]:
    """The company on a chain: a sandbox, the real signer, the books opened from what the wallet holds."""
    with chain_company.opened(tmp_path) as opened:
        yield opened


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read outside that fails is asked once more at once: waiting tells a test nothing."""
    hurried = partial(Patience, tries=2, seconds=5.0, wait_first_seconds=0.0, wait_most_seconds=0.0)
    monkeypatch.setattr("trading.venues.http.Patience", hurried)


@pytest.fixture
def committed_chain(transactional_db: None, tmp_path: Path) -> Iterator[ChainCompany]:
    """The same, committed."""
    with chain_company.opened(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def _server(django_db_setup: None) -> Iterator[WebServer]:
    with web_server() as running:
        yield running


@pytest.fixture
def server(_server: WebServer, committed_company: None) -> WebServer:
    """A running daphne, started again where the test before has ended it."""
    if _server.process is None:
        _server.start()
    return _server


@pytest.fixture
def admin_user(kept_company: None, db: None, request: pytest.FixtureRequest) -> AbstractUser:
    """The first staff user."""
    _need_company(request)
    return get_user_model().objects.get(username="admin")


@pytest.fixture
def alice(kept_company: None, db: None, request: pytest.FixtureRequest) -> AbstractUser:
    """A reviewer."""
    _need_company(request)
    return _staff("alice", "reviewer")


@pytest.fixture
def bob(kept_company: None, db: None, request: pytest.FixtureRequest) -> AbstractUser:
    """Another reviewer."""
    _need_company(request)
    return _staff("bob", "reviewer")


@pytest.fixture
def charlie(kept_company: None, db: None, request: pytest.FixtureRequest) -> AbstractUser:
    """Staff without any right."""
    _need_company(request)
    return _staff("charlie", None)


@pytest.fixture
def tokens(kept_company: None, db: None, request: pytest.FixtureRequest) -> dict[str, str]:
    """Secrets of tokens of an operator, a reviewer and a viewer, by role."""
    _need_company(request)
    return cast.issue_tokens()


def _need_company(request: pytest.FixtureRequest) -> None:
    if not {"committed_company", "chain", "committed_chain"} & set(request.fixturenames):
        request.getfixturevalue("company")


def _staff(name: str, role: str | None) -> AbstractUser:
    user = get_user_model().objects.create(username=name, password=cast.hashed_password(), is_staff=True)
    if role:
        user.groups.add(Group.objects.get(name=role))
    return user


@pytest.fixture
def raw_connection() -> Iterator[object]:
    """A second connection to the test database, for locks and interleavings."""
    import psycopg

    settings = connection.settings_dict
    with psycopg.connect(
        dbname=settings["NAME"], user=settings["USER"], host=settings["HOST"], port=settings["PORT"]
    ) as other:
        yield other
