"""The reference pages that are written from the code, so that they can't drift from it.

Each page is a function that returns Markdown; `PAGES` names them. Writing and comparing files is the command
`reference`'s affair. Nothing here asks the database.
"""

import ast
import inspect
import pkgutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import get_commands, load_command_class

from missions import drafts, policy_keys
from missions.gates import Gate
from missions.policy_keys import Policy
from missions.vocabulary import CAP_OF_KIND, TRADING_KINDS
from tradeco.common import checks
from tradeco.common.errors import DomainError, family
from tradeco.common.vocabulary import EventKind
from tradeco.common.wiring import load

OURS = ("tradeco", "agents", "missions", "trading", "roundtable", "dashboard")
WRITTEN = "<!-- Written by `make docs` from the code. Change the code, not this page. -->"


def policies() -> str:
    """Every policy with its unit, reason and opening values, then the tables that some of them are."""
    rows, tables = [], []
    for key in Policy.model_fields:
        about = policy_keys.about(key)
        if _is_table(about.production):
            rows.append((f"`{key}`", about.unit, about.why, "[below](#tables)", "[below](#tables)"))
            tables.append(f"### `{key}`\n\n{about.why}.{_same(about)}\n\n{_rows_as_table(about.demo)}")
        else:
            rows.append((f"`{key}`", about.unit, about.why, _value(about.production), _value(about.demo)))
    head = ("policy", "unit", "why it is there", "production", "demo")
    intro = (
        "Policies are data: versioned rows that staff change while the company runs"
        " ([how](../how-to/change-a-policy.md)). A new company opens with one of two sets,"
        " `TRADECO_POLICY_SET`: **production** is meant for real money, **demo** is what `make run` uses."
        " A share is a fraction: 0.05 is 5 %."
    )
    return _page("Policies", intro, _table(head, rows), "## Tables", *tables)


def events() -> str:
    rows = [(f"`{kind.value}`", kind.label) for kind in EventKind]
    intro = (
        "Every kind of event, as the API, the websocket, the triggers and the pages name it. An event has an `id`,"
        " a `kind`, a time `at`, a `subject` such as `proposal:42`, the `agent` that acted if one did, and `data`."
        " [How events are read](../explanation/events.md)."
    )
    return _page("Events", intro, _table(("kind", "what happened"), rows))


def step_kinds() -> str:
    intro = (
        "The kinds of steps a proposal may have, and the parameters of each: one schema for the API, the admin and the"
        f" agents. Unknown parameters are refused. A proposal has 1 to {drafts.STEPS_MAX} steps, and money moves in"
        " one of them at most. Amounts are decimal strings."
    )
    return _page("Step kinds", intro, *(_step_kind(kind) for kind in drafts.PARAMS))


def errors() -> str:
    """Every domain error; importing all of our modules first makes the family complete."""
    _import_everything()
    found = sorted({(e.code, e.status, e.title, f"`{e.__module__}`") for e in family(DomainError)})
    rows = [(f"`{code}`", str(status), title, where) for code, status, title, where in found]
    intro = (
        "Every expected failure has a stable `code`. The API answers with `application/problem+json` and the HTTP"
        " status given here; the admin and the commands show the same words. What a *gate* refuses is no error but a"
        " stored decision: its codes are with the [gates](gates.md)."
    )
    return _page("Errors", intro, _table(("code", "status", "title", "where"), rows))


def gates() -> str:
    found: list[Gate] = [load(path) for path in settings.GATES]
    rows = [
        (
            str(place),
            f"`{gate.name}`",
            _says(gate),
            ", ".join(f"`{fact}`" for fact in gate.facts) or "–",
            _concerns(gate),
            ", ".join(_codes(gate)),
        )
        for place, gate in enumerate(found, start=1)
    ]
    facts = [(f"`{name}`", f"`{path}`", _summary(load(path))) for name, path in settings.FACTS.items()]
    intro = (
        "The rules a proposal meets, in this order, at submission and again in the approving transaction. Every verdict"
        " is stored with the facts it was given. A gate that errors denies, with the code `gate_error`."
        " The lists are `GATES` and `FACTS` in `tradeco/wiring.py`."
    )
    head = ("", "gate", "says", "reads the facts", "concerns", "denies with")
    about_facts = _table(("fact", "provided by", "what it is"), facts)
    return _page("Gates", intro, _table(head, rows), "## Facts", about_facts)


def start_up_checks() -> str:
    rows = []
    for check in vars(checks).values():
        doc = inspect.getdoc(check) or "" if callable(check) and hasattr(check, "tags") else ""
        if doc.startswith("tradeco."):
            check_id, said = doc.split(": ", 1)
            when = _when(check.tags)
            rows.append((f"`{check_id}`", said[:1].upper() + said[1:], when))
    intro = (
        "`manage.py check` and every command of ours run them; each message comes with a hint. An `E` stops the"
        " command, a `W` only warns."
    )
    return _page("Start-up checks", intro, _table(("id", "why", "runs"), sorted(rows)))


