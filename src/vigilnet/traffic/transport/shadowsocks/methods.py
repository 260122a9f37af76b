"""Shadowsocks methods: names, keys from passwords, session keys (docs/spec/shadowsocks.md section 2)."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from blake3 import blake3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vigilnet.base.errors import ConfigurationError

TAG_SIZE: Final = 16
NONCE_SIZE: Final = 12
SUBKEY_INFO: Final = b"ss-subkey"
SUBKEY_CONTEXT: Final = "shadowsocks 2022 session subkey"


class Aead(Protocol):
    """What is used of an AEAD of pyca/cryptography."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Seal."""
        ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Open; raises InvalidTag."""
        ...


@dataclass(frozen=True)
class Method:
    """One method; its salts are as long as its keys."""

    name: str
    key_size: int
    aead: Callable[[bytes], Aead]
    is_2022: bool

    @property
    def max_chunk(self) -> int:
        """The most octets in one chunk."""
        return 0xFFFF if self.is_2022 else 0x3FFF


METHODS: Final = {
    method.name: method
    for method in (
        Method("2022-blake3-aes-256-gcm", 32, AESGCM, is_2022=True),
        Method("2022-blake3-aes-128-gcm", 16, AESGCM, is_2022=True),
        Method("2022-blake3-chacha20-poly1305", 32, ChaCha20Poly1305, is_2022=True),
        Method("chacha20-ietf-poly1305", 32, ChaCha20Poly1305, is_2022=False),
        Method("aes-256-gcm", 32, AESGCM, is_2022=False),
        Method("aes-128-gcm", 16, AESGCM, is_2022=False),
    )
}


@dataclass(frozen=True)
class Secret:
    """A method and the key that both ends hold."""

    method: Method
    key: bytes = field(repr=False)

    def aead(self, salt: bytes) -> Aead:
        """Return the AEAD of the direction that began with `salt`."""
        method = self.method
        if method.is_2022:
            keyed = blake3(self.key + salt, derive_key_context=SUBKEY_CONTEXT)
            return method.aead(keyed.digest(method.key_size))
        # The protocol of 2017 has it so.
        derive = HKDF(hashes.SHA1(), method.key_size, salt, SUBKEY_INFO)  # noqa: S303
        return method.aead(derive.derive(self.key))


def secret_from(method_name: str, password: str) -> Secret:
    """Return the secret that other programs mean by `method_name` and `password`.

    Raises:
        ConfigurationError: no such method, or a key of 2022 that is not base64 of the right size.
    """
    method = METHODS.get(method_name)
    if method is None:
        raise ConfigurationError(f"method: got {method_name!r}, expected one of {', '.join(METHODS)}")
    if not method.is_2022:
        return Secret(method, _key_from_password(password.encode(), method.key_size))
    try:
        key = base64.b64decode(password, validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != method.key_size:
        raise ConfigurationError(
            f"password: for {method_name} the base64 of {method.key_size} octets expected"
        )
    return Secret(method, key)


def new_password(method_name: str, random_bytes: Callable[[int], bytes]) -> str:
    """Return a password that fits any method of this name."""
    method = METHODS.get(method_name)
    return base64.b64encode(random_bytes(method.key_size if method is not None else 32)).decode()


def _key_from_password(password: bytes, size: int) -> bytes:
    """OpenSSL's EVP_BytesToKey with MD5, no salt and one round: what the protocol of 2017 asks for."""
    key = last = b""
    while len(key) < size:
        digest = hashes.Hash(hashes.MD5())  # noqa: S303
        digest.update(last + password)
        last = digest.finalize()
        key += last
    return key[:size]
