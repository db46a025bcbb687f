"""The supervisor, with real processes: it is run as one itself, and signalled, paused and killed."""

import contextlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tradeco.common import children, keeper, log_lines, postgres, processes

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.enable_socket

# What the children are. Each tells its pid by appending a line to the file that it is given.
SAY_PID = "import os, sys, time, signal, subprocess; print(os.getpid(), file=open(sys.argv[1], 'a'), flush=True);"
STEADY = SAY_PID + "signal.pause()"
DIES = SAY_PID + "sys.exit(1)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SAY_PID + "\nwhile True: time.sleep(9)"
# A main process with a worker in its group, and one that has left the group, both deaf to SIGTERM.
FAMILY = f"""
{SAY_PID}
deaf = {STUBBORN!r}
subprocess.Popen([sys.executable, "-c", deaf, sys.argv[1]])
subprocess.Popen([sys.executable, "-c", deaf, sys.argv[1]], start_new_session=True)
signal.pause()
"""


class Run:
    """One run of the supervisor and what can be seen of it."""

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        self.home = Path(plan["home"])
        (folder / "plan.json").write_text(json.dumps(plan))
        self.output = folder / f"console-{time.monotonic_ns()}.txt"
        with self.output.open("wb") as console:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.supervisor_run", str(folder / "plan.json")],
                cwd=ROOT, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def process_children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children() if runs(self.process.pid) else []

    def console(self) -> str:
        return self.output.read_text()

    def saw(self, text: str, *, times: int = 1) -> None:
        until(lambda: self.console().count(text) >= times, self.console)

    def ends(self, seconds: float = 15) -> int:
        return self.process.wait(timeout=seconds)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> float:
        """Seconds from the signal to the end, which must be a clean one."""
        began = time.monotonic()
        self.process.send_signal(number)
        assert self.ends() == 0, self.console()
        return time.monotonic() - began


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*specs: dict[str, Any], **plan: Any) -> Run:
        whole = {"server": False, "steps": [], "questions": {}, "address": None, "limits": {}} | plan
        runs.append(Run(tmp_path, {"home": str(tmp_path / "home"), "children": specs, **whole}))
        return runs[-1]

    yield start
    for run in runs:
        if run.process.poll() is None:
            run.stop()


def child(tmp_path: Path, code: str, name: str = "web", **more: Any) -> dict[str, Any]:
    return {"name": name, "argv": [sys.executable, "-c", code, str(tmp_path / f"{name}.pids")], **more}


def pids(tmp_path: Path, count: int, name: str = "web") -> list[int]:
    """The first `count` processes that told their pid, once there are so many."""
    file = tmp_path / f"{name}.pids"
    until(lambda: file.exists() and file.read_text().count("\n") >= count)
    return [int(line) for line in file.read_text().splitlines()]


def runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and processes.alive(psutil.Process(pid))


