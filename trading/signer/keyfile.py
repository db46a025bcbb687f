"""The wallet's key on disk: encrypted, whole or not at all, never overwritten, readable by its owner alone.

    {"version": 1, "address", "genesis", "kdf": {name, n, r, p, salt}, "cipher": {name, nonce}, "ciphertext"}

Everything but the ciphertext is its associated data: neither the address nor the chain can be altered.
Where the passphrase comes from is passphrase's affair.
"""

import base64
import binascii
import json
import os
import secrets
import stat
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from tradeco.common.errors import DomainError
from trading.signer.keys import SEED_BYTES, SigningKey, wipe

COST = 2**17  # scrypt's n: 128 MiB and some 0.4 s a guess
FILE_BYTES_MOST = 4096
SECRET_CHARACTERS_MOST = 1000  # 64 numbers with indentation are some 600
PASSPHRASE_LEAST = 12  # characters
BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


class KeyFileUnusable(DomainError):
    code: ClassVar[str] = "key_file_unusable"
    title: ClassVar[str] = "The key file can't be used"


class KeyExists(DomainError):
    code: ClassVar[str] = "key_exists"
    title: ClassVar[str] = "There is a key already"


class WrongPassphrase(DomainError):
    code: ClassVar[str] = "wrong_passphrase"
    title: ClassVar[str] = "The passphrase is wrong, or the key file was altered"


class PassphraseTooShort(DomainError):
    code: ClassVar[str] = "passphrase_too_short"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "The passphrase is too short"


class SecretUnreadable(DomainError):
    code: ClassVar[str] = "secret_unreadable"
    status: ClassVar[int] = 400
    title: ClassVar[str] = "This is no secret key that can be imported"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Kdf(_Strict):
    name: Literal["scrypt"] = "scrypt"
    n: Annotated[int, Field(ge=2**10, le=2**18)]
    r: Literal[8] = 8
    p: Literal[1] = 1
    salt: str


class _Cipher(_Strict):
    name: Literal["aes-256-gcm"] = "aes-256-gcm"
    nonce: str


class Header(_Strict):
    """What anybody who may open the file can read without the passphrase."""

    version: Literal[1] = 1
    address: str
    genesis: str
    kdf: _Kdf
    cipher: _Cipher

    def associated_data(self) -> bytes:
        return json.dumps(self.model_dump(include=set(Header.model_fields)), sort_keys=True).encode()


class _Sealed(Header):
    ciphertext: str


def create(path: Path, *, genesis: str, passphrase: SecretStr, cost: int = COST) -> str:
    """A new key by the system's own randomness; returns its address.

    Raises:
        KeyExists: it is never replaced, since what it holds would be lost for ever.
    """
    return store(path, bytearray(secrets.token_bytes(SEED_BYTES)), genesis=genesis, passphrase=passphrase, cost=cost)


def store(path: Path, seed: bytearray, *, genesis: str, passphrase: SecretStr, cost: int = COST) -> str:
    """Encrypt a seed of 32 bytes, which is zeroed, into a new file; returns its address.

    Raises:
        KeyExists, PassphraseTooShort.
    """
    if len(passphrase.get_secret_value()) < PASSPHRASE_LEAST:
        raise PassphraseTooShort(f"Choose a passphrase of {PASSPHRASE_LEAST} characters or more.")
    header = Header(
        address=SigningKey(bytearray(seed)).address,
        genesis=genesis,
        kdf=_Kdf(n=cost, salt=_text(secrets.token_bytes(16))),
        cipher=_Cipher(nonce=_text(secrets.token_bytes(12))),
    )
    sealed = _aead(header, passphrase).encrypt(_bytes(header.cipher.nonce), seed, header.associated_data())
    wipe(seed)
    _write_new(path, _Sealed(**dict(header), ciphertext=_text(sealed)).model_dump_json(indent=1).encode())
    return header.address


def describe(path: Path) -> Header:
    """Address and chain, without the passphrase (and so not proven).

    Raises:
        KeyFileUnusable: missing, not ours alone, or not a key file; the detail says what to do.
    """
    return _read(path)


