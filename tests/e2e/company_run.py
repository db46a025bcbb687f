"""The real company as a process: `manage.py up` in a home of its own, asked by its API, watched in its database."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg
import requests

from tests.postgres_plugin import PREFIX, _remove
from tests.web_server import free_port
from tradeco.common import postgres, processes
from tradeco.common.children import MARK

ROOT = Path(__file__).resolve().parent.parent.parent
STOP_SECONDS = 15.0  # what the company promises
START_SECONDS = 120.0  # on a busy machine; a quiet one needs some ten
NOT_THEIRS = ("TRADECO_", "DATABASE_URL", "DJANGO_", "PYTEST_", "PORT", "HOST")

Found = TypeVar("Found")


def until(true: Callable[[], Found], *, seconds: float, what: Callable[[], object] = str) -> Found:
    """Poll until something is true, and give it."""
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline, f"it didn't come true in {seconds} s\n{what()}"
        time.sleep(0.1)
    return found


def _name(process: psutil.Process) -> str:
    """Its name; nothing where it has just ended."""
    try:
        return str(process.name())
    except psutil.NoSuchProcess:
        return ""


class CompanyRun:
    """One home, and the `up` that runs in it; it may be stopped and run again."""

    def __init__(self, **env: str) -> None:
        # not pytest's folder: root's database runs as another user, who must be able to enter
        self.home = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-up-"))
        self.port = free_port()
        self.env = env
        self.process: subprocess.Popen[bytes] | None = None
        self.console_path = self.home / "console.txt"

    # --- running it -------------------------------------------------------------------------------

    def start(self, **env: str) -> None:
        """Start, and return when its first page answers."""
        self.process = self._popen(self.console_path, **env)
        until(self.answers, seconds=START_SECONDS, what=self.console)

    def refused(self, **env: str) -> tuple[int, str]:
        """Start what must refuse to run: its exit code and what it said."""
        said = self.home / "refused.txt"
        process = self._popen(said, **env)
        return process.wait(timeout=START_SECONDS), said.read_text()

    def _popen(self, console: Path, **env: str) -> subprocess.Popen[bytes]:
        theirs = {name: value for name, value in os.environ.items() if not name.startswith(NOT_THEIRS)}
        ours = {"TRADECO_HOME": str(self.home), "PORT": str(self.port), "TRADECO_WORKERS": "2"}
        with console.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "manage.py", "up"], cwd=ROOT, env=theirs | ours | self.env | env,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )  # fmt: skip

    def stop(self) -> float:
        """Seconds from SIGTERM to a clean end that leaves no process behind."""
        assert self.process is not None
        mark = self.mark()
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        took = time.monotonic() - began
        assert code == 0, self.console()
        assert self.left(mark) == []
        return took

    def left(self, mark: str) -> list[str]:
        """What still runs of it: whatever carries its mark, or works in its home."""
        return [str(process) for process in psutil.process_iter() if self._is_of(process, mark)]

    def _is_of(self, process: psutil.Process, mark: str) -> bool:
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or not processes.alive(process):
                return False
            return process.environ().get(MARK) == mark or any(str(self.home) in part for part in process.cmdline())
        return False

    def remove(self) -> None:
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(timeout=30)
            self.process.kill()
        _remove(self.home)

    def console(self) -> str:
        return self.console_path.read_text()[-6000:]

    def logs(self) -> str:
        """All that was written to files."""
        return "".join(path.read_text(errors="replace") for path in (self.home / "logs").iterdir())

    # --- its processes ----------------------------------------------------------------------------

    def mark(self) -> str:
        return str(self._register()["mark"])

    def pid(self, name: str) -> int:
        """The process that runs now under this name of `up`; 0 while none does."""
        if name == "postgres":
            return next((child.pid for child in self._children() if "postgres" in _name(child)), 0)
        found = [child["pid"] for child in self._register()["children"] if child["name"] == name]
        return int(found[0]) if found else 0

    def workers(self) -> list[int]:
        """The processes that django-q forked, oldest first."""
        forked = psutil.Process(self.pid("worker")).children(recursive=True)
        return [process.pid for process in sorted(forked, key=lambda process: process.create_time())]

    def _register(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "run" / "children.json").read_text())
        return found

    def _children(self) -> list[psutil.Process]:
        assert self.process is not None
        return psutil.Process(self.process.pid).children()

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """End it the hard way; another one runs in its place when this returns. Gives the new one's pid."""
        old = self.pid(name)
        os.kill(old, number)
        return until(lambda: self.pid(name) not in (0, old) and self.pid(name), seconds=60, what=self.console)

    # --- its web face -----------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"it ended by itself\n{self.console()}"
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/healthz", timeout=5).status_code == 200
        return False

    def ready(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=10).status_code == 200
        return False

    def get(self, path: str) -> Any:
        answer = requests.get(f"{self.url}/api/v1/{path}", headers=self._headers(), timeout=20)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def results(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(path)["results"]
        return found

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = self._headers() | {"Idempotency-Key": str(uuid.uuid4())}
        answer = requests.post(f"{self.url}/api/v1/{path}", json=body, headers=headers, timeout=20)
        assert answer.status_code in (200, 201), answer.text
        made: dict[str, Any] = answer.json()
        return made

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token()}"}

    def token(self) -> str:
        return (self.home / "api-token").read_text().strip()

    def policy(self, **values: Any) -> None:
        for key, value in values.items():
            self.post(f"policies/{key}/versions/", {"value": value, "reason": "a quicker test"})

    def propose(self, kind: str, **params: Any) -> dict[str, Any]:
        steps = [{"kind": kind, "params": params}]
        draft = {"agent": "scout", "title": f"Test {kind}", "rationale": "", "steps": steps, "confidence": 0.9}
        return self.post("proposals/", draft)

    # --- its database -----------------------------------------------------------------------------

    def connect(self) -> psycopg.Connection[Any]:
        """A second look, past the company's own code."""
        place = postgres.connection(self.home)
        return psycopg.connect(
            dbname=place["NAME"], user=place["USER"], host=place["HOST"], port=place["PORT"],
            autocommit=True, connect_timeout=5,
        )  # fmt: skip

    def asked(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            return connection.execute(query, values).fetchall()

    def one(self, query: str, *values: Any) -> Any:
        return self.asked(query, *values)[0][0]

    def now(self) -> datetime:
        moment: datetime = self.one("SELECT clock_timestamp()")
        return moment

    def dump(self) -> str:
        """The whole database as pg_dump writes it."""
        place = postgres.connection(self.home)
        argv = [str(postgres.binary("pg_dump")), "-h", place["HOST"], "-p", place["PORT"], "-U", place["USER"]]
        return subprocess.run([*argv, place["NAME"]], capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def company(**env: str) -> Iterator[CompanyRun]:
    """A company whose home is removed in the end, whatever happens."""
    run = CompanyRun(**env)
    try:
        yield run
    finally:
        run.remove()
