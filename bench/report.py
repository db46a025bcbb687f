"""How a run is shown and kept: a table, a JSON file with the machine's facts, a block of the documentation."""

import json
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

from bench.figures import Figure
from bench.stage import ROOT, Address

RESULTS = ROOT / "bench-results"
PAGE = ROOT / "docs" / "benchmarks.md"
_BLOCK = re.compile(r"(<!-- last run -->\n).*?(<!-- end of last run -->)", re.DOTALL)
_SIGN = {True: "✓", False: "✗", None: ""}
COLUMNS = ("what", "ours", "limit", "ratio", "goal", "")


def facts(address: Address) -> dict[str, Any]:
    """The machine and the program that the figures belong to."""
    with address.connect() as database:
        version = database.execute("SHOW server_version").fetchone()
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "postgresql": version[0] if version else "unknown",
        "commit": _commit(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def show(figures: list[Figure], *, console: Console) -> None:
    table = Table(title="Ours beside its limit, medians of interleaved rounds")
    for name in COLUMNS:
        table.add_column(name, justify="left" if name in ("what", "goal", "") else "right")
    measurement = ""
    for figure in figures:
        if measurement and figure.measurement != measurement:
            table.add_section()
        measurement = figure.measurement
        table.add_row(*_cells(figure), style="" if figure.met is not False else "yellow")
    console.print(table)
    goals = [figure.met for figure in figures if figure.goal]
    console.print(f"{sum(goal is True for goal in goals)} of {len(goals)} goals met.")


def save(figures: list[Figure], about: dict[str, Any], *, folder: Path = RESULTS) -> Path:
    """Keep a run under its date and time."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{about['at'][:19].replace(':', '')}.json"
    path.write_text(json.dumps({"about": about, "figures": [figure.as_json() for figure in figures]}, indent=1) + "\n")
    return path


def write_docs(figures: list[Figure], about: dict[str, Any], *, page: Path = PAGE) -> None:
    """Put this run's table into the page, between its two marks."""
    lines = [
        f"{about['at'][:10]}, commit {about['commit']}, {about['cores']} cores, PostgreSQL {about['postgresql']}, "
        f"Python {about['python']}, load before the run {about['load_before']}.",
        "",
        "| " + " | ".join(COLUMNS) + " |",
        "|---|--:|--:|--:|---|---|",
        *("| " + " | ".join(_cells(figure)) + " |" for figure in figures),
        "",
    ]
    text = page.read_text()
    assert _BLOCK.search(text), f"{page.name} has lost its marks"
    page.write_text(_BLOCK.sub(lambda found: found[1] + "\n".join(lines) + found[2], text))


def _cells(figure: Figure) -> tuple[str, ...]:
    limit = f"{number(figure.limit)} {figure.limit_is}" if figure.limit is not None else ""
    return (
        f"{figure.measurement}: {figure.what}",
        f"{number(figure.ours)} {figure.unit}".strip(),
        limit,
        f"{figure.ratio:.2f} ×" if figure.ratio is not None else "",
        figure.goal.text(figure.unit) if figure.goal else "",
        _SIGN[figure.met],
    )


def number(value: float) -> str:
    """As many digits as mean something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _commit() -> str:
    """The commit, and whether the tree differs from it."""
    try:
        said = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=10"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return said.stdout.strip()
