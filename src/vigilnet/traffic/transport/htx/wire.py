"""TLS 1.3 on the wire: records, handshake messages and what a server says (docs/spec/htx.md section 2).

    record    u8 type | u16 version | u16 length | fragment          length <= 2^14 + 256
    message   u8 type | u24 length | body                            at most `MAX_MESSAGE`

Strict: what a browser would refuse is refused here too. Every decoder raises RemoteProtocolError only.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from vigilnet.base.errors import RemoteProtocolError

# From RFC 8446.
RECORD_HEAD: Final = 5
MAX_FRAGMENT: Final = 1 << 14
MAX_CIPHERTEXT: Final = MAX_FRAGMENT + 256
MESSAGE_HEAD: Final = 4
RANDOM_SIZE: Final = 32
MAX_SESSION_ID: Final = 32
TLS_1_2: Final = 0x0303
TLS_1_3: Final = 0x0304
RETRY_RANDOM: Final = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")

# Our choice.
MAX_MESSAGE: Final = 128 * 1024  # a certificate chain is seldom over 10 KiB; browsers stop at about this
MAX_HELLO: Final = 16 * 1024
MAX_CERTIFICATES: Final = 16
MAX_EXTENSIONS: Final = 64


class RecordType(IntEnum):
    """Content types of a record."""

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23


class MessageType(IntEnum):
    """Handshake messages that a TLS 1.3 client meets."""

    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    NEW_SESSION_TICKET = 4
    ENCRYPTED_EXTENSIONS = 8
    CERTIFICATE = 11
    CERTIFICATE_REQUEST = 13
    CERTIFICATE_VERIFY = 15
    FINISHED = 20
    KEY_UPDATE = 24
    COMPRESSED_CERTIFICATE = 25


class ExtensionType(IntEnum):
    """Extensions whose meaning is needed here."""

    SERVER_NAME = 0
    SUPPORTED_GROUPS = 10
    SIGNATURE_ALGORITHMS = 13
    ALPN = 16
    PADDING = 21
    COMPRESS_CERTIFICATE = 27
    RECORD_SIZE_LIMIT = 28
    PRE_SHARED_KEY = 41
    SUPPORTED_VERSIONS = 43
    COOKIE = 44
    KEY_SHARE = 51
    ECH = 0xFE0D


class Reader:
    """Takes fields off the front of one object; running past its end is the sender's fault."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._at = 0
        self._what = what

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        """Return the next `size` octets."""
        end = self._at + size
        if end > len(self._data):
            raise RemoteProtocolError(f"{self._what}: ends early, {size} more octets expected")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, octets: int) -> int:
        """Return a big-endian number of so many octets."""
        return int.from_bytes(self.take(octets), "big")

    def vector(self, octets: int, least: int = 0, most: int = 1 << 24) -> bytes:
        """Return a field behind its length of so many octets."""
        size = self.number(octets)
        if not least <= size <= most:
            raise RemoteProtocolError(f"{self._what}: field of {size} octets, {least} to {most} expected")
        return self.take(size)

    def numbers(self, octets: int) -> tuple[int, ...]:
        """Return a list of u16 behind its length in octets; never empty."""
        data = self.vector(octets, 2)
        if len(data) % 2:
            raise RemoteProtocolError(f"{self._what}: list of {len(data)} octets, an even number expected")
        return tuple(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))

    def rest(self) -> bytes:
        """Return all that is left."""
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        """Insist that nothing is left."""
        if not self.is_empty:
            raise RemoteProtocolError(f"{self._what}: {len(self._data) - self._at} octets too many")


def read_extensions(reader: Reader, what: str) -> list[tuple[int, bytes]]:
    """Read an extension block; each type at most once (RFC 8446 section 4.2)."""
    block = Reader(reader.vector(2), what)
    found: list[tuple[int, bytes]] = []
    while not block.is_empty:
        found.append((block.number(2), block.vector(2)))
    if len(found) > MAX_EXTENSIONS or len({kind for kind, _ in found}) < len(found):
        raise RemoteProtocolError(f"{what}: an extension twice, or more than {MAX_EXTENSIONS}")
    return found


