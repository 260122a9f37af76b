"""Runs in records of any length (hot path of shaped links; docs/spec/link.md section 5).

     PART     u8 flags | u16 n | n octets | plan, if flagged | control, if flagged | padding
     plan     u16 m | m octets, for the carrier's shaper
     control  u16 m | m octets of a stream of frames: u8 type | u16 n | body

The octets of all PART frames are one stream of runs, cut wherever a record ends, and so are those of control.
Flag 1: the record is beside the sender's plan; flag 2: octets of a plan follow; flag 4: of control; flag 8:
more runs wait.
"""

import struct
from collections import deque
from collections.abc import Sequence
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.crypto.aead import TAG_SIZE
from vigilnet.traffic.cell import (
    BULK_CELLS,
    CELL_SIZE,
    FRAME_HEADER_ROOM,
    RUN_AT,
    RUN_HEADER_SIZE,
    TAG_ROOM,
    Command,
    widened,
)
from vigilnet.traffic.link.ports import RunReceiver

# From the specification.
EXTRA: Final = 1
PLAN: Final = 2
CONTROL: Final = 4
MORE: Final = 8
HEAD: Final = 3
MIN_LENGTH: Final = 1 + HEAD + TAG_SIZE
PLAN_HEAD: Final = 2
CONTROL_HEAD: Final = 2
MAX_CONTROL: Final = 16_385  # of a frame's body in the control stream

FULL_LENGTH: Final = 16_401
FULL_ROOM: Final = FULL_LENGTH - MIN_LENGTH

# Our choice.
MAX_PLAN: Final = (
    1 << 16
)  # octets of plans that nobody took yet; no shaper takes them on a link without cover
RUN_ROOM: Final = CELL_SIZE * BULK_CELLS + TAG_ROOM
CELL_SHIFT: Final = CELL_SIZE.bit_length() - 1

_HEAD: Final = struct.Struct(">BH")
_FRAME: Final = struct.Struct(">BH")
_RUN_FIELDS: Final = struct.Struct(">4xBBHQ").unpack_from
_RELAY: Final = int(Command.RELAY)
_OCTETS_AT: Final = RUN_AT + HEAD
_CELL_FRAME: Final = RUN_AT + CELL_SIZE + TAG_ROOM
_BULK_FRAME: Final = RUN_AT + CELL_SIZE * BULK_CELLS + TAG_ROOM
_EIGHTH: Final = slice(RUN_AT + CELL_SIZE * BULK_CELLS, -TAG_ROOM)
_RUN: Final = slice(RUN_AT, -TAG_ROOM)


def run_cells(buffer: memoryview, at: int) -> int:
    """Check a run's header; return its number of cells.

    Raises:
        RemoteProtocolError: not 1 or 7 cells, 7 with another command than RELAY, or reserved octets set.
    """
    command, cells, reserved, more_reserved = _RUN_FIELDS(buffer, at)
    if cells != 1 and (cells != BULK_CELLS or command != _RELAY):
        raise RemoteProtocolError(f"cell header: a run of {cells} cells, command {command}")
    if reserved or more_reserved:
        raise RemoteProtocolError("cell header: reserved octets are not zero")
    return int(cells)


def fill_records(frames: Sequence[memoryview]) -> tuple[list[memoryview], Sequence[memoryview]]:
    """Widen the bulk runs at the start of `frames`; a single cell behind one fills its eighth place.

    Returns:
        What `seal_full` takes, and the frame views that are left.
    """
    full: list[memoryview] = []
    at, count = 0, len(frames)
    while at < count and len(frames[at]) == _BULK_FRAME:
        wide = widened(frames[at])
        at += 1
        if at < count and len(frames[at]) == _CELL_FRAME:
            wide[_EIGHTH] = frames[at][_RUN]
            at += 1
        full.append(wide)
    return full, frames[at:]


