"""Streams: one application's octets on a circuit, the same object at the client and at the exit (sans-IO).

Outgoing octets wait here, bounded, until the circuit's mux takes them into a record; incoming ones
go straight to the consumer. A stream is over when both directions ended or either side closed it.
docs/spec/circuit.md section 6.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from vigilnet.base.errors import ErrorKind, LocalProtocolError, RemoteProtocolError, VigilnetError
from vigilnet.traffic.stream.flow_control import CreditReceiver, CreditSender
from vigilnet.traffic.stream.memory import SEND_BUFFER, StreamMemory
from vigilnet.traffic.stream.messages import Target
from vigilnet.traffic.stream.wire import EndReason

# Our choice.
_SMALL: Final = 512  # octets; smaller writes are joined, so that one octet costs no object of its own
_JOINED: Final = 4096
_REFILL_AT: Final = SEND_BUFFER // 2


class StreamEndedError(VigilnetError):
    """The far end ended the stream, or refused it; `reason` says why."""

    kind = ErrorKind.REFUSED

    def __init__(self, reason: EndReason) -> None:
        super().__init__(f"stream ended: {reason.name.lower().replace('_', ' ')}")
        self.reason = reason


class StreamConsumer(Protocol):
    """Who uses a stream on this side: a proxy connection, or the exit's connection to the target."""

    def connected(self, address: str, ttl: int) -> None:
        """The exit reached the target (client side only); `address` may be empty."""
        ...

    def data_received(self, data: memoryview) -> None:
        """Octets in order; the view lies in a buffer of its own and may be kept.

        Say `Stream.consumed` once the application took them.
        """
        ...

    def eof_received(self) -> None:
        """The other side sends no more; it may still receive."""
        ...

    def stream_closed(self, reason: EndReason) -> None:
        """The stream is over in both directions; called once, nothing follows."""
        ...

    def writable(self) -> None:
        """`Stream.room` has grown again."""
        ...


class StreamOwner(Protocol):
    """What a stream asks of the mux that carries it."""

    def stream_ready(self, stream: "Stream", octets: int) -> None:
        """The stream has `octets` more, or an end, to send."""
        ...

    def stream_consumed(self, stream: "Stream", octets: int) -> None:
        """The consumer took so many octets."""
        ...

    def stream_accepted(self, stream: "Stream", address: str, ttl: int) -> None:
        """The exit reached the target."""
        ...

    def stream_closing(self, stream: "Stream", reason: EndReason) -> None:
        """The consumer closes the stream at once."""
        ...


