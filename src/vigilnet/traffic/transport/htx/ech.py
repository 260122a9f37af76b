"""Encrypted client hellos to origins that have a config (docs/spec/htx.md section 9; RFC 9849; sans-IO).

    config   u16 0xfe0d | u16 n | u8 id | u16 kem | u16 32, key | u16 n, suites n | u8 longest name
             | u8 n, public name n | u16 n, extensions n
    outer    u8 0 | u16 kdf | u16 aead | u8 id | u16 32, encapsulated key | u16 n, payload n
    inner    the hello with the real name, without session id; what it shares with the outer one it only names

The outer hello is a browser's for the public name. Its session id is sealed while the payload is zero, the
payload then with that session id in it: each needs the other.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.hpke import AEADS, KDF_SHA256, KEM_X25519, TAG_SIZE, new_sender
from vigilnet.traffic.transport.htx.client_hello import ClientHello, is_grease
from vigilnet.traffic.transport.htx.hello import BuiltHello, build, with_ech
from vigilnet.traffic.transport.htx.key_schedule import TlsSuite, expand_label
from vigilnet.traffic.transport.htx.templates import Template
from vigilnet.traffic.transport.htx.wire import MESSAGE_HEAD, RANDOM_SIZE, ExtensionType, Reader

VERSION: Final = 0xFE0D
OUTER_EXTENSIONS: Final = 0xFD00
MAX_CONFIGS: Final = 512  # octets of a list
CONFIRMATION_SIZE: Final = 8
_INFO: Final = b"tls ech\0"
_OWN: Final = (
    ExtensionType.SERVER_NAME,
    ExtensionType.SUPPORTED_VERSIONS,
    ExtensionType.ECH,
    ExtensionType.PADDING,
)
_TLS_1_3_ALONE: Final = b"\x02\x03\x04"
_INNER: Final = b"\x01"
_PADDED_TO: Final = 32


@dataclass(frozen=True)
class EchConfig:
    """One config that we can use."""

    raw: bytes
    config_id: int
    public_key: bytes
    aeads: tuple[int, ...]
    longest_name: int
    public_name: str


def decode_configs(data: bytes) -> list[EchConfig]:
    """Read an ECHConfigList; configs of other versions, and those that we cannot use, are left out.

    Raises:
        RemoteProtocolError: malformed.
    """
    what = "ech configs"
    if len(data) > MAX_CONFIGS:
        raise RemoteProtocolError(f"{what}: {len(data)} octets, at most {MAX_CONFIGS}")
    outer = Reader(data, what)
    entries = Reader(outer.vector(2, 4), what)
    outer.end()
    found = []
    while not entries.is_empty:
        version, content = entries.number(2), entries.vector(2)
        if version == VERSION:
            config = _decode_config(content)
            if config is not None:
                found.append(config)
    return found


def _decode_config(content: bytes) -> EchConfig | None:
    reader = Reader(content, "ech config")
    config_id, kem, key = reader.number(1), reader.number(2), reader.vector(2, 1)
    suites = reader.numbers(2)
    longest, name, extensions = reader.number(1), reader.vector(1, 1), reader.vector(2)
    reader.end()
    if len(suites) % 2 or not suites:
        raise RemoteProtocolError("ech config: suites are cut")
    aeads = tuple(
        aead
        for kdf, aead in zip(suites[::2], suites[1::2], strict=True)
        if kdf == KDF_SHA256 and aead in AEADS
    )
    if kem != KEM_X25519 or len(key) != 32 or not aeads or extensions:
        return None  # an extension may be mandatory: we know none
    raw = VERSION.to_bytes(2) + len(content).to_bytes(2) + content
    return EchConfig(raw, config_id, key, aeads, longest, name.decode("ascii", "replace"))


def choose(configs: Sequence[EchConfig], template: Template) -> tuple[EchConfig, int] | None:
    """Return the first config, and its AEAD, that the template's browser would use; None: it would not."""
    law = template.extension(ExtensionType.ECH)
    usable = {aead for kdf, aead in law.suites if kdf == KDF_SHA256} if law is not None else set()
    for config in configs:
        for aead in config.aeads:
            if aead in usable:
                return config, aead
    return None


