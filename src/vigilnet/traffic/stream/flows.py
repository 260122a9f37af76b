"""The datagram and echo flows of one circuit at one of its ends (sans-IO, hot path).

What is sent waits in the outbox; what comes is put together from its parts and handed to its flow.
docs/spec/circuit.md section 6.
"""

from collections.abc import Callable, Sequence
from typing import Final

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.stream.datagrams import Flow
from vigilnet.traffic.stream.late import ClosedStreams, LateMessages
from vigilnet.traffic.stream.outbox import Outbox
from vigilnet.traffic.stream.wire import MAX_PARTS, EndReason, MessageType

# From the specification.
MAX_LATE_DATAGRAMS: Final = 4096  # more than a window of small ones


class Flows:
    """Serves `datagrams.FlowOwner` to each of its flows.

    Args:
        outbox: takes what is sent.
        closed: remembers what was closed here.
        clock: monotonic seconds.
        is_client: whether this is the end that opens them.
    """

    def __init__(
        self, outbox: Outbox, closed: ClosedStreams, clock: Callable[[], float], *, is_client: bool
    ) -> None:
        self._outbox = outbox
        self._closed = closed
        self._clock = clock
        self._is_client = is_client
        self.open: dict[int, Flow] = {}
        self._parts = bytearray()  # of the one datagram or echo that is under way
        self._parts_of = 0  # its flow; 0: none is

    def begin(self, flow: Flow) -> None:
        """Send the BEGIN of a flow; its consumer hears whether the exit accepts."""
        self.open[flow.identifier] = flow
        self._outbox.queue(MessageType.BEGIN, flow.identifier, flow.target.encode())

    def end(self, identifier: int, reason: EndReason) -> bool:
        """END came; return whether it was for an open flow."""
        flow = self.open.pop(identifier, None)
        if flow is None:
            return False
        self._closed.remember(identifier, LateMessages(self._clock()))
        flow.on_closed(reason)
        return True

    def take_all(self) -> list[Flow]:
        """The circuit is gone: forget all flows, and return them to be told."""
        flows, self.open = self.open, {}
        return list(flows.values())

    # --- FlowOwner -------------------------------------------------------------------------------

    def send_datagram(self, flow: Flow, body: bytes) -> bool:
        """Queue a datagram or echo; False (and dropped) when too many wait."""
        return flow.identifier in self.open and self._outbox.queue_datagram(flow.identifier, body, flow.kind)

    def send_datagrams(self, flow: Flow, prefix: bytes, payloads: Sequence[bytes]) -> int:
        """Queue datagrams of one address; return how many of them, the first, found room."""
        return self._outbox.queue_datagrams(flow.identifier, prefix, payloads)

    def has_room(self) -> bool:
        """Whether what one read of a socket gives may be sent without being dropped."""
        return self._outbox.has_room

    def call_at_room(self, flow: Flow, told: Callable[[], None]) -> None:
        """Call once when there is room again."""
        if flow.identifier in self.open:
            self._outbox.call_at_room(flow.identifier, told)

    def flow_accepted(self, flow: Flow) -> None:
        """The exit serves this flow: tell the client."""
        self._outbox.queue(MessageType.CONNECTED, flow.identifier)

    def flow_closing(self, flow: Flow, reason: EndReason) -> None:
        """A flow's consumer closes it."""
        if self.open.pop(flow.identifier, None) is not None:
            self._outbox.queue_flow_end(flow.identifier, reason)
            closed = LateMessages(self._clock(), ends=1, others=late_of(flow.kind))
            closed.connects = int(self._is_client and not flow.is_connected)
            self._closed.remember(flow.identifier, closed)
            flow.on_closed(reason)

    # --- what comes ------------------------------------------------------------------------------

    def on_datagram(self, identifier: int, body: memoryview) -> None:
        """DATAGRAM came."""
        flow = self.open.get(identifier)
        if flow is None or self._parts_of or flow.kind is not MessageType.DATAGRAM:
            self._on_message(identifier, body, MessageType.DATAGRAM)
            return
        self._outbox.counters.received += len(body)
        flow.on_message(body)

    def on_echo(self, identifier: int, body: memoryview) -> None:
        """ECHO came."""
        self._on_message(identifier, body, MessageType.ECHO)

    def on_part(self, identifier: int, body: memoryview) -> None:
        """The next octets of a datagram or echo: only one travels in parts at a time."""
        if self._parts_of not in (0, identifier) or not body or len(self._parts) + len(body) > MAX_PARTS:
            raise RemoteProtocolError("stream: a part that is empty, too much, or of another datagram")
        if identifier in self.open:
            self._parts += body
        else:
            self._closed.late(identifier).take(MessageType.DATAGRAM_PART)
        self._parts_of = identifier

    def _whole(self, identifier: int, body: memoryview) -> memoryview:
        """Return a body with the parts that came before it."""
        if self._parts_of != identifier or len(self._parts) + len(body) > MAX_PARTS:
            raise RemoteProtocolError("stream: too long, or a datagram within another's parts")
        parts, self._parts, self._parts_of = self._parts, bytearray(), 0
        parts += body
        return memoryview(parts)

    def _on_message(self, identifier: int, body: memoryview, kind: MessageType) -> None:
        if self._parts_of:
            body = self._whole(identifier, body)
        flow = self.open.get(identifier)
        if flow is None:
            self._closed.late(identifier).take(kind)
            return
        if flow.kind is not kind:
            raise RemoteProtocolError("stream: a message of another kind of flow")
        self._outbox.counters.received += len(body)
        flow.on_message(body)


def late_of(kind: MessageType) -> dict[int, int]:
    """Return how much may still come of a flow that was closed here."""
    return {kind: MAX_LATE_DATAGRAMS, MessageType.DATAGRAM_PART: MAX_LATE_DATAGRAMS}
