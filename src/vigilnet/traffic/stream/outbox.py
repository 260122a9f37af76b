"""What one end of a circuit sends: messages and octets of streams into records (sans-IO, hot path).

The outbox is asked for one record at a time (`pull`), just before it is sent. It packs control
messages first, then datagrams, then octets of streams: a stream that was quiet goes before those
that always have something. Records with data are held back by the congestion window and counted
for SENDME. docs/spec/circuit.md section 6.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from vigilnet.traffic.stream.congestion import CongestionParameters, Vegas
from vigilnet.traffic.stream.flow_control import BULK, CreditSender, RunLengthGovernor, SendmeLedger
from vigilnet.traffic.stream.messages import Sendme, encode_end
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import (
    AREA_AT,
    AREA_SIZES,
    MAX_PARTS,
    MESSAGE_HEADER_SIZE,
    MESSAGE_MARK,
    EndReason,
    MessageType,
    encode_message,
    pack_message_header,
)

# Our choice.
SENDME_INTERVAL_S: Final = 0.001  # crossings this close share one SENDME
MAX_OWED_CROSSINGS: Final = 8  # but no more than these
MAX_QUEUED_DATAGRAMS: Final = 1024
MAX_QUEUED_DATAGRAM_OCTETS: Final = 2 * 1024 * 1024
MAX_DATAGRAMS_READ: Final = 64  # that a kernel joins into one read of a socket
TIMER_EARLY_S: Final = 0.001  # how early a timer may fire
_CELL_AREA: Final = AREA_SIZES[1]
_CELL_BODY: Final = _CELL_AREA - MESSAGE_HEADER_SIZE
_DATA: Final = int(MessageType.DATA)
_PART: Final = int(MessageType.DATAGRAM_PART)
_END: Final = int(MessageType.END)
_LEAST_PART: Final = 256  # octets: with less room a part waits for the next record


@dataclass(frozen=True)
class MuxOptions:
    """Windows of one circuit's streams."""

    stream_credit: int = 64 * 1024  # octets a stream may send before the first CREDIT
    max_stream_credit: int = 4 * 1024 * 1024  # octets, the most that a stream's window grows to
    circuit_credit: int = 8 * 1024 * 1024  # octets on their way, and that all windows may grow to together
    congestion: CongestionParameters = field(default_factory=CongestionParameters)


class Carriage(Protocol):
    """How the mux's records get onto the circuit."""

    def new_record(self, cells: int) -> memoryview:
        """Return a zeroed record; the mux fills its area at `wire.AREA_AT`."""
        ...

    def seal(self, record: memoryview, cells: int) -> tuple[memoryview, bytes]:
        """Return (frame view ready for the link, tag that the other end's SENDME repeats)."""
        ...

    def wake(self) -> None:
        """The mux has something to send: have the link pull it."""
        ...

    def wake_later(self, delay: float) -> None:
        """Have the link pull again after `delay` seconds."""
        ...

    def failed(self, error: Exception) -> None:
        """A record could not be made: a counter may be used up, so the circuit must end."""
        ...


class Pacer(Protocol):
    """Pads a circuit: says when a record may leave, and when one must."""

    next_at: float
    is_single: bool
    """Whether all records are of one cell."""

    def is_over(self, now: float) -> bool:
        """Whether there is no padding any more."""
        ...

    def may_send(self, now: float) -> bool:
        """Whether what waits may leave now."""
        ...

    def wants_padding(self, now: float) -> bool:
        """Whether a record must leave now."""
        ...

    def sent(self, now: float) -> None:
        """A record left."""
        ...


@dataclass(slots=True)
class Counters:
    """Octets of applications that crossed this circuit."""

    sent: int = 0
    received: int = 0
    padding: int = 0  # cells that we sent for nothing


