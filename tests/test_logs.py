"""What a line of the log holds, and what it never may."""

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from tests.race.stage import ROOT

FAILING = """
import structlog
from tradeco.common import logs
logs.configure(process=PROCESS)
def fails(passphrase):
    raise ValueError("this failed")
try:
    fails("the canary sings")
except ValueError:
    structlog.get_logger("x").exception("It failed.", action="failed")
"""


def said(process: str, code: str = FAILING) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code.replace("PROCESS", repr(process))],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout + done.stderr


@pytest.mark.parametrize("process", ["manage", "worker"])
def test_a_traceback_shows_no_values_of_variables(process: str) -> None:
    told = said(process)
    assert "this failed" in told
    assert "Traceback" in told
    assert "canary" not in told.replace('fails("the canary sings")', "")


def test_control_a_pretty_traceback_shows_them() -> None:
    pretty = "import structlog.dev\nstructlog.dev.plain_traceback = structlog.dev.rich_traceback\n"
    assert "canary" in said("manage", pretty + FAILING).replace('fails("the canary sings")', "")


def test_processes_of_a_company_write_one_object_a_line() -> None:
    line: dict[str, Any] = json.loads(io.StringIO(said("worker")).readline())
    assert (line["event"], line["action"], line["level"], line["process"]) == (
        "It failed.",
        "failed",
        "error",
        "worker",
    )
