"""UDP and ICMP echo over a circuit: one flow carries the datagrams of one association (sans-IO).

Datagrams are dropped, not delayed for long, when the circuit is full; one that fits no record travels in
parts. docs/spec/circuit.md section 6.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from vigilnet.base.errors import RemoteProtocolError
from vigilnet.traffic.stream.messages import BeginFlag, Datagram, Echo, Target
from vigilnet.traffic.stream.wire import MAX_PARTS, EndReason, MessageType

MAX_KEPT_ENDS: Final = 64


class FlowConsumer(Protocol):
    """Who uses a flow on this side."""

    def flow_connected(self) -> None:
        """The exit serves the flow (client side only)."""
        ...

    def flow_closed(self, reason: EndReason) -> None:
        """Nothing follows; called once."""
        ...


class DatagramConsumer(FlowConsumer, Protocol):
    """Who uses a flow of UDP."""

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        """One datagram from `host` (address text) and `port`; at an exit: to send there.

        Of a connected flow both are those of its target.
        """
        ...


class EchoConsumer(FlowConsumer, Protocol):
    """Who uses a flow of ICMP echoes."""

    def echo_received(self, echo: Echo) -> None:
        """A reply; at an exit: a request to send."""
        ...


class FlowOwner(Protocol):
    """What a flow asks of the mux that carries it."""

    def send_datagram(self, flow: "Flow", body: bytes) -> bool:
        """Queue one message of the flow's kind; False when it was dropped."""
        ...

    def send_datagrams(self, flow: "Flow", prefix: bytes, payloads: Sequence[bytes]) -> int:
        """Queue datagrams of one address; return how many of them, the first, found room."""
        ...

    def has_room(self) -> bool:
        """Whether what one read of a socket gives may be sent without being dropped."""
        ...

    def call_at_room(self, flow: "Flow", told: Callable[[], None]) -> None:
        """Call once when there is room again."""
        ...

    def flow_accepted(self, flow: "Flow") -> None:
        """The exit serves the flow."""
        ...

    def flow_closing(self, flow: "Flow", reason: EndReason) -> None:
        """The consumer closes the flow."""
        ...


class Flow:
    """What flows of UDP and of echoes share: opening and ending.

    Args:
        owner: carries it.
        identifier: its stream number.
        target: what its BEGIN says.
    """

    __slots__ = (
        "_consumer",
        "_owner",
        "closed",
        "dropped",
        "identifier",
        "is_connected",
        "on_opened",
        "target",
    )

    kind: MessageType

    def __init__(self, owner: FlowOwner, identifier: int, target: Target) -> None:
        self._owner = owner
        self._consumer: FlowConsumer | None = None
        self.identifier = identifier
        self.target = target
        self.is_connected = False
        self.closed: EndReason | None = None
        self.dropped = 0
        self.on_opened: Callable[[EndReason | None], None] | None = None  # as of a stream

    def _use(self, consumer: FlowConsumer) -> None:
        self._consumer = consumer
        if self.is_connected:
            consumer.flow_connected()
        if self.closed is not None:
            consumer.flow_closed(self.closed)

    def _send(self, body: bytes) -> bool:
        if self.closed is not None or len(body) > MAX_PARTS or not self._owner.send_datagram(self, body):
            self.dropped += 1
            return False
        return True

    @property
    def has_room(self) -> bool:
        """Whether what one read of a socket gives may be sent without being dropped.

        While there is none, do not read: what comes waits in the socket's own buffer (`call_at_room`).
        """
        return self._owner.has_room()

    def call_at_room(self, told: Callable[[], None]) -> None:
        """Call once when there is room again; of a flow that is closed, never."""
        if self.closed is None:
            self._owner.call_at_room(self, told)

    def accept(self) -> None:
        """Tell the client that its flow is served (exit side only)."""
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

    def on_message(self, body: memoryview) -> None:
        """One message of the flow's kind came."""
        raise NotImplementedError

    def on_closed(self, reason: EndReason) -> None:
        """The flow is over."""
        if self.closed is None:
            self.closed = reason
            if self.on_opened is not None:
                self.on_opened(reason)
            if self._consumer is not None:
                self._consumer.flow_closed(reason)