@dataclass(frozen=True)
class Offer:
    """A hello whose session id is still zero; with a real ECH its payload as well, and what is inside."""

    outer: BuiltHello
    inner: ClientHello | None = None
    _encoded: bytes = b""
    _head: bytes = b""
    _seal: Callable[[bytes, bytes], bytes] | None = None

    def sealed(self, session_id: bytes) -> tuple[BuiltHello, ClientHello | None]:
        """Return the hello to send, and the one inside it where there is one."""
        outer = self.outer.with_session_id(session_id)
        if self._seal is None or self.inner is None:
            return outer, None
        payload = self._seal(self._encoded, outer.hello.encode()[MESSAGE_HEAD:])
        data = self._head + len(payload).to_bytes(2) + payload
        hello = outer.hello.with_extension(ExtensionType.ECH, data)
        return replace(outer, hello=hello), replace(self.inner, session_id=session_id)


def encrypt_hello(
    template: Template, config: EchConfig, aead: int, server_name: str, random_bytes: Callable[[int], bytes]
) -> Offer:
    """Build a hello to `server_name` inside one to the config's public name."""
    ephemeral = X25519PrivateKey.from_private_bytes(random_bytes(32))
    sender = new_sender(config.public_key, aead, _INFO + config.raw, ephemeral)
    first = build(template, config.public_name, random_bytes)
    shared = [
        (kind, data) for kind, data in first.hello.extensions if kind not in _OWN and not is_grease(kind)
    ]
    name = server_name.encode("ascii")
    sni = (len(name) + 3).to_bytes(2) + b"\0" + len(name).to_bytes(2) + name
    own = [
        (int(ExtensionType.SERVER_NAME), sni),
        (int(ExtensionType.SUPPORTED_VERSIONS), _TLS_1_3_ALONE),
        (int(ExtensionType.ECH), _INNER),
    ]
    inner = replace(first.hello, random=random_bytes(RANDOM_SIZE), session_id=b"", extensions=(*own, *shared))
    names = b"".join(kind.to_bytes(2) for kind, _ in shared)
    compressed = replace(inner, extensions=(*own, (OUTER_EXTENSIONS, bytes((len(names),)) + names)))
    encoded = compressed.encode()[MESSAGE_HEAD:]
    encoded += bytes(_padding(len(encoded), len(name), config.longest_name))
    head = b"".join((
        b"\0", KDF_SHA256.to_bytes(2), aead.to_bytes(2), bytes((config.config_id,)),
        len(sender.encapsulated).to_bytes(2), sender.encapsulated,
    ))  # fmt: skip
    size = len(encoded) + TAG_SIZE
    outer = with_ech(first, head + size.to_bytes(2) + bytes(size))
    return Offer(outer, inner, encoded, head, sender.seal)


def _padding(size: int, name: int, longest_name: int) -> int:
    """How many zeros hide the name's length (RFC 9849 section 6.1.3)."""
    to_longest = max(0, longest_name - name)
    return to_longest + -(size + to_longest) % _PADDED_TO


def confirmation(suite: TlsSuite, inner: ClientHello, server_hello: bytes) -> bytes:
    """Return the last 8 octets of the server's random if it took the inner hello (RFC 9849 section 7.2)."""
    end = MESSAGE_HEAD + 2 + RANDOM_SIZE
    zeroed = server_hello[: end - CONFIRMATION_SIZE] + bytes(CONFIRMATION_SIZE) + server_hello[end:]
    digest = hashlib.new(suite.hash_name, inner.encode() + zeroed).digest()
    secret = hmac.digest(bytes(suite.hash_size), inner.random, suite.hash_name)
    return expand_label(suite, secret, b"ech accept confirmation", digest, CONFIRMATION_SIZE)