def commands() -> str:
    intro = "The commands of `python manage.py`. Each explains itself with `--help`."
    found = {name: app for name, app in get_commands().items() if app in OURS or app.startswith("tradeco")}
    rows = [
        (f"`{name}`", " ".join(str(load_command_class(app, name).help).split())) for name, app in sorted(found.items())
    ]
    return _page("Commands", intro, _table(("command", "does"), rows))


PAGES = {
    "policies.md": policies,
    "events.md": events,
    "step-kinds.md": step_kinds,
    "errors.md": errors,
    "gates.md": gates,
    "checks.md": start_up_checks,
    "commands.md": commands,
}


# --- from code to words ---------------------------------------------------------------------------


def _step_kind(kind: Any) -> str:
    model = drafts.PARAMS[kind]
    schema = model.model_json_schema()
    rows = [
        (f"`{name}`", _type(_resolved(about, schema)), "yes" if name in schema.get("required", ()) else "no")
        for name, about in schema.get("properties", {}).items()
    ]
    parameters = _table(("parameter", "value", "required"), rows) if rows else "No parameters."
    handled = settings.STEP_HANDLERS.get(kind.value)
    return "\n\n".join(
        [
            f"## `{kind.value}`",
            inspect.getdoc(model) or "",
            f"Spends the cap `{CAP_OF_KIND[kind].value}`. "
            + (f"Carried out by `{handled}`." if handled else "Nobody carries it out yet: a gate refuses it."),
            parameters,
        ]
    )


def _resolved(about: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference to one of the schema's definitions stands for."""
    named = about.get("$ref", "").removeprefix("#/$defs/")
    found: Mapping[str, Any] = schema["$defs"][named] if named else about
    return found


def _type(about: Mapping[str, Any]) -> str:
    """A JSON schema as a few words."""
    choices = [part for part in about.get("anyOf", ()) if part.get("type") != "null"]
    if len(choices) == 1:
        return _type(choices[0])
    if "enum" in about:
        return " or ".join(f"`{value}`" for value in about["enum"])
    limits = [words.format(about[key]) for key, words in _BOUNDS.items() if _tells(about.get(key))]
    shape = [f"matching `{about['pattern']}`"] if "pattern" in about else []
    return ", ".join(["decimal string" if choices else about["type"], *shape, " ".join(limits)]).rstrip(", ")


_BOUNDS = {
    "gt": "above {}",
    "minimum": "from {}",
    "le": "to {}",
    "maximum": "to {}",
    "decimal_places": "with at most {} decimals",
    "maxLength": "at most {} characters",
}


def _tells(bound: Any) -> bool:
    return bound is not None and float(bound) < 2**53  # beyond it a bound only says that the column ends


def _says(gate: Gate) -> str:
    said = (inspect.getdoc(gate.rule) or gate.name.replace("_", " ").capitalize() + ".").split("\n\n")[0]
    return " ".join(said.split())


def _concerns(gate: Gate) -> str:
    if gate.kinds is None:
        return "every proposal"
    return "trades" if gate.kinds == TRADING_KINDS else ", ".join(sorted(f"`{kind}`" for kind in gate.kinds))


def _codes(gate: Gate) -> list[str]:
    """The codes that a rule's source names in `Deny("code", …)`, and whether it passes on a code from a fact."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(gate.rule))))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    named = [call.args[0] for call in calls if getattr(call.func, "id", "") == "Deny" and call.args]
    constant = [code.value for code in named if isinstance(code, ast.Constant) and isinstance(code.value, str)]
    passed_on = ["the fact's own code"] if len(constant) < len(named) else []
    return [f"`{code}`" for code in sorted(set(constant))] + passed_on


def _when(tags: Iterable[str]) -> str:
    found = set(tags)
    if "database" in found:
        return "with `migrate` and `check --database default`"
    return "with `check --deploy`" if "security" in found else "always"


def _import_everything() -> None:
    for package in OURS:
        root = import_module(package)
        for found in pkgutil.walk_packages(root.__path__, f"{package}."):
            if ".migrations" not in found.name and not found.name.endswith((".asgi", ".wsgi")):
                import_module(found.name)


def _summary(thing: Any) -> str:
    return (inspect.getdoc(thing) or "").split("\n\n")[0].replace("\n", " ")


def _is_table(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], dict)


def _same(about: policy_keys.About) -> str:
    return " The same in both sets." if about.production == about.demo else ""


def _rows_as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    return _table([key.replace("_", " ") for key in rows[0]], [[str(value) for value in row.values()] for row in rows])


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ", ".join(f"`{each}`" for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _page(title: str, *parts: str) -> str:
    return "\n\n".join([WRITTEN, f"# {title}", *parts]).rstrip() + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def differences(folder: Path) -> list[str]:
    """The names of the pages that aren't as the code would write them."""
    return [
        name for name, write in PAGES.items() if not (folder / name).exists() or (folder / name).read_text() != write()
    ]
