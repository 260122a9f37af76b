"""From the origin's TLS to our own records (docs/spec/htx.md section 6; sans-IO).

    record     17 03 03 | u16 length | ChaCha20-Poly1305(key, nonce 0^4 | u64 LE counter, ad = header)
    plaintext  u8 flags | u16 n | n octets of the link's packets | plan, if flagged | zero padding
    plan       u16 m | m octets, for the client's shaper
    flags      1 beside the sender's plan, 2 a plan follows, 0x30 the profile that a client asks for

Only the link's handshake packets travel so. The record that ends the client's last one (message 3) is its
last under these keys; the relay's last one is message 2, and where records are shaped, empty ones may
follow until its first link frame.
"""

from typing import Final, NamedTuple

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
MAX_PLAIN: Final = MAX_FRAGMENT + 1  # as TLS: 2^14 and the type's octet
MAX_PACKET: Final = 4096

EXTRA: Final = 0x01
PLAN: Final = 0x02
PROFILE_SHIFT: Final = 4
_FLAGS: Final = EXTRA | PLAN | 3 << PROFILE_SHIFT
_PLAN_HEAD: Final = 2
_PACKET_HEAD: Final = 2


class Opened(NamedTuple):
    """What was in a record."""

    flags: int
    octets: bytes
    plan: bytes

    @property
    def profile(self) -> int:
        """The profile that a client asks for, in its first record."""
        return self.flags >> PROFILE_SHIFT


class SwitchKey:
    """Seals or opens the records of one direction."""

    def __init__(self, key: bytes) -> None:
        self._aead = ChaCha20Poly1305(key)
        self._counter = 0

    def seal(
        self, octets: bytes | memoryview, plain_size: int = 0, flags: int = 0, plan: bytes = b""
    ) -> bytes:
        """Return one record with `octets`, padded so that its plaintext has at least `plain_size` octets."""
        if plan:
            flags |= PLAN
        plain = bytes((flags,)) + len(octets).to_bytes(2, "big") + octets
        if plan:
            plain += len(plan).to_bytes(_PLAN_HEAD, "big") + plan
        plain += bytes(max(0, plain_size - len(plain)))
        if len(plain) > MAX_PLAIN:
            raise LocalProtocolError(f"htx record: {len(plain)} octets, at most {MAX_PLAIN}")
        header = b"\x17\x03\x03" + (len(plain) + TAG_SIZE).to_bytes(2, "big")
        counter = self._counter
        self._counter = counter + 1
        return header + self._aead.encrypt(little_endian_nonce(counter), plain, header)

    def open(self, record: Record) -> Opened | None:
        """Return what is in a record; None if it is not under this key, which changes nothing.

        Raises:
            RemoteProtocolError: under this key, but not of the form above.
        """
        try:
            plain = self._aead.decrypt(little_endian_nonce(self._counter), record.fragment, record.header)
        except InvalidTag:
            return None
        self._counter += 1
        if len(plain) < MIN_PLAIN or plain[0] & ~_FLAGS:
            raise RemoteProtocolError("htx record: plaintext is not of its form")
        end = PLAIN_HEAD + int.from_bytes(plain[1:PLAIN_HEAD], "big")
        octets, plan = plain[PLAIN_HEAD:end], b""
        if plain[0] & PLAN:
            start = end + _PLAN_HEAD
            end = start + int.from_bytes(plain[start - _PLAN_HEAD : start], "big")
            plan = plain[start:end]
        if end > len(plain) or plain.count(0, end) != len(plain) - end:
            raise RemoteProtocolError("htx record: plaintext is not of its form")
        return Opened(plain[0], octets, plan)


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
