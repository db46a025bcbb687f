"""What debate and memory are worth: paired markets, switches that switch, honest intervals, nothing left behind."""

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from statistics import NormalDist
from typing import Any

import psutil
import pytest
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from missions.models import Influence, Proposal, Step
from missions.policy_keys import Policy, opening_values
from tests import cast, minds
from tests.web_server import database_url
from tradeco.common import db
from tradeco.common.errors import InvalidInput
from trading import experiment
from trading.experiments import arms, child, clock, comparison, crew, intervals, markets, report, scratch, simulation
from trading.experiments.arms import ARMS, Arm
from trading.experiments.child import Task
from trading.experiments.clock import Clock
from trading.experiments.crew import Ended, Job
from trading.experiments.figures import Figures
from trading.models import Candle, Feed, Fill

ROOT: Path = settings.BASE_DIR
NO_COMPANY = "postgres://nobody@127.0.0.1:1/nothing"
FEW_CANDLES = 24
DEMO = ("SOL/USDC", "JUP/USDC", "BONK/USDC", "WIF/USDC")
KNOWN = len(DEMO)


# --- intervals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freedom", "published"),
    # NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2
    [(1, 12.706), (2, 4.303), (7, 2.365), (30, 2.042), (31, 2.040), (40, 2.021), (60, 2.000), (100, 1.984)],
)
def test_the_quantiles_of_t_are_the_published_ones(freedom: int, published: float) -> None:
    assert intervals.quantile(freedom) == pytest.approx(published, abs=0.0005)


def test_far_out_t_is_the_normal_distribution() -> None:
    assert intervals.quantile(10_000_000) == pytest.approx(NormalDist().inv_cdf(0.975), abs=1e-6)


def test_the_quantiles_fall_without_a_step_where_the_table_ends() -> None:
    steps = [intervals.quantile(freedom) - intervals.quantile(freedom + 1) for freedom in range(25, 40)]
    assert all(0 < step < 0.006 for step in steps)


def test_the_interval_of_students_own_example_is_as_published() -> None:
    """His sleep of 1908; R's t.test gives 0.7001142 and 2.4598858."""
    found = intervals.of([1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4])
    assert found is not None
    assert (found.n, round(found.mean, 2)) == (10, 1.58)
    assert (found.low, found.high) == (pytest.approx(0.7001, abs=0.0005), pytest.approx(2.4599, abs=0.0005))
    assert found.shows_something


def share_that_hold(quantile: Any) -> float:
    """Of 4,000 samples of five normal numbers about 0: the share whose interval holds the 0."""
    dice = random.Random("coverage")
    found = 0
    for _ in range(4_000):
        interval = intervals.of([dice.gauss(0, 1) for _ in range(5)])
        assert interval is not None
        assert interval.high is not None
        half = (interval.high - interval.mean) / intervals.quantile(4) * quantile
        found += abs(interval.mean) <= half
    return found / 4_000


def test_95_of_100_intervals_hold_the_true_value_and_with_the_normal_quantile_they_would_not() -> None:
    assert share_that_hold(intervals.quantile(4)) == pytest.approx(0.95, abs=0.01)
    assert share_that_hold(1.96) < 0.90


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
def test_an_interval_lies_about_its_mean_and_shows_nothing_where_it_holds_0(values: list[float]) -> None:
    found = intervals.of(values)
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.mean <= found.high
    assert found.shows_something != (found.low <= 0 <= found.high)


def test_one_number_has_no_interval_and_none_has_no_mean() -> None:
    one = intervals.of([3.0])
    assert one is not None
    assert (one.n, one.mean, one.low, one.high, one.shows_something) == (1, 3.0, None, None, False)
    assert intervals.of([]) is None


# --- comparison -----------------------------------------------------------------------------------

NOTHING_YET = Figures(
    market="m", beats=1, trades=0, refusals=0, left_to_people=0, conversations={}, memories=0, influenced=0,
    pnl_usd=0.0, pnl_share=0.0, realized_usd=0.0, unrealized_usd=0.0, fees_usd=0.0, max_drawdown=0.0,
    forecasts=0, brier=None, log_score=None, hit_rate=None, failed={},
)  # fmt: skip


