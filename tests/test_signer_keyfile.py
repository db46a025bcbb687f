"""The key on disk and in memory: encrypted, whole, never overwritten, and shown to nobody."""

import base64
import copy
import json
import os
import pickle
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from django.conf import settings
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import SecretStr
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.signature import Signature

from tests.signing import OUR_SEED, SANDBOX, US, leaks, shapes_of
from trading.signer import keyfile, passphrase
from trading.signer.keyfile import KeyExists, KeyFileUnusable, SecretUnreadable, WrongPassphrase
from trading.signer.keys import SigningKey
from trading.signer.networks import GENESIS, Network

QUICK = 2**10  # scrypt's cost in tests
PHRASE = SecretStr("correct horse battery")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "wallet" / "sandbox.json"


def stored(path: Path) -> Path:
    keyfile.store(path, bytearray(OUR_SEED), genesis=SANDBOX, passphrase=PHRASE, cost=QUICK)
    return path


# --- making and opening ---------------------------------------------------------------------------


def test_a_new_key_opens_with_its_passphrase_and_signs(path: Path) -> None:
    address = keyfile.create(path, genesis=SANDBOX, passphrase=PHRASE, cost=QUICK)
    key, genesis = keyfile.unlock(path, passphrase=PHRASE)
    assert (key.address, genesis) == (address, SANDBOX)
    assert Signature.from_bytes(key.sign(b"message")).verify(Pubkey.from_string(address), b"message")
    assert keyfile.describe(path).address == address


def test_no_two_new_keys_are_the_same(tmp_path: Path) -> None:
    made = {keyfile.create(tmp_path / str(n), genesis=SANDBOX, passphrase=PHRASE, cost=QUICK) for n in range(5)}
    assert len(made) == 5


def test_the_usual_cost_is_that_of_the_file(path: Path) -> None:
    keyfile.create(path, genesis=SANDBOX, passphrase=PHRASE)
    assert json.loads(path.read_text())["kdf"]["n"] == 2**17
    keyfile.unlock(path, passphrase=PHRASE)


def test_only_its_owner_may_open_the_file_and_its_folder(path: Path) -> None:
    stored(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [left.name for left in path.parent.iterdir()] == [path.name], "no draft is left"


def test_a_key_is_never_overwritten(path: Path) -> None:
    before = stored(path).read_bytes()
    with pytest.raises(KeyExists):
        keyfile.create(path, genesis=SANDBOX, passphrase=PHRASE, cost=QUICK)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


def test_of_ten_who_make_a_key_at_once_one_succeeds(path: Path) -> None:
    start, made = threading.Barrier(10), []

    def make() -> None:
        start.wait()
        try:
            made.append(keyfile.create(path, genesis=SANDBOX, passphrase=PHRASE, cost=QUICK))
        except KeyExists:
            pass

    threads = [threading.Thread(target=make) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [keyfile.describe(path).address]


def test_a_short_passphrase_makes_no_key(path: Path) -> None:
    with pytest.raises(keyfile.PassphraseTooShort):
        keyfile.create(path, genesis=SANDBOX, passphrase=SecretStr("x" * 11), cost=QUICK)
    assert not path.exists()


# --- what isn't opened ----------------------------------------------------------------------------


def test_a_wrong_passphrase_opens_nothing(path: Path) -> None:
    with pytest.raises(WrongPassphrase) as refused:
        keyfile.unlock(stored(path), passphrase=SecretStr("correct horse batterz"))
    assert "batterz" not in str(refused.value)


ALTERED = [
    ("address", "4Nd1mBQtrMJVYVfKf2PJy9NZUZdTAsp7D4xWLs4gDB4T"),
    ("genesis", GENESIS[Network.MAINNET]),
    ("kdf.n", 2**11),
    ("kdf.salt", base64.b64encode(bytes(16)).decode()),
    ("cipher.nonce", base64.b64encode(bytes(12)).decode()),
    ("ciphertext", base64.b64encode(bytes(48)).decode()),
]


@pytest.mark.parametrize(("field", "value"), ALTERED)
def test_an_altered_file_opens_nothing(path: Path, field: str, value: object) -> None:
    content = json.loads(stored(path).read_text())
    *outer, name = field.split(".")
    (content[outer[0]] if outer else content)[name] = value
    path.write_text(json.dumps(content))
    with pytest.raises(WrongPassphrase):
        keyfile.unlock(path, passphrase=PHRASE)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"version": 2}',
        "not json",
        json.dumps({"kdf": {"name": "scrypt", "n": 2**40, "r": 8, "p": 1, "salt": ""}}),
        "x" * 5000,
    ],
)
def test_what_is_no_key_file_says_so(path: Path, content: str) -> None:
    stored(path).write_text(content)
    with pytest.raises(KeyFileUnusable, match="no key file of this version"):
        keyfile.unlock(path, passphrase=PHRASE)


