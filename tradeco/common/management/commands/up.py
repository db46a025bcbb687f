"""`manage.py up`: run the whole company in the foreground, until Ctrl-C.

It reads the settings and hands them to the supervisor. It holds no database connection itself: only the
watchdogs' questions open one, in their own threads, and close it after each.
"""

import http.client
import ipaddress
import logging
import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError, connections
from django.utils.module_loading import import_string

from tradeco.common import logs
from tradeco.common.children import STOP_SECONDS, Spec
from tradeco.common.log_lines import LineStream, LogSink
from tradeco.common.postgres import EmbeddedServer, PostgresUnavailable
from tradeco.common.premises import AddressTaken, AlreadyRunning
from tradeco.common.supervisor import SetupFailed, Supervisor

EXIT_CODES = {PostgresUnavailable: 1, SetupFailed: 1, AlreadyRunning: 3, AddressTaken: 4}


class Command(BaseCommand):
    help = (
        "Run the company in the foreground: the embedded PostgreSQL (where DATABASE_URL is unset), the "
        "migrations, then web, worker and market; whatever dies is restarted. Ctrl-C stops everything, a "
        "second one at once. "
        "Exit codes: 0 stopped as told, 1 a preparing step or the database failed, "
        "3 it already runs in this TRADECO_HOME, 4 the address is taken."
    )
    requires_system_checks = []  # some ask the database, which isn't there yet; `bootstrap` runs them

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--host", default=settings.HOST, help="where the web server listens (HOST, now %(default)s)"
        )
        parser.add_argument("--port", type=_port, default=settings.PORT, help="its port (PORT, now %(default)s)")

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        # Children read them too: allowed hosts and printed addresses follow the options.
        os.environ |= {"HOST": host, "PORT": str(port), "TRADECO_HOME": str(settings.TRADECO_HOME)}
        sink = _sink()
        try:
            _supervisor(host=host, port=port, sink=sink).run()
        except tuple(EXIT_CODES) as exc:
            raise CommandError(exc.detail, returncode=EXIT_CODES[type(exc)]) from exc
        finally:
            sink.close()


def _port(text: str) -> int:
    number = int(text)
    if not 1 <= number <= 65535:
        raise ValueError(f"{number} is no port")
    return number


def _sink() -> LogSink:
    """One sink for everybody's lines, this process's own among them."""
    sink = LogSink(
        settings.TRADECO_HOME / "logs" / "tradeco.jsonl",
        console=sys.stdout,
        names=["up", *settings.UP_PROCESSES, "bootstrap"],
        colours=sys.stdout.isatty() and "NO_COLOR" not in os.environ,
    )
    logs.configure(process="up", level=logging.getLevelName(logging.getLogger().level))
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(LineStream(sink.take, "up"))
    return sink


def _supervisor(*, host: str, port: int, sink: LogSink) -> Supervisor:
    home: Path = settings.TRADECO_HOME
    secrets = _withheld()
    return Supervisor(
        home=home,
        sink=sink,
        cwd=settings.BASE_DIR,
        server=EmbeddedServer(home) if settings.EMBEDDED_POSTGRES else None,
        steps=[_manage("bootstrap")],
        children=[_spec(name, given, secrets, host=host, port=port) for name, given in settings.UP_PROCESSES.items()],
        questions={name: _question(path) for name, path in settings.WATCHDOGS.items()},
        announce=lambda: _banner(home, host=host, port=port),
        address=(host, port),
        ports=settings.UP_PORTS,
    )


def _manage(command: str, *arguments: str) -> Spec:
    return Spec(name=command, argv=[sys.executable, "manage.py", command, *arguments])


def _withheld() -> dict[str, str]:
    """What only some children may know, taken out of the environment that all others inherit."""
    names = {name for given in settings.UP_PROCESSES.values() for name in given.get("secrets", ())}
    return {name: os.environ.pop(name) for name in names if name in os.environ}


def _spec(name: str, given: dict[str, Any], secrets: dict[str, str], *, host: str, port: int) -> Spec:
    """Settings may name the address as {host} and {port}: the options decide it."""
    host = host.replace(":", r"\:")  # an endpoint description is separated by colons
    return Spec(
        name=name,
        argv=[part.replace("{host}", host).replace("{port}", str(port)) for part in given["argv"]],
        env={
            **given.get("env", {}),
            **{name: value for name, value in secrets.items() if name in given.get("secrets", ())},
        },
        stop_seconds=given.get("stop_seconds", STOP_SECONDS),
    )


def _question(path: str) -> Callable[[], str | None]:
    ask: Callable[[], str | None] = import_string(path)

    def question() -> str | None:
        try:
            return ask()
        except (OperationalError, InterfaceError):
            return None  # the database is away: that says nothing about the group
        finally:
            connections.close_all()

    return question


def _banner(home: Path, *, host: str, port: int) -> str | None:
    """What a newcomer needs, once the web server answers; None before."""
    reachable = _loopback_for(host)
    address = f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"
    if not _answers(reachable, port):
        return None
    written = home / "run" / "banner.txt"
    login = written.read_text().splitlines() if written.exists() else []
    written.unlink(missing_ok=True)  # a generated password is shown once; `bootstrap` writes the next one
    lines = [
        "",
        f"  tradeco runs at {address}/",
        *(f"  {line}" for line in login),
        f"  Logs are in {home / 'logs'}",
        "  Ctrl-C stops everything",
        "",
    ]
    return "\n".join(lines)


def _loopback_for(host: str) -> str:
    """Where this machine reaches a server that listens at `host`, which may mean every address."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host  # a name
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if address.version == 4 else "::1"


def _answers(host: str, port: int) -> bool:
    """Whether the web server serves. A redirect to https is an answer too, so none is followed."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
