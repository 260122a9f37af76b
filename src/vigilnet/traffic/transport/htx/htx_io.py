"""HTX as a transport: dials like a browser, listens like the origin (docs/spec/htx.md)."""

import asyncio
import socket
import sys
from collections.abc import Callable, Mapping
from typing import cast

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier
from vigilnet.traffic.transport.htx.dial_io import Browser, open_carrier, read_params
from vigilnet.traffic.transport.htx.server_io import HtxListener, Origin, Relay
from vigilnet.traffic.transport.tcp_io import BACKLOG, TcpCarrier, TcpTransport


class HtxTransport:
    """Links over HTX; serves `Transport`.

    Args:
        browser: how we dial.
        relay: how we listen; None on a node that does not.
    """

    def __init__(self, browser: Browser, relay: Relay | None = None) -> None:
        self._browser = browser
        self.relay = relay
        self._tcp = TcpTransport()

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        """Open a page at the relay's origin and switch; raises OSError when that fails."""
        try:
            address = read_params(params)
        except RemoteProtocolError as error:
            raise ConnectionAbortedError(str(error)) from error
        tcp = cast("TcpCarrier", await self._tcp.dial(host, port))
        return await open_carrier(tcp, address, self._browser)

    async def listen(self, host: str, port: int, accept: Callable[[Carrier], None]) -> HtxListener:
        """Stand before the origin at `host`, an address; raises OSError if the port is taken."""
        if self.relay is None:
            raise LocalProtocolError("htx: listening without an origin")
        origin_host, origin_port = self.relay.origin
        found = await asyncio.get_running_loop().getaddrinfo(
            origin_host, origin_port, type=socket.SOCK_STREAM
        )
        origin = cast("Origin", (found[0][0], found[0][4]))
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            if sys.platform != "win32":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((host, port))
            sock.listen(BACKLOG)
            return HtxListener(sock, self.relay, origin, accept)
        except BaseException:
            sock.close()
            raise
