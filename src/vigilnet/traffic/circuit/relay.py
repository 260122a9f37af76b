"""A relay's side of one circuit (sans-IO; `forward` and `backward` are the hot path).

The relay opens or seals its own layer and passes the run on. What ends here is for us: control
messages are handled by the service through `RelayHost`, messages of streams by the mux of the
circuit's end. docs/spec/circuit.md sections 4.2 and 5.
"""

from contextlib import suppress
from enum import Enum
from typing import Final, Protocol

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.traffic.cell import CELL_SIZE, RUN_AT, Command, new_frame, pack_run_header
from vigilnet.traffic.circuit.messages import DestroyReason, Extend, PadNegotiate, Refusal, decode_record
from vigilnet.traffic.circuit.onion import BadRecordError, RelayOnion
from vigilnet.traffic.circuit.run_queue import QueueFullError, RunQueue
from vigilnet.traffic.link.ports import LinkPort
from vigilnet.traffic.stream.messages import check_empty
from vigilnet.traffic.stream.mux import STREAM_TYPES, StreamMux
from vigilnet.traffic.stream.wire import AREA_AT, MessageType, encode_message, split_area

_log = get_logger(__name__)

MAX_RECORDS: Final = 4  # peer records that a client may give on one circuit
MAX_DRAIN_CELLS: Final = 3584  # the largest congestion window: more cannot honestly be on the way


class RelayState(Enum):
    """Where a circuit stands at this relay."""

    LAST = "last"  # the circuit ends here
    EXTENDING = "extending"  # it ends here, and an EXTEND is under way
    MIDDLE = "middle"  # it goes on to a next hop
    CLOSED = "closed"


class RelayHost(Protocol):
    """What a relay circuit asks of the node (the circuit service serves it)."""

    def relay_extend(self, circuit: "RelayCircuit", request: Extend) -> None:
        """Build the next hop; later call `extended` or `extend_failed`."""
        ...

    def relay_record(self, circuit: "RelayCircuit", encoded: bytes) -> None:
        """The client gives us a peer record for its next EXTEND."""
        ...

    def relay_end(self, circuit: "RelayCircuit") -> StreamMux:
        """Return a mux for the streams of a circuit that ends here."""
        ...

    def relay_pad(self, circuit: "RelayCircuit", end: StreamMux, wish: PadNegotiate) -> None:
        """Pad a circuit that ends here, as its client wishes; raises RemoteProtocolError."""
        ...

    def relay_failed(self, circuit: "RelayCircuit") -> None:
        """A bug of ours ends this circuit: no counter of it may be tried again."""
        ...

    def relay_cut(self, circuit: "RelayCircuit", reason: DestroyReason) -> None:
        """Tell the next hop that its part of the circuit is over, and forget the way there."""
        ...


