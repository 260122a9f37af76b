"""How packets are read from and written to the interface of each system (hot path).

Inside this room a packet is always behind a virtio header (`packets`). Linux has one itself; macOS puts the
family before each packet and knows no offloads, so checksums are summed here; Windows hands plain packets
over a pair of datagram sockets (`backends.wintun_io`).
"""

import os
import socket
import sys
from collections.abc import Sequence
from typing import Final, Protocol

from vigilnet.traffic.device import packets
from vigilnet.traffic.device.backend import Framing

if sys.platform == "win32":

    def readv(descriptor: int, buffers: Sequence[bytearray | memoryview]) -> int:
        """Refuse: interfaces with descriptors are for other systems."""
        raise OSError(0, "no such interface here")

    def writev(descriptor: int, pieces: Sequence[bytes | memoryview]) -> int:
        """Refuse, too."""
        raise OSError(0, "no such interface here")

else:
    from os import readv, writev

_MACOS_FAMILIES: Final = {4: (2).to_bytes(4, "big"), 6: (30).to_bytes(4, "big")}  # AF_INET and AF_INET6 there


class Interface(Protocol):
    """The interface's descriptor with its framing."""

    @property
    def descriptor(self) -> int:
        """For the event loop, non-blocking."""
        ...

    @property
    def merges(self) -> bool:
        """Whether one write may carry many datagrams of one size."""
        ...

    def read(self, buffer: bytearray) -> int:
        """Read one packet behind a virtio header; OSError when there is none."""
        ...

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write one packet, virtio header first; OSError when it does not fit."""
        ...

    def close(self) -> None:
        """Give the descriptor up."""
        ...


class VirtioInterface:
    """A TUN interface of Linux with virtio headers."""

    merges: Final = True

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def read(self, buffer: bytearray) -> int:
        """Read one packet."""
        return readv(self.descriptor, [buffer])

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write one packet."""
        writev(self.descriptor, pieces)

    def close(self) -> None:
        """Give the descriptor up."""
        os.close(self.descriptor)


class FamilyInterface:
    """A utun interface of macOS: four octets of family before each packet."""

    merges: Final = False

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._family = bytearray(4)

    def read(self, buffer: bytearray) -> int:
        """Read one packet."""
        with memoryview(buffer) as view:
            size = readv(self.descriptor, [self._family, view[packets.VNET_SIZE :]])
        buffer[: packets.VNET_SIZE] = bytes(packets.VNET_SIZE)
        return size - 4 + packets.VNET_SIZE

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write one packet, its checksum summed here."""
        packet = packets.summed(pieces)
        writev(self.descriptor, [_MACOS_FAMILIES[packet[0] >> 4], packet])

    def close(self) -> None:
        """Give the descriptor up."""
        os.close(self.descriptor)


class PlainInterface:
    """One end of a pair of datagram sockets that carry packets without anything before them."""

    merges: Final = False

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._socket.setblocking(False)
        self.descriptor = descriptor

    def read(self, buffer: bytearray) -> int:
        """Read one packet."""
        with memoryview(buffer) as view:
            size = self._socket.recv_into(view[packets.VNET_SIZE :])
        buffer[: packets.VNET_SIZE] = bytes(packets.VNET_SIZE)
        return size + packets.VNET_SIZE

    def write(self, pieces: Sequence[bytes | memoryview]) -> None:
        """Write one packet, its checksum summed here."""
        self._socket.send(packets.summed(pieces))

    def close(self) -> None:
        """Give the descriptor up."""
        self._socket.close()


def interface_of(descriptor: int, framing: str) -> Interface:
    """Return the interface that a helper gave; virtio headers are what Linux has."""
    if framing == Framing.FAMILY:
        return FamilyInterface(descriptor)
    return PlainInterface(descriptor) if framing == Framing.NOTHING else VirtioInterface(descriptor)
