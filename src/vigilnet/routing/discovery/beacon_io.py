"""The LAN beacon on its sockets: one for each family, joined to its group on every interface."""

import asyncio
import contextlib
import socket
import struct
import sys
from collections.abc import Callable
from typing import Final

from vigilnet.base.clock import Clock
from vigilnet.base.safelog import get_logger
from vigilnet.peer.sources import LAN_PLACE, Source
from vigilnet.routing.discovery.beacon import MAX_DATAGRAM, Beacon

PORT: Final = 4747
GROUP4: Final = "239.255.86.78"
GROUP6: Final = "ff02::564e"
JOIN_S: Final = 10.0  # between two looks for new interfaces
MAX_READ: Final = 64  # datagrams in one go

_log = get_logger(__name__)


class BeaconService:
    """Tells and hears records on the LAN; make it inside the running loop.

    Args:
        beacon: the machine.
        on_record: gets each record that comes, and its source.
        clock: time.
    """

    def __init__(self, beacon: Beacon, on_record: Callable[[bytes, Source], None], clock: Clock) -> None:
        self._beacon = beacon
        self._on_record = on_record
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[int, socket.socket] = {}  # by family
        self._joined: set[tuple[int, int]] = set()  # family and interface
        self._timer: asyncio.TimerHandle | None = None
        self._join_at = 0.0

    def start(self) -> None:
        """Open the sockets; a family that the machine lacks is left out."""
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                opened = _open(family)
            except OSError as error:
                _log.info("lan beacon: a family is not to be had", family=family.name, reason=error.strerror)
                continue
            self._sockets[family] = opened
            self._loop.add_reader(opened, self._readable, opened)
        self._on_timer()

    def close(self) -> None:
        """Close the sockets; safe to call twice."""
        if self._timer is not None:
            self._timer.cancel()
        for opened in self._sockets.values():
            self._loop.remove_reader(opened)
            opened.close()
        self._sockets.clear()

    def own_changed(self) -> None:
        """Our record is new."""
        self._beacon.own_changed(self._clock.now())
        self._set_timer()

    def _readable(self, opened: socket.socket) -> None:
        for _ in range(MAX_READ):
            try:
                octets, address = opened.recvfrom(MAX_DATAGRAM + 1)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                _log.debug("lan beacon: nothing received", reason=error.strerror)
                break
            host = str(address[0]).partition("%")[0]
            if opened.family == socket.AF_INET6 and not host.startswith("fe80:"):
                continue  # whoever speaks to a link-local group does so from a link-local address
            record = self._beacon.receive(octets, host, self._clock.now())
            if record is not None:
                self._on_record(record, Source(f"beacon {host}", LAN_PLACE, name="beacon"))
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        due = min(self._beacon.deadline(), self._join_at)
        if self._sockets:
            self._timer = self._loop.call_later(max(0.0, due - self._clock.now()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = self._clock.now()
        if now >= self._join_at:
            self._join_at = now + JOIN_S
            self._join()
        datagram = self._beacon.on_deadline(now)
        if datagram is not None:
            self._send(datagram)
        self._set_timer()

    def _join(self) -> None:
        """Join the groups on interfaces that are new; forget those that are gone."""
        present = {index for index, _ in socket.if_nameindex()}
        self._joined = {(family, index) for family, index in self._joined if index in present}
        for family, opened in self._sockets.items():
            for index in present:
                if (family, index) not in self._joined:
                    with contextlib.suppress(OSError):  # down, or without this family
                        _join(opened, family, index)
                        self._joined.add((family, index))

    def _send(self, datagram: bytes) -> None:
        for family, index in self._joined:
            opened = self._sockets[family]
            with contextlib.suppress(OSError):  # an interface that is down now
                if family == socket.AF_INET:
                    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, _mreqn(index))
                    opened.sendto(datagram, (GROUP4, PORT))
                else:
                    opened.sendto(datagram, (GROUP6, PORT, 0, index))


def _mreqn(index: int) -> bytes:
    return struct.pack("=4s4si", socket.inet_aton(GROUP4), bytes(4), index)


def _open(family: socket.AddressFamily) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 1)
            # bound to the group, it hears what is sent to the group alone; Windows has no such binding
            opened.bind(("" if sys.platform == "win32" else GROUP4, PORT))
        else:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
            opened.bind(("::", PORT))
    except OSError:
        opened.close()
        raise
    return opened


def _join(opened: socket.socket, family: int, index: int) -> None:
    if family == socket.AF_INET:
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, _mreqn(index))
    else:
        group = socket.inet_pton(socket.AF_INET6, GROUP6) + struct.pack("@I", index)
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, group)