class Outbox:
    """All that waits to be sent on one circuit by one of its ends.

    Args:
        carriage: takes the records.
        options: windows.
        now: monotonic seconds.
        on_ended: told when the last octets of a stream, and its end, went into a record.
    """

    def __init__(
        self, carriage: Carriage, options: MuxOptions, now: float, on_ended: Callable[[Stream], None]
    ) -> None:
        self._carriage = carriage
        self._on_ended = on_ended
        self._control: deque[bytes] = deque()
        self._datagrams: deque[bytes] = deque()
        self._datagram_octets = 0  # of what waits there
        self._parted = 0  # octets of the first one's body that have left in parts
        self._room_waiters: dict[int, Callable[[], None]] = {}  # by flow: told when half of them have left
        self._ready: deque[Stream] = deque()
        self._starved: set[Stream] = set()  # have octets, wait for credit
        self._hungry: list[Stream] = []
        self._pending_octets = 0  # of the streams that are ready
        self._send_credit = CreditSender(options.circuit_credit)
        self.congestion = Vegas(options.congestion)
        self._ledger = SendmeLedger(options.congestion.increment)
        self._owed: Sendme | None = None
        self._owed_crossings = 0
        self._paid_at = -math.inf
        self._governor = RunLengthGovernor(now)
        self.counters = Counters()
        self._pacer: Pacer | None = None
        self._pacer_wakes_at = -math.inf

    def pace(self, pacer: Pacer | None, now: float) -> None:
        """Let `pacer` say when records leave; None: whenever there is something."""
        self._pacer = pacer
        self._pacer_wakes_at = now
        self._carriage.wake()

    def queue(self, kind: MessageType, stream: int, body: bytes = b"") -> None:
        """Queue one control message."""
        self._control.append(encode_message(kind, stream, body))
        self._carriage.wake()

    def queue_datagram(self, stream: int, body: bytes, kind: MessageType = MessageType.DATAGRAM) -> bool:
        """Queue a datagram or an echo; False (and dropped) when too many wait."""
        return self.queue_datagrams(stream, b"", (body,), kind) == 1

    def queue_datagrams(
        self, stream: int, prefix: bytes, payloads: Sequence[bytes], kind: MessageType = MessageType.DATAGRAM
    ) -> int:
        """Queue datagrams of one address, `prefix`; return how many of them, the first, found room."""
        waiting, octets, count = self._datagrams, self._datagram_octets, 0
        for payload in payloads:
            if len(waiting) >= MAX_QUEUED_DATAGRAMS or octets > MAX_QUEUED_DATAGRAM_OCTETS:
                break
            message = encode_message(kind, stream, prefix + payload, MAX_PARTS)
            waiting.append(message)
            octets += len(message)
            count += 1
        self._datagram_octets = octets
        if count:
            self._carriage.wake()
        return count

    @property
    def has_room(self) -> bool:
        """Whether all that one read of a socket gives at most would be queued."""
        return (
            len(self._datagrams) <= MAX_QUEUED_DATAGRAMS - MAX_DATAGRAMS_READ
            and self._datagram_octets <= MAX_QUEUED_DATAGRAM_OCTETS - MAX_PARTS
        )

    def call_at_room(self, stream: int, told: Callable[[], None]) -> None:
        """Call once when half of the queue is free; `told` must not wait, and may find the flow closed."""
        self._room_waiters[stream] = told

    def queue_flow_end(self, stream: int, reason: EndReason) -> None:
        """Queue the END of a flow behind its last words, the datagrams that still wait."""
        message = encode_message(MessageType.END, stream, encode_end(reason))
        if self._datagrams:
            self._datagrams.append(message)
            self._datagram_octets += len(message)
        else:
            self._control.append(message)
        self._carriage.wake()

    def stream_ready(self, stream: Stream, octets: int) -> None:
        """A stream has something more to send; it goes before those that always have."""
        if stream in self._starved:
            return
        self._pending_octets += octets
        if stream.is_ready:
            return
        self._make_ready(stream)
        self._carriage.wake()

    def drop_stream(self, stream: Stream) -> None:
        """A stream is over: forget what it still has."""
        if stream in self._starved:
            self._starved.discard(stream)
        else:
            self._pending_octets -= stream.pending_octets

    def circuit_credited(self, offset: int) -> None:
        """CREDIT came for the circuit: streams that waited for it may be tried again."""
        self._send_credit.credited(offset)
        for starved in tuple(self._starved):
            self._retry(starved)
        self._carriage.wake()

    def stream_credited(self, stream: Stream, offset: int) -> None:
        """CREDIT came for a stream."""
        stream.send_credit.credited(offset)
        if stream in self._starved:
            self._retry(stream)
        self._carriage.wake()

    def acknowledged(self, message: Sendme, now: float) -> None:
        """SENDME came: the window opens, and may change.

        Raises:
            RemoteProtocolError: it acknowledges what the other end cannot have received.
        """
        in_flight = self._ledger.in_flight
        _, rtt_ns, crossings = self._ledger.acknowledge(message.count, message.tag, now)
        for _ in range(crossings):
            self.congestion.acknowledged(rtt_ns, in_flight)
        if self._ready or self._datagrams:
            self._carriage.wake()

    def owe_sendme(self, count: int, tag: bytes, now: float) -> None:
        """Acknowledge soon; what crosses meanwhile is covered by the same SENDME.

        Each one is a record that every relay handles alone: at full speed half of a relay's reads
        would hold nothing else.
        """
        self._owed = Sendme(count, tag)
        self._owed_crossings += 1
        if self._is_sendme_due(now):
            self._carriage.wake()
        elif self._owed_crossings == 1:
            self._carriage.wake_later(SENDME_INTERVAL_S)

    def pull(self, now: float) -> memoryview | None:
        """Return the next record as a frame view, or None if nothing may be sent now."""
        frame = self._pull(now) if self._pacer is None else self._pull_paced(self._pacer, now)
        if self._room_waiters:
            self._tell_of_room()
        return frame

    def _pull_paced(self, pacer: Pacer, now: float) -> memoryview | None:
        if pacer.is_over(now):
            self._pacer = None
            return self._pull(now)
        frame = self._pull(now) if pacer.may_send(now) else None
        if frame is None and pacer.wants_padding(now):
            frame = self._padding(now)
        if frame is not None:
            pacer.sent(now)
        if now >= self._pacer_wakes_at - TIMER_EARLY_S or pacer.next_at < self._pacer_wakes_at:
            self._pacer_wakes_at = pacer.next_at
            self._carriage.wake_later(max(0.0, pacer.next_at - now))
        return frame

    def _padding(self, now: float) -> memoryview:
        """Return a record that holds nothing."""
        cells = self._governor.choose(0, now)
        record = self._carriage.new_record(cells)
        record[AREA_AT : AREA_AT + MESSAGE_HEADER_SIZE] = encode_message(MessageType.PADDING, 0, b"")
        self.counters.padding += cells
        return self._carriage.seal(record, cells)[0]

    def _pull(self, now: float) -> memoryview | None:
        control = self._control
        may_send = bool(self._ready or self._datagrams) and self._has_window()
        if self._owed is not None and (control or may_send or self._is_sendme_due(now)):
            self._pay_sendme(now)
        if not control and not may_send:
            self._note_idle(now)
            return None
        cells = self._choose_cells(may_send, now)
        record = self._carriage.new_record(cells)
        at = AREA_AT
        end = at + AREA_SIZES[cells]
        if control:
            at = _fill_messages(control, record, at, end)
        is_counted = False
        if may_send:
            if self._datagrams:
                at, is_counted = self._fill_datagrams(record, at, end)
            if self._ready:
                sent = self.counters.sent
                at = self._fill_streams(record, at, end)
                is_counted = is_counted or self.counters.sent != sent
        if at == AREA_AT:  # streams were ready but without credit, or a message waits for a longer run
            return None
        frame, tag = self._carriage.seal(record, cells)
        if is_counted and self._ledger.sent(cells):
            self._ledger.crossed(tag, now)
        if self._hungry:
            self._feed()
        return frame

    def _note_idle(self, now: float) -> None:
        """Nothing may be sent: tell the governor if that is for lack of octets."""
        if not self._ready and not self._datagrams:
            self._governor.emptied(now)
        if self._owed is not None:  # a timer may fire early (uvloop's tick is 1 ms): never leave it unpaid
            self._carriage.wake_later(SENDME_INTERVAL_S)

    def _is_sendme_due(self, now: float) -> bool:
        # Half of the interval is enough: a timer that fires a little early must not leave it unpaid.
        return now - self._paid_at >= SENDME_INTERVAL_S / 2 or self._owed_crossings >= MAX_OWED_CROSSINGS

    def _pay_sendme(self, now: float) -> None:
        if self._owed is not None:
            self._control.append(encode_message(MessageType.SENDME, 0, self._owed.encode()))
        self._owed = None
        self._owed_crossings = 0
        self._paid_at = now

    def _has_window(self) -> bool:
        """Whether the congestion window lets one more record with data go."""
        in_flight = self._ledger.in_flight
        return in_flight < self.congestion.window

    def _choose_cells(self, may_send: bool, now: float) -> int:
        waiting = (self._pending_octets + self._datagram_octets) // _CELL_BODY if may_send else 0
        if self._pacer is not None and self._pacer.is_single:
            waiting = 0
        if self._control and len(self._control[0]) > _CELL_AREA:
            waiting = BULK
        cells = self._governor.choose(waiting, now)
        if cells == 1 and self._control and len(self._control[0]) > _CELL_AREA:
            self._carriage.wake_later(1.0)  # the change budget is used up: wait for a token
        return cells

    def _fill_datagrams(self, record: memoryview, at: int, end: int) -> tuple[int, bool]:
        """Move datagrams into a record while they fit, and of one that fits no cell what fits.

        Returns:
            Where the next message would start, and whether the record counts: the END of a flow, which
            waits among them, may be all there is, and counts for nothing.
        """
        waiting = self._datagrams
        is_counted = False
        while waiting:
            message = waiting[0]
            parted = self._parted
            size = len(message) - parted
            if size <= end - at:
                waiting.popleft()
                self._datagram_octets -= len(message)
                record[at : at + size] = message if not parted else _rest_of(message, parted)
                self._parted = 0
                is_counted = is_counted or message[0] != _END
                at += size
                continue
            octets = end - at - MESSAGE_HEADER_SIZE
            if octets >= _LEAST_PART and len(message) > _CELL_AREA:
                stream = int.from_bytes(message[2:4], "big")
                pack_message_header(record, at, _PART, stream, octets, MESSAGE_MARK)
                start = MESSAGE_HEADER_SIZE + parted
                record[at + MESSAGE_HEADER_SIZE : end] = message[start : start + octets]
                self._parted += octets
                return end, True
            break
        return at, is_counted

    def _tell_of_room(self) -> None:
        if (
            len(self._datagrams) <= MAX_QUEUED_DATAGRAMS // 2
            and self._datagram_octets <= MAX_QUEUED_DATAGRAM_OCTETS // 2
        ):
            waiters, self._room_waiters = self._room_waiters, {}
            for told in waiters.values():
                told()

    def _fill_streams(self, record: memoryview, at: int, end: int) -> int:
        """Fill the record with octets of streams, one message each, and with ends that are due."""
        ready = self._ready
        circuit = self._send_credit
        while ready and end - at > MESSAGE_HEADER_SIZE:
            stream = ready.popleft()
            stream.is_ready = False
            if stream.closed is not None:
                continue
            if stream.pending_octets:
                credit = stream.send_credit
                room = min(end - at - MESSAGE_HEADER_SIZE, credit.room, circuit.room)
                if room <= 0:
                    self._starved.add(stream)
                    self._pending_octets -= stream.pending_octets
                    continue
                taken = stream.take(record, at + MESSAGE_HEADER_SIZE, room)
                pack_message_header(record, at, _DATA, stream.identifier, taken, MESSAGE_MARK)
                at += MESSAGE_HEADER_SIZE + taken
                credit.sent(taken)
                circuit.sent(taken)
                self._pending_octets -= taken
                self.counters.sent += taken
                self._hungry.append(stream)
                if stream.pending_octets:
                    ready.append(stream)
                    stream.is_ready = True
                    continue
            at = self._fill_end(stream, record, at, end)
        return at

    def _fill_end(self, stream: Stream, record: memoryview, at: int, end: int) -> int:
        """FIN or END behind the last octets of a stream, in the same record if it fits."""
        if (reason := stream.wants_close) is not None:
            kind, body = MessageType.END, encode_end(reason)
        elif stream.fin_queued and not stream.fin_sent:
            kind, body = MessageType.FIN, b""
        else:
            return at
        size = MESSAGE_HEADER_SIZE + len(body)
        if end - at < size:
            self._make_ready(stream)
            return at
        record[at : at + size] = encode_message(kind, stream.identifier, body)
        if kind is MessageType.END:
            self._on_ended(stream)
        else:
            stream.fin_sent = True
            if stream.fin_received:
                self._on_ended(stream)
        return at + size

    def _make_ready(self, stream: Stream) -> None:
        stream.is_ready = True
        self._ready.appendleft(stream)

    def _feed(self) -> None:
        """Let consumers of streams that were drained write more."""
        hungry, self._hungry = self._hungry, []
        for stream in hungry:
            stream.refill()

    def _retry(self, stream: Stream) -> None:
        """A stream that waited for credit may be tried again."""
        self._starved.discard(stream)
        self._pending_octets += stream.pending_octets
        stream.is_ready = True
        self._ready.append(stream)

    def close(self) -> None:
        """The circuit is gone: forget everything."""
        self._control.clear()
        self._datagrams.clear()
        self._datagram_octets = self._parted = 0
        self._room_waiters.clear()
        self._ready.clear()
        self._starved.clear()


def _fill_messages(messages: deque[bytes], record: memoryview, at: int, end: int) -> int:
    """Move whole messages into a record while they fit; return where the next one would start."""
    while messages and at + len(messages[0]) <= end:
        message = messages.popleft()
        record[at : at + len(message)] = message
        at += len(message)
    return at


def _rest_of(message: bytes, parted: int) -> bytes:
    """Return a message without the octets of its body that went before it."""
    stream = int.from_bytes(message[2:4], "big")
    return encode_message(message[0], stream, message[MESSAGE_HEADER_SIZE + parted :])
