"""Runs one Supervisor as a process of its own, so that tests can signal it and kill it.

`python -m tests.supervisor_run plan.json`: what to run is in the plan. A question's file decides its answer:
its text is the reason (given once), "hang" never answers, "raise" fails.
"""

import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tradeco.common import logs
from tradeco.common.children import Spec
from tradeco.common.errors import DomainError
from tradeco.common.keeper import Limits
from tradeco.common.log_lines import LineStream, LogSink
from tradeco.common.postgres import EmbeddedServer
from tradeco.common.supervisor import Supervisor


def question(path: Path) -> Callable[[], str | None]:
    def ask() -> str | None:
        said = path.read_text() if path.exists() else ""
        if not said:  # not written, or only opened yet
            return None
        if said == "hang":
            time.sleep(3600)
        if said == "raise":
            raise RuntimeError("the question is broken")
        path.unlink()
        return said

    return ask


def main(plan_path: str) -> None:
    plan = json.loads(Path(plan_path).read_text())
    home = Path(plan["home"])
    children = [Spec(**child) for child in plan["children"]]
    sink = LogSink(home / "logs" / "tradeco.jsonl", console=sys.stdout, names=[c.name for c in children])
    logs.configure(process="up")
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.setStream(LineStream(sink.take, "up"))
    supervisor = Supervisor(
        home=home,
        children=children,
        sink=sink,
        server=EmbeddedServer(home, durable=False) if plan["server"] else None,
        steps=[Spec(**step) for step in plan["steps"]],
        questions={name: question(Path(path)) for name, path in plan["questions"].items()},
        announce=lambda: "the banner is shown",
        address=tuple(plan["address"]) if plan["address"] else None,
        limits=Limits(**{"survivors": 0.2, **plan["limits"]}),
    )
    try:
        supervisor.run()
    except DomainError as exc:
        sys.exit(f"{exc.code}: {exc.detail}")
    finally:
        sink.close()


if __name__ == "__main__":
    main(sys.argv[1])