def runs(**pnl: dict[int, float]) -> dict[str, dict[int, Figures]]:
    return {arm: {seed: replace(NOTHING_YET, pnl_usd=usd) for seed, usd in found.items()} for arm, found in pnl.items()}


def difference(found: comparison.Runs, key: str = "pnl_usd") -> comparison.Difference:
    return next(each for each in comparison.differences(found) if each.measure.key == key)


def test_arms_are_compared_seed_by_seed_so_that_what_the_market_did_falls_out() -> None:
    """Seeds differ by hundreds, the arms by one: unpaired it would be lost."""
    found = difference(runs(neither={1: 0.0, 2: 500.0, 3: -300.0}, both={1: 1.0, 2: 501.1, 3: -299.1}))
    assert found.interval is not None
    assert (found.interval.n, found.interval.mean) == (3, pytest.approx(1.0))
    assert found.sentence == "shows: higher than neither, which is better"


def test_only_seeds_that_both_arms_have_count() -> None:
    found = difference(runs(neither={1: 0.0, 2: 10.0}, both={2: 13.0, 3: 99.0}))
    assert found.interval is not None
    assert (found.interval.n, found.interval.mean) == (1, 3.0)
    assert found.sentence == "shows nothing: one seed has no spread"


def test_what_cannot_be_said_of_a_seed_is_left_out_of_its_comparison() -> None:
    found = runs(neither={1: 0.0, 2: 0.0}, both={1: 0.0, 2: 0.0})
    found["neither"][1] = replace(found["neither"][1], brier=0.2)
    assert difference(found, "brier").interval is None
    found["both"][1] = replace(found["both"][1], brier=0.3)
    interval = difference(found, "brier").interval
    assert interval is not None
    assert (interval.n, interval.mean) == (1, pytest.approx(0.1))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ((1.0, -1.0, 0.2), "shows nothing: the interval contains 0"),
        ((0.0, 0.0, 0.0), "shows nothing: the interval contains 0"),
        ((-5.0, -5.1, -5.2), "shows: lower than neither, which is worse"),
    ],
)
def test_the_sentence_says_what_the_interval_says(values: tuple[float, ...], says: str) -> None:
    seeds = dict(enumerate(values))
    assert difference(runs(neither=dict.fromkeys(seeds, 0.0), both=seeds)).sentence == says


@pytest.mark.parametrize(
    ("key", "higher"),
    [("brier", "worse"), ("log_score", "worse"), ("max_drawdown", "worse"), ("hit_rate", "better"), ("trades", "")],
)
def test_it_knows_which_way_is_better(key: str, higher: str) -> None:
    found = {
        arm: {seed: replace(NOTHING_YET, **{key: value + seed / 1000}) for seed in range(4)}
        for arm, value in (("neither", 0.1), ("both", 0.4))
    }
    sentence = difference(found, key).sentence
    assert sentence == "shows: higher than neither" + (f", which is {higher}" if higher else "")


def test_seeds_whose_arms_saw_other_prices_are_found() -> None:
    found = runs(neither={1: 0.0, 2: 0.0}, both={1: 0.0, 2: 0.0})
    assert comparison.other_markets(found) == []
    found["both"][2] = replace(found["both"][2], market="another")
    assert comparison.other_markets(found) == [2]


def test_the_report_names_every_figure_and_every_failure() -> None:
    found = runs(neither={1: -2.5, 2: 0.0}, both={1: 1.0, 2: 0.0})
    said = "\n".join(report.lines(found, told="Two seeds.", failures=["both, seed 3: failed (killed by SIGKILL)"]))
    assert all(measure.label in said for measure in comparison.MEASURES)
    assert "−1.25" in said, "the mean of neither"
    assert said.count("shows") > len(comparison.COMPARED)
    assert said.endswith("both, seed 3: failed (killed by SIGKILL)")
    told = report.as_json(found, plan={}, failures=[])
    assert json.loads(json.dumps(told))["runs"]["both"]["1"]["pnl_usd"] == 1.0


