"""What a client of the signer believes: only an answer that proves itself."""

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from solders.pubkey import Pubkey
from solders.signature import Signature

from tests.signing import (
    BUYS_SOL,
    OUR_SEED,
    POOL,
    SANDBOX,
    US,
    buy,
    unsigned,
)
from trading.signer import protocol, service
from trading.signer.client import SignerClient, SignerUnavailable
from trading.signer.keys import SigningKey


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s")


@contextmanager
def lying(folder: Path, answer: bytes) -> Iterator[SignerClient]:
    """A server that answers one question with whatever it was told."""
    path = folder / "liar.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def answer_one() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=answer_one)
        thread.start()
        try:
            yield SignerClient(path, answer_seconds=1)
        finally:
            thread.join()
    path.unlink()


RAW = unsigned(buy())
OURS = SigningKey(bytearray(OUR_SEED))


def answer_with(signature: bytes, transaction: bytes) -> bytes:
    return protocol.encode(
        protocol.SignedAnswer(
            signature=str(Signature.from_bytes(signature)), transaction=base64.b64encode(transaction).decode()
        )
    )


def true_signature() -> bytes:
    return OURS.sign(service.transactions.decode(RAW).message_bytes)


def other_transaction() -> bytes:
    other = service.transactions.decode(unsigned(buy(), number=9))
    return other.signed(wallet=str(US), signature=OURS.sign(other.message_bytes))


def in_its_place(signature: bytes) -> bytes:
    return service.transactions.decode(RAW).signed(wallet=str(US), signature=signature)


LIES = {
    "another signature": lambda: answer_with(bytes([1] * 64), in_its_place(bytes([1] * 64))),
    "a signature that isn't in the transaction": lambda: answer_with(true_signature(), RAW),
    "another transaction, well signed": lambda: answer_with(other_transaction()[1:65], other_transaction()),
    "the pool's signature": lambda: answer_with(
        bytes(POOL.sign_message(b"")), in_its_place(bytes(POOL.sign_message(b"")))
    ),
    "no signature": lambda: b'{"ok": true, "signature": "x", "transaction": "AAAA"}\n',
    "a field more": lambda: b'{"ok": true, "signature": "x", "transaction": "AAAA", "key": 1}\n',
    "no JSON": lambda: b"OK\n",
    "half an answer": lambda: answer_with(true_signature(), in_its_place(true_signature()))[:100],
    "nothing": lambda: b"",
    "no end": lambda: b"x" * 70_000,
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
def test_an_answer_that_doesnt_prove_itself_is_none(short: Path, lie: Callable[[], bytes]) -> None:
    with lying(short, lie()) as client, pytest.raises(SignerUnavailable):
        client.sign(RAW, intent=BUYS_SOL, genesis=SANDBOX)


def test_an_answer_that_proves_itself_is_believed(short: Path) -> None:
    with lying(short, answer_with(true_signature(), in_its_place(true_signature()))) as client:
        signed = client.sign(RAW, intent=BUYS_SOL, genesis=SANDBOX)
    assert Signature.from_string(signed.signature).verify(
        Pubkey.from_string(str(US)), service.transactions.decode(RAW).message_bytes
    )


def test_without_a_signer_the_client_says_so(short: Path) -> None:
    with pytest.raises(SignerUnavailable) as refused:
        SignerClient(short / "none.sock").status()
    assert refused.value.status == 503