class DatagramFlow(Flow):
    """The UDP datagrams of one association, or with the flag CONNECTED_UDP of one pair of ends."""

    __slots__ = ("_datagram_consumer", "_ends", "_prefixes", "is_bound")

    kind = MessageType.DATAGRAM

    def __init__(self, owner: FlowOwner, identifier: int, target: Target) -> None:
        super().__init__(owner, identifier, target)
        self._datagram_consumer: DatagramConsumer | None = None
        self._prefixes: dict[tuple[str, int], bytes] = {}  # of ends, so that no address is parsed each time
        self._ends: dict[bytes, tuple[str, int]] = {}  # and the other way round
        self.is_bound: Final = bool(target.flags & BeginFlag.CONNECTED_UDP)

    def set_consumer(self, consumer: DatagramConsumer) -> None:
        """Deliver to `consumer` from now on."""
        self._datagram_consumer = consumer
        self._use(consumer)

    def send(self, host: str, port: int, payload: bytes) -> bool:
        """Send one datagram: from a client to (host, port), from an exit as coming from there.

        Args:
            host: canonical text of an IP address, never a name; of no account on a connected flow.
            port: 1 to 65535.
            payload: at most `MAX_PARTS` octets with the address before it, else it is dropped.

        Returns:
            Whether it was queued; False means dropped, as UDP may.
        """
        return self._send(self._prefix(host, port) + payload)

    def send_all(self, host: str, port: int, payloads: Sequence[bytes]) -> int:
        """Send datagrams of one end, none longer than UDP allows; return how many, the first, were queued."""
        if self.closed is not None:
            return 0
        return self._owner.send_datagrams(self, self._prefix(host, port), payloads)

    def _prefix(self, host: str, port: int) -> bytes:
        if self.is_bound:
            return b""
        prefix = self._prefixes.get((host, port))
        if prefix is None:
            prefix = Datagram(host, port, b"").encode()
            if len(self._prefixes) >= MAX_KEPT_ENDS:
                self._prefixes.clear()
            self._prefixes[host, port] = prefix
        return prefix

    def on_message(self, body: memoryview) -> None:
        """DATAGRAM came."""
        consumer = self._datagram_consumer
        if self.is_bound:
            if consumer is not None:
                consumer.datagram_received(self.target.host, self.target.port, bytes(body))
            return
        size = 19 if len(body) > 2 and body[2] == 6 else 7
        prefix = bytes(body[:size])
        end = self._ends.get(prefix)
        if end is None:
            datagram = Datagram.decode(body[:size])
            end = datagram.host, datagram.port
            if len(self._ends) >= MAX_KEPT_ENDS:
                self._ends.clear()
            self._ends[prefix] = end
        if consumer is not None:
            consumer.datagram_received(*end, bytes(body[size:]))


class EchoFlow(Flow):
    """ICMP echoes to one host and back."""

    __slots__ = ("_echo_consumer",)

    kind = MessageType.ECHO

    def __init__(self, owner: FlowOwner, identifier: int, target: Target) -> None:
        super().__init__(owner, identifier, target)
        self._echo_consumer: EchoConsumer | None = None

    def set_consumer(self, consumer: EchoConsumer) -> None:
        """Deliver to `consumer` from now on."""
        self._echo_consumer = consumer
        self._use(consumer)

    def send(self, echo: Echo) -> bool:
        """Send a request (client) or a reply (exit); False means dropped."""
        return self._send(echo.encode())

    def on_message(self, body: memoryview) -> None:
        """ECHO came."""
        echo = Echo.decode(body)
        if self._echo_consumer is not None:
            self._echo_consumer.echo_received(echo)
