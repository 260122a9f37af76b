"""Deterministic stand-ins for randomness and single-use keys."""

import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


def counted_bytes(seed: str = "") -> Callable[[int], bytes]:
    """Return a `random_bytes` that gives the same octets in every run."""
    calls = 0

    def random_bytes(size: int) -> bytes:
        nonlocal calls
        calls += 1
        return hashlib.shake_256(f"{seed}/{calls}".encode()).digest(size)

    return random_bytes


class FixedEphemerals:
    """Ephemerals of a vector: the keys are given, encapsulation stays random (it cannot be fixed)."""

    def __init__(self, dh: str, kem_seed: str = "00" * 64) -> None:
        self._dh = bytes.fromhex(dh)
        self._kem_seed = bytes.fromhex(kem_seed)

    def dh_key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self._dh)

    def kem_key(self) -> MLKEM768PrivateKey:
        return MLKEM768PrivateKey.from_seed_bytes(self._kem_seed)

    def encapsulate(self, public: MLKEM768PublicKey) -> tuple[bytes, bytes]:
        return public.encapsulate()
