"""UDP and ICMP echo of the device: packets of the TUN interface over flows of a circuit (hot path).

A flow is a pair of ends where the far port is a well-known one (the exit then hears refusals, and a name goes
to it as a name), else whatever one socket of an application sends, so that its port has one mapping at the
exit, as behind a careful NAT. What cannot be carried is refused by ICMP at once.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from ipaddress import ip_address
from typing import Any, Final, Generic, Protocol, TypeVar

from vigilnet.base.clock import Clock
from vigilnet.base.errors import RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.device import packets
from vigilnet.traffic.device.interface_io import Interface
from vigilnet.traffic.device.packets import Packet, Refusal, UdpMaker
from vigilnet.traffic.device.settings import NEIGHBOUR_IPV4, NEIGHBOUR_IPV6, binding_of, bound_source
from vigilnet.traffic.device.translation import Translation, Verdict
from vigilnet.traffic.stream.datagrams import DatagramFlow, EchoFlow
from vigilnet.traffic.stream.messages import ANY_FAMILY, BeginFlag, Echo, Target
from vigilnet.traffic.stream.segments import mergeable
from vigilnet.traffic.stream.stream import StreamEndedError
from vigilnet.traffic.stream.wire import EndReason

READS_A_TURN: Final = 64
NAME_PORT: Final = 53
MAX_QUESTIONS: Final = 512  # for names, being answered
MAX_WAITING: Final = 64  # datagrams of a flow that is being opened
MAX_GATHERED: Final = 512  # datagrams for the interface in one turn
MAX_MAKERS: Final = 1024  # far ends of one flow
WELL_KNOWN: Final = 1024  # ports below are servers': one flow for each pair of ends
TRACEROUTE: Final = range(33_434, 33_535)  # nobody is meant to be there: what counts is the refusal
REFUSED_S: Final = 2.0  # a flow that failed is refused for so long before it is tried again
SWEEP_S: Final = 2.0
PAUSE_S: Final = 0.002  # when the circuit takes no more
UNBOUND: Final = Target("", 0, 17, ANY_FAMILY)
_READ_SIZE: Final = packets.MAX_PACKET + packets.VNET_SIZE + 64
_ROUTER: Final = {4: ip_address(NEIGHBOUR_IPV4).packed, 6: ip_address(NEIGHBOUR_IPV6).packed}
_REFUSALS: Final = {
    EndReason.REFUSED: packets.NO_PORT,
    EndReason.POLICY: packets.PROHIBITED,
    EndReason.NO_ROUTE: packets.NO_ROUTE,
    EndReason.RESOLVE_FAILED: packets.NO_HOST,
}

_log = get_logger(__name__)
_Key = tuple[bytes, bytes, int, int]
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


class TunPort:
    """The daemon's end of the interface.

    Args:
        interface: ours from now on.
        opener: opens flows.
        clock: time.
        name_of: the name that an address was resolved from, or an empty text.
        isolation: see `ingress.ports.Dialler`.
        max_flows: at a time; the one unused for longest makes room.
        idle_s: a flow without datagrams is forgotten after so long.
        translation: takes TCP, where no redirect does.
        answer: answers questions for names, where no redirect leads them to the name server.
    """

    def __init__(
        self,
        interface: Interface,
        opener: FlowOpener,
        clock: Clock,
        name_of: Callable[[str], str],
        isolation: str,
        max_flows: int,
        idle_s: float,
        translation: Translation | None = None,
        answer: Callable[[bytes], Awaitable[bytes]] | None = None,
    ) -> None:
        self._interface = interface
        self._translation = translation
        self._answer = answer
        self._way = (opener, isolation)
        self._bound_ways: dict[bytes, tuple[FlowOpener, str]] = {}  # by packed source address
        self._clock = clock
        self._name_of = name_of
        self._most = max_flows
        self._idle_s = idle_s
        self.loop = asyncio.get_running_loop()
        self.tasks = TaskGroup("device flows")
        self._flows: OrderedDict[_Key, _UdpFlow | _EchoFlow] = OrderedDict()  # unused for longest first
        self._fragments = packets.Reassembly()
        self._buffer = bytearray(_READ_SIZE)
        self._view = memoryview(self._buffer)
        self.read = self.written = self.refused = self.dropped = 0
        self._is_paused = self._is_closed = False
        self.loop.add_reader(interface.descriptor, self._readable)
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    @property
    def merges(self) -> bool:
        """Whether one packet may carry many datagrams."""
        return self._interface.merges

    @property
    def flows(self) -> int:
        """How many there are."""
        return len(self._flows)

    def bind(self, number: int, opener: FlowOpener, isolation: str) -> None:
        """Have programs bound to the exit of that number (`settings.bound_source`) use another opener."""
        for version in (4, 6):
            self._bound_ways[ip_address(bound_source(number, version)).packed] = (opener, isolation)

    async def close(self) -> None:
        """End all flows and give the descriptor up."""
        self._is_closed = True
        self._sweeper.cancel()
        self.loop.remove_reader(self._interface.descriptor)
        flows, self._flows = list(self._flows.values()), OrderedDict()
        for flow in flows:
            flow.end()
        await self.tasks.close()
        self._interface.close()

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Give one packet to the interface; an empty one is none."""
        if not pieces:
            return
        try:
            self._interface.write(pieces)
            self.written += 1
        except OSError:  # full, or being taken away
            self.dropped += 1

    # ---- from applications

    def _readable(self) -> None:
        interface, buffer, view = self._interface, self._buffer, self._view
        for _ in range(READS_A_TURN):
            if self._is_paused:
                return
            try:
                size = interface.read(buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                _log.warning("the device's interface is gone", error=error)
                self.loop.remove_reader(interface.descriptor)
                return
            self.read += 1
            if self._translation is not None:
                verdict = self._translation.translate(buffer, size, self._clock.now())
                if verdict is Verdict.WRITE:
                    self.write([view[:size]])
                    continue
            try:
                self._take(packets.parse(view[:size]))
            except RemoteProtocolError:
                self.dropped += 1

    def overloaded(self, lost: int) -> None:
        """The circuit takes no more: leave packets to the kernel for a moment, which drops them cheaper."""
        self.dropped += lost
        if not self._is_paused:
            self._is_paused = True
            self.loop.remove_reader(self._interface.descriptor)
            self.loop.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._is_paused and not self._is_closed:
            self._is_paused = False
            self.loop.add_reader(self._interface.descriptor, self._readable)

    def _take(self, packet: Packet) -> None:
        if packet.fragment is not None:
            whole = self._fragments.add(packet, self._clock.now())
            if whole is None:
                return
            packet = whole
        if packet.hop_limit <= 1:
            self.write(packets.refuse(packet, packets.TOO_FAR, _ROUTER[packet.version]))
        elif packet.protocol == packets.UDP:
            self._take_udp(packet)
        elif packet.protocol == packets.TCP:  # a connection from before, which nobody here knows of
            self.write(packets.reset(packet))
        elif packet.protocol == (packets.ICMP if packet.version == 4 else packets.ICMPV6):
            self._take_icmp(packet)
        else:
            self.refuse(packet, packets.NO_PROTOCOL)

    def _way_of(self, packet: Packet) -> tuple[FlowOpener, str] | None:
        """Whom a new flow is asked of; None: nobody, for the exit that it is bound to is not known."""
        return self._bound_ways.get(packet.source) if binding_of(packet.source) is not None else self._way

    def refuse(self, packet: Packet, refusal: Refusal) -> None:
        """Tell the application that a packet goes nowhere."""
        self.refused += 1
        self.write(packets.refuse(packet, refusal))

    def _take_udp(self, packet: Packet) -> None:
        source_port, target_port, payloads = packets.datagrams_of(packet)
        if target_port == NAME_PORT and self._answer is not None:
            self._take_questions(packet, source_port, payloads)
            return
        if target_port < WELL_KNOWN or target_port in TRACEROUTE:
            key = (packet.source, packet.target, source_port, target_port)
        else:
            key = (packet.source, b"", source_port, 0)
        flow = self._flows.get(key)
        if flow is None:
            way = self._way_of(packet)
            if way is None or not is_carried(packet.target) or not target_port:
                self.refuse(packet, packets.PROHIBITED)
                return
            flow = self._flows[key] = _UdpFlow(self, key, self._target(key, packet.version), *way)
            self._make_room()
        elif isinstance(flow, _UdpFlow):
            self._flows.move_to_end(key)
        if isinstance(flow, _UdpFlow):
            flow.last_used = self._clock.now()
            flow.take(packet, (target_port, payloads))

    def _take_questions(self, packet: Packet, source_port: int, payloads: list[bytes]) -> None:
        maker = UdpMaker(packet.target, packet.source, NAME_PORT, source_port)
        for payload in payloads:
            if self._answer is None or len(self.tasks) >= MAX_QUESTIONS:
                self.dropped += 1
            else:
                self.tasks.start("answer", self._tell(self._answer(payload), maker))

    async def _tell(self, answering: Awaitable[bytes], maker: UdpMaker) -> None:
        answered = await answering
        if answered:
            self.write(maker.packet([answered]))

    def _target(self, key: _Key, version: int) -> Target:
        _, far, _, port = key
        if not far:
            return UNBOUND
        address = socket.inet_ntop(socket.AF_INET if version == 4 else socket.AF_INET6, far)
        return Target(self._name_of(address) or address, port, 17, ANY_FAMILY | BeginFlag.CONNECTED_UDP)

    def _take_icmp(self, packet: Packet) -> None:
        asked = packets.echo_of(packet)
        if asked is None:
            return  # errors about flows of ours and the like; whoever sent them wants no answer
        way = self._way_of(packet)
        if way is None or not is_carried(packet.target):
            self.refuse(packet, packets.PROHIBITED)
            return
        identifier, sequence, payload = asked
        key = (packet.source, packet.target, identifier, -1)
        flow = self._flows.get(key)
        if flow is None:
            family = socket.AF_INET if packet.version == 4 else socket.AF_INET6
            target = Target(socket.inet_ntop(family, packet.target), 0, 1, ANY_FAMILY)
            flow = self._flows[key] = _EchoFlow(self, key, target, *way)
            self._make_room()
        if isinstance(flow, _EchoFlow):
            self._flows.move_to_end(key)
            flow.last_used = self._clock.now()
            flow.take(packet, Echo(False, identifier, sequence, payload))

    # ---- flows

    def _make_room(self) -> None:
        if len(self._flows) > self._most:
            _, oldest = self._flows.popitem(last=False)
            oldest.end()

    def forget(self, key: _Key) -> None:
        """A flow is over."""
        self._flows.pop(key, None)

    def now(self) -> float:
        """Monotonic seconds."""
        return self._clock.now()

    def _sweep(self) -> None:
        if self._translation is not None:
            self._translation.sweep(self._clock.now())
        late = self._clock.now() - self._idle_s
        while self._flows:
            key, flow = next(iter(self._flows.items()))
            if flow.last_used > late:
                break
            del self._flows[key]
            flow.end()
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)


