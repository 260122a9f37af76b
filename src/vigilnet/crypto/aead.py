"""AEAD suites: ChaCha20-Poly1305 and AES-256-GCM, their nonces and raw key streams (hot path).

Both are mandatory; the responder's signed preference decides which one a link or hop uses
(docs/spec/circuit.md section 1). The objects are those of `cryptography`: callers on the data
path use their `encrypt_into` and `decrypt_into` directly. An AEAD that is not a stream cipher
plus MAC must not be added here: the onion ladder depends on that form.
"""

import functools
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


def keystream_columns(suite: Suite, key: bytes, first_counter: int, count: int, blocks: int) -> list[bytes]:
    """First blocks of the key streams under consecutive onion nonces, made without any tag.

    Args:
        suite: the hop's suite.
        key: the hop's 32-octet key for one direction.
        first_counter: counter of the first record.
        count: how many consecutive records; many at a time is far cheaper for AES.
        blocks: how many 16-octet blocks of each key stream.

    Returns:
        `blocks` strings of 16 * `count` octets: string t holds block t of every record's key stream,
        which `seal` under that nonce xors onto octets 16t to 16t + 15 of its plaintext. Never made
        by sealing zeros, whose tag would give the GHASH key away.
    """
    size = 16 * count
    if suite is Suite.AES_256_GCM:
        # GCM's counter block t of nonce N is N ‖ be32(2 + t): all records of one t differ by their
        # counter alone, so one multiplication of long integers writes them all.
        ones, steps = _counter_pattern(count)
        counters = steps + first_counter * ones
        tail = ones >> 32
        plain = b"".join([(counters + (2 + block) * tail).to_bytes(size, "big") for block in range(blocks)])
        stream = Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(plain)  # noqa: S305 raw key stream blocks
        return [stream[at : at + size] for at in range(0, blocks * size, size)]
    zeros = bytes(16 * blocks)
    heads = [
        Cipher(algorithms.ChaCha20(key, struct.pack("<I", 1) + big_endian_nonce(counter)), None)
        .encryptor()
        .update(zeros)
        for counter in range(first_counter, first_counter + count)
    ]
    return [b"".join([head[at : at + 16] for head in heads]) for at in range(0, 16 * blocks, 16)]


@functools.cache
def _counter_pattern(count: int) -> tuple[int, int]:
    """Long integers of `count` 16-octet blocks: 1, and 0, 1, 2 …, in each block's u64 behind four octets."""
    block = 1 << 32
    ones = sum(block << 128 * index for index in range(count))
    steps = sum(block * (count - 1 - index) << 128 * index for index in range(count))
    return ones, steps
