"""The restore drill as a person runs it: a company of its own, restored beside a chain that has gone on."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from trading.drill import Verdict

pytestmark = [pytest.mark.enable_socket, pytest.mark.xdist_group("a whole company")]
SOUND = {"traded": 50, "found": 50, "repeated": 0, "looked_up": True, "let_go": True, "status": "halted"}


def drilled(*arguments: str, home: Path) -> tuple[int, dict[str, Any], str]:
    """Exit code, verdict, and what else was said."""
    done = subprocess.run(
        [sys.executable, "manage.py", "drill", *arguments],
        cwd=settings.BASE_DIR,
        env=os.environ | {"TRADECO_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stdout.strip().splitlines()[-1:] or ["{}"]
    return done.returncode, json.loads(last[0]) if last[0].startswith("{") else {}, done.stdout + done.stderr


def holds(trades: int, home: Path) -> None:
    code, verdict, said = drilled("--trades", str(trades), "--before", "3", home=home)
    assert code == 0, said
    assert verdict == {**SOUND, "traded": verdict["traded"], "found": verdict["traded"], "ok": True}
    assert verdict["traded"] >= trades
    assert not (home / "backups").exists(), "the drill has a folder of its own"


@pytest.mark.timeout(400)
def test_a_company_restored_to_before_some_trades_boots_halted_finds_them_and_repeats_none(tmp_path: Path) -> None:
    holds(4, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_company_restored_to_before_fifty_trades_boots_halted_finds_them_and_repeats_none(tmp_path: Path) -> None:
    holds(50, tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"found": 49},
        {"repeated": 1},
        {"status": "active"},
        {"looked_up": False},
        {"let_go": False},
        {"traded": 0, "found": 0},
    ],
)
def test_the_verdict_is_sound_only_where_all_of_it_is(wrong: dict[str, Any]) -> None:
    assert Verdict(**SOUND).ok
    assert not Verdict(**{**SOUND, **wrong}).ok


def test_a_drill_is_not_held_in_a_companys_own_folder(tmp_path: Path) -> None:
    code, verdict, said = drilled("--inside", home=tmp_path)
    assert (code, verdict) == (1, {})
    assert "own folder" in said