def unlock(path: Path, *, passphrase: SecretStr) -> tuple[SigningKey, str]:
    """The key, and the genesis hash of the chain it is for, both proven by the passphrase.

    Raises:
        KeyFileUnusable, WrongPassphrase.
    """
    sealed = _read(path)
    seed = bytearray(SEED_BYTES)
    try:
        _aead(sealed, passphrase).decrypt_into(
            _bytes(sealed.cipher.nonce), _bytes(sealed.ciphertext), sealed.associated_data(), seed
        )
    except InvalidTag:
        raise WrongPassphrase(f"The passphrase doesn't open {path}, or somebody altered the file.") from None
    except ValueError:
        raise KeyFileUnusable(f"{path} is damaged: its nonce or ciphertext has a wrong length.") from None
    return SigningKey(seed), sealed.genesis


def read_secret(text: str) -> bytearray:
    """The 32-byte seed of a Solana CLI keypair (JSON, 64 numbers) or of a base58 secret of 64 or 32 bytes.

    Raises:
        SecretUnreadable: it never quotes what it was given.
    """
    text = text.strip()
    if len(text) > SECRET_CHARACTERS_MOST:
        raise SecretUnreadable("This is too long for a secret key.")
    raw = _from_numbers(text) if text.startswith("[") else _from_base58(text)
    if len(raw) not in (SEED_BYTES, 2 * SEED_BYTES):
        wipe(raw)
        raise SecretUnreadable(
            "Give the 64 numbers of a Solana CLI keypair file, or a base58 secret of 64 or 32 bytes."
        )
    seed, public = raw[:SEED_BYTES], bytes(raw[SEED_BYTES:])
    wipe(raw)
    if public and _from_base58(SigningKey(bytearray(seed)).address) != public:
        wipe(seed)
        raise SecretUnreadable("Its public half doesn't belong to its secret half: it was copied wrongly.")
    return seed


def _from_numbers(text: str) -> bytearray:
    try:
        return bytearray(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        raise SecretUnreadable("A keypair file holds numbers from 0 to 255 between brackets.") from None


def _from_base58(text: str) -> bytearray:
    if not text or set(text) - set(BASE58):
        raise SecretUnreadable("A base58 secret has letters and digits only, without 0, O, I and l.")
    number = 0
    for letter in text:
        number = number * 58 + BASE58.index(letter)
    zeros = len(text) - len(text.lstrip(BASE58[0]))
    return bytearray(zeros) + bytearray(number.to_bytes((number.bit_length() + 7) // 8, "big"))


def _read(path: Path) -> _Sealed:
    try:
        return _Sealed.model_validate_json(_read_private(path))
    except ValidationError as exc:
        where = ", ".join(".".join(map(str, error["loc"])) or "the whole" for error in exc.errors())
        raise KeyFileUnusable(f"{path} is no key file of this version (look at: {where}).") from None


def _read_private(path: Path) -> bytes:
    """The file's bytes, if it is a plain file of ours that nobody else may open."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KeyFileUnusable(f"There is no key at {path}. Make one: manage.py wallet create") from None
    except OSError as exc:
        raise KeyFileUnusable(f"{path} can't be opened: {exc.strerror}.") from None
    try:
        _refuse_unless_private(os.fstat(descriptor), path)
        return os.read(descriptor, FILE_BYTES_MOST)
    finally:
        os.close(descriptor)


def _refuse_unless_private(found: os.stat_result, path: Path) -> None:
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
        raise KeyFileUnusable(f"{path} must be a plain file that belongs to the user who runs the signer.")
    if found.st_mode & 0o077:
        raise KeyFileUnusable(
            f"Others may open {path} (mode {stat.S_IMODE(found.st_mode):o}). If nobody has, run: chmod 600 {path}"
        )


def _write_new(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with open(draft, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)  # whole or not at all, and never over another
    except FileExistsError:
        raise KeyExists(f"{path} exists. Move it away yourself if you mean to use another key.") from None
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """So that a new name outlives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _aead(header: Header, passphrase: SecretStr) -> AESGCM:
    kdf = header.kdf
    derive = Scrypt(salt=_bytes(kdf.salt), length=32, n=kdf.n, r=kdf.r, p=kdf.p)
    return AESGCM(derive.derive(passphrase.get_secret_value().encode()))


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyFileUnusable("The key file is damaged: what should be base64 isn't.") from None
