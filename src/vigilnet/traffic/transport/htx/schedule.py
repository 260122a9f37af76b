"""What one side of a connection is to send, and when (docs/spec/htx.md section 11; sans-IO).

     plan     u16 count | count steps              for the client, made by the relay; bit 15 of count: more of
                                                   it comes
     step     u16 need | u16 delay in 0.1 ms | u16 length

A step is one record of `length` octets behind its header. It is due `delay` after the later of the sender's
previous step and the `need`-th record that came from the other end. Records that are beside the plan
(marked so) count on neither side.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError

# From the specification.
MIN_RECORD: Final = 19
MAX_RECORD: Final = 16_401
MAX_STEPS: Final = 1024
DELAY_UNIT_S: Final = 0.0001
MAX_DELAY_S: Final = 0xFFFF * DELAY_UNIT_S
GOES_ON: Final = 0x8000  # in a plan's count

_COUNT: Final = struct.Struct(">H")
_STEP: Final = struct.Struct(">HHH")


@dataclass(frozen=True, slots=True)
class Step:
    """One record to send: `need` records of the other end come first, then `delay` seconds pass."""

    need: int
    delay: float
    length: int


@dataclass(frozen=True, slots=True)
class Visit:
    """Both sides of a stretch of a connection; `need` counts from its beginning."""

    client: tuple[Step, ...]
    server: tuple[Step, ...]


def encode_plan(steps: Sequence[Step], *, goes_on: bool = False) -> bytes:
    """Return the octets of a plan, or of a piece behind which more of it comes.

    Raises:
        LocalProtocolError: too many steps, or one out of range.
    """
    if len(steps) > MAX_STEPS:
        raise LocalProtocolError(f"plan: {len(steps)} steps, at most {MAX_STEPS}")
    parts = [_COUNT.pack(len(steps) | GOES_ON * goes_on)]
    for step in steps:
        delay = round(step.delay / DELAY_UNIT_S)
        if not (0 <= step.need <= 0xFFFF and 0 <= delay <= 0xFFFF and _is_length(step.length)):
            raise LocalProtocolError("plan: a step is out of range")
        parts.append(_STEP.pack(step.need, delay, step.length))
    return b"".join(parts)


def plan_size(octets: bytes | bytearray | memoryview) -> int:
    """Return how long the plan is that begins with these octets, at least two."""
    return _COUNT.size + _STEP.size * (int.from_bytes(octets[: _COUNT.size], "big") & ~GOES_ON)


def decode_plan(octets: bytes | memoryview) -> tuple[list[Step], int, bool]:
    """Read a plan at the start of `octets`; return its steps, how long it is, and whether more of it comes.

    Raises:
        RemoteProtocolError: cut short, too long, a length that no record has, or needs that go back.
    """
    if len(octets) < _COUNT.size:
        raise RemoteProtocolError("plan: no count")
    (count,) = _COUNT.unpack_from(octets)
    goes_on = bool(count & GOES_ON)
    count &= ~GOES_ON
    size = _COUNT.size + count * _STEP.size
    if count > MAX_STEPS or size > len(octets):
        raise RemoteProtocolError(f"plan: {count} steps in {len(octets)} octets, at most {MAX_STEPS}")
    steps = []
    last_need = 0
    for need, delay, length in _STEP.iter_unpack(octets[_COUNT.size : size]):
        if not _is_length(length) or need < last_need:
            raise RemoteProtocolError(f"plan: a step of {length} octets that needs {need} records")
        last_need = need
        steps.append(Step(need, delay * DELAY_UNIT_S, length))
    return steps, size, goes_on


def _is_length(length: int) -> bool:
    return MIN_RECORD <= length <= MAX_RECORD
