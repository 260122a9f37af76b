"""A pipe: one program's octets over a link's handshake and frames, without cells (docs/spec/pluggable.md 5).

    PIPE_DATA    u16 n ‖ n octets ‖ padding, n at least 1
    PIPE_CREDIT  u32 n: the other end may send n octets more
    PIPE_PART    u8 flags ‖ what they say, in this order ‖ padding: both of these, in records of any length
                 4 u32 credit, 2 u16 m ‖ m octets of a plan for the carrier's shaper, 16 u16 n ‖ n octets;
                 1 the record is beside the sender's plan, 8 more waits

For `vigilnet pt`, where another program's octets travel and no circuits. The prologue's network is
`NETWORK`: a pipe's handshake fails at a link, and the other way round.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.link.framing import FrameOpener, FrameSealer, FrameType, KeyLimits
from vigilnet.traffic.link.handshake import Initiator, Responder
from vigilnet.traffic.link.parts import MAX_PLAN
from vigilnet.traffic.link.wire import decode_packet

NETWORK: Final = "/pipe"
WINDOW: Final = 1 << 20  # octets that an end may send before it hears of credit
MAX_DATA: Final = 16_000  # in one frame
EXTRA, PLAN, CREDIT, MORE, DATA = 1, 2, 4, 8, 16
PART_COST: Final = 18  # of a record's length: type, flags and tag
DATA_COST: Final = 2
PLAN_COST: Final = 2
CREDIT_COST: Final = 4
_MAX_CREDIT: Final = 1 << 31


class PipeState(Enum):
    """How far a pipe is."""

    HANDSHAKE = "handshake"
    OPEN = "open"
    CLOSED = "closed"


@dataclass
class Arrived:
    """What came that is the carrier's shaper's business; who tells it takes it away."""

    planned: int = 0  # records
    extra: int = 0  # length of the last one beside the plan
    more: bool = False  # whether the other end has more to send
    plan: bytearray = field(default_factory=bytearray)


class _NoRuns:
    """Refuses cells."""

    def run_received(self, buffer: memoryview, at: int, cells: int) -> None:
        raise RemoteProtocolError("pipe: cells")

    def link_closed(self) -> None:
        pass


class Pipe:
    """One end of a pipe.

    Args:
        handshake: our side of it, not started, made for `NETWORK`.
        has_tls_records: the frame header's shape on this carrier.
    """

    def __init__(self, handshake: Initiator | Responder, *, has_tls_records: bool) -> None:
        self._handshake: Initiator | Responder | None = handshake
        self._has_tls_records = has_tls_records
        self._sealer: FrameSealer | None = None
        self._opener: FrameOpener | None = None
        self._runs = _NoRuns()
        self._pending = bytearray()
        self._received: list[bytes] = []
        self._out: list[bytes | memoryview] = [packet] if (packet := handshake.start()) else []
        self._may_receive = WINDOW
        self._taken = 0
        self._waiting = bytearray()  # for records that a shaper chooses
        self.is_shaped = False  # whether one does: then `cut` sends
        self.arrived = Arrived()
        self.credit = 0  # octets that `send` takes now
        self.state = PipeState.HANDSHAKE

    def data_to_send(self) -> list[bytes | memoryview]:
        """Return what goes to the carrier now, one part for each packet or frame."""
        out, self._out = self._out, []
        return out

    def receive(self, data: bytes | memoryview, now: float) -> list[bytes]:
        """Take octets of the carrier; return the program's.

        Raises:
            RemoteProtocolError: the other end broke the rules; close the carrier.
        """
        if self.state is PipeState.CLOSED:
            return []
        self._pending += data
        try:
            if self.state is PipeState.HANDSHAKE:
                self._take_packets(now)
            if self._opener is not None:
                self._open_frames(self._opener)
        except RemoteProtocolError:
            self.state = PipeState.CLOSED
            raise
        received, self._received = self._received, []
        return received

    def _take_packets(self, now: float) -> None:
        while self._handshake is not None:
            packet = decode_packet(bytes(self._pending))
            if packet is None:
                return
            kind, body, end = packet
            del self._pending[:end]
            handshake = self._handshake
            if answer := handshake.packet_received(kind, body, now):
                self._out.append(answer)
            while handshake.is_solving:
                if answer := handshake.solve():
                    self._out.append(answer)
            if handshake.result is not None:
                self._open(handshake, now)

    def _open(self, handshake: Initiator | Responder, now: float) -> None:
        result = handshake.result
        if result is None:
            raise LocalProtocolError("pipe: opened without a result")
        self._handshake = None
        keys = (result.keys.initiator_to_responder, result.keys.responder_to_initiator)
        sending, receiving = keys if result.is_initiator else keys[::-1]
        tls, limits = self._has_tls_records, KeyLimits()
        self._sealer = FrameSealer(result.suite, sending, has_tls_records=tls, limits=limits, now=now)
        self._opener = FrameOpener(result.suite, receiving, has_tls_records=tls, limits=limits)
        self.credit = WINDOW
        self.state = PipeState.OPEN

    def _open_frames(self, opener: FrameOpener) -> None:
        buffer = bytearray(self._pending)
        view = memoryview(buffer)
        end = opener.open_frames(view, 0, len(buffer), self._runs, self._frame_received)
        del self._pending[:end]

    def _frame_received(self, kind: int, body: memoryview) -> None:
        if kind == FrameType.PIPE_DATA:
            self._take_data(body)
        elif kind == FrameType.PIPE_CREDIT:
            self._take_credit(body)
        elif kind == FrameType.PIPE_PART:
            self._take_part(body)
        elif kind != FrameType.PADDING:
            raise RemoteProtocolError(f"pipe: frame of type {kind}")

    def _take_data(self, body: memoryview) -> None:
        size = int.from_bytes(body[:2])
        if not 0 < size <= len(body) - 2:
            raise RemoteProtocolError(f"pipe data: {size} octets in a body of {len(body)}")
        self._may_receive -= size
        if self._may_receive < 0:
            raise RemoteProtocolError("pipe data: more than our window")
        self._received.append(bytes(body[2 : 2 + size]))

    def _take_credit(self, body: memoryview) -> None:
        self.credit += int.from_bytes(body)
        if len(body) != CREDIT_COST or self.credit > _MAX_CREDIT:
            raise RemoteProtocolError("pipe credit: not of its form, or too much")

    def _take_part(self, body: memoryview) -> None:
        if not body:
            raise RemoteProtocolError("pipe part: empty")
        flags, rest, arrived = body[0], body[1:], self.arrived
        if flags & CREDIT:
            self._take_credit(rest[:CREDIT_COST])
            rest = rest[CREDIT_COST:]
        if flags & PLAN:
            size = int.from_bytes(rest[:PLAN_COST])
            if not 0 < size <= len(rest) - PLAN_COST or len(arrived.plan) + size > MAX_PLAN:
                raise RemoteProtocolError(f"pipe part: a plan of {size} octets")
            arrived.plan += rest[PLAN_COST : PLAN_COST + size]
            rest = rest[PLAN_COST + size :]
        if flags & DATA:
            self._take_data(rest)
        arrived.more = bool(flags & MORE)
        if flags & EXTRA:
            arrived.extra = PART_COST - 1 + len(body)
        else:
            arrived.planned += 1

    @property
    def room(self) -> int:
        """Octets that `send` should be given now: never more than a window waits here, whatever credit."""
        return min(self.credit, WINDOW - len(self._waiting))

    @property
    def waiting(self) -> int:
        """Octets that wait for `cut`."""
        return len(self._waiting) + (CREDIT_COST if self._owes_credit else 0)

    @property
    def _owes_credit(self) -> bool:
        return 2 * self._taken >= WINDOW

    def cut(self, length: int, plan: bytes, now: float, *, is_extra: bool) -> list[memoryview]:
        """Return a record of this length with what waits, as much as fits, behind `plan`.

        Raises:
            LocalProtocolError: not open, or too short for the plan.
        """
        room = length - PART_COST - (PLAN_COST + len(plan) if plan else 0)
        if self._sealer is None or room < 0:
            raise LocalProtocolError(f"pipe: a record of {length} octets")
        flags, parts = (EXTRA if is_extra else 0), []
        if self._owes_credit and room >= CREDIT_COST:
            flags |= CREDIT
            self._may_receive += self._taken
            parts.append(self._taken.to_bytes(CREDIT_COST))
            self._taken = 0
            room -= CREDIT_COST
        if plan:
            flags |= PLAN
            parts.append(len(plan).to_bytes(PLAN_COST) + plan)
        if self._waiting and room > DATA_COST:
            flags |= DATA
            piece = bytes(self._waiting[: room - DATA_COST])
            del self._waiting[: len(piece)]
            parts.append(len(piece).to_bytes(DATA_COST) + piece)
            room -= DATA_COST + len(piece)
        flags |= MORE if self._waiting else 0
        return self._sealer.seal(FrameType.PIPE_PART, bytes((flags,)) + b"".join(parts) + bytes(room), now)

    def send(self, data: bytes, now: float) -> None:
        """Send the program's octets, at most `credit` of them.

        Raises:
            LocalProtocolError: not open, or more than `credit`.
        """
        if self._sealer is None or len(data) > self.credit:
            raise LocalProtocolError(f"pipe: {len(data)} octets to send, {self.credit} allowed")
        self.credit -= len(data)
        if self.is_shaped:
            self._waiting += data
            return
        for at in range(0, len(data), MAX_DATA):
            piece = data[at : at + MAX_DATA]
            self._out += self._sealer.seal(FrameType.PIPE_DATA, len(piece).to_bytes(2) + piece, now)

    def taken(self, count: int, now: float) -> None:
        """Say that the program took so many octets: the other end may send as many more."""
        self._taken += count
        if self._sealer is not None and self._owes_credit and not self.is_shaped:
            self._may_receive += self._taken
            self._out += self._sealer.seal(FrameType.PIPE_CREDIT, self._taken.to_bytes(4), now)
            self._taken = 0