class RelayCircuit:
    """One circuit at one relay: the previous hop always, a next hop while there is one."""

    __slots__ = (
        "_onion",
        "backward_queue",
        "drain_cells",
        "end",
        "forward_queue",
        "host",
        "last_used",
        "next_id",
        "previous_id",
        "records_taken",
        "relayed_cells",
        "state",
    )

    def __init__(
        self, host: RelayHost, onion: RelayOnion, previous_id: int, backward_queue: RunQueue
    ) -> None:
        self.host = host
        self._onion: RelayOnion | None = onion
        self.previous_id = previous_id
        self.backward_queue = backward_queue
        self.next_id = 0
        self.forward_queue: RunQueue | None = None
        self.end: StreamMux | None = None
        self.state = RelayState.LAST
        self.drain_cells = 0
        self.records_taken = 0
        self.relayed_cells = 0
        self.last_used = 0.0

    @property
    def previous(self) -> LinkPort:
        """The link towards the client."""
        return self.backward_queue.port

    @property
    def next(self) -> LinkPort | None:
        """The link towards the next hop, if there is one."""
        return self.forward_queue.port if self.forward_queue is not None else None

    def forward(self, run: memoryview, cells: int, now: float) -> None:
        """Take a run from the previous hop.

        Raises:
            BadRecordError: changed, replayed, reordered or not for us; tear the circuit down.
            RemoteProtocolError: the client broke a rule; tear the circuit down.
        """
        onion = self._onion
        if onion is None:
            return
        self.last_used = now
        self.relayed_cells += cells
        frame = new_frame(cells)
        queue = self.forward_queue
        if queue is not None:
            if not onion.open_forward(run, frame, is_last=False):
                pack_run_header(frame, RUN_AT, self.next_id, Command.RELAY, cells)
                queue.push(frame, cells)
                return
        elif not onion.open_forward(run, frame, is_last=True):
            self._drain(cells)
            return
        self.drain_cells = 0
        size = CELL_SIZE * cells
        self._receive(frame[AREA_AT + 16 : RUN_AT + size], bytes(run[size - 16 :]), cells, now)

    def backward(self, run: memoryview, cells: int, now: float) -> None:
        """Take a run from the next hop: add our layer and pass it on."""
        onion = self._onion
        if onion is None:
            return
        self.last_used = now
        self.relayed_cells += cells
        frame = new_frame(cells)
        onion.seal_backward(run, frame)
        pack_run_header(frame, RUN_AT, self.previous_id, Command.RELAY, cells)
        self.backward_queue.push(frame, cells)

    def new_record(self, cells: int) -> memoryview:
        """Return a buffer for a record of ours to the client (for the mux)."""
        return new_frame(cells)

    def seal(self, record: memoryview, cells: int) -> tuple[memoryview, bytes]:
        """Seal a record of ours to the client, header included (for the mux)."""
        if self._onion is None:
            raise RemoteProtocolError("circuit: closed")
        tag = bytes(self._onion.originate_backward(record, CELL_SIZE * cells))
        pack_run_header(record, RUN_AT, self.previous_id, Command.RELAY, cells)
        return record, tag

    def wake(self) -> None:
        """The mux has something to send."""
        self.backward_queue.port.activate(self.backward_queue)

    def wake_later(self, delay: float) -> None:
        """The mux has something that must wait."""
        self.backward_queue.wake_later(delay)

    def failed(self, error: Exception) -> None:
        """A record of the mux could not be made: nothing more is sealed, and the circuit ends."""
        self._onion = None
        _log.failure("circuit failed, this is a bug: please report it", error)
        self.host.relay_failed(self)

    def send_control(self, kind: MessageType, body: bytes) -> None:
        """Send one control message to the client as a record of its own, behind what waits."""
        record = new_frame(1)
        message = encode_message(kind, 0, body)
        record[AREA_AT : AREA_AT + len(message)] = message
        frame, _ = self.seal(record, 1)
        self.backward_queue.push(frame, 1)

    def extended(self, queue: RunQueue, next_id: int, created_body: bytes) -> None:
        """The next hop answered: the circuit goes on there."""
        if self.state is not RelayState.EXTENDING:
            return
        self.state = RelayState.MIDDLE
        self.next_id = next_id
        self.forward_queue = queue
        if self.end is not None:
            self.end.close()
            self.end = None
            self.backward_queue.tail = None
        self.send_control(MessageType.EXTENDED, created_body)

    def extend_failed(self, refusal: Refusal) -> None:
        """The next hop could not be reached or refused; the client learns why."""
        if self.state is RelayState.EXTENDING:
            self.state = RelayState.LAST
            self.send_control(MessageType.TRUNCATED, refusal.encode())

    def send_truncated(self, refusal: Refusal) -> None:
        """Tell the client why the circuit ends here; nothing if the keys are gone or the queue is full."""
        if self._onion is not None and not self.backward_queue.is_closing:
            with suppress(QueueFullError):
                self.send_control(MessageType.TRUNCATED, refusal.encode())

    def next_hop_gone(self, refusal: Refusal) -> None:
        """The next hop destroyed its part: tell the client, and drain what is still on its way."""
        if self.state is not RelayState.MIDDLE:
            return
        self._forget_next()
        self.send_control(MessageType.TRUNCATED, refusal.encode())

    def close(self) -> None:
        """Drop the keys and everything queued towards the next hop."""
        self.state = RelayState.CLOSED
        self._onion = None
        if self.end is not None:
            self.end.close()
            self.end = None
        self.backward_queue.tail = None
        self.forward_queue = None

    def _forget_next(self) -> None:
        if self.forward_queue is not None:
            self.forward_queue.clear()
        self.forward_queue = None
        self.state = RelayState.LAST
        self.drain_cells = MAX_DRAIN_CELLS

    def _drain(self, cells: int) -> None:
        """A PASS record although we are the last hop: allowed only behind a truncation."""
        self.drain_cells -= cells
        if self.drain_cells < 0:
            raise BadRecordError("circuit: a record for a hop behind the last one")

    def _receive(self, area: memoryview, tag: bytes, cells: int, now: float) -> None:
        messages = split_area(area)
        if not messages:
            raise RemoteProtocolError("circuit: a record without any message")
        if messages[0][0] in STREAM_TYPES or len(messages) > 1:
            self._receive_streams(messages, tag, cells, now)
        else:
            kind, stream, body = messages[0]
            self._control(kind, stream, body)

    def _receive_streams(
        self, messages: list[tuple[int, int, memoryview]], tag: bytes, cells: int, now: float
    ) -> None:
        if messages[0][0] == MessageType.EXTEND:
            raise RemoteProtocolError("circuit: extend together with other messages")
        for_end = []
        for message in messages:
            if message[0] in STREAM_TYPES:
                for_end.append(message)
            else:
                self._control(*message, is_first=False)
        if for_end:
            self._end().receive(for_end, tag, cells, now)

    def _end(self) -> StreamMux:
        """Return the mux of a circuit that ends here; the first message for it makes it."""
        end = self.end
        if end is None:
            if self.state is not RelayState.LAST:
                raise RemoteProtocolError("circuit: messages of streams for a middle hop")
            end = self.end = self.host.relay_end(self)
            self.backward_queue.tail = end
        return end

    def _control(self, kind: int, stream: int, body: memoryview, *, is_first: bool = True) -> None:
        if stream:
            raise RemoteProtocolError(f"circuit: message type {kind} on stream {stream}")
        if kind == MessageType.EXTEND and is_first:
            self._extend(Extend.decode(body))
        elif kind == MessageType.RECORD and self.state is not RelayState.MIDDLE:
            # Each may cost us a signature's check, ten times what passing a cell on costs.
            self.records_taken += 1
            if self.records_taken > MAX_RECORDS:
                raise RemoteProtocolError("circuit: more peer records than extending takes")
            self.host.relay_record(self, decode_record(body))
        elif kind == MessageType.TRUNCATE:
            check_empty(body, "truncate")
            self._truncate()
        elif kind == MessageType.PAD_NEGOTIATE:
            self.host.relay_pad(self, self._end(), PadNegotiate.decode(body))
        elif kind != MessageType.PADDING:
            raise RemoteProtocolError(f"circuit: unexpected message type {kind}")

    def _extend(self, request: Extend) -> None:
        if self.state is not RelayState.LAST:
            raise RemoteProtocolError("circuit: a second extend")
        self.state = RelayState.EXTENDING
        self.host.relay_extend(self, request)

    def _truncate(self) -> None:
        if self.state is RelayState.MIDDLE:
            self.host.relay_cut(self, DestroyReason.CLOSED)
            self._forget_next()
        self.send_control(MessageType.TRUNCATED, Refusal(DestroyReason.NONE).encode())
