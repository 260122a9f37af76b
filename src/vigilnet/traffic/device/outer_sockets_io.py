"""Binds this process's sockets to the interface that leads out, on systems without marks (macOS, Windows).

Wherever a socket is made in this process, its `connect` or `send` tells the interpreter's audit hooks; ours
then binds it. There is one hook for the life of the process, and it does nothing while no interface is
named. Sockets that a library makes without the interpreter's knowledge are not seen.
"""

import contextlib
import socket
import sys
from ipaddress import ip_address
from typing import Any, Final

from vigilnet.traffic.device.settings import TUN_IPV4, TUN_IPV6

_EVENTS: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_MACOS: Final = {socket.AF_INET: (socket.IPPROTO_IP, 25), socket.AF_INET6: (socket.IPPROTO_IPV6, 125)}
_WINDOWS: Final = {socket.AF_INET: (socket.IPPROTO_IP, 31), socket.AF_INET6: (socket.IPPROTO_IPV6, 31)}


class OuterSockets:
    """What the hook does; `index` 0 means nothing.

    Args:
        platform: `sys.platform`.
    """

    def __init__(self, platform: str = sys.platform) -> None:
        self._is_windows = platform == "win32"
        self._options = _WINDOWS if self._is_windows else _MACOS
        self._is_hooked = False
        self.index = 0

    def follow(self, index: int) -> None:
        """Bind sockets to this interface from now on."""
        self.index = index
        if index and not self._is_hooked:
            self._is_hooked = True
            sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """One event of the interpreter's; never raises, for that would forbid it."""
        if not self.index or event not in _EVENTS:
            return
        with contextlib.suppress(Exception):
            sock, address = arguments
            if isinstance(sock, socket.socket) and address is not None and _leads_out(str(address[0])):
                self._bind(sock)

    def _bind(self, sock: socket.socket) -> None:
        option = self._options.get(sock.family)
        if option is None:
            return
        value = self.index
        if self._is_windows and sock.family == socket.AF_INET:
            value = socket.htonl(value)
            sock.setsockopt(*option, value.to_bytes(4, sys.byteorder))
        else:
            sock.setsockopt(*option, value)


def _leads_out(host: str) -> bool:
    address = ip_address(host.partition("%")[0])
    return not (address.is_loopback or address.is_unspecified or str(address) in (TUN_IPV4, TUN_IPV6))


OUTER: Final = OuterSockets()
