"""Relay messages: how they lie in a record's area, and their numbers (hot path; circuit.md section 6).

The area of a record is filled with messages back to back; no message is cut over two records, but the body
of a long datagram or echo travels in several (DATAGRAM_PART):

     0    1    2        4        6        8
     | type | 0 | stream | length | 0x564E | body: length octets |   next message, or zeros to the end
       u8    u8    u16      u16      u16

Type 0 ends the area and the rest is zero. The bodies of control messages are in `messages`.
"""

import struct
from enum import IntEnum
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.cell import BULK_CELLS, CELL_SIZE, RUN_AT, RUN_HEADER_SIZE

# From the specification.
MESSAGE_HEADER_SIZE: Final = 8
MESSAGE_MARK: Final = 0x564E
AREA_OVERHEAD: Final = 192  # run header 16, ladder 160, stop block 16
AREA_SIZES: Final = {cells: CELL_SIZE * cells - AREA_OVERHEAD for cells in (1, BULK_CELLS)}
AREA_AT: Final = RUN_AT + AREA_OVERHEAD - RUN_HEADER_SIZE
"""Where the message area starts in a record under construction, before it is sealed."""
MAX_STREAM_ID: Final = 0xFFFF
MAX_BODY: Final = {1: 1848, 7: 14_136}
"""Longest body of one message, by the cells of the run that carries it."""

MAX_PARTS: Final = 65_535
"""Longest body of a datagram or echo, all its parts together."""

_HEADER: Final = struct.Struct(">BxHHH")
_READ: Final = struct.Struct(">HHHH").unpack_from
_ZEROS: Final = bytes(MAX_BODY[7] + MESSAGE_HEADER_SIZE)

pack_message_header: Final = _HEADER.pack_into
"""pack_message_header(buffer, offset, type, stream, length, MESSAGE_MARK)"""


class MessageType(IntEnum):
    """What a relay message is; 24 to 27, 32 to 40 and 49 to 63 are kept: multipath, rendezvous, look-ups."""

    BEGIN = 1
    CONNECTED = 2
    DATA = 3
    END = 4
    FIN = 5
    CREDIT = 6
    RESOLVE = 7
    RESOLVED = 8
    DATAGRAM = 9
    ECHO = 10
    DATAGRAM_PART = 11
    EXTEND = 16
    EXTENDED = 17
    TRUNCATE = 18
    TRUNCATED = 19
    SENDME = 20
    PADDING = 21
    PAD_NEGOTIATE = 22
    RECORD = 23
    MP_LINK = 24
    MP_LINKED = 25
    MP_ACK = 26
    MP_SWITCH = 27
    ESTABLISH_INTRO = 32
    ESTABLISHED = 33
    INTRODUCE1 = 34
    INTRODUCE2 = 35
    ACK = 36
    ESTABLISH_RENDEZVOUS = 37
    RENDEZVOUS1 = 38
    RENDEZVOUS2 = 39
    REND_DATA = 40
    BEGIN_DIRECTORY = 48


COUNTED: Final = frozenset(
    {
        MessageType.DATA,
        MessageType.DATAGRAM,
        MessageType.ECHO,
        MessageType.DATAGRAM_PART,
        MessageType.REND_DATA,
    }
)
"""A record with one of these counts towards SENDME and the congestion window."""


class EndReason(IntEnum):
    """Why a stream ended."""

    DONE = 0
    REFUSED = 1
    POLICY = 2
    RESOLVE_FAILED = 3
    NO_ROUTE = 4
    TIMEOUT = 5
    RESET = 6
    LIMIT = 7
    CLOSING = 8


def split_area(area: memoryview) -> list[tuple[int, int, memoryview]]:
    """Return (type, stream, body) of every message in `area`; the bodies are views into it.

    An area with nothing in it gives an empty list: whether that is allowed is the caller's rule.
    Types are not checked here.

    Raises:
        RemoteProtocolError: wrong constant or reserved octet, a length beyond the area, or octets
            other than zero behind the last message.
    """
    size = len(area)
    found: list[tuple[int, int, memoryview]] = []
    at = 0
    while size - at >= 8:  # MESSAGE_HEADER_SIZE
        kind, stream, length, mark = _READ(area, at)
        if kind < 256:  # the type octet is zero: the end
            break
        if mark != 0x564E or kind & 0xFF:  # MESSAGE_MARK
            raise RemoteProtocolError("relay message: wrong constant octets in its header")
        end = at + 8 + length
        if end > size:
            raise RemoteProtocolError(f"relay message: {length} octets announced, {size - at - 8} left")
        found.append((kind >> 8, stream, area[at + 8 : end]))
        at = end
    # bytes() of the rest first: comparing a memoryview octet by octet takes 12 us at 14 KiB, this 0.6.
    if at != size and bytes(area[at:]) != _ZEROS[: size - at]:
        raise RemoteProtocolError("relay message area: octets other than zero behind its end")
    return found


def encode_message(kind: int, stream: int, body: bytes = b"", most: int = MAX_BODY[7]) -> bytes:
    """Return one whole message, header and body; for control messages, not for the hot path.

    Raises:
        LocalProtocolError: the body does not fit into the largest record, or exceeds `most`.
    """
    if len(body) > most:
        raise LocalProtocolError(f"relay message body: {len(body)} octets, at most {most}")
    return _HEADER.pack(kind, stream, len(body), MESSAGE_MARK) + body