# --- arms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arm", ARMS.values(), ids=lambda arm: arm.name)
def test_what_an_arm_switches_off_is_off_and_all_else_is_the_demos(arm: Arm) -> None:
    demo = opening_values("demo")
    policy = Policy.model_validate({**demo, **arm.policies})
    assert policy.flag_talks is arm.debate
    assert (policy.roundtable_from_usd <= policy.position_usd_max) is arm.debate
    assert policy.flag_learning is policy.initiative_on is bool(policy.memory_influence) is arm.memory
    changed = {key for key, value in policy.model_dump(mode="json").items() if value != demo[key]}
    assert changed <= set(arms.NO_DEBATE) | set(arms.NO_MEMORY)


@pytest.mark.parametrize("text", ["nobody", "both,both", ""])
def test_an_arm_that_is_not_there_or_comes_twice_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        arms.read(text)


def test_the_pace_of_coarse_candles_keeps_the_demos_proportions_and_is_a_policy() -> None:
    plan = experiment.Plan(arms=list(ARMS.values()), seeds=[1], csv="prices.csv")
    found = experiment.pace(plan, beat_minutes=60)
    demo = opening_values("demo")
    Policy.model_validate({**demo, **found})
    assert found["trigger_pace"] / demo["trigger_pace"] == pytest.approx(240), "an hour is 240 times 15 s"
    assert demo["max_hold_bars_min"] == 12, "as run-an-experiment.md says"
    Policy.model_validate({**demo, **experiment.pace(plan, beat_minutes=1440)})


# --- the clock ------------------------------------------------------------------------------------


@pytest.fixture
def simulated(db: None) -> Clock:
    """A clock of seed 7's first moment; the test's transaction takes it back."""
    clock.install()
    found = Clock(markets.Seeded(7).begins)
    found._lead()
    return found


@pytest.mark.django_db
def test_without_the_clock_the_database_tells_the_real_time() -> None:
    clock.install()
    assert abs(db.now().timestamp() - time.time()) < 60


def test_the_database_tells_the_simulated_time_everywhere_and_only_as_it_is_set(simulated: Clock) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp(), statement_timestamp(), now()")
        assert set(cursor.fetchone()) == {simulated.now}
    simulated.set(simulated.now + timedelta(days=3))
    assert db.now() == simulated.now
    with pytest.raises(AssertionError, match="back"):
        simulated.set(simulated.now - timedelta(seconds=1))


@pytest.fixture
def opened(simulated: Clock) -> Clock:
    """A company that was opened at that moment, with the market of seed 7."""
    cast.open_company()
    return simulated


def test_a_step_runs_at_its_own_moment_and_not_before(opened: Clock) -> None:
    step = Step.objects.get(mission__proposal=cast.submit(cast.analysis_draft()))
    due = opened.now + timedelta(minutes=5)
    Step.objects.filter(pk=step.pk).update(run_after=due)
    simulation.work(opened, until=due)
    step.refresh_from_db()
    assert step.status == "queued"
    simulation.work(opened, until=due + timedelta(seconds=1))
    step.refresh_from_db()
    assert (step.status, step.started_at, step.finished_at) == ("succeeded", due, due)


# --- markets and dice -----------------------------------------------------------------------------


def test_a_file_s_candles_come_when_they_are_complete(tmp_path: Path) -> None:
    course = markets.FromFile(prices(tmp_path), market="SOL/USDC")
    row = Feed(source=course.feed.source)
    first = course.feed.news(row, now=course.begins)
    assert len(first.bars) == first.read == 120
    row.read = first.read
    moments = list(course.moments(days=0.25))
    assert [(moment - course.begins) / timedelta(hours=1) for moment in moments] == [1, 2, 3, 4, 5, 6]
    assert course.feed.news(row, now=moments[0] - timedelta(seconds=1)).bars == []
    assert [bar.start for bar in course.feed.news(row, now=moments[0]).bars] == [course.begins]


def test_a_file_s_course_ends_with_the_file(tmp_path: Path) -> None:
    assert len(list(markets.FromFile(prices(tmp_path), market="SOL/USDC").moments(days=365))) == FEW_CANDLES


