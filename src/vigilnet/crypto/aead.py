"""AEAD suites: ChaCha20-Poly1305 and AES-256-GCM, their nonces and raw key streams (hot path).

Both are mandatory; the responder's signed preference decides which one a link or hop uses
(docs/spec/circuit.md section 1). The objects are those of `cryptography`: callers on the data
path use their `encrypt_into` and `decrypt_into` directly. An AEAD that is not a stream cipher
plus MAC must not be added here: the onion ladder depends on that form.
"""

import struct
from enum import IntEnum
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

KEY_SIZE: Final = 32
TAG_SIZE: Final = 16
NONCE_SIZE: Final = 12


class Suite(IntEnum):
    """AEAD suites by their number on the wire."""

    CHACHA20_POLY1305 = 1
    AES_256_GCM = 2


Aead = ChaCha20Poly1305 | AESGCM


def new_aead(suite: Suite, key: bytes) -> Aead:
    """Return the AEAD object of `suite` under `key` (32 octets)."""
    return AESGCM(key) if suite is Suite.AES_256_GCM else ChaCha20Poly1305(key)


big_endian_nonce: Final = struct.Struct(">4xQ").pack
"""Counter to nonce, 0^4 ‖ u64 big-endian: AES-GCM in Noise, and both suites in onion layers."""

little_endian_nonce: Final = struct.Struct("<4xQ").pack
"""Counter to nonce, 0^4 ‖ u64 little-endian: ChaCha20-Poly1305 in Noise."""


def noise_nonce(suite: Suite, counter: int) -> bytes:
    """Nonce for `counter` as Noise revision 34 section 12 wants it for this suite."""
    return big_endian_nonce(counter) if suite is Suite.AES_256_GCM else little_endian_nonce(counter)


def keystream_heads(suite: Suite, key: bytes, first_counter: int, count: int, size: int) -> list[bytes]:
    """First octets of the key streams under consecutive onion nonces, made without any tag.

    Args:
        suite: the hop's suite.
        key: the hop's 32-octet key for one direction.
        first_counter: counter of the first record.
        count: how many consecutive records; many at a time is far cheaper for AES.
        size: octets per record, a multiple of 16.

    Returns:
        `count` strings of `size` octets: what `seal` under that nonce xors onto the first octets
        of its plaintext. Never made by sealing zeros, whose tag would give the GHASH key away.
    """
    blocks = size // 16
    if suite is Suite.AES_256_GCM:
        counters = b"".join(
            struct.pack(">4xQI", counter, 2 + block)
            for counter in range(first_counter, first_counter + count)
            for block in range(blocks)
        )
        stream = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(counters)  # noqa: S305 raw key stream blocks
        return [stream[at : at + size] for at in range(0, count * size, size)]
    zeros = bytes(size)
    return [
        Cipher(algorithms.ChaCha20(key, struct.pack("<I", 1) + big_endian_nonce(counter)), None)
        .encryptor()
        .update(zeros)
        for counter in range(first_counter, first_counter + count)
    ]