def is_carried(target: bytes) -> bool:
    """Whether one host is meant: neither a group, nor everybody, nor this machine or link."""
    address = ip_address(target)
    if address.version == 4 and target == b"\xff\xff\xff\xff":
        return False
    return not (
        address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local
    )


class _DeviceFlow(Generic[_F, _W]):
    """What flows of both kinds share: waiting while one is opened, refusing for a while when it was not.

    Args:
        port: the interface.
        key: whose it is.
        opening: gives the flow.
    """

    def __init__(self, port: TunPort, key: _Key, opening: Coroutine[Any, Any, _F]) -> None:
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
            head = memoryview(bytes(packet.octets[: min(packet.end, 1280)]))  # as much as a refusal repeats
            kept = packet._replace(octets=head)
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


class _UdpFlow(_DeviceFlow[DatagramFlow, tuple[int, list[bytes]]]):
    """One flow of an application's datagrams; a `DatagramConsumer`."""

    def __init__(self, port: TunPort, key: _Key, target: Target, opener: FlowOpener, isolation: str) -> None:
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
            if (host, target_port) not in self._makers and not is_carried(packet.target):
                self._port.refuse(packet, packets.PROHIBITED)
                return
        send = flow.send
        lost = 0
        for payload in payloads:
            lost += not send(host, target_port, payload)
        if lost:
            self._port.overloaded(lost)

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
            if len(far) != len(near):
                return None
            if len(self._makers) >= MAX_MAKERS:
                self._makers.clear()
        maker = self._makers[end] = UdpMaker(far, near, far_port, near_port)
        return maker


class _EchoFlow(_DeviceFlow[EchoFlow, Echo]):
    """Echoes of one application to one host; an `EchoConsumer`."""

    def __init__(self, port: TunPort, key: _Key, target: Target, opener: FlowOpener, isolation: str) -> None:
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
