"""From the origin's TLS to our own records (docs/spec/htx.md section 6; sans-IO).

    record     17 03 03 | u16 length | ChaCha20-Poly1305(key, nonce 0^4 | u64 LE counter, ad = header)
    plaintext  u8 0 | u16 n | n octets of the link's packets | zero padding

Only the link's handshake packets travel so; the record that ends the last one of a direction (message 3 of
the client, message 2 of the relay) is the last under these keys, and link frames in TLS shape follow.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.crypto.aead import TAG_SIZE, little_endian_nonce
from vigilnet.traffic.transport.htx.wire import MAX_FRAGMENT, Record

# From the specification.
LAST_OF_CLIENT: Final = 4  # kinds of link packets (docs/spec/link.md section 2)
LAST_OF_RELAY: Final = 3
GOODBYE_SIZE: Final = 19  # of a close_notify's record: level, description, type, tag
PLAIN_HEAD: Final = 3
MIN_PLAIN: Final = PLAIN_HEAD
MAX_PACKET: Final = 4096

_PACKET_HEAD: Final = 2


class SwitchKey:
    """Seals or opens the records of one direction."""

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._counter = 0

    def seal(self, octets: bytes | memoryview, plain_size: int = 0) -> bytes:
        """Return one record with `octets`, padded so that its plaintext has at least `plain_size` octets."""
        plain = b"\0" + len(octets).to_bytes(2, "big") + octets
        plain += bytes(max(0, plain_size - len(plain)))
        if len(plain) > MAX_FRAGMENT:
            raise LocalProtocolError(f"htx record: {len(plain)} octets, at most {MAX_FRAGMENT}")
        header = b"\x17\x03\x03" + (len(plain) + TAG_SIZE).to_bytes(2, "big")
        counter = self._counter
        self._counter = counter + 1
        return header + self._aead.encrypt(little_endian_nonce(counter), plain, header)

    def open(self, record: Record) -> bytes | None:
        """Return the packet octets in a record; None if it is not under this key, which changes nothing.

        Raises:
            RemoteProtocolError: under this key, but not of the form above.
        """
        try:
            plain = self._aead.decrypt(little_endian_nonce(self._counter), record.fragment, record.header)
        except InvalidTag:
            return None
        self._counter += 1
        size = int.from_bytes(plain[1:PLAIN_HEAD], "big")
        end = PLAIN_HEAD + size
        if len(plain) < MIN_PLAIN or plain[0] or end > len(plain) or any(plain[end:]):
            raise RemoteProtocolError("htx record: plaintext is not of its form")
        return plain[PLAIN_HEAD:end]


class PacketCounter:
    """Follows a direction's link packets, to know when the last one has passed.

    Args:
        last_kind: of the packet behind which frames follow.
    """

    def __init__(self, last_kind: int) -> None:
        self._last_kind = last_kind
        self._buffer = bytearray()
        self.is_done = False

    def feed(self, octets: bytes | memoryview) -> None:
        """Take the next octets.

        Raises:
            RemoteProtocolError: a packet too long or without a kind, or octets behind the last packet.
        """
        buffer = self._buffer
        buffer += octets
        while len(buffer) > _PACKET_HEAD and not self.is_done:
            size = int.from_bytes(buffer[:_PACKET_HEAD], "big")
            if not 1 <= size <= MAX_PACKET:
                raise RemoteProtocolError(f"link packet: length {size}, 1 to {MAX_PACKET} expected")
            if len(buffer) < _PACKET_HEAD + size:
                return
            self.is_done = buffer[_PACKET_HEAD] == self._last_kind
            del buffer[: _PACKET_HEAD + size]
        if self.is_done and buffer:
            raise RemoteProtocolError("htx record: more behind the last link packet")


def goodbye(octets: bytes) -> bytes:
    """Return a record of a close_notify's size, of 19 octets that nobody can open."""
    return b"\x17\x03\x03" + len(octets).to_bytes(2, "big") + octets
