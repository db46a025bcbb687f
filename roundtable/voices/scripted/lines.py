"""The sentences of each agent by kind, from lines/<agent>.txt: `[kind]`, then one sentence a line with {slots}."""

import string
from collections.abc import Mapping
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "lines"
STRANGER = "atlas"  # whose lines an agent without lines of its own speaks


@cache
def of(agent: str) -> Mapping[str, tuple[str, ...]]:
    """An agent's sentences by kind."""
    return {kind: tuple(lines) for kind, lines in _read(_file(agent)).items()}


@cache
def slots_of(line: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in string.Formatter().parse(line) if name)


def _file(agent: str) -> Path:
    known = {path.stem: path for path in FOLDER.glob("*.txt")}
    return known.get(agent, known[STRANGER])


def _read(file: Path) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            lines = sections.setdefault(line[1:-1], [])
        elif line.strip() and not line.startswith("#"):
            lines.append(line.strip())
    return sections
