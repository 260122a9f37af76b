"""TLS 1.3's key schedule and record protection (RFC 8446 sections 5.2 and 7; docs/spec/htx.md section 5)."""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.kdf import is_equal
from vigilnet.traffic.transport.htx.alerts import Fault, TlsFaultError
from vigilnet.traffic.transport.htx.wire import MAX_FRAGMENT, RECORD_HEAD, Record, RecordType

IV_SIZE: Final = 12
TAG_SIZE: Final = 16
MAX_RECORDS_PER_KEY: Final = 1 << 24  # below AES-GCM's limit of 2^24.5


@dataclass(frozen=True)
class TlsSuite:
    """One of the three cipher suites of TLS 1.3."""

    hash_name: str
    key_size: int
    is_chacha: bool = False

    @property
    def hash_size(self) -> int:
        """Octets of a digest."""
        return hashlib.new(self.hash_name).digest_size


SUITES: Final = {
    0x1301: TlsSuite("sha256", 16),
    0x1302: TlsSuite("sha384", 32),
    0x1303: TlsSuite("sha256", 32, is_chacha=True),
}


def expand_label(suite: TlsSuite, secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """HKDF-Expand-Label."""
    full = b"tls13 " + label
    info = b"".join((
        size.to_bytes(2, "big"), bytes((len(full),)), full, bytes((len(context),)), context
    ))  # fmt: skip
    out = block = b""
    index = 1
    while len(out) < size:
        block = hmac.digest(secret, block + info + bytes((index,)), suite.hash_name)
        out += block
        index += 1
    return out[:size]


class KeySchedule:
    """The secrets of one handshake, in their order: handshake, then application.

    Args:
        suite: the one selected.
        shared: what the key shares gave.
    """

    def __init__(self, suite: TlsSuite, shared: bytes) -> None:
        self.suite = suite
        zeros = bytes(suite.hash_size)
        early = hmac.digest(zeros, zeros, suite.hash_name)
        self._secret = hmac.digest(self._derived(early), shared, suite.hash_name)

    def _derived(self, secret: bytes) -> bytes:
        empty = hashlib.new(self.suite.hash_name).digest()
        return expand_label(self.suite, secret, b"derived", empty, self.suite.hash_size)

    def advance(self) -> None:
        """Go on to the master secret."""
        zeros = bytes(self.suite.hash_size)
        self._secret = hmac.digest(self._derived(self._secret), zeros, self.suite.hash_name)

    def traffic_secret(self, label: bytes, transcript: bytes) -> bytes:
        """Return a traffic secret; `transcript` is the hash so far."""
        return expand_label(self.suite, self._secret, label, transcript, self.suite.hash_size)


def finished(suite: TlsSuite, secret: bytes, transcript: bytes) -> bytes:
    """Return the verify data of a Finished message."""
    key = expand_label(suite, secret, b"finished", b"", suite.hash_size)
    return hmac.digest(key, transcript, suite.hash_name)


def is_finished(suite: TlsSuite, secret: bytes, transcript: bytes, given: bytes) -> bool:
    """Whether a peer's verify data is right."""
    return is_equal(finished(suite, secret, transcript), given)


class RecordProtection:
    """Seals or opens the records of one direction under one traffic secret and its successors."""

    def __init__(self, suite: TlsSuite, secret: bytes) -> None:
        self._suite = suite
        self._take(secret)

    def _take(self, secret: bytes) -> None:
        suite = self._suite
        self._secret = secret
        key = expand_label(suite, secret, b"key", b"", suite.key_size)
        self._iv = int.from_bytes(expand_label(suite, secret, b"iv", b"", IV_SIZE), "big")
        self._aead = ChaCha20Poly1305(key) if suite.is_chacha else AESGCM(key)
        self._counter = 0

    def update(self) -> None:
        """Take the next key (after a KeyUpdate)."""
        self._take(expand_label(self._suite, self._secret, b"traffic upd", b"", self._suite.hash_size))

    def _nonce(self) -> bytes:
        counter = self._counter
        if counter >= MAX_RECORDS_PER_KEY:
            raise LocalProtocolError("tls records: too many under one key")
        self._counter = counter + 1
        return (self._iv ^ counter).to_bytes(IV_SIZE, "big")

    def seal(self, kind: int, data: bytes, padding: int = 0) -> bytes:
        """Return one record that hides `kind`, `data` and zeros of padding."""
        if len(data) + padding > MAX_FRAGMENT:
            raise LocalProtocolError(f"tls record: {len(data)} octets and {padding} of padding")
        plain = data + bytes((kind,)) + bytes(padding)
        header = b"\x17\x03\x03" + (len(plain) + TAG_SIZE).to_bytes(2, "big")
        return header + self._aead.encrypt(self._nonce(), plain, header)

    def open(self, record: Record) -> tuple[int, bytes]:
        """Return the kind and the data inside a record.

        Raises:
            RemoteProtocolError: not an application record, forged, too long, or nothing but zeros.
        """
        if record.kind != RecordType.APPLICATION_DATA or len(record.fragment) <= TAG_SIZE:
            raise TlsFaultError(f"tls record: type {record.kind} where a protected one is due", Fault.ORDER)
        try:
            plain = self._aead.decrypt(self._nonce(), record.fragment, record.header[:RECORD_HEAD])
        except InvalidTag as error:
            raise TlsFaultError("tls record: tag does not verify", Fault.RECORD) from error
        text = plain.rstrip(b"\0")
        if not text or len(text) - 1 > MAX_FRAGMENT:
            raise RemoteProtocolError("tls record: no type inside, or too long")
        return text[-1], text[:-1]
