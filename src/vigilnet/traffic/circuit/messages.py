"""Bodies of the messages that build and end circuits (docs/spec/circuit.md sections 5 and 6).

Frozen values with `encode` and `decode`; decoders take the body alone, are strict about every length
and raise only `RemoteProtocolError`. TRUNCATE is empty, PADDING is any octets.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.stream.messages import Octets

# From the specification.
MAX_CREATE_BODY: Final = 1500
"""Longest CREATE body that an EXTEND carries."""
MAX_RECORD: Final = 1024
SEED_SIZE: Final = 16

_PUZZLE_DATA: Final = struct.Struct(">16sI")
_EXTEND: Final = struct.Struct(">32sQH")
_PAD: Final = struct.Struct(">BHH")


class DestroyReason(IntEnum):
    """Why a circuit, or its part behind a hop, is gone."""

    NONE = 0
    CLOSED = 1
    BAD_RECORD = 2  # only in TRUNCATED
    PUZZLE = 3  # carries a seed and the effort asked
    NEED_RECORD = 4
    POLICY = 5
    OVERLOAD = 6
    CONNECT_FAILED = 7
    UNKNOWN_KEY = 8
    VERSION = 9
    TIMEOUT = 10
    PROTOCOL = 11


@dataclass(frozen=True, slots=True)
class Extend:
    """EXTEND: `identity 32 ‖ u64 least sequence ‖ u16 len ‖ CREATE body`, first message of its record."""

    identity: bytes
    least_sequence: int
    create_body: bytes

    def encode(self) -> bytes:
        """Return the body; LocalProtocolError if the CREATE body is too long for an EXTEND."""
        if len(self.create_body) > MAX_CREATE_BODY:
            raise LocalProtocolError(f"extend: {len(self.create_body)} octets, at most {MAX_CREATE_BODY}")
        return _EXTEND.pack(self.identity, self.least_sequence, len(self.create_body)) + self.create_body

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the body."""
        if len(body) < _EXTEND.size:
            raise RemoteProtocolError(f"extend: {len(body)} octets, at least {_EXTEND.size} expected")
        identity, sequence, length = _EXTEND.unpack_from(body)
        if length != len(body) - _EXTEND.size or length > MAX_CREATE_BODY:
            raise RemoteProtocolError(f"extend: create body of {length} octets announced in {len(body)}")
        return cls(identity, sequence, bytes(body[_EXTEND.size :]))


@dataclass(frozen=True, slots=True)
class PadNegotiate:
    """PAD_NEGOTIATE: `u8 profile ‖ u16 cells a second at most ‖ u16 seconds`; profile 0 is off."""

    profile: int
    cells_per_second: int
    seconds: int

    def encode(self) -> bytes:
        """Return the body."""
        return _PAD.pack(self.profile, self.cells_per_second, self.seconds)

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the body."""
        if len(body) != _PAD.size:
            raise RemoteProtocolError(f"pad negotiate: {len(body)} octets, expected {_PAD.size}")
        return cls(*_PAD.unpack(body))


def decode_record(body: Octets) -> bytes:
    """Check the size of RECORD's body, a peer record; what is inside is for the peer room."""
    if not 0 < len(body) <= MAX_RECORD:
        raise RemoteProtocolError(f"record message: {len(body)} octets, expected 1 to {MAX_RECORD}")
    return bytes(body)


@dataclass(frozen=True, slots=True)
class PuzzleDemand:
    """What a relay asks to be solved: data of reason PUZZLE, `seed 16 ‖ u32 effort`."""

    seed: bytes
    effort: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """Body of DESTROY and TRUNCATED: `u8 reason ‖ u8 n ‖ data n`; only PUZZLE has data."""

    reason: DestroyReason
    puzzle: PuzzleDemand | None = None

    def encode(self) -> bytes:
        """Return the octets."""
        data = _PUZZLE_DATA.pack(self.puzzle.seed, self.puzzle.effort) if self.puzzle else b""
        return bytes([self.reason, len(data)]) + data

    @classmethod
    def decode(cls, body: Octets) -> Self:
        """Parse the exact body of TRUNCATED."""
        if len(body) < 2 or len(body) != 2 + body[1]:
            raise RemoteProtocolError(f"refusal: {len(body)} octets")
        try:
            reason = DestroyReason(body[0])
        except ValueError as error:
            raise RemoteProtocolError(f"refusal: unknown reason {body[0]}") from error
        if body[1] != (_PUZZLE_DATA.size if reason is DestroyReason.PUZZLE else 0):
            raise RemoteProtocolError(f"refusal: {body[1]} octets of data with reason {reason.name.lower()}")
        return cls(reason, PuzzleDemand(*_PUZZLE_DATA.unpack_from(body, 2)) if body[1] else None)

    @classmethod
    def from_cell(cls, body: Octets) -> Self:
        """Read the head of a DESTROY cell's body; one that cannot be read counts as PROTOCOL.

        What follows the data is ignored, and nothing is raised: the circuit is gone either way, and
        what a next hop writes here must not cost the link to it.
        """
        try:
            return cls.decode(body[: 2 + body[1]])
        except RemoteProtocolError:
            return cls(DestroyReason.PROTOCOL)