class PartCutter:
    """Runs that wait to leave in pieces."""

    __slots__ = ("_control", "_runs", "waiting")

    def __init__(self) -> None:
        self._runs: deque[memoryview] = deque()
        self._control = bytearray()
        self.waiting = 0  # octets of runs

    @property
    def all_waiting(self) -> int:
        """Octets of runs, and of control with its head."""
        return self.waiting + (CONTROL_HEAD + len(self._control) if self._control else 0)

    @property
    def control_waiting(self) -> int:
        """Octets of control."""
        return len(self._control)

    def add_control(self, kind: int, body: bytes) -> None:
        """Let a frame travel inside records."""
        self._control += _FRAME.pack(kind, len(body)) + body

    def add(self, frames: Sequence[memoryview]) -> None:
        """Take frame views (see `traffic.cell`) whose runs are complete."""
        for frame in frames:
            self._runs.append(frame[_RUN])
            self.waiting += len(frame) - RUN_AT - TAG_ROOM

    def cut(self, length: int, flags: int, plan: bytes) -> memoryview:
        """Return a frame view for a record of `length` octets, with as many of those that wait as fit."""
        frame = memoryview(bytearray(FRAME_HEADER_ROOM + length))
        room = length - MIN_LENGTH
        if plan:
            room -= PLAN_HEAD + len(plan)
            flags |= PLAN
        control = b""
        if self._control and room > CONTROL_HEAD:
            control = bytes(self._control[: room - CONTROL_HEAD])
            del self._control[: len(control)]
            room -= CONTROL_HEAD + len(control)
            flags |= CONTROL
        at = _OCTETS_AT
        runs = self._runs
        left = taken = min(room, self.waiting)
        while left:
            run = runs[0]
            size = len(run)
            if size <= left:
                frame[at : at + size] = run
                runs.popleft()
            else:
                size = left
                frame[at : at + size] = run[:size]
                runs[0] = run[size:]
            at += size
            left -= size
        self.waiting -= taken
        if self.waiting:
            flags |= MORE
        _HEAD.pack_into(frame, RUN_AT, flags, taken)
        if plan:
            frame[at : at + PLAN_HEAD] = len(plan).to_bytes(PLAN_HEAD, "big")
            frame[at + PLAN_HEAD : at + PLAN_HEAD + len(plan)] = plan
            at += PLAN_HEAD + len(plan)
        if control:
            frame[at : at + CONTROL_HEAD] = len(control).to_bytes(CONTROL_HEAD, "big")
            frame[at + CONTROL_HEAD : at + CONTROL_HEAD + len(control)] = control
        return frame

    def clear(self) -> None:
        """Forget what waits."""
        self._runs.clear()
        self._control.clear()
        self.waiting = 0


