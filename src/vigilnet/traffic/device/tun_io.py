"""UDP and ICMP echo of the device: packets of the TUN interface over flows of a circuit (hot path).

A flow is a pair of ends where the far port is a well-known one (the exit then hears refusals, and a name goes
to it as a name), else whatever one socket of an application sends, so that its port has one mapping at the
exit, as behind a careful NAT. What cannot be carried is refused by ICMP at once.
"""

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address
from typing import Final, NamedTuple

from vigilnet.base.clock import Clock
from vigilnet.base.errors import RemoteProtocolError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.device import packets
from vigilnet.traffic.device.flows_io import UNBOUND, EchoesFlow, FlowOpener, Key, UdpFlow, head_of
from vigilnet.traffic.device.interface_io import Interface
from vigilnet.traffic.device.packets import Packet, Refusal, UdpMaker
from vigilnet.traffic.device.settings import NEIGHBOUR_IPV4, NEIGHBOUR_IPV6, binding_of, bound_source
from vigilnet.traffic.device.translation import Translation, Verdict
from vigilnet.traffic.stream.messages import ANY_FAMILY, BeginFlag, Echo, Target

READS_A_TURN: Final = 64
NAME_PORT: Final = 53
MAX_QUESTIONS: Final = 512  # for names, being answered
WELL_KNOWN: Final = 1024  # ports below are servers': one flow for each pair of ends
TRACEROUTE: Final = range(33_434, 33_535)  # nobody is meant to be there: what counts is the refusal
SWEEP_S: Final = 2.0
PAUSE_S: Final = 0.002  # when the circuit takes no more
HOLD_S: Final = 0.1  # datagrams wait for it so long, and then are lost
_READ_SIZE: Final = packets.MAX_PACKET + packets.VNET_SIZE + 64
_ROUTER: Final = {4: ip_address(NEIGHBOUR_IPV4).packed, 6: ip_address(NEIGHBOUR_IPV6).packed}

_log = get_logger(__name__)
_NEVER: Final = float("inf")


class Way(NamedTuple):
    """How some programs' packets go on."""

    opener: FlowOpener
    isolation: str  # see `ingress.ports.Dialler`
    name_of: Callable[[str], str]  # the name that an address was resolved from, or an empty text
    answer: Callable[[bytes], Awaitable[bytes]] | None = None
    """Answers questions for names, where no redirect leads them to the name server."""