@pytest.mark.parametrize(("field", "value"), [("ciphertext", "AAAA"), ("ciphertext", "*"), ("nonce", "AAAA")])
def test_a_damaged_file_says_so(path: Path, field: str, value: str) -> None:
    content = json.loads(stored(path).read_text())
    (content["cipher"] if field == "nonce" else content)[field] = value
    path.write_text(json.dumps(content))
    with pytest.raises((KeyFileUnusable, WrongPassphrase)):
        keyfile.unlock(path, passphrase=PHRASE)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666])
def test_a_file_that_others_may_open_is_refused_with_what_to_do(path: Path, mode: int) -> None:
    stored(path).chmod(mode)
    with pytest.raises(KeyFileUnusable, match="chmod 600"):
        keyfile.unlock(path, passphrase=PHRASE)


def test_a_link_or_a_folder_is_no_key_file(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.json"
    link.symlink_to(stored(path))
    for wrong in (link, tmp_path):
        with pytest.raises(KeyFileUnusable):
            keyfile.unlock(wrong, passphrase=PHRASE)


def test_a_missing_key_says_how_to_make_one(path: Path) -> None:
    with pytest.raises(KeyFileUnusable, match="wallet create"):
        keyfile.unlock(path, passphrase=PHRASE)


# --- importing ------------------------------------------------------------------------------------

PAIR = Keypair.from_seed(OUR_SEED)


@pytest.mark.parametrize(
    "text",
    [
        PAIR.to_json(),
        json.dumps(list(bytes(PAIR)), indent=2) + "\n",
        str(PAIR),
        f"  {PAIR}\n",
        str(Pubkey(OUR_SEED)),
        json.dumps(list(OUR_SEED)),
    ],
)
def test_the_usual_shapes_of_a_secret_are_read(text: str) -> None:
    assert keyfile.read_secret(text) == OUR_SEED


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[1, 2, 3]",
        "[" * 900,
        "[1" * 60,
        json.dumps([256] * 64),
        json.dumps([0.5] * 64),
        json.dumps(["1"] * 64),
        json.dumps([*bytes(PAIR)[:-1], 1]),
        str(PAIR)[:-1],
        "0OIl" * 20,
        "1" * 31,
        "x" * 2000,
        str(US)[:-1] + "é",
    ],
)
def test_what_is_no_secret_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(SecretUnreadable) as refused:
        keyfile.read_secret(text)
    assert not text or text not in str(refused.value)


@given(st.binary(min_size=32, max_size=32))
def test_every_seed_comes_back_from_base58(seed: bytes) -> None:
    """Those with leading zeros too."""
    assert keyfile.read_secret(str(Pubkey(seed))) == seed
    assert keyfile.read_secret(str(Keypair.from_seed(seed))) == seed


# --- secrecy --------------------------------------------------------------------------------------


def test_the_key_is_in_no_text_of_its_object_or_file(path: Path) -> None:
    key, _ = keyfile.unlock(stored(path), passphrase=PHRASE)
    texts = [repr(key), str(key), repr([key]), repr(PHRASE), str(PHRASE), path.read_text()]
    assert leaks("".join(texts).encode()) == []
    assert str(US) in repr(key)
    assert PHRASE.get_secret_value() not in "".join(texts)


@pytest.mark.parametrize("name", list(shapes_of(OUR_SEED)))
def test_a_leak_in_any_shape_would_be_found(name: str) -> None:
    assert name in leaks(b"log: " + shapes_of(OUR_SEED)[name] + b" end")


def test_the_keypair_of_the_library_would_leak() -> None:
    """Why it isn't what the signer holds."""
    assert leaks(str(PAIR).encode())


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_key_cant_be_copied_or_stored(take: object) -> None:
    with pytest.raises(TypeError):
        take(SigningKey(bytearray(OUR_SEED)))  # type: ignore[operator]