class Stream:
    """One stream on one circuit."""

    __slots__ = (
        "_close_when_sent",
        "_consumer",
        "_early",
        "_head",
        "_memory",
        "_owner",
        "_pending",
        "_wants_refill",
        "closed",
        "connected_to",
        "created_at",
        "fin_queued",
        "fin_received",
        "fin_sent",
        "identifier",
        "is_accepted",
        "is_ready",
        "on_opened",
        "pending_octets",
        "receive_credit",
        "received_octets",
        "send_credit",
        "sent_octets",
        "target",
    )

    def __init__(
        self,
        owner: StreamOwner,
        identifier: int,
        now: float,
        start_credit: int,
        max_credit: int,
        memory: StreamMemory | None = None,
    ) -> None:
        self._owner = owner
        self._memory = memory or StreamMemory()
        self.identifier = identifier
        self.created_at = now
        self.target: Target | None = None  # what was asked for; sensitive
        self._consumer: StreamConsumer | None = None
        self._early = bytearray()  # copied: views of small pieces would pin a whole record each
        self._pending: deque[memoryview | bytearray] = deque()
        self._head = 0
        self.pending_octets = 0
        self._wants_refill = False
        self._close_when_sent: EndReason | None = None
        self.fin_queued = False
        self.fin_sent = False
        self.fin_received = False
        self.closed: EndReason | None = None
        self.connected_to: tuple[str, int] | None = None
        self.is_accepted = False
        # Told once whether the stream opened (None) or ended before (the reason); for who waits to open it.
        self.on_opened: Callable[[EndReason | None], None] | None = None
        self.is_ready = False  # whether the mux has it in its queue
        self.send_credit = CreditSender(start_credit)
        self.receive_credit = CreditReceiver(now, start_credit, max_credit)
        self.sent_octets = 0
        self.received_octets = 0

    @property
    def circuit(self) -> object:
        """What it belongs to: the same for all streams of one circuit, and of no other use."""
        return self._owner

    def set_consumer(self, consumer: StreamConsumer) -> None:
        """Deliver to `consumer` from now on, what came before included."""
        self._consumer = consumer
        before = self.closed  # when it closes from here on, `on_closed` tells the consumer
        if self.connected_to is not None:
            consumer.connected(*self.connected_to)
        early, self._early = self._early, bytearray()
        if early and self.closed is before:
            consumer.data_received(memoryview(early))
        if self.fin_received and self.closed is None:
            consumer.eof_received()
        if before is not None:
            consumer.stream_closed(before)

    def write(self, data: bytes | memoryview) -> None:
        """Queue octets for the other side; keep to `room`. Views are copied, bytes are not.

        Raises:
            LocalProtocolError: after `write_eof`.
        """
        if self.closed is not None or not data:
            return
        if self.fin_queued:
            raise LocalProtocolError("stream: write after write_eof")
        size = len(data)
        pending = self._pending
        if size >= _SMALL:
            pending.append(memoryview(data if isinstance(data, bytes) else bytes(data)))
        elif pending and isinstance(tail := pending[-1], bytearray) and len(tail) < _JOINED:
            tail += data
        else:
            pending.append(bytearray(data))
        self.pending_octets += size
        self._memory.waiting += size
        self._owner.stream_ready(self, size)

    def room(self) -> int:
        """Octets it is polite to write now; when it is 0, `writable` is called once it grows."""
        room = self._memory.send_buffer() - self.pending_octets
        if room <= 0:
            self._wants_refill = True
            return 0
        return room

    def wait_for_room(self) -> None:
        """Ask for one call of `writable` as soon as half of the buffer is free."""
        self._wants_refill = True

    def write_eof(self) -> None:
        """Send no more after what is queued: the other side sees an end of file."""
        if self.closed is None and not self.fin_queued:
            self.fin_queued = True
            self._owner.stream_ready(self, 0)

    def consumed(self, octets: int) -> None:
        """The application took `octets` of what was received; gives credit back to the sender."""
        if self.closed is None:
            self._owner.stream_consumed(self, octets)

    def accept(self, address: str = "", ttl: int = 0) -> None:
        """Tell the client that the target was reached (exit side only)."""
        if self.closed is None and not self.is_accepted:
            self.is_accepted = True
            self._owner.stream_accepted(self, address, ttl)

    def close(self, reason: EndReason = EndReason.DONE, *, sends_first: bool = False) -> None:
        """End the stream in both directions.

        With DONE, or if it `sends_first`, what is queued is sent before that, and until then the consumer
        still hears of what comes.
        """
        if self.closed is not None:
            return
        if (sends_first or reason is EndReason.DONE) and self.pending_octets:
            self._close_when_sent = reason
            return
        self._owner.stream_closing(self, reason)

    def take(self, target: memoryview, at: int, room: int) -> int:
        """Move up to `room` pending octets to target[at:]; return how many."""
        pending = self._pending
        head = self._head
        start = at
        while room and pending:
            chunk = pending[0]
            left = len(chunk) - head
            if left > room:
                target[at : at + room] = chunk[head : head + room]
                head += room
                at += room
                break
            target[at : at + left] = chunk[head:]
            at += left
            room -= left
            head = 0
            pending.popleft()
        self._head = head
        taken = at - start
        self.pending_octets -= taken
        self._memory.waiting -= taken
        self.sent_octets += taken
        return taken

    @property
    def wants_close(self) -> EndReason | None:
        """Why the consumer closed the stream, once everything queued is sent; else None."""
        return None if self.pending_octets else self._close_when_sent

    def refill(self) -> None:
        """Tell the consumer that there is room again, if it waits for it."""
        if self._wants_refill and self.pending_octets <= _REFILL_AT and self._consumer is not None:
            self._wants_refill = False
            self._consumer.writable()

    def on_connected(self, address: str, ttl: int) -> None:
        """CONNECTED came."""
        if self.connected_to is not None:
            raise RemoteProtocolError("stream: connected twice")
        self.connected_to = (address, ttl)
        consumer = self._consumer  # one that is set by whoever waited hears of it there
        if self.on_opened is not None:
            self.on_opened(None)
        if consumer is not None:
            consumer.connected(address, ttl)

    def on_data(self, data: memoryview) -> None:
        """DATA came, within the credit."""
        if self.fin_received:
            raise RemoteProtocolError("stream: data after fin")
        self.received_octets += len(data)
        if self._consumer is None:
            self._early += data
        else:
            self._consumer.data_received(data)

    def on_fin(self) -> None:
        """FIN came."""
        if self.fin_received:
            raise RemoteProtocolError("stream: fin twice")
        self.fin_received = True
        if self._consumer is not None:
            self._consumer.eof_received()

    def on_closed(self, reason: EndReason) -> None:
        """The stream is over, whoever ended it; forgets what was still queued."""
        if self.closed is None:
            self.closed = reason
            self._pending.clear()
            self._memory.waiting -= self.pending_octets
            self.pending_octets = 0
            if self.on_opened is not None:
                self.on_opened(reason)
            if self._consumer is not None:
                self._consumer.stream_closed(reason)
