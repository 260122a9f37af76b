"""The streams of one circuit at one of its ends: messages into records and back (sans-IO, hot path).

The mux is asked for one record at a time (`pull`), just before it is sent. It packs control
messages first, then octets of streams: a stream that was quiet goes before those that always have
something. Records with data are held back by the congestion window and counted for SENDME.
docs/spec/circuit.md section 6.
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.stream.congestion import CongestionParameters, Vegas
from vigilnet.traffic.stream.datagrams import DatagramFlow
from vigilnet.traffic.stream.flow_control import (
    BULK,
    CreditReceiver,
    CreditSender,
    RunLengthGovernor,
    SendmeCounter,
    SendmeLedger,
)
from vigilnet.traffic.stream.messages import (
    Connected,
    Echo,
    Resolve,
    Resolved,
    Sendme,
    Target,
    check_empty,
    decode_credit,
    decode_end,
    encode_credit,
    encode_end,
)
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import (
    AREA_AT,
    AREA_SIZES,
    COUNTED,
    MAX_STREAM_ID,
    MESSAGE_HEADER_SIZE,
    MESSAGE_MARK,
    EndReason,
    MessageType,
    encode_message,
    pack_message_header,
)

# From the specification.
MAX_STREAMS: Final = 256
CLOSED_MEMORY_S: Final = 10.0
MAX_LATE_CREDITS: Final = 4
MAX_LATE_DATAGRAMS: Final = 4096  # more than a window of small ones

# Our choice.
SENDME_INTERVAL_S: Final = 0.001  # crossings this close share one SENDME
MAX_OWED_CROSSINGS: Final = 8  # but no more than these
MAX_QUEUED_DATAGRAMS: Final = 256
MAX_CLOSED_REMEMBERED: Final = 4096
_GUESSED_ROUND_TRIP_S: Final = 0.2  # until it was measured
_CELL_AREA: Final = AREA_SIZES[1]
_CELL_BODY: Final = _CELL_AREA - MESSAGE_HEADER_SIZE

STREAM_TYPES: Final = frozenset(
    {
        MessageType.BEGIN,
        MessageType.CONNECTED,
        MessageType.DATA,
        MessageType.END,
        MessageType.FIN,
        MessageType.CREDIT,
        MessageType.RESOLVE,
        MessageType.RESOLVED,
        MessageType.DATAGRAM,
        MessageType.ECHO,
        MessageType.SENDME,
    }
)
"""Messages that the mux understands; all others belong to the circuit."""

_DATA: Final = int(MessageType.DATA)


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


class Acceptor(Protocol):
    """What an exit does with requests; a client's mux has none and treats requests as faults."""

    def begin(self, stream: Stream, target: Target) -> None:
        """A client wants to reach `target` by TCP; must not wait."""
        ...

    def resolve(self, request: Resolve, answer: Callable[[Resolved], None]) -> None:
        """A client wants a name looked up; call `answer` once."""
        ...

    def open_datagrams(self, flow: DatagramFlow, target: Target) -> None:
        """A client wants to exchange UDP datagrams."""
        ...


@dataclass(slots=True)
class _Closed:
    """What may still come for a stream, flow or look-up that was closed here; by default nothing."""

    at: float
    credit: CreditReceiver | None = None  # DATA within what was granted
    ends: int = 0
    fins: int = 0
    credits: int = 0
    connects: int = 0
    others: dict[int, int] = field(default_factory=dict)  # how many of other message types

    def take(self, kind: int) -> None:
        """Count one late message of a type in `others`."""
        left = self.others.get(kind, 0)
        if not left:
            raise RemoteProtocolError("stream: a message that may not come any more")
        self.others[kind] = left - 1


@dataclass(slots=True)
class Counters:
    """Octets of applications that crossed this circuit."""

    sent: int = 0
    received: int = 0


