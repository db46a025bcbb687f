"""A private key as the signer holds it: it signs and says its address, and can't be shown or copied."""

from collections.abc import Callable
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from solders.pubkey import Pubkey

SEED_BYTES = 32


class SigningKey:
    """Not solders' Keypair: that one prints its secret in `repr` and `str`.

    Args:
        seed: 32 bytes, zeroed here once the key is made.
    """

    __slots__ = ("_sign", "address")

    def __init__(self, seed: bytearray) -> None:
        private = Ed25519PrivateKey.from_private_bytes(seed)
        wipe(seed)
        self.address = str(Pubkey.from_bytes(private.public_key().public_bytes_raw()))
        self._sign: Callable[[bytes], bytes] = private.sign

    def sign(self, message: bytes) -> bytes:
        """64 bytes, the same for the same message always (RFC 8032)."""
        return self._sign(message)

    def __repr__(self) -> str:
        return f"SigningKey({self.address})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A signing key isn't copied or stored.")


def wipe(secret: bytearray) -> None:
    secret[:] = bytes(len(secret))
