"""A real daphne on a free port, on the test's own database, for tests that need the whole way."""

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode

from django.db import connection

ROOT = Path(__file__).resolve().parent.parent
READY_SECONDS = 30.0
STOP_SECONDS = 15.0


def database_url() -> str:
    """The database that this test uses, as an address for another process."""
    database = connection.settings_dict
    where = {name: database[name.upper()] for name in ("host", "port", "user", "password")}
    query = urlencode({name: value for name, value in where.items() if value})  # a socket's folder fits here only
    return f"postgres:///{database['NAME']}?{query}"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class WebServer:
    port: int
    env: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def events_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws/events/"

    def start(self) -> None:
        env = {**os.environ, "DATABASE_URL": database_url(), "TRADECO_PROCESS": "web", **self.env}
        argv = [sys.executable, "-W", "ignore", "-m", "daphne", "--verbosity", "0"]
        argv += ["-b", "127.0.0.1", "-p", str(self.port), "tradeco.asgi:application"]
        self.process = subprocess.Popen(argv, cwd=ROOT, env=env)
        self._wait_until_ready()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while time.monotonic() < deadline:
            assert self.process is not None
            assert self.process.poll() is None, "daphne ended before it was ready"
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/healthz", timeout=2):
                return
            time.sleep(0.05)
        raise AssertionError("daphne wasn't ready in time")

    def stop(self, *, kill: bool = False) -> int:
        """End it; its exit code. A clean end lets its database connections go before it is gone."""
        if self.process is None:
            return 0
        if kill:
            self.process.kill()
        else:
            self.process.terminate()
        try:
            code = self.process.wait(timeout=STOP_SECONDS)
        finally:
            self.process.kill()
        self.process = None
        return code


@contextlib.contextmanager
def web_server(**env: str) -> Iterator[WebServer]:
    server = WebServer(port=free_port(), env=env)
    server.start()
    try:
        yield server
    finally:
        server.stop()
