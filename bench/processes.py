"""What `manage.py up` costs: memory of each process once the company trades, and how soon a second start answers.

The limit of memory is one Python with Django and our modules loaded that does nothing. The company runs in a home
of its own with its own server, exactly as `make run` starts it.
"""

import os
import time

import psutil

from bench.crew import Member, crew
from bench.figures import Figure, itself, middle
from bench.servers import answers, running, until
from bench.stage import Stage, free_port, temporary_home

NAME = "processes"
STARTS_SECONDS = 90.0
LIVES_SECONDS = 12.0  # some beats, proposals and looks: libraries that are loaded late are loaded by then
LOADED_BY = {"web": "daphne", "worker": "qcluster", "market": "market"}  # a word of each one's command line
GOALS_MB = {"web": 200.0, "worker": 150.0}


def measure(stage: Stage) -> list[Figure]:
    idle = _idle_mb(stage)
    with temporary_home() as home:
        env = {**stage.env(stage.template), "TRADECO_HOME": str(home), "PORT": str(free_port())}
        del env["DATABASE_URL"]  # its own server, as a newcomer has it
        stage.tell("processes: the first start")
        first = _start_and_look(env, lives=0)[0]
        starts = []
        for number in range(stage.rounds):
            stage.tell(f"processes: start {number + 2}")
            last = number == stage.rounds - 1
            seconds, largest = _start_and_look(env, lives=stage.count(int(LIVES_SECONDS), 2) if last else 0)
            starts.append(seconds)
    return [
        *(
            Figure(NAME, f"memory of {name}, its largest process", largest[name], "MB", idle, "idle Python with ours",
                   itself(most=GOALS_MB[name]) if name in GOALS_MB else None)
            for name in LOADED_BY
        ),
        Figure(NAME, "first start, until it answers", first, "s"),
        Figure(NAME, "second start, until it answers", middle(starts), "s", goal=itself(most=8)),
    ]  # fmt: skip


def _start_and_look(env: dict[str, str], *, lives: int) -> tuple[float, dict[str, float]]:
    """Seconds until the web server answers, and MB of the largest process of each kind some seconds later."""
    with running(["manage.py", "up"], env=env) as up:
        seconds = until(lambda: answers(int(env["PORT"])), what="manage.py up", seconds=STARTS_SECONDS)
        if not lives:
            return seconds, {}
        supervisor = psutil.Process(up.pid)
        until(lambda: len(_largest_mb(supervisor)) == len(LOADED_BY), what="web, worker and market")
        time.sleep(lives)
        return seconds, _largest_mb(supervisor)


def _largest_mb(supervisor: psutil.Process) -> dict[str, float]:
    """Resident MB by kind. Forked workers share most of theirs: a sum would count it several times."""
    found: dict[str, float] = {}
    for process in supervisor.children(recursive=True):
        try:
            words, resident = process.cmdline(), process.memory_info().rss / 1e6
        except psutil.NoSuchProcess:
            continue  # ended a moment ago
        for name, word in LOADED_BY.items():
            if word in words:
                found[name] = max(resident, found.get(name, 0.0))
    return found


def _idle_mb(stage: Stage) -> float:
    with crew(size=1, env=stage.env(stage.template)) as one:
        return one.run(own_mb)[0]


# --- in the crew's process --------------------------------------------------------------------------


def own_mb(member: Member) -> float:
    """Resident MB of a process that has only loaded our modules."""
    import tradeco.asgi  # noqa: F401

    return psutil.Process(os.getpid()).memory_info().rss / 1e6