def test_a_seed_is_zeroed_once_it_is_a_key(path: Path) -> None:
    seed = bytearray(OUR_SEED)
    SigningKey(seed)
    assert not any(seed)
    seed[:] = OUR_SEED
    keyfile.store(path, seed, genesis=SANDBOX, passphrase=PHRASE, cost=QUICK)
    assert not any(seed)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.binary(max_size=300))
def test_garbage_for_a_key_file_is_always_refused_in_our_own_words(path: Path, content: bytes) -> None:
    if not path.exists():
        stored(path)
    path.write_bytes(content)
    with pytest.raises(KeyFileUnusable):
        keyfile.unlock(path, passphrase=PHRASE)


# --- the passphrase -------------------------------------------------------------------------------


def test_a_passphrase_leaves_the_environment_when_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(passphrase.VARIABLE, "from the environment")
    assert passphrase.read(confirm=True).get_secret_value() == "from the environment"
    assert passphrase.VARIABLE not in os.environ


def test_a_passphrase_comes_from_the_first_line_of_a_private_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "phrase"
    file.write_text("from a file, with spaces \r\nmore\n")
    file.chmod(0o600)
    monkeypatch.setenv(passphrase.FILE_VARIABLE, str(file))
    assert passphrase.read(confirm=False).get_secret_value() == "from a file, with spaces "
    file.chmod(0o644)
    with pytest.raises(passphrase.PassphraseMissing, match="chmod 600"):
        passphrase.read(confirm=False)


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """What a person types next at a terminal."""
    lines: list[str] = []
    terminal = tmp_path / "tty"
    terminal.touch()
    monkeypatch.setattr(passphrase, "TERMINAL", terminal)
    monkeypatch.setattr(passphrase.getpass, "getpass", lambda prompt: lines.pop(0))
    return lines


def test_a_person_types_a_new_passphrase_twice_and_a_known_one_once(typed: list[str]) -> None:
    typed += ["first phrase", "first phrase", "known phrase"]
    assert passphrase.read(confirm=True).get_secret_value() == "first phrase"
    assert passphrase.read(confirm=False).get_secret_value() == "known phrase"


def test_two_different_passphrases_are_none(typed: list[str]) -> None:
    typed += ["first phrase", "forst phrase"]
    with pytest.raises(passphrase.PassphraseMissing) as refused:
        passphrase.read(confirm=True)
    assert "phrase" not in str(refused.value).replace("passphrases", "")


@pytest.mark.parametrize("content", [None, b"", b"\nsecond", b"\xff\xfe"])
def test_a_passphrase_file_without_one_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "phrase"
    if content is not None:
        file.write_bytes(content)
        file.chmod(0o600)
    monkeypatch.setenv(passphrase.FILE_VARIABLE, str(file))
    with pytest.raises(passphrase.PassphraseMissing):
        passphrase.read(confirm=False)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_passphrase_leaves_the_processs_memory_of_its_start_too() -> None:
    """Unsetting a variable isn't enough: the control, which only unsets it, still shows it in /proc."""
    read = "from trading.signer import passphrase; passphrase.read(confirm=False); "
    unset = f"import os; os.environ.pop({passphrase.VARIABLE!r}); "
    assert b"canary phrase" not in environment_after(read)
    assert b"OTHER=kept" in environment_after(read)
    assert b"canary phrase" in environment_after(unset)


def environment_after(doing: str) -> bytes:
    code = doing + "print('ready', flush=True); import time; time.sleep(60)"
    env = {**os.environ, passphrase.VARIABLE: "canary phrase", "OTHER": "kept"}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, env=env, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        try:
            return Path(f"/proc/{process.pid}/environ").read_bytes()
        finally:
            process.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_hardened_process_dumps_no_core_and_isnt_traced() -> None:
    code = (
        "import ctypes, resource; from trading.signer import hardening; c = ctypes.CDLL(None); "
        "print(c.prctl(3, 0, 0, 0, 0)); hardening.harden(); "
        "print(c.prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=settings.BASE_DIR, capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[:2] == ["1", "0 (0, 0)"]


def test_a_wrong_guess_costs_time(path: Path) -> None:
    keyfile.create(path, genesis=SANDBOX, passphrase=PHRASE)
    began = time.perf_counter()
    with pytest.raises(WrongPassphrase):
        keyfile.unlock(path, passphrase=SecretStr("wrong wrong wrong"))
    assert time.perf_counter() - began > 0.05
