"""`python -m bench`: measure, show, keep. What is measured, the modules of MEASUREMENTS say."""

import argparse
import contextlib
import importlib
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator

from rich.console import Console

from bench import report
from bench.figures import Figure
from bench.stage import ROOT, Address, Stage, opened, own_server
from tradeco.common import logs

MEASUREMENTS = {
    "steps": "claim and complete, batches, whole executions, growth",
    "caps": "a hundred proposers at one cap",
    "beat": "the heartbeat's looks beside a million steps and events",
    "mind": "the mind's phases of the heartbeat beside 10,000 memories and 100,000 outcomes",
    "events": "live delivery to a hundred listeners",
    "doorbell": "from a proposal to its claimed step, through a real cluster",
    "swaps": "trades on a sandbox chain by 1, 4 and 8 workers, and what one costs",
    "processes": "memory of web, worker and market, and the second start",
}


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 0 when all of it could be measured, whatever the goals say."""
    options = _parse(arguments)
    console, progress = Console(width=None if sys.stdout.isatty() else 180), Console(stderr=True)
    logs.configure(process="bench", level="WARNING")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C: the server must not stay
    with own_server() as address, _telling(progress) as tell:
        _set_up_django(address)
        about = {**report.facts(address), "seconds": {}}
        with opened(maintenance=address, quick=options.quick, full=options.full, tell=tell) as stage:
            figures, failed = list[Figure](), list[str]()
            for name in options.only or MEASUREMENTS:
                begun = time.monotonic()
                try:
                    figures += measure(name, stage)
                except Exception:  # noqa: BLE001  one that fails must not take the others' figures along
                    traceback.print_exc()
                    failed.append(name)
                about["seconds"][name] = round(time.monotonic() - begun)
    report.show(figures, console=console)
    console.print("Seconds: " + ", ".join(f"{name} {seconds}" for name, seconds in about["seconds"].items()))
    console.print(f"Kept in {report.save(figures, about).relative_to(ROOT)}")
    if failed:
        console.print(f"Could not be measured: {', '.join(failed)}; the reason stands above.")
        return 1
    if options.write_docs:
        report.write_docs(figures, about)
    return 0


def measure(name: str, stage: Stage) -> list[Figure]:
    """One of MEASUREMENTS."""
    found: list[Figure] = importlib.import_module(f"bench.{name}").measure(stage)
    return found


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    listed = "\n".join(f"  {name:<10} {about}" for name, about in MEASUREMENTS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measures the company's machinery beside its limits, on a PostgreSQL of its own.",
        epilog=f"measurements:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, help="only this one; may come several times")
    parser.add_argument("--quick", action="store_true", help="small counts: see that it runs; the figures mean little")
    parser.add_argument("--full", action="store_true", help="also ten million rows, and 500 clients × 500 events/s")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/benchmarks.md")
    return parser.parse_args(arguments)


def _set_up_django(address: Address) -> None:
    """This process only starts others and looks at the rows; but the measurements' modules import ours."""
    os.environ |= {
        "DATABASE_URL": address.url,
        "DJANGO_SETTINGS_MODULE": "tradeco.settings",
        "TRADECO_HOME": tempfile.gettempdir(),
        "TRADECO_SECRET_KEY": "signs nothing here",
        "TRADECO_LOG_LEVEL": "WARNING",
    }
    import django

    django.setup()


@contextlib.contextmanager
def _telling(console: Console) -> Iterator[Callable[[str], None]]:
    """What is being measured now: one line that changes on a terminal, a line each elsewhere."""
    if not console.is_terminal:
        yield lambda text: console.print(text, highlight=False)
        return
    with console.status("starting PostgreSQL") as status:
        yield lambda text: status.update(text)


if __name__ == "__main__":
    sys.exit(main())