# --- records -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """One record as it came: `header` is what AEADs bind."""

    kind: int
    header: bytes
    fragment: bytes


class RecordReader:
    """Cuts a stream of octets into whole records."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def leftover(self) -> bytes:
        """What has come of a record that is not whole yet."""
        return bytes(self._buffer)

    def feed(self, data: bytes | memoryview) -> list[Record]:
        """Take octets; return the records that are whole now.

        Raises:
            RemoteProtocolError: a header that no TLS 1.3 peer sends, or a record too long.
        """
        buffer = self._buffer
        buffer += data
        records: list[Record] = []
        at = 0
        while len(buffer) - at >= RECORD_HEAD:
            kind, major, length = buffer[at], buffer[at + 1], buffer[at + 3] << 8 | buffer[at + 4]
            if not RecordType.CHANGE_CIPHER_SPEC <= kind <= RecordType.APPLICATION_DATA or major != 3:
                raise RemoteProtocolError(f"tls record: type {kind}, version {major}")
            if length > MAX_CIPHERTEXT:
                raise RemoteProtocolError(f"tls record: {length} octets, at most {MAX_CIPHERTEXT}")
            end = at + RECORD_HEAD + length
            if end > len(buffer):
                break
            records.append(
                Record(kind, bytes(buffer[at : at + RECORD_HEAD]), bytes(buffer[at + RECORD_HEAD : end]))
            )
            at = end
        del buffer[:at]
        return records


def encode_record(kind: int, fragment: bytes, version: int = TLS_1_2) -> bytes:
    """Return one record."""
    return bytes((kind,)) + version.to_bytes(2, "big") + len(fragment).to_bytes(2, "big") + fragment


class MessageReader:
    """Joins the fragments of handshake records into messages."""

    def __init__(self, limit: int = MAX_MESSAGE) -> None:
        self._buffer = bytearray()
        self._limit = limit

    @property
    def is_between_messages(self) -> bool:
        """Whether no message is half received; keys may change only here (RFC 8446 section 5.1)."""
        return not self._buffer

    def feed(self, fragment: bytes) -> None:
        """Take the fragment of one handshake record; never empty."""
        if not fragment:
            raise RemoteProtocolError("tls record: an empty handshake fragment")
        self._buffer += fragment

    def next(self) -> bytes | None:
        """Return the next whole message with its head, or None."""
        buffer = self._buffer
        if len(buffer) < MESSAGE_HEAD:
            return None
        size = int.from_bytes(buffer[1:MESSAGE_HEAD], "big")
        if size > self._limit:
            raise RemoteProtocolError(f"tls message: {size} octets, at most {self._limit}")
        if len(buffer) < MESSAGE_HEAD + size:
            return None
        message = bytes(buffer[: MESSAGE_HEAD + size])
        del buffer[: MESSAGE_HEAD + size]
        return message


def encode_message(kind: int, body: bytes) -> bytes:
    """Return one handshake message."""
    return bytes((kind,)) + len(body).to_bytes(3, "big") + body


# --- what a server says ------------------------------------------------------------------------------


@dataclass(frozen=True)
class ServerHello:
    """ServerHello, or HelloRetryRequest when `is_retry`."""

    version: int  # the selected one; 0x0303 means TLS 1.2
    random: bytes
    session_id: bytes
    suite: int
    share_group: int | None = None
    share: bytes = b""
    cookie: bytes = b""
    extensions: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def is_retry(self) -> bool:
        """Whether this asks for a second ClientHello."""
        return self.random == RETRY_RANDOM


def decode_server_hello(body: bytes) -> ServerHello:
    """Read the body of a ServerHello."""
    what = "server hello"
    reader = Reader(body, what)
    if reader.number(2) != TLS_1_2:
        raise RemoteProtocolError(f"{what}: legacy version is not 0x0303")
    random, session_id = reader.take(RANDOM_SIZE), reader.vector(1, 0, MAX_SESSION_ID)
    suite, compression = reader.number(2), reader.number(1)
    if compression:
        raise RemoteProtocolError(f"{what}: compression {compression}")
    extensions = dict(read_extensions(reader, what)) if not reader.is_empty else {}
    reader.end()
    version = TLS_1_2
    if ExtensionType.SUPPORTED_VERSIONS in extensions:
        inner = Reader(extensions[ExtensionType.SUPPORTED_VERSIONS], what)
        version = inner.number(2)
        inner.end()
    cookie = b""
    if ExtensionType.COOKIE in extensions:
        inner = Reader(extensions[ExtensionType.COOKIE], what)
        cookie = inner.vector(2, 1, MAX_HELLO)
        inner.end()
    group, share = _read_share(extensions.get(ExtensionType.KEY_SHARE), is_retry=random == RETRY_RANDOM)
    return ServerHello(version, random, session_id, suite, group, share, cookie, extensions)


def _read_share(data: bytes | None, *, is_retry: bool) -> tuple[int | None, bytes]:
    if data is None:
        return None, b""
    reader = Reader(data, "server hello key share")
    group = reader.number(2)
    share = b"" if is_retry else reader.vector(2, 1)
    reader.end()
    return group, share


def decode_encrypted_extensions(body: bytes) -> dict[int, bytes]:
    """Read the body of EncryptedExtensions."""
    reader = Reader(body, "encrypted extensions")
    extensions = dict(read_extensions(reader, "encrypted extensions"))
    reader.end()
    return extensions


def decode_alpn(data: bytes) -> bytes:
    """Read the one protocol that a server selected."""
    reader = Reader(data, "alpn")
    names = Reader(reader.vector(2), "alpn")
    reader.end()
    name = names.vector(1, 1)
    names.end()
    return name


def decode_certificate(body: bytes) -> list[bytes]:
    """Read the body of a server's Certificate; return the chain in DER, leaf first, never empty."""
    what = "certificate"
    reader = Reader(body, what)
    if reader.vector(1):
        raise RemoteProtocolError(f"{what}: a request context in a server's certificate")
    entries = Reader(reader.vector(3), what)
    reader.end()
    chain: list[bytes] = []
    while not entries.is_empty:
        if len(chain) == MAX_CERTIFICATES:
            raise RemoteProtocolError(f"{what}: more than {MAX_CERTIFICATES}")
        chain.append(entries.vector(3, 1))
        read_extensions(entries, what)
    if not chain:
        raise RemoteProtocolError(f"{what}: none")
    return chain


