"""What an application's datagrams and echoes go over: one flow of a circuit each (hot path).

A flow waits while it is opened, refuses for a while when it was not, and hands on what comes back.
"""

import asyncio
import socket
from collections.abc import Coroutine
from ipaddress import ip_address
from typing import Any, Final, Generic, Protocol, TypeVar

from vigilnet.base.errors import VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.device import packets
from vigilnet.traffic.device.packets import Packet, Refusal, UdpMaker
from vigilnet.traffic.stream.datagrams import DatagramFlow, EchoFlow
from vigilnet.traffic.stream.messages import ANY_FAMILY, Echo, Target
from vigilnet.traffic.stream.segments import mergeable
from vigilnet.traffic.stream.stream import StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

MAX_WAITING: Final = 64  # datagrams of a flow that is being opened
MAX_GATHERED: Final = 512  # datagrams for the interface in one turn
MAX_MAKERS: Final = 1024  # far ends of one flow
REFUSED_S: Final = 2.0  # a flow that failed is refused for so long before it is tried again
UNBOUND: Final = Target("", 0, 17, ANY_FAMILY)
_REFUSALS: Final = {
    EndReason.REFUSED: packets.NO_PORT,
    EndReason.POLICY: packets.PROHIBITED,
    EndReason.NO_ROUTE: packets.NO_ROUTE,
    EndReason.RESOLVE_FAILED: packets.NO_HOST,
}

_log = get_logger(__name__)
Key = tuple[bytes, bytes, int, int]
_F = TypeVar("_F", DatagramFlow, EchoFlow)
_W = TypeVar("_W")


class FlowOpener(Protocol):
    """What the interface needs of the pool of circuits."""

    async def open_datagrams(self, isolation: str, target: Target = UNBOUND) -> DatagramFlow:
        """Return a flow for UDP once an exit serves it; raises VigilnetError."""
        ...

    async def open_echo(self, target: Target, isolation: str) -> EchoFlow:
        """Return a flow for ICMP echoes; raises VigilnetError."""
        ...


class Port(Protocol):
    """What a flow needs of the interface."""

    loop: asyncio.AbstractEventLoop
    tasks: TaskGroup
    dropped: int

    @property
    def merges(self) -> bool:
        """Whether one packet may carry many datagrams."""
        ...

    def now(self) -> float:
        """Monotonic seconds."""
        ...

    def is_carried(self, target: bytes) -> bool:
        """Whether a packed address may be reached through the network."""
        ...

    def write(self, pieces: list[bytes]) -> None:
        """Give one packet to the interface; an empty one is none."""
        ...

    def refuse(self, packet: Packet, refusal: Refusal) -> None:
        """Tell the application that a packet goes nowhere."""
        ...

    def hold(self, flow: "UdpFlow", packet: Packet, what: tuple[int, list[bytes]]) -> None:
        """The circuit takes no more: try these again in a moment, and read nothing else meanwhile."""
        ...

    def overloaded(self, lost: int) -> None:
        """Read nothing for a moment; `lost` datagrams found no room."""
        ...

    def forget(self, key: Key) -> None:
        """A flow is over."""
        ...


class _DeviceFlow(Generic[_F, _W]):
    """What flows of both kinds share: waiting while one is opened, refusing for a while when it was not.

    Args:
        port: the interface.
        key: whose it is.
        opening: gives the flow.
    """

    def __init__(self, port: Port, key: Key, opening: Coroutine[Any, Any, _F]) -> None:
        self._port = port
        self._key = key
        self._flow: _F | None = None
        self._waiting: list[tuple[Packet, _W]] = []
        self._unanswered: Packet | None = None  # the first one, until something comes back
        self._refusal: Refusal | None = None
        self._refused_until = 0.0
        self.last_used = 0.0
        port.tasks.start("open a flow", self._open(opening))

    async def _open(self, opening: Coroutine[Any, Any, _F]) -> None:
        try:
            flow = await opening
        except VigilnetError as error:
            _log.debug("no flow", error=error)
            self._fail(_reason_of(error))
            return
        if self._refusal is not None:  # given up meanwhile
            flow.close(EndReason.DONE)
            return
        self._flow = flow
        self._opened(flow)
        waiting, self._waiting = self._waiting, []
        for packet, what in waiting:
            self.take(packet, what)

    def _opened(self, flow: _F) -> None:
        raise NotImplementedError

    def _send(self, flow: _F, packet: Packet, what: _W) -> None:
        raise NotImplementedError

    def take(self, packet: Packet, what: _W) -> None:
        """Something of the application's."""
        if self._flow is not None:
            self._send(self._flow, packet, what)
        elif self._refusal is not None:
            self._port.refuse(packet, self._refusal)
            if self._port.now() >= self._refused_until:
                self._port.forget(self._key)
        elif len(self._waiting) < MAX_WAITING:
            kept = head_of(packet)
            self._unanswered = self._unanswered or kept
            self._waiting.append((kept, what))
        else:
            self._port.dropped += 1

    def _fail(self, reason: EndReason | None) -> None:
        self._refusal = packets.NO_ROUTE if reason is None else _REFUSALS.get(reason, packets.NO_ROUTE)
        self._refused_until = self._port.now() + REFUSED_S
        refused = [packet for packet, _ in self._waiting[:4]]
        if not refused and self._unanswered is not None:
            refused.append(self._unanswered)
        self._waiting = []
        self._unanswered = None
        for packet in refused:
            self._port.refuse(packet, self._refusal)

    def end(self) -> None:
        """Nobody uses it any more."""
        self._refusal = packets.NO_ROUTE
        flow, self._flow = self._flow, None
        self._unanswered = None
        if flow is not None:
            flow.close(EndReason.DONE)

    def flow_connected(self) -> None:
        """The exit serves it."""

    def flow_closed(self, reason: EndReason) -> None:
        """The exit or the circuit ended it: the next packet opens another, but not if it was refused."""
        if self._flow is None:
            return
        self._flow = None
        if reason in _REFUSALS:
            self._fail(reason)
        else:
            self._port.forget(self._key)


