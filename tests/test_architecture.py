"""The order of the house beyond what linters see: layers of foreign keys, wiring, sizes, what the tree may hold."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.apps import apps
from django.conf import settings
from django.db.models import Field
from django.utils.module_loading import import_string

from missions.gates import Gate
from missions.handlers import Handler
from missions.vocabulary import StepKind
from tradeco.common import checks

ROOT: Path = settings.BASE_DIR
LEVEL = {"common": 0, "agents": 1, "missions": 2, "trading": 3, "roundtable": 3, "dashboard": 4}
OURS = ("tradeco", "agents", "missions", "trading", "roundtable", "dashboard")
LINES_MOST = 450
DJANGOS_OWN = {  # settings with our paths in them that Django, DRF or `up` look up themselves
    "SETTINGS_MODULE",
    "FORMAT_MODULE_PATH",
    "SESSION_ENGINE",
    "INSTALLED_APPS",
    "MIDDLEWARE",
    "ROOT_URLCONF",
    "ASGI_APPLICATION",
    "WSGI_APPLICATION",
    "REST_FRAMEWORK",
    "SPECTACULAR_SETTINGS",
    "UP_PROCESSES",
    "TEMPLATES",
}


# --- layers ---------------------------------------------------------------------------------------


def points_down(own: str, target: str) -> bool:
    """Whether an app may hold a foreign key to another: itself, a lower one, or one that isn't ours."""
    return own == target or target not in LEVEL or LEVEL[target] < LEVEL[own]


def foreign_keys() -> Iterator[tuple[str, str, Field]]:
    for model in apps.get_models():
        if model._meta.app_label in LEVEL:
            for field in model._meta.get_fields():
                if isinstance(field, Field) and field.is_relation and field.related_model:
                    yield model._meta.app_label, field.related_model._meta.app_label, field


def test_every_foreign_key_points_down_the_layers() -> None:
    found = list(foreign_keys())
    assert len(found) > 20, "this looked at nothing"
    assert [str(field) for own, target, field in found if not points_down(own, target)] == []


@pytest.mark.parametrize(("own", "target"), [("missions", "trading"), ("trading", "roundtable"), ("common", "agents")])
def test_a_foreign_key_that_points_up_or_sideways_would_be_found(own: str, target: str) -> None:
    assert not points_down(own, target)


# --- wiring ---------------------------------------------------------------------------------------


def test_every_path_of_the_wiring_tables_resolves() -> None:
    assert checks.wiring_resolves(None) == []
    assert len(list(checks.wiring_paths())) > 40, "this looked at nothing"


def test_no_wiring_table_is_unknown_to_the_start_up_check() -> None:
    ours = re.compile(rf"^(?:{'|'.join(OURS)})\.[\w.]+$")
    tables = {
        name
        for name in dir(settings)
        if name.isupper() and any(ours.match(path) for path in checks._paths_in(getattr(settings, name)))
    }
    assert tables - DJANGOS_OWN - set(checks.WIRING) == set()


def test_handlers_are_of_known_kinds_and_are_handlers() -> None:
    for kind, path in settings.STEP_HANDLERS.items():
        assert issubclass(import_string(path), Handler), StepKind(kind)


def test_every_fact_that_a_gate_reads_has_a_provider() -> None:
    gates = [import_string(path) for path in settings.GATES]
    assert all(isinstance(gate, Gate) for gate in gates)
    assert {fact for gate in gates for fact in gate.facts} <= set(settings.FACTS)


def test_a_beat_is_made_of_phases_that_fit_into_its_lease() -> None:
    from missions.heartbeat import LEASE_SECONDS

    names = [name for name, _, _, _ in settings.HEARTBEAT]
    assert len(names) == len(set(names))
    assert sum(budget for _, _, budget, _ in settings.HEARTBEAT) / 1000 <= LEASE_SECONDS


# --- the tree -------------------------------------------------------------------------------------


def tree() -> list[Path]:
    """What is, or is about to be, in the repository; everything but the obvious where there is no repository."""
    asked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if asked.returncode == 0:
        found = [ROOT / name for name in asked.stdout.decode().split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not re.search(r"/(\.\w+|__pycache__)/", f"/{path}/")]
    return [path for path in found if path.is_file()]


def code() -> list[Path]:
    found = [path for path in tree() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in OURS]
    assert len(found) > 50, "this looked at nothing"
    return found


def texts() -> Iterator[tuple[str, str]]:
    for path in tree():
        try:
            yield str(path.relative_to(ROOT)), path.read_text()
        except UnicodeDecodeError:
            continue  # an image


def test_no_file_has_grown_into_two() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in code()
        if "migrations" not in path.parts and (lines := len(path.read_text().splitlines())) > LINES_MOST
    }
    assert long == {}


def test_library_code_logs_and_never_prints() -> None:
    printing = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in code()
        if "commands" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert printing == []


REGISTRY = re.compile(
    "|".join(
        [
            r"(?<!no-emit-)index" + "-url",
            r"pypi\.org/" + "simple",
            r"files\.python" + "hosted",
            r"registry\.npm" + "js",
            r'"resolved": *"' + "http",
        ]
    )
)
MACHINE = re.compile(r"(?<![\w.~-])/(?:root|home/\w+|Users/\w+)/")


def test_no_registry_address_is_in_the_tree() -> None:
    assert [name for name, text in texts() if REGISTRY.search(text)] == []


def test_no_path_of_a_machine_is_in_the_tree() -> None:
    found = [name for name, text in texts() if MACHINE.search(text) or f"{ROOT}/" in text]
    assert [name for name in found if name != "tests/test_architecture.py"] == []


@pytest.mark.parametrize("text", ["--index" + "-url https://x", "see /root" + "/x", "in /home" + "/me/x"])
def test_what_may_not_be_in_the_tree_would_be_found(text: str) -> None:
    assert REGISTRY.search(text) or MACHINE.search(text)


def pins(name: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements" / name).read_text(), flags=re.MULTILINE))


def test_the_tests_run_on_the_versions_that_the_company_runs_on() -> None:
    run, dev = pins("run.txt"), pins("dev.txt")
    assert len(run) > 50
    assert {name: version for name, version in run.items() if dev.get(name) != version} == {}


def test_every_locked_package_has_its_hash() -> None:
    for name in ("run.txt", "dev.txt"):
        text = (ROOT / "requirements" / name).read_text()
        entries = re.split(r"^(?=[\w.-]+==)", text, flags=re.MULTILINE)[1:]
        assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
