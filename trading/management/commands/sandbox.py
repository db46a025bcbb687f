"""manage.py sandbox: a Solana chain and a Jupiter on this machine, as `up` runs them for demo and development."""

import signal
import threading
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import structlog
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from solders.pubkey import Pubkey

from tradeco.common.errors import DomainError
from trading import sources
from trading.sandbox.clock import SLOT_SECONDS, RunningClock
from trading.sandbox.errors import SandboxError
from trading.sandbox.main import Sandbox
from trading.sandbox.tokens import SOL, USDC
from trading.signer import keyfile, place
from trading.signer.networks import Network
from trading.sources import PriceSource

log = structlog.get_logger(__name__)

PORT = 8899  # where Solana's own test validator listens
CASH, SOL_FOR_FEES = "10000", "1"
LOOK_SECONDS = 1.0  # between two looks whether the clock still runs


class Command(BaseCommand):
    help = (
        "Runs a sandbox: Solana's JSON-RPC, Jupiter's HTTP and candles at one base URL, with play money."
        " It goes on from its folder; no database is asked. Ctrl-C or SIGTERM stops it."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1)")
        parser.add_argument(
            "--port", type=int, default=settings.SANDBOX_PORT or PORT, help="port to listen on; 0 takes a free one"
        )
        parser.add_argument("--folder", type=Path, default=settings.TRADECO_HOME / "sandbox", help="where it remembers")
        parser.add_argument("--seed", type=int, default=settings.MARKET_SEED, help="of the market's path")
        parser.add_argument("--csv", default=settings.MARKET_CSV, help="candles to replay instead of the seeded path")
        parser.add_argument("--market", default=settings.MARKET_NAME, help="whose candles the CSV holds")
        parser.add_argument("--speed", type=float, default=settings.MARKET_SPEED, help="candles a second of a replay")
        parser.add_argument("--slot-seconds", type=float, default=SLOT_SECONDS, help="length of a slot (0.4)")
        parser.add_argument("--finalized-after", type=int, default=32, help="blocks until a block is finalized (32)")
        parser.add_argument("--confirmed-after", type=int, default=1, help="blocks until a block is confirmed (1)")
        parser.add_argument("--control", action="store_true", help="let requests cause faults and move money")
        parser.add_argument("--api-key", default=None, help="what Jupiter's endpoints ask of x-api-key")
        parser.add_argument(
            "--fund", action="append", default=[], metavar="ADDRESS", help="a wallet to fund, once (ours)"
        )
        parser.add_argument("--usdc", default=CASH, help=f"of a wallet that is funded ({CASH})")
        parser.add_argument("--sol", default=SOL_FOR_FEES, help=f"of a wallet that is funded ({SOL_FOR_FEES})")

    def handle(self, *args: Any, **options: Any) -> None:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        try:
            sandbox = _opened(options)
        except (SandboxError, DomainError, ValueError) as refused:
            raise CommandError(str(refused)) from refused
        try:
            _fund(sandbox, options)
            url = sandbox.start(options["host"], options["port"])
            log.info(
                "The sandbox chain answers.",
                action="sandbox_started",
                address=url,
                source=sandbox.prices.source.name,
                height=sandbox.chain.height,
                folder=str(options["folder"]),
            )
            while not stop.wait(LOOK_SECONDS) and sandbox.clock.failure is None:
                pass
        except OSError as taken:
            raise CommandError(f"Can't listen on {options['host']}:{options['port']}: {taken.strerror}.") from taken
        except SandboxError as refused:
            raise CommandError(str(refused)) from refused
        finally:
            sandbox.stop()
        if sandbox.clock.failure is not None:
            raise CommandError(f"The sandbox's clock stopped: {sandbox.clock.failure}") from sandbox.clock.failure
        log.info("The sandbox chain has stopped.", action="sandbox_stopped", height=sandbox.chain.height)


def _opened(options: dict[str, Any]) -> Sandbox:
    return Sandbox(
        folder=options["folder"].expanduser(),
        source=_source(options),
        clock=RunningClock(options["slot_seconds"]),
        finalized_after=options["finalized_after"],
        confirmed_after=options["confirmed_after"],
        api_key=options["api_key"],
        control=options["control"],
    )


def _source(options: dict[str, Any]) -> PriceSource:
    if options["csv"]:
        path = Path(options["csv"]).expanduser()
        return sources.Replay(path, market=options["market"].upper(), speed=options["speed"])
    return sources.seeded(options["seed"])


def _fund(sandbox: Sandbox, options: dict[str, Any]) -> None:
    usdc, lamports = _raw(options["usdc"], USDC.decimals), _raw(options["sol"], SOL.decimals)
    for address in options["fund"] or _ours():
        try:
            Pubkey.from_string(address)
        except ValueError as exc:
            raise SandboxError(f"{address} is no address of a wallet.") from exc
        if sandbox.fund(address, usdc=usdc, lamports=lamports) is not None:
            log.info("A wallet was funded.", action="sandbox_funded", address=address, usdc=usdc, lamports=lamports)


def _ours() -> list[str]:
    """The company's wallet on a sandbox, where it has one."""
    file = place.key_path(settings.TRADECO_HOME, Network.SANDBOX)
    return [keyfile.describe(file).address] if file.exists() else []


def _raw(amount: str, decimals: int) -> int:
    try:
        return int(Decimal(amount).scaleb(decimals))
    except (InvalidOperation, ValueError, OverflowError) as exc:
        raise SandboxError(f"{amount} is no amount.") from exc
