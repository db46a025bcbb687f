"""Programs with the rights of each role."""

import pytest

from tests.api.program import Program


@pytest.fixture
def stranger(company: None) -> Program:
    return Program()


@pytest.fixture
def viewer(tokens: dict[str, str]) -> Program:
    return Program(tokens["viewer"])


@pytest.fixture
def reviewer(tokens: dict[str, str]) -> Program:
    return Program(tokens["reviewer"])


@pytest.fixture
def operator(tokens: dict[str, str]) -> Program:
    return Program(tokens["operator"])
