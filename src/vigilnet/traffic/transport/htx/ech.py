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
from vigilnet.crypto.hpke import AEADS, KDF_SHA256, KEM_X25519, TAG_SIZE, Sender, new_sender
from vigilnet.crypto.kdf import is_equal
from vigilnet.traffic.transport.htx.client_hello import ClientHello, is_grease
from vigilnet.traffic.transport.htx.hello import BuiltHello, build, with_ech
from vigilnet.traffic.transport.htx.key_schedule import TlsSuite, expand_label
from vigilnet.traffic.transport.htx.templates import Template
from vigilnet.traffic.transport.htx.wire import MESSAGE_HEAD, RANDOM_SIZE, ExtensionType, Reader, ServerHello

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
class InnerHello:
    """What is inside a hello, and what seals it: once, and once more where the origin asks for another hello.

    Attributes:
        hello: as the origin puts it together again.
    """

    hello: ClientHello
    _own: tuple[tuple[int, bytes], ...]  # extensions of its own; all others are the outer hello's
    _config: EchConfig
    _aead: int
    _sender: Sender

    def zeroed(self, outer: BuiltHello, number: int = 0) -> tuple[BuiltHello, bytes]:
        """Return `outer` with a payload of zeros as long as what is inside then, and that."""
        shared = _shared(outer.hello)
        names = b"".join(kind.to_bytes(2) for kind, _ in shared)
        named = (*self._own, (OUTER_EXTENSIONS, bytes((len(names),)) + names))
        encoded = replace(self.hello, session_id=b"", extensions=named).encode()[MESSAGE_HEAD:]
        name = self.hello.server_name or ""
        encoded += bytes(_padding(len(encoded), len(name), self._config.longest_name))
        size = len(encoded) + TAG_SIZE
        return with_ech(outer, self._head(number) + size.to_bytes(2) + bytes(size)), encoded

    def _head(self, number: int) -> bytes:
        key = self._sender.encapsulated if number == 0 else b""  # a second hello goes on with the first's
        return b"".join((
            b"\0", KDF_SHA256.to_bytes(2), self._aead.to_bytes(2), bytes((self._config.config_id,)),
            len(key).to_bytes(2), key,
        ))  # fmt: skip

    def inside(self, outer: BuiltHello, number: int = 0) -> tuple[BuiltHello, "InnerHello"]:
        """Return `outer`, session id included, with this inside, and what is inside then.

        Args:
            outer: what both hellos share is taken from it.
            number: 0 for the first hello, 1 for the second (RFC 9849 section 6.1.5); each at most once.
        """
        first, encoded = self.zeroed(outer, number)
        payload = self._sender.seal(encoded, first.hello.encode()[MESSAGE_HEAD:], number)
        data = self._head(number) + len(payload).to_bytes(2) + payload
        inner = replace(
            self.hello,
            session_id=outer.hello.session_id,
            extensions=(*self._own, *_shared(outer.hello)),
        )
        hello = first.hello.with_extension(ExtensionType.ECH, data)
        return replace(first, hello=hello), replace(self, hello=inner)


@dataclass(frozen=True)
class Offer:
    """A hello whose session id is still zero; with a real ECH its payload as well, and what is inside."""

    outer: BuiltHello
    _inner: InnerHello | None = None

    def sealed(self, session_id: bytes) -> tuple[BuiltHello, InnerHello | None]:
        """Return the hello to send, and the one inside it where there is one."""
        outer = self.outer.with_session_id(session_id)
        return (outer, None) if self._inner is None else self._inner.inside(outer)


def encrypt_hello(
    template: Template, config: EchConfig, aead: int, server_name: str, random_bytes: Callable[[int], bytes]
) -> Offer:
    """Build a hello to `server_name` inside one to the config's public name."""
    ephemeral = X25519PrivateKey.from_private_bytes(random_bytes(32))
    sender = new_sender(config.public_key, aead, _INFO + config.raw, ephemeral)
    first = build(template, config.public_name, random_bytes)
    name = server_name.encode("ascii")
    sni = (len(name) + 3).to_bytes(2) + b"\0" + len(name).to_bytes(2) + name
    own = (
        (int(ExtensionType.SERVER_NAME), sni),
        (int(ExtensionType.SUPPORTED_VERSIONS), _TLS_1_3_ALONE),
        (int(ExtensionType.ECH), _INNER),
    )
    hello = replace(first.hello, random=random_bytes(RANDOM_SIZE), session_id=b"", extensions=own)
    inner = InnerHello(hello, own, config, aead, sender)
    return Offer(inner.zeroed(first)[0], inner)


def _shared(outer: ClientHello) -> list[tuple[int, bytes]]:
    """Return what an inner hello has of its outer one, in its order."""
    return [(kind, data) for kind, data in outer.extensions if kind not in _OWN and not is_grease(kind)]


def _padding(size: int, name: int, longest_name: int) -> int:
    """How many zeros hide the name's length (RFC 9849 section 6.1.3)."""
    to_longest = max(0, longest_name - name)
    return to_longest + -(size + to_longest) % _PADDED_TO


def is_taken(suite: TlsSuite, inner: ClientHello, said_before: bytes, server_hello: bytes) -> bool:
    """Whether a server hello's random says that the inner hello was taken (RFC 9849 section 7.2).

    Args:
        suite: the one that it chose.
        inner: the first inner hello; a second one has its random.
        said_before: the transcript before it, with inner hellos.
        server_hello: the message.
    """
    end = MESSAGE_HEAD + 2 + RANDOM_SIZE
    return _confirms(
        suite, inner, b"ech accept confirmation", said_before, server_hello, end - CONFIRMATION_SIZE
    )


def is_taken_in_retry(
    suite: TlsSuite, inner: ClientHello, first: bytes, retry: ServerHello, raw: bytes
) -> bool:
    """Whether a HelloRetryRequest says that the inner hello was taken (RFC 9849 section 7.2.1).

    Args:
        suite: the one that it chose.
        inner: the first inner hello.
        first: that hello as the transcript has it now, a message_hash.
        retry: the request.
        raw: its message.

    Raises:
        RemoteProtocolError: what it says is not of its form.
    """
    said = retry.extensions.get(ExtensionType.ECH)
    if said is None:
        return False
    if len(said) != CONFIRMATION_SIZE:
        raise RemoteProtocolError(f"hello retry: ech of {len(said)} octets, {CONFIRMATION_SIZE} expected")
    entry = VERSION.to_bytes(2) + CONFIRMATION_SIZE.to_bytes(2) + said
    return _confirms(suite, inner, b"hrr ech accept confirmation", first, raw, raw.rindex(entry) + 4)


def _confirms(
    suite: TlsSuite, inner: ClientHello, label: bytes, before: bytes, message: bytes, at: int
) -> bool:
    """Compare the 8 octets at `at` with what the transcript gives where they are zero."""
    end = at + CONFIRMATION_SIZE
    zeroed = message[:at] + bytes(CONFIRMATION_SIZE) + message[end:]
    digest = hashlib.new(suite.hash_name, before + zeroed).digest()
    secret = hmac.digest(bytes(suite.hash_size), inner.random, suite.hash_name)
    return is_equal(message[at:end], expand_label(suite, secret, label, digest, CONFIRMATION_SIZE))
