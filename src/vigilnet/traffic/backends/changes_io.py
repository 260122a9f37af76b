"""Interfaces that come and go while the device is protected (Linux).

Packet sockets are stopped at the interfaces that lead out, one by one: a new one must be closed as soon as it
is there, whoever brought it up.
"""

import contextlib
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

if sys.platform != "linux":
    raise ImportError("for Linux alone")

MAX_NOTE: Final = 65_536
_ROUTE_PROTOCOL: Final = 0  # NETLINK_ROUTE
_GROUPS: Final = 0x1 | 0x40 | 0x400  # RTMGRP_LINK, _IPV4_ROUTE, _IPV6_ROUTE


def listen_for_changes() -> socket.socket:
    """Return a socket on which the kernel tells of changed links and routes; raises OSError."""
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _ROUTE_PROTOCOL)
    sock.setblocking(False)
    sock.bind((0, _GROUPS))
    return sock


class NetworkChanges:
    """Tells when the list of doors is another.

    Args:
        sock: readable when something changed.
        doors: the interfaces that must be closed, as they are now.
    """

    def __init__(self, sock: socket.socket, doors: Callable[[], Sequence[str]]) -> None:
        self._socket = sock
        self._doors = doors
        self._known = tuple(doors())

    def fileno(self) -> int:
        """The descriptor to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def have_come(self) -> bool:
        """Whether the doors are others than when last asked; takes what the kernel has said."""
        with contextlib.suppress(OSError):  # nothing more; or too much at once, which is a change as well
            while self._socket.recv(MAX_NOTE):
                pass
        known, self._known = self._known, tuple(self._doors())
        return known != self._known