class TunPort:
    """The daemon's end of the interface.

    Args:
        interface: ours from now on.
        way: of all programs but those that are bound.
        clock: time.
        max_flows: at a time; the one unused for longest makes room.
        idle_s: a flow without datagrams is forgotten after so long.
        translation: takes TCP, where no redirect does.
        carries: whether a packed target may be reached through the network; `is_carried` if left out.
    """

    def __init__(
        self,
        interface: Interface,
        way: Way,
        clock: Clock,
        max_flows: int,
        idle_s: float,
        translation: Translation | None = None,
        carries: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._interface = interface
        self._translation = translation
        self._carries = carries
        self._way = way
        self._bound_ways: dict[bytes, Way] = {}  # by packed source address
        self._clock = clock
        self._most = max_flows
        self._idle_s = idle_s
        self.loop = asyncio.get_running_loop()
        self.tasks = TaskGroup("device flows")
        self._flows: OrderedDict[Key, UdpFlow | EchoesFlow] = OrderedDict()  # unused for longest first
        self._fragments = packets.Reassembly()
        self._buffer = bytearray(_READ_SIZE)
        self._view = memoryview(self._buffer)
        self.read = self.written = self.refused = self.dropped = 0
        self._is_paused = self._is_closed = False
        self._held: list[tuple[UdpFlow, Packet, tuple[int, list[bytes]]]] = []
        self._held_since = _NEVER
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

    def bind(self, number: int, way: Way) -> None:
        """Have programs bound to the exit of that number (`settings.bound_source`) go another way."""
        for version in (4, 6):
            self._bound_ways[ip_address(bound_source(number, version)).packed] = way

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
                self._held_since = _NEVER
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

    def hold(self, flow: "UdpFlow", packet: Packet, what: tuple[int, list[bytes]]) -> None:
        """The circuit takes no more: keep these and read nothing for a moment; after `HOLD_S` they are lost.

        A process on a busy machine is often not run for tens of milliseconds. What came then was lost here,
        while the kernel's own queue had room.
        """
        now = self._clock.now()
        self._held_since = min(self._held_since, now)
        if now - self._held_since <= HOLD_S:
            self._held.append((flow, head_of(packet), what))
            self.overloaded(0)
        else:
            self.overloaded(len(what[1]))

    def overloaded(self, lost: int) -> None:
        """Read nothing for a moment; `lost` datagrams found no room."""
        self.dropped += lost
        if not self._is_paused:
            self._is_paused = True
            self.loop.remove_reader(self._interface.descriptor)
            self.loop.call_later(PAUSE_S, self._resume)

    def _resume(self) -> None:
        if not self._is_paused or self._is_closed:
            return
        self._is_paused = False
        held, self._held = self._held, []
        for flow, packet, what in held:
            flow.take(packet, what)
        if not self._is_paused:
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

    def _way_of(self, packet: Packet) -> Way | None:
        """Whom a new flow is asked of; None: nobody, for the exit that it is bound to is not known."""
        return self._bound_ways.get(packet.source) if binding_of(packet.source) is not None else self._way

    def refuse(self, packet: Packet, refusal: Refusal) -> None:
        """Tell the application that a packet goes nowhere."""
        self.refused += 1
        self.write(packets.refuse(packet, refusal))

    def _take_udp(self, packet: Packet) -> None:
        source_port, target_port, payloads = packets.datagrams_of(packet)
        if target_port == NAME_PORT and self._way.answer is not None:
            self._take_questions(packet, source_port, payloads)
            return
        if target_port < WELL_KNOWN or target_port in TRACEROUTE:
            key = (packet.source, packet.target, source_port, target_port)
        else:
            key = (packet.source, b"", source_port, 0)
        flow = self._flows.get(key)
        if flow is None:
            way = self._way_of(packet)
            if way is None or not self.is_carried(packet.target) or not target_port:
                self.refuse(packet, packets.PROHIBITED)
                return
            target = _target(key, packet.version, way)
            flow = self._flows[key] = UdpFlow(self, key, target, way.opener, way.isolation)
            self._make_room()
        elif isinstance(flow, UdpFlow):
            self._flows.move_to_end(key)
        if isinstance(flow, UdpFlow):
            flow.last_used = self._clock.now()
            flow.take(packet, (target_port, payloads))

    def _take_questions(self, packet: Packet, source_port: int, payloads: list[bytes]) -> None:
        way = self._way_of(packet)
        if way is None or way.answer is None:
            self.refuse(packet, packets.PROHIBITED)
            return
        maker = UdpMaker(packet.target, packet.source, NAME_PORT, source_port)
        for payload in payloads:
            if len(self.tasks) >= MAX_QUESTIONS:
                self.dropped += 1
            else:
                self.tasks.start("answer", self._tell(way.answer(payload), maker))

    async def _tell(self, answering: Awaitable[bytes], maker: UdpMaker) -> None:
        answered = await answering
        if answered:
            self.write(maker.packet([answered]))

    def _take_icmp(self, packet: Packet) -> None:
        asked = packets.echo_of(packet)
        if asked is None:
            return  # errors about flows of ours and the like; whoever sent them wants no answer
        way = self._way_of(packet)
        if way is None or not self.is_carried(packet.target):
            self.refuse(packet, packets.PROHIBITED)
            return
        identifier, sequence, payload = asked
        key = (packet.source, packet.target, identifier, -1)
        flow = self._flows.get(key)
        if flow is None:
            family = socket.AF_INET if packet.version == 4 else socket.AF_INET6
            target = Target(socket.inet_ntop(family, packet.target), 0, 1, ANY_FAMILY)
            flow = self._flows[key] = EchoesFlow(self, key, target, way.opener, way.isolation)
            self._make_room()
        if isinstance(flow, EchoesFlow):
            self._flows.move_to_end(key)
            flow.last_used = self._clock.now()
            flow.take(packet, Echo(False, identifier, sequence, payload))

    # ---- flows

    def _make_room(self) -> None:
        if len(self._flows) > self._most:
            _, oldest = self._flows.popitem(last=False)
            oldest.end()

    def forget(self, key: Key) -> None:
        """A flow is over."""
        self._flows.pop(key, None)

    def is_carried(self, target: bytes) -> bool:
        """See the function of this name; whoever made us may refuse more."""
        return (self._carries or is_carried)(target)

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


def _target(key: Key, version: int, way: Way) -> Target:
    _, far, _, port = key
    if not far:
        return UNBOUND
    address = socket.inet_ntop(socket.AF_INET if version == 4 else socket.AF_INET6, far)
    return Target(way.name_of(address) or address, port, 17, ANY_FAMILY | BeginFlag.CONNECTED_UDP)


def is_carried(target: bytes) -> bool:
    """Whether one host is meant: neither a group, nor everybody, nor this machine or link."""
    address = ip_address(target)
    if address.version == 4 and target == b"\xff\xff\xff\xff":
        return False
    return not (
        address.is_multicast or address.is_unspecified or address.is_loopback or address.is_link_local
    )
