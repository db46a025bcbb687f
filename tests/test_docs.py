"""The documentation says what is: complete where it lists, current where it is generated, without dead ends."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from django.conf import settings
from django.core.management import call_command, get_commands
from django.core.management.base import CommandError

from dashboard import reference
from missions import drafts
from missions.policy_keys import Policy
from missions.vocabulary import StepKind
from tradeco.common.errors import family
from tradeco.common.vocabulary import EventKind
from tradeco.common.wiring import load
from trading.signer import passphrase

ROOT: Path = settings.BASE_DIR
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *DOCS.rglob("*.md")])
MADE_BY_US = {"TRADECO_PROCESS", "DJANGO_SETTINGS_MODULE"}


# --- reference pages ------------------------------------------------------------------------------


def test_the_generated_pages_are_as_the_code_would_write_them() -> None:
    assert reference.differences(DOCS / "reference") == [], "run `make docs`"


def test_a_page_that_lags_behind_the_code_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "PAGES", {"events.md": reference.events})
    monkeypatch.setattr(settings, "BASE_DIR", tmp_path)
    call_command("reference", write=True, verbosity=0)
    call_command("reference", check=True)
    page = tmp_path / "docs" / "reference" / "events.md"
    page.write_text(page.read_text().replace(EventKind.ALARM.label, "Nothing"))
    with pytest.raises(CommandError, match=r"events\.md"):
        call_command("reference", check=True)


@pytest.mark.parametrize(
    ("page", "named"),
    [
        ("policies.md", list(Policy.model_fields)),
        ("events.md", list(EventKind.values)),
        ("step-kinds.md", list(StepKind.values)),
        ("gates.md", [path.rpartition(".")[2] for path in settings.GATES] + list(settings.FACTS)),
    ],
)
def test_a_reference_page_names_everything_there_is(page: str, named: list[str]) -> None:
    text = (DOCS / "reference" / page).read_text()
    assert [name for name in named if f"`{name}`" not in text] == []


def test_every_error_is_documented_and_its_code_means_one_thing_to_a_client() -> None:
    reference.errors()  # imports all there is
    text = (DOCS / "reference" / "errors.md").read_text()
    assert [error.code for error in family() if f"`{error.code}`" not in text] == []
    status_of: dict[str, set[int]] = {}
    for error in family():
        status_of.setdefault(error.code, set()).add(error.status)
    assert {code: found for code, found in status_of.items() if len(found) > 1} == {}


def variables_read() -> set[str]:
    """The environment variables that our code reads."""
    read = re.compile(r"""(?:\benv\.\w+\(|os\.environ\.(?:get|setdefault)\(|os\.environ\[)\s*["'](\w+)["']""")
    asked = re.compile(r"""["'](\w+)["'] (?:not )?in os\.environ""")
    found = {passphrase.VARIABLE, passphrase.FILE_VARIABLE}
    for package in reference.OURS:
        for path in (ROOT / package).rglob("*.py"):
            text = path.read_text()
            found |= set(read.findall(text)) | set(asked.findall(text))
    return found


def test_every_environment_variable_is_documented_and_no_other() -> None:
    text = (DOCS / "reference" / "settings.md").read_text()
    documented = set(re.findall(r"^\| `([A-Z_]+)`", text, flags=re.MULTILINE))
    assert len(variables_read()) > 15, "this looked at nothing"
    assert documented == variables_read() | MADE_BY_US


def test_readme_gives_the_defaults_that_the_settings_have() -> None:
    readme = (ROOT / "README.md").read_text()
    for variable in ("PORT", "HOST", "TRADECO_HOME", "DATABASE_URL", "TRADECO_ADMIN_PASSWORD", "TRADECO_SEED"):
        assert f"`{variable}`" in readme
    source = (ROOT / "tradeco" / "settings.py").read_text()
    for variable, default in {"PORT": "8000", "TRADECO_SEED": "7"}.items():
        assert f'"{variable}", default={default})' in source
        assert f"`{default}`" in readme


@pytest.mark.usefixtures("company")
def test_every_metric_is_documented() -> None:
    text = (DOCS / "reference" / "metrics.md").read_text()
    families = [family for path in settings.METRICS for family in load(path)()]
    names = {sample.name for family in families for sample in family.samples}
    assert len(names) > 8
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []


def test_the_heartbeats_phases_and_budgets_are_documented() -> None:
    text = (DOCS / "explanation" / "heartbeat.md").read_text()
    rows = re.findall(r"^\| (\w+) \|.*\| (\d+) ms \|$", text, flags=re.MULTILINE)
    assert rows == [(name, str(budget)) for name, _, budget, _ in settings.HEARTBEAT]


# --- links, commands, examples --------------------------------------------------------------------


def headings(page: Path) -> set[str]:
    """The anchors of a page, as forges make them of headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in found}


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            name, _, anchor = unquote(target).partition("#")
            yield target, (page.parent / name).resolve() if name else page, anchor


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_is_dead(page: Path) -> None:
    dead = [
        target
        for target, file, anchor in links(page)
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in headings(file))
    ]
    assert dead == []


def test_every_page_can_be_reached_from_the_first_one() -> None:
    reached, waiting = set[Path](), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md" and page.exists():
            reached.add(page)
            waiting += [file for _, file, _ in links(page)]
    assert set(DOCS.rglob("*.md")) - reached == set()


def commands_of(text: str) -> str:
    """What stands in code: blocks and spans."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", text, flags=re.DOTALL))


def test_every_make_target_that_is_named_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    assert {"help", "run", "test", "test-fast", "test-slow", "check", "bench", "docs", "lock", "clean"} <= targets
    for page in PAGES:
        named = set(re.findall(r"\bmake (?:[A-Z]+=\S+ )*([a-z-]+)", commands_of(page.read_text())))
        assert named - targets == set(), page


def test_every_management_command_that_is_named_exists() -> None:
    known = set(get_commands())
    for page in PAGES:
        named = set(re.findall(r"manage\.py ([a-z_]+)", commands_of(page.read_text())))
        assert named - known == set(), page


def proposals_in(page: Path) -> list[object]:
    """The JSON bodies of curl examples that hand in proposals."""
    bodies = re.findall(r"-d '(\{.*?\})'", page.read_text(), flags=re.DOTALL)
    return [body for body in map(json.loads, bodies) if "steps" in body]


@pytest.mark.parametrize("page", ["README.md", "docs/how-to/use-the-api.md"])
def test_the_proposals_in_examples_are_valid(page: str) -> None:
    found = proposals_in(ROOT / page)
    assert found
    for body in found:
        drafts.read(body)


def test_every_decision_stands_in_their_list() -> None:
    listed = (DOCS / "decisions" / "index.md").read_text()
    numbered = sorted((DOCS / "decisions").glob("0*.md"))
    assert [path.name for path in numbered if path.name not in listed] == []
    assert [int(path.name[:4]) for path in numbered] == list(range(1, len(numbered) + 1))