class UdpFlow(_DeviceFlow[DatagramFlow, tuple[int, list[bytes]]]):
    """One flow of an application's datagrams; a `DatagramConsumer`."""

    def __init__(self, port: Port, key: Key, target: Target, opener: FlowOpener, isolation: str) -> None:
        self._is_bound = bool(key[1])
        self._gathered: dict[tuple[str, int], list[bytes]] = {}
        self._makers: dict[tuple[str, int], UdpMaker] = {}
        super().__init__(port, key, opener.open_datagrams(isolation, target))

    def _opened(self, flow: DatagramFlow) -> None:
        flow.set_consumer(self)

    def _send(self, flow: DatagramFlow, packet: Packet, what: tuple[int, list[bytes]]) -> None:
        target_port, payloads = what
        host = ""
        if not self._is_bound:
            host = socket.inet_ntop(socket.AF_INET if packet.version == 4 else socket.AF_INET6, packet.target)
            if (host, target_port) not in self._makers and not self._port.is_carried(packet.target):
                self._port.refuse(packet, packets.PROHIBITED)
                return
        sent = flow.send_all(host, target_port, payloads)
        if sent < len(payloads) and flow.closed is None:
            self._port.hold(self, packet, (target_port, payloads[sent:]))

    def datagram_received(self, host: str, port: int, payload: bytes) -> None:
        """A datagram came back: gather what comes in this turn."""
        if not self._gathered:
            self._unanswered = None
            self._port.loop.call_soon(self._flush)
        end = ("", 0) if self._is_bound else (host, port)
        waiting = self._gathered.setdefault(end, [])
        if len(waiting) < MAX_GATHERED:
            waiting.append(payload)
        else:
            self._port.dropped += 1

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, {}
        self.last_used = self._port.now()
        for end, payloads in gathered.items():
            maker = self._makers.get(end) or self._maker(end)
            if maker is None:
                continue
            at = 0
            while at < len(payloads):
                count = mergeable(payloads, at) if self._port.merges else 1
                self._port.write(maker.packet(payloads[at : at + count]))
                at += count

    def _maker(self, end: tuple[str, int]) -> UdpMaker | None:
        near, far, near_port, far_port = self._key
        if not self._is_bound:
            far, far_port = ip_address(end[0]).packed, end[1]
            if len(far) != len(near) or not self._port.is_carried(far):
                return None  # an exit speaks for hosts behind it, not for this machine or its network
            if len(self._makers) >= MAX_MAKERS:
                self._makers.clear()
        maker = self._makers[end] = UdpMaker(far, near, far_port, near_port)
        return maker


class EchoesFlow(_DeviceFlow[EchoFlow, Echo]):
    """Echoes of one application to one host; an `EchoConsumer`."""

    def __init__(self, port: Port, key: Key, target: Target, opener: FlowOpener, isolation: str) -> None:
        super().__init__(port, key, opener.open_echo(target, isolation))

    def _opened(self, flow: EchoFlow) -> None:
        flow.set_consumer(self)

    def _send(self, flow: EchoFlow, packet: Packet, what: Echo) -> None:
        if not flow.send(what):
            self._port.overloaded(1)

    def echo_received(self, echo: Echo) -> None:
        """A reply came."""
        near, far, identifier, _ = self._key
        self.last_used = self._port.now()
        if echo.is_reply and echo.identifier == identifier:
            self._port.write(packets.echo_reply(far, near, identifier, echo.sequence, echo.payload))


def _reason_of(error: VigilnetError) -> EndReason | None:
    if isinstance(error, StreamEndedError):
        return error.reason
    reason = getattr(error, "reason", None)  # of ingress.ports.OnionUnavailableError, which we may not know
    return reason if isinstance(reason, EndReason) else None


def head_of(packet: Packet) -> Packet:
    """Return a packet that outlives the buffer it was read into, with as much of it as a refusal repeats."""
    return packet._replace(octets=memoryview(bytes(packet.octets[: min(packet.end, 1280)])))
