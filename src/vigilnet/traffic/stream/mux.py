"""The streams of one circuit at one of its ends: opening, taking in, ending (sans-IO, hot path).

What is sent is the outbox's; what comes is handed to streams here, and on to the circuit's flows
(`flows`) and look-ups (`lookups`). Whatever the rules do not allow closes the circuit.
docs/spec/circuit.md section 6.
"""

from collections.abc import Callable
from typing import Final, Protocol

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.stream.congestion import Vegas
from vigilnet.traffic.stream.datagrams import DatagramFlow, EchoFlow
from vigilnet.traffic.stream.flow_control import CreditReceiver, SendmeCounter
from vigilnet.traffic.stream.flows import Flows, late_of
from vigilnet.traffic.stream.late import MAX_LATE_CREDITS, ClosedStreams, LateMessages
from vigilnet.traffic.stream.lookups import Lookups
from vigilnet.traffic.stream.memory import StreamMemory
from vigilnet.traffic.stream.messages import (
    Connected,
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
from vigilnet.traffic.stream.outbox import Carriage, Counters, MuxOptions, Outbox
from vigilnet.traffic.stream.stream import Stream
from vigilnet.traffic.stream.wire import (
    COUNTED,
    MAX_STREAM_ID,
    EndReason,
    MessageType,
)

# From the specification.
MAX_STREAMS: Final = 256

# Our choice.
_GUESSED_ROUND_TRIP_S: Final = 0.2  # until it was measured

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
        MessageType.DATAGRAM_PART,
        MessageType.SENDME,
        MessageType.BEGIN_DIRECTORY,
    }
)
"""Messages that the mux understands; all others belong to the circuit."""

_DATA: Final = int(MessageType.DATA)