def decode_compressed_certificate(body: bytes) -> tuple[int, int, bytes]:
    """Read a CompressedCertificate (RFC 8879): algorithm, size once decompressed, octets."""
    what = "compressed certificate"
    reader = Reader(body, what)
    algorithm, size, data = reader.number(2), reader.number(3), reader.vector(3, 1)
    reader.end()
    if not 0 < size <= MAX_MESSAGE:
        raise RemoteProtocolError(f"{what}: {size} octets once decompressed, at most {MAX_MESSAGE}")
    return algorithm, size, data


def decode_certificate_verify(body: bytes) -> tuple[int, bytes]:
    """Read CertificateVerify: signature scheme and signature."""
    reader = Reader(body, "certificate verify")
    scheme, signature = reader.number(2), reader.vector(2, 1)
    reader.end()
    return scheme, signature


def check_new_session_ticket(body: bytes) -> None:
    """Check the form of a ticket; it is not kept, since connections are never resumed."""
    what = "session ticket"
    reader = Reader(body, what)
    if reader.number(4) > 604_800:
        raise RemoteProtocolError(f"{what}: lives longer than a week")
    reader.number(4)
    reader.vector(1)
    reader.vector(2, 1)
    read_extensions(reader, what)
    reader.end()


def decode_key_update(body: bytes) -> bool:
    """Read KeyUpdate: whether the server asks for ours in turn."""
    if body not in (b"\x00", b"\x01"):
        raise RemoteProtocolError(f"key update: body of {len(body)} octets, 0 or 1 expected")
    return body == b"\x01"


def decode_alert(fragment: bytes) -> tuple[int, int]:
    """Read an alert: level and description."""
    if len(fragment) != 2 or fragment[0] not in (1, 2):
        raise RemoteProtocolError(f"tls alert: {len(fragment)} octets, a level and a description expected")
    return fragment[0], fragment[1]
