"""The signer's socket: who may ask, what is answered, and that nothing sent to it brings it down."""

import json
import os
import pwd
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import TransactionMetadata

from tests.signing import (
    BUYS_SOL,
    SANDBOX,
    SELLS_SOL,
    THIEF,
    US,
    Ground,
    Signing,
    buy,
    leaks,
    request,
    sell,
    unsigned,
)
from trading.signer import place, protocol, server, service
from trading.signer.client import Signed, SignerClient, SignerRefused, SignerUnavailable
from trading.signer.limits import Limits
from trading.signer.networks import GENESIS, Network
from trading.signer.refusals import Refusal
from trading.signer.server import Server
from trading.signer.service import RightChain


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


@pytest.fixture
def signing(short: Path) -> Signing:
    return Signing(short)


@contextmanager
def running(signing: Signing, *, line_seconds: float = 5.0) -> Iterator[SignerClient]:
    path = signing.folder / "s" / "signer.sock"
    stopping, up = threading.Event(), threading.Event()
    serving = Server(signing.service(), path=path, line_seconds=line_seconds)

    def run() -> None:
        up.set()
        serving.run(stopping)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        up.wait()
        client = SignerClient(path, answer_seconds=10)
        _until(lambda: path.exists() and _status_or_none(client) is not None)
        yield client
    finally:
        stopping.set()
        thread.join()


def _status_or_none(client: SignerClient) -> protocol.Status | None:
    try:
        return client.status()
    except SignerUnavailable:
        return None


