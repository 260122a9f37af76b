"""What a link handshake puts on the wire: packets, hello, RETRY, prologue (docs/spec/link.md section 2).

packet   u16 length | u8 kind | body                        length counts kind and body
hello    u8 version | u8 suite | u8 n | cookie n | u8 m | solution m
RETRY    u8 puzzle kind | u32 effort | seed 16 | cookie 32
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.aead import Suite
from vigilnet.crypto.labels import Label, label_octets
from vigilnet.crypto.noise import Pattern
from vigilnet.traffic.transport.carrier import CarrierKind

# From the specification.
VERSION: Final = 1
MAX_PACKET: Final = 4096
PACKET_HEAD: Final = 2
COOKIE_SIZE: Final = 32
SEED_SIZE: Final = 16
SEED_HEAD_SIZE: Final = 4
NONCE_SIZE: Final = 8
SOLUTION_SIZE: Final = SEED_HEAD_SIZE + NONCE_SIZE
MAX_EFFORT: Final = 65_536
BINDING_SIZE: Final = 32
CLASSICAL_BIT: Final = 0x80
KNOWN_KEM_BIT: Final = 0x40  # the carrier has shown the initiator's ML-KEM key already

_RETRY: Final = struct.Struct(f">BI{SEED_SIZE}s{COOKIE_SIZE}s")


class PacketKind(IntEnum):
    """What a handshake packet carries."""

    HELLO = 1  # hello and Noise message 1
    RETRY = 2
    MESSAGE_2 = 3
    MESSAGE_3 = 4


class PuzzleKind(IntEnum):
    """What a RETRY asks for beside the cookie."""

    NONE = 0
    SHA256 = 1


@dataclass(frozen=True)
class LinkSuite:
    """A suite octet of the hello, taken apart."""

    pattern: Pattern
    aead: Suite
    knows_kem: bool = False

    @property
    def octet(self) -> int:
        """The octet that names this suite on the wire."""
        more = KNOWN_KEM_BIT if self.knows_kem else 0
        return self.aead | more | (CLASSICAL_BIT if self.pattern is Pattern.XK else 0)


def link_suite(octet: int) -> LinkSuite:
    """Return the suite that `octet` names.

    Raises:
        RemoteProtocolError: no such suite.
    """
    bits = octet & (CLASSICAL_BIT | KNOWN_KEM_BIT)
    try:
        aead = Suite(octet & ~bits)
    except ValueError as error:
        raise RemoteProtocolError(f"link hello: suite {octet:#04x} is unknown") from error
    if bits == CLASSICAL_BIT | KNOWN_KEM_BIT:
        raise RemoteProtocolError(f"link hello: suite {octet:#04x} is unknown")
    return LinkSuite(Pattern.XK if bits & CLASSICAL_BIT else Pattern.XK_HFS, aead, bool(bits & KNOWN_KEM_BIT))


@dataclass(frozen=True)
class Hello:
    """What stands before Noise message 1 in clear; the prologue binds it."""

    suite: LinkSuite
    cookie: bytes = b""  # empty or 32 octets
    solution: bytes = b""  # empty, or seed head 4 and nonce 8

    def encode(self) -> bytes:
        """Return the hello's octets."""
        return b"".join((
            bytes((VERSION, self.suite.octet, len(self.cookie))),
            self.cookie,
            bytes((len(self.solution),)),
            self.solution,
        ))  # fmt: skip


def decode_hello(data: bytes) -> tuple[Hello, int]:
    """Return the hello at the start of `data`, and how many octets it takes."""
    if len(data) < 4:
        raise RemoteProtocolError(f"link hello: {len(data)} octets, at least 4 expected")
    if data[0] != VERSION:
        raise RemoteProtocolError(f"link hello: version {data[0]}, only {VERSION} is spoken")
    suite = link_suite(data[1])
    cookie, at = _field(data, 2, COOKIE_SIZE, "cookie")
    solution, at = _field(data, at, SOLUTION_SIZE, "solution")
    return Hello(suite, cookie, solution), at


def _field(data: bytes, at: int, full: int, name: str) -> tuple[bytes, int]:
    if at >= len(data):
        raise RemoteProtocolError(f"link hello: ends before its {name}")
    size = data[at]
    if size not in (0, full):
        raise RemoteProtocolError(f"link hello: {name} of {size} octets, 0 or {full} expected")
    end = at + 1 + size
    if end > len(data):
        raise RemoteProtocolError(f"link hello: ends inside its {name}")
    return data[at + 1 : end], end


@dataclass(frozen=True)
class Retry:
    """A loaded responder's answer: come again, with this cookie and perhaps a solved puzzle."""

    puzzle: PuzzleKind
    effort: int
    seed: bytes
    cookie: bytes

    def encode(self) -> bytes:
        """Return the body of a RETRY packet."""
        return _RETRY.pack(self.puzzle, self.effort, self.seed, self.cookie)


def decode_retry(body: bytes) -> Retry:
    """Return the RETRY in `body`; refuses an effort that no honest responder asks."""
    if len(body) != _RETRY.size:
        raise RemoteProtocolError(f"link retry: {len(body)} octets, {_RETRY.size} expected")
    kind, effort, seed, cookie = _RETRY.unpack(body)
    try:
        puzzle = PuzzleKind(kind)
    except ValueError as error:
        raise RemoteProtocolError(f"link retry: puzzle kind {kind} is unknown") from error
    if effort > MAX_EFFORT or (puzzle is PuzzleKind.SHA256) != (effort > 0):
        raise RemoteProtocolError(f"link retry: effort {effort} with puzzle kind {kind}")
    return Retry(puzzle, effort, seed, cookie)


def encode_packet(kind: PacketKind, body: bytes) -> bytes:
    """Return one handshake packet."""
    return struct.pack(">HB", 1 + len(body), kind) + body


def decode_packet(data: bytes | memoryview) -> tuple[PacketKind, bytes, int] | None:
    """Return the first packet's kind and body and the octets it takes; None while it is incomplete.

    Raises:
        RemoteProtocolError: unknown kind, empty or over `MAX_PACKET`; found as early as it can be.
    """
    if len(data) < PACKET_HEAD:
        return None
    length = data[0] << 8 | data[1]
    if not 1 <= length <= MAX_PACKET:
        raise RemoteProtocolError(f"link packet: length {length}, 1 to {MAX_PACKET} expected")
    if len(data) == PACKET_HEAD:
        return None
    try:
        kind = PacketKind(data[PACKET_HEAD])
    except ValueError as error:
        raise RemoteProtocolError(f"link packet: kind {data[PACKET_HEAD]} is unknown") from error
    end = PACKET_HEAD + length
    if len(data) < end:
        return None
    return kind, bytes(data[PACKET_HEAD + 1 : end]), end


def handshake_prologue(
    hello: bytes, carrier: CarrierKind, binding: bytes, responder: bytes, network: str
) -> bytes:
    """Return what both ends mix in before message 1, so that nothing of it can be changed on the way.

    Args:
        hello: the hello's octets as they went over the wire.
        carrier: what carries the link.
        binding: 32 octets of the carrier, zeros where it has none.
        responder: the responder's identity, 32 octets; stops a record that copies another's link key.
        network: the private network's name, empty for the public one.
    """
    label = label_octets(Label.LINK, network)
    return b"".join((
        struct.pack(">H", len(label)), label,
        struct.pack(">H", len(hello)), hello,
        bytes((carrier,)), binding, responder,
    ))  # fmt: skip