def until(true: Callable[[], bool], what: Callable[[], str] = str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"it never came true\n{what()}"
        time.sleep(0.01)


# --- keeping alive -----------------------------------------------------------------------------------


def test_a_child_that_dies_again_and_again_is_restarted_ever_later_up_to_a_cap() -> None:
    backoff = keeper.Backoff(keeper.Limits())
    delays = [backoff.after(lived_seconds=1) for _ in range(8)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.after(lived_seconds=60) == 0.5, "a healthy life is a new beginning"


def test_a_child_that_dies_is_restarted_and_another_is_left_alone(tmp_path: Path, start: Callable[..., Run]) -> None:
    limits = {"backoff_first": 0.05, "backoff_cap": 0.1}
    run = start(child(tmp_path, DIES), child(tmp_path, STEADY, "market"), limits=limits)
    assert len(set(pids(tmp_path, 4))) >= 4
    run.saw("web ended by itself", times=3)
    (steady,) = pids(tmp_path, 1, "market")
    assert runs(steady)
    run.stop()
    assert not runs(steady)


def test_what_a_killed_main_process_had_started_is_ended_before_it_starts_again(
    tmp_path: Path, start: Callable[..., Run]
) -> None:
    run = start(child(tmp_path, FAMILY), limits={"backoff_first": 0.05})
    family = pids(tmp_path, 3)
    main = family[0]  # it tells its pid before it starts the others
    in_group = [pid for pid in family if os.getpgid(pid) == main]
    assert len(in_group) == 2
    os.kill(main, signal.SIGKILL)
    pids(tmp_path, 6)
    assert not any(runs(pid) for pid in in_group)
    run.stop()
    assert not any(runs(pid) for pid in pids(tmp_path, 6)), "one of two families is left"


def test_a_killed_database_is_restarted_while_the_children_go_on(
    tmp_path: Path, start: Callable[..., Run], request: pytest.FixtureRequest
) -> None:
    # Not under pytest's own folder, which root's database user can't enter.
    open_to_all = tempfile.mkdtemp(prefix="tradeco-supervisor-")
    request.addfinalizer(lambda: shutil.rmtree(open_to_all))
    run = start(child(tmp_path, STEADY), server=True, home=open_to_all)
    (steady,) = pids(tmp_path, 1)
    (postmaster,) = [p for p in run.process_children() if p.name() == "postgres"]
    family = [postmaster, *postmaster.children()]
    postmaster.kill()
    run.saw("PostgreSQL is ready", times=2)
    assert runs(steady)
    family += run.process_children()
    run.stop()
    assert not any(map(processes.alive, family))


# --- the watchdog ------------------------------------------------------------------------------------


def test_a_wedged_group_is_replaced_whole(tmp_path: Path, start: Callable[..., Run]) -> None:
    wedged = tmp_path / "wedged"
    limits = {"watchdog_every": 0.05, "grace": 0.1, "replace": 0.2}
    run = start(child(tmp_path, FAMILY), questions={"web": str(wedged)}, limits=limits)
    before = pids(tmp_path, 3)
    wedged.write_text("the oldest step waits for 61 s")
    pids(tmp_path, 6)
    run.saw("web is replaced")
    assert "the oldest step waits for 61 s" in run.console()
    assert len([pid for pid in before if runs(pid)]) <= 1, "only what left the group may live on, until the end"
    run.stop()
    assert not any(runs(pid) for pid in pids(tmp_path, 6))


def test_a_fresh_group_is_given_its_grace(tmp_path: Path, start: Callable[..., Run]) -> None:
    wedged = tmp_path / "wedged"
    run = start(child(tmp_path, STEADY), questions={"web": str(wedged)}, limits={"watchdog_every": 0.05, "grace": 60})
    (pid,) = pids(tmp_path, 1)
    for _ in range(3):  # asked and answered three times
        wedged.write_text("late")
        until(lambda: not wedged.exists())
    assert runs(pid)
    run.stop()
    assert "is replaced" not in run.console()


@pytest.mark.parametrize("trouble", ["hang", "raise"])
def test_a_question_in_trouble_neither_replaces_a_group_nor_holds_the_supervisor_up(
    tmp_path: Path, start: Callable[..., Run], trouble: str
) -> None:
    (tmp_path / "asked").write_text(trouble)
    limits = {"watchdog_every": 0.05, "watchdog_overdue": 0.1, "grace": 0.0}
    run = start(child(tmp_path, STEADY), questions={"web": str(tmp_path / "asked")}, limits=limits)
    (pid,) = pids(tmp_path, 1)
    run.saw("A watchdog has no answer yet" if trouble == "hang" else "A watchdog's question failed")
    assert runs(pid)
    os.kill(pid, signal.SIGKILL)
    pids(tmp_path, 2)  # the dead are still restarted
    assert run.stop() < 5
    assert "is replaced" not in run.console()


# --- ending ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_everything_cleanly(tmp_path: Path, start: Callable[..., Run], number: signal.Signals) -> None:
    run = start(child(tmp_path, STEADY), child(tmp_path, STEADY, "market"))
    both = pids(tmp_path, 1) + pids(tmp_path, 1, "market")
    run.saw("the banner is shown")
    assert run.stop(number) < 5
    assert not any(runs(pid) for pid in both)
    assert "didn't stop in time" not in run.console()


def test_ctrl_c_counts_also_where_a_script_started_it_in_the_background(
    tmp_path: Path, start: Callable[..., Run]
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # what a shell's `&` hands down
    try:
        run = start(child(tmp_path, STEADY))
    finally:
        signal.signal(signal.SIGINT, before)
    (pid,) = pids(tmp_path, 1)
    run.stop(signal.SIGINT)
    assert not runs(pid)


def test_children_deaf_to_sigterm_and_descendants_that_hid_are_gone_in_time(
    tmp_path: Path, start: Callable[..., Run]
) -> None:
    run = start(child(tmp_path, FAMILY, stop_seconds=0.5), child(tmp_path, STUBBORN, "worker", stop_seconds=0.5))
    everybody = pids(tmp_path, 3) + pids(tmp_path, 1, "worker")
    assert run.stop() < 10
    assert not any(runs(pid) for pid in everybody)
    assert "worker didn't stop in time" in run.console()


def test_the_worst_stop_takes_less_than_15_seconds() -> None:
    survivors = children.TERM_SECONDS + 2 * children.KILL_SECONDS
    database = postgres.STOP_SECONDS + 1.0 + 0.5
    assert children.STOP_SECONDS_MAX + survivors + database < 15


def test_a_second_signal_kills_at_once(tmp_path: Path, start: Callable[..., Run]) -> None:
    run = start(child(tmp_path, STUBBORN, stop_seconds=8), limits={"same_signal": 0.1})
    (pid,) = pids(tmp_path, 1)
    began = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    run.saw("Stopping everything")
    until(lambda: time.monotonic() - began > 0.2)
    run.process.send_signal(signal.SIGINT)
    assert run.ends() == 0
    assert time.monotonic() - began < 5
    assert not runs(pid)


def test_what_a_killed_supervisor_left_is_ended_by_the_next(tmp_path: Path, start: Callable[..., Run]) -> None:
    first = start(child(tmp_path, FAMILY))
    left = pids(tmp_path, 3)
    first.process.kill()
    first.ends()
    assert all(runs(pid) for pid in left), "they outlive it, or this test shows nothing"
    second = start(child(tmp_path, FAMILY))
    new = pids(tmp_path, 6)[3:]
    assert not any(runs(pid) for pid in left)
    assert all(runs(pid) for pid in new)
    second.stop()


def test_a_process_that_got_a_recorded_pid_by_reuse_is_left_alone(tmp_path: Path) -> None:
    register = children.Register(tmp_path / "children.json")
    with subprocess.Popen(["sleep", "600"]) as bystander:
        register.add(name="web", pid=bystander.pid)
        record = json.loads(register.path.read_text())
        record["children"][0]["create_time"] -= 60
        register.path.write_text(json.dumps(record))
        assert children.Register(register.path).sweep() == []
        assert bystander.poll() is None
        record["children"][0]["create_time"] += 60  # the control: the same process, recorded truly
        register.path.write_text(json.dumps(record))
        assert children.Register(register.path).sweep() == [bystander.pid]


# --- refusing to begin -------------------------------------------------------------------------------


def test_a_second_one_in_the_same_home_is_refused(tmp_path: Path, start: Callable[..., Run]) -> None:
    first = start(child(tmp_path, STEADY))
    (pid,) = pids(tmp_path, 1)
    second = start(child(tmp_path, STEADY, "market"))
    assert second.ends() == 1
    assert f"already_running: The company already runs in {first.home}, as process" in second.console()
    assert str(first.process.pid) in second.console()
    assert runs(pid)
    assert not (tmp_path / "market.pids").exists()


def test_a_taken_address_is_refused_before_anything_starts(tmp_path: Path, start: Callable[..., Run]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        run = start(child(tmp_path, STEADY), address=other.getsockname(), server=True)
        assert run.ends() == 1
    assert "address_taken: Can't listen at 127.0.0.1" in run.console()
    assert not (tmp_path / "web.pids").exists()
    assert not (run.home / "postgres").exists()


def test_a_failed_step_stops_everything_and_says_which(tmp_path: Path, start: Callable[..., Run]) -> None:
    steps = [
        child(tmp_path, "print('the first is done')", "migrate"),
        child(tmp_path, "raise SystemExit('no such table')", "bootstrap"),
    ]
    run = start(child(tmp_path, STEADY), steps=steps)
    assert run.ends() == 1
    assert "setup_failed: bootstrap ended with code 1" in run.console()
    assert run.console().index("the first is done") < run.console().index("no such table")
    assert not (tmp_path / "web.pids").exists()


# --- what they write ---------------------------------------------------------------------------------

CHATTY = r"""
import json, sys
out = sys.stdout.buffer
out.write(json.dumps({"event": "A step was claimed", "level": "warning", "step_id": 7}).encode() + b"\n")
out.write(b"plain words\n")
out.write(b"bad \xff\xfe bytes\n")
out.write(b'{"event": "a lone \\ud800 surrogate", "n": NaN}\n')
out.write(b"\x1b[2Jclears the screen\n")
out.write(b"[" * 100000 + b"\n")
out.write(b"{" + b"x" * 3000000 + b"\n")
out.write(b"the last, without an end")
out.flush()
import signal; signal.pause()
"""


def test_whatever_children_write_the_log_stays_json_and_the_console_readable(
    tmp_path: Path, start: Callable[..., Run]
) -> None:
    run = start(child(tmp_path, CHATTY))
    run.saw("x" * 1000)
    run.stop()
    path = run.home / "logs" / "tradeco.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    web = [record for record in records if record["process"] == "web"]

    assert all({"timestamp", "level", "event", "process"} <= record.keys() for record in records)
    assert web[0]["step_id"] == 7
    events = [record["event"] for record in web]
    assert events[1:3] == ["plain words", "bad \ufffd\ufffd bytes"]
    assert events[3] == "a lone \ud800 surrogate"
    assert events[5].endswith("… (cut)")
    assert events[-1] == "the last, without an end"
    assert max(map(len, events)) < log_lines.LINE_MAX_BYTES + 100
    assert "warning A step was claimed  step_id=7" in run.console()
    assert all(" | " in line for line in run.console().splitlines() if "banner" not in line)
    assert "\x1b" not in run.console()
    assert path.stat().st_mode & 0o077 == 0


def test_a_traceback_is_an_error_to_its_last_line(tmp_path: Path) -> None:
    sink = log_lines.LogSink(tmp_path / "log.jsonl", console=None)
    try:
        raise RuntimeError("no such thing")
    except RuntimeError:
        lines = ["before", *traceback.format_exc().splitlines(), "after"]
    for line in lines:
        sink.take("worker", line)
        sink.take("web", "meanwhile")
    sink.close()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    levels = {name: [r["level"] for r in records if r["process"] == name] for name in ("worker", "web")}
    assert levels["worker"] == ["info", *["error"] * (len(lines) - 2), "info"]
    assert set(levels["web"]) == {"info"}


def test_a_console_that_stands_still_holds_nobody_up(tmp_path: Path) -> None:
    reader, writer = os.pipe()  # nobody reads it: it is full after 64 kB
    # Its reader goes away in the end, as when a terminal is closed: nor may that trouble anybody.
    with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "w") as still:
        sink = log_lines.LogSink(tmp_path / "log.jsonl", console=still)
        for n in range(10_000):
            sink.take("web", f"line {n} " + "x" * 100)
        sink.close()
        os.close(reader)
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 10_000


def test_the_log_file_is_bounded(tmp_path: Path) -> None:
    sink = log_lines.LogSink(tmp_path / "log.jsonl", console=None, file_max_bytes=5_000)
    for n in range(1_000):
        sink.take("web", f"line {n}")
    sink.close()
    files = sorted(tmp_path.iterdir())
    assert len(files) == 1 + log_lines.FILES_KEPT
    assert sum(file.stat().st_size for file in files) < 30_000
    assert "line 999" in (tmp_path / "log.jsonl").read_text()


def test_colours_are_for_terminals_only(tmp_path: Path) -> None:
    shown = {}
    for colours in (False, True):
        console = io.StringIO()
        sink = log_lines.LogSink(tmp_path / "log.jsonl", console=console, names=["web"], colours=colours)
        sink.take("web", '{"event": "A sentence", "level": "error", "key": "two words"}')
        sink.close()
        shown[colours] = console.getvalue()
    assert shown[False].startswith("web | ")
    assert shown[False].endswith('error   A sentence  key="two words"\n')
    assert "\x1b[31m" in shown[True]