def prices(folder: Path, candles: int = 120 + FEW_CANDLES) -> Path:
    """Hourly candles that go up and down."""
    dice = random.Random(3)
    rows, close = ["time,open,high,low,close,volume"], 150.0
    for hour in range(candles):
        before, close = close, close * (1 + dice.gauss(0, 0.006))
        high, low = max(before, close) * 1.001, min(before, close) * 0.999
        rows.append(f"{1_767_225_600 + hour * 3600},{before:.4f},{high:.4f},{low:.4f},{close:.4f},1000")
    path = folder / "SOLUSDC-1h.csv"
    path.write_text("\n".join(rows))
    return path


@pytest.mark.parametrize(
    ("content", "why"),
    [("nonsense\n1,2,3\n", "No candles were found"), (None, "can't be read"), (100, "begins with 120")],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_reason_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | int | None, why: str
) -> None:
    monkeypatch.setattr(scratch, "server", lambda: pytest.fail("a server was started"))
    path = tmp_path / "none.csv"
    if isinstance(content, int):
        path = prices(tmp_path, content)
    elif content:
        path.write_text(content)
    with pytest.raises(CommandError, match=why):
        call_command("experiment", csv=path)


def test_a_run_without_a_single_candle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="hold no candle of 3600 s"):
        call_command("experiment", csv=prices(tmp_path), days=0.01)


def test_figures_that_could_not_be_written_are_not_computed_first(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="can't be written"):
        call_command("experiment", json=tmp_path / "nowhere" / "figures.json")


@pytest.mark.usefixtures("company")
def test_dice_follow_from_the_seed_and_differ_between_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    rolled = {}
    for name, seed in (("first", 1), ("again", 1), ("other", 2)):
        monkeypatch.setattr(secrets, "randbits", secrets.randbits)  # put back in the end
        simulation.TriggerState.objects.all().delete()
        simulation.throw_by(seed)
        proposal = cast.submit(cast.analysis_draft())
        fired = dict(simulation.TriggerState.objects.values_list("key", "fired"))
        rolled[name] = (proposal.seed, fired["proactive:intel:signal_scan"], fired["initiative:scout"])
    assert rolled["first"] == rolled["again"]
    assert all(mine != its for mine, its in zip(rolled["first"], rolled["other"], strict=True))


# --- a whole run, in this process -----------------------------------------------------------------


def simulated_run(arm: str, opened: Clock, monkeypatch: pytest.MonkeyPatch, *, days: float) -> Figures:
    monkeypatch.setattr(secrets, "randbits", secrets.randbits)  # put back in the end
    cast.force_policy(roundtable_from_usd="0")  # as a demo company opens
    minds_of_traders()
    setting = simulation.Setting(seed=7, days=days, beat_minutes=0.25, pace={})
    return simulation.run(ARMS[arm], setting, markets.Seeded(7), opened, look=lambda: None)


def minds_of_traders() -> None:
    """Each market's lesson, so that memory has something to say from the first entry on."""
    for market in DEMO:
        minds.known("scout", tags=[market])