class PartJoiner:
    """Puts the runs of PART frames together again, and counts the records."""

    __slots__ = (
        "_control",
        "_run",
        "_size",
        "extra",
        "filled",
        "has_control",
        "has_stream",
        "more",
        "plan",
        "planned",
    )

    def __init__(self) -> None:
        self._run: memoryview | None = None  # made when it is first needed
        self.filled = 0  # octets of a run that is not complete yet
        self._size = 0  # of the run that is under way; 0 while its header is
        self.planned = 0  # records since they were last taken
        self.extra = 0  # length of the last record beside the plan
        self.plan = b""
        self.has_stream = False  # whether whole runs came, as full records do
        self.more = False  # whether more waits at the other end
        self._control = bytearray()
        self.has_control = False  # whether a frame of the control stream is complete

    def part_received(self, buffer: memoryview, at: int, end: int, receiver: RunReceiver) -> None:
        """Take the body of a PART frame, in buffer[at:end], and deliver the runs that it completes.

        Raises:
            RemoteProtocolError: the frame or a run in it is malformed.
        """
        if end - at < HEAD:
            raise RemoteProtocolError("link frame: PART without its head")
        flags, count = _HEAD.unpack_from(buffer, at)
        start, stop = at + HEAD, at + HEAD + count
        if stop > end or flags & ~(EXTRA | PLAN | CONTROL | MORE):
            raise RemoteProtocolError(f"link frame: PART of {count} octets, flags {flags}")
        self.more = bool(flags & MORE)
        if flags & EXTRA:
            self.extra = end - at + 1 + TAG_SIZE
        else:
            self.planned += 1
        if flags & (PLAN | CONTROL):
            self._take_more(flags, buffer[stop:end])
        filled, size = self.filled, self._size
        if size and size - filled <= count:  # the hot path: a run ends in here
            end_of_run = start + size - filled
            run = self._run
            run[filled:size] = buffer[start:end_of_run]  # type: ignore[index]  # begun, so it is there
            start = end_of_run
            self.filled = self._size = 0
            receiver.run_received(run, 0, size >> CELL_SHIFT)  # type: ignore[arg-type]
        elif filled:
            start = self._go_on(buffer, start, stop, receiver)
        while stop - start >= RUN_HEADER_SIZE:
            cells = run_cells(buffer, start)
            size = CELL_SIZE * cells
            if size > stop - start:
                break
            receiver.run_received(buffer, start, cells)
            start += size
        if start < stop:
            self._keep(buffer, start, stop)

    def _take_more(self, flags: int, rest: memoryview) -> None:
        """Take what follows the runs."""
        if flags & PLAN:
            size = int.from_bytes(rest[:PLAN_HEAD], "big")
            if len(rest) < PLAN_HEAD + size:
                raise RemoteProtocolError("link frame: a plan cut short")
            if len(self.plan) + size > MAX_PLAN:
                raise RemoteProtocolError(f"link frame: more than {MAX_PLAN} octets of plans")
            self.plan += bytes(rest[PLAN_HEAD : PLAN_HEAD + size])
            rest = rest[PLAN_HEAD + size :]
        if flags & CONTROL:
            size = int.from_bytes(rest[:CONTROL_HEAD], "big")
            if len(rest) < CONTROL_HEAD + size:
                raise RemoteProtocolError("link frame: control cut short")
            self._control += rest[CONTROL_HEAD : CONTROL_HEAD + size]
            self._look_at_control()

    def _look_at_control(self) -> None:
        control = self._control
        self.has_control = False
        if len(control) >= _FRAME.size:
            kind, size = _FRAME.unpack_from(control)
            if size > MAX_CONTROL or not kind:
                raise RemoteProtocolError(f"link frame: control of type {kind}, {size} octets")
            self.has_control = len(control) >= _FRAME.size + size

    def take_control(self) -> tuple[int, memoryview]:
        """Return the next frame of the control stream: its type and body; `has_control` says there is one."""
        kind, size = _FRAME.unpack_from(self._control)
        body = memoryview(bytes(self._control[_FRAME.size : _FRAME.size + size]))
        del self._control[: _FRAME.size + size]
        self._look_at_control()
        return kind, body

    def _go_on(self, buffer: memoryview, start: int, stop: int, receiver: RunReceiver) -> int:
        """Add to the run that is under way; return where the next one starts."""
        run = self._run
        if run is None:
            return start
        if not self._size:
            taken = min(RUN_HEADER_SIZE - self.filled, stop - start)
            run[self.filled : self.filled + taken] = buffer[start : start + taken]
            self.filled += taken
            start += taken
            if self.filled < RUN_HEADER_SIZE:
                return start
            self._size = CELL_SIZE * run_cells(run, 0)
        filled = self.filled
        taken = min(self._size - filled, stop - start)
        run[filled : filled + taken] = buffer[start : start + taken]
        self.filled = filled + taken
        if self.filled == self._size:
            receiver.run_received(run, 0, self._size // CELL_SIZE)
            self.filled = self._size = 0
        return start + taken

    def _keep(self, buffer: memoryview, start: int, stop: int) -> None:
        """Begin a run that goes on in the next record."""
        run = self._run
        if run is None:
            run = self._run = memoryview(bytearray(RUN_ROOM))
        taken = stop - start
        run[:taken] = buffer[start:stop]
        self.filled = taken
        self._size = CELL_SIZE * run_cells(run, 0) if taken >= RUN_HEADER_SIZE else 0
