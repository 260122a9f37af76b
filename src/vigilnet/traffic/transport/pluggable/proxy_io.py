"""TCP by way of a proxy: for a pluggable transport whose parent names one, and for clients that are one."""

import asyncio
import socket
from collections.abc import Mapping
from typing import Final

from vigilnet.base.errors import LocalProtocolError, RemoteProtocolError
from vigilnet.traffic.transport.carrier import NO_PARAMS, Carrier, CarrierKind
from vigilnet.traffic.transport.pluggable.proxy import Proxy, ProxyClient
from vigilnet.traffic.transport.tcp_io import TcpCarrier

PATIENCE_S: Final = 30.0


class ProxiedTcp:
    """Dials through a proxy, and never past it.

    Args:
        proxy: where it is.
        kind: what the link takes the connection for.
    """

    def __init__(self, proxy: Proxy, kind: CarrierKind = CarrierKind.PLAIN) -> None:
        self._proxy = proxy
        self._kind = kind

    async def dial(self, host: str, port: int, params: Mapping[int, object] = NO_PARAMS) -> Carrier:
        """Connect to an address or name, which the proxy resolves; raises OSError when that fails."""
        del params
        loop = asyncio.get_running_loop()
        try:
            client = self._proxy.client(host, port)
            family = socket.AF_INET6 if ":" in self._proxy.host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setblocking(False)
                async with asyncio.timeout(PATIENCE_S):
                    await loop.sock_connect(sock, (self._proxy.host, self._proxy.port))
                    await _ask(loop, sock, client)
                return TcpCarrier(sock, loop, self._kind)
            except BaseException:
                sock.close()
                raise
        except (RemoteProtocolError, LocalProtocolError) as error:
            raise ConnectionRefusedError(str(error)) from error


async def _ask(loop: asyncio.AbstractEventLoop, sock: socket.socket, client: ProxyClient) -> None:
    while not client.is_open:
        await loop.sock_sendall(sock, client.data_to_send())
        if not (data := await loop.sock_recv(sock, 4096)):
            raise ConnectionResetError("proxy: it closed")
        client.receive(data)