@pytest.mark.parametrize("arm", ["debate", "memory"])
def test_an_arm_does_what_it_is_named_for_and_nothing_else(
    arm: str, opened: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = opened.now
    cast.force_policy(memory_influence="1")  # every entry asks, where memory is on
    found = simulated_run(arm, opened, monkeypatch, days=0.0012)
    assert found.trades == Fill.objects.count() > 0
    assert found.failed == {"phases": 0, "steps": 0}
    assert (found.conversations.get("trade_review", 0) > 0) is ARMS[arm].debate
    assert ARMS[arm].debate or found.conversations == {}
    assert (Influence.objects.count() > 0) is (found.influenced > 0) is ARMS[arm].memory
    assert ARMS[arm].memory or found.memories == KNOWN, "nothing new is kept"
    assert set(Fill.objects.values_list("market_at", flat=True)) <= set(candle_ends())
    assert all(began <= each <= opened.now for each in Proposal.objects.values_list("created_at", flat=True))


def candle_ends() -> Iterator[Any]:
    return (candle.start + timedelta(seconds=candle.seconds) for candle in Candle.objects.all())


# --- children -------------------------------------------------------------------------------------


def test_a_child_gets_no_secret_no_network_and_not_the_companys_database(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in {
        "TRADECO_NETWORK": "mainnet",
        "TRADECO_WALLET_PASSPHRASE": "hidden!",
        "TRADECO_VOICE_KEY": "hidden!",
        "TRADECO_SECRET_KEY": "hidden!",
        "DATABASE_URL": NO_COMPANY,
    }.items():
        monkeypatch.setenv(name, value)
    env = scratch.Scratch(tmp_path).environment("experiment_both_1")
    assert (env["TRADECO_NETWORK"], env["TRADECO_HOME"]) == ("paper", str(tmp_path))
    assert env["DATABASE_URL"].endswith("/experiment_both_1")
    assert "hidden!" not in env.values()
    assert NO_COMPANY not in env.values()


@pytest.mark.parametrize("wrong", [{"TRADECO_NETWORK": "mainnet"}, {}], ids=["mainnet", "another database"])
def test_a_child_refuses_every_other_network_and_database(wrong: dict[str, str], tmp_path: Path, db: None) -> None:
    env = scratch.Scratch(tmp_path).environment("experiment_both_1")
    env |= wrong or {"DATABASE_URL": database_url()}
    task = Task(child.TRADE, parent=os.getpid(), seed=1, arm="both", days=1, beat_minutes=1).as_argument()
    done = subprocess.run(
        [sys.executable, "-m", child.__name__, task], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "An experiment trades on paper in a database of its own" in done.stderr


def job(about: str, code: str) -> Job[str]:
    return Job(about, [sys.executable, "-c", code], dict(os.environ), ROOT)


def ran(*jobs: Job[str], at_once: int = 2) -> dict[str, Ended[str]]:
    found: list[Ended[str]] = []
    crew.run(jobs, at_once=at_once, end=found.append)
    return {each.about: each for each in found}


def test_a_child_that_dies_is_told_of_with_its_last_words_and_the_others_go_on() -> None:
    found = ran(
        job("good", "print('figures')"),
        job("killed", "import os; os.kill(os.getpid(), 9)"),
        job("wrong", "raise ValueError('no price')"),
        job("silent", "raise SystemExit(3)"),
        job("last", "print('figures')"),
    )
    assert {name for name, how in found.items() if not how.failed} == {"good", "last"}
    assert found["good"].said.strip() == "figures"
    assert found["killed"].words == "killed by SIGKILL: it said nothing"
    assert found["wrong"].words.startswith("exit code 1:")
    assert found["wrong"].words.endswith("ValueError: no price")
    assert found["silent"].words == "exit code 3: it said nothing"


@pytest.mark.parametrize("at_once", [1, 2])
def test_no_more_run_beside_each_other_than_asked_for(at_once: int) -> None:
    running, most = set[str](), list[int]()

    def begin(about: str) -> None:
        running.add(about)
        most.append(len(running))

    jobs = [job(str(number), "pass") for number in range(5)]
    crew.run(jobs, at_once=at_once, begin=begin, end=lambda how: running.discard(how.about))
    assert max(most) == at_once


def test_whatever_still_runs_is_killed_when_the_experiment_is_left() -> None:
    def leave(how: Ended[str]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crew.run([job("short", "pass"), job("long", "import time; time.sleep(600)")], at_once=2, end=leave)
    mine = psutil.Process().children(recursive=True)
    assert [each for each in mine if "time.sleep(600)" in each.cmdline()] == []


def test_what_a_killed_experiment_left_is_cleared_away_and_a_living_ones_is_not() -> None:
    ended = subprocess.Popen([sys.executable, "-c", "pass"])
    ended.wait()
    left, living = (Path(tempfile.mkdtemp(prefix=f"{scratch.PREFIX}{owner}-")) for owner in (ended.pid, os.getpid()))
    try:
        scratch.clear_leftovers()
        assert not left.exists()
        assert living.exists()
    finally:
        living.rmdir()


# --- the command, whole ---------------------------------------------------------------------------


def started(*arguments: str, folder: Path) -> "subprocess.Popen[str]":
    """The command as people run it, in a home whose company's database can't be reached, on mainnet by its settings."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("TRADECO_", "PYTEST_"))}
    env |= {"TRADECO_HOME": str(folder), "DATABASE_URL": NO_COMPANY, "TRADECO_NETWORK": "mainnet"}
    return subprocess.Popen(
        [sys.executable, "manage.py", "experiment", *arguments],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def left_of(pid: int) -> list[str]:
    """Folders and processes of an experiment's."""
    name = f"{scratch.PREFIX}{pid}-"
    folders = [str(path) for path in Path(tempfile.gettempdir()).glob(f"{name}*")]
    return folders + [str(each.pid) for each in psutil.process_iter() if name in " ".join(_cmdline(each))]


def _cmdline(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_seeds_through_the_command_are_paired_repeatable_and_leave_nothing(tmp_path: Path) -> None:
    told = []
    for name in ("first.json", "again.json"):
        process = started(
            "--seeds", "2", "--arms", "neither,both", "--days", "0.003", "--json", str(tmp_path / name), folder=tmp_path
        )
        said, progress = process.communicate(timeout=600)
        assert process.returncode == 0, progress
        assert "4 of 4, nothing left." in progress
        assert "both − neither" in said
        assert left_of(process.pid) == []
        told.append(json.loads((tmp_path / name).read_text()))
    first, again = (each["runs"] for each in told)
    assert first == again, "the same seeds give the same figures"
    for seed in ("1", "2"):
        assert first["neither"][seed]["market"] == first["both"][seed]["market"]
        assert first["neither"][seed]["conversations"] == {}
        assert first["neither"][seed]["influenced"] == first["neither"][seed]["memories"] == 0
        assert first["both"][seed]["conversations"]["trade_review"] > 0
        assert first["both"][seed]["memories"] > 0
    assert first["both"]["1"]["market"] != first["both"]["2"]["market"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_child_that_is_killed_costs_its_own_run_only(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    process = started(
        "--seeds", "2", "--arms", "neither", "--days", "0.002", "--parallel", "1", "--json", str(figures),
        folder=tmp_path,
    )  # fmt: skip
    trading_child(process.pid, seed=1).kill()
    said, progress = process.communicate(timeout=600)
    assert process.returncode == 1, progress
    assert "neither, seed 1: failed (killed by SIGKILL" in said
    told = json.loads(figures.read_text())
    assert (list(told["runs"]["neither"]), len(told["failures"])) == (["2"], 1)
    assert left_of(process.pid) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_an_experiment_that_is_ended_leaves_nothing(number: str, tmp_path: Path) -> None:
    process = started("--seeds", "1", "--arms", "neither", "--days", "1", folder=tmp_path)
    at_work = trading_child(process.pid, seed=1)
    process.send_signal(signal.Signals[number])
    _, progress = process.communicate(timeout=120)
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143}[number], progress
    assert "Stopped; nothing is left of it." in progress
    assert left_of(process.pid) == []
    assert not at_work.is_running()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_file_s_prices_are_the_market_of_all_seeds(tmp_path: Path) -> None:
    path = prices(tmp_path, 120 + 40)
    process = started(
        "--seeds", "2", "--arms", "both", "--csv", str(path), "--json", str(tmp_path / "f.json"), folder=tmp_path
    )
    _, progress = process.communicate(timeout=600)
    assert process.returncode == 0, progress
    found = json.loads((tmp_path / "f.json").read_text())["runs"]["both"]
    assert found["1"]["market"] == found["2"]["market"]
    assert found["1"]["beats"] == found["2"]["beats"] == 41, "one a candle, and the first"
    assert found["1"]["trades"] + found["2"]["trades"] > 0
    assert found["1"] != found["2"], "the dice differ"


def trading_child(pid: int, *, seed: int) -> psutil.Process:
    """The child that trades this seed, once it is at work."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        for each in psutil.Process(pid).children():
            words = _cmdline(each)
            if child.__name__ in words and json.loads(words[-1]).items() >= {"task": child.TRADE, "seed": seed}.items():
                return each
        time.sleep(0.05)
    raise AssertionError("no child came to trade it")
