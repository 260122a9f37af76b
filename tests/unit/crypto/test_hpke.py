"""HPKE's sender against pyca's own receiver, which knows messages without associated data alone."""

import os

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.hpke import AEADS, new_sender

CIPHERS = {1: AEAD.AES_128_GCM, 2: AEAD.AES_256_GCM, 3: AEAD.CHACHA20_POLY1305}


@pytest.mark.parametrize("aead", AEADS)
@pytest.mark.parametrize("size", [0, 1, 300])
def test_pyca_opens_what_we_seal(aead: int, size: int) -> None:
    receiver = X25519PrivateKey.generate()
    message = os.urandom(size)
    sender = new_sender(
        receiver.public_key().public_bytes_raw(), aead, b"some info", X25519PrivateKey.generate()
    )
    sealed = sender.encapsulated + sender.seal(message, b"")
    suite = Suite(KEM.X25519, KDF.HKDF_SHA256, CIPHERS[aead])
    assert suite.decrypt(sealed, receiver, b"some info") == message


def test_associated_data_is_sealed_too() -> None:
    receiver, ephemeral = X25519PrivateKey.generate(), X25519PrivateKey.generate()
    key = receiver.public_key().public_bytes_raw()
    one, other = (new_sender(key, 1, b"", ephemeral).seal(b"message", data) for data in (b"one", b"other"))
    assert one[:-16] == other[:-16]
    assert one[-16:] != other[-16:]


def test_a_key_of_small_order_is_refused() -> None:
    with pytest.raises(RemoteProtocolError):
        new_sender(bytes(32), 1, b"", X25519PrivateKey.generate())
