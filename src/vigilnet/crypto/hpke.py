"""HPKE's sender in base mode (RFC 9180), for messages with associated data.

pyca/cryptography has HPKE for messages without associated data alone, which encrypted client hellos need;
its X25519, HKDF and AEADs are what this is put together from, and the tests hold both to each other.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.kdf import hkdf_expand, hkdf_extract

KEM_X25519: Final = 0x0020  # DHKEM(X25519, HKDF-SHA256)
KDF_SHA256: Final = 0x0001
TAG_SIZE: Final = 16
_NONCE_SIZE: Final = 12
_VERSION: Final = b"HPKE-v1"

_Seal = Callable[[bytes, bytes, bytes], bytes]
AEADS: Final[dict[int, tuple[int, Callable[[bytes], AESGCM | ChaCha20Poly1305]]]] = {
    0x0001: (16, AESGCM),
    0x0002: (32, AESGCM),
    0x0003: (32, ChaCha20Poly1305),
}


@dataclass(frozen=True)
class Sender:
    """What seals messages to a key.

    Attributes:
        encapsulated: 32 octets that go with the first message.
        seal: takes a message, its associated data and its number; once for each number.
    """

    encapsulated: bytes
    _encrypt: _Seal
    _nonce: bytes

    def seal(self, message: bytes, associated_data: bytes, number: int = 0) -> bytes:
        """Return message `number` sealed, 16 octets longer."""
        nonce = int.from_bytes(self._nonce) ^ number
        return self._encrypt(nonce.to_bytes(_NONCE_SIZE), message, associated_data)


def _extract(suite: bytes, salt: bytes, label: bytes, secret: bytes) -> bytes:
    return hkdf_extract(salt, _VERSION + suite + label + secret)


def _expand(suite: bytes, key: bytes, label: bytes, info: bytes, size: int) -> bytes:
    return hkdf_expand(key, size.to_bytes(2) + _VERSION + suite + label + info, size)


def new_sender(public_key: bytes, aead: int, info: bytes, ephemeral: X25519PrivateKey) -> Sender:
    """Set up a sender to `public_key`.

    Args:
        public_key: the receiver's, 32 octets.
        aead: its number, one of `AEADS`.
        info: what both ends know.
        ephemeral: used for this sender alone.

    Raises:
        RemoteProtocolError: the receiver's key is none, or of small order.
    """
    encapsulated = ephemeral.public_key().public_bytes_raw()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public_key))
    except ValueError as error:
        raise RemoteProtocolError("hpke: no key of a receiver") from error
    kem = b"KEM" + KEM_X25519.to_bytes(2)
    secret = _expand(
        kem, _extract(kem, b"", b"eae_prk", shared), b"shared_secret", encapsulated + public_key, 32
    )
    suite = b"HPKE" + KEM_X25519.to_bytes(2) + KDF_SHA256.to_bytes(2) + aead.to_bytes(2)
    context = b"\0" + _extract(suite, b"", b"psk_id_hash", b"") + _extract(suite, b"", b"info_hash", info)
    last = _extract(suite, secret, b"secret", b"")
    key_size, cipher = AEADS[aead]
    key = _expand(suite, last, b"key", context, key_size)
    return Sender(
        encapsulated, cipher(key).encrypt, _expand(suite, last, b"base_nonce", context, _NONCE_SIZE)
    )
