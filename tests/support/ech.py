"""Encrypted client hellos whose every octet repeats."""

import contextlib
from collections.abc import Iterator
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from tests.support.deterministic import counted_bytes
from tests.support.hellos import template_of
from vigilnet.traffic.transport.htx import hello
from vigilnet.traffic.transport.htx.ech import EchConfig, InnerHello, encrypt_hello
from vigilnet.traffic.transport.htx.hello import BuiltHello

NAME = "www.example.test"


class _FixedKem:
    @staticmethod
    def generate() -> MLKEM768PrivateKey:
        return MLKEM768PrivateKey.from_seed_bytes(bytes(range(64)))


class _FixedX25519(X25519PrivateKey):
    @staticmethod
    def generate() -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(b"x" * 32)


@contextlib.contextmanager
def fixed_keys() -> Iterator[None]:
    """Make the keys that are not drawn from given octets the same each time."""
    with (
        patch.object(hello, "MLKEM768PrivateKey", _FixedKem),
        patch.object(hello, "X25519PrivateKey", _FixedX25519),
        patch.object(ec, "generate_private_key", lambda curve: ec.derive_private_key(12_345, curve)),
    ):
        yield


def fixed_offer(template: str, config: EchConfig) -> tuple[BuiltHello, InnerHello | None]:
    """Return a hello of this template to `NAME`, the same each time."""
    with fixed_keys():
        offer = encrypt_hello(template_of(template), config, 1, NAME, counted_bytes(template))
    return offer.sealed(bytes(range(32)))
