"""The signer as a process: killed at the worst moment, and searched for its key."""

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from django.conf import settings
from pydantic import SecretStr

from tests.signing import (
    BUYS_SOL,
    OUR_SEED,
    SANDBOX,
    SELLS_SOL,
    US,
    Ground,
    Signing,
    buy,
    leaks,
    request,
    rpc_of,
    sell,
    shapes_of,
    unsigned,
)
from trading.signer import keyfile, passphrase, place
from trading.signer.client import SignerClient, SignerRefused, SignerUnavailable
from trading.signer.networks import Network

pytestmark = pytest.mark.race

PHRASE = "canary-passphrase-7f3"


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


def until(true: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    pause = threading.Event()
    for _ in range(600):
        if true():
            return
        assert process.poll() is None, "the signer ended"
        pause.wait(0.05)
    raise AssertionError("it didn't come true within thirty seconds")


def answers(client: SignerClient) -> bool:
    try:
        return client.status().ready
    except SignerUnavailable:
        return False


# --- kills ----------------------------------------------------------------------------------------


@contextmanager
def child(
    folder: Path, *, spend_cap: int, kill_at: str = "never"
) -> Iterator[tuple[SignerClient, subprocess.Popen[bytes]]]:
    """A signer of its own process, whose chain is in process too; it may kill itself at a crash point."""
    argv = [sys.executable, "-m", "tests.signing", str(folder), str(spend_cap), kill_at]
    with subprocess.Popen(argv, cwd=settings.BASE_DIR, stdout=subprocess.DEVNULL) as process:
        client = SignerClient(folder / "s" / "signer.sock", answer_seconds=10)
        try:
            until(lambda: answers(client), process)
            yield client, process
        finally:
            process.kill()


@pytest.mark.parametrize(("kill_at", "spent"), [("signer.charging", 0), ("signer.charged", 150_000_000)])
def test_a_kill_around_the_charge_never_gives_the_cap_again(short: Path, kill_at: str, spent: int) -> None:
    """Killed before the charge nothing is spent; after it the charge stands, and the same message is signed yet."""
    raw, cap = unsigned(buy()), BUYS_SOL.amount_in
    with child(short, spend_cap=cap, kill_at=kill_at) as (client, process):
        with pytest.raises(SignerUnavailable):
            client.sign(raw, intent=BUYS_SOL, genesis=SANDBOX)
        assert process.wait(10) == -signal.SIGKILL
    with child(short, spend_cap=cap) as (client, _):
        assert client.status().spent == spent
        signed = client.sign(raw, intent=BUYS_SOL, genesis=SANDBOX)
        assert client.sign(raw, intent=BUYS_SOL, genesis=SANDBOX) == signed
        assert client.status().spent == cap
        with pytest.raises(SignerRefused, match="spend_cap"):
            client.sign(unsigned(buy(), number=1), intent=BUYS_SOL, genesis=SANDBOX)
    assert json.loads((short / "state.json").read_text())["wallet"] == str(US)


def test_a_charge_that_only_memory_knew_would_be_given_again(short: Path) -> None:
    """The control: a count whose file is gone after the kill lets the cap be spent twice."""
    raw, cap = unsigned(buy()), BUYS_SOL.amount_in
    with child(short, spend_cap=cap) as (client, _):
        client.sign(raw, intent=BUYS_SOL, genesis=SANDBOX)
    (short / "state.json").unlink()
    with child(short, spend_cap=cap) as (client, _):
        client.sign(unsigned(buy(), number=1), intent=BUYS_SOL, genesis=SANDBOX)


def test_killed_again_and_again_it_never_signs_beyond_its_cap(short: Path) -> None:
    """Kills with clients at work; of what anybody ever got, no more than the cap was spent."""
    cap, signed = 3 * BUYS_SOL.amount_in, set()

    def ask(client: SignerClient, number: int) -> None:
        try:
            signed.add(client.sign(unsigned(buy(), number=number), intent=BUYS_SOL, genesis=SANDBOX).signature)
        except (SignerUnavailable, SignerRefused):
            pass

    for round_ in range(4):
        with child(short, spend_cap=cap) as (client, process):
            threads = [threading.Thread(target=ask, args=[client, 10 * round_ + number]) for number in range(4)]
            for thread in threads:
                thread.start()
            if round_ % 2:
                process.kill()
            for thread in threads:
                thread.join()
    with child(short, spend_cap=cap) as (client, _):
        assert client.status().spent <= cap
    assert 1 <= len(signed) <= 3


# --- the command, and secrecy ---------------------------------------------------------------------


@contextmanager
def commanded(home: Path, rpc: str, **environment: str) -> Iterator[tuple[SignerClient, subprocess.Popen[bytes], Path]]:
    """`manage.py signer` as `up` starts it, with all that it writes in a file."""
    written = home / "written.log"
    env = {**os.environ, "TRADECO_HOME": str(home), "TRADECO_PROCESS": "signer", "TRADECO_RPC_URLS": rpc, **environment}
    argv = [sys.executable, "manage.py", "signer", "--spend-cap", "400"]
    client = SignerClient(place.socket_path(home), answer_seconds=10)
    with written.open("wb") as out:
        process = subprocess.Popen(argv, cwd=settings.BASE_DIR, env=env, stdout=out, stderr=subprocess.STDOUT)
        try:
            until(lambda: answers(client), process)
            yield client, process, written
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    keyfile.store(
        place.key_path(tmp_path, Network.SANDBOX), bytearray(OUR_SEED), genesis=SANDBOX, passphrase=SecretStr(PHRASE)
    )
    yield tmp_path
    folder = place.socket_path(tmp_path).parent
    if folder.exists():
        place.socket_path(tmp_path).unlink(missing_ok=True)
        folder.rmdir()


def say(path: Path, line: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        connection.sendall(line + b"\n")
        return connection.makefile("rb").read()


def test_the_command_signs_and_its_key_and_passphrase_are_nowhere_to_be_found(home: Path) -> None:
    """In no log line, answer, exception, environment, open file or file of the home."""
    seen: list[bytes] = []
    ground = Ground()
    with (
        rpc_of(ground) as rpc,
        commanded(
            home,
            f"{rpc}/?api-key=canary-rpc",
            **{passphrase.VARIABLE: PHRASE, "TRADECO_JUPITER_URL": rpc, "TRADECO_JUPITER_KEY": "canary-jupiter"},
        ) as (client, process, written),
    ):
        buying, selling = unsigned(buy()), unsigned(sell())
        seen.append(repr(client.sign(buying, intent=BUYS_SOL, genesis=SANDBOX)).encode())
        seen.append(repr(client.sign(selling, intent=SELLS_SOL, genesis=SANDBOX)).encode())
        for line in (b'{"op": "status"}', b"{}", b"x" * 70_000, request(buying[:-1]).model_dump_json().encode()):
            seen.append(say(client.path, line))
        for number in range(3):
            try:
                client.sign(unsigned(buy(), number=number), intent=BUYS_SOL, genesis=SANDBOX)
            except SignerRefused as refused:
                seen.append(repr(refused).encode())
        ground.up = False
        seen.append(say(client.path, request(unsigned(buy(), number=9)).model_dump_json().encode()))
        assert PHRASE not in " ".join(psutil.Process(process.pid).cmdline())
        if os.geteuid() == 0:  # hardened: for others it can't even be opened
            seen.append(Path(f"/proc/{process.pid}/environ").read_bytes())
            seen.append(" ".join(opened.path for opened in psutil.Process(process.pid).open_files()).encode())
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    seen.append(written.read_bytes())
    seen += [file.read_bytes() for file in home.rglob("*") if file.is_file()]
    everything = b"\n".join(seen)
    assert leaks(everything) == []
    assert PHRASE.encode() not in everything
    log = written.read_bytes()
    assert b"canary-rpc" not in log, "the RPC's own key"
    assert b"canary-jupiter" not in log
    assert b"signer_up" in log
    assert str(US).encode() in log
    assert b"signer_signed" in log, "this looked at nothing"
    assert b"signer_refused" in log
    for line in log.splitlines():
        json.loads(line)


def test_the_command_holds_sales_against_the_market(home: Path) -> None:
    with (
        rpc_of(Ground()) as rpc,
        commanded(home, rpc, **{passphrase.VARIABLE: PHRASE, "TRADECO_JUPITER_URL": rpc}) as (client, _, _),
    ):
        for_a_song = SELLS_SOL.model_copy(update={"least_out": 1})
        with pytest.raises(SignerRefused, match="sold_too_low"):
            client.sign(unsigned(sell(amount_out=1)), intent=for_a_song, genesis=SANDBOX)
        client.sign(unsigned(sell()), intent=SELLS_SOL, genesis=SANDBOX)


def test_a_leak_would_be_found_among_all_that() -> None:
    """The control for the search itself."""
    line = json.dumps({"event": "x", "key": base64.b64encode(OUR_SEED).decode()}).encode()
    assert leaks(line) == ["base64 of 32"]
    assert len(shapes_of(OUR_SEED)) == 13


def test_a_second_signer_of_the_same_home_is_refused(home: Path) -> None:
    with rpc_of(Ground()) as rpc, commanded(home, rpc, **{passphrase.VARIABLE: PHRASE}) as (client, _, _):
        done = signer(home, rpc, PHRASE)
        assert done.returncode != 0
        assert "Another signer" in done.stderr
        assert client.status().ready, "the first goes on"


def signer(home: Path, rpc: str, phrase: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "TRADECO_HOME": str(home), "TRADECO_RPC_URLS": rpc, passphrase.VARIABLE: phrase}
    argv = [sys.executable, "manage.py", "signer"]
    return subprocess.run(argv, cwd=settings.BASE_DIR, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("rpc", "phrase", "says"),
    [
        ("", PHRASE, "TRADECO_RPC_URLS"),
        ("http://rpc.example", PHRASE, "https"),
        ("http://127.0.0.1:1", "wrong-canary-phrase", "doesn't open"),
    ],
)
def test_a_signer_that_cant_run_says_why_and_nothing_more(home: Path, rpc: str, phrase: str, says: str) -> None:
    done = signer(home, rpc, phrase)
    assert done.returncode != 0
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert phrase not in done.stderr + done.stdout
    assert leaks((done.stderr + done.stdout).encode()) == []


def test_the_service_of_these_tests_is_the_one_of_the_command(short: Path) -> None:
    assert repr(Signing(short).service().key) == f"SigningKey({US})"
