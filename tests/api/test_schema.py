"""The OpenAPI document says what the API does, and its reader works under our Content-Security-Policy."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.test import Client
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiYamlRenderer
from drf_spectacular.validation import validate_schema

from missions.models import Proposal
from tests.api.program import Program, is_problem
from tests.api.test_rights import MATRIX

DOCUMENT = Path(settings.BASE_DIR) / "docs" / "reference" / "openapi.yaml"


@pytest.fixture(scope="module")
def described() -> Any:
    return SchemaGenerator().get_schema(request=None, public=True)


def test_the_document_in_the_reference_is_current(described: Any) -> None:
    """Write it anew with: manage.py spectacular --file docs/reference/openapi.yaml"""
    assert DOCUMENT.read_bytes() == OpenApiYamlRenderer().render(described, renderer_context={})


def test_the_document_is_valid_openapi(described: Any) -> None:
    validate_schema(described)


def test_every_operation_is_described_with_its_problems(described: Any) -> None:
    found = {
        (re.sub(r"{\w+}", "{}", path.removeprefix("/api/v1/")), method.upper())
        for path, operations in described["paths"].items()
        for method in operations
        if path.startswith("/api/v1/")
    }
    assert found == {(re.sub(r"<[^>]+>", "{}", path), method) for path, method, _ in MATRIX}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            answers = operation["responses"]
            assert {"400", "401", "403", "503"} <= set(answers), path
            assert ("404" in answers) == ("{" in path), path
            assert ("428" in answers) == (method == "post"), path
            told = answers["400"]["content"]["application/problem+json"]["schema"]
            assert told == {"$ref": "#/components/schemas/Problem"}


def test_the_examples_of_the_document_are_accepted_as_they_stand(described: Any, reviewer: Program) -> None:
    body = described["paths"]["/api/v1/proposals/"]["post"]["requestBody"]["content"]["application/json"]
    for example in body["examples"].values():
        assert reviewer.post("proposals/", example["value"]).status_code == 201
    assert Proposal.objects.count() == len(body["examples"]) == 2


def test_an_answer_has_exactly_the_fields_that_are_described(described: Any, reviewer: Program) -> None:
    from tests.api.program import trade

    shapes = described["components"]["schemas"]
    made = reviewer.post("proposals/", trade("100.00")).json()
    assert set(made) == set(shapes["ProposalShape"]["properties"])
    assert set(made["verdicts"][0]) == set(shapes["VerdictShape"]["properties"])
    for path, shape in (("orders/", "OrderShape"), ("missions/", "MissionShape"), ("steps/", "StepShape")):
        row = reviewer.get(path).json()["results"][0]
        assert set(row) == set(shapes[shape]["properties"])
    problem = is_problem(reviewer.get("nothing/"), 404, "not_found")
    assert set(problem) == set(shapes["Problem"]["properties"])


def test_the_document_is_served(db: None) -> None:
    answer = Client().get("/api/schema/", headers={"Accept": "application/json"})
    assert answer.status_code == 200
    assert json.loads(answer.content)["openapi"].startswith("3.1")


def test_its_reader_needs_nothing_inline(db: None) -> None:
    """The policy allows no inline script or style; the page and its parts come from our own address."""
    page = Client().get("/api/docs/")
    assert page.status_code == 200
    policy = page["Content-Security-Policy"]
    assert "unsafe" not in policy
    text = page.content.decode()
    assert "<style" not in text
    assert " style=" not in text
    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", text) == []
    for address in re.findall(r'(?:src|href)="([^"]+)"', text):
        if address.startswith("/static/"):
            assert finders.find(address.removeprefix("/static/")), address
        else:
            script = Client().get(address.replace("&amp;", "&"))
            assert script["Content-Type"].startswith("application/javascript")
            assert b"/api/schema/" in script.content
