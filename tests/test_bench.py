"""Every measurement runs, with counts so small that the figures mean nothing; and figures are judged as they say."""

import importlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from rich.console import Console

from bench import pgbench, report, rows
from bench.__main__ import MEASUREMENTS, main, measure
from bench.crew import Member, Span, crew, rate
from bench.figures import Figure, itself, percentile, ratio
from bench.stage import Address, Stage, opened

ABOUT = {"at": "2026-11-23T01:02:03+00:00", "commit": "abc", "cores": 2, "postgresql": "18", "python": "3.11"}
ABOUT["load_before"] = 0.1


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with opened(
        maintenance=Address.of(settings.DATABASES["default"]), quick=True, full=False, tell=lambda _: None
    ) as stage:
        yield stage


LONG = ("processes", "swaps")  # many processes, even for small counts


@pytest.mark.race
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in LONG else ()) for name in MEASUREMENTS]
)
def test_each_measurement_gives_figures_with_limits_and_goals(stage: Stage, name: str) -> None:
    figures = measure(name, stage)
    assert {figure.measurement for figure in figures} == {name}
    assert all(figure.ours > 0 for figure in figures), [figure.what for figure in figures if figure.ours <= 0]
    assert any(figure.limit for figure in figures), "nothing was measured beside it"
    assert any(figure.goal for figure in figures)


@pytest.mark.race
def test_a_limit_that_could_not_be_measured_is_no_limit(stage: Stage) -> None:
    """pgbench's claim finds nothing in an empty queue: that must not pass for a fast one."""
    with stage.company() as address, pytest.raises(RuntimeError, match="pgbench failed"):
        pgbench.transactions_per_second(address, "SELECT 1 AS id WHERE false \\gset\n", clients=1, each=2)


@pytest.mark.race
def test_what_fails_in_one_process_of_a_crew_fails_the_measurement_with_its_trace(stage: Stage) -> None:
    env = stage.env(stage.template)
    with crew(size=2, env=env) as pair, pytest.raises(RuntimeError, match="the second one fails"):
        pair.run(fail_in_the_second)


def fail_in_the_second(member: Member) -> None:
    assert member.number == 0, "the second one fails"
    member.start()


@pytest.mark.race
def test_queues_and_history_are_what_they_are_called(stage: Stage) -> None:
    with stage.company() as address:
        rows.finished_steps(address, 50)
        rows.queued_steps(address, 7, per_mission=1)
        rows.numbered_events(address, 20)
        with address.connect() as database:
            steps = dict(database.execute("SELECT status, count(*) FROM missions_step GROUP BY status").fetchall())
            missions = database.execute("SELECT count(*) FROM missions_mission").fetchone()
    assert steps == {"succeeded": 50, "queued": 7}
    assert missions == (8,)


def test_a_figure_is_judged_by_what_its_goal_names() -> None:
    slow = Figure("steps", "claims", ours=50, unit="steps/s", limit=100, goal=ratio(least=0.55))
    assert (slow.ratio, slow.met) == (0.5, False)
    assert Figure("steps", "claims", ours=60, unit="steps/s", limit=100, goal=ratio(least=0.55)).met is True
    assert Figure("beat", "look", ours=1.1, unit="ms", limit=100, goal=itself(most=1)).met is False
    assert Figure("caps", "taken", ours=101, unit="slots", limit=100, goal=ratio(least=1, most=1)).met is False
    assert Figure("beat", "clock", ours=1.1, unit="ms").met is None


def test_a_percentile_is_one_of_the_values() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50, 99, 100]
    assert percentile([3.0], 0.99) == 3.0


def test_a_crew_is_as_fast_as_its_slowest_member_lets_it_be() -> None:
    assert rate([Span(0.0, 1.0, 10), Span(0.5, 4.0, 10)]) == 5.0


@pytest.fixture
def figures() -> list[Figure]:
    return [
        Figure("steps", "claims", ours=5_000, unit="steps/s", limit=8_000, limit_is="pgbench", goal=ratio(least=0.55)),
        Figure("beat", "look", ours=1.23, unit="ms", goal=itself(most=1)),
    ]


def test_a_run_is_kept_with_the_facts_of_its_machine(figures: list[Figure], tmp_path: Path) -> None:
    kept: dict[str, Any] = json.loads(report.save(figures, ABOUT, folder=tmp_path / "results").read_text())
    assert kept["about"] == ABOUT
    assert [(figure["ratio"], figure["met"]) for figure in kept["figures"]] == [(0.625, True), (None, False)]


def test_the_table_says_which_goals_are_missed(figures: list[Figure]) -> None:
    console = Console(width=160, file=io.StringIO())
    report.show(figures, console=console)
    shown = console.file.getvalue()
    assert "0.62 ×" in shown
    assert "✗" in shown
    assert "1 of 2 goals met." in shown


def test_the_page_takes_the_last_run_between_its_marks_and_keeps_the_rest(
    figures: list[Figure], tmp_path: Path
) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text(report.PAGE.read_text())
    before = page.read_text().split("<!-- last run -->")[0]
    after = page.read_text().split("<!-- end of last run -->")[1]
    report.write_docs(figures, ABOUT, page=page)
    report.write_docs(figures, ABOUT, page=page)
    written = page.read_text()
    assert written.startswith(before)
    assert written.endswith(after)
    assert written.count("| beat: look | 1.23 ms |") == 1


def test_help_names_every_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert [name for name in MEASUREMENTS if name not in said] == []


def test_every_measurement_has_its_module_and_its_name() -> None:
    assert {importlib.import_module(f"bench.{name}").NAME for name in MEASUREMENTS} == set(MEASUREMENTS)
