"""Cells and runs: the fixed-size unit between circuit and link (hot path; docs/spec/circuit.md section 4.1).

A run of c cells, c in {1, 7}, is exactly 2048·c octets; its first 16 are the header:

     0        4     5      6                16                                     2048*c
     | circ u32 | cmd u8 | cells u8 | 0^10 | V: 2048*c - 16 octets                     |

A run travels in this process inside a *frame view*: a writable memoryview that leaves room for
what the link adds, so that the link seals in place and nothing is copied between the rooms:

     0               5      6                     6 + 2048*c      + 16
     | frame header  | type | run                 | link's tag         |
"""

import struct
from enum import IntEnum
from typing import Final

# From the specification.
CELL_SIZE: Final = 2048
RUN_HEADER_SIZE: Final = 16
BULK_CELLS: Final = 7
MAX_CIRCUIT_ID: Final = 0xFFFF_FFFF
INITIATOR_BIT: Final = 0x8000_0000

# Our choice.
FRAME_HEADER_ROOM: Final = 5  # the longest frame header of any carrier (TLS-shaped)
RUN_AT: Final = FRAME_HEADER_ROOM + 1  # where the run starts in a frame view, behind the frame's type octet
TAG_ROOM: Final = 16

_BULK: Final = RUN_AT + CELL_SIZE * BULK_CELLS + TAG_ROOM
_WIDE: Final = _BULK + CELL_SIZE
_NO_TAG: Final = bytes(TAG_ROOM)
_HEADER: Final = struct.Struct(">IBB10s")
_RESERVED: Final = bytes(10)
pack_run_header: Final = struct.Struct(">IBB10x").pack_into
"""pack_run_header(buffer, offset, circuit_id, command, cells)"""


class Command(IntEnum):
    """What a cell is for."""

    PADDING = 0
    CREATE = 1
    CREATED = 2
    RELAY = 3
    DESTROY = 4


def new_frame(cells: int) -> memoryview:
    """Return a zeroed frame view with room for a run of `cells` cells.

    Behind a run of 7 lies room for an eighth cell that the view does not show (see `widened`).
    """
    if cells == BULK_CELLS:
        return memoryview(bytearray(_WIDE))[:_BULK]
    return memoryview(bytearray(RUN_AT + CELL_SIZE * cells + TAG_ROOM))


def widened(frame: memoryview) -> memoryview:
    """Return the frame view of a run of 7 with room for 8 cells, for a record of TLS's full size.

    In place where `new_frame` made it; a client's own records lie in buffers of another form and are copied.
    The eighth cell is zero.
    """
    wide = memoryview(frame.obj)
    if len(wide) != _WIDE:
        wide = memoryview(bytearray(_WIDE))
        wide[: _BULK - TAG_ROOM] = frame[:-TAG_ROOM]
    wide[_BULK - TAG_ROOM : _BULK] = _NO_TAG
    return wide