class Acceptor(Protocol):
    """What an exit does with requests; a client's mux has none and treats requests as faults."""

    def begin(self, stream: Stream, target: Target) -> None:
        """A client wants to reach `target` by TCP; must not wait."""
        ...

    def resolve(self, request: Resolve, answer: Callable[[Resolved], None]) -> None:
        """A client wants a name looked up; call `answer` once."""
        ...

    def open_datagrams(self, flow: DatagramFlow, target: Target) -> None:
        """A client wants to exchange UDP datagrams, with one end or (unconnected) with many."""
        ...

    def open_echo(self, flow: EchoFlow, target: Target) -> None:
        """A client wants to send ICMP echoes to one host."""
        ...


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
        memory: StreamMemory | None = None,
        directory: Callable[[Stream], None] | None = None,
    ) -> None:
        now = clock()
        self._clock = clock
        self._carriage = carriage
        self._options = options
        self._acceptor = acceptor
        self._directory = directory  # serves streams that ask for peer records; must not wait
        self._is_client = is_client
        self.outbox = Outbox(carriage, options, now, self._sent_to_the_end)
        self.streams: dict[int, Stream] = {}
        self._closed = ClosedStreams()
        self.flows = Flows(self.outbox, self._closed, clock, is_client=is_client)
        self._lookups = Lookups(self.outbox, self._closed, clock)
        self._next_id = 1
        self._now = now
        self.round_trip_s = _GUESSED_ROUND_TRIP_S
        self._is_shut = False
        self._windows = 0  # of all open streams together
        self._memory = memory or StreamMemory()
        self._receive_credit = CreditReceiver(now, options.circuit_credit, options.circuit_credit)
        self._counter = SendmeCounter(options.congestion.increment)
        self._handlers: dict[int, Callable[[int, memoryview], None]] = {
            MessageType.BEGIN: self._on_begin,
            MessageType.CONNECTED: self._on_connected,
            MessageType.END: self._on_end,
            MessageType.FIN: self._on_fin,
            MessageType.CREDIT: self._on_credit,
            MessageType.RESOLVE: self._on_resolve,
            MessageType.RESOLVED: self._on_resolved,
            MessageType.DATAGRAM: self.flows.on_datagram,
            MessageType.ECHO: self.flows.on_echo,
            MessageType.DATAGRAM_PART: self.flows.on_part,
            MessageType.SENDME: self._on_sendme,
            MessageType.BEGIN_DIRECTORY: self._on_begin_directory,
        }

    @property
    def congestion(self) -> Vegas:
        """The window of what we send."""
        return self.outbox.congestion

    @property
    def counters(self) -> Counters:
        """What crossed this circuit."""
        return self.outbox.counters

    def _sent_to_the_end(self, stream: Stream) -> None:
        self._forget(stream, stream.wants_close or EndReason.DONE)

    @property
    def can_open(self) -> bool:
        """Whether one more stream fits on this circuit."""
        return not self._is_shut and self._next_id <= MAX_STREAM_ID and not self._is_full

    @property
    def is_unused(self) -> bool:
        """Whether nothing was ever opened here."""
        return self._next_id == 1

    @property
    def is_idle(self) -> bool:
        """Whether nothing is open here now."""
        return not (self.streams or self.flows.open or self._lookups.open)

    def open_stream(self, target: Target, early: bytes = b"") -> Stream:
        """Send BEGIN for `target`, with `early` data right behind it."""
        stream = self._new_stream(self._take_id())
        stream.target = target
        self.streams[stream.identifier] = stream
        self.outbox.queue(MessageType.BEGIN, stream.identifier, target.encode())
        stream.write(early)
        return stream

    def open_directory(self) -> Stream:
        """Open a stream to the last hop itself, which gives peer records (discovery.md section 6)."""
        stream = self._new_stream(self._take_id())
        self.streams[stream.identifier] = stream
        self.outbox.queue(MessageType.BEGIN_DIRECTORY, stream.identifier)
        return stream

    def open_datagrams(self, target: Target) -> DatagramFlow:
        """Send BEGIN for UDP; the flow's consumer hears whether the exit accepts."""
        flow = DatagramFlow(self.flows, self._take_id(), target)
        self.flows.begin(flow)
        return flow

    def open_echo(self, target: Target) -> EchoFlow:
        """Send BEGIN for ICMP echoes; as `open_datagrams`."""
        flow = EchoFlow(self.flows, self._take_id(), target)
        self.flows.begin(flow)
        return flow

    def resolve(self, request: Resolve, answer: Callable[[Resolved | EndReason], None]) -> int:
        """Have the exit look up a name; `answer` is called once, with a reason if it fails.

        Returns:
            The look-up's number, for `abandon`.
        """
        identifier = self._take_id()
        self._lookups.ask(identifier, request, answer)
        return identifier

    def abandon(self, identifier: int) -> None:
        """Wait for a look-up no longer; its answer, if it is on its way, is dropped."""
        self._lookups.abandon(identifier, encode_end(EndReason.TIMEOUT))

    def _take_id(self) -> int:
        if not self.can_open:
            raise LocalProtocolError("circuit: no room for one more stream")
        identifier = self._next_id
        self._next_id += 1
        return identifier

    def _new_stream(self, identifier: int) -> Stream:
        options = self._options
        self._add_windows(options.stream_credit)
        return Stream(
            self, identifier, self._clock(), options.stream_credit, options.max_stream_credit, self._memory
        )

    def _add_windows(self, octets: int) -> None:
        self._windows += octets
        self._memory.windows += octets

    def pull(self, now: float) -> memoryview | None:
        """Return the next record as a frame view, or None if nothing may be sent now."""
        self._now = now
        try:
            return self.outbox.pull(now)
        except Exception as error:  # noqa: BLE001 our bug, or a consumer's: it costs the circuit, not its link
            self._carriage.failed(error)
            return None

    def stream_ready(self, stream: Stream, octets: int) -> None:
        """A stream has something more to send."""
        self.outbox.stream_ready(stream, octets)

    def send_control(self, kind: MessageType, stream: int, body: bytes = b"") -> None:
        """Queue one control message for the other end of the circuit."""
        if not self._is_shut:
            self.outbox.queue(kind, stream, body)

    def stream_consumed(self, stream: Stream, octets: int) -> None:
        """A consumer took octets: grant credit when enough were taken."""
        credit = stream.receive_credit
        before = credit.window
        spare = min(self._options.circuit_credit - self._windows, self._memory.spare_windows())
        granted = credit.consumed(octets, self._clock(), self.round_trip_s, spare)
        if stream.identifier in self.streams:
            self._add_windows(credit.window - before)
        if granted and not stream.fin_received:
            self.outbox.queue(MessageType.CREDIT, stream.identifier, encode_credit(granted))

    def _take_in(self, octets: int) -> None:
        """Count octets of DATA against the circuit's credit, and give it back at once.

        Not only when they are read: a few readers that stall would hold up all others. What lies
        unread is bounded by the windows of the streams.
        """
        self._receive_credit.received(octets)
        granted = self._receive_credit.consumed(octets, self._now, self.round_trip_s)
        if granted:
            self.outbox.queue(MessageType.CREDIT, 0, encode_credit(granted))

    def stream_accepted(self, stream: Stream, address: str, ttl: int) -> None:
        """The exit reached the target: tell the client."""
        self.outbox.queue(MessageType.CONNECTED, stream.identifier, Connected(address, ttl).encode())

    def stream_closing(self, stream: Stream, reason: EndReason) -> None:
        """A consumer closes its stream: tell the other end, forget the stream."""
        self.outbox.queue(MessageType.END, stream.identifier, encode_end(reason))
        self._forget(stream, reason)

    def _forget(self, stream: Stream, reason: EndReason, *, by_peer: bool = False) -> None:
        """A stream is over; `by_peer`: the other end sent END, so nothing more may come."""
        if self.streams.pop(stream.identifier, None) is None:
            return
        self.outbox.drop_stream(stream)
        closed = LateMessages(self._clock())
        if not by_peer:
            closed.credit = None if stream.fin_received else stream.receive_credit
            closed.ends, closed.credits = 1, MAX_LATE_CREDITS
            closed.fins = int(not stream.fin_received)
            closed.connects = int(self._is_client and stream.connected_to is None)
        self._closed.remember(stream.identifier, closed)
        self._add_windows(-stream.receive_credit.window)
        stream.on_closed(reason)

    def _refuse(self, identifier: int, reason: EndReason, closed: LateMessages) -> None:
        """Answer a BEGIN or RESOLVE by END; what the client sent right behind it may still come."""
        self.outbox.queue(MessageType.END, identifier, encode_end(reason))
        closed.ends = 1
        self._closed.remember(identifier, closed)

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
            self.outbox.owe_sendme(self._counter.count, tag, now)

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
        closed = self._closed.late(identifier)
        if closed.credit is None:
            raise RemoteProtocolError("stream: data where none may come")
        closed.credit.received(size)

    def _on_message(self, kind: int, identifier: int, body: memoryview) -> None:
        handler = self._handlers.get(kind)
        if handler is None:
            raise RemoteProtocolError(f"circuit: unexpected message type {kind}")
        handler(identifier, body)

    def _on_begin(self, identifier: int, body: memoryview) -> None:
        if self._is_client or not identifier:
            raise RemoteProtocolError("stream: unexpected begin")
        target = Target.decode(body)
        if self._is_used(identifier):
            raise RemoteProtocolError("stream: begin on a used stream")
        if self._acceptor is None or self._is_full:
            reason = EndReason.LIMIT if self._is_full else EndReason.POLICY
            late = LateMessages(self._clock())
            if target.proto == 6:
                late = self._late_stream()
            else:
                kind = MessageType.DATAGRAM if target.proto == 17 else MessageType.ECHO
                late.others = late_of(kind)
            self._refuse(identifier, reason, late)
        elif target.proto == 17:
            flow = self.flows.open[identifier] = DatagramFlow(self.flows, identifier, target)
            self._acceptor.open_datagrams(flow, target)
        elif target.proto == 1:
            echoes = self.flows.open[identifier] = EchoFlow(self.flows, identifier, target)
            self._acceptor.open_echo(echoes, target)
        else:
            accepted = self.streams[identifier] = self._new_stream(identifier)
            self._acceptor.begin(accepted, target)

    def _late_stream(self) -> LateMessages:
        """What may still come for a stream that was refused."""
        late = LateMessages(self._clock(), CreditReceiver(self._now, self._options.stream_credit), fins=1)
        late.credits = MAX_LATE_CREDITS
        return late

    def _on_begin_directory(self, identifier: int, body: memoryview) -> None:
        check_empty(body, "begin directory")
        if self._is_client or not identifier or self._is_used(identifier):
            raise RemoteProtocolError("stream: unexpected begin directory, or on a used stream")
        if self._directory is None or self._is_full:
            reason = EndReason.LIMIT if self._is_full else EndReason.POLICY
            self._refuse(identifier, reason, self._late_stream())
            return
        accepted = self.streams[identifier] = self._new_stream(identifier)
        self._directory(accepted)

    def _is_used(self, identifier: int) -> bool:
        return (
            identifier in self.streams
            or identifier in self.flows.open
            or identifier in self._lookups.open
            or identifier in self._closed
        )

    @property
    def _is_full(self) -> bool:
        return len(self.streams) + len(self.flows.open) + len(self._lookups.open) >= MAX_STREAMS

    def _on_connected(self, identifier: int, body: memoryview) -> None:
        if not self._is_client:
            raise RemoteProtocolError("stream: unexpected connected")
        answer = Connected.decode(body)
        stream = self.streams.get(identifier)
        if stream is not None:
            stream.on_connected(answer.address, answer.ttl)
        elif identifier in self.flows.open:
            self.flows.open[identifier].on_connected()
        else:
            closed = self._closed.late(identifier)
            closed.connects -= 1
            if closed.connects < 0:
                raise RemoteProtocolError("stream: connected twice")

    def _on_end(self, identifier: int, body: memoryview) -> None:
        reason = decode_end(body)
        stream = self.streams.get(identifier)
        if stream is not None:
            self._forget(stream, reason, by_peer=True)
        elif not self.flows.end(identifier, reason) and not self._lookups.end(identifier, reason):
            self._closed.end(identifier)

    def _on_fin(self, identifier: int, body: memoryview) -> None:
        check_empty(body, "fin")
        stream = self.streams.get(identifier)
        if stream is None:
            closed = self._closed.late(identifier)
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
            self.outbox.circuit_credited(offset)
            return
        stream = self.streams.get(identifier)
        if stream is None:
            closed = self._closed.late(identifier)
            closed.credits -= 1
            if closed.credits < 0:
                raise RemoteProtocolError("stream: too many late credits")
            return
        self.outbox.stream_credited(stream, offset)

    def _on_resolve(self, identifier: int, body: memoryview) -> None:
        if self._is_client or not identifier:
            raise RemoteProtocolError("stream: unexpected resolve")
        request = Resolve.decode(body)
        if self._is_used(identifier):
            raise RemoteProtocolError("stream: resolve on a used stream")
        if self._acceptor is None or self._is_full:
            reason = EndReason.POLICY if self._acceptor is None else EndReason.LIMIT
            self._refuse(identifier, reason, LateMessages(self._clock()))
            return
        self._lookups.serve(identifier, request, self._acceptor.resolve)

    def _on_resolved(self, identifier: int, body: memoryview) -> None:
        if not self._is_client:
            raise RemoteProtocolError("stream: unexpected resolved")
        self._lookups.answered(identifier, Resolved.decode(body))

    def _on_sendme(self, identifier: int, body: memoryview) -> None:
        if identifier:
            raise RemoteProtocolError("sendme: on a stream")
        self.outbox.acknowledged(Sendme.decode(body), self._now)
        if self.congestion.rtt_ns:
            self.round_trip_s = self.congestion.rtt_ns / 1e9

    def close(self, reason: EndReason = EndReason.CLOSING) -> None:
        """The circuit is gone: end everything on it."""
        if self._is_shut:
            return
        self._is_shut = True
        self._add_windows(-self._windows)
        self.outbox.close()
        streams, self.streams = self.streams, {}
        flows, answers = self.flows.take_all(), self._lookups.take_all()  # before anybody is told
        for stream in streams.values():
            stream.on_closed(reason)
        for flow in flows:
            flow.on_closed(reason)
        for answer in answers:
            answer(reason)
