"""Key derivation: HKDF-SHA256 in Noise's form, HMAC, labelled hashes, constant-time comparison."""

import hashlib
import hmac
from typing import Final

from vigilnet.base.errors import LocalProtocolError

HASH_SIZE: Final = 32


def sha256(*parts: bytes) -> bytes:
    """SHA-256 over the concatenation of `parts`."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def hmac_sha256(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 under `key` over the concatenation of `parts`."""
    return hmac.digest(key, b"".join(parts), "sha256")


def hkdf_extract(salt: bytes, secret: bytes) -> bytes:
    """HKDF-Extract of RFC 5869."""
    return hmac_sha256(salt, secret)


def hkdf_expand(pseudo_random_key: bytes, info: bytes, size: int) -> bytes:
    """HKDF-Expand of RFC 5869; at most 255 * 32 octets."""
    if size > 255 * HASH_SIZE:
        raise LocalProtocolError(f"hkdf: {size} octets, at most {255 * HASH_SIZE}")
    out = block = b""
    index = 1
    while len(out) < size:
        block = hmac_sha256(pseudo_random_key, block, info, bytes([index]))
        out += block
        index += 1
    return out[:size]


def noise_hkdf(chaining_key: bytes, secret: bytes, outputs: int) -> list[bytes]:
    """HKDF(chaining_key, secret, outputs) of Noise revision 34 section 4.3: `outputs` keys of 32 octets."""
    expanded = hkdf_expand(hkdf_extract(chaining_key, secret), b"", outputs * HASH_SIZE)
    return [expanded[at : at + HASH_SIZE] for at in range(0, len(expanded), HASH_SIZE)]


def is_equal(left: bytes, right: bytes) -> bool:
    """Compare secrets or tags in time that does not depend on where they differ."""
    return hmac.compare_digest(left, right)