def _until(true: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(500):
        if true():
            return
        pause.wait(0.02)
    raise AssertionError("it didn't come true within ten seconds")


def say(client: SignerClient, line: bytes) -> dict[str, object]:
    """Whatever is sent, the answer as it comes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(10)
        connection.connect(str(client.path))
        connection.sendall(line)
        connection.shutdown(socket.SHUT_WR)
        found = connection.makefile("rb").read()
    answer = json.loads(found)
    assert isinstance(answer, dict)
    return answer


# --- signing --------------------------------------------------------------------------------------


def test_a_good_transaction_is_signed_and_lands(signing: Signing) -> None:
    with running(signing) as client:
        signed = client.sign(unsigned(buy()), intent=BUYS_SOL, genesis=SANDBOX)
    transaction = VersionedTransaction.from_bytes(signed.transaction)
    assert transaction.verify_with_results() == [True, True]
    assert str(transaction.signatures[0]) == signed.signature
    landed = signing.ground.svm.with_sigverify(True).send_transaction(transaction)
    assert isinstance(landed, TransactionMetadata), landed


def test_asking_again_gives_the_same_and_is_charged_once(signing: Signing) -> None:
    raw = unsigned(buy())
    with running(signing) as client:
        first = client.sign(raw, intent=BUYS_SOL, genesis=SANDBOX)
        assert [client.sign(raw, intent=BUYS_SOL, genesis=SANDBOX) for _ in range(3)] == [first] * 3
        found = client.status()
    assert (found.spent, found.signatures) == (BUYS_SOL.amount_in, 1)
    assert signing.ground.simulations == 1


def test_asking_again_works_once_it_has_landed(signing: Signing) -> None:
    """The answer was lost, somebody sent it all the same: its signature is still to be had."""
    raw = unsigned(buy(amount_in=9_000_000_000))
    intent = BUYS_SOL.model_copy(update={"amount_in": 9_000_000_000})
    signing.limits = Limits(spend_cap=9_000_000_000, signatures_a_day=5)
    with running(signing) as client:
        first = client.sign(raw, intent=intent, genesis=SANDBOX)
        signing.ground.svm.send_transaction(VersionedTransaction.from_bytes(first.transaction))
        assert client.sign(raw, intent=intent, genesis=SANDBOX) == first


def test_the_status_says_who_signs_and_how_much_but_no_secret(signing: Signing) -> None:
    with running(signing) as client:
        _until(lambda: client.status().ready)
        found = client.status()
    assert (found.address, found.network, found.genesis, found.ready) == (str(US), "sandbox", SANDBOX, True)
    assert (found.spent, found.spend_cap, found.signatures_a_day) == (0, 1_000_000_000, 50)
    assert leaks(found.model_dump_json().encode()) == []


@pytest.mark.parametrize(
    ("code", "raw", "intent", "genesis"),
    [
        ("wrong_genesis", unsigned(buy()), BUYS_SOL, GENESIS[Network.MAINNET]),
        ("mint_not_allowed", unsigned(buy()), BUYS_SOL.model_copy(update={"mint_out": str(THIEF.pubkey())}), SANDBOX),
        ("not_a_trade", unsigned(buy()), BUYS_SOL.model_copy(update={"mint_out": BUYS_SOL.mint_in}), SANDBOX),
        ("signature_missing", unsigned(buy(), cosigners=()), BUYS_SOL, SANDBOX),
        ("gives_too_much", unsigned(buy()), BUYS_SOL.model_copy(update={"amount_in": 149_999_999}), SANDBOX),
        ("receives_too_little", unsigned(buy()), BUYS_SOL.model_copy(update={"least_out": 2**40}), SANDBOX),
        ("spend_cap", unsigned(buy(amount_in=2**30)), BUYS_SOL.model_copy(update={"amount_in": 2**30}), SANDBOX),
        ("malformed", b"\x01" * 100, BUYS_SOL, SANDBOX),
        ("too_large", b"\x01" * 1233, BUYS_SOL, SANDBOX),
    ],
)  # fmt: skip
def test_a_refusal_carries_its_code_and_charges_nothing(
    signing: Signing, code: str, raw: bytes, intent: protocol.Intent, genesis: str
) -> None:
    with running(signing) as client:
        answer = say(client, protocol.encode(request(raw, intent=intent, genesis=genesis)))
        assert (answer["ok"], answer["code"]) == (False, code)
        with pytest.raises(SignerRefused) as refused:
            client.sign(raw, intent=intent, genesis=genesis)
        assert refused.value.refusal == code
        assert client.status().signatures == 0


def test_many_clients_at_once_are_each_answered_with_their_own(signing: Signing) -> None:
    """Thirty of them, more than there are workers; of a cap for twenty, twenty are signed."""
    signing.limits = Limits(spend_cap=20 * BUYS_SOL.amount_in, signatures_a_day=1000)
    found: dict[int, Signed | str] = {}
    start = threading.Barrier(30)

    def ask(client: SignerClient, number: int) -> None:
        start.wait()
        try:
            found[number] = client.sign(unsigned(buy(), number=number), intent=BUYS_SOL, genesis=SANDBOX)
        except SignerRefused as refused:
            found[number] = refused.refusal

    with running(signing) as client:
        threads = [threading.Thread(target=ask, args=[client, number]) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.status().spent == 20 * BUYS_SOL.amount_in
    signed = [one for one in found.values() if isinstance(one, Signed)]
    assert len(signed) == len({one.signature for one in signed}) == 20
    assert [one for one in found.values() if isinstance(one, str)] == ["spend_cap"] * 10


# --- the chain ------------------------------------------------------------------------------------


def test_while_the_chain_is_down_nothing_is_signed_or_charged(signing: Signing) -> None:
    raw = unsigned(buy())
    signing.ground.up = False
    with running(signing) as client:
        assert not client.status().ready
        with pytest.raises(SignerUnavailable, match="rpc_unavailable"):
            client.sign(raw, intent=BUYS_SOL, genesis=SANDBOX)
        assert client.status().signatures == 0
        signing.ground.up = True
        client.sign(raw, intent=BUYS_SOL, genesis=SANDBOX)
        assert client.status().ready


def test_the_signer_becomes_ready_by_itself_once_the_chain_is_up(
    signing: Signing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ASK_AGAIN_SECONDS", 0.02)
    signing.ground.up = False
    with running(signing) as client:
        assert "doesn't answer" in client.status().reason
        signing.ground.up = True
        _until(lambda: client.status().ready)


def test_a_sandbox_key_never_meets_mainnet(signing: Signing) -> None:
    signing.ground.genesis = GENESIS[Network.MAINNET]
    with running(signing) as client:
        with pytest.raises(SignerRefused) as refused:
            client.sign(unsigned(buy()), intent=BUYS_SOL, genesis=SANDBOX)
        assert refused.value.refusal == "wrong_chain"
        assert not client.status().ready


def test_the_chain_is_asked_again_after_a_minute_and_not_before() -> None:
    ground, now = Ground(), [0.0]
    right = RightChain(ground, genesis=SANDBOX, clock=lambda: now[0])
    right.confirm()
    ground.genesis = GENESIS[Network.MAINNET]
    now[0] = 59.9
    right.confirm()
    now[0] = 60.0
    with pytest.raises(Refusal, match="wrong_chain"):
        right.confirm()
    ground.genesis = SANDBOX
    right.confirm()
    assert right.doubt == ""


# --- who and what ---------------------------------------------------------------------------------


def test_the_socket_and_its_folder_are_its_owners_alone(signing: Signing) -> None:
    folder = signing.folder / "s"
    with running(signing) as client:
        assert stat.S_IMODE(client.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert not client.path.exists()


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o1777, 0o701])
def test_a_folder_that_others_may_enter_is_refused_and_left_as_it_is(tmp_path: Path, mode: int) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(place.SocketPlaceTaken, match="mode 700"):
        place.make_way(folder / "signer.sock")
    assert stat.S_IMODE(folder.stat().st_mode) == mode
    folder.chmod(0o700)
    place.make_way(folder / "signer.sock")


def test_a_link_instead_of_a_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(place.SocketPlaceTaken):
        place.make_way(link / "signer.sock")


def test_a_file_at_the_sockets_place_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "s" / "precious"
    file.parent.mkdir(mode=0o700)
    file.write_text("kept")
    with pytest.raises(place.SocketPlaceTaken, match="isn't a socket"):
        place.make_way(file)
    assert file.read_text() == "kept"


def test_a_path_too_long_for_a_socket_says_so(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener, pytest.raises(place.SocketPlaceTaken, match="100 bytes"):
        place.listen(listener, tmp_path / ("x" * 110), backlog=1)


def test_a_killed_signers_socket_is_replaced(signing: Signing) -> None:
    path = signing.folder / "s" / "signer.sock"
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
    with running(signing) as client:
        assert client.status().address == str(US)


def test_root_and_ourselves_may_ask_and_nobody_else() -> None:
    assert server.may_ask(os.geteuid())
    assert server.may_ask(0)
    assert not server.may_ask(os.geteuid() + 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_refused_even_where_modes_would_let_him_in(signing: Signing) -> None:
    asks = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); "
        """s.sendall(b'{"op": "status"}\\n'); print(s.makefile().read())"""
    )
    with running(signing) as client:
        for folder in (client.path.parent, *client.path.parent.parents):
            if folder.stat().st_mode & 0o005 != 0o005:
                folder.chmod(0o755)
        client.path.chmod(0o666)
        done = {
            user: subprocess.run(
                ["/usr/bin/env", "python3", "-c", asks, str(client.path)],
                cwd="/",
                user=user,
                capture_output=True,
                text=True,
                check=False,
            ).stdout
            for user in (pwd.getpwnam("nobody").pw_uid, 0)
        }
    assert [json.loads(out).get("code") for out in done.values()] == ["forbidden", None]


def test_the_place_of_the_socket_is_short_and_the_homes_own(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 120)
    long.mkdir()
    assert len(os.fsencode(place.socket_path(long))) < 104
    assert place.socket_path(long) == place.socket_path(long)
    assert place.socket_path(long) != place.socket_path(tmp_path)


GOOD = json.loads(protocol.encode(request(unsigned(buy()))))
BAD_LINES = [
    b"",
    b"\n",
    b"null",
    b"{}",
    b"[" * 5000,
    b'{"op": "sign"}',
    b'{"op": "export"}',
    b'{"op": "status", "more": 1}',
    json.dumps({**GOOD, "force": True}).encode(),
    json.dumps({**GOOD, "transaction": "***"}).encode(),
    json.dumps({**GOOD, "transaction": "A" * 5000}).encode(),
    json.dumps({**GOOD, "transaction": "AAA"}).encode(),
    json.dumps({**GOOD, "intent": {**GOOD["intent"], "amount_in": "150000000"}}).encode(),
    json.dumps({**GOOD, "intent": {**GOOD["intent"], "amount_in": 1.5}}).encode(),
    json.dumps({**GOOD, "intent": {**GOOD["intent"], "amount_in": 0}}).encode(),
    json.dumps({**GOOD, "intent": {**GOOD["intent"], "least_out": 0}}).encode(),
    json.dumps({**GOOD, "intent": {**GOOD["intent"], "amount_in": 2**64}}).encode(),
    json.dumps({**GOOD, "intent": {**GOOD["intent"], "amount_in": True}}).encode(),
    json.dumps({**GOOD, "intent": {**GOOD["intent"], "mint_in": "0OIl"}}).encode(),
    b"\xff\xfe\x00",
    b"x" * (protocol.LINE_BYTES_MOST + 10),
]


def test_lines_that_arent_requests_are_answered_so(signing: Signing) -> None:
    with running(signing) as client:
        for line in BAD_LINES:
            answer = say(client, line + b"\n" if len(line) <= protocol.LINE_BYTES_MOST else line)
            assert (answer["ok"], answer["code"]) == (False, "bad_request"), line[:60]
        assert say(client, json.dumps(GOOD).encode() + b"\n")["ok"] is True


def test_a_bad_request_isnt_quoted_back(signing: Signing) -> None:
    with running(signing) as client:
        answer = say(client, json.dumps({**GOOD, "transaction": "*** canary ***"}).encode() + b"\n")
    assert "canary" not in json.dumps(answer)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SignerClient]:
    with running(Signing(tmp_path_factory.mktemp("s")), line_seconds=0.5) as client:
        yield client


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    st.binary(max_size=400)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["op", *GOOD]), inner, max_size=5),
        max_leaves=10,
    ).map(lambda value: json.dumps(value).encode())
)
def test_garbage_gets_an_answer_and_no_signature(standing: SignerClient, garbage: bytes) -> None:
    answer = say(standing, garbage.replace(b"\n", b" ") + b"\n")
    assert answer["ok"] is False
    assert answer["code"] == "bad_request"


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(at=st.integers(0, len(unsigned(sell())) - 1), bit=st.integers(0, 7))
def test_no_single_bit_makes_another_transaction_that_is_signed(standing: SignerClient, at: int, bit: int) -> None:
    """A message with one bit turned isn't what the pool signed; our own empty place isn't empty any more."""
    raw = bytearray(unsigned(sell()))
    raw[at] ^= 1 << bit
    answer = say(standing, protocol.encode(request(bytes(raw), intent=SELLS_SOL)))
    assert answer["ok"] is False
    assert answer["code"] != "internal_error"


def test_one_who_drips_or_says_nothing_is_left_alone_after_a_while(signing: Signing) -> None:
    with running(signing, line_seconds=0.3) as client, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as slow:
        slow.settimeout(10)
        slow.connect(str(client.path))
        pause = threading.Event()
        with pytest.raises(OSError):  # noqa: PT012  whichever drip comes after the server has closed
            for _ in range(100):
                slow.sendall(b" ")
                pause.wait(0.05)
        assert client.status().address == str(US)


def test_those_who_say_nothing_dont_keep_others_out_for_long(signing: Signing) -> None:
    with running(signing, line_seconds=0.3) as client:
        silent = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(2 * server.WORKERS)]
        for one in silent:
            one.connect(str(client.path))
        assert client.status().address == str(US)
        for one in silent:
            one.close()


def test_a_failure_of_ours_is_answered_without_its_details(
    signing: Signing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object, **named: object) -> None:
        raise RuntimeError("something of ours")

    with running(signing) as client:
        monkeypatch.setattr(service.effects, "check", fail)
        answer = say(client, json.dumps(GOOD).encode() + b"\n")
        assert answer["code"] == "internal_error"
        assert "something of ours" not in json.dumps(answer)
        assert client.status().signatures == 0
