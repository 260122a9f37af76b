"""What crosses the interfaces of a namespace: every IP packet but those of its own loopback."""

import ipaddress
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.support.netns import Namespace

ETH_P_ALL, ETH_P_IP, ETH_P_IPV6 = 0x0003, 0x0800, 0x86DD
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE = 33
TCP, UDP, ICMPV6 = 6, 17, 58
OUTGOING = 4
_NEIGHBOUR_TALK = range(130, 144)  # neighbour discovery and group reports, as ARP is for IPv4


@dataclass(frozen=True)
class Packet:
    """One IP packet; ports are 0 where there are none."""

    is_sent: bool
    source: str
    target: str
    protocol: int
    source_port: int
    target_port: int
    octets: bytes  # of the whole, from the IP header on

    @property
    def is_syn(self) -> bool:
        """Whether this is somebody's attempt to connect."""
        size = 40 if self.octets[0] >> 4 == 6 else (self.octets[0] & 15) * 4
        return self.protocol == TCP and self.octets[size + 13] & 0x12 == 0x02


class Tap:
    """Reads the packets of a host within a `with` block; a packet that is missed fails it.

    Args:
        host: where.
        kind: SOCK_RAW with the link's header, SOCK_DGRAM without.
        port: the interface; empty: all.
    """

    def __init__(self, host: Namespace, kind: socket.SocketKind, port: str = "") -> None:
        self._count = 0
        self._last: int | None = None  # the number of the last packet that matters
        with host.entered():
            # Protocol 0 hears nothing yet: of one interface only that one's packets are to be counted.
            self._socket = socket.socket(socket.AF_PACKET, kind, 0 if port else socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)
        self._socket.settimeout(0.1)
        if port:
            self._socket.bind((port, ETH_P_ALL))
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # What has come by now, read or not: where a link is never quiet there is no pause to wait for.
        came, lost = struct.unpack("II", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self._last = came - lost
        self._thread.join()
        self._socket.close()
        if lost and error is None:
            raise OSError(f"{lost} packets were not seen")

    def _run(self) -> None:
        while self._last is None or self._count < self._last:
            try:
                octets, (interface, kind, way, *_) = self._socket.recvfrom(1 << 17)
            except TimeoutError:
                if self._last is not None:
                    return
                continue
            self._count += 1
            self.packet_read(octets, interface, kind, is_sent=way == OUTGOING)

    def packet_read(self, octets: bytes, interface: str, kind: int, *, is_sent: bool) -> None:
        """Take one; called in a thread."""
        raise NotImplementedError


class Capture(Tap):
    """Notes packets within a `with` block: `with Capture(host) as capture: ...; capture.packets`."""

    def __init__(self, host: Namespace) -> None:
        super().__init__(host, socket.SOCK_DGRAM)
        self.packets: list[Packet] = []
        self.take: Callable[[Packet], None] = self.packets.append

    def packet_read(self, octets: bytes, interface: str, kind: int, *, is_sent: bool) -> None:
        """Note it."""
        if interface != "lo" and kind in (ETH_P_IP, ETH_P_IPV6):
            packet = parse(octets, is_sent=is_sent)
            if packet is not None:
                self.take(packet)

    def addresses(self) -> set[str]:
        """All addresses that packets came from or went to."""
        return {address for packet in self.packets for address in (packet.source, packet.target)}

    def payload(self) -> bytes:
        """All that crossed, in one."""
        return b"".join(packet.octets for packet in self.packets)


def parse(octets: bytes, *, is_sent: bool) -> Packet | None:
    """Read the headers of one packet; None for the link's own talk."""
    if octets[0] >> 4 == 4:
        size, protocol = (octets[0] & 15) * 4, octets[9]
        source, target = (ipaddress.ip_address(octets[at : at + 4]) for at in (12, 16))
    else:
        size, protocol = 40, octets[6]
        source, target = (ipaddress.ip_address(octets[at : at + 16]) for at in (8, 24))
        if protocol == 0:  # hop by hop, of group reports
            return None
    if protocol == ICMPV6 and octets[size] in _NEIGHBOUR_TALK:
        return None
    ports = (0, 0)
    if protocol in (TCP, UDP):
        ports = (int.from_bytes(octets[size : size + 2]), int.from_bytes(octets[size + 2 : size + 4]))
    return Packet(is_sent, str(source), str(target), protocol, *ports, octets)