class StreamMux:
    """All streams, datagram flows and look-ups of one circuit at one of its ends."""

    def __init__(
        self,
        carriage: Carriage,
        options: MuxOptions,
        clock: Callable[[], float],
        *,
        acceptor: Acceptor | None,
        is_client: bool,
    ) -> None:
        now = clock()
        self._clock = clock
        self._carriage = carriage
        self._options = options
        self._acceptor = acceptor
        self._is_client = is_client
        self._control: deque[bytes] = deque()
        self._datagrams: deque[bytes] = deque()
        self._ready: deque[Stream] = deque()
        self._starved: set[Stream] = set()  # have octets, wait for credit
        self._hungry: list[Stream] = []
        self.streams: dict[int, Stream] = {}
        self.flows: dict[int, DatagramFlow] = {}
        self._lookups: dict[int, Callable[[Resolved | EndReason], None]] = {}
        self._closed: dict[int, _Closed] = {}
        self._next_id = 1
        self._now = now
        self.round_trip_s = _GUESSED_ROUND_TRIP_S
        self._is_shut = False
        self._pending_octets = 0
        self._windows = 0  # of all open streams together
        self._send_credit = CreditSender(options.circuit_credit)
        self._receive_credit = CreditReceiver(now, options.circuit_credit, options.circuit_credit)
        self.congestion = Vegas(options.congestion)
        self._ledger = SendmeLedger(options.congestion.increment)
        self._counter = SendmeCounter(options.congestion.increment)
        self._owed: Sendme | None = None
        self._owed_crossings = 0
        self._paid_at = -math.inf
        self._governor = RunLengthGovernor(now)
        self.counters = Counters()

    @property
    def can_open(self) -> bool:
        """Whether one more stream fits on this circuit."""
        return (
            not self._is_shut
            and self._next_id <= MAX_STREAM_ID
            and len(self.streams) + len(self.flows) + len(self._lookups) < MAX_STREAMS
        )

    @property
    def is_unused(self) -> bool:
        """Whether nothing was ever opened here."""
        return self._next_id == 1

    @property
    def is_idle(self) -> bool:
        """Whether nothing is open here now."""
        return not (self.streams or self.flows or self._lookups)

    def open_stream(self, target: Target, early: bytes = b"") -> Stream:
        """Send BEGIN for `target`, with `early` data right behind it."""
        stream = self._new_stream(self._take_id())
        stream.target = target
        self.streams[stream.identifier] = stream
        self._queue(MessageType.BEGIN, stream.identifier, target.encode())
        stream.write(early)
        return stream

    def open_datagrams(self, target: Target) -> DatagramFlow:
        """Send BEGIN for UDP; the flow's consumer hears whether the exit accepts."""
        flow = DatagramFlow(self, self._take_id())
        self.flows[flow.identifier] = flow
        self._queue(MessageType.BEGIN, flow.identifier, target.encode())
        return flow

    def resolve(self, request: Resolve, answer: Callable[[Resolved | EndReason], None]) -> int:
        """Have the exit look up a name; `answer` is called once, with a reason if it fails.

        Returns:
            The look-up's number, for `abandon`.
        """
        identifier = self._take_id()
        self._lookups[identifier] = answer
        self._queue(MessageType.RESOLVE, identifier, request.encode())
        return identifier

    def abandon(self, identifier: int) -> None:
        """Wait for a look-up no longer; its answer, if it is on its way, is dropped."""
        if self._lookups.pop(identifier, None) is not None:
            self._queue(MessageType.END, identifier, encode_end(EndReason.TIMEOUT))
            self._remember(identifier, _Closed(self._now, ends=1, others={MessageType.RESOLVED: 1}))

    def _take_id(self) -> int:
        if not self.can_open:
            raise LocalProtocolError("circuit: no room for one more stream")
        identifier = self._next_id
        self._next_id += 1
        return identifier

    def _new_stream(self, identifier: int) -> Stream:
        self._windows += self._options.stream_credit
        return Stream(
            self, identifier, self._clock(), self._options.stream_credit, self._options.max_stream_credit
        )

    def send_control(self, kind: MessageType, stream: int, body: bytes = b"") -> None:
        """Queue one control message for the other end of the circuit."""
        if not self._is_shut:
            self._queue(kind, stream, body)

    def _queue(self, kind: MessageType, stream: int, body: bytes = b"") -> None:
        self._control.append(encode_message(kind, stream, body))
        self._carriage.wake()

    def pull(self, now: float) -> memoryview | None:
        """Return the next record as a frame view, or None if nothing may be sent now."""
        self._now = now
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
            start = at
            if self._datagrams:
                at = _fill_messages(self._datagrams, record, at, end)
                is_counted = at != start
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

    def _owe_sendme(self, tag: bytes, now: float) -> None:
        """Acknowledge soon; what crosses meanwhile is covered by the same SENDME.

        Each one is a record that every relay handles alone: at full speed half of a relay's reads
        would hold nothing else.
        """
        self._owed = Sendme(self._counter.count, tag)
        self._owed_crossings += 1
        if self._is_sendme_due(now):
            self._carriage.wake()
        elif self._owed_crossings == 1:
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
        waiting = self._pending_octets // _CELL_BODY if may_send else 0
        if self._control and len(self._control[0]) > _CELL_AREA:
            waiting = BULK
        if may_send and self._datagrams and len(self._datagrams[0]) > _CELL_AREA:
            waiting = BULK
        cells = self._governor.choose(waiting, now)
        if cells == 1:
            if self._control and len(self._control[0]) > _CELL_AREA:
                self._carriage.wake_later(1.0)  # the change budget is used up: wait for a token
            while self._datagrams and len(self._datagrams[0]) > _CELL_AREA:
                self._datagrams.popleft()  # UDP does not wait
        return cells

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
        if stream.wants_close:
            kind, body = MessageType.END, encode_end(EndReason.DONE)
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
            self._forget(stream, EndReason.DONE)
        else:
            stream.fin_sent = True
            if stream.fin_received:
                self._forget(stream, EndReason.DONE)
        return at + size

    def _make_ready(self, stream: Stream) -> None:
        stream.is_ready = True
        self._ready.appendleft(stream)

    def _feed(self) -> None:
        """Let consumers of streams that were drained write more."""
        hungry, self._hungry = self._hungry, []
        for stream in hungry:
            stream.refill()

    def stream_ready(self, stream: Stream, octets: int) -> None:
        """A stream has something more to send; it goes before those that always have."""
        if stream in self._starved:
            return
        self._pending_octets += octets
        if stream.is_ready:
            return
        self._make_ready(stream)
        self._carriage.wake()

    def stream_consumed(self, stream: Stream, octets: int) -> None:
        """A consumer took octets: grant credit when enough were taken."""
        credit = stream.receive_credit
        before = credit.window
        spare = self._options.circuit_credit - self._windows
        granted = credit.consumed(octets, self._clock(), self.round_trip_s, spare)
        if stream.identifier in self.streams:
            self._windows += credit.window - before
        if granted and not stream.fin_received:
            self._queue(MessageType.CREDIT, stream.identifier, encode_credit(granted))

    def _take_in(self, octets: int) -> None:
        """Count octets of DATA against the circuit's credit, and give it back at once.

        Not only when they are read: a few readers that stall would hold up all others. What lies
        unread is bounded by the windows of the streams.
        """
        self._receive_credit.received(octets)
        granted = self._receive_credit.consumed(octets, self._now, self.round_trip_s)
        if granted:
            self._queue(MessageType.CREDIT, 0, encode_credit(granted))

    def stream_accepted(self, stream: Stream, address: str, ttl: int) -> None:
        """The exit reached the target: tell the client."""
        self._queue(MessageType.CONNECTED, stream.identifier, Connected(address, ttl).encode())

    def stream_closing(self, stream: Stream, reason: EndReason) -> None:
        """A consumer closes its stream: tell the other end, forget the stream."""
        self._queue(MessageType.END, stream.identifier, encode_end(reason))
        self._forget(stream, reason)

    def send_datagram(self, flow: DatagramFlow, body: bytes) -> bool:
        """Queue a datagram; False (and dropped) when too many wait."""
        if len(self._datagrams) >= MAX_QUEUED_DATAGRAMS or flow.identifier not in self.flows:
            return False
        self._datagrams.append(encode_message(MessageType.DATAGRAM, flow.identifier, body))
        self._carriage.wake()
        return True

    def flow_accepted(self, flow: DatagramFlow) -> None:
        """The exit serves this flow: tell the client."""
        self._queue(MessageType.CONNECTED, flow.identifier)

    def flow_closing(self, flow: DatagramFlow, reason: EndReason) -> None:
        """A flow's consumer closes it."""
        if self.flows.pop(flow.identifier, None) is not None:
            self._queue(MessageType.END, flow.identifier, encode_end(reason))
            closed = _Closed(self._now, ends=1, others={MessageType.DATAGRAM: MAX_LATE_DATAGRAMS})
            closed.connects = int(self._is_client and not flow.is_connected)
            self._remember(flow.identifier, closed)
            flow.on_closed(reason)

    def _forget(self, stream: Stream, reason: EndReason, *, by_peer: bool = False) -> None:
        """A stream is over; `by_peer`: the other end sent END, so nothing more may come."""
        if self.streams.pop(stream.identifier, None) is None:
            return
        if stream in self._starved:
            self._starved.discard(stream)
        else:
            self._pending_octets -= stream.pending_octets
        closed = _Closed(self._now)
        if not by_peer:
            closed.credit = None if stream.fin_received else stream.receive_credit
            closed.ends, closed.credits = 1, MAX_LATE_CREDITS
            closed.fins = int(not stream.fin_received)
            closed.connects = int(self._is_client and stream.connected_to is None)
        self._remember(stream.identifier, closed)
        self._windows -= stream.receive_credit.window
        stream.on_closed(reason)

    def _refuse(self, identifier: int, reason: EndReason, closed: _Closed) -> None:
        """Answer a BEGIN or RESOLVE by END; what the client sent right behind it may still come."""
        self._queue(MessageType.END, identifier, encode_end(reason))
        closed.ends = 1
        self._remember(identifier, closed)

    def _remember(self, identifier: int, late: _Closed) -> None:
        closed = self._closed
        while closed:
            oldest = next(iter(closed))
            if len(closed) < MAX_CLOSED_REMEMBERED and self._now - closed[oldest].at < CLOSED_MEMORY_S:
                break
            del closed[oldest]
        closed[identifier] = late

    def receive(
        self, messages: list[tuple[int, int, memoryview]], tag: bytes, cells: int, now: float
    ) -> None:
        """Take the messages of one record from the other end, all of `STREAM_TYPES`.

        Raises:
            RemoteProtocolError: the other end broke a rule; close the circuit.
        """
        self._now = now
        is_counted = False
        for kind, identifier, body in messages:
            if self._is_shut:  # a consumer closed the circuit
                return
            if kind == _DATA:
                is_counted = True
                self._on_data(identifier, body)
            else:
                is_counted = is_counted or kind in COUNTED
                self._on_message(kind, identifier, body)
        if is_counted and self._counter.received(cells):
            self._owe_sendme(tag, now)

    def _on_data(self, identifier: int, body: memoryview) -> None:
        size = len(body)
        if not size:
            raise RemoteProtocolError("stream: data of no octets")
        self._take_in(size)
        stream = self.streams.get(identifier)
        if stream is None:
            self._on_late_data(identifier, size)
            return
        stream.receive_credit.received(size)
        self.counters.received += size
        stream.on_data(body)

    def _on_late_data(self, identifier: int, size: int) -> None:
        """DATA that was on its way when the stream was closed here: dropped, within its credit."""
        closed = self._late(identifier)
        if closed.credit is None:
            raise RemoteProtocolError("stream: data where none may come")
        closed.credit.received(size)

    def _late(self, identifier: int) -> _Closed:
        closed = self._closed.get(identifier)
        if closed is None:
            raise RemoteProtocolError("stream: a message for an unknown stream")
        return closed

    def _on_message(self, kind: int, identifier: int, body: memoryview) -> None:
        handler = self._HANDLERS.get(kind)
        if handler is None:
            raise RemoteProtocolError(f"circuit: unexpected message type {kind}")
        handler(self, identifier, body)

    def _on_begin(self, identifier: int, body: memoryview) -> None:
        if self._is_client or not identifier:
            raise RemoteProtocolError("stream: unexpected begin")
        target = Target.decode(body)
        if self._is_used(identifier):
            raise RemoteProtocolError("stream: begin on a used stream")
        if self._acceptor is None or target.proto not in (6, 17) or self._is_full:
            reason = EndReason.LIMIT if self._is_full else EndReason.POLICY
            late = _Closed(self._now)
            if target.proto == 6:
                late = _Closed(self._now, CreditReceiver(self._now, self._options.stream_credit), fins=1)
                late.credits = MAX_LATE_CREDITS
            else:
                kind = MessageType.DATAGRAM if target.proto == 17 else MessageType.ECHO
                late.others[kind] = MAX_LATE_DATAGRAMS
            self._refuse(identifier, reason, late)
        elif target.proto == 17:
            flow = self.flows[identifier] = DatagramFlow(self, identifier)
            self._acceptor.open_datagrams(flow, target)
        else:
            accepted = self.streams[identifier] = self._new_stream(identifier)
            self._acceptor.begin(accepted, target)

    def _is_used(self, identifier: int) -> bool:
        return (
            identifier in self.streams
            or identifier in self.flows
            or identifier in self._lookups
            or identifier in self._closed
        )

    @property
    def _is_full(self) -> bool:
        return len(self.streams) + len(self.flows) + len(self._lookups) >= MAX_STREAMS

    def _on_connected(self, identifier: int, body: memoryview) -> None:
        if not self._is_client:
            raise RemoteProtocolError("stream: unexpected connected")
        answer = Connected.decode(body)
        stream = self.streams.get(identifier)
        if stream is not None:
            stream.on_connected(answer.address, answer.ttl)
        elif identifier in self.flows:
            self.flows[identifier].on_connected()
        else:
            closed = self._late(identifier)
            closed.connects -= 1
            if closed.connects < 0:
                raise RemoteProtocolError("stream: connected twice")

    def _on_end(self, identifier: int, body: memoryview) -> None:
        reason = decode_end(body)
        stream = self.streams.get(identifier)
        if stream is not None:
            self._forget(stream, reason, by_peer=True)
        elif identifier in self.flows:
            flow = self.flows.pop(identifier)
            self._remember(identifier, _Closed(self._now))
            flow.on_closed(reason)
        elif identifier in self._lookups:
            answer = self._lookups.pop(identifier)
            self._remember(identifier, _Closed(self._now))
            answer(reason)
        else:
            closed = self._late(identifier)
            if not closed.ends:
                raise RemoteProtocolError("stream: end twice")
            self._closed[identifier] = _Closed(closed.at)

    def _on_fin(self, identifier: int, body: memoryview) -> None:
        check_empty(body, "fin")
        stream = self.streams.get(identifier)
        if stream is None:
            closed = self._late(identifier)
            closed.fins -= 1
            closed.credit = None
            if closed.fins < 0:
                raise RemoteProtocolError("stream: fin twice")
            return
        stream.on_fin()
        if stream.fin_sent and stream.closed is None:
            self._forget(stream, EndReason.DONE)

    def _on_credit(self, identifier: int, body: memoryview) -> None:
        offset = decode_credit(body)
        if not identifier:
            self._send_credit.credited(offset)
            for starved in tuple(self._starved):
                self._feed_starved(starved)
            self._carriage.wake()
            return
        stream = self.streams.get(identifier)
        if stream is None:
            closed = self._late(identifier)
            closed.credits -= 1
            if closed.credits < 0:
                raise RemoteProtocolError("stream: too many late credits")
            return
        stream.send_credit.credited(offset)
        if stream in self._starved:
            self._feed_starved(stream)
        self._carriage.wake()

    def _feed_starved(self, stream: Stream) -> None:
        """A stream that waited for credit may be tried again."""
        self._starved.discard(stream)
        self._pending_octets += stream.pending_octets
        stream.is_ready = True
        self._ready.append(stream)

    def _on_resolve(self, identifier: int, body: memoryview) -> None:
        if self._is_client or not identifier:
            raise RemoteProtocolError("stream: unexpected resolve")
        request = Resolve.decode(body)
        if self._is_used(identifier):
            raise RemoteProtocolError("stream: resolve on a used stream")
        if self._acceptor is None or self._is_full:
            reason = EndReason.POLICY if self._acceptor is None else EndReason.LIMIT
            self._refuse(identifier, reason, _Closed(self._now))
            return
        self._lookups[identifier] = lambda _: None

        def answer(resolved: Resolved) -> None:
            if self._lookups.pop(identifier, None) is not None and not self._is_shut:
                self._queue(MessageType.RESOLVED, identifier, resolved.encode())
                self._remember(identifier, _Closed(self._now, ends=1))

        self._acceptor.resolve(request, answer)

    def _on_resolved(self, identifier: int, body: memoryview) -> None:
        if not self._is_client:
            raise RemoteProtocolError("stream: unexpected resolved")
        resolved = Resolved.decode(body)
        answer = self._lookups.pop(identifier, None)
        if answer is None:
            self._late(identifier).take(MessageType.RESOLVED)
        else:
            self._remember(identifier, _Closed(self._now))
            answer(resolved)

    def _on_datagram(self, identifier: int, body: memoryview) -> None:
        flow = self.flows.get(identifier)
        if flow is None:
            self._late(identifier).take(MessageType.DATAGRAM)
            return
        self.counters.received += len(body)
        flow.on_datagram(body)

    def _on_echo(self, identifier: int, body: memoryview) -> None:
        Echo.decode(body)
        self._late(identifier).take(MessageType.ECHO)  # no end serves ICMP: every request was refused

    def _on_sendme(self, identifier: int, body: memoryview) -> None:
        if identifier:
            raise RemoteProtocolError("sendme: on a stream")
        message = Sendme.decode(body)
        in_flight = self._ledger.in_flight
        _, rtt_ns, crossings = self._ledger.acknowledge(message.count, message.tag, self._now)
        for _ in range(crossings):
            self.congestion.acknowledged(rtt_ns, in_flight)
        if self.congestion.rtt_ns:
            self.round_trip_s = self.congestion.rtt_ns / 1e9
        if self._ready or self._datagrams:
            self._carriage.wake()

    def close(self, reason: EndReason = EndReason.CLOSING) -> None:
        """The circuit is gone: end everything on it."""
        if self._is_shut:
            return
        self._is_shut = True
        self._control.clear()
        self._datagrams.clear()
        self._ready.clear()
        self._starved.clear()
        streams, self.streams = self.streams, {}
        flows, self.flows = self.flows, {}
        lookups, self._lookups = self._lookups, {}
        for stream in streams.values():
            stream.on_closed(reason)
        for flow in flows.values():
            flow.on_closed(reason)
        for answer in lookups.values():
            answer(reason)

    _HANDLERS: ClassVar[dict[int, Callable[["StreamMux", int, memoryview], None]]] = {
        MessageType.BEGIN: _on_begin,
        MessageType.CONNECTED: _on_connected,
        MessageType.END: _on_end,
        MessageType.FIN: _on_fin,
        MessageType.CREDIT: _on_credit,
        MessageType.RESOLVE: _on_resolve,
        MessageType.RESOLVED: _on_resolved,
        MessageType.DATAGRAM: _on_datagram,
        MessageType.ECHO: _on_echo,
        MessageType.SENDME: _on_sendme,
    }


def _fill_messages(messages: deque[bytes], record: memoryview, at: int, end: int) -> int:
    """Move whole messages into a record while they fit; return where the next one would start."""
    while messages and at + len(messages[0]) <= end:
        message = messages.popleft()
        record[at : at + len(message)] = message
        at += len(message)
    return at
