"""Sockets between us and a proxy on this machine: dialling through it, and taking what it hands over."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable
from typing import Final, Protocol

from vigilnet.base.errors import RemoteProtocolError, VigilnetError
from vigilnet.base.safelog import get_logger
from vigilnet.base.tasks import TaskGroup
from vigilnet.traffic.transport.carrier import CarrierKind
from vigilnet.traffic.transport.pluggable.extended_or import COOKIE_SIZE, ExtendedOr
from vigilnet.traffic.transport.pluggable.socks import SocksClient
from vigilnet.traffic.transport.tcp_io import BACKLOG, TcpCarrier

HANDSHAKE_S: Final = 10.0  # for a proxy to say whose connection it hands over
MAX_UNDER_WAY: Final = 256  # connections that a proxy has not finished handing over
MAX_READ: Final = 4096

_log = get_logger(__name__)


class _Machine(Protocol):
    """What a proxy's dialogues have in common."""

    @property
    def is_open(self) -> bool: ...

    def data_to_send(self) -> bytes: ...

    def receive(self, data: bytes) -> None: ...


async def _run(sock: socket.socket, machine: _Machine) -> None:
    """Run a dialogue on a connected socket until it is open; raises OSError or RemoteProtocolError."""
    loop = asyncio.get_running_loop()
    try:
        while True:
            if out := machine.data_to_send():
                await loop.sock_sendall(sock, out)
            if machine.is_open:
                return
            data = await loop.sock_recv(sock, MAX_READ)
            if not data:
                raise ConnectionResetError("the proxy closed")
            machine.receive(data)
    except RemoteProtocolError:
        if out := machine.data_to_send():
            with contextlib.suppress(OSError):
                await loop.sock_sendall(sock, out)
        raise


async def dial_through(proxy: tuple[str, int], machine: SocksClient, remote_host: str) -> TcpCarrier:
    """Dial through a SOCKS5 proxy on this machine.

    Raises:
        OSError: the proxy is not there, or cannot reach the target.
    """
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET6 if ":" in proxy[0] else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await loop.sock_connect(sock, proxy)
        await _run(sock, machine)
        return TcpCarrier(sock, loop, CarrierKind.PLUGGABLE, remote_host)
    except RemoteProtocolError as error:
        sock.close()
        raise ConnectionRefusedError(str(error)) from error
    except BaseException:
        sock.close()
        raise


class OrPort:
    """Where a server proxy hands connections over, on loopback; extended where there is a cookie.

    Args:
        transport: the name that the proxy serves.
        cookie: of the extended port; None: plain, whoever connects is a client.
        accept: takes the carriers.
        random_bytes: for nonces.
    """

    def __init__(
        self,
        transport: str,
        cookie: bytes | None,
        accept: Callable[[TcpCarrier], None],
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        if cookie is not None and len(cookie) != COOKIE_SIZE:
            raise ValueError(f"cookie of {len(cookie)} octets")
        self._transport = transport
        self._cookie = cookie
        self._accept = accept
        self._random_bytes = random_bytes
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskGroup("or port")
        self._sock = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
        self._sock.setblocking(False)
        self.port: Final = int(self._sock.getsockname()[1])
        self._tasks.start("accept", self._accept_all())

    async def _accept_all(self) -> None:
        while True:
            try:
                sock, _ = await self._loop.sock_accept(self._sock)
            except OSError as error:
                _log.debug("or port cannot accept, trying again soon", error=error)
                await asyncio.sleep(0.5)
                continue
            if len(self._tasks) > MAX_UNDER_WAY:
                sock.close()
                continue
            self._tasks.start("take", self._take(sock))

    async def _take(self, sock: socket.socket) -> None:
        host = ""
        try:
            if self._cookie is not None:
                machine = ExtendedOr(self._cookie, self._random_bytes, self._transport)
                async with asyncio.timeout(HANDSHAKE_S):
                    await _run(sock, machine)
                host = machine.client_host
            carrier = TcpCarrier(sock, self._loop, CarrierKind.PLUGGABLE, host)
        except (OSError, VigilnetError) as error:
            sock.close()
            _log.debug("or port: nothing was handed over", error=error)
            return
        except BaseException:
            sock.close()
            raise
        self._accept(carrier)

    async def close(self) -> None:
        """Stop accepting; carriers handed over live on."""
        await self._tasks.close()
        self._sock.close()
