"""UDP over a circuit: one flow carries the datagrams of one association (sans-IO).

Datagrams are never fragmented over records and are dropped, not delayed for long, when the circuit
is full. docs/spec/circuit.md section 6.
"""

from collections.abc import Callable
from typing import Protocol

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.stream.messages import Datagram
from vigilnet.traffic.stream.wire import MAX_BODY, EndReason


class DatagramConsumer(Protocol):
    """Who uses a flow on this side."""

    def flow_connected(self) -> None:
        """The exit serves the flow (client side only)."""
        ...

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        """One datagram from `host` (address text) and `port`; at an exit: to send there."""
        ...

    def flow_closed(self, reason: EndReason) -> None:
        """Nothing follows; called once."""
        ...


class FlowOwner(Protocol):
    """What a flow asks of the mux that carries it."""

    def send_datagram(self, flow: "DatagramFlow", body: bytes) -> bool:
        """Queue one DATAGRAM; False when it was dropped."""
        ...

    def flow_accepted(self, flow: "DatagramFlow") -> None:
        """The exit serves the flow."""
        ...

    def flow_closing(self, flow: "DatagramFlow", reason: EndReason) -> None:
        """The consumer closes the flow."""
        ...


class DatagramFlow:
    """The datagrams of one association on one circuit."""

    __slots__ = ("_consumer", "_owner", "closed", "dropped", "identifier", "is_connected", "on_opened")

    def __init__(self, owner: FlowOwner, identifier: int) -> None:
        self._owner = owner
        self.identifier = identifier
        self._consumer: DatagramConsumer | None = None
        self.is_connected = False
        self.closed: EndReason | None = None
        self.dropped = 0
        self.on_opened: Callable[[EndReason | None], None] | None = None  # as of a stream

    def set_consumer(self, consumer: DatagramConsumer) -> None:
        """Deliver to `consumer` from now on."""
        self._consumer = consumer
        if self.is_connected:
            consumer.flow_connected()
        if self.closed is not None:
            consumer.flow_closed(self.closed)

    def send(self, host: str, port: int, payload: bytes) -> bool:
        """Send one datagram: from a client to (host, port), from an exit as coming from there.

        Args:
            host: canonical text of an IP address, never a name.
            port: 1 to 65535.
            payload: as many octets as fit into one record, else it is dropped.

        Returns:
            Whether it was queued; False means dropped, as UDP may.
        """
        body = Datagram(host, port, payload).encode()
        if self.closed is not None or len(body) > MAX_BODY[7] or not self._owner.send_datagram(self, body):
            self.dropped += 1
            return False
        return True

    def accept(self) -> None:
        """Tell the client that its datagrams are served (exit side only)."""
        if self.closed is None:
            self._owner.flow_accepted(self)

    def close(self, reason: EndReason = EndReason.DONE) -> None:
        """End the flow."""
        if self.closed is None:
            self._owner.flow_closing(self, reason)

    def on_connected(self) -> None:
        """CONNECTED came."""
        if self.is_connected:
            raise RemoteProtocolError("datagrams: connected twice")
        self.is_connected = True
        if self.on_opened is not None:
            self.on_opened(None)
        if self._consumer is not None:
            self._consumer.flow_connected()

    def on_datagram(self, body: memoryview) -> None:
        """DATAGRAM came."""
        datagram = Datagram.decode(body)
        if self._consumer is not None:
            self._consumer.datagram_received(datagram.host, datagram.port, datagram.payload)

    def on_closed(self, reason: EndReason) -> None:
        """The flow is over."""
        if self.closed is None:
            self.closed = reason
            if self.on_opened is not None:
                self.on_opened(reason)
            if self._consumer is not None:
                self._consumer.flow_closed(reason)
